//! Whom the driver watches: a guard that owes an answer, and workers whose loops should turn.

use std::time::Duration;

use crate::core::Time;

/// A guard that has just been started owes its first word for this long.
const GUARD_START: Duration = Duration::from_millis(900);
/// A worker wakes at least once a second; after three it is stuck.
const WORKER_PATIENCE: Duration = Duration::from_secs(3);

/// An order that the guard hasn't answered yet.
#[derive(Debug)]
pub(super) struct GuardWatch {
    /// A guard silent for this long is hung: it answers within microseconds, or says that it waits for the kernel.
    patience: Duration,
    due_at: Option<Time>,
}

impl GuardWatch {
    pub(super) fn new(patience: Duration) -> Self {
        Self { patience, due_at: None }
    }

    /// It was asked for something that it answers.
    pub(super) fn asked(&mut self, now: Time) {
        self.due_at.get_or_insert(now + self.patience);
    }

    /// It has been started, and says so once it is ready.
    pub(super) fn begun(&mut self, now: Time) {
        self.due_at = Some(now + GUARD_START);
    }

    /// It said something: it lives.
    pub(super) fn answered(&mut self) {
        self.due_at = None;
    }

    /// The driver itself was late: the guard may have been, too, without being hung.
    pub(super) fn start_afresh(&mut self, now: Time) {
        self.due_at = self.due_at.map(|at| at.max(now + self.patience));
    }

    /// When it is to be given up unless it answers.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due_at
    }

    /// Whether it is to be given up.
    pub(super) fn is_hung(&self, now: Time) -> bool {
        self.due_at.is_some_and(|at| now >= at)
    }
}

/// The workers' loop counters.
#[derive(Debug, Default)]
pub(super) struct WorkerWatch {
    /// Each worker's last count, and since when it has stood there.
    seen: Vec<(u64, Time)>,
}

impl WorkerWatch {
    /// Takes in the counters as they are; whether all loops turn.
    pub(super) fn all_turn(&mut self, beats: &[u64], now: Time) -> bool {
        self.seen.resize(beats.len(), (u64::MAX, now));
        let mut turning = true;
        for (seen, beat) in self.seen.iter_mut().zip(beats) {
            if seen.0 != *beat {
                *seen = (*beat, now);
            }
            turning &= now.since(seen.1) <= WORKER_PATIENCE;
        }
        turning
    }

    /// The driver itself was late: the workers may have been, too, without being stuck.
    pub(super) fn start_afresh(&mut self, now: Time) {
        for (_, since) in &mut self.seen {
            *since = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn a_guard_is_hung_when_it_owes_an_answer_for_too_long() {
        let mut watch = GuardWatch::new(Duration::from_secs(1));
        assert!(!watch.is_hung(at(100)), "it wasn't asked anything");
        watch.asked(at(1));
        watch.asked(at(2));
        assert!(watch.is_hung(at(2)), "since the first order");
        watch.start_afresh(at(2));
        assert!(!watch.is_hung(at(2)) && watch.is_hung(at(3)), "nobody was there to hear it");
        watch.answered();
        assert!(!watch.is_hung(at(10)));
        watch.begun(at(10));
        watch.asked(at(10));
        assert!(!watch.is_hung(at(10)) && watch.is_hung(at(11)));
    }

    #[test]
    fn a_worker_is_stuck_when_its_count_stands_still() {
        let mut watch = WorkerWatch::default();
        assert!(watch.all_turn(&[1, 1], at(0)));
        assert!(watch.all_turn(&[2, 1], at(3)));
        assert!(!watch.all_turn(&[3, 1], at(4)));
        assert!(watch.all_turn(&[4, 2], at(5)), "it turns again");
        watch.start_afresh(at(20));
        assert!(watch.all_turn(&[4, 2], at(21)));
    }
}
