//! Moves bytes: accepts clients, connects each to a backend, and passes on what either says.
//!
//! ```text
//!               Routes (snapshot)             counters, beats
//!   driver ───────────────┐                        ▲
//!                         ▼                        │
//!   clients ──▶ worker 0..n: one thread, one epoll, one buffer ──▶ backends
//!                         │
//!                         └──▶ Report: a connect failed, is overdue, found nobody
//! ```
//!
//! A worker shares nothing that it waits for: it gets snapshots and leaves numbers. Per connection there are two
//! sockets, each registered once, for everything, edge-triggered; an idle connection owns no buffer.
//!
//! **In flight** are, in each direction, what the kernel's two socket buffers hold (`net.ipv4.tcp_rmem` and
//! `tcp_wmem` say how much) and one piece between them: 64 KiB of a copied direction, 1 MiB of a spliced one.
//! While that piece isn't taken nothing more is read, so that a reader who stalls stalls the sender.
//!
//! **Timeouts** mean what they mean to `HAProxy` in TCP mode: they are of inactivity, and a byte in either direction
//! starts both anew. When the client's ends first, the backend is told that the client has finished, and may
//! still answer; when the backend's ends, or when the backend had finished already, both get an orderly end.
//!
//! **Ends** are passed on as they come: a half-close as a half-close, a reset as a reset, unless bytes are still
//! on their way to the surviving side, which then get there before an orderly end does.

mod attempt;
mod books;
mod connection;
mod counters;
mod descriptors;
mod flow;
mod listener;
mod pipes;
mod routes;
mod search;
mod side;
mod spin;
mod surroundings;
mod table;
#[cfg(test)]
mod tests;
mod timers;
mod watch;
mod worker;

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::Waker;

pub use counters::{
    BackendCounters, Bytes, CONNECT_BOUNDS, Counters, Histogram, LASTING_BOUNDS, ServiceCounters,
};
pub use listener::{can_control_congestion, listen, port_is_free};
pub use routes::{Route, Routes, Target};
pub use watch::ConnectWatch;

use crate::config::{self, Service, Timeouts};
use books::{Books, Planned};
use counters::Tally;
use routes::Snapshot;
use worker::Worker;

/// What is proxied, until the next plan.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// In any order.
    pub services: Vec<ServicePlan>,
}

/// One service of a [`Plan`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServicePlan {
    /// Its own from one plan to the next, and nobody else's. Counted from 0, without gaps: what there is of a service
    /// stands at its number.
    pub number: usize,
    /// Connections open at once, shared out as [`Settings::max_connections`]; `None` for no limit of its own.
    pub max_connections: Option<usize>,
    /// Of its connections.
    pub timeouts: Timeouts,
    /// The numbers of its backends. A number is the backend's from one plan to the next, and nobody else's.
    pub backends: Vec<usize>,
}

impl Plan {
    /// What the configuration asks for, with each service's number and those of its backends.
    pub fn new<'n>(services: &[Service], numbers: impl IntoIterator<Item = (usize, &'n Vec<usize>)>) -> Self {
        let plan = |(service, (number, numbers)): (&Service, (usize, &Vec<usize>))| ServicePlan {
            number,
            max_connections: service.max_connections,
            timeouts: service.timeout,
            backends: numbers.clone(),
        };
        Self { services: services.iter().zip(numbers).map(plan).collect() }
    }
}

/// What else the proxy is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Connections that may be open at once, shared out evenly over the workers; at its share a worker accepts no
    /// more and clients wait in the kernel's queue. Unless said, as many as there are descriptors for.
    pub max_connections: Option<usize>,
    /// Whether bulk is moved within the kernel.
    pub splice: bool,
    /// How long a worker looks for more before it sleeps. Every worker is then busy that long after each event.
    pub spin: Duration,
    /// TCP's congestion control on the way to the backends; towards the clients it is the listener's.
    pub congestion_control: Option<String>,
}

impl Settings {
    /// What the configuration asks for.
    pub fn new(proxy: &config::Proxy) -> Self {
        Self {
            max_connections: proxy.max_connections,
            splice: proxy.splice,
            spin: proxy.spin,
            congestion_control: proxy.congestion_control.clone(),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self { max_connections: None, splice: true, spin: Duration::ZERO, congestion_control: None }
    }
}

/// Which listeners come and go with a [`Plan`].
#[derive(Debug, Default)]
pub struct Listeners {
    /// For each worker, services' numbers and sockets made by [`listen`].
    pub opened: Vec<Vec<(usize, TcpListener)>>,
    /// Services' numbers, and where they don't listen any more.
    pub closed: Vec<(usize, SocketAddr)>,
}

/// What the driver should know at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// An attempt to connect failed; the connection goes on to the next backend.
    ConnectFailed {
        /// Number of the service.
        service: usize,
        /// Number of the backend.
        backend: usize,
        /// How it failed.
        reason: ConnectFailure,
    },
    /// An attempt has been waiting for its answer for longer than that backend's answers take. The connection
    /// goes on to the next target if there is one, and waits on if not.
    ConnectOverdue {
        /// Number of the service.
        service: usize,
        /// Number of the backend.
        backend: usize,
    },
    /// No backend was left to try: the client's connection was closed.
    NoBackend {
        /// Number of the service.
        service: usize,
    },
}

/// How an attempt to connect to a backend failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectFailure {
    /// The host is there, and nobody listens.
    Refused,
    /// No answer within the service's connect timeout, or the kernel's.
    Timeout,
    /// Given up early for another backend, since the answer took far longer than usual.
    Overdue,
    /// No way there: no route, no neighbour, or a firewall that says so.
    Unreachable,
    /// Anything else.
    Other,
}

impl ConnectFailure {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Timeout, Self::Overdue, Self::Unreachable, Self::Other];

    /// As in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Overdue => "overdue",
            Self::Unreachable => "unreachable",
            Self::Other => "other",
        }
    }
}

/// Why an accepted connection was closed without a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rejection {
    /// There was none, or every one failed.
    NoBackend,
    /// This host had no descriptor, memory or port left for the second socket.
    Resources,
    /// The client broke off before a backend had answered.
    ClientGone,
}

impl Rejection {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::NoBackend, Self::Resources, Self::ClientGone];

    /// As in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoBackend => "no_backend",
            Self::Resources => "resources",
            Self::ClientGone => "client_gone",
        }
    }
}

/// The running data plane. Dropping it cuts every connection; [`stop`](Self::stop) lets them end.
pub struct Proxy {
    workers: Vec<Handle>,
    /// Locked by who plans or reads, never by a worker.
    books: Mutex<Books>,
    connections_limit: usize,
}

impl Proxy {
    /// Starts one thread for each inner vector of `listeners`, whose entries are a service's index and a socket
    /// made by [`listen`].
    ///
    /// Until the first [`route`](Self::route) there are no targets, and every connection is closed. `report` is
    /// called by the workers and must not wait for anything. Raises the process's limit of open files to its hard
    /// limit, and says in the log how many connections that allows. Fails when a thread or an epoll can't be had; what had been started then ends.
    pub fn start(
        plan: Plan,
        listeners: Vec<Vec<(usize, TcpListener)>>,
        settings: Settings,
        report: impl Fn(Report) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let workers = listeners.len().max(1);
        let connections = descriptors::provide(settings.max_connections, workers, settings.splice);
        let share = connections.div_ceil(workers).max(1);
        let common = Arc::new(Common { settings, report: Box::new(report) });
        let mut books = Books::new(listeners.len());
        let planned = books.plan(plan);
        let mut proxy = Self {
            connections_limit: share * workers,
            workers: Vec::with_capacity(workers),
            books: Mutex::new(books),
        };
        for (number, (listeners, planned)) in listeners.into_iter().zip(planned).enumerate() {
            let desk = Arc::new(Desk::default());
            let (worker, waker) =
                Worker::new(Arc::clone(&common), Arc::clone(&desk), planned, listeners, workers, share)?;
            let thread =
                std::thread::Builder::new().name(format!("worker {number}")).spawn(move || worker.run())?;
            proxy.workers.push(Handle { desk, waker, thread });
        }
        Ok(proxy)
    }

    /// Goes on by another plan, whose targets are those of `routes`.
    ///
    /// Open connections stay where they are, also at a backend or of a service that the plan doesn't have any more;
    /// timeouts and limits are theirs, too, from now on. Whoever stays goes on counting; whatever is said of others
    /// afterwards is of no plan. `opened` has listeners for each worker, as at the start; those at an address that is
    /// `closed` accept who has come, and are closed.
    pub fn replan(&self, plan: Plan, routes: Arc<Routes>, listeners: Listeners) {
        let Listeners { mut opened, closed } = listeners;
        opened.resize_with(self.workers.len(), Vec::new);
        let planned = self.books().plan(plan);
        let snapshot = Arc::new(Snapshot::new(routes));
        for ((worker, planned), opened) in self.workers.iter().zip(planned).zip(opened) {
            worker.tell(|orders| {
                orders.snapshot = Some(Arc::clone(&snapshot));
                orders.planned = Some(planned);
                // A worker closes before it opens: what it hasn't come to open yet is closed here.
                let stays = |socket: &TcpListener, service| {
                    socket.local_addr().is_ok_and(|address| !closed.contains(&(service, address)))
                };
                orders.opened.retain(|(service, socket)| stays(socket, *service));
                orders.opened.extend(opened);
                orders.closed.extend_from_slice(&closed);
            });
        }
    }

    /// Sends new connections, and retries, where `routes` says from now on. Open connections stay where they are.
    pub fn route(&self, routes: Arc<Routes>) {
        let snapshot = Arc::new(Snapshot::new(routes));
        self.tell(|orders| orders.snapshot = Some(Arc::clone(&snapshot)));
    }

    /// Accepts who has come, then closes the listeners for good; open connections go on.
    pub fn close_listeners(&self) {
        self.tell(|orders| orders.close_listeners = true);
    }

    /// Cuts the connections whose clients came by one of `addresses`, which have moved to another node: what these
    /// clients send goes there, so that the connections could only run into their timeouts.
    pub fn forsake(&self, addresses: &[IpAddr]) {
        self.tell(|orders| orders.forsaken.extend_from_slice(addresses));
    }

    /// Everything counted since the start, summed over the workers.
    pub fn counters(&self) -> Counters {
        let mut sum = Counters {
            workers: self.workers.len() as u64,
            connections_limit: self.connections_limit as u64,
            ..Counters::default()
        };
        for (worker, tallies) in self.workers.iter().zip(&self.books().tallies) {
            worker.desk.tally.add_to(&mut sum);
            tallies.add_to(&mut sum);
        }
        sum
    }

    /// Each worker's count of the rounds of its loop, which grows at least once a second.
    pub fn beats(&self) -> Vec<u64> {
        self.workers.iter().map(|worker| worker.desk.beat.load(Ordering::Relaxed)).collect()
    }

    /// Accepts no more, gives open connections until `within` from now to end, cuts the others, and returns what
    /// was counted in the end. Waits for all of that.
    pub fn stop(self, within: Duration) -> Counters {
        let deadline = Instant::now() + within.min(FOREVER);
        self.tell(|orders| orders.stop_at = Some(deadline));
        let desks: Vec<_> = self.workers.iter().map(|worker| Arc::clone(&worker.desk)).collect();
        let tallies = self.books().tallies.clone();
        drop(self);
        let mut sum = Counters::default();
        for (desk, tallies) in desks.iter().zip(tallies) {
            desk.tally.add_to(&mut sum);
            tallies.add_to(&mut sum);
        }
        sum
    }

    fn tell(&self, change: impl Fn(&mut Orders)) {
        for worker in &self.workers {
            worker.tell(&change);
        }
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let now = Instant::now();
        self.tell(|orders| orders.stop_at = orders.stop_at.or(Some(now)));
        for worker in self.workers.drain(..) {
            if worker.thread.join().is_err() {
                tracing::error!("a proxy worker had panicked");
            }
        }
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy").field("workers", &self.workers.len()).finish_non_exhaustive()
    }
}

/// One worker, as seen from outside.
struct Handle {
    desk: Arc<Desk>,
    waker: Waker,
    thread: JoinHandle<()>,
}

impl Handle {
    fn tell(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut self.desk.orders.lock().unwrap_or_else(PoisonError::into_inner));
        if let Err(error) = self.waker.wake() {
            // It looks by itself once a second.
            tracing::warn!(%error, "a proxy worker could not be woken");
        }
    }
}

/// What all workers share.
struct Common {
    settings: Settings,
    report: Box<dyn Fn(Report) + Send + Sync>,
}

/// Where one worker and the others leave things for each other.
#[derive(Debug, Default)]
struct Desk {
    /// Only tried, never waited for, by the worker, and only after it was woken.
    orders: Mutex<Orders>,
    tally: Tally,
    beat: AtomicU64,
}

/// What a worker is to take notice of; the latest wins.
#[derive(Debug, Default)]
struct Orders {
    planned: Option<Planned>,
    /// Listeners that there are from now on, by service.
    opened: Vec<(usize, TcpListener)>,
    /// Services and addresses at which there are none any more.
    closed: Vec<(usize, SocketAddr)>,
    snapshot: Option<Arc<Snapshot>>,
    close_listeners: bool,
    /// Addresses that are no longer here.
    forsaken: Vec<IpAddr>,
    stop_at: Option<Instant>,
}

/// As long as no daemon runs: ten years.
const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
