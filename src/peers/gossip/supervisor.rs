//! One life of chitchat after another: starts it, sees it end, starts it again.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, mpsc as std_mpsc};
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use crate::wire::seal::{Channel, Envelope};

use super::directory::{Directory, LAST_GENERATION};
use super::life::{self, End};
use super::sealed::{Datagram, Sealed, lock};
use super::seeds::Seeds;
use super::{Carrier, Desk, Dropped, News, Order, Settings, Tell};

/// How often a node talks to three others, but for those that have just talked to it. What is new is told to everybody at once; the rounds find what was lost of
/// it, and who is there.
pub(super) const INTERVAL: Duration = Duration::from_millis(500);

/// Tells the time of day, in milliseconds since the epoch.
pub(super) type WallClock = Box<dyn Fn() -> u64 + Send + Sync>;

/// How long after a first death chitchat is started again; doubled at each that follows soon.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A life of this length makes up for the deaths before it.
const LONG_LIFE: Duration = Duration::from_secs(60);
/// How many addresses are remembered to be tried again: all members twice over.
const CONTACTS: usize = 128;

/// What the gossip thread runs.
pub(super) struct Supervisor {
    pub(super) settings: Settings,
    pub(super) carrier: Arc<dyn Carrier>,
    pub(super) tell: Tell,
    pub(super) clock: WallClock,
    pub(super) datagrams: mpsc::Receiver<Datagram>,
    pub(super) orders: watch::Receiver<Order>,
    pub(super) desk: Arc<Desk>,
    /// Dropped at the end, which is how the handle learns of it.
    pub(super) _finished: std_mpsc::Sender<()>,
}

/// What one life hands down to the next.
pub(super) struct Node {
    pub(super) name: String,
    pub(super) address: SocketAddr,
    pub(super) cluster: String,
    pub(super) interval: Duration,
    pub(super) seeds: Seeds,
    pub(super) sealed: Arc<Sealed>,
    pub(super) tell: Tell,
    pub(super) desk: Arc<Desk>,
    memory: Mutex<Memory>,
}

#[derive(Default)]
struct Memory {
    /// The last generation that was used, or is known to be taken.
    generation: u64,
    directory: Directory,
    /// Everybody who was ever live and hasn't left, with the last moment of it.
    contacts: BTreeMap<SocketAddr, Instant>,
}

impl Supervisor {
    /// Runs until the handle is dropped or told to leave.
    pub(super) async fn run(mut self) {
        let settings = self.settings;
        let envelope =
            Envelope::new(settings.keyring, Channel::Gossip, settings.id, settings.boot, settings.cookies);
        let node = Arc::new(Node {
            name: settings.name,
            address: settings.address,
            cluster: settings.cluster,
            interval: INTERVAL,
            seeds: Seeds::follow(settings.seeds),
            sealed: Arc::new(Sealed::new(envelope, self.carrier, Arc::clone(&self.tell), self.datagrams)),
            tell: Arc::clone(&self.tell),
            desk: Arc::clone(&self.desk),
            memory: Mutex::default(),
        });
        let mut pause = FIRST_PAUSE;
        let mut restarts = 0;
        loop {
            let begun_at = Instant::now();
            let generation = node.next_generation((self.clock)());
            // A task of its own, so that a panic ends that life and nothing else.
            let life = tokio::spawn(life::live(Arc::clone(&node), generation, self.orders.clone()));
            let end = life.await;
            self.desk.alive.store(false, Ordering::Relaxed);
            let why = match end {
                Ok(End::Stopped) => return,
                Ok(End::Outranked(by)) => {
                    tracing::warn!(
                        by,
                        "an earlier life of this node has a later number: did the clock go back?"
                    );
                    node.outranked(by);
                    "outranked".to_owned()
                }
                Ok(End::Failed(why)) => why,
                Err(panicked) => panicked.to_string(),
            };
            restarts += 1;
            (self.tell)(News::Died { restarts });
            if begun_at.elapsed() >= LONG_LIFE {
                pause = FIRST_PAUSE;
            }
            tracing::error!(cause = why, restarts, ?pause, "gossip died; it will be started again");
            tokio::select! {
                // To leave, or to stop without a word: either way there is nobody here to say it.
                _ordered = self.orders.changed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

impl Node {
    /// A generation above every earlier one, by the clock if it can be.
    fn next_generation(&self, clock: u64) -> u64 {
        let mut memory = lock(&self.memory);
        memory.generation = clock.min(LAST_GENERATION).max(memory.generation + 1);
        memory.generation
    }

    fn outranked(&self, by: u64) {
        let mut memory = lock(&self.memory);
        memory.generation = memory.generation.max(by);
    }

    /// What was told last.
    pub(super) fn directory(&self) -> Directory {
        lock(&self.memory).directory.clone()
    }

    /// Tells a directory, if it is news, and remembers it.
    pub(super) fn tell_directory(&self, directory: Directory) {
        let mut memory = lock(&self.memory);
        if memory.directory == directory {
            return;
        }
        memory.directory = directory.clone();
        drop(memory);
        (self.tell)(News::Directory(directory));
    }

    /// Tells what couldn't wait in the queue since the last time.
    pub(super) fn tell_dropped(&self) {
        let count = self.desk.busy.swap(0, Ordering::Relaxed);
        if count > 0 {
            (self.tell)(News::Dropped { why: Dropped::Busy, count });
        }
    }

    /// Remembers who is live, and forgets who has left.
    pub(super) fn meet(&self, live: &[SocketAddr], left: &[SocketAddr]) {
        let contacts = &mut lock(&self.memory).contacts;
        let now = Instant::now();
        contacts.extend(live.iter().map(|address| (*address, now)));
        contacts.retain(|address, _| !left.contains(address));
        while contacts.len() > CONTACTS {
            let longest_gone = contacts.iter().min_by_key(|(_, at)| **at).map(|(address, _)| *address);
            contacts.retain(|address, _| Some(*address) != longest_gone);
        }
    }

    /// Everybody there is to talk to, whether they answer or not.
    pub(super) fn contacts(&self) -> Vec<SocketAddr> {
        let mut all = self.seeds.addresses();
        all.extend(lock(&self.memory).contacts.keys());
        all.remove(&self.address);
        all.into_iter().collect()
    }
}
