//! The monotonic clock, which daemon and guard share.

use rustix::time::{ClockId, clock_gettime};

use crate::core::Time;

/// Now.
pub fn now() -> Time {
    let now = clock_gettime(ClockId::Monotonic);
    Time::from_nanos(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
}
