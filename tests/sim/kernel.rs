//! What a machine's kernel has, whatever becomes of the processes that asked for it.

use std::time::Duration;

use chinthe::core::Time;

use crate::random::Random;

/// How long the kernel keeps an address that nobody refreshes.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// And how much longer, at most: it looks at its leases only now and then.
pub(crate) const SLACK: Duration = Duration::from_millis(1250);

/// The VIPs' addresses in one kernel.
#[derive(Debug)]
pub(crate) struct Kernel {
    vips: Vec<Vip>,
    /// It has the hooks that the fence needs: a VIP speaks and is spoken to only while it is alive.
    fenced: bool,
    /// When the fence is looked at next.
    pub(crate) fence_look: Option<Time>,
}

#[derive(Debug, Clone, Default)]
struct Vip {
    /// By the machine's clock; `None` while the kernel doesn't have the address.
    until: Option<Time>,
    /// Since when it has been without, or behind a shut fence, by the simulation's clock.
    without_since: Time,
    /// It is alive up to then, by the machine's clock.
    alive_until: Time,
    alive: bool,
}

impl Kernel {
    pub(crate) fn new(fenced: bool, vips: usize) -> Self {
        Self { vips: vec![Vip::default(); vips], fenced, fence_look: None }
    }

    pub(crate) fn has_address(&self, vip: usize) -> bool {
        self.vips[vip].until.is_some()
    }

    /// Since when it doesn't answer for a VIP, if it doesn't.
    pub(crate) fn without_since(&self, vip: usize) -> Time {
        self.vips[vip].without_since
    }

    /// Adds the address or refreshes its lease; when it runs out, by the machine's clock.
    pub(crate) fn add(&mut self, vip: usize, local: Time, random: &mut Random) -> Time {
        let until = local + LEASE + random.up_to(SLACK);
        self.vips[vip].until = Some(until);
        until
    }

    /// Whether it answers for the address.
    pub(crate) fn answers(&self, vip: usize) -> bool {
        self.vips[vip].answers(self.fenced)
    }

    /// The guard opens the fence, up to a moment of the machine's clock.
    pub(crate) fn arm(&mut self, vip: usize, until: Time) {
        let vip = &mut self.vips[vip];
        (vip.alive, vip.alive_until) = (true, until);
    }

    /// A beacon keeps alive what is alive, and brings nothing back.
    pub(crate) fn beacon(&mut self, until: Time) {
        for vip in &mut self.vips {
            vip.alive_until = vip.alive_until.max(until);
        }
    }

    /// Shuts the fence around what nothing has kept alive; when to look again, by the machine's clock.
    pub(crate) fn shut(&mut self, local: Time, now: Time) -> Option<Time> {
        for vip in &mut self.vips {
            if vip.answers(self.fenced) && local >= vip.alive_until {
                vip.without_since = now;
            }
            vip.alive &= local < vip.alive_until;
        }
        self.vips.iter().filter(|vip| vip.alive).map(|vip| vip.alive_until).min()
    }

    /// True when it was there.
    pub(crate) fn remove(&mut self, vip: usize, now: Time) -> bool {
        self.vips[vip].remove(now)
    }

    pub(crate) fn remove_all(&mut self, now: Time) {
        for vip in &mut self.vips {
            vip.remove(now);
        }
    }

    /// Removes the addresses whose lease has run out; when to look again, by the machine's clock.
    pub(crate) fn expire(&mut self, local: Time, now: Time) -> Option<Time> {
        for vip in &mut self.vips {
            if vip.until.is_some_and(|until| local >= until) {
                vip.remove(now);
            }
        }
        self.vips.iter().filter_map(|vip| vip.until).min()
    }
}

impl Vip {
    fn answers(&self, fenced: bool) -> bool {
        self.until.is_some() && (self.alive || !fenced)
    }

    fn remove(&mut self, now: Time) -> bool {
        let had = self.until.take().is_some();
        if had {
            self.without_since = now;
        }
        had
    }
}
