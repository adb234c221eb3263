//! Who may hold a VIP where a majority has to agree: promises given, and grants in hand.
//!
//! Whoever holds a VIP, or is about to, asks every member again and again. A member that has promised the VIP to
//! nobody else grants it for a while, and promises it to nobody else for a little longer:
//!
//! ```text
//!   holder   asks ──────────────── grant's end, as the holder counts it
//!   member       └─ promises ─────────────────── promise's end
//! ```
//!
//! The holder counts from when it asked and a tenth less, the member from when it heard, so that no clock has to
//! agree with another. What a kernel may go on answering without its daemon is covered by the holder: its guard's
//! hold ends with the grants, and beacons, which feed the fence, leave only while the grants outlast the fence.

mod ballot;

use std::collections::VecDeque;
use std::time::Duration;

use self::ballot::{Ballot, Vote};
use super::election::fence_time;
use super::message::{Boot, Grant, MemberId, Request, VipId, Wanted};
use super::time::Time;

/// A grant lasts for this long; longer where the interval calls for a slower fence.
const GRANT: Duration = Duration::from_millis(500);
/// Sequence numbers are remembered at this distance: a member's questions mustn't make the memory grow.
const REMEMBERED: Duration = Duration::from_millis(5);

/// One node's part in the majority.
#[derive(Debug, Clone)]
pub struct Quorum {
    me: MemberId,
    expected_nodes: u16,
    grant: Duration,
    fence: Duration,
    /// Between two rounds of questions, about: advertisements take them along.
    period: Duration,
    /// A life before this one may have promised something that still lasts.
    votes_from: Time,
    vips: Vec<(VipId, Ballot)>,
    asked_at: Option<Time>,
    /// Until when an unanswered round is repeated soon.
    hurried_until: Time,
    /// Rounds since something new is wanted.
    rounds: u32,
    /// What is given back with the next round: it wasn't used.
    frees: Vec<VipId>,
    sent: Sent,
}

/// What a node wants of a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    /// Nothing.
    Nothing,
    /// To take it once enough have granted it; nothing has been done about it yet.
    Candidate,
    /// To keep it: its guard has the address, or was asked to.
    Holder,
}

/// What an election knows of the grants for its VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Grants {
    /// A holder needs nobody's.
    Unneeded,
    /// Those of so many `voters`, this node among them, last up to `until`, as the holder counts.
    Needed { voters: u16, until: Time, fence: Duration, lasts: Duration },
}

impl Grants {
    /// Whether a holder needs nobody's.
    pub(super) fn are_unneeded(self) -> bool {
        matches!(self, Self::Unneeded)
    }

    /// Whether they allow a hold to begin, or to be fed: they outlast what the kernel does without the daemon.
    pub(super) fn suffice(self, now: Time) -> bool {
        match self {
            Self::Unneeded => true,
            Self::Needed { until, fence, .. } => until >= now + fence,
        }
    }

    /// Whether they have run out.
    pub(super) fn are_over(self, now: Time) -> bool {
        match self {
            Self::Unneeded => false,
            Self::Needed { until, .. } => now >= until,
        }
    }

    /// No hold outlasts them.
    pub(super) fn bound(self, hold: Time) -> Time {
        match self {
            Self::Unneeded => hold,
            Self::Needed { until, .. } => hold.min(until),
        }
    }

    /// Of how many members they have to be, the holder among them, where they are needed.
    pub(super) fn voters_needed(self) -> Option<usize> {
        match self {
            Self::Unneeded => None,
            Self::Needed { voters, .. } => Some(usize::from(voters)),
        }
    }

    /// When they run out, if that matters.
    pub(super) fn end(self) -> Option<Time> {
        match self {
            Self::Unneeded => None,
            Self::Needed { until, .. } => Some(until),
        }
    }
}

impl Quorum {
    /// Of `expected_nodes`, for VIPs in the file's order; `interval` is the time between two advertisements.
    pub(super) fn new(
        me: MemberId,
        expected_nodes: u16,
        vips: impl IntoIterator<Item = VipId>,
        interval: Duration,
        now: Time,
    ) -> Self {
        let fence = fence_time(interval);
        let grant = GRANT.max(fence * 5 / 3);
        Self {
            me,
            expected_nodes,
            grant,
            fence,
            period: interval.min(grant / 5),
            votes_from: now + grant,
            vips: vips.into_iter().map(|vip| (vip, Ballot::default())).collect(),
            asked_at: None,
            hurried_until: now,
            rounds: 0,
            frees: Vec::new(),
            sent: Sent::default(),
        }
    }

    /// How many nodes there are when all are there: as configured here, or more as a member says that grants
    /// something now.
    pub fn expected_nodes(&self, now: Time) -> u16 {
        let heard = self.vips.iter().filter_map(|(_, ballot)| ballot.most_expected(now)).max();
        heard.unwrap_or_default().max(self.expected_nodes)
    }

    /// How many are a majority of them.
    pub fn needed(&self, now: Time) -> u16 {
        self.expected_nodes(now) / 2 + 1
    }

    /// Who grants a VIP to this node now, itself included.
    pub fn granted_by(&self, vip: usize, now: Time) -> impl Iterator<Item = MemberId> {
        self.vips.get(vip).into_iter().flat_map(move |(_, ballot)| ballot.voters(now))
    }

    /// Whom this node has promised a VIP to, for now.
    pub fn promised_to(&self, vip: usize, now: Time) -> Option<MemberId> {
        self.vips.get(vip)?.1.promised_to(now)
    }

    /// What the election of a VIP has to know.
    pub(super) fn grants(&self, vip: usize, now: Time) -> Grants {
        let voters = self.needed(now);
        let until = self.vips.get(vip).and_then(|(_, ballot)| ballot.secured_until(voters));
        Grants::Needed { voters, until: until.unwrap_or(Time::ZERO), fence: self.fence, lasts: self.grant }
    }

    /// An advertisement of this number leaves now.
    pub(super) fn advertised(&mut self, sequence: u64, now: Time) {
        self.sent.push(sequence, now, self.grant);
    }

    /// A member wants to hold something: what it is granted of it, if anything.
    pub(super) fn answer(
        &mut self,
        from: MemberId,
        boot: Boot,
        request: &Request,
        now: Time,
    ) -> Option<Grant> {
        let lasts = request.lasts.min(self.grant);
        let asked_at = request.asked_at;
        for vip in &request.frees {
            if let Some((_, ballot)) = self.vips.iter_mut().find(|(id, _)| id == vip) {
                ballot.give_back(from, boot, asked_at);
            }
        }
        // Who doesn't hear this node wouldn't hear its grants either, and would keep others from them.
        if now < self.votes_from || !self.sent.is_recent(request.echo) {
            return None;
        }
        let mut vips = Vec::new();
        for wanted in &request.wants {
            if let Some((id, ballot)) = self.vips.iter_mut().find(|(id, _)| *id == wanted.vip)
                && ballot.promise(from, boot, wanted.term, asked_at, now, now + lasts)
            {
                vips.push(*id);
            }
        }
        let expected_nodes = self.expected_nodes;
        (!vips.is_empty()).then_some(Grant { asked_at, lasts, expected_nodes, vips })
    }

    /// A member has granted what it was asked for.
    pub(super) fn granted(&mut self, from: MemberId, grant: &Grant, now: Time) {
        let asked_at = Time::from_nanos(grant.asked_at);
        if asked_at > now {
            return;
        }
        let until = self.counted(asked_at, grant.lasts);
        for (_, ballot) in self.vips.iter_mut().filter(|(id, _)| grant.vips.contains(id)) {
            ballot.vote(from, asked_at, Vote { until, expected_nodes: grant.expected_nodes });
        }
        if self.is_renewed(now) {
            // The next rounds have their patience back.
            self.hurried_until = now + self.grant * 2;
        }
    }

    /// Somebody has released a VIP: what was promised for that term is promised no longer.
    pub(super) fn resigned(&mut self, of: MemberId, vip: VipId, term: u32) {
        if let Some((_, ballot)) = self.vips.iter_mut().find(|(id, _)| *id == vip) {
            ballot.resigned(of, term);
            if of == self.me {
                ballot.forget_votes();
            }
        }
    }

    /// What this node wants of a VIP now.
    pub(super) fn want(&mut self, vip: usize, want: Want, term: u32, now: Time) {
        let Some((id, ballot)) = self.vips.get_mut(vip) else { return };
        let before = ballot.want(want, term, now);
        match (before, want) {
            (Want::Nothing, Want::Candidate | Want::Holder) => {
                // At once, and not with the next round.
                self.asked_at = None;
                self.rounds = 0;
                self.hurried_until = now + self.grant * 2;
            }
            (Want::Candidate, Want::Nothing) => {
                ballot.give_back(self.me, Boot::default(), u64::MAX);
                self.frees.push(*id);
            }
            // What the guard may still have, nobody may be granted before the promises have run out.
            (Want::Holder | Want::Nothing, Want::Nothing)
            | (Want::Candidate | Want::Holder, Want::Candidate | Want::Holder) => {}
        }
    }

    /// The question to every member, if one is due; half a round early where an advertisement leaves now, so that the
    /// two wake everybody once. Each gets its own `echo`.
    pub(super) fn ask(&mut self, now: Time, advertises: bool) -> Option<Request> {
        let along = advertises && self.asked_at.is_none_or(|asked_at| now >= asked_at + self.period / 2);
        if now < self.due(now)? && !along {
            return None;
        }
        let (asked_at, lasts) = (now.as_nanos(), self.grant);
        let until = self.counted(now, lasts);
        let mut wants = Vec::new();
        for (vip, ballot) in &mut self.vips {
            let Some(term) = ballot.wanted_term() else { continue };
            wants.push(Wanted { vip: *vip, term });
            // This node is a member, too, and bound by what it has promised.
            if now >= self.votes_from
                && ballot.promise(self.me, Boot::default(), term, asked_at, now, now + lasts)
            {
                ballot.vote(self.me, now, Vote { until, expected_nodes: self.expected_nodes });
            }
        }
        self.asked_at = Some(now);
        self.rounds = self.rounds.saturating_add(1);
        let frees = std::mem::take(&mut self.frees);
        Some(Request { asked_at, echo: 0, lasts, wants, frees })
    }

    /// When a question is due, if any is.
    pub(super) fn due(&self, now: Time) -> Option<Time> {
        if !self.frees.is_empty() {
            return Some(now);
        }
        self.wanted().next()?;
        let Some(asked_at) = self.asked_at else { return Some(now) };
        let hurried = now < self.hurried_until && !self.is_renewed(now);
        // The next advertisement comes first, but where its beat is another one.
        Some(asked_at + if hurried { self.hurry() } else { self.period * 5 / 4 })
    }

    /// A member that hears of a resignation a moment after the question has refused by then, and is asked again at
    /// once; whose promise has to run out, less often.
    fn hurry(&self) -> Duration {
        let doublings = self.rounds.saturating_sub(1).min(4);
        (self.grant / 250 * 2_u32.pow(doublings)).min(self.grant / 25)
    }

    /// Whether a majority has granted everything that was asked for last.
    fn is_renewed(&self, now: Time) -> bool {
        let Some(asked_at) = self.asked_at else { return false };
        let (fresh, needed) = (self.counted(asked_at, self.grant), self.needed(now));
        self.wanted().all(|ballot| ballot.secured_until(needed).is_some_and(|until| until >= fresh))
    }

    fn wanted(&self) -> impl Iterator<Item = &Ballot> {
        self.vips.iter().map(|(_, ballot)| ballot).filter(|ballot| ballot.wanted_term().is_some())
    }

    /// When a grant that was asked for then ends, as its holder counts: clocks may run apart by a few per cent, and a
    /// guard wakes late.
    fn counted(&self, asked_at: Time, lasts: Duration) -> Time {
        asked_at + lasts.min(self.grant) * 9 / 10
    }
}

/// The numbers of this node's latest advertisements, and when they left.
#[derive(Debug, Clone, Default)]
struct Sent {
    latest: VecDeque<(Time, u64)>,
    /// This number, and those before it, left too long ago.
    stale: u64,
}

impl Sent {
    fn push(&mut self, sequence: u64, now: Time, lasting: Duration) {
        while let Some((at, stale)) = self.latest.front().copied()
            && now.since(at) > lasting
        {
            self.stale = stale;
            self.latest.pop_front();
        }
        match self.latest.back_mut() {
            // As old as the oldest that it stands for.
            Some((at, last)) if now.since(*at) < REMEMBERED => *last = sequence,
            Some(_) | None => self.latest.push_back((now, sequence)),
        }
    }

    fn is_recent(&self, sequence: u64) -> bool {
        sequence > self.stale
    }
}

#[cfg(test)]
mod tests;
