//! What one look at chitchat shows, without copying what it stores.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

use chitchat::{Chitchat, ChitchatId, Heartbeat};

use super::directory::{self, MEMBERS};

/// chitchat at one moment.
pub(super) struct Sight {
    /// Changes when a node comes, goes, revives, dies or publishes.
    pub(super) fingerprint: u64,
    /// Where the live members are, this node apart.
    pub(super) live: Vec<SocketAddr>,
    /// Whether this node's state is what it published.
    pub(super) own: Own,
    /// Other lives of this node's name: its own earlier ones, or another node's.
    pub(super) namesakes: Vec<Namesake>,
    /// There is more than honest nodes can have published.
    pub(super) overgrown: bool,
}

/// This node's state, as chitchat gives it to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Own {
    /// As published.
    Intact,
    /// Some value is another; it can be published again.
    Overwritten,
    /// There is what can't be undone: a strange key, or a version that leaves no room for more.
    Spoilt,
}

/// A life of this node's name that isn't this one.
pub(super) struct Namesake {
    pub(super) id: ChitchatId,
    pub(super) heartbeat: Heartbeat,
    pub(super) live: bool,
}

/// chitchat counts a version up by one at every change, and dies at the last.
const LAST_VERSION: u64 = 1 << 62;
/// Four lives of everybody: a few old ones linger until they are forgotten.
const LIVES: usize = 4 * MEMBERS;
/// What everything that is stored may come to, in bytes: the bounds of all members.
const BYTES: usize = MEMBERS * 16 * 1024;

impl Sight {
    /// Looks, at a node that has published `written`.
    pub(super) fn of(chitchat: &Chitchat, written: &BTreeMap<String, String>) -> Self {
        let own_id = chitchat.self_chitchat_id();
        let live = directory::live(chitchat);
        let mut hasher = DefaultHasher::new();
        let (mut addresses, mut namesakes, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (id, state) in chitchat.node_states() {
            bytes +=
                state.key_values_including_deleted().map(|(key, v)| key.len() + v.value.len()).sum::<usize>();
            if id == own_id {
                continue;
            }
            let alive = live.contains(id);
            (id, state.max_version(), state.last_gc_version(), alive).hash(&mut hasher);
            if !directory::is_identity(id) {
                continue;
            }
            if id.node_id == own_id.node_id {
                namesakes.push(Namesake { id: id.clone(), heartbeat: state.heartbeat(), live: alive });
            } else if alive {
                addresses.push(id.gossip_advertise_addr);
            }
        }
        addresses.sort_unstable();
        addresses.dedup();
        Self {
            fingerprint: hasher.finish(),
            live: addresses,
            own: own(chitchat, written),
            namesakes,
            overgrown: chitchat.node_states().len() > LIVES || bytes > BYTES,
        }
    }
}

fn own(chitchat: &Chitchat, written: &BTreeMap<String, String>) -> Own {
    let Some(state) = chitchat.node_state(chitchat.self_chitchat_id()) else { return Own::Spoilt };
    let strange = |key: &str| !written.contains_key(key);
    if state.max_version() > LAST_VERSION || state.key_values_including_deleted().any(|(key, _)| strange(key))
    {
        return Own::Spoilt;
    }
    if written.iter().all(|(key, value)| state.get(key) == Some(value)) {
        Own::Intact
    } else {
        Own::Overwritten
    }
}

/// Publishes all of `values`; false when there is no room for more.
pub(super) fn write(chitchat: &mut Chitchat, values: &BTreeMap<String, String>) -> bool {
    let state = chitchat.self_node_state();
    if state.max_version() > LAST_VERSION {
        return false;
    }
    for (key, value) in values {
        // What hasn't changed costs nothing.
        state.set(key, value);
    }
    true
}
