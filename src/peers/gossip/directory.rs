//! What gossip says about the other nodes, within bounds.
//!
//! Whoever has the secret can make chitchat store anything under any name. Here is where it ends: what isn't a name,
//! an address, a key or a value of ours doesn't get into the [`Directory`].

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use chitchat::{Chitchat, ChitchatId, NodeState};

use crate::config;

/// Everybody else, as gossip knows them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Directory {
    /// By name; this node is not among them, and there are at most 64.
    pub members: BTreeMap<String, Entry>,
}

/// The latest life of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it says that it is: an address of one machine, with a port.
    pub address: SocketAddr,
    /// Which of its lives this is: the highest that is known.
    pub generation: u64,
    /// Signs of life reach this node, directly or through others. A hint, seconds late.
    pub live: bool,
    /// What it has published: at most 256 keys and 16 KiB, printable ASCII.
    pub values: BTreeMap<String, String>,
}

impl Entry {
    /// Takes over whatever `before` has and this hasn't, within the bounds.
    pub(super) fn fill_in(&mut self, before: BTreeMap<String, String>) {
        let mut bytes: usize = self.values.iter().map(|(key, value)| key.len() + value.len()).sum();
        for (key, value) in before {
            let size = key.len() + value.len();
            if self.values.len() < KEYS && bytes + size <= BYTES && !self.values.contains_key(&key) {
                bytes += size;
                self.values.insert(key, value);
            }
        }
    }
}

/// The most members a directory has; the envelope knows no more senders either.
pub(super) const MEMBERS: usize = 64;
/// The most keys one member may have.
const KEYS: usize = 256;
/// The most that one member's keys and values may come to, in bytes.
const BYTES: usize = 16 * 1024;
/// The longest key: `adm/` with the names of a service and of a backend, 63 each.
const LONGEST_KEY: usize = 160;
/// The longest value.
const LONGEST_VALUE: usize = 512;
/// No clock shows more: the end of the year 9999, in milliseconds. A higher generation would outrank all others for
/// good.
pub(super) const LAST_GENERATION: u64 = 253_402_300_799_999;

/// The keys there are: whole ones, and beginnings, which end in a slash.
const KNOWN: [&str; 10] = ["meta", "addr", "prio", "st", "cfg", "rl", "vip/", "h/", "adm/", "pin/"];

/// Whether `key` is one of those that nodes publish.
pub(super) fn is_key(key: &str) -> bool {
    let known = |known: &str| match known.strip_suffix('/') {
        Some(_) => key.len() > known.len() && key.starts_with(known),
        None => key == known,
    };
    key.len() <= LONGEST_KEY
        && key.bytes().all(|byte| byte.is_ascii_graphic())
        && KNOWN.iter().any(|name| known(name))
}

/// Whether `value` may stand behind a key.
pub(super) fn is_value(value: &str) -> bool {
    value.len() <= LONGEST_VALUE && value.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Whether a node can be reached at `address`.
pub(super) fn is_address(address: SocketAddr) -> bool {
    let unicast = match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    unicast && address.port() != 0
}

/// Whether a life's identity could be an honest node's.
pub(super) fn is_identity(id: &ChitchatId) -> bool {
    config::is_name(&id.node_id)
        && is_address(id.gossip_advertise_addr)
        && id.generation_id <= LAST_GENERATION
}

/// Who of chitchat's nodes has shown signs of life.
pub(super) fn live(chitchat: &Chitchat) -> HashSet<&ChitchatId> {
    chitchat.live_nodes().collect()
}

/// The directory that chitchat's nodes amount to, and how many identities, keys and values stayed outside.
///
/// When there are more nodes than a directory holds, those who were live `before` come first.
pub(super) fn collapse(chitchat: &Chitchat, before: &Directory) -> (Directory, u64) {
    let own = &chitchat.self_chitchat_id().node_id;
    let live = live(chitchat);
    let mut outside = 0;
    let mut latest: BTreeMap<&str, (&ChitchatId, &NodeState)> = BTreeMap::new();
    for (id, state) in chitchat.node_states() {
        if id.node_id == *own {
            continue;
        }
        if !is_identity(id) {
            outside += 1;
            continue;
        }
        let place = latest.entry(&id.node_id).or_insert((id, state));
        // Two lives of one number and two addresses: nodes of one name, of which only one can be listed.
        let rank = |id: &ChitchatId| (id.generation_id, live.contains(id));
        if rank(id) > rank(place.0) {
            *place = (id, state);
        }
    }
    let mut ranked: Vec<_> = latest.into_iter().map(|(name, (id, state))| (name, id, state)).collect();
    if ranked.len() > MEMBERS {
        outside += (ranked.len() - MEMBERS) as u64;
        ranked.sort_by_key(|(name, id, _)| {
            let live = live.contains(*id);
            let known = live && before.members.get(*name).is_some_and(|entry| entry.live);
            (!known, !live, *name)
        });
        ranked.truncate(MEMBERS);
    }
    let mut directory = Directory::default();
    for (name, id, state) in ranked {
        let (values, ignored) = values(state);
        outside += ignored;
        let entry = Entry {
            address: id.gossip_advertise_addr,
            generation: id.generation_id,
            live: live.contains(id),
            values,
        };
        directory.members.insert(name.into(), entry);
    }
    (directory, outside)
}

/// What one node has published, and how much of it stays outside.
fn values(state: &NodeState) -> (BTreeMap<String, String>, u64) {
    let (mut values, mut bytes, mut outside) = (BTreeMap::new(), 0, 0);
    for (key, value) in state.key_values() {
        let size = key.len() + value.len();
        if is_key(key) && is_value(value) && values.len() < KEYS && bytes + size <= BYTES {
            bytes += size;
            values.insert(key.into(), value.into());
        } else {
            outside += 1;
        }
    }
    (values, outside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_that_nodes_publish() {
        for key in ["st", "h/web", "adm/web/web1", "vip/vi_1"] {
            assert!(is_key(key), "{key}");
        }
        let long = format!("h/{}", "x".repeat(LONGEST_KEY));
        for key in ["", "h/", "status", "été", "h/été", "h/a b", "h/\n", &long] {
            assert!(!is_key(key), "{key}");
        }
    }

    #[test]
    fn values_are_short_lines_of_ascii() {
        assert!(is_value("") && is_value("1;0.1.0;a b"));
        assert!(!is_value("a\nb") && !is_value("é") && !is_value(&"x".repeat(LONGEST_VALUE + 1)));
    }

    #[test]
    fn what_is_filled_in_keeps_to_the_bounds_and_overwrites_nothing() {
        let values = |keys: std::ops::Range<usize>, value: &str| -> BTreeMap<String, String> {
            keys.map(|n| (format!("h/{n}"), value.to_owned())).collect()
        };
        let address = "192.0.2.1:1".parse().unwrap();
        let mut entry = Entry { address, generation: 1, live: false, values: values(0..200, "now") };
        entry.fill_in(values(150..400, "before"));
        assert_eq!(entry.values.len(), KEYS);
        assert_eq!(entry.values["h/150"], "now");
        let mut entry = Entry { address, generation: 1, live: false, values: values(0..10, "") };
        entry.fill_in(values(10..100, &"x".repeat(LONGEST_VALUE)));
        let bytes: usize = entry.values.iter().map(|(key, value)| key.len() + value.len()).sum();
        assert!(bytes <= BYTES && entry.values.len() > 30, "{bytes} bytes");
    }

    #[test]
    fn an_address_is_one_machine_s() {
        for good in ["127.0.0.1:7780", "192.0.2.1:1", "[2001:db8::1]:7780"] {
            assert!(is_address(good.parse().unwrap()), "{good}");
        }
        for bad in
            ["0.0.0.0:7780", "224.0.0.1:7780", "255.255.255.255:1", "192.0.2.1:0", "[::]:1", "[ff02::1]:1"]
        {
            assert!(!is_address(bad.parse().unwrap()), "{bad}");
        }
    }
}
