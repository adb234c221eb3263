//! Links, addresses, routes and neighbours by netlink: everything that a person would use ip(8) for.

use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressHeaderFlags;
use rtnetlink::packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use rtnetlink::packet_route::route::{RouteMessage, RouteType};
use rtnetlink::packet_route::{AddressFamily, neighbour::NeighbourState};
use rtnetlink::{
    Handle, LinkBridge, LinkBridgePort, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder,
};
use tokio::runtime::Runtime;

use super::LabError;
use super::space::Space;

/// A link-layer address.
pub type Mac = [u8; 6];

/// The links of one network.
///
/// Calls block until the kernel has acknowledged them: what they ask for holds when they return.
#[derive(Debug)]
pub(super) struct Links {
    /// Drives the connection whenever a call waits, and rests otherwise.
    runtime: Arc<Runtime>,
    handle: Handle,
}

impl Links {
    /// Opens a netlink socket in `space`.
    pub(super) fn open(runtime: &Arc<Runtime>, space: &Space) -> Result<Self, LabError> {
        let (connection, handle, _) = space
            .within(|| {
                let _context = runtime.enter();
                rtnetlink::new_connection()
            })
            .map_err(|source| LabError::System { doing: "open a netlink socket".into(), source })?;
        runtime.spawn(connection);
        Ok(Self { runtime: Arc::clone(runtime), handle })
    }

    /// Makes a switch that forwards from the first frame on.
    pub(super) fn add_bridge(&self, name: &str) -> Result<(), LabError> {
        let bridge = LinkBridge::new(name).mcast_snooping(false).forward_delay(0).up().build();
        self.wait(format!("add the bridge {name}"), self.handle.link().add(bridge).execute())
    }

    /// Lays a cable from a port of the switch `bridge` to a new interface in `space`; both ends appear at once and
    /// where they belong.
    pub(super) fn add_cable(&self, cable: &Cable<'_>, bridge: &str, space: &Space) -> Result<(), LabError> {
        let bridge = self.index(bridge)?;
        let far_end = LinkMessageBuilder::<LinkUnspec>::new()
            .name(cable.interface)
            .address(cable.mac.to_vec())
            .setns_by_fd(space.network().as_raw_fd())
            .build();
        let veth = LinkMessageBuilder::<LinkVeth>::new_with_info_kind(InfoKind::Veth)
            .name(cable.port)
            .controller(bridge)
            .up()
            .set_info_data(InfoData::Veth(InfoVeth::Peer(far_end)))
            .build();
        self.wait(format!("lay the cable {}", cable.port), self.handle.link().add(veth).execute())
    }

    /// Removes a link, and with it the other end of its cable.
    pub(super) fn remove(&self, name: &str) -> Result<(), LabError> {
        let index = self.index(name)?;
        self.wait(format!("remove {name}"), self.handle.link().del(index).execute())
    }

    /// Switches a link on.
    pub(super) fn up(&self, name: &str) -> Result<(), LabError> {
        let link = LinkUnspec::new_with_name(name).up().build();
        self.wait(format!("set {name} up"), self.handle.link().set(link).execute())
    }

    /// Switches a link off; the other end of its cable loses its carrier.
    pub(super) fn down(&self, name: &str) -> Result<(), LabError> {
        let link = LinkUnspec::new_with_name(name).down().build();
        self.wait(format!("set {name} down"), self.handle.link().set(link).execute())
    }

    /// Whether an interface has a carrier.
    pub(super) fn carrier(&self, name: &str) -> Result<bool, LabError> {
        let link = self.link(name)?;
        Ok(link.attributes.iter().any(|attribute| matches!(attribute, LinkAttribute::Carrier(1))))
    }

    /// Keeps a port of the switch from reaching the other ports that are kept so; all the rest it still reaches.
    pub(super) fn isolate(&self, port: &str, isolated: bool) -> Result<(), LabError> {
        let message = LinkBridgePort::new(self.index(port)?).isolated(isolated).build();
        self.wait(format!("isolate {port}"), self.handle.link().set_port(message).execute())
    }

    /// Moves a port to the switch `bridge`.
    pub(super) fn attach(&self, port: &str, bridge: &str) -> Result<(), LabError> {
        let link = LinkUnspec::new_with_name(port).controller(self.index(bridge)?).build();
        self.wait(format!("move {port} to {bridge}"), self.handle.link().set(link).execute())
    }

    /// Gives an interface an address.
    pub(super) fn add_address(&self, name: &str, address: IpAddr, prefix: u8) -> Result<(), LabError> {
        let index = self.index(name)?;
        let mut request = self.handle.address().add(index, address, prefix);
        if address.is_ipv6() {
            // Nobody else in the lab has it: there is nothing to wait for.
            request.message_mut().header.flags |= AddressHeaderFlags::Nodad;
        }
        self.wait(format!("add {address} to {name}"), request.execute())
    }

    /// Takes an address away again.
    pub(super) fn remove_address(&self, name: &str, address: IpAddr) -> Result<(), LabError> {
        let index = self.index(name)?;
        let addresses = self.handle.address();
        self.wait(format!("remove {address} from {name}"), async {
            let mut found =
                addresses.get().set_link_index_filter(index).set_address_filter(address).execute();
            while let Some(message) = found.try_next().await? {
                addresses.del(message).execute().await?;
            }
            Ok(())
        })
    }

    /// Has the kernel refuse whatever goes to `address`: "host unreachable", at once.
    pub(super) fn refuse(&self, address: Ipv4Addr) -> Result<(), LabError> {
        let request = self.handle.route().add(unreachable(address)).replace();
        self.wait(format!("refuse {address}"), request.execute())
    }

    /// Undoes [`refuse`](Self::refuse).
    pub(super) fn accept(&self, address: Ipv4Addr) -> Result<(), LabError> {
        self.wait(format!("accept {address}"), self.handle.route().del(unreachable(address)).execute())
    }

    /// Sends whatever goes to `address` to a link-layer address that nobody has: it vanishes without a word.
    pub(super) fn misdirect(&self, name: &str, address: Ipv4Addr) -> Result<(), LabError> {
        let index = self.index(name)?;
        let request = self
            .handle
            .neighbours()
            .add(index, address.into())
            .state(NeighbourState::Permanent)
            .link_layer_address(&NOBODY)
            .replace();
        self.wait(format!("misdirect {address}"), request.execute())
    }

    /// Undoes [`misdirect`](Self::misdirect).
    pub(super) fn redirect(&self, name: &str, address: Ipv4Addr) -> Result<(), LabError> {
        let mut entry = NeighbourMessage::default();
        entry.header.family = AddressFamily::Inet;
        entry.header.ifindex = self.index(name)?;
        entry.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
        self.wait(format!("redirect {address}"), self.handle.neighbours().del(entry).execute())
    }

    fn index(&self, name: &str) -> Result<u32, LabError> {
        Ok(self.link(name)?.header.index)
    }

    fn link(&self, name: &str) -> Result<LinkMessage, LabError> {
        let doing = format!("look {name} up");
        let mut found = self.handle.link().get().match_name(name).execute();
        let missing = LabError::System { doing: doing.clone(), source: io::ErrorKind::NotFound.into() };
        self.wait(doing, found.try_next())?.ok_or(missing)
    }

    fn wait<T>(
        &self,
        doing: String,
        request: impl Future<Output = Result<T, rtnetlink::Error>>,
    ) -> Result<T, LabError> {
        self.runtime.block_on(request).map_err(|error| {
            let source = match error {
                rtnetlink::Error::NetlinkError(refusal) => refusal.to_io(),
                other => io::Error::other(other),
            };
            LabError::System { doing, source }
        })
    }
}

/// A cable between the switch and a machine.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cable<'a> {
    /// The end at the switch.
    pub(super) port: &'a str,
    /// The end at the machine.
    pub(super) interface: &'a str,
    /// The link-layer address of the machine's end.
    pub(super) mac: Mac,
}

/// A locally administered address that no machine of a lab has.
const NOBODY: Mac = [0x02, 0xde, 0xad, 0, 0, 0];

fn unreachable(address: Ipv4Addr) -> RouteMessage {
    RouteMessageBuilder::<Ipv4Addr>::new()
        .destination_prefix(address, 32)
        .kind(RouteType::Unreachable)
        .build()
}
