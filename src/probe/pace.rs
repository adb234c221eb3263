//! When the next try is due: with the node's own advertisements, so that it is awake already.
//!
//! A machine with little to do sleeps deeply, and whatever wakes it finds every cache cold: several things done at one
//! moment cost half of what they cost one by one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A try may come an interval after the one before, or so large a part of it earlier or later.
const GIVE: u32 = 20;
/// So long after an advertisement, whose way out comes first.
const BEHIND: Duration = Duration::from_micros(300);

/// When a node advertises: at regular moments, which shift when another node sets the pace.
#[derive(Debug, Clone)]
pub struct Rhythm {
    origin: Instant,
    every: Duration,
    /// When the latest was, in nanoseconds since the origin.
    latest: Arc<AtomicU64>,
}

impl Rhythm {
    /// One beat `every` so often.
    pub fn new(every: Duration) -> Self {
        let every = every.max(Duration::from_millis(1));
        Self { origin: Instant::now(), every, latest: Arc::default() }
    }

    /// A beat, now.
    pub fn beat(&self) {
        let since = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(0);
        self.latest.store(since, Ordering::Relaxed);
    }

    /// How long after the origin, and after each beat's length from there, there is one.
    fn phase(&self) -> Duration {
        let latest = Duration::from_nanos(self.latest.load(Ordering::Relaxed));
        remainder(latest, self.every)
    }
}

/// The moments for targets of one interval.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    rhythm: Rhythm,
    behind: Duration,
    interval: Duration,
    /// From one moment to the next.
    own: Duration,
}

impl Pace {
    /// Moments that are so much `later` than those of other targets.
    pub(super) fn new(rhythm: Rhythm, later: Duration, interval: Duration) -> Self {
        // As many beats as there are in an interval, so that targets share their moments.
        let beats = u32::try_from(interval.as_nanos() / rhythm.every.as_nanos()).unwrap_or(u32::MAX);
        let own = if beats == 0 { interval } else { rhythm.every.saturating_mul(beats) };
        Self { behind: BEHIND + later, interval, own: own.max(Duration::from_nanos(1)), rhythm }
    }

    /// The moment that is an interval away from `now`, or what comes closest to it within a twentieth: try by try
    /// targets come to share their moments.
    pub(super) fn next(&self, now: Instant) -> Instant {
        let (wanted, give) = (now + self.interval, self.interval / GIVE);
        let from = self.rhythm.origin + self.rhythm.phase() + self.behind;
        let after = remainder(wanted.saturating_duration_since(from), self.own);
        if after <= self.own / 2 {
            wanted.checked_sub(after.min(give)).unwrap_or(wanted)
        } else {
            wanted + self.own.saturating_sub(after).min(give)
        }
    }
}

fn remainder(of: Duration, by: Duration) -> Duration {
    Duration::from_nanos(u64::try_from(of.as_nanos() % by.as_nanos()).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    /// Beats at the origin, or so long after it.
    fn rhythm(every: Duration, phase: Duration) -> Rhythm {
        let latest = u64::try_from((every * 50 + phase).as_nanos()).expect("a few seconds");
        Rhythm { origin: Instant::now(), every, latest: Arc::new(AtomicU64::new(latest)) }
    }

    #[test]
    fn the_next_try_is_an_interval_away_give_or_take_a_twentieth() {
        for every in [10, 33, 100, 1000].map(Duration::from_millis) {
            let rhythm = rhythm(every, every / 3);
            let pace = Pace::new(rhythm.clone(), Duration::ZERO, INTERVAL);
            for micros in (0..1_000_000).step_by(777) {
                let now = rhythm.origin + Duration::from_micros(micros);
                let away = pace.next(now) - now;
                assert!(away >= INTERVAL * 19 / 20 && away <= INTERVAL * 21 / 20, "{away:?}");
            }
        }
    }

    #[test]
    fn targets_come_to_share_their_moments_behind_the_advertisements_whatever_their_tries_take() {
        for (every, phase) in [(100, 0), (100, 60), (50, 20), (10, 7), (1000, 500)] {
            let every = Duration::from_millis(every);
            let rhythm = rhythm(every, Duration::from_millis(phase));
            let pace = Pace::new(rhythm.clone(), Duration::ZERO, INTERVAL);
            let mut others =
                [0, 7, 33, 50, 66, 99].map(|millis| rhythm.origin + Duration::from_millis(1000 + millis));
            for turn in 0..40 {
                let shared = others.iter().all(|at| {
                    let since = at.duration_since(rhythm.origin + rhythm.phase() + BEHIND);
                    remainder(since, pace.own).is_zero()
                });
                assert!(turn < 20 || shared, "{every:?}, {turn}: {others:?}");
                let takes = |at: usize| Duration::from_micros(137 * at as u64);
                others = std::array::from_fn(|at| pace.next(others[at] + takes(at)));
            }
        }
    }

    #[test]
    fn the_moments_follow_the_advertisements() {
        let rhythm = Rhythm::new(INTERVAL);
        let pace = Pace::new(rhythm.clone(), Duration::ZERO, INTERVAL);
        let before = rhythm.phase();
        let mut beaten = rhythm.phase();
        while beaten == before {
            rhythm.beat();
            beaten = rhythm.phase();
        }
        let mut at = Instant::now();
        for _ in 0..20 {
            at = pace.next(at);
        }
        assert_eq!(remainder(at.duration_since(rhythm.origin + BEHIND), INTERVAL), beaten);
    }

    #[test]
    fn so_many_later_are_so_much_later() {
        let rhythm = rhythm(INTERVAL, Duration::ZERO);
        let (first, later) = (Duration::ZERO, Duration::from_millis(3));
        let [first, later] = [first, later].map(|later| Pace::new(rhythm.clone(), later, INTERVAL));
        let now = rhythm.origin + Duration::from_secs(1) + Duration::from_millis(1);
        assert_eq!(later.next(now) - first.next(now), Duration::from_millis(3));
    }
}
