//! Who stands before whom: the holder that is heard, better candidates, challengers.

use super::{Election, Surroundings};
use crate::core::message::{MemberId, VipAdvertisement};

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
        let mine = (self.standing.effective, around.address);
        let better = around
            .members
            .candidates(self.id, around.now)
            .filter(|(_, member, part)| (part.effective_priority, member.address()) > mine);
        u32::try_from(better.count()).unwrap_or(u32::MAX)
    }

    /// Whether a better node is just starting, as this one is, or one that this node has only been told of: a cluster
    /// that starts as a whole needn't begin with a move, nor with two holders. Nobody waits for long, and not where
    /// there was a holder.
    pub(super) fn gives_way(&self, around: &Surroundings<'_>) -> bool {
        let mine = (self.standing.effective, around.address);
        around.young
            && (around.members.starting(self.id, around.now).any(|theirs| theirs > mine)
                || around.members.mentions_others(around.me, around.now))
    }

    /// The best candidate heard lately that `may` hold it.
    pub(super) fn best_candidate(
        &self,
        around: &Surroundings<'_>,
        may: impl Fn(&VipAdvertisement) -> bool,
    ) -> Option<MemberId> {
        around
            .members
            .candidates(self.id, around.now)
            .filter(|(_, member, part)| member.is_fresh(around.now) && may(part))
            .max_by_key(|(_, member, part)| (part.effective_priority, member.address()))
            .map(|(id, _, _)| id)
    }

    /// A healthy peer that takes the VIP from a living holder: higher, and willing to preempt.
    pub(super) fn challenger(&self, around: &Surroundings<'_>) -> Option<MemberId> {
        let mine = self.standing.effective;
        self.best_candidate(around, |part| part.preempt && part.effective_priority > mine)
    }
}
