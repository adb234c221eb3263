//! The HTTP server: connections in, bounded in number, size and patience.
//!
//! It runs on the caller's thread, beside other work, so it holds no more than a fixed number of connections
//! and no request longer than a page. One rule covers the idle client, the one that sends its head byte by
//! byte and the one that doesn't read its answer: whoever hasn't sent a whole request for a while is dropped,
//! or, who listens to events, hasn't taken what it was given.
//! When all places are taken, the one that has been silent longest makes room, so that nobody can lock the
//! others out; and the Unix socket has places of its own.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt, stream};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::{AbortHandle, JoinSet, LocalSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::administration::{Answer, Change, Operator, Words};
use super::bind::SocketListener;
use super::events::{Entry, Ring};
use super::reloading::ReloadAnswer;
use super::requests::{RequestCounts, Requests};
use super::routes;
use super::status::Status;
use super::targets::Group;
use super::token::Token;

/// Where the answers come from; called on the server's thread, so they must not block.
pub struct Sources {
    /// The body of `/metrics`, where the server's own counts are to be shown as well.
    pub metrics: Box<dyn Fn(MetricsFormat, RequestCounts) -> String>,
    /// The document of `/api/v1/status`; `/active` derives from it.
    pub status: Box<dyn Fn() -> Arc<Status>>,
    /// Whether the daemon works, or else a sentence that says what is stuck.
    pub alive: Box<dyn Fn() -> Result<(), String>>,
    /// What this node needs to serve, each with whether it is so.
    pub ready: Box<dyn Fn() -> Vec<(String, bool)>>,
    /// Every node that can be scraped.
    pub targets: Box<dyn Fn() -> Vec<Group>>,
    /// What operators have said that holds.
    pub words: Box<dyn Fn() -> Words>,
    /// Has the driver take a change in, without waiting for it.
    pub change: Box<dyn Fn(Change, Operator, Answer)>,
    /// Has the node read its configuration again, and all others too if so said, without waiting for it.
    pub reload: Box<dyn Fn(Operator, bool, ReloadAnswer)>,
    /// What happens, as it happens, from the start on.
    pub events: Pin<Box<dyn Stream<Item = Entry>>>,
    /// How many events had to be given up.
    pub events_dropped: Box<dyn Fn() -> u64>,
    /// What a change by TCP has to show; without one there are none.
    pub token: Option<Token>,
}

/// What every request is answered from.
pub(super) struct Desk {
    pub(super) sources: Sources,
    pub(super) events: Rc<Ring>,
    /// What was answered.
    pub(super) requests: Requests,
}

/// Who asks.
#[derive(Clone)]
pub(super) struct Caller {
    pub(super) via: Via,
    /// When it last showed that it is there.
    pub(super) heard: Rc<Cell<Instant>>,
    /// For how long it may be silent.
    pub(super) patience: Duration,
}

/// How `/metrics` is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MetricsFormat {
    /// Prometheus' text format 0.0.4.
    Text,
    /// `OpenMetrics` 1.0.0, for those who ask for it.
    OpenMetrics,
}

/// How a connection came.
#[derive(Debug, Clone, Copy)]
pub(super) enum Via {
    /// Over the network.
    Tcp {
        /// From there.
        from: SocketAddr,
    },
    /// By the Unix socket, whose mode says who may.
    Socket {
        /// The user at the other end, if the kernel tells.
        uid: Option<u32>,
    },
}

/// Where to answer: at neither, one or both.
#[derive(Debug, Default)]
pub struct Listeners {
    /// From [`bind_tcp`](super::bind_tcp).
    pub tcp: Option<std::net::TcpListener>,
    /// From [`bind_socket`](super::bind_socket); removed when the server ends.
    pub socket: Option<SocketListener>,
}

/// What the clients of one listener may take.
#[derive(Debug, Clone, Copy)]
struct Limits {
    /// Open at a time.
    connections: usize,
    /// From one request's head to the next one's: long enough for a scrape every 15 s on one connection.
    patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, patience: Duration::from_secs(30) }
    }
}

/// The longest request head, in bytes: a path and the usual headers have a few hundred.
const HEAD_BYTES: usize = 8 << 10;
/// The most headers of a request.
const HEADERS: usize = 64;
/// After an `accept` that failed for want of a descriptor or of memory: another at once would fail too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until dropped; then its connections are closed and the Unix socket is removed.
///
/// Must be polled on a tokio runtime with I/O and time, and is not `Send`: it belongs to a current-thread
/// runtime's `block_on` or to a `LocalSet`. Fails only when a listener can't be registered there.
pub async fn serve(listeners: Listeners, sources: Sources) -> io::Result<Infallible> {
    serve_within(listeners, sources, Limits::default()).await
}

async fn serve_within(listeners: Listeners, mut sources: Sources, limits: Limits) -> io::Result<Infallible> {
    let tcp = listeners.tcp.map(TcpListener::from_std).transpose()?;
    let (socket, _removal) = match listeners.socket {
        Some(listener) => {
            let (listener, removal) = listener.into_parts();
            (Some(UnixListener::from_std(listener)?), Some(removal))
        }
        None => (None, None),
    };
    let mut told = std::mem::replace(&mut sources.events, Box::pin(stream::pending()));
    let desk = Rc::new(Desk { sources, events: Rc::default(), requests: routes::requests() });
    let kept = Rc::clone(&desk.events);
    let keep = async {
        while let Some(entry) = told.next().await {
            kept.push(entry);
        }
        pending().await
    };
    let over_tcp = async {
        let Some(tcp) = tcp else { return pending().await };
        let next = async || {
            let (stream, from) = tcp.accept().await?;
            // Else the kernel would keep for minutes what a client that was dropped hasn't read.
            SockRef::from(&stream).set_tcp_user_timeout(Some(limits.patience))?;
            Ok((stream, Via::Tcp { from }))
        };
        accept(next, &desk, limits).await
    };
    let over_socket = async {
        let Some(socket) = socket else { return pending().await };
        let next = async || {
            let (stream, _) = socket.accept().await?;
            let uid = stream.peer_cred().ok().map(|peer| peer.uid());
            Ok((stream, Via::Socket { uid }))
        };
        accept(next, &desk, limits).await
    };
    // Connections are tasks of this set, so that they may share what isn't `Send`.
    LocalSet::new()
        .run_until(async {
            tokio::select! {
                never = over_tcp => never,
                never = over_socket => never,
                never = keep => never,
            }
        })
        .await
}

/// A connection under way.
struct Open {
    task: AbortHandle,
    heard: Rc<Cell<Instant>>,
}

/// Takes connections from one listener for ever.
async fn accept<S>(
    mut next: impl AsyncFnMut() -> io::Result<(S, Via)>,
    desk: &Rc<Desk>,
    limits: Limits,
) -> io::Result<Infallible>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let mut tasks = JoinSet::new();
    let mut open: Vec<Open> = Vec::with_capacity(limits.connections);
    loop {
        let accepted = tokio::select! {
            accepted = next() => accepted,
            Some(ended) = tasks.join_next() => {
                if ended.is_err_and(|error| error.is_panic()) {
                    tracing::error!("an admin request failed by a mistake in chinthe");
                }
                continue;
            }
        };
        let (stream, via) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, "an admin connection was not accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= limits.connections {
            let silent = open.iter().enumerate().min_by_key(|(_, connection)| connection.heard.get());
            if let Some((index, _)) = silent {
                open.swap_remove(index).task.abort();
            }
        }
        let heard = Rc::new(Cell::new(Instant::now()));
        let caller = Caller { via, heard: Rc::clone(&heard), patience: limits.patience };
        let task = tasks.spawn_local(converse(stream, caller, Rc::clone(desk)));
        open.push(Open { task, heard });
    }
}

/// Answers one connection's requests, until it ends or the patience with it does.
async fn converse<S>(stream: S, caller: Caller, desk: Rc<Desk>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (heard, patience) = (Rc::clone(&caller.heard), caller.patience);
    let service = service_fn(|request| {
        heard.set(Instant::now());
        let (desk, caller) = (Rc::clone(&desk), caller.clone());
        async move { Ok::<_, Infallible>(routes::answer(request, &caller, &desk).await) }
    });
    let connection = http1::Builder::new()
        .max_buf_size(HEAD_BYTES)
        .max_headers(HEADERS)
        // `patience` covers it, and more.
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    loop {
        tokio::select! {
            ended = &mut connection => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "an admin connection ended early");
                }
                return;
            }
            () = sleep_until(heard.get() + patience) => {
                if heard.get().elapsed() >= patience {
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
