//! A network in memory, with loss and partitions, and nodes on it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::mpsc;

use super::super::sealed::{Datagram, lock};
use super::super::{Carrier, Directory, Gossip, News, Settings, Tell, assemble};
use crate::config::Endpoint;
use crate::core::Boot;
use crate::wire::member_id;
use crate::wire::seal::Keyring;

pub(super) const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub(super) const CLUSTER: &str = "web";

#[derive(Default)]
pub(super) struct Network(Mutex<Wires>);

#[derive(Default)]
struct Wires {
    inboxes: BTreeMap<SocketAddr, mpsc::Sender<Datagram>>,
    /// Who is on the other side of the cut.
    apart: BTreeSet<SocketAddr>,
    loss_percent: u64,
    dice: u64,
    /// All that was sent, while somebody listens.
    tape: Option<Vec<(SocketAddr, Vec<u8>)>>,
}

/// Where one node is plugged in.
pub(super) struct Port {
    network: Arc<Network>,
    address: SocketAddr,
}

impl Network {
    pub(super) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(super) fn port(self: &Arc<Self>, number: u8) -> Arc<Port> {
        Arc::new(Port { network: Arc::clone(self), address: address(number) })
    }

    /// Plugs in somebody who isn't a node.
    pub(super) fn plug(&self, number: u8) -> mpsc::Receiver<Datagram> {
        let (inbox, datagrams) = mpsc::channel(1024);
        lock(&self.0).inboxes.insert(address(number), inbox);
        datagrams
    }

    pub(super) fn unplug(&self, number: u8) {
        lock(&self.0).inboxes.remove(&address(number));
    }

    pub(super) fn lose(&self, percent: u64) {
        lock(&self.0).loss_percent = percent;
    }

    /// Cuts `numbers` off from all others.
    pub(super) fn split(&self, numbers: &[u8]) {
        lock(&self.0).apart = numbers.iter().map(|number| address(*number)).collect();
    }

    pub(super) fn record(&self) {
        lock(&self.0).tape = Some(Vec::new());
    }

    /// How many datagrams have been sent since the recording began, which goes on.
    pub(super) fn recorded(&self) -> usize {
        lock(&self.0).tape.as_ref().map_or(0, Vec::len)
    }

    /// What `number` has been sent since the recording began.
    pub(super) fn recorded_to(&self, number: u8) -> Vec<Vec<u8>> {
        let tape = lock(&self.0).tape.take().unwrap_or_default();
        tape.into_iter().filter(|(to, _)| *to == address(number)).map(|(_, datagram)| datagram).collect()
    }

    pub(super) fn send(&self, from: SocketAddr, to: SocketAddr, datagram: &[u8]) {
        let mut wires = lock(&self.0);
        if let Some(tape) = &mut wires.tape {
            tape.push((to, datagram.to_vec()));
        }
        wires.dice =
            wires.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if (wires.dice >> 33) % 100 < wires.loss_percent {
            return;
        }
        if wires.apart.contains(&from) != wires.apart.contains(&to) {
            return;
        }
        if let Some(inbox) = wires.inboxes.get(&to) {
            let _ = inbox.try_send((datagram.to_vec(), from));
        }
    }
}

impl Carrier for Port {
    fn send(&self, datagram: &[u8], to: SocketAddr) {
        self.network.send(self.address, to, datagram);
    }
}

/// A node, and what it has been told.
pub(super) struct Peer {
    pub(super) name: String,
    gossip: Gossip,
    news: Arc<Mutex<Told>>,
}

#[derive(Default)]
struct Told {
    directory: Directory,
    others: Vec<News>,
}

impl Peer {
    pub(super) fn directory(&self) -> Directory {
        lock(&self.news).directory.clone()
    }

    pub(super) fn live(&self) -> Vec<String> {
        let members = self.directory().members;
        members.into_iter().filter(|(_, entry)| entry.live).map(|(name, _)| name).collect()
    }

    pub(super) fn value(&self, of: &str, key: &str) -> Option<String> {
        self.directory().members.get(of)?.values.get(key).cloned()
    }

    pub(super) fn heard(&self, what: impl Fn(&News) -> bool) -> bool {
        self.count(what) > 0
    }

    pub(super) fn count(&self, what: impl Fn(&News) -> bool) -> usize {
        lock(&self.news).others.iter().filter(|news| what(news)).count()
    }

    pub(super) fn publish(&self, key: &str, value: &str) {
        self.gossip.publish(key.into(), value.into());
    }

    pub(super) fn alive(&self) -> bool {
        self.gossip.alive()
    }

    /// As [`Gossip::leave`], without blocking the one thread that all nodes share here.
    pub(super) async fn leave(self, within: Duration) {
        self.gossip.order.send_replace(super::super::Order::Leave { within });
        let end = tokio::time::Instant::now() + within + Duration::from_millis(100);
        while lock(&self.gossip.done).try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            assert!(tokio::time::Instant::now() < end, "it doesn't end");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7780))
}

pub(super) fn settings(number: u8) -> Settings {
    let name = format!("node{number}");
    Settings {
        id: member_id(&name),
        name,
        address: address(number),
        cluster: CLUSTER.into(),
        seeds: vec![Endpoint::Address(address(1))],
        keyring: Keyring::new(SECRET, CLUSTER),
        boot: Boot([number; 16]),
        cookies: [number; 32],
        own: BTreeMap::from([("prio".into(), number.to_string())]),
    }
}

/// Starts node `number`.
pub(super) fn start(network: &Arc<Network>, number: u8) -> Peer {
    start_with(network, number, |_settings, _clock| ())
}

/// Starts node `number` with other settings, or another time of day.
pub(super) fn start_with(
    network: &Arc<Network>,
    number: u8,
    change: impl FnOnce(&mut Settings, &mut u64),
) -> Peer {
    let (mut settings, mut clock) = (settings(number), 1_800_000_000_000);
    change(&mut settings, &mut clock);
    let name = settings.name.clone();
    let news = Arc::new(Mutex::new(Told::default()));
    let told = Arc::clone(&news);
    let tell: Tell = Arc::new(move |news| match news {
        News::Directory(directory) => lock(&told).directory = directory,
        other => lock(&told).others.push(other),
    });
    let port = Arc::new(Port { network: Arc::clone(network), address: settings.address });
    let (gossip, supervisor) = assemble(settings, port, tell, Box::new(move || clock));
    lock(&network.0).inboxes.insert(address(number), gossip.inbox.clone());
    tokio::spawn(supervisor.run());
    Peer { name, gossip, news }
}

/// Waits, on the clock that stands still.
pub(super) async fn until(what: &str, condition: impl Fn() -> bool) {
    let end = tokio::time::Instant::now() + Duration::from_mins(2);
    while !condition() {
        assert!(tokio::time::Instant::now() < end, "it never came to this: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
