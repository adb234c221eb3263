//! What must arrive: sent, and sent again until it is acknowledged.

use std::time::Duration;

use super::message::{MemberId, Resignation};
use super::time::Time;

/// The first repetition comes after this; each further one after twice the time before.
const FIRST_REPEAT: Duration = Duration::from_millis(10);
/// Ten tries span ten seconds: by then the advertisements have said it all.
const TRIES: u32 = 10;
/// More than this many unacknowledged messages are not kept; the oldest go first.
const DEPTH: usize = 1024;

/// Resignations on their way.
#[derive(Debug, Clone, Default)]
pub(super) struct Outbox {
    waiting: Vec<Waiting>,
}

#[derive(Debug, Clone)]
struct Waiting {
    to: MemberId,
    resignation: Resignation,
    tries: u32,
    next_at: Time,
}

impl Outbox {
    /// Takes in a message, to be sent at once.
    pub(super) fn push(&mut self, to: MemberId, resignation: Resignation, now: Time) {
        if self.waiting.len() >= DEPTH {
            self.waiting.remove(0);
        }
        self.waiting.push(Waiting { to, resignation, tries: 0, next_at: now });
    }

    /// `from` has message `id`.
    pub(super) fn acknowledged(&mut self, from: MemberId, id: u32) {
        self.waiting.retain(|w| w.to != from || w.resignation.id != id);
    }

    /// What is to be sent now.
    pub(super) fn due(&mut self, now: Time) -> Vec<(MemberId, Resignation)> {
        let mut due = Vec::new();
        self.waiting.retain_mut(|w| {
            if now < w.next_at {
                return true;
            }
            due.push((w.to, w.resignation));
            w.next_at = now + FIRST_REPEAT * 2u32.pow(w.tries);
            w.tries += 1;
            w.tries < TRIES
        });
        due
    }

    /// When the next message is due.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.waiting.iter().map(|w| w.next_at).min()
    }

    /// Nothing waits for an acknowledgement.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::message::VipId;
    use super::*;

    #[test]
    fn a_message_is_repeated_ever_more_slowly_until_it_is_acknowledged() {
        let resignation = Resignation { id: 7, vip: VipId(1), term: 1, successor: None };
        let (mut outbox, mut now) = (Outbox::default(), Time::ZERO);
        outbox.push(MemberId(2), resignation, now);
        let mut waits = Vec::new();
        for _ in 0..4 {
            assert_eq!(outbox.due(now), [(MemberId(2), resignation)]);
            let next = outbox.deadline().expect("it is repeated");
            waits.push(next.since(now).as_millis());
            assert!(outbox.due(next - Duration::from_nanos(1)).is_empty());
            now = next;
        }
        assert_eq!(waits, [10, 20, 40, 80]);
        outbox.acknowledged(MemberId(3), 7);
        outbox.acknowledged(MemberId(2), 6);
        assert!(!outbox.is_empty(), "neither another's acknowledgement nor another number counts");
        outbox.acknowledged(MemberId(2), 7);
        assert!(outbox.is_empty());
    }

    #[test]
    fn a_dead_peer_is_given_up() {
        let resignation = Resignation { id: 7, vip: VipId(1), term: 1, successor: None };
        let mut outbox = Outbox::default();
        outbox.push(MemberId(2), resignation, Time::ZERO);
        let mut tries = 0;
        while let Some(at) = outbox.deadline() {
            tries += outbox.due(at).len();
        }
        assert_eq!(tries, TRIES as usize);
    }
}
