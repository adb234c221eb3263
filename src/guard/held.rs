//! One VIP in the guard's hands.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::{Mac, Time};

use super::address::LEASE_SECONDS;
use super::announce::Announcements;
use super::echo::Echo;
use super::neighbours::Neighbours;

/// For how long the kernel keeps an address without a refresh, less what daemon and guard may need to hear of it.
const LEASE: Duration = Duration::from_millis(LEASE_SECONDS as u64 * 1000 - 100);
/// The lease is refreshed this often: four times in its lifetime.
pub(super) const REFRESH: Duration = Duration::from_millis(500);
/// Or so much sooner, along with whatever else wakes the guard: an order to hold, as a rule.
pub(super) const EARLY: Duration = Duration::from_millis(100);
/// An address removed by somebody else more often than this within [`REMOVALS_WITHIN`] is let go.
const REMOVALS: usize = 3;
const REMOVALS_WITHIN: Duration = Duration::from_secs(10);
/// A fence that stays shut around fed holds so often within the time: beacons don't leave at all.
const FOUND_SHUT: usize = 2;
/// So many looks in a row, as far apart as refreshes, tell that a fence stays shut.
const LOOKS: u32 = 2;
const FOUND_SHUT_WITHIN: Duration = Duration::from_secs(30);

/// What the guard knows of one VIP.
#[derive(Debug)]
pub(super) struct Vip {
    pub(super) id: u64,
    pub(super) addresses: Vec<IpAddr>,
    /// Index into the guard's interfaces.
    pub(super) interface: usize,
    pub(super) hold: Option<Hold>,
    /// When it was last asked by IP whether it is there.
    pub(super) asked_by_ip: Option<Time>,
    /// When it last answered.
    pub(super) answered_by_ip: Option<Time>,
    removals: Vec<Time>,
    found_shut: Vec<Time>,
}

/// A VIP whose addresses the kernel has.
#[derive(Debug)]
pub(super) struct Hold {
    /// The guard lets go then, unless it is told again.
    pub(super) until: Time,
    /// The election it belongs to.
    pub(super) term: u32,
    pub(super) announcements: Announcements,
    /// Up to when the kernel is sure to keep the addresses: by the last refresh that it has acknowledged.
    leased_until: Time,
    /// How often in a row the fence was found shut around an address of its.
    found_shut: u32,
}

impl Hold {
    /// From the kernel's acknowledgement of a lease that was asked for at `leased_at`.
    pub(super) fn new(until: Time, term: u32, leased_at: Time, now: Time) -> Self {
        let leased_until = leased_at + LEASE;
        let announcements = Announcements::start(now);
        Self { until: until.min(leased_until), term, announcements, leased_until, found_shut: 0 }
    }

    /// It goes on up to `until`, as far as the lease reaches. Up to when it does.
    pub(super) fn extend(&mut self, until: Time, term: u32) -> Time {
        self.until = self.until.max(until.min(self.leased_until));
        self.term = term;
        self.until
    }

    /// Somebody has looked whether the fence is open around one of its addresses. Whether it stays shut, look after look:
    /// it may shut a little before a hold ends whose grants run out.
    pub(super) fn stays_shut(&mut self, open: bool) -> bool {
        self.found_shut = if open { 0 } else { self.found_shut + 1 };
        self.found_shut >= LOOKS
    }

    /// The kernel has acknowledged a lease that was asked for at `leased_at`.
    pub(super) fn leased(&mut self, leased_at: Time) {
        self.leased_until = self.leased_until.max(leased_at + LEASE);
    }
}

impl Vip {
    pub(super) fn new(id: u64, addresses: Vec<IpAddr>, interface: usize) -> Self {
        let (asked_by_ip, answered_by_ip) = (None, None);
        Self {
            id,
            addresses,
            interface,
            hold: None,
            asked_by_ip,
            answered_by_ip,
            removals: Vec::new(),
            found_shut: Vec::new(),
        }
    }

    /// Somebody else has removed an address of a held VIP: whether to let go rather than to add it again.
    pub(super) fn removed_too_often(&mut self, now: Time) -> bool {
        self.removals.retain(|at| now.since(*at) <= REMOVALS_WITHIN);
        self.removals.push(now);
        self.removals.len() >= REMOVALS
    }

    /// The fence stayed shut around it although its hold was fed: whether that happens again and again.
    pub(super) fn shut_too_often(&mut self, now: Time) -> bool {
        self.found_shut.retain(|at| now.since(*at) <= FOUND_SHUT_WITHIN);
        self.found_shut.push(now);
        self.found_shut.len() >= FOUND_SHUT
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.hold.as_ref().map(|hold| hold.until.min(hold.announcements.next_at()))
    }
}

/// A network interface with VIPs.
pub(super) struct Interface {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Mac,
    pub(super) up: bool,
    pub(super) neighbours: Neighbours,
    pub(super) echo: Echo,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_removed_three_times_in_ten_seconds_is_let_go() {
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let mut vip = Vip::new(1, vec![], 0);
        assert!(!vip.removed_too_often(at(1)));
        assert!(!vip.removed_too_often(at(2)));
        assert!(!vip.removed_too_often(at(12)), "the first is eleven seconds ago");
        assert!(vip.removed_too_often(at(12)));
    }
}
