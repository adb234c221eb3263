//! Which nodes can be scraped, and where: told by gossip, and kept for a while after a node has died.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::core::Time;
use crate::peers::gossip::{Directory, LEFT, STATE};

/// Under this key a node tells where its admin server is, if others can reach that.
pub(super) const KEY: &str = "addr";

/// A node that died is listed for this long: else its target would vanish, and with it the sign that it is down.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// The most nodes that are listed: twice as many as there can be members.
const MOST: usize = 128;

/// Where the admin server at `listen` is for others, on a node with this address.
pub(super) fn reachable(listen: Option<SocketAddr>, node: IpAddr) -> Option<SocketAddr> {
    let listen = listen?;
    let ip = if listen.ip().is_unspecified() { node } else { listen.ip() };
    (!ip.is_loopback() && !ip.is_unspecified()).then(|| SocketAddr::new(ip, listen.port()))
}

/// Every node that can be scraped, by name.
#[derive(Debug, Default)]
pub(super) struct Targets {
    nodes: BTreeMap<String, Target>,
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    seen_at: Time,
}

impl Targets {
    /// Takes in this node itself, which is never gone.
    pub(super) fn own(name: &str, address: Option<SocketAddr>) -> Self {
        let target = |address| (name.to_owned(), Target { address, seen_at: Time::from_nanos(u64::MAX) });
        Self { nodes: address.map(target).into_iter().collect() }
    }

    /// Takes in what gossip says of the others. True when somebody is listed anew, otherwise or no more.
    pub(super) fn hear(&mut self, directory: &Directory, now: Time) -> bool {
        let before = self.addresses();
        for (name, entry) in &directory.members {
            if entry.values.get(STATE).is_some_and(|state| state == LEFT) {
                self.nodes.remove(name);
                continue;
            }
            let address = entry.values.get(KEY).and_then(|value| value.parse().ok());
            let Some(address) = address.filter(|address: &SocketAddr| address.port() != 0) else { continue };
            if entry.live || !self.nodes.contains_key(name) {
                self.nodes.insert(name.clone(), Target { address, seen_at: now });
            }
        }
        self.nodes.retain(|_, target| now.since(target.seen_at) < KEPT);
        while self.nodes.len() > MOST {
            let oldest = self.nodes.iter().min_by_key(|(_, target)| target.seen_at);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else { break };
            self.nodes.remove(&name);
        }
        self.addresses() != before
    }

    /// Each node's address, by name, in text.
    pub(super) fn addresses(&self) -> BTreeMap<String, String> {
        self.nodes.iter().map(|(name, target)| (name.clone(), target.address.to_string())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::gossip::Entry;

    fn entry(live: bool, values: &[(&str, &str)]) -> Entry {
        Entry {
            address: "192.0.2.2:7780".parse().expect("an address"),
            generation: 1,
            live,
            values: values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        }
    }

    fn directory(members: &[(&str, Entry)]) -> Directory {
        let members = members.iter().map(|(name, entry)| ((*name).to_owned(), entry.clone()));
        Directory { members: members.collect() }
    }

    fn names(targets: &Targets) -> Vec<String> {
        targets.addresses().into_iter().map(|(name, address)| format!("{name} {address}")).collect()
    }

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn a_loopback_address_is_nobody_else_s_business() {
        let node = "192.0.2.1".parse().expect("an address");
        let of = |listen: &str| reachable(Some(listen.parse().expect("an address")), node);
        assert_eq!(of("127.0.0.1:7781"), None);
        assert_eq!(of("[::1]:7781"), None);
        assert_eq!(of("0.0.0.0:7781").map(|at| at.to_string()).as_deref(), Some("192.0.2.1:7781"));
        assert_eq!(of("192.0.2.9:1").map(|at| at.to_string()).as_deref(), Some("192.0.2.9:1"));
        assert_eq!(reachable(None, node), None);
        assert_eq!(reachable("0.0.0.0:1".parse().ok(), "127.0.0.1".parse().expect("an address")), None);
    }

    #[test]
    fn a_crashed_node_stays_listed_for_a_day_and_one_that_left_does_not() {
        let own = "192.0.2.1:7781".parse().ok();
        let mut targets = Targets::own("ha1", own);
        let there = [(STATE, "up"), (KEY, "192.0.2.2:7781")];
        let now = Time::ZERO + HOUR;
        let both = directory(&[("ha2", entry(true, &there)), ("ha3", entry(true, &there))]);
        assert!(targets.hear(&both, now));
        assert!(!targets.hear(&both, now));
        assert_eq!(names(&targets).len(), 3);

        let left = entry(false, &[(STATE, LEFT), (KEY, "192.0.2.2:7781")]);
        targets.hear(&directory(&[("ha2", entry(false, &there)), ("ha3", left)]), now + HOUR);
        assert_eq!(names(&targets), ["ha1 192.0.2.1:7781", "ha2 192.0.2.2:7781"]);
        // Gossip itself forgets it sooner.
        targets.hear(&Directory::default(), now + 23 * HOUR);
        assert_eq!(names(&targets).len(), 2);
        targets.hear(&Directory::default(), now + 25 * HOUR);
        assert_eq!(names(&targets), ["ha1 192.0.2.1:7781"]);
    }

    #[test]
    fn what_is_no_address_is_passed_over_and_there_is_room_for_so_many() {
        let mut targets = Targets::own("ha1", None);
        for address in ["", "x", "192.0.2.2", "192.0.2.2:0", "192.0.2.2:99999"] {
            targets.hear(&directory(&[("ha2", entry(true, &[(KEY, address)]))]), Time::ZERO);
        }
        assert_eq!(names(&targets), [""; 0]);
        for number in 0..2 * MOST {
            let name = format!("n{number}");
            let entry = entry(true, &[(KEY, "192.0.2.2:7781")]);
            targets.hear(&directory(&[(&name, entry)]), Time::ZERO + Duration::from_secs(number as u64));
        }
        assert_eq!(names(&targets).len(), MOST);
    }
}
