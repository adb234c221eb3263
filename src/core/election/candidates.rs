//! Who stands before whom: the holder that is heard, better candidates, challengers.

use std::net::IpAddr;

use super::{Election, Surroundings};
use crate::core::member::MemberState;
use crate::core::message::{MemberId, VipAdvertisement};
use crate::core::placement::place;

impl Election {
    /// Whether this node holds against `other`, when both say that they do: a majority's grants, higher
    /// effective priority, higher address (RFC 9568 section 6.4.3).
    pub(in crate::core) fn outranks(&self, other: MemberId, around: &Surroundings<'_>) -> bool {
        let Some(member) = around.members.get(other) else { return true };
        if around.grants.are_over(around.now) {
            return false;
        }
        // Only one can have a majority's grants: if both think so, one of them was paused with its clock.
        let later = member.part(self.id).is_some_and(|part| part.term > self.term);
        if around.grants.end().is_some() && later {
            return false;
        }
        let theirs = member.part(self.id).map_or(0, |part| part.effective_priority);
        (self.standing.effective, around.address) > (theirs, member.address())
    }

    /// The member that says it holds the VIP and has been heard lately.
    pub(super) fn heard_holder(&self, around: &Surroundings<'_>) -> Option<MemberId> {
        let holder = around.members.holder(self.id, around.now)?;
        around.members.get(holder).is_some_and(|m| m.is_fresh(around.now)).then_some(holder)
    }

    /// How many living candidates stand before this node.
    pub(super) fn rank(&self, around: &Surroundings<'_>) -> u32 {
        let mine = self.merit(around);
        let better = around.members.candidates(self.id, around.now).filter(|(id, member, part)| {
            self.merit_of(*id, part.effective_priority, member.address(), around) > mine
        });
        u32::try_from(better.count()).unwrap_or(u32::MAX)
    }

    /// Whether a better node is just starting, as this one is, or one that this node has only been told of: a cluster
    /// that starts as a whole needn't begin with a move, nor with two holders. Nobody waits for long, and not where
    /// there was a holder.
    pub(super) fn gives_way(&self, around: &Surroundings<'_>) -> bool {
        let mine = self.merit(around);
        let mut starting = around.members.starting(self.id, around.now);
        around.young
            && (starting.any(|(id, priority, address)| self.merit_of(id, priority, address, around) > mine)
                || around.members.mentions_others(around.me, around.now))
    }

    /// The best candidate heard lately that `may` hold it.
    pub(super) fn best_candidate(
        &self,
        around: &Surroundings<'_>,
        may: impl Fn(MemberId, &VipAdvertisement) -> bool,
    ) -> Option<MemberId> {
        around
            .members
            .candidates(self.id, around.now)
            .filter(|(id, member, part)| member.is_fresh(around.now) && may(*id, part))
            .max_by_key(|(id, member, part)| {
                self.merit_of(*id, part.effective_priority, member.address(), around)
            })
            .map(|(id, _, _)| id)
    }

    /// To whom this holder hands the VIP over, though it could keep it.
    pub(super) fn challenger(&mut self, around: &Surroundings<'_>) -> Option<MemberId> {
        let now = around.now;
        self.damping.retain(|id| around.members.get(id).is_some_and(|m| m.state(now) != MemberState::Left));
        if let Some(pinned) = around.pin {
            // Once it has heard of it, too: it would hand it back at once.
            let there = self.best_candidate(around, |id, part| {
                id == pinned && part.pinned && self.can_succeed(id, part, around)
            });
            if there.is_some() || pinned == around.me {
                return there;
            }
        }
        let mine = self.standing.effective;
        let may = |id, part: &VipAdvertisement| part.preempt && self.can_succeed(id, part, around);
        let better = self.best_candidate(around, |id, part| part.effective_priority > mine && may(id, part));
        if better.is_some() && mine < self.peak {
            // It isn't the peer that has come back, it is this node that has fallen.
            return better;
        }
        let relief = || self.best_candidate(around, |id, part| Some(id) == around.relief && may(id, part));
        let to = better.or_else(relief)?;
        let waits = self.terms.damped && self.damping.waits_until(to, now).is_some();
        if waits || self.terms.connections_below.is_some_and(|limit| around.connections >= limit) {
            return None;
        }
        self.damping.returned(to, now);
        Some(to)
    }

    /// Whom a holder names that has to let go: who can take it at once, else the best there is.
    pub(super) fn successor(&self, around: &Surroundings<'_>) -> Option<MemberId> {
        let ready = self.best_candidate(around, |id, part| self.can_succeed(id, part, around));
        ready.or_else(|| self.best_candidate(around, |_, _| true))
    }

    /// Whether it would take the VIP at once if this holder named it: it hears this node hold it and, where a majority
    /// has to agree, so many others each of whom hears it. Who has only just come back knows and reaches too few.
    fn can_succeed(&self, id: MemberId, part: &VipAdvertisement, around: &Surroundings<'_>) -> bool {
        let knows = part.hears.is_some_and(|holder| (holder.member, holder.term) == (around.me, self.term));
        let voters = || around.members.in_touch_with(id, around.now) + 2;
        knows && around.grants.voters_needed().is_none_or(|needed| voters() >= needed)
    }

    pub(super) fn merit(&self, around: &Surroundings<'_>) -> Merit {
        self.merit_of(around.me, self.standing.effective, around.address, around)
    }

    pub(super) fn merit_of(
        &self,
        id: MemberId,
        effective: u8,
        address: IpAddr,
        around: &Surroundings<'_>,
    ) -> Merit {
        let (pinned, place) = (around.pin == Some(id), place(self.terms.placement, self.id, id));
        Merit { pinned, effective, place, address }
    }
}

/// What candidates for a free VIP are compared by, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Merit {
    /// Operators want it here.
    pinned: bool,
    effective: u8,
    /// In the VIP's own order of the members, where it is spread.
    place: u64,
    address: IpAddr,
}
