//! Hand-backs that repeat: a node that comes and goes gets its VIP back ever more slowly.
//!
//! A member that hasn't held it before is handed it, not handed it back. The first hand-backs are at once: an operator
//! at work isn't a fault that repeats. Each further one to the same member waits since the one before: 30 s, then twice
//! as long each time, up to ten minutes; or since a second, where the member didn't come to hold it after all. A member
//! that leaves in order is forgiven, and so is one that has been well for long.

use std::collections::BTreeMap;
use std::time::Duration;

use super::message::MemberId;
use super::time::Time;

/// So many hand-backs are at once.
const FREE: u32 = 3;
/// From the last of them to the next.
const FIRST: Duration = Duration::from_secs(30);
/// From a hand-back that the member didn't take to the next.
const AGAIN: Duration = Duration::from_secs(1);
/// No hand-back waits longer.
const LONGEST: Duration = Duration::from_secs(600);
/// After this long without a hand-back nothing repeats.
const FORGOTTEN: Duration = Duration::from_secs(2 * 600);

/// What a holder remembers of its hand-backs of one VIP.
#[derive(Debug, Clone, Default)]
pub struct Damping {
    returns: BTreeMap<MemberId, Returns>,
}

#[derive(Debug, Clone, Copy)]
struct Returns {
    count: u32,
    latest: Time,
    /// It has held the VIP since.
    taken: bool,
}

impl Damping {
    /// A member holds it: what it gets after that, it gets back.
    pub(super) fn holds(&mut self, member: MemberId, now: Time) {
        self.returns.entry(member).or_insert(Returns { count: 0, latest: now, taken: true }).taken = true;
    }

    /// The VIP is handed to a member, or handed back.
    pub(super) fn returned(&mut self, to: MemberId, now: Time) {
        let Some(known) = self.returns.get_mut(&to) else {
            return self.holds(to, now);
        };
        if now.since(known.latest) >= FORGOTTEN {
            known.count = 0;
        }
        *known = Returns { count: known.count.saturating_add(1), latest: now, taken: false };
    }

    /// Keeps what is known of these members only: the others have gone in order, or for good.
    pub(super) fn retain(&mut self, keep: impl Fn(MemberId) -> bool) {
        self.returns.retain(|id, _| keep(*id));
    }

    /// Until when a hand-back to a member has to wait, if it has to.
    pub fn waits_until(&self, to: MemberId, now: Time) -> Option<Time> {
        let Returns { count, latest, taken } = *self.returns.get(&to)?;
        if count == 0 || now.since(latest) >= FORGOTTEN {
            return None;
        }
        let (first, repeats) = if taken { (FIRST, count.checked_sub(FREE)?) } else { (AGAIN, count - 1) };
        let delay = first.saturating_mul(1 << repeats.min(16)).min(LONGEST);
        Some(latest + delay).filter(|until| now < *until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Time {
        Time::from_nanos(seconds * 1_000_000_000)
    }

    #[test]
    fn repeated_hand_backs_wait_30_s_and_twice_as_long_each_time_up_to_10_minutes() {
        let (member, mut damping, mut now) = (MemberId(1), Damping::default(), at(1000));
        damping.holds(member, now);
        for _ in 0..FREE {
            assert_eq!(damping.waits_until(member, now), None, "the first ones are at once");
            damping.returned(member, now);
            damping.holds(member, now);
        }
        now = damping.waits_until(member, now).expect("it repeats");
        let mut waits = Vec::new();
        for _ in 0..7 {
            damping.returned(member, now);
            damping.holds(member, now);
            let until = damping.waits_until(member, now).expect("it repeats");
            waits.push(until.since(now).as_secs());
            now = until;
            assert_eq!(damping.waits_until(member, now), None);
        }
        assert_eq!(waits, [60, 120, 240, 480, 600, 600, 600]);
        assert_eq!(damping.waits_until(MemberId(2), now), None, "nobody else waits");
    }

    #[test]
    fn a_member_that_was_well_for_long_or_left_in_order_is_forgiven() {
        let (member, mut damping) = (MemberId(1), Damping::default());
        damping.holds(member, at(0));
        (0..5).for_each(|_| damping.returned(member, at(0)));
        for _ in 0..FREE {
            damping.returned(member, at(1200));
            damping.holds(member, at(1200));
        }
        assert_eq!(damping.waits_until(member, at(1200)), Some(at(1230)));
        damping.retain(|id| id != member);
        assert_eq!(damping.waits_until(member, at(1200)), None);
    }

    #[test]
    fn a_member_that_did_not_take_it_is_tried_again_after_a_second_and_then_more_slowly() {
        let (member, mut damping) = (MemberId(1), Damping::default());
        damping.holds(member, at(0));
        damping.returned(member, at(10));
        assert_eq!(damping.waits_until(member, at(10)), Some(at(11)));
        damping.returned(member, at(11));
        assert_eq!(damping.waits_until(member, at(11)), Some(at(13)));
    }
}
