//! What the other members say of a VIP: before this node takes it, and while it holds it.
//!
//! A member's advertisement says whom it hears holding the VIP, and how long ago it heard whom. That is a second
//! opinion on a holder that is silent here, and the only word of one that this node can't hear at all. A suspect's
//! address that doesn't answer here may answer elsewhere, too: its kernel still has it.

use super::{Election, Surroundings};
use crate::core::member::Member;
use crate::core::message::MemberId;
use crate::core::time::Time;

/// Who else is about to take the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Claims {
    /// A node that goes before this one.
    pub(super) better: bool,
    /// A node that this one goes before.
    pub(super) worse: bool,
}

impl Election {
    /// Whether a member hears somebody hold the VIP, or has an answer from its address.
    pub(super) fn contradicted(&self, around: &Surroundings<'_>) -> bool {
        let answered = |member: &Member| {
            member.is_fresh(around.now) && member.part(self.id).is_some_and(|part| part.answered)
        };
        let mut members = around.members.present(around.now);
        members.any(|(_, member)| answered(member) || self.named_by(member, around).is_some())
    }

    /// The members that may be alive, and have said nothing since a moment.
    pub(super) fn awaited<'a>(
        since: Time,
        around: &'a Surroundings<'_>,
    ) -> impl Iterator<Item = MemberId> + use<'a> {
        let present = around.members.present(around.now);
        present.filter(move |(_, member)| !member.has_spoken_since(since)).map(|(id, _)| id)
    }

    /// The members whose last word doesn't show yet that they have heard an advertisement of this node after number
    /// `told_after`. A number of an earlier life of this node's is older than `since`.
    pub(super) fn unanswered<'a>(
        told_after: u64,
        since: Time,
        around: &'a Surroundings<'_>,
    ) -> impl Iterator<Item = MemberId> + use<'a> {
        let me = around.me;
        let knows =
            move |member: &Member| member.heard_of(me).is_some_and(|(at, n)| at >= since && n > told_after);
        around.members.present(around.now).filter(move |(_, member)| !knows(member)).map(|(id, _)| id)
    }

    /// Who else is about to take it.
    pub(super) fn claimants(&self, around: &Surroundings<'_>) -> Claims {
        let mine = self.merit(around);
        let mut claims = Claims { better: false, worse: false };
        for (id, member) in around.members.present(around.now) {
            let Some(part) = member.part(self.id).filter(|part| part.claims) else { continue };
            let better = self.merit_of(id, part.effective_priority, member.address(), around) > mine;
            claims.better |= better;
            claims.worse |= !better;
        }
        claims
    }

    /// Whether somebody else is about to take it, who isn't to be disturbed. Where a majority's grants decide between
    /// two, only the better one isn't.
    pub(super) fn is_claimed(&self, around: &Surroundings<'_>) -> bool {
        let claims = self.claimants(around);
        claims.better || claims.worse && around.grants.are_unneeded()
    }

    /// A better entitled holder that this node can't hear, and that a member names who hears both.
    ///
    /// `told_after` is the number of the last advertisement in which this node didn't hold it yet.
    pub(super) fn overruled(&self, told_after: u64, around: &Surroundings<'_>) -> Option<MemberId> {
        if !around.grants.are_unneeded() {
            // Only one can have a majority's.
            return None;
        }
        // Not from before a cut: then it hears one of them, and who that is needn't be the better one.
        let knows_of_this = |member: &Member| {
            member.heard_lately(around.me, around.now).is_some_and(|number| number > told_after)
        };
        // In this order: hardly ever does a member name another, and who knows of what is a search through a list.
        let mut members = around.members.fresh(around.now);
        members.find_map(|(_, member)| self.named_by(member, around).filter(|_| knows_of_this(member)))
    }

    /// The other node that a member hears holding the VIP, unless it has resigned from it.
    fn named_by(&self, member: &Member, around: &Surroundings<'_>) -> Option<MemberId> {
        member.part(self.id)?.hears.filter(|holder| holder.member != around.me)?;
        let holder = member.hears(self.id, around.now)?;
        let resigned = around.members.has_resigned(holder.member, self.id, holder.term);
        (!resigned).then_some(holder.member)
    }
}
