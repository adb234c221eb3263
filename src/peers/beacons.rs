//! The multicast sockets: port 7781/udp on every interface that carries a VIP.

use std::io;
use std::net::{SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::netdevice::name_to_index;
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::wire::beacon::{GROUP, PORT};
use crate::wire::seal::MAX_DATAGRAM;

use super::PeersError;

pub(super) struct Beacons {
    sockets: Vec<UdpSocket>,
    buffer: Vec<u8>,
}

impl Beacons {
    pub(super) fn open(interfaces: &[String]) -> Result<Self, PeersError> {
        let mut sockets = Vec::new();
        for interface in interfaces {
            sockets.push(open(interface).map_err(|source| match source.kind() {
                io::ErrorKind::AddrInUse => PeersError::InUse(SocketAddr::from((GROUP, PORT))),
                _ => PeersError::Other { what: format!("beacons can't be heard on `{interface}`"), source },
            })?);
        }
        Ok(Self { sockets, buffer: vec![0; MAX_DATAGRAM] })
    }

    /// How many interfaces it was sent on.
    pub(super) fn send(&self, datagram: &[u8]) -> u64 {
        let group = SocketAddr::from((GROUP, PORT));
        self.sockets.iter().filter(|socket| socket.send_to(datagram, group).is_ok()).count() as u64
    }

    pub(super) fn receive(&mut self) -> Option<(&[u8], SocketAddr)> {
        for socket in &self.sockets {
            if let Ok((length, from)) = socket.recv_from(&mut self.buffer) {
                return Some((&self.buffer[..length], from));
            }
        }
        None
    }

    pub(super) fn sockets(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.sockets.iter().map(AsFd::as_fd)
    }
}

fn open(interface: &str) -> io::Result<UdpSocket> {
    let kind = Type::DGRAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::UDP))?;
    // Several nodes on one machine hear the same beacons.
    socket.set_reuse_address(true)?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::V4(SocketAddrV4::new(GROUP, PORT)).into())?;
    let index = name_to_index(&socket, interface)?;
    socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_multicast_ttl_v4(1)?;
    Ok(socket.into())
}
