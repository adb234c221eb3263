//! The `tcp` probe: SYN, SYN-ACK, RST. The backend's kernel answers, and its program never hears of it.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpSocket;
use tokio::time::Instant;

use super::ProbeFailure;

/// Connects to `address`, breaks off, and says how long the answer took.
///
/// As `HAProxy` does it: with delayed acknowledgements the kernel waits for data to send the handshake's last
/// segment with, and with a linger time of zero the close sends a reset instead. The connection thus never
/// becomes established for the backend, whose `accept` doesn't return.
pub(super) async fn probe(address: SocketAddr) -> Result<Duration, ProbeFailure> {
    let started = Instant::now();
    let socket = socket_for(address).map_err(|error| failure(&error))?;
    let connection = socket.connect(address).await.map_err(|error| failure(&error))?;
    if connection.local_addr().is_ok_and(|local| local == address) {
        // TCP's simultaneous open: nobody listens on this local port, and the kernel chose it as our own.
        return Err(ProbeFailure::Refused);
    }
    Ok(started.elapsed())
}

fn socket_for(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_tcp_quickack(false)?;
    // Set before there is a connection, so that no path can close it in another way.
    socket.set_linger(Some(Duration::ZERO))?;
    Ok(TcpSocket::from_std_stream(socket.into()))
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

    use super::*;

    #[tokio::test]
    async fn a_backend_that_is_probed_accepts_nothing() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        for _ in 0..20 {
            probe(address).await.unwrap();
        }
        // Accepted in the order of their coming: had a probe got through, it would be the first.
        let client = TcpStream::connect(address).unwrap();
        let (_, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[tokio::test]
    async fn nobody_listening_is_refused() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        assert_eq!(probe(address).await, Err(ProbeFailure::Refused));
    }
}
