//! Which datagrams get as far as the core: those of a life that has proven itself, each once.

use std::collections::BTreeMap;

/// Datagrams further behind the latest than this are refused.
const WINDOW: u64 = 128;

/// What a node knows of the others' lives.
#[derive(Debug, Default)]
pub(crate) struct Envelope {
    senders: BTreeMap<usize, Sender>,
}

#[derive(Debug)]
struct Sender {
    life: u64,
    guard: u64,
    highest: u64,
    seen: u128,
}

/// What becomes of a datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opened {
    Welcome,
    /// Its sender must prove first that this life is its present one.
    Unproven,
    Refused,
}

impl Envelope {
    pub(crate) fn open(&mut self, from: usize, life: u64, counter: u64) -> Opened {
        let Some(sender) = self.senders.get_mut(&from).filter(|s| s.life == life) else {
            return Opened::Unproven;
        };
        if counter > sender.highest {
            let ahead = counter - sender.highest;
            sender.seen = if ahead < WINDOW { sender.seen << ahead | 1 } else { 1 };
            sender.highest = counter;
            return Opened::Welcome;
        }
        let behind = sender.highest - counter;
        if behind >= WINDOW || sender.seen >> behind & 1 == 1 {
            return Opened::Refused;
        }
        sender.seen |= 1 << behind;
        Opened::Welcome
    }

    /// A challenge was answered. True when the life is new.
    pub(crate) fn proven(&mut self, from: usize, life: u64) -> bool {
        if self.senders.get(&from).is_some_and(|s| s.life >= life) {
            return false;
        }
        self.senders.insert(from, Sender { life, guard: 0, highest: 0, seen: 0 });
        true
    }

    /// A member's advertisement names its guard.
    pub(crate) fn vouch(&mut self, from: usize, guard: u64) {
        if let Some(sender) = self.senders.get_mut(&from) {
            sender.guard = guard;
        }
    }

    pub(crate) fn believes_guard(&self, from: usize, guard: u64) -> bool {
        self.senders.get(&from).is_some_and(|s| s.guard == guard)
    }
}
