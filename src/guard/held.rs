//! One VIP in the guard's hands.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::{Mac, Time};

use super::announce::Announcements;
use super::echo::Echo;
use super::neighbours::Neighbours;

/// The lease is refreshed this often: four times in its lifetime.
pub(super) const REFRESH: Duration = Duration::from_millis(500);
/// An address removed by somebody else more often than this within [`REMOVALS_WITHIN`] is let go.
const REMOVALS: usize = 3;
const REMOVALS_WITHIN: Duration = Duration::from_secs(10);

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
}

/// A VIP whose addresses the kernel has.
#[derive(Debug)]
pub(super) struct Hold {
    /// The guard lets go then, unless it is told again.
    pub(super) until: Time,
    /// The election it belongs to.
    pub(super) term: u32,
    pub(super) announcements: Announcements,
}

impl Vip {
    pub(super) fn new(id: u64, addresses: Vec<IpAddr>, interface: usize) -> Self {
        let (asked_by_ip, answered_by_ip) = (None, None);
        Self { id, addresses, interface, hold: None, asked_by_ip, answered_by_ip, removals: Vec::new() }
    }

    /// Somebody else has removed an address of a held VIP: whether to let go rather than to add it again.
    pub(super) fn removed_too_often(&mut self, now: Time) -> bool {
        self.removals.retain(|at| now.since(*at) <= REMOVALS_WITHIN);
        self.removals.push(now);
        self.removals.len() >= REMOVALS
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
