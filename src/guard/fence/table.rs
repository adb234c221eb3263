//! The fence's table: what is in it, and how it is changed.
//!
//! ```text
//!   vips    the addresses that this node holds; they leave it by themselves when the guard is dead
//!   alive   those of them that may speak; beacons that leave keep them in, nothing else does
//!   homes   where they are: at these link-layer addresses and no others
//!
//!   egress  ─> leaving    a beacon ─> beacons: keeps in `alive` what is in it
//!                         from a VIP, or saying where one is: dropped unless it is in `alive`
//!                         saying that it is elsewhere: dropped
//!   ingress ─> arriving   to a VIP: dropped unless it is in `alive`
//! ```
//!
//! Around what this node doesn't hold there is no fence: whatever is forwarded to the holder passes. IP passes on
//! every interface while the VIP is alive, since it may come by way of a router, a bridge's port or a VLAN's parent;
//! what says where the VIP is may name its own interface only.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::Mac;
use crate::wire::beacon;

use super::expression::{Header, Meta, Rule, Verdict};
use super::message::{self, Attributes, Batch, Request};

/// What it is called: `nft list table netdev chinthe` shows it.
pub(super) const TABLE: &str = "chinthe";

/// How long an address that nobody refreshes stays among the fenced ones: until its lease has run out for sure.
pub(super) const INERT_AFTER: Duration = Duration::from_secs(5);

/// So many interfaces a chain can hang on, `NFT_NETDEVICE_MAX`.
const MOST_INTERFACES: usize = 256;
/// More addresses than a node ever holds.
const MOST_ADDRESSES: u32 = 65_536;

const NF_NETDEV_INGRESS: u32 = 0;
const NF_NETDEV_EGRESS: u32 = 1;
const NFT_SET_TIMEOUT: u32 = 0x10;
const NFT_SET_EVAL: u32 = 0x20;

const ETHERTYPE_IPV4: [u8; 2] = [0x08, 0x00];
const ETHERTYPE_ARP: [u8; 2] = [0x08, 0x06];
const ETHERTYPE_IPV6: [u8; 2] = [0x86, 0xdd];
const UDP: [u8; 1] = [17];
const ICMPV6: [u8; 1] = [58];
const NEIGHBOUR_ADVERTISEMENT: [u8; 1] = [136];
/// The option that a neighbour advertisement's link-layer address is in, and its length in units of eight bytes.
const TARGET_LINK_ADDRESS: [u8; 2] = [2, 1];

/// One VIP, as the fence knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::guard) struct Fenced {
    pub(in crate::guard) addresses: Vec<IpAddr>,
    /// Its interface's index: beacons that leave there keep it alive.
    pub(in crate::guard) interface: u32,
    /// Its interface's own address.
    pub(in crate::guard) mac: Mac,
    /// For how long it may speak from now on, when this node holds it.
    pub(in crate::guard) open_for: Option<Duration>,
}

/// The sets of one family of addresses.
struct Family {
    vips: &'static str,
    alive: &'static str,
    homes: &'static str,
    /// What nft(8) calls an address, and an address with a link-layer address.
    kind: u32,
    home_kind: u32,
    length: u32,
}

const IPV4: Family =
    Family { vips: "vips4", alive: "alive4", homes: "homes4", kind: 7, home_kind: 9 << 6 | 7, length: 4 };
const IPV6: Family =
    Family { vips: "vips6", alive: "alive6", homes: "homes6", kind: 8, home_kind: 8 << 6 | 9, length: 16 };

impl Family {
    fn of(address: IpAddr) -> &'static Self {
        match address {
            IpAddr::V4(_) => &IPV4,
            IpAddr::V6(_) => &IPV6,
        }
    }

    fn add_sets(&self, batch: &mut Batch, first_id: u32) {
        let sets = [
            (self.vips, self.kind, self.length, NFT_SET_TIMEOUT),
            (self.alive, self.kind, self.length, NFT_SET_TIMEOUT | NFT_SET_EVAL),
            (self.homes, self.home_kind, self.length + 8, 0),
        ];
        for ((name, kind, length, flags), id) in sets.into_iter().zip(first_id..) {
            let size = Attributes::new().number(1, MOST_ADDRESSES);
            let set = Attributes::new()
                .name(1, TABLE)
                .name(2, name)
                .number(3, flags)
                .number(4, kind)
                .number(5, length)
                .nested(9, &size)
                .number(10, id);
            batch.add(Request::AddSet, &set);
        }
    }
}

/// Replaces whatever there is by the whole fence, around these VIPs and on these interfaces.
///
/// `timeout` is for how long a beacon keeps a VIP alive.
pub(super) fn install(vips: &[Fenced], interfaces: &[String], timeout: Duration) -> Batch {
    let mut batch = remove();
    let table = Attributes::new().name(1, TABLE);
    batch.add(Request::AddTable, &table);
    IPV4.add_sets(&mut batch, 1);
    IPV6.add_sets(&mut batch, 4);
    for chain in ["leaving", "arriving", "beacons"] {
        batch.add(Request::AddChain, &table.clone().name(3, chain));
    }
    for rule in leaving() {
        add_rule(&mut batch, "leaving", &rule);
    }
    for rule in arriving() {
        add_rule(&mut batch, "arriving", &rule);
    }
    for vip in vips {
        for address in &vip.addresses {
            add_rule(&mut batch, "beacons", &keep_alive(*address, vip.interface, timeout));
        }
        change(
            &mut batch,
            Request::AddElements,
            &vip.addresses,
            |family| family.homes,
            |address| element(&home(address, vip.mac), None),
        );
        if let Some(open_for) = vip.open_for {
            add(&mut batch, &vip.addresses, open_for);
        }
    }
    for (number, some) in interfaces.chunks(MOST_INTERFACES).enumerate() {
        hang(&mut batch, &format!("egress{number}"), NF_NETDEV_EGRESS, some, "leaving");
        hang(&mut batch, &format!("ingress{number}"), NF_NETDEV_INGRESS, some, "arriving");
    }
    batch
}

/// Removes it, whether it is there or not.
pub(super) fn remove() -> Batch {
    let mut batch = Batch::new();
    let table = Attributes::new().name(1, TABLE);
    batch.add(Request::AddTable, &table);
    batch.add(Request::RemoveTable, &table);
    batch
}

/// Puts a fence around addresses and opens it for `time`, whatever it was before.
pub(super) fn open(addresses: &[IpAddr], time: Duration) -> Batch {
    let mut batch = Batch::new();
    // An element that is there keeps its time when it is added; so each is removed first, and for that be there.
    add(&mut batch, addresses, time);
    change(&mut batch, Request::RemoveElements, addresses, |family| family.vips, key);
    change(&mut batch, Request::RemoveElements, addresses, |family| family.alive, key);
    add(&mut batch, addresses, time);
    batch
}

/// Shuts the fence around addresses.
pub(super) fn shut(addresses: &[IpAddr]) -> Batch {
    let mut batch = Batch::new();
    let alive = |address| element(&octets(address), Some(INERT_AFTER));
    change(&mut batch, Request::AddElements, addresses, |family| family.alive, alive);
    change(&mut batch, Request::RemoveElements, addresses, |family| family.alive, key);
    batch
}

/// Keeps the fence around addresses, open or shut as it is.
pub(super) fn refresh(addresses: &[IpAddr]) -> Batch {
    let mut batch = Batch::new();
    let fenced = |address| element(&octets(address), Some(INERT_AFTER));
    change(&mut batch, Request::AddElements, addresses, |family| family.vips, fenced);
    change(&mut batch, Request::RemoveElements, addresses, |family| family.vips, key);
    change(&mut batch, Request::AddElements, addresses, |family| family.vips, fenced);
    batch
}

/// Takes the fence away from around addresses.
pub(super) fn forget(addresses: &[IpAddr]) -> Batch {
    let mut batch = Batch::new();
    add(&mut batch, addresses, INERT_AFTER);
    change(&mut batch, Request::RemoveElements, addresses, |family| family.vips, key);
    change(&mut batch, Request::RemoveElements, addresses, |family| family.alive, key);
    batch
}

/// Asks whether an address may speak: refused when it may not.
pub(super) fn may_speak(address: IpAddr) -> Vec<u8> {
    let elements = Attributes::new().nested(1, &key(address));
    let set = Family::of(address).alive;
    message::question(&Attributes::new().name(1, TABLE).name(2, set).nested(3, &elements))
}

/// What leaves by any interface.
fn leaving() -> Vec<Rule> {
    let beacon = Rule::new()
        .meta(Meta::Protocol, &ETHERTYPE_IPV4)
        .meta(Meta::Inner, &UDP)
        .payload(Header::Network, 16, &beacon::GROUP.octets())
        .payload(Header::Transport, 0, &[beacon::PORT.to_be_bytes(), beacon::PORT.to_be_bytes()].concat())
        .verdict(Verdict::Jump("beacons"));
    let arp = || Rule::new().meta(Meta::Protocol, &ETHERTYPE_ARP).load(Header::Network, 14, 4, 0);
    let advertisement = || {
        Rule::new().meta(Meta::Protocol, &ETHERTYPE_IPV6).meta(Meta::Inner, &ICMPV6).payload(
            Header::Transport,
            0,
            &NEIGHBOUR_ADVERTISEMENT,
        )
    };
    vec![
        beacon,
        only_alive(Rule::new().meta(Meta::Protocol, &ETHERTYPE_IPV4).load(Header::Network, 12, 4, 0), &IPV4),
        only_alive(Rule::new().meta(Meta::Protocol, &ETHERTYPE_IPV6).load(Header::Network, 8, 16, 0), &IPV6),
        only_alive(arp(), &IPV4),
        arp()
            .within(IPV4.vips)
            .load(Header::Network, 8, 6, 0)
            .load(Header::Network, 14, 4, 2)
            .not_within(IPV4.homes)
            .verdict(Verdict::Drop),
        only_alive(advertisement().load(Header::Transport, 8, 16, 0), &IPV6),
        advertisement()
            .payload(Header::Transport, 24, &TARGET_LINK_ADDRESS)
            .load(Header::Transport, 8, 16, 0)
            .within(IPV6.vips)
            .load(Header::Transport, 26, 6, 4)
            .not_within(IPV6.homes)
            .verdict(Verdict::Drop),
    ]
}

/// What arrives by any interface. ARP passes: a node has to hear where others say that a VIP is.
fn arriving() -> Vec<Rule> {
    vec![
        only_alive(Rule::new().meta(Meta::Protocol, &ETHERTYPE_IPV4).load(Header::Network, 16, 4, 0), &IPV4),
        only_alive(Rule::new().meta(Meta::Protocol, &ETHERTYPE_IPV6).load(Header::Network, 24, 16, 0), &IPV6),
    ]
}

/// Drops what has been loaded when it is a VIP that may not speak.
fn only_alive(loaded: Rule, family: &Family) -> Rule {
    loaded.within(family.vips).not_within(family.alive).verdict(Verdict::Drop)
}

/// A beacon that leaves by this interface keeps the address alive, if it is so still.
fn keep_alive(address: IpAddr, interface: u32, timeout: Duration) -> Rule {
    let alive = Family::of(address).alive;
    Rule::new()
        .meta(Meta::Leaving, &interface.to_ne_bytes())
        .address(address)
        .within(alive)
        .keep(alive, timeout)
}

fn add(batch: &mut Batch, addresses: &[IpAddr], open_for: Duration) {
    let fenced = |address| element(&octets(address), Some(INERT_AFTER));
    change(batch, Request::AddElements, addresses, |family| family.vips, fenced);
    let alive = |address| element(&octets(address), Some(open_for));
    change(batch, Request::AddElements, addresses, |family| family.alive, alive);
}

/// Adds or removes the elements that addresses have in a set of their family's.
fn change(
    batch: &mut Batch,
    request: Request,
    addresses: &[IpAddr],
    set: impl Fn(&Family) -> &'static str,
    element: impl Fn(IpAddr) -> Attributes,
) {
    for (family, is_ours) in [(&IPV4, IpAddr::is_ipv4 as fn(&IpAddr) -> bool), (&IPV6, IpAddr::is_ipv6)] {
        let elements = addresses.iter().filter(|address| is_ours(address));
        let elements = elements.fold(Attributes::new(), |all, address| all.nested(1, &element(*address)));
        if elements != Attributes::new() {
            batch.add(request, &Attributes::new().name(1, TABLE).name(2, set(family)).nested(3, &elements));
        }
    }
}

fn key(address: IpAddr) -> Attributes {
    element(&octets(address), None)
}

fn element(key: &[u8], timeout: Option<Duration>) -> Attributes {
    let element = Attributes::new().nested(1, &Attributes::new().bytes(1, key));
    match timeout {
        // The kernel takes zero for "for ever".
        Some(timeout) => element.time(4, timeout.max(Duration::from_millis(1))),
        None => element,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// In the order in which a packet has them; a link-layer address takes two registers.
fn home(address: IpAddr, mac: Mac) -> Vec<u8> {
    let mac = [&mac.0[..], &[0; 2]].concat();
    match address {
        IpAddr::V4(address) => [mac, address.octets().to_vec()].concat(),
        IpAddr::V6(address) => [address.octets().to_vec(), mac].concat(),
    }
}

/// Adds a chain that hangs on interfaces and hands over to another.
fn hang(batch: &mut Batch, chain: &str, hook: u32, interfaces: &[String], to: &str) {
    let names = interfaces.iter().fold(Attributes::new(), |all, name| all.name(1, name));
    let hook = Attributes::new().number(1, hook).number(2, 0).nested(4, &names);
    let attributes = Attributes::new().name(1, TABLE).name(3, chain).nested(4, &hook).name(7, "filter");
    batch.add(Request::AddChain, &attributes);
    add_rule(batch, chain, &Rule::new().verdict(Verdict::Jump(to)));
}

fn add_rule(batch: &mut Batch, chain: &str, rule: &Rule) {
    let attributes = Attributes::new().name(1, TABLE).name(2, chain).nested(4, rule.attributes());
    batch.add(Request::AddRule, &attributes);
}
