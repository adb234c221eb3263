//! When a held VIP is announced: after a takeover or any doubt, and once a minute.

use std::time::Duration;

use crate::core::Time;

/// After a takeover or any doubt: at once, and again in case these get lost or an old answer is on its way.
const AFTER_DOUBT: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
/// A series is begun anew no sooner than this, but for another holder that lets go.
const AGAIN: Duration = Duration::from_secs(1);
/// And as long as it is held.
const REMINDER: Duration = Duration::from_secs(60);

/// When a held VIP is announced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announcements {
    since: Time,
    /// How many of the series have been made.
    made: usize,
    next_at: Time,
    /// None has been made since the VIP was taken.
    first: bool,
}

impl Announcements {
    /// The whole series, from now on: the VIP has just been taken.
    pub(super) fn start(now: Time) -> Self {
        Self { since: now, made: 0, next_at: now, first: true }
    }

    /// The whole series once more: somebody may have forgotten, or been told otherwise. A series that has just
    /// begun will do, unless it is to be `anew`: two holders that answer each other's announcements would never come
    /// to an end.
    pub(super) fn again(&mut self, anew: bool, now: Time) {
        if anew || now.since(self.since) >= AGAIN {
            *self = Self { first: self.first, ..Self::start(now) };
        }
    }

    /// When the next one is due.
    pub(super) fn next_at(&self) -> Time {
        self.next_at
    }

    /// One is due and has been made; true when it was the first since the VIP was taken.
    pub(super) fn made(&mut self, now: Time) -> bool {
        self.made += 1;
        self.next_at = match AFTER_DOUBT.get(self.made) {
            Some(after) => (self.since + *after).max(now),
            None => now + REMINDER,
        };
        std::mem::replace(&mut self.first, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announcements_come_at_0_10_100_ms_1_s_5_s_and_once_a_minute() {
        let start = Time::from_nanos(1_000_000_000);
        let mut announcements = Announcements::start(start);
        let mut times = Vec::new();
        for _ in 0..8 {
            let at = announcements.next_at();
            times.push(at.since(start).as_millis());
            assert_eq!(announcements.made(at), times.len() == 1, "only one is the first");
        }
        assert_eq!(times, [0, 10, 100, 1000, 5000, 65_000, 125_000, 185_000]);
    }

    #[test]
    fn a_series_begins_anew_once_a_second_at_most() {
        let start = Time::from_nanos(1_000_000_000);
        let mut announcements = Announcements::start(start);
        announcements.made(start);
        announcements.again(false, start + Duration::from_millis(5));
        assert_eq!(
            announcements.next_at(),
            start + Duration::from_millis(10),
            "the series under way goes on"
        );
        announcements.again(false, start + AGAIN);
        assert_eq!(announcements.next_at(), start + AGAIN);
        assert!(!announcements.made(start + AGAIN), "but it isn't the first");
    }

    #[test]
    fn when_another_holder_has_yielded_it_begins_anew_at_once() {
        let start = Time::from_nanos(1_000_000_000);
        let mut announcements = Announcements::start(start);
        announcements.made(start);
        let yielded = start + Duration::from_millis(2);
        announcements.again(true, yielded);
        assert_eq!(announcements.next_at(), yielded);
        announcements.made(yielded);
        assert_eq!(announcements.next_at(), yielded + Duration::from_millis(10));
    }
}
