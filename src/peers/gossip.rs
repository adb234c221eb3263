//! Who is there, and the slow state that nodes share: chitchat, sealed, supervised and within bounds.
//!
//! ```text
//!   driver ── datagram() ──> inbox (256) ──> opened ──> decoded ──┐
//!   node ──── publish() ───> own values ─────────────> chitchat <─┤   thread "gossip": one life of chitchat after
//!   node <─── News ──────── directory <──────────────────┘        │   another, each of a higher generation
//!   carrier <────────────── sealed <── encoded <──────────────────┘
//! ```
//!
//! Gossip is the directory and the store of slow state, never what moves a VIP: its sense of life is seconds late,
//! and the election goes on without it. chitchat trusts its peers; so nothing reaches it that wasn't sealed with the
//! cluster's secret, what it knows leaves it only within bounds, and when it dies it is started again: with all
//! that was published, and with everybody it knew.

mod codec;
mod directory;
mod format;
mod life;
mod sealed;
mod seeds;
mod sight;
mod supervisor;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc, watch};

use crate::config::Endpoint;
use crate::core::{Boot, MemberId};
use crate::wire::seal::{Keyring, Reject};

pub use self::directory::{Directory, Entry};

use self::sealed::{Datagram, lock};
use self::supervisor::Supervisor;

/// The key under which a node publishes that it is leaving, and what it publishes then.
pub const STATE: &str = "st";
/// A node that says so is gone, and isn't looked for any more.
pub const LEFT: &str = "left";

/// What a node gossips with.
pub struct Settings {
    /// The node's name.
    pub name: String,
    /// Where it is reached, port included.
    pub address: SocketAddr,
    /// The cluster's name.
    pub cluster: String,
    /// Where to look for members first. Names are resolved again and again.
    pub seeds: Vec<Endpoint>,
    /// What seals.
    pub keyring: Keyring,
    /// The node in the envelope.
    pub id: MemberId,
    /// Random, and new at every start of the process.
    pub boot: Boot,
    /// Random, and new at every start of the process.
    pub cookies: [u8; 32],
    /// What is published from the start.
    pub own: BTreeMap<String, String>,
}

/// Takes datagrams to other nodes, or loses them. Called by the gossip thread; must not block.
pub trait Carrier: Send + Sync + 'static {
    /// Sends a sealed datagram.
    fn send(&self, datagram: &[u8], to: SocketAddr);
}

/// What gossip has to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// What is known of the others has changed: all of it, at most every 20 ms.
    Directory(Directory),
    /// A node of this one's name speaks from another address. Told once a life of each such address.
    NameTaken {
        /// The other's address.
        address: SocketAddr,
        /// This node is the one that came later.
        younger: bool,
    },
    /// Datagrams that chitchat took in and sent since the last such news, at most once an interval.
    Counted {
        /// Opened, decoded and taken in.
        received: u64,
        /// Sealed and sent.
        sent: u64,
        /// The bytes of those, sealed.
        bytes_received: u64,
        /// And of these.
        bytes_sent: u64,
    },
    /// A datagram was refused; [`Reject::Malformed`] when it opened and is no message.
    Rejected(Reject),
    /// Something was left out.
    Dropped {
        /// Why.
        why: Dropped,
        /// How often since the last such news.
        count: u64,
    },
    /// chitchat has died, and will be started again.
    Died {
        /// How often that has happened since the start of the process.
        restarts: u64,
    },
}

/// Why something was left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dropped {
    /// A datagram came while the queue was full.
    Busy,
    /// A message was larger than a datagram.
    Large,
    /// Names, addresses, keys or values of others that are out of bounds.
    Foreign,
}

impl Dropped {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Busy, Self::Large, Self::Foreign];

    /// As in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Large => "large",
            Self::Foreign => "foreign",
        }
    }
}

/// Hears the news, on the gossip thread; must not block.
pub type Tell = Arc<dyn Fn(News) + Send + Sync>;

/// A node's part in the gossip. Dropped, it falls silent without a word, as a crashed node would.
pub struct Gossip {
    desk: Arc<Desk>,
    inbox: mpsc::Sender<Datagram>,
    order: watch::Sender<Order>,
    /// Closed when all is done. Locked, so that threads can share the handle; only the one that leaves reads it.
    done: Mutex<std_mpsc::Receiver<()>>,
}

/// What both sides of the handle use.
struct Desk {
    /// What this node publishes; it outlives every life.
    own: Mutex<BTreeMap<String, String>>,
    changed: Notify,
    /// Whom to talk to at once.
    heard: Mutex<BTreeSet<SocketAddr>>,
    heard_somebody: Notify,
    alive: AtomicBool,
    busy: AtomicU64,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Run,
    Leave { within: Duration },
}

/// How many datagrams may wait: 64 members' of an interval, four times over. What is lost is said again.
const INBOX: usize = 256;

/// How many addresses may wait to be talked to: all members' twice over. The rounds find the rest.
const HEARD: usize = 128;

impl Gossip {
    /// Starts to gossip, on a thread of its own.
    pub fn start(settings: Settings, carrier: Arc<dyn Carrier>, tell: Tell) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (gossip, supervisor) = assemble(settings, carrier, tell, Box::new(wall_clock));
        thread::Builder::new().name("gossip".into()).spawn(move || {
            runtime.block_on(supervisor.run());
            // A name that is being resolved can't be given up; nobody waits for it.
            runtime.shutdown_background();
        })?;
        Ok(gossip)
    }

    /// Hands over a datagram of [`Channel::Gossip`](crate::wire::seal::Channel). Never blocks; dropped and counted
    /// when too many wait.
    pub fn datagram(&self, datagram: Vec<u8>, from: SocketAddr) {
        match self.inbox.try_send((datagram, from)) {
            Ok(()) => {}
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => {
                self.desk.busy.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Publishes a value. The latest for each key goes out, with all others that changed, every 100 ms at most,
    /// and to everybody at once.
    ///
    /// A key or value that other nodes wouldn't accept is not published, and logged.
    pub fn publish(&self, key: String, value: String) {
        if !directory::is_key(&key) || !directory::is_value(&value) {
            tracing::error!(key, "not published: other nodes wouldn't accept it");
            return;
        }
        let before = lock(&self.desk.own).insert(key, value.clone());
        if before != Some(value) {
            self.desk.changed.notify_one();
        }
    }

    /// Talks to whoever is at these addresses now: nodes that have just heard of each other needn't wait for a round.
    pub fn meet(&self, addresses: impl IntoIterator<Item = SocketAddr>) {
        let mut heard = lock(&self.desk.heard);
        for address in addresses {
            if heard.len() < HEARD {
                heard.insert(address);
            }
        }
        self.desk.heard_somebody.notify_one();
    }

    /// Publishes that the node has left, sees to it that every live member hears it, and stops: when that is done,
    /// or after `within`. Datagrams have to be handed over meanwhile.
    pub fn leave(&self, within: Duration) {
        self.order.send_replace(Order::Leave { within });
    }

    /// Whether a leave has come to its end.
    pub fn has_left(&self) -> bool {
        matches!(lock(&self.done).try_recv(), Err(std_mpsc::TryRecvError::Disconnected))
    }

    /// Whether chitchat runs now.
    pub fn alive(&self) -> bool {
        self.desk.alive.load(Ordering::Relaxed)
    }
}

/// The two ends: the handle, and what a thread has to run.
fn assemble(
    settings: Settings,
    carrier: Arc<dyn Carrier>,
    tell: Tell,
    clock: supervisor::WallClock,
) -> (Gossip, Supervisor) {
    let (inbox, datagrams) = mpsc::channel(INBOX);
    let (order, orders) = watch::channel(Order::Run);
    let (finished, done) = std_mpsc::channel();
    let mut own = settings.own.clone();
    own.retain(|key, value| directory::is_key(key) && directory::is_value(value));
    let desk = Arc::new(Desk {
        own: Mutex::new(own),
        changed: Notify::new(),
        heard: Mutex::default(),
        heard_somebody: Notify::new(),
        alive: AtomicBool::new(false),
        busy: AtomicU64::new(0),
    });
    let supervisor = Supervisor {
        settings,
        carrier,
        tell,
        clock,
        datagrams,
        orders,
        desk: Arc::clone(&desk),
        _finished: finished,
    };
    (Gossip { desk, inbox, order, done: Mutex::new(done) }, supervisor)
}

/// Milliseconds since the epoch.
fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
