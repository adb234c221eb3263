//! The `tcp` probe: SYN, SYN-ACK, RST. The backend's kernel answers, and its program never hears of it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

use super::ProbeFailure;

/// A connection that is being made, and broken off when this is dropped.
///
/// As `HAProxy` does it: with delayed acknowledgements the kernel waits for data to send the handshake's last
/// segment with, and with a linger time of zero the close sends a reset instead. The connection thus never
/// becomes established for the backend, whose `accept` doesn't return.
pub(super) struct Connection {
    socket: Socket,
    address: SocketAddr,
    begun: Instant,
}

impl Connection {
    /// Begins to connect. There is an [outcome](Self::outcome) once the socket is writable.
    pub(super) fn begin(address: SocketAddr) -> Result<Self, ProbeFailure> {
        // Not the turn's moment: others are tried before this one.
        let begun = Instant::now();
        let socket = socket_for(address).map_err(|error| failure(&error))?;
        match socket.connect(&address.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(failure(&error)),
            Ok(()) | Err(_) => Ok(Self { socket, address, begun }),
        }
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// How long the answer took, or why there is none.
    pub(super) fn outcome(&self, now: Instant) -> Result<Duration, ProbeFailure> {
        if let Some(error) = self.socket.take_error().map_err(|error| failure(&error))? {
            return Err(failure(&error));
        }
        if self.socket.local_addr().is_ok_and(|local| local.as_socket() == Some(self.address)) {
            // TCP's simultaneous open: nobody listens on this local port, and the kernel chose it as our own.
            return Err(ProbeFailure::Refused);
        }
        Ok(now.saturating_duration_since(self.begun))
    }
}

fn socket_for(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_quickack(false)?;
    // Set before there is a connection, so that no path can close it in another way.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(socket)
}

fn failure(error: &io::Error) -> ProbeFailure {
    match Errno::from_io_error(error) {
        Some(Errno::CONNREFUSED | Errno::CONNRESET) => ProbeFailure::Refused,
        Some(Errno::TIMEDOUT) => ProbeFailure::Timeout,
        Some(
            Errno::HOSTUNREACH
            | Errno::NETUNREACH
            | Errno::HOSTDOWN
            | Errno::NETDOWN
            | Errno::ACCESS
            | Errno::PERM
            | Errno::AFNOSUPPORT,
        ) => ProbeFailure::Unreachable,
        Some(_) | None => ProbeFailure::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn probe(address: SocketAddr) -> Result<Duration, ProbeFailure> {
        let connection = Connection::begin(address)?;
        let limit = Timespec { tv_sec: 20, tv_nsec: 0 };
        let mut polled = [PollFd::from_borrowed_fd(connection.socket(), PollFlags::OUT)];
        assert_eq!(poll(&mut polled, Some(&limit)), Ok(1));
        connection.outcome(Instant::now())
    }

    #[test]
    fn a_backend_that_is_probed_accepts_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..20 {
            probe(address).unwrap();
        }
        // Accepted in the order of their coming: had a probe got through, it would be the first.
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn nobody_listening_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(probe(address), Err(ProbeFailure::Refused));
    }
}
