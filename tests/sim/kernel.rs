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
    /// Since when it has been without, or behind a shut fence, by the simulation's clock.
    pub(crate) without_since: Time,
    /// It has the hooks that the fence needs: the VIP speaks and is spoken to only while it is alive.
    fenced: bool,
    /// The VIP is alive up to then, by the machine's clock.
    alive_until: Time,
    alive: bool,
    /// When the fence is looked at next.
    pub(crate) fence_look: Option<Time>,
}

impl Kernel {
    pub(crate) fn new(fenced: bool) -> Self {
        Self { fenced, ..Self::default() }
    }

    pub(crate) fn has_address(&self) -> bool {
        self.until.is_some()
    }

    /// Adds the address or refreshes its lease; when it runs out, by the machine's clock.
    pub(crate) fn add(&mut self, local: Time, random: &mut Random) -> Time {
        let until = local + LEASE + random.up_to(SLACK);
        self.until = Some(until);
        until
    }

    /// Whether it answers for the address.
    pub(crate) fn answers(&self) -> bool {
        self.has_address() && (self.alive || !self.fenced)
    }

    /// The guard opens the fence, up to a moment of the machine's clock.
    pub(crate) fn arm(&mut self, until: Time) {
        (self.alive, self.alive_until) = (true, until);
    }

    /// A beacon keeps alive what is alive, and brings nothing back. True when it was.
    pub(crate) fn beacon(&mut self, until: Time) -> bool {
        self.alive_until = self.alive_until.max(until);
        self.alive
    }

    /// Shuts the fence when nothing has kept it open; when to look again otherwise, by the machine's clock.
    pub(crate) fn shut(&mut self, local: Time, now: Time) -> Option<Time> {
        if self.answers() && local >= self.alive_until {
            self.without_since = now;
        }
        self.alive &= local < self.alive_until;
        self.alive.then_some(self.alive_until)
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
