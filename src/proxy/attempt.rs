//! One attempt to connect to one backend.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::ConnectFailure;
use super::routes::Target;
use super::side::Side;

/// An attempt under way.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) target: Target,
    pub(super) side: Side,
    pub(super) started: Instant,
    /// When the answer is later than this backend's use to be; `None` once that was said.
    pub(super) overdue_at: Option<Instant>,
    /// When it has failed.
    pub(super) fails_at: Instant,
}

/// Why there is no attempt under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unopened {
    /// The backend can't be reached.
    Failed(ConnectFailure),
    /// This host has no descriptor, memory or port left for it: no backend's fault.
    Exhausted,
}

/// Starts connecting to `address`, without waiting for an answer; with this congestion control, if not the kernel's.
pub(super) fn open(address: SocketAddr, congestion_control: Option<&str>) -> Result<TcpStream, Unopened> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))
        .map_err(|error| unopened(&error))?;
    // A proxy passes on what it gets when it gets it; waiting for more is for those who write.
    socket.set_tcp_nodelay(true).map_err(|error| unopened(&error))?;
    if let Some(name) = congestion_control {
        socket.set_tcp_congestion(name.as_bytes()).map_err(|error| unopened(&error))?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if Errno::from_io_error(&error) == Some(Errno::INPROGRESS) => {}
        Err(error) => return Err(unopened(&error)),
    }
    Ok(socket.into())
}

/// An answer to an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The backend is there.
    Connected,
    /// It was there, said something, and reset the connection: the client is to have what it said.
    ConnectedAndReset,
}

/// What became of an attempt whose socket has become writable.
///
/// A connection that was reset before the backend said anything counts as refused: its listener is closing, or it
/// has too much to do. Nothing has been said to it yet, so that the next one can have the client.
///
/// Where epoll hasn't called it `broken` it has no error, and the call that would say so is saved.
pub(super) fn outcome(
    socket: &TcpStream,
    broken: bool,
    address: SocketAddr,
) -> Result<Answer, ConnectFailure> {
    match if broken { socket.take_error() } else { Ok(None) } {
        Ok(None) if connected_to_itself(socket, address) => Err(ConnectFailure::Refused),
        Ok(None) => Ok(Answer::Connected),
        Ok(Some(error))
            if Errno::from_io_error(&error) == Some(Errno::CONNRESET)
                && socket.peek(&mut [0]).is_ok_and(|bytes| bytes > 0) =>
        {
            Ok(Answer::ConnectedAndReset)
        }
        Ok(Some(error)) | Err(error) => Err(failure(&error)),
    }
}

/// Where nobody listens on a local port, TCP's simultaneous open can connect a socket to itself: the kernel
/// happened to choose the destination's port as the source's.
fn connected_to_itself(socket: &TcpStream, address: SocketAddr) -> bool {
    address.port() >= UNPRIVILEGED_PORTS && socket.local_addr().is_ok_and(|local| local == address)
}

fn unopened(error: &io::Error) -> Unopened {
    match Errno::from_io_error(error) {
        Some(
            Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ADDRNOTAVAIL | Errno::AGAIN,
        ) => Unopened::Exhausted,
        Some(_) | None => Unopened::Failed(failure(error)),
    }
}

fn failure(error: &io::Error) -> ConnectFailure {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => ConnectFailure::Refused,
        Some(Errno::TIMEDOUT) => ConnectFailure::Timeout,
        Some(
            Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::ACCESS
            | Errno::PERM
            | Errno::AFNOSUPPORT,
        ) => ConnectFailure::Unreachable,
        Some(_) | None => ConnectFailure::Other,
    }
}

/// How long a backend's connects use to take, and from when on one is overdue.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Patience {
    /// Smoothed as TCP smooths its round trips (RFC 6298): an eighth of each new one. `None` before the first.
    smoothed: Option<Duration>,
}

impl Patience {
    /// Learns from a connect that took `duration`, or that was given up after it.
    pub(super) fn learn(&mut self, duration: Duration) {
        self.smoothed = Some(match self.smoothed {
            None => duration,
            Some(smoothed) => (smoothed * 7 + duration) / 8,
        });
    }

    /// How long to wait before an attempt is overdue.
    pub(super) fn limit(&self) -> Duration {
        (self.smoothed.unwrap_or(Duration::ZERO) * OVERDUE_FACTOR).max(OVERDUE_AFTER)
    }
}

/// Longer than any answer within a site takes, shorter than TCP's first repetition of a SYN (1 s).
const OVERDUE_AFTER: Duration = Duration::from_millis(200);

/// An answer that takes so many times the usual is not a slow one.
const OVERDUE_FACTOR: u32 = 8;

/// Below it the kernel doesn't choose source ports, so that nobody can meet itself.
const UNPRIVILEGED_PORTS: u16 = 1024;

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener};

    use rustix::event::{PollFd, PollFlags, poll};
    use socket2::SockRef;

    use super::*;

    /// An attempt whose listener is given to `server`, once that is done.
    fn outcome_after(server: impl FnOnce(TcpListener)) -> Result<Answer, ConnectFailure> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let socket = open(address, None).unwrap();
        server(listener);
        poll(&mut [PollFd::new(&socket, PollFlags::HUP)], None).unwrap();
        outcome(&socket, true, address)
    }

    #[test]
    fn a_listener_that_closes_before_it_has_accepted_is_as_good_as_one_that_refuses() {
        assert_eq!(outcome_after(drop), Err(ConnectFailure::Refused));
    }

    #[test]
    fn last_words_before_a_reset_make_it_a_connection() {
        let outcome = outcome_after(|listener| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"busy").unwrap();
            SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
        });
        assert_eq!(outcome, Ok(Answer::ConnectedAndReset));
    }

    #[test]
    fn a_far_backend_is_given_more_time_than_a_near_one() {
        let mut patience = Patience::default();
        assert_eq!(patience.limit(), OVERDUE_AFTER);
        patience.learn(Duration::from_millis(1));
        assert_eq!(patience.limit(), OVERDUE_AFTER);
        for _ in 0..64 {
            patience.learn(Duration::from_millis(300));
        }
        assert!(patience.limit() > Duration::from_secs(2));
    }
}
