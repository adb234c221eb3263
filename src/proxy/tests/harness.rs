//! A proxy, backends that do as they are told, and clients.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use socket2::SockRef;

use crate::config::Timeouts;
use crate::proxy::{Counters, Plan, Proxy, Report, Route, Routes, ServicePlan, Settings, Target, listen};

/// Longer than anything takes that doesn't fail.
pub(super) const LONG: Duration = Duration::from_secs(20);

/// One service, its proxy and what it reports.
pub(super) struct Service {
    pub(super) proxy: Proxy,
    pub(super) address: SocketAddr,
    pub(super) reports: Receiver<Report>,
}

/// How a [`Service`] is set up.
pub(super) struct Setup {
    pub(super) workers: usize,
    pub(super) timeouts: Timeouts,
    pub(super) settings: Settings,
    pub(super) service_max_connections: Option<usize>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            workers: 1,
            timeouts: Timeouts { connect: LONG, client: LONG, server: LONG },
            settings: Settings::default(),
            service_max_connections: None,
        }
    }
}

impl Setup {
    /// Starts it with targets of these addresses and weights.
    pub(super) fn start(self, targets: &[(SocketAddr, u16)]) -> Service {
        let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut listeners = Vec::new();
        for _ in 0..self.workers {
            let listener =
                listen(address, 4096, None, |socket, address| socket.bind(&address.into())).unwrap();
            address = listener.local_addr().unwrap();
            listeners.push(vec![(0, listener)]);
        }
        let service = ServicePlan {
            number: 0,
            max_connections: self.service_max_connections,
            timeouts: self.timeouts,
            backends: (0..targets.len()).collect(),
        };
        let (report, reports) = mpsc::sync_channel(1000);
        let proxy = Proxy::start(Plan { services: vec![service] }, listeners, self.settings, move |what| {
            let _ = report.try_send(what);
        })
        .unwrap();
        let service = Service { proxy, address, reports };
        service.route(Route { targets: to(targets), reserve: vec![] });
        service
    }
}

/// Targets of these addresses and weights, numbered from zero.
pub(super) fn to(targets: &[(SocketAddr, u16)]) -> Vec<Target> {
    let target = |(backend, (address, weight)): (usize, &(SocketAddr, u16))| Target {
        backend,
        address: *address,
        weight: *weight,
    };
    targets.iter().enumerate().map(target).collect()
}

impl Service {
    pub(super) fn start(targets: &[(SocketAddr, u16)]) -> Self {
        Setup::default().start(targets)
    }

    /// Routes anew, and returns when every worker has been round since.
    pub(super) fn route(&self, route: Route) {
        let routes = Arc::new(Routes { services: vec![route] });
        let before = self.proxy.beats();
        // Two rounds: the one that was under way, and the one that took the order.
        wait_until(|| {
            self.proxy.route(Arc::clone(&routes));
            self.proxy.beats().iter().zip(&before).all(|(now, before)| *now >= before + 2)
        });
    }

    pub(super) fn connect(&self) -> TcpStream {
        client_of(self.address)
    }

    /// What the backend says to a client that says nothing.
    pub(super) fn greeting(&self) -> String {
        read_to_end(&mut self.connect())
    }

    pub(super) fn counters(&self) -> Counters {
        self.proxy.counters()
    }

    /// Connections established to each backend.
    pub(super) fn shares(&self) -> Vec<u64> {
        self.counters().services[0].backends.iter().map(|backend| backend.connections).collect()
    }

    pub(super) fn report(&self) -> Report {
        self.reports.recv_timeout(LONG).unwrap()
    }

    /// Waits until every connection has been taken off the counts.
    pub(super) fn wait_for_silence(&self) {
        wait_until(|| {
            let counters = self.counters();
            let service = &counters.services[0];
            service.active == 0 && service.backends.iter().all(|backend| backend.active == 0)
        });
    }
}

pub(super) fn client_of(address: SocketAddr) -> TcpStream {
    let client = TcpStream::connect(address).unwrap();
    client.set_read_timeout(Some(LONG)).unwrap();
    client.set_write_timeout(Some(LONG)).unwrap();
    client
}

pub(super) fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

/// A server: each connection is given to `serve` in a thread of its own. Gone when dropped.
pub(super) struct Backend {
    pub(super) address: SocketAddr,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Backend {
    pub(super) fn new(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let ending = Arc::new(AtomicBool::new(false));
        let (end, serve) = (Arc::clone(&ending), Arc::new(serve));
        let thread = std::thread::spawn(move || {
            loop {
                // A blocked `accept` would keep a descriptor of its own, which some tests are short of.
                let _ = poll(&mut [PollFd::new(&listener, PollFlags::IN)], None);
                let Ok((stream, _)) = listener.accept() else { continue };
                if end.load(Ordering::SeqCst) {
                    return;
                }
                stream.set_read_timeout(Some(LONG)).unwrap();
                stream.set_write_timeout(Some(LONG)).unwrap();
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || serve(stream));
            }
        });
        Self { address, ending, thread: Some(thread) }
    }

    /// Says `name` and closes.
    pub(super) fn named(name: &'static str) -> Self {
        Self::new(move |mut stream| stream.write_all(name.as_bytes()).unwrap())
    }

    /// Sends everything back.
    pub(super) fn echo() -> Self {
        Self::new(|mut stream| {
            let mut buffer = [0; 4096];
            while let Ok(count) = stream.read(&mut buffer) {
                if count == 0 || stream.write_all(&buffer[..count]).is_err() {
                    return;
                }
            }
        })
    }

    /// Hands its connections over.
    pub(super) fn handing_over() -> (Self, Receiver<TcpStream>) {
        let (hand_over, connections) = mpsc::sync_channel(100);
        (Self::new(move |stream| hand_over.send(stream).unwrap()), connections)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// An address at which nobody listens, held so that nobody else comes to.
pub(super) fn refusing() -> (SocketAddr, socket2::Socket) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    (socket.local_addr().unwrap().as_socket().unwrap(), socket)
}

/// A listener that answers no SYN, since its queue is full and nobody accepts from it.
pub(super) struct Blackhole {
    pub(super) address: SocketAddr,
    pub(super) listener: TcpListener,
    waiting: Vec<TcpStream>,
}

impl Blackhole {
    pub(super) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        socket.listen(0).unwrap();
        let listener = TcpListener::from(socket);
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        // On the loopback an answer comes within the call, so that none within this time means none at all.
        while let Ok(client) = TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
            waiting.push(client);
        }
        Self { address, listener, waiting }
    }

    /// Lets everybody in who waits; returns the next that comes after them.
    pub(super) fn open(&mut self) -> TcpStream {
        for _ in 0..self.waiting.len() {
            self.listener.accept().unwrap();
        }
        self.listener.accept().unwrap().0
    }
}

/// Closes `stream` by a reset.
pub(super) fn reset(stream: TcpStream) {
    SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
}

/// Does `deed` in another process of this program, which runs nothing but the test of this name.
pub(super) fn in_a_process_of_its_own(test: &str, deed: impl FnOnce()) {
    const HERE: &str = "CHINTHE_TEST_IN_ITS_OWN_PROCESS";
    if std::env::var_os(HERE).is_some() {
        return deed();
    }
    let this = std::env::current_exe().unwrap();
    let output = Command::new(this).args(["--exact", test]).env(HERE, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// Waits for `condition`, and fails when it doesn't come.
pub(super) fn wait_until(condition: impl Fn() -> bool) {
    let deadline = Instant::now() + LONG;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}
