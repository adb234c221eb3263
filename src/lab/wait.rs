//! Waiting for what can't wake us: another process, the kernel's tables, the network as seen from elsewhere.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a condition is looked at: much finer than anything that is measured by it.
const LOOK: Duration = Duration::from_millis(5);

/// Looks until `condition` holds, for at most `timeout`; says whether it came to hold.
pub fn holds_within(timeout: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + timeout;
    loop {
        if condition() {
            return true;
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        pause(left.min(LOOK));
    }
}

/// Lets time pass: for scripts that ask for it, never in place of a condition.
pub(super) fn pause(time: Duration) {
    let never = Condvar::new();
    let lock = Mutex::new(());
    let held = lock.lock().unwrap_or_else(PoisonError::into_inner);
    // Nobody notifies, so that it ends by its timeout; a poisoned lock of our own can't be.
    drop(never.wait_timeout_while(held, time, |()| true));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_to_hold_ends_the_wait() {
        let mut looks = 0;
        assert!(holds_within(Duration::from_secs(60), || {
            looks += 1;
            looks == 3
        }));
    }

    #[test]
    fn a_condition_that_never_holds_is_looked_at_once_even_without_time() {
        let mut looks = 0;
        assert!(!holds_within(Duration::ZERO, || {
            looks += 1;
            false
        }));
        assert_eq!(looks, 1);
    }
}
