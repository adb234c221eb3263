//! Who is where on one interface's network: announcements, questions and what others say, by ARP for IPv4 and by
//! neighbour discovery for IPv6.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::task::{Context, Poll};

use socket2::{Domain, Protocol, SockAddr, SockFilter, Socket, Type};
use tokio::io::unix::AsyncFd;

use super::channel::awaitable;
use super::filter::{ADVERTISEMENTS, LONGEST, arp_claims};
use crate::core::Mac;
use crate::wire::{arp, ndp};

const BROADCAST: Mac = Mac([0xff; 6]);
const ETHERTYPE_ARP: u16 = 0x0806;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// The neighbours on one interface. Needs `CAP_NET_RAW`.
pub(super) struct Neighbours {
    /// The interface's own link-layer address.
    mac: Mac,
    arp: AsyncFd<LinkSocket>,
    /// Whom ARP asks as.
    own_ipv4: Ipv4Addr,
    /// Only where there are IPv6 VIPs.
    discovery: Option<AsyncFd<LinkSocket>>,
    /// Whom neighbour discovery asks as.
    own_ipv6: Ipv6Addr,
}

impl Neighbours {
    /// Opens the sockets for what others say of `vips`, those for IPv6 only where there are such. Needs a tokio
    /// runtime.
    ///
    /// Questions come from one of `own`: the interface's addresses but for VIPs, the best first. Without any they
    /// are probes, RFC 5227 section 2.1.1.
    pub(super) fn open(interface: u32, mac: Mac, own: &[IpAddr], vips: &[IpAddr]) -> io::Result<Self> {
        let ipv4 = own.iter().find_map(|address| match address {
            IpAddr::V4(address) => Some(*address),
            IpAddr::V6(_) => None,
        });
        let ipv6 = || {
            own.iter().filter_map(|address| match address {
                IpAddr::V6(address) => Some(*address),
                IpAddr::V4(_) => None,
            })
        };
        // Of the link's own by preference: every neighbour can answer it without a route.
        let own_ipv6 = ipv6().find(Ipv6Addr::is_unicast_link_local).or_else(|| ipv6().next());
        let wanted_ipv6 = vips.iter().any(IpAddr::is_ipv6);
        let discovery = wanted_ipv6.then(|| LinkSocket::open(interface, ETHERTYPE_IPV6, &ADVERTISEMENTS));
        Ok(Self {
            mac,
            arp: awaitable(LinkSocket::open(interface, ETHERTYPE_ARP, &arp_claims(vips))?)?,
            own_ipv4: ipv4.unwrap_or(Ipv4Addr::UNSPECIFIED),
            discovery: discovery.transpose()?.map(awaitable).transpose()?,
            own_ipv6: own_ipv6.unwrap_or(Ipv6Addr::UNSPECIFIED),
        })
    }

    /// The interface has another link-layer address now.
    pub(super) fn set_mac(&mut self, mac: Mac) {
        self.mac = mac;
    }

    /// Tells everybody that `address` is here.
    pub(super) fn announce(&self, address: IpAddr) -> io::Result<()> {
        match address {
            IpAddr::V4(address) => {
                let packet = arp::Packet::announcement(address, self.mac);
                self.arp.get_ref().send(&packet.encode(), BROADCAST)
            }
            IpAddr::V6(address) => {
                let packet = ndp::Packet::announcement(address, self.mac);
                self.discover(&packet, packet.group())
            }
        }
    }

    /// Asks everybody who has `address`, or `mac` alone whether it does.
    pub(super) fn ask(&self, address: IpAddr, mac: Option<Mac>) -> io::Result<()> {
        match address {
            IpAddr::V4(address) => {
                let packet = arp::Packet::request(address, self.own_ipv4, self.mac);
                self.arp.get_ref().send(&packet.encode(), mac.unwrap_or(BROADCAST))
            }
            IpAddr::V6(address) => {
                let packet = ndp::Packet::request(address, self.own_ipv6, self.mac);
                self.discover(&packet, mac.unwrap_or(packet.group()))
            }
        }
    }

    /// What others claim, packet by packet, other addresses than VIPs among it: at most `portion` by each protocol.
    pub(super) fn claims(&self, portion: usize) -> impl Iterator<Item = Result<(IpAddr, Mac), OfNoInterest>> {
        let arp = std::iter::from_fn(|| self.arp.get_ref().receive(arp_claim)).take(portion);
        let discovery = self.discovery.iter().flat_map(move |socket| {
            std::iter::from_fn(|| socket.get_ref().receive(advertised)).take(portion)
        });
        arp.chain(discovery).map(|claim| {
            claim.and_then(|claim| if claim.1 == self.mac { Err(OfNoInterest) } else { Ok(claim) })
        })
    }

    /// Ready when somebody has said something.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<()> {
        for socket in std::iter::once(&self.arp).chain(&self.discovery) {
            if let Poll::Ready(ready) = socket.poll_read_ready(context) {
                // Whatever has come is read next.
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }

    fn discover(&self, packet: &ndp::Packet, to: Mac) -> io::Result<()> {
        match &self.discovery {
            Some(socket) => socket.get_ref().send(&packet.encode(), to),
            None => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

fn arp_claim(bytes: &[u8]) -> Result<(IpAddr, Mac), OfNoInterest> {
    let packet = arp::Packet::decode(bytes).ok_or(OfNoInterest)?;
    Ok((packet.sender_ip.into(), packet.sender_mac))
}

/// An answer without a link-layer address is one all the same: of a stranger, as far as can be told.
fn advertised(bytes: &[u8]) -> Result<(IpAddr, Mac), OfNoInterest> {
    let packet =
        ndp::Packet::decode(bytes).filter(|packet| packet.claims(packet.target)).ok_or(OfNoInterest)?;
    Ok((packet.target.into(), packet.mac.unwrap_or_default()))
}

/// A packet that claims nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OfNoInterest;

/// A packet socket that speaks one protocol on one interface.
struct LinkSocket {
    socket: Socket,
    interface: u32,
    ethertype: u16,
}

impl LinkSocket {
    /// Receives what passes the `filter`, or everything if that is empty.
    fn open(interface: u32, ethertype: u16, filter: &[SockFilter]) -> io::Result<Self> {
        let kind = Type::DGRAM.nonblocking().cloexec();
        // Of no protocol until it is filtered and bound, so that nothing else is in its queue.
        let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)))?;
        if !filter.is_empty() {
            socket.attach_filter(filter)?;
        }
        socket.bind(&link_address(interface, ethertype, Mac::default())?)?;
        Ok(Self { socket, interface, ethertype })
    }

    fn send(&self, packet: &[u8], to: Mac) -> io::Result<()> {
        let to = link_address(self.interface, self.ethertype, to)?;
        let sent = match self.socket.send_to(packet, &to) {
            // That the link was down once is said instead of sending.
            Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => self.socket.send_to(packet, &to),
            other => other,
        };
        sent.map(drop)
    }

    /// What `read` makes of the next packet; `None` when there is none for now.
    fn receive<T>(&self, read: impl Fn(&[u8]) -> Result<T, OfNoInterest>) -> Option<Result<T, OfNoInterest>> {
        let mut buffer = [0; LONGEST];
        loop {
            match (&self.socket).read(&mut buffer) {
                Ok(length) => return Some(read(&buffer[..length])),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // A link that went down says so once, to whoever comes first; what it has received can still be read.
                Err(error) if error.raw_os_error() == Some(libc::ENETDOWN) => {}
                Err(_would_block) => return None,
            }
        }
    }
}

impl AsFd for LinkSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for LinkSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[allow(unsafe_code)]
fn link_address(interface: u32, ethertype: u16, mac: Mac) -> io::Result<SockAddr> {
    // SAFETY: `sockaddr_ll` fits into the storage, which is zeroed, and its length is told.
    let ((), address) = unsafe {
        SockAddr::try_init(|storage, length| {
            let address = &mut *storage.cast::<libc::sockaddr_ll>();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = ethertype.to_be();
            address.sll_ifindex = interface.cast_signed();
            address.sll_halen = 6;
            address.sll_addr[..6].copy_from_slice(&mac.0);
            *length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            Ok(())
        })?
    };
    Ok(address)
}
