//! The built-in web servers: they answer every request with their own name, and count.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::LabError;
use super::space::Space;

/// Where they listen.
const PORT: u16 = 80;

/// Connections awaiting `accept`: a burst of clients must not be mistaken for a dead server.
const BACKLOG: i32 = 1024;
/// Connections served at a time; more wait in the backlog.
const MOST_CONNECTIONS: usize = 1024;
/// For the whole of one exchange.
const PATIENCE: Duration = Duration::from_secs(10);
/// After an `accept` that failed.
const ACCEPT_AGAIN: Duration = Duration::from_millis(10);
/// The longest request head that is read; whoever sends more is cut off.
const LONGEST_HEAD: usize = 8 * 1024;

/// One web server, on a thread of its own in its machine's network.
#[derive(Debug)]
pub struct Web {
    name: String,
    counts: Arc<Counts>,
    orders: Option<mpsc::Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    accepted: AtomicU64,
    answered: AtomicU64,
}

enum Order {
    Start(SyncSender<io::Result<()>>),
    Stop(SyncSender<io::Result<()>>),
}

impl Web {
    /// Starts one called `name`; it accepts when this returns.
    pub(super) fn start_in(space: &Arc<Space>, name: &str) -> Result<Self, LabError> {
        let counts = Arc::new(Counts::default());
        let (orders, taken) = mpsc::channel(1);
        let server = Server { name: name.into(), counts: Arc::clone(&counts), orders: taken };
        let space = Arc::clone(space);
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(move || match space.enter_network() {
                Ok(()) => server.run(),
                // The channel closes, and whoever waits for an answer learns it.
                Err(e) => tracing::error!(error = %e, "no web server in its machine"),
            })
            .map_err(|source| LabError::System { doing: format!("start a thread for {name}"), source })?;
        let web = Self { name: name.into(), counts, orders: Some(orders), thread: Some(thread) };
        web.start()?;
        Ok(web)
    }

    /// Its name, which is its answer too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Listens again; nothing changes when it does already.
    pub fn start(&self) -> Result<(), LabError> {
        self.order(Order::Start)
    }

    /// Closes the listener and every connection, as the death of a server's process does: from now on new
    /// connections are refused.
    pub fn stop(&self) -> Result<(), LabError> {
        self.order(Order::Stop)
    }

    /// Connections that it accepted so far. Probes that reset before the handshake is over don't count.
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Ordering::Relaxed)
    }

    /// Requests that it answered so far.
    pub fn answered(&self) -> u64 {
        self.counts.answered.load(Ordering::Relaxed)
    }

    fn order(&self, order: fn(SyncSender<io::Result<()>>) -> Order) -> Result<(), LabError> {
        let (done, outcome): (_, Receiver<io::Result<()>>) = sync_channel(1);
        let sent = self.orders.as_ref().is_some_and(|orders| orders.blocking_send(order(done)).is_ok());
        let outcome = if sent { outcome.recv().ok() } else { None };
        outcome.unwrap_or_else(|| Err(io::ErrorKind::BrokenPipe.into())).map_err(|source| LabError::System {
            doing: format!("reach the web server {}", self.name),
            source,
        })
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already, and the requests that failed by it tell the rest.
            let _ = thread.join();
        }
    }
}

/// What runs on the thread.
struct Server {
    name: String,
    counts: Arc<Counts>,
    orders: mpsc::Receiver<Order>,
}

impl Server {
    fn run(self) {
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime.block_on(self.serve()),
            Err(e) => tracing::error!(error = %e, "no runtime for a web server"),
        }
    }

    async fn serve(mut self) {
        let length = self.name.len() + 1;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{}\n",
            self.name
        );
        let answer: Arc<str> = answer.into();
        let mut listener: Option<TcpListener> = None;
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                order = self.orders.recv() => match order {
                    Some(Order::Start(done)) => {
                        let outcome = if listener.is_some() { Ok(()) } else { listen().map(|l| listener = Some(l)) };
                        let _ = done.send(outcome);
                    }
                    Some(Order::Stop(done)) => {
                        listener = None;
                        connections.shutdown().await;
                        let _ = done.send(Ok(()));
                    }
                    None => return,
                },
                Some(stream) = accept(listener.as_ref()), if connections.len() < MOST_CONNECTIONS => {
                    self.counts.accepted.fetch_add(1, Ordering::Relaxed);
                    let (answer, counts) = (Arc::clone(&answer), Arc::clone(&self.counts));
                    connections.spawn(async move {
                        if let Ok(Ok(())) = timeout(PATIENCE, exchange(stream, &answer)).await {
                            counts.answered.fetch_add(1, Ordering::Relaxed);
                        }
                    });
                }
                Some(_) = connections.join_next() => {}
            }
        }
    }
}

/// The next connection; `None` while not listening.
async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let listener = listener?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some(stream),
            // It was gone before it could be accepted, or descriptors ran out until some other ends.
            Err(_) => sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn exchange(mut stream: TcpStream, answer: &str) -> io::Result<()> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

fn listen() -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking().cloexec(), None)?;
    // Connections of its former life may still be in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT)).into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}
