//! The sockets that clients come in by.

use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// A listener for one worker: bound before the address is there, and beside those of the other workers.
///
/// It doesn't block. `SO_REUSEPORT` lets every worker have one of its own (and would also let another daemon of
/// the same user in: ask [`port_is_free`] first); `IP_FREEBIND` lets every node bind a VIP before it holds it.
/// `backlog` clients may wait to be accepted, as far as `net.core.somaxconn` allows. Accepted sockets inherit
/// `congestion_control`. `bind` binds it, possibly with somebody's help: low ports need a permission. Fails as
/// `socket(2)`, `bind`, `listen(2)` and [`can_control_congestion`] do.
pub fn listen(
    address: SocketAddr,
    backlog: u16,
    congestion_control: Option<&str>,
    bind: impl FnOnce(&Socket, SocketAddr) -> io::Result<()>,
) -> io::Result<TcpListener> {
    let socket = unbound(address)?;
    socket.set_reuse_port(true)?;
    // Accepted sockets inherit it: one call here instead of one a connection.
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    if let Some(name) = congestion_control {
        socket.set_tcp_congestion(name.as_bytes())?;
    }
    bind(&socket, address)?;
    socket.listen(backlog.into())?;
    Ok(socket.into())
}

/// Fails with [`io::ErrorKind::AddrInUse`] when somebody, us included, already listens at `address`.
///
/// Bound without `SO_REUSEPORT` and closed at once: with it, two daemons of one user would share the port, each
/// getting every other connection, and neither would notice.
pub fn port_is_free(address: SocketAddr) -> io::Result<()> {
    unbound(address)?.bind(&address.into())
}

/// Fails with [`io::ErrorKind::NotFound`] when the kernel lacks the TCP congestion control of this name, and with
/// [`io::ErrorKind::PermissionDenied`] when it isn't for everybody.
pub fn can_control_congestion(name: &str) -> io::Result<()> {
    Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?.set_tcp_congestion(name.as_bytes())
}

fn unbound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // What an earlier life left in TIME_WAIT is in nobody's way.
    socket.set_reuse_address(true)?;
    match address {
        SocketAddr::V4(_) => socket.set_freebind_v4(true)?,
        SocketAddr::V6(_) => {
            // `[::]` and `0.0.0.0` are two listeners, whatever the host's default.
            socket.set_only_v6(true)?;
            socket.set_freebind_v6(true)?;
        }
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    fn by_itself(socket: &Socket, address: SocketAddr) -> io::Result<()> {
        socket.bind(&address.into())
    }

    #[test]
    fn workers_share_a_port_that_another_daemon_cannot_take_unseen() {
        let first = listen((Ipv4Addr::LOCALHOST, 0).into(), 16, None, by_itself).unwrap();
        let address = first.local_addr().unwrap();
        let second = listen(address, 16, None, by_itself).unwrap();
        assert_eq!(port_is_free(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop((first, second));
        port_is_free(address).unwrap();
    }

    #[test]
    fn an_address_that_is_not_here_yet_can_be_bound() {
        listen((Ipv4Addr::new(192, 0, 2, 69), 0).into(), 16, None, by_itself).unwrap();
    }

    #[test]
    fn a_congestion_control_that_the_kernel_lacks_is_not_found() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), 16, Some("none_such"), by_itself);
        assert_eq!(listener.unwrap_err().kind(), io::ErrorKind::NotFound);
        listen((Ipv4Addr::LOCALHOST, 0).into(), 16, Some("reno"), by_itself).unwrap();
    }

    #[test]
    fn both_families_listen_at_one_port() {
        let v4 = listen((Ipv4Addr::UNSPECIFIED, 0).into(), 16, None, by_itself).unwrap();
        let port = v4.local_addr().unwrap().port();
        match listen((Ipv6Addr::UNSPECIFIED, port).into(), 16, None, by_itself) {
            // Some hosts have no IPv6 at all.
            Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => {}
            outcome => drop(outcome.unwrap()),
        }
    }
}
