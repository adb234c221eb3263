//! Addresses and links over netlink: the only room for rtnetlink in the daemon.
//!
//! A VIP is added as /32 or /128 with a lifetime of two seconds, so that the kernel removes it by itself when nobody
//! refreshes it any more; deprecated, so that it is never chosen as a source; and marked as ours.

use std::io;
use std::net::IpAddr;

use futures_util::{StreamExt, TryStreamExt};
use rtnetlink::packet_core::NetlinkPayload;
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::RouteNetlinkMessage;
use rtnetlink::packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressProtocol, CacheInfo,
};
use rtnetlink::packet_route::link::{InfoPortKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::packet_route::neighbour::NeighbourState;
use rtnetlink::{Handle, MulticastGroup};

use crate::core::Mac;

/// How long the kernel keeps an address that nobody refreshes, in seconds; it may take 1.25 s longer.
pub(super) const LEASE_SECONDS: u32 = 2;
/// What `ip` shows as the address's `proto`: ours.
const OURS: u8 = 0xc7;

/// A connection to the kernel's addresses and links.
pub(super) struct Kernel {
    handle: Handle,
}

/// What the kernel tells of its own accord.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// An address is gone from an interface.
    AddressRemoved { interface: u32, address: IpAddr },
    /// An interface's state, new or not.
    Link(Link),
    /// An interface is gone.
    LinkRemoved { interface: u32 },
}

/// One interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Mac,
    /// Up, with a carrier.
    pub(super) up: bool,
    /// It is on a network by itself: neither the loopback nor a port of a bridge or a bond, which speaks for it.
    pub(super) speaks: bool,
}

impl Kernel {
    /// Opens the connection, and the stream of changes. Needs a tokio runtime.
    ///
    /// The kernel carries out a request while it is being sent, and may wait for the lock on its network
    /// configuration meanwhile, which others hold for a long time: containers that end, for one. So requests
    /// are sent by a thread of their own, in the order in which they are made; whoever makes one goes on until
    /// it awaits the answer.
    pub(super) fn open() -> io::Result<(Self, impl futures_util::Stream<Item = Change> + Unpin)> {
        let (opened, handle) = std::sync::mpsc::sync_channel(1);
        std::thread::Builder::new().name("netlink".into()).spawn(move || requests(&opened))?;
        let handle = handle.recv().map_err(|_| io::Error::other("the netlink thread has ended"))??;
        let groups = [MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr];
        let (connection, _handle, messages) = rtnetlink::new_multicast_connection(&groups)?;
        tokio::spawn(connection);
        let changes = messages.filter_map(|(message, _)| std::future::ready(change(message.payload)));
        Ok((Self { handle }, changes))
    }

    /// The interface called `name`; `None` when there is none.
    pub(super) async fn link(&self, name: &str) -> io::Result<Option<Link>> {
        match self.handle.link().get().match_name(name).execute().try_next().await {
            Ok(message) => Ok(message.map(|m| link(&m))),
            Err(error) if is(&error, &[libc::ENODEV]) => Ok(None),
            Err(error) => Err(io_error(&error)),
        }
    }

    /// All interfaces.
    pub(super) async fn links(&self) -> io::Result<Vec<Link>> {
        let messages = self.handle.link().get().execute().map_ok(|message| link(&message));
        messages.try_collect().await.map_err(|error| io_error(&error))
    }

    /// The addresses of an interface, ours included.
    pub(super) async fn addresses(&self, interface: u32) -> io::Result<Vec<IpAddr>> {
        let messages = self.dump(interface).await?;
        Ok(messages.iter().filter_map(local_address).collect())
    }

    /// Adds an address, or refreshes its lease. The request is made once this is first polled.
    pub(super) fn add(
        &self,
        interface: u32,
        address: IpAddr,
    ) -> impl Future<Output = io::Result<()>> + use<> {
        let mut request = self.handle.address().add(interface, address, whole(address)).replace();
        let mut lease = CacheInfo::default();
        lease.ifa_valid = LEASE_SECONDS;
        lease.ifa_preferred = 0;
        let attributes = &mut request.message_mut().attributes;
        attributes.push(AddressAttribute::CacheInfo(lease));
        attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OURS)));
        if address.is_ipv6() {
            // Usable at once: that nobody else has it was found out before, by asking for it.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
            request.message_mut().attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        async move { request.execute().await.map_err(|error| io_error(&error)) }
    }

    /// Removes an address, and returns once it is gone; an address that isn't there is gone.
    pub(super) async fn remove(&self, interface: u32, address: IpAddr) -> io::Result<()> {
        let mut message = AddressMessage::default();
        message.header.family = match address {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        message.header.prefix_len = whole(address);
        message.header.index = interface;
        message.attributes.push(AddressAttribute::Local(address));
        message.attributes.push(AddressAttribute::Address(address));
        match self.handle.address().del(message).execute().await {
            Ok(()) => Ok(()),
            Err(error) if is(&error, &[libc::EADDRNOTAVAIL, libc::ENODEV]) => Ok(()),
            Err(error) => Err(io_error(&error)),
        }
    }

    /// Has the kernel forget the neighbours on an interface that don't answer, with whatever waits for them.
    ///
    /// It asks for such a neighbour once a second only, and what was said meanwhile is delivered all at once when that
    /// one answers: to be called when a cable is back, whose neighbours can answer at once.
    pub(super) async fn forget_unresolved(&self, interface: u32) -> io::Result<()> {
        let mut all = Box::pin(self.handle.neighbours().get().execute());
        let mut unresolved = Vec::new();
        while let Some(neighbour) = all.try_next().await.map_err(|error| io_error(&error))? {
            let waits = matches!(neighbour.header.state, NeighbourState::Incomplete | NeighbourState::Failed);
            if neighbour.header.ifindex == interface && waits {
                unresolved.push(neighbour);
            }
        }
        for neighbour in unresolved {
            match self.handle.neighbours().del(neighbour).execute().await {
                // It has answered or been forgotten meanwhile.
                Err(error) if !is(&error, &[libc::ENOENT]) => return Err(io_error(&error)),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    async fn dump(&self, interface: u32) -> io::Result<Vec<AddressMessage>> {
        let all = self.handle.address().get().set_link_index_filter(interface).execute();
        let all: Vec<AddressMessage> = all.try_collect().await.map_err(|error| io_error(&error))?;
        // Kernels without strict checking dump every interface's.
        Ok(all.into_iter().filter(|m| m.header.index == interface).collect())
    }
}

/// The thread that sends requests, until nobody can make any.
fn requests(opened: &std::sync::mpsc::SyncSender<io::Result<Handle>>) {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return drop(opened.send(Err(error))),
    };
    // Like the guard itself: a refresh that comes late is none.
    let _ = super::scheduling::raise(super::scheduling::GUARD);
    runtime.block_on(async move {
        match rtnetlink::new_connection() {
            Ok((connection, handle, _)) => {
                let _ = opened.send(Ok(handle));
                connection.await;
            }
            Err(error) => drop(opened.send(Err(error))),
        }
    });
}

fn change(payload: NetlinkPayload<RouteNetlinkMessage>) -> Option<Change> {
    let NetlinkPayload::InnerMessage(message) = payload else { return None };
    match message {
        RouteNetlinkMessage::DelAddress(message) => Some(Change::AddressRemoved {
            interface: message.header.index,
            address: local_address(&message)?,
        }),
        RouteNetlinkMessage::NewLink(message) => Some(Change::Link(link(&message))),
        RouteNetlinkMessage::DelLink(message) => {
            Some(Change::LinkRemoved { interface: message.header.index })
        }
        _ => None,
    }
}

/// What a message is about: IPv6 has no local address apart.
fn local_address(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

/// The prefix length of an address and nothing else.
fn whole(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn link(message: &LinkMessage) -> Link {
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        name: String::new(),
        mac: Mac::default(),
        up: flags.contains(LinkFlags::Up | LinkFlags::LowerUp),
        speaks: !flags.contains(LinkFlags::Loopback) && !is_port(message),
    };
    for attribute in &message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name.clone_from(name),
            LinkAttribute::Address(bytes) => {
                if let Ok(mac) = <[u8; 6]>::try_from(bytes.as_slice()) {
                    link.mac = Mac(mac);
                }
            }
            _ => {}
        }
    }
    link
}

/// Whether another link speaks for it. One in a routing domain of its own (VRF) has a master, and speaks itself.
fn is_port(message: &LinkMessage) -> bool {
    let has_master =
        message.attributes.iter().any(|a| matches!(a, LinkAttribute::Controller(master) if *master != 0));
    let routed = message.attributes.iter().any(|attribute| match attribute {
        LinkAttribute::LinkInfo(infos) => infos.contains(&LinkInfo::PortKind(InfoPortKind::Vrf)),
        _ => false,
    });
    has_master && !routed
}

fn is(error: &rtnetlink::Error, codes: &[i32]) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if codes.contains(&-message.raw_code()))
}

fn io_error(error: &rtnetlink::Error) -> io::Error {
    match error {
        rtnetlink::Error::NetlinkError(message) => io::Error::from_raw_os_error(-message.raw_code()),
        other => io::Error::other(other.to_string()),
    }
}
