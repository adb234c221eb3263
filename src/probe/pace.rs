//! When the next try is due: at moments that targets come to share, so that one wake-up serves them all.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// How much shorter a node's own interval may be than the one that is asked for, in thousandths.
const SHORTER: u32 = 20;
/// A try may come an interval after the one before, or so large a part of it earlier or later.
const GIVE: u32 = 20;

/// The moments for targets of one interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    since: Instant,
    interval: Duration,
    /// From one moment to the next.
    own: Duration,
}

/// How many thousandths of an interval a node takes for one: another number on every node and at every start, so that
/// nodes that were started together don't probe together for ever.
pub(super) fn of_a_node() -> u32 {
    let random = RandomState::new().hash_one(0) % u64::from(SHORTER + 1);
    1000 - random as u32
}

impl Pace {
    /// Moments counted from `since`, of a node whose interval has so many thousandths of the `interval`.
    pub(super) fn new(since: Instant, interval: Duration, permille: u32) -> Self {
        Self { since, interval, own: (interval * permille / 1000).max(Duration::from_nanos(1)) }
    }

    /// The moment that is an interval away from `now`, or what comes closest to it within a twentieth: try by try
    /// targets come to share their moments.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let (wanted, give) = (now + self.interval, self.interval / GIVE);
        let after = (wanted.saturating_duration_since(self.since)).as_nanos() % self.own.as_nanos();
        let after = Duration::from_nanos(u64::try_from(after).unwrap_or(0));
        if after <= self.own / 2 {
            wanted.checked_sub(after.min(give)).unwrap_or(wanted)
        } else {
            wanted + self.own.saturating_sub(after).min(give)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    #[test]
    fn the_next_try_is_an_interval_away_give_or_take_a_twentieth() {
        let since = Instant::now();
        for permille in [1000 - SHORTER, 990, 1000] {
            let pace = Pace::new(since, INTERVAL, permille);
            for micros in (0..1_000_000).step_by(777) {
                let now = since + Duration::from_micros(micros);
                let away = pace.next(now) - now;
                assert!(away >= INTERVAL * 19 / 20 && away <= INTERVAL * 21 / 20, "{away:?}");
            }
        }
    }

    #[test]
    fn targets_come_to_share_their_moments_and_go_on_to_whatever_their_tries_take() {
        let since = Instant::now();
        for permille in [1000 - SHORTER, 990, 1000] {
            let pace = Pace::new(since, INTERVAL, permille);
            let mut others = [0, 7, 33, 50, 66, 99].map(|millis| since + Duration::from_millis(millis));
            for turn in 0..60 {
                let shared =
                    others.iter().all(|at| (*at - since).as_nanos().is_multiple_of(pace.own.as_nanos()));
                assert!(turn < 30 || shared, "{permille}, {turn}: {others:?}");
                let takes = |at: usize| Duration::from_micros(137 * at as u64);
                others = std::array::from_fn(|at| pace.next(others[at] + takes(at)));
            }
        }
    }

    #[test]
    fn a_node_s_own_interval_is_hardly_shorter() {
        assert!((0..100).all(|_| (1000 - SHORTER..=1000).contains(&of_a_node())));
    }

    #[test]
    fn two_nodes_drift_apart() {
        let since = Instant::now();
        let end = |permille| {
            let pace = Pace::new(since, INTERVAL, permille);
            (0..100).fold(since, |now, _| pace.next(now)) - since
        };
        assert!(end(1000) > end(990) + INTERVAL / 2);
    }
}
