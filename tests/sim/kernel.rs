//! What a machine's kernel has, whatever becomes of the processes that asked for it.

use std::time::Duration;

use chinthe::core::Time;

use crate::random::Random;

/// How long the kernel keeps an address that nobody refreshes.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// And how much longer, at most: it looks at its leases only now and then.
pub(crate) const SLACK: Duration = Duration::from_millis(1250);

/// The VIP's address in one kernel.
#[derive(Debug, Default)]
pub(crate) struct Kernel {
    /// By the machine's clock; `None` while the kernel doesn't have the address.
    until: Option<Time>,
    /// Since when it has been without, by the simulation's clock.
    pub(crate) without_since: Time,
    /// Since when it has had it.
    pub(crate) with_since: Time,
}

impl Kernel {
    pub(crate) fn has_address(&self) -> bool {
        self.until.is_some()
    }

    /// Adds the address or refreshes its lease; when it runs out, by the machine's clock.
    pub(crate) fn add(&mut self, local: Time, now: Time, random: &mut Random) -> Time {
        if self.until.is_none() {
            self.with_since = now;
        }
        let until = local + LEASE + random.up_to(SLACK);
        self.until = Some(until);
        until
    }

    /// True when it was there.
    pub(crate) fn remove(&mut self, now: Time) -> bool {
        let had = self.until.take().is_some();
        if had {
            self.without_since = now;
        }
        had
    }

    /// Removes the address when its lease has run out; when to look again otherwise, by the machine's clock.
    pub(crate) fn expire(&mut self, local: Time, now: Time) -> Option<Time> {
        match self.until {
            Some(until) if local < until => Some(until),
            Some(_) => {
                self.remove(now);
                None
            }
            None => None,
        }
    }
}
