//! When the next try is due: at moments that targets share, so that one wake-up serves them all.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

/// So many moments there are in an interval: one in every twentieth before or after its end.
const STEPS: u32 = 10;

/// How much shorter a node's own interval may be than the one that is asked for, in thousandths.
const SHORTER: u32 = 40;

/// The moments for targets of one interval.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    since: Instant,
    interval: Duration,
    step: Duration,
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
        let step = (interval * permille / (1000 * STEPS)).max(Duration::from_nanos(1));
        Self { since, interval, step }
    }

    /// The one that is an interval away from `now`, give or take a twentieth.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let latest = now + self.interval * (2 * STEPS + 1) / (2 * STEPS);
        let beyond = (latest - self.since).as_nanos() % self.step.as_nanos();
        latest - Duration::from_nanos(u64::try_from(beyond).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    #[test]
    fn the_next_try_is_an_interval_away_give_or_take_a_twentieth() {
        let since = Instant::now();
        for permille in [1000 - SHORTER, 985, 1000] {
            let pace = Pace::new(since, INTERVAL, permille);
            for micros in (0..1_000_000).step_by(777) {
                let now = since + Duration::from_micros(micros);
                let away = pace.next(now) - now;
                assert!(away > INTERVAL * 19 / 20 && away <= INTERVAL * 21 / 20, "{away:?}");
            }
        }
    }

    #[test]
    fn targets_that_are_due_about_the_same_time_are_due_at_the_same() {
        let since = Instant::now();
        let pace = Pace::new(since, INTERVAL, 1000);
        let next = pace.next(since + Duration::from_millis(51));
        assert_eq!(pace.next(since + Duration::from_millis(54)), next);
        // And stay so, whatever their tries take.
        assert_eq!(pace.next(next), pace.next(next + Duration::from_micros(800)));
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
