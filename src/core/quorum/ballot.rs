//! One VIP's votes: whom this node has promised it to, and who has granted it to this node.

use std::collections::BTreeMap;

use super::Want;
use crate::core::message::{Boot, MemberId};
use crate::core::time::Time;

/// Promises given and grants in hand, for one VIP.
#[derive(Debug, Clone, Default)]
pub(super) struct Ballot {
    promise: Option<Promise>,
    wanted: Option<Wanting>,
    /// One for each member, whatever it has been restarted meanwhile.
    votes: BTreeMap<MemberId, Vote>,
}

/// What keeps a VIP from everybody else.
#[derive(Debug, Clone, Copy)]
struct Promise {
    to: MemberId,
    /// Another life of the same node has to wait as anybody else.
    boot: Boot,
    term: u32,
    /// The latest question that it answers, by the asker's clock.
    asked_at: u64,
    until: Time,
}

/// What this node wants it for.
#[derive(Debug, Clone, Copy)]
struct Wanting {
    since: Time,
    want: Want,
    term: u32,
}

/// What a member has granted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vote {
    /// As the holder counts.
    pub(super) until: Time,
    /// How many nodes there are, as the member says.
    pub(super) expected_nodes: u16,
}

impl Ballot {
    /// Promises it up to `until`, unless somebody else has a promise; whether it did.
    pub(super) fn promise(
        &mut self,
        to: MemberId,
        boot: Boot,
        term: u32,
        asked_at: u64,
        now: Time,
        until: Time,
    ) -> bool {
        match &mut self.promise {
            Some(known) if (known.to, known.boot) == (to, boot) => {
                // One that was overtaken by its successor promises nothing new.
                known.asked_at = known.asked_at.max(asked_at);
                known.term = known.term.max(term);
                known.until = known.until.max(until);
                true
            }
            Some(known) if now < known.until => false,
            Some(_) | None => {
                self.promise = Some(Promise { to, boot, term, asked_at, until });
                true
            }
        }
    }

    /// A candidate needs it no longer, and has never used it.
    pub(super) fn give_back(&mut self, from: MemberId, boot: Boot, asked_at: u64) {
        self.promise.take_if(|known| (known.to, known.boot) == (from, boot) && known.asked_at <= asked_at);
    }

    /// The hold of that term is over.
    pub(super) fn resigned(&mut self, of: MemberId, term: u32) {
        self.promise.take_if(|known| known.to == of && known.term <= term);
    }

    pub(super) fn promised_to(&self, now: Time) -> Option<MemberId> {
        self.promise.filter(|known| now < known.until).map(|known| known.to)
    }

    /// Takes in what this node wants of it, and says what that was before.
    pub(super) fn want(&mut self, want: Want, term: u32, now: Time) -> Want {
        let before = self.wanted.map_or(Want::Nothing, |wanting| wanting.want);
        self.wanted = match want {
            Want::Nothing => None,
            Want::Candidate | Want::Holder => {
                Some(Wanting { since: self.wanted.map_or(now, |wanting| wanting.since), want, term })
            }
        };
        if want == Want::Nothing {
            self.votes.clear();
        }
        before
    }

    /// The term it is wanted for, if it is.
    pub(super) fn wanted_term(&self) -> Option<u32> {
        self.wanted.map(|wanting| wanting.term)
    }

    /// A member has granted what was asked for then.
    pub(super) fn vote(&mut self, of: MemberId, asked_at: Time, vote: Vote) {
        // What was granted before has been given back.
        if self.wanted.is_none_or(|wanting| asked_at < wanting.since) {
            return;
        }
        let known = self.votes.entry(of).or_insert(vote);
        if known.until <= vote.until {
            *known = vote;
        }
    }

    pub(super) fn forget_votes(&mut self) {
        self.votes.clear();
        self.wanted = None;
    }

    /// Up to when `needed` members grant it.
    pub(super) fn secured_until(&self, needed: u16) -> Option<Time> {
        let mut ends: Vec<Time> = self.votes.values().map(|vote| vote.until).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(usize::from(needed).saturating_sub(1)).copied()
    }

    pub(super) fn voters(&self, now: Time) -> impl Iterator<Item = MemberId> {
        self.votes.iter().filter(move |(_, vote)| now < vote.until).map(|(member, _)| *member)
    }

    /// The largest number of nodes that a member says that grants it.
    pub(super) fn most_expected(&self, now: Time) -> Option<u16> {
        self.votes.values().filter(|vote| now < vote.until).map(|vote| vote.expected_nodes).max()
    }
}
