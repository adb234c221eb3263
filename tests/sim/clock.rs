//! One machine's monotonic clock: runs a little too fast or too slow, and stands still while the machine does.

use std::time::Duration;

use chinthe::core::Time;

const MILLION: i128 = 1_000_000;

/// Turns the simulation's time into one machine's, and back.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    /// What it shows when the simulation's clock shows zero.
    offset: i128,
    /// Parts per million too fast.
    rate: i128,
    /// How long it has stood still.
    stood: Duration,
}

impl Clock {
    pub(crate) fn new(offset: Duration, rate: i32) -> Self {
        Self { offset: offset.as_nanos() as i128, rate: i128::from(rate), stood: Duration::ZERO }
    }

    /// What it shows at `at`.
    pub(crate) fn local(&self, at: Time) -> Time {
        let run = i128::from((at - self.stood).as_nanos());
        Time::from_nanos((self.offset + run * (MILLION + self.rate) / MILLION) as u64)
    }

    /// The first moment at which it shows `local`.
    pub(crate) fn global(&self, local: Time) -> Time {
        let run = (i128::from(local.as_nanos()) - self.offset).max(0) * MILLION;
        // Rounded up, so that whoever wakes then doesn't wake too early.
        let run = (run + MILLION + self.rate - 1) / (MILLION + self.rate);
        Time::from_nanos(run as u64) + self.stood
    }

    /// The machine was paused, and its clock with it.
    pub(crate) fn stand_still(&mut self, time: Duration) {
        self.stood += time;
    }
}

#[test]
fn a_clock_that_is_asked_for_a_moment_has_reached_it() {
    for rate in [-50_000, -313, 0, 77, 50_000] {
        let clock = Clock::new(Duration::from_secs(1000), rate);
        for step in 0..1000 {
            let local = Time::from_nanos(1_000_000_000_000 + step * 7_777_777);
            let at = clock.global(local);
            assert!(clock.local(at) >= local && clock.local(at).since(local) < Duration::from_nanos(3));
        }
    }
}
