//! A client on the VIP's network: whom its ARP cache takes for the holder.

use std::time::Duration;

use chinthe::core::Time;

use crate::random::Random;

/// An entry that was confirmed this long ago is asked about again.
const STALE: Duration = Duration::from_secs(30);
/// Unanswered questions are repeated after this.
const AGAIN: Duration = Duration::from_secs(1);
/// So many questions go to the address that is known; then everybody is asked.
const DIRECT: u32 = 3;
/// Within this time of an update, answers don't overwrite an entry; announcements do.
const LOCKED: Duration = Duration::from_secs(1);

/// One client.
#[derive(Debug)]
pub(crate) struct Client {
    /// The machine it believes to hold the VIP, and since when.
    entry: Option<(usize, Time)>,
    stale_after: Duration,
    asked: u32,
    ask_at: Time,
    /// The last machine whose announcement came through.
    announced_by: Option<usize>,
}

/// What a client asks the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    /// "Who has it?"
    Everybody,
    /// "Do you still have it?"
    Machine(usize),
}

impl Client {
    pub(crate) fn new(random: &mut Random) -> Self {
        // The kernel draws it between half and one and a half, so that hosts don't ask in step.
        let stale_after = random.between(STALE / 2, STALE * 3 / 2);
        Self { entry: None, stale_after, asked: 0, ask_at: Time::ZERO, announced_by: None }
    }

    /// The machine it sends to.
    pub(crate) fn believes(&self) -> Option<usize> {
        self.entry.map(|(machine, _)| machine)
    }

    pub(crate) fn was_told_by(&self, machine: usize) -> bool {
        self.announced_by == Some(machine)
    }

    /// A gratuitous ARP: updates an entry, and makes none.
    pub(crate) fn announced(&mut self, by: usize, now: Time) {
        self.announced_by = Some(by);
        if self.entry.is_some() {
            self.learn(by, now);
        }
    }

    pub(crate) fn answered(&mut self, by: usize, now: Time) {
        let locked = self.entry.is_some_and(|(known, at)| known != by && now.since(at) < LOCKED);
        if !locked {
            self.learn(by, now);
        }
    }

    /// What it asks now, if anything.
    pub(crate) fn question(&mut self, now: Time) -> Option<Question> {
        if now < self.ask_at || self.entry.is_some_and(|(_, at)| now.since(at) < self.stale_after) {
            return None;
        }
        self.ask_at = now + AGAIN;
        self.asked += 1;
        match self.entry {
            Some((machine, _)) if self.asked <= DIRECT => Some(Question::Machine(machine)),
            Some(_) | None => {
                self.entry = None;
                Some(Question::Everybody)
            }
        }
    }

    fn learn(&mut self, machine: usize, now: Time) {
        self.entry = Some((machine, now));
        self.asked = 0;
    }
}
