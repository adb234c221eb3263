//! One VIP in the guard's hands.

use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::unix::AsyncFd;

use crate::core::{Mac, Time};

use super::address::LEASE_SECONDS;
use super::announce::Announcements;
use super::echo::Echo;
use super::end::End;
use super::neighbours::Neighbours;
use super::protocol::Report;

/// For how long the kernel keeps an address without a refresh, less what daemon and guard may need to hear of it.
const LEASE: Duration = Duration::from_millis(LEASE_SECONDS as u64 * 1000 - 100);
/// The lease is refreshed this often, at least: three times in its lifetime.
pub(super) const REFRESH: Duration = Duration::from_millis(600);
/// Or so much sooner, along with whatever else wakes the guard: as a rule an order to hold, of which there are two a
/// second.
pub(super) const EARLY: Duration = Duration::from_millis(250);
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
    until: Time,
    /// Takes the place of that where the daemon has one, too.
    end: Option<AsyncFd<End>>,
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
        let until = until.min(leased_until);
        Self { until, end: None, term, announcements, leased_until, found_shut: 0 }
    }

    /// It goes on up to `until`, as far as the lease reaches; `end` is the daemon's handle on that from now on, if there
    /// is one. Nothing becomes of it when the hold is over.
    pub(super) fn extend(&mut self, until: Time, term: u32, end: Option<AsyncFd<End>>, now: Time) {
        let left = self.left(now);
        if left.is_zero() {
            return;
        }
        self.until = (now + left).max(until.min(self.leased_until));
        self.term = term;
        if end.is_some() {
            self.end = end;
        }
        if self.end.as_ref().is_some_and(|end| end.get_ref().set(self.until).is_err()) {
            self.end = None;
        }
    }

    /// It ends here and now, whoever has a handle on its end.
    pub(super) fn end(self) {
        if let Some(end) = self.end {
            let _ = end.get_ref().come();
        }
    }

    /// How long it goes on as it is; nothing once it is over.
    pub(super) fn left(&self, now: Time) -> Duration {
        let shared = self.end.as_ref().and_then(|end| end.get_ref().left().ok());
        shared.unwrap_or_else(|| self.until.since(now))
    }

    /// What the daemon is told: that it is held, and up to when.
    pub(super) fn report(&self, vip: usize, now: Time) -> Report {
        let until = now + self.left(now);
        let leased_until = self.leased_until.as_nanos();
        Report::Held { vip, term: self.term, until: until.as_nanos(), leased_until }
    }

    /// Whether its end has come since this was asked last. Lets `context` be woken when it does.
    pub(super) fn poll_end(&self, context: &mut Context<'_>) -> Poll<()> {
        let Some(end) = &self.end else { return Poll::Pending };
        end.poll_read_ready(context).map(|ready| {
            // It is looked at for itself; an error would come again at once.
            if let Ok(mut ready) = ready {
                ready.clear_ready();
            }
        })
    }

    /// When there is something to do about it.
    fn deadline(&self) -> Time {
        let next = self.announcements.next_at();
        if self.end.is_some() { next } else { next.min(self.until) }
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
        self.hold.as_ref().map(Hold::deadline)
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
    use std::future::poll_fn;
    use std::os::fd::AsFd;

    use super::*;
    use crate::guard::channel::awaitable;
    use crate::guard::clock::now;

    /// A handle for the daemon, and one for the guard.
    fn handles() -> (End, AsyncFd<End>) {
        let end = End::new().expect("a timer");
        let other = End::from_other_side(end.as_fd().try_clone_to_owned().expect("another handle"));
        (end, awaitable(other).expect("a runtime"))
    }

    #[tokio::test]
    async fn a_hold_is_extended_from_either_side_as_far_as_the_lease_lasts_and_not_once_it_is_over() {
        let (begin, second) = (now(), Duration::from_secs(1));
        let (daemon, guard) = handles();
        let mut hold = Hold::new(begin + second, 1, begin, begin);
        hold.extend(begin + second, 1, Some(guard), begin);
        assert!(daemon.put_off(begin + second * 3 / 2).expect("put off"));
        assert!(hold.left(begin) > second, "by the daemon");
        hold.extend(begin + second, 2, None, begin);
        assert!(hold.left(begin) > second, "an order doesn't take back what is put off");
        hold.extend(begin + second * 10, 2, None, begin);
        assert!(hold.left(begin) <= LEASE);
        let Report::Held { term: 2, leased_until, .. } = hold.report(0, begin) else { panic!() };
        assert_eq!(leased_until, (begin + LEASE).as_nanos());
        daemon.come().expect("set");
        hold.extend(begin + second * 10, 3, None, begin);
        assert_eq!(hold.left(begin), Duration::ZERO, "it was over");
        poll_fn(|context| hold.poll_end(context)).await;
    }

    #[tokio::test]
    async fn what_the_guard_lets_go_of_the_daemon_can_t_put_off() {
        let (daemon, guard) = handles();
        let begin = now();
        let mut hold = Hold::new(begin + LEASE, 1, begin, begin);
        hold.extend(begin + LEASE, 1, Some(guard), begin);
        hold.end();
        assert!(!daemon.put_off(begin + LEASE).expect("put off"));
    }

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
