//! The unicast socket: port 7780/udp on the node's own address.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::wire::seal::MAX_DATAGRAM;

use super::{PORT, PeersError};

pub(super) struct Advertisements {
    socket: UdpSocket,
    buffer: Vec<u8>,
}

impl Advertisements {
    pub(super) fn open(address: IpAddr) -> Result<Self, PeersError> {
        let at = SocketAddr::new(address, PORT);
        let socket = bind(at).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => PeersError::InUse(at),
            io::ErrorKind::AddrNotAvailable => PeersError::NotHere(address),
            _ => PeersError::Other { what: format!("{at}/udp can't be opened"), source },
        })?;
        Ok(Self { socket, buffer: vec![0; MAX_DATAGRAM] })
    }

    /// Sends a datagram, or doesn't: what must arrive is sent again, and the rest is stale by then.
    pub(super) fn send(&self, datagram: &[u8], to: SocketAddr) {
        let _ = self.socket.send_to(datagram, to);
    }

    pub(super) fn receive(&mut self) -> Option<(&[u8], SocketAddr)> {
        loop {
            match self.socket.recv_from(&mut self.buffer) {
                Ok((length, from)) => return Some((&self.buffer[..length], from)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // An earlier datagram's misfortune, reported late.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_unreachable) => return None,
            }
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<UdpSocket> {
        self.socket.try_clone()
    }

    pub(super) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn bind(at: SocketAddr) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(at), kind, Some(Protocol::UDP))?;
    socket.bind(&at.into())?;
    Ok(socket.into())
}

impl super::gossip::Carrier for UdpSocket {
    fn send(&self, datagram: &[u8], to: SocketAddr) {
        // What doesn't leave is said again.
        let _ = self.send_to(datagram, to);
    }
}
