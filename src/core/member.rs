//! The other members, as their advertisements show them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::loss::{self, Losses};
use super::message::{Advertisement, Boot, Heard, Holder, Mac, MemberId, VipAdvertisement, VipId};
use super::time::Time;
use super::transition::VipState;

/// A member is suspect after this many half intervals of silence.
const SUSPECT_HALF_INTERVALS: u32 = 3;
/// A member counts as dead, for status and as a candidate, after this many intervals of silence.
const DEAD_INTERVALS: u32 = 4;

/// A member that comes back after this many may have been believed dead by others, and by clients.
const BACK_INTERVALS: u32 = 5;
/// What gets lost is judged by the members heard within this time.
const LOSSES_COUNT: Duration = Duration::from_secs(10);

/// A member that said it would go is shown for this long.
const LEFT_SHOWN: Duration = Duration::from_secs(60);
/// A dead one for this long: it may come back.
const DEAD_SHOWN: Duration = Duration::from_secs(600);

/// Everybody this node has heard, but for itself.
#[derive(Debug, Clone, Default)]
pub struct Members {
    members: BTreeMap<MemberId, Member>,
    /// Rises with everything they say that they haven't said before.
    revision: u64,
}

/// One other node.
#[derive(Debug, Clone)]
pub struct Member {
    address: IpAddr,
    boot: Boot,
    heard_at: Time,
    /// What follows from when it was last heard, worked out once: it is asked for far more often than it changes.
    suspect_at: Time,
    dead_at: Time,
    /// When its latest word came: what it says was so then.
    said_at: Time,
    latest: Advertisement,
    losses: Losses,
    /// The highest term it has resigned from, by VIP: an older claim may still be on its way.
    resigned: BTreeMap<VipId, u32>,
    /// Its guard has said that its daemon is dead: its silence needs no other explanation.
    buried: bool,
}

/// How a member is doing, as status shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// Heard within one and a half of its intervals.
    Alive,
    /// Silent for longer.
    Suspect,
    /// Silent for four of its intervals.
    Dead,
    /// Said that it was leaving.
    Left,
}

impl MemberState {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Suspect, Self::Dead, Self::Left];

    /// As in status and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

impl Members {
    /// Takes in an advertisement; false when it is older than what is known.
    pub fn hear(
        &mut self,
        id: MemberId,
        address: IpAddr,
        boot: Boot,
        mut advertisement: Advertisement,
        now: Time,
    ) -> bool {
        let (mut resigned, mut losses) = (BTreeMap::new(), Losses::default());
        if let Some(known) = self.members.get_mut(&id)
            && known.boot == boot
        {
            if let Some(beat) = advertisement.beat {
                known.losses.hear(beat);
            }
            losses = known.losses;
            if advertisement.sequence <= known.latest.sequence {
                // Late or by a second path: it proves life, but says nothing new.
                known.speaks(now);
                return false;
            }
            resigned = std::mem::take(&mut known.resigned);
        } else if let Some(beat) = advertisement.beat {
            losses.hear(beat);
        }
        for part in &mut advertisement.vips {
            if part.state == VipState::Active
                && resigned.get(&part.vip).is_some_and(|term| part.term <= *term)
            {
                part.state = VipState::Backup;
            }
        }
        let mut member = Member {
            address,
            boot,
            heard_at: now,
            suspect_at: now,
            dead_at: now,
            said_at: now,
            latest: advertisement,
            losses,
            resigned,
            buried: false,
        };
        member.speaks(now);
        let before = self.members.insert(id, member);
        if before.is_none_or(|before| self.members[&id].differs(&before)) {
            self.revision += 1;
        }
        true
    }

    /// A member has released a VIP. False when it never claimed that term.
    pub fn resign(&mut self, id: MemberId, vip: VipId, term: u32) -> bool {
        let Some(member) = self.members.get_mut(&id) else { return false };
        let Some(part) = member.latest.vips.iter_mut().find(|p| p.vip == vip) else { return false };
        if part.term > term {
            return false;
        }
        // Nor is it a candidate, until it says so itself: it may be stopping, or dead.
        part.state = VipState::Initialize;
        let last = member.resigned.entry(vip).or_default();
        *last = term.max(*last);
        self.revision += 1;
        true
    }

    /// Whether a member has already released that term of a VIP, or a later one.
    pub fn has_resigned(&self, id: MemberId, vip: VipId, term: u32) -> bool {
        self.members.get(&id).and_then(|m| m.resigned.get(&vip)).is_some_and(|last| term <= *last)
    }

    /// A member's guard speaks for its dead daemon.
    pub fn bury(&mut self, id: MemberId) {
        if let Some(member) = self.members.get_mut(&id) {
            member.buried = true;
            self.revision += 1;
        }
    }

    /// Takes out whoever has been gone for long enough.
    pub fn forget_gone(&mut self, now: Time) -> Vec<(MemberId, IpAddr)> {
        let is_gone = |m: &Member| match m.state(now) {
            MemberState::Alive | MemberState::Suspect => false,
            MemberState::Dead => now.since(m.heard_at) > DEAD_SHOWN,
            MemberState::Left => now.since(m.heard_at) > LEFT_SHOWN,
        };
        let gone: Vec<_> = self.iter().filter(|(_, m)| is_gone(m)).map(|(id, m)| (id, m.address)).collect();
        for (id, _) in &gone {
            self.revision += 1;
            self.members.remove(id);
        }
        gone
    }

    /// The members heard lately that hold the VIP or could.
    pub fn eligible(&self, vip: VipId, now: Time) -> impl Iterator<Item = (MemberId, &VipAdvertisement)> {
        self.iter()
            .filter(move |(_, m)| m.is_fresh(now))
            .filter_map(move |(id, m)| Some((id, m.part(vip)?)))
            .filter(|(_, part)| part.state != VipState::Initialize)
    }

    /// Rises with everything that isn't merely another sign of life. How long members have been silent isn't in it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Everybody, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, &Member)> {
        self.members.iter().map(|(id, member)| (*id, member))
    }

    /// One of them.
    pub fn get(&self, id: MemberId) -> Option<&Member> {
        self.members.get(&id)
    }

    /// Whom we have heard and how long ago, for our own advertisement.
    pub fn heard(&self, now: Time) -> Vec<Heard> {
        self.iter()
            .map(|(member, m)| Heard {
                member,
                address: m.address,
                sequence: m.latest.sequence,
                age: now.since(m.heard_at),
            })
            .collect()
    }

    /// Who says that it holds the VIP: the one heard lately before one that fell silent, then the latest term.
    pub fn holder(&self, vip: VipId, now: Time) -> Option<MemberId> {
        self.iter()
            .filter(|(_, m)| !m.latest.leaving)
            .filter_map(|(id, m)| Some((id, m, m.part(vip)?)))
            .filter(|(_, _, part)| part.state == VipState::Active)
            .max_by_key(|(_, m, part)| (m.is_fresh(now), part.term, part.effective_priority, m.address))
            .map(|(id, _, _)| id)
    }

    /// The members that could hold the VIP now: heard lately, and backup.
    pub fn candidates(
        &self,
        vip: VipId,
        now: Time,
    ) -> impl Iterator<Item = (MemberId, &Member, &VipAdvertisement)> {
        self.iter()
            .filter(move |(_, m)| m.state(now) <= MemberState::Suspect)
            .filter_map(move |(id, m)| Some((id, m, m.part(vip)?)))
            .filter(|(_, _, part)| part.state == VipState::Backup)
    }

    /// What the members stand with that are heard, and not candidates yet.
    pub fn starting(&self, vip: VipId, now: Time) -> impl Iterator<Item = (MemberId, u8, IpAddr)> {
        self.iter().filter(move |(_, member)| member.is_fresh(now)).filter_map(move |(id, member)| {
            let part = member.part(vip).filter(|part| part.state == VipState::Initialize)?;
            Some((id, part.effective_priority, member.address))
        })
    }

    /// The members heard lately, in the order of their ids.
    pub fn fresh(&self, now: Time) -> impl Iterator<Item = (MemberId, &Member)> {
        self.iter().filter(move |(_, member)| member.is_fresh(now))
    }

    /// The members that may be alive, though they haven't been heard for a while: their words may get lost.
    pub fn present(&self, now: Time) -> impl Iterator<Item = (MemberId, &Member)> {
        self.iter().filter(move |(_, member)| member.state(now) <= MemberState::Suspect)
    }

    /// The best of the members heard lately that say they hold the VIP, and how many there are.
    pub fn rivals(&self, vip: VipId, now: Time) -> (Option<Holder>, usize) {
        let holders = self.fresh(now).filter_map(|(id, member)| {
            let part = member.part(vip).filter(|part| part.state == VipState::Active)?;
            let holder = Holder { member: id, term: part.term };
            Some(((part.effective_priority, member.address), holder))
        });
        let mut count = 0;
        let best = holders.inspect(|_| count += 1).max_by_key(|(standing, _)| *standing);
        (best.map(|(_, holder)| holder), count)
    }

    /// With how many others of those heard here a member is in touch: each hears the other, by what both said last.
    pub fn in_touch_with(&self, id: MemberId, now: Time) -> usize {
        let Some(member) = self.get(id) else { return 0 };
        let in_touch = |(other, theirs): &(MemberId, &Member)| {
            member.was_hearing(*other, theirs) && theirs.was_hearing(id, member)
        };
        self.fresh(now).filter(in_touch).count()
    }

    /// So many of a thousand datagrams get lost, one way, by the worst of what is known; a node that has heard
    /// nobody lately believes the worst of the network.
    pub fn loss(&self, now: Time) -> u32 {
        let counted = self.members.values().filter(|m| now.since(m.heard_at) < LOSSES_COUNT);
        counted.map(|m| m.losses.per_mille()).max().unwrap_or(loss::MOST)
    }

    /// The same by what they say of the words of `me`, one each `interval`: losses that have only just begun may show
    /// there first.
    pub fn missed(&self, me: MemberId, interval: Duration, now: Time) -> u32 {
        let counted = self.members.values().filter(|m| now.since(m.heard_at) < LOSSES_COUNT);
        counted.map(|m| loss::in_a_row(m.missed(me, interval))).max().unwrap_or(0)
    }

    /// Whether a member that is heard hears somebody whom this node has never heard.
    pub fn mentions_others(&self, me: MemberId, now: Time) -> bool {
        self.iter().filter(|(_, member)| member.is_fresh(now)).any(|(_, member)| {
            let lately = member.latest.interval * DEAD_INTERVALS;
            let mentioned = member.latest.heard.iter().filter(|heard| heard.age < lately);
            mentioned.map(|heard| heard.member).any(|id| id != me && !self.members.contains_key(&id))
        })
    }

    /// Whether somebody has lately heard a node with a higher address than this one's, which this node doesn't hear.
    pub fn mentions_above(&self, me: MemberId, address: IpAddr, now: Time) -> bool {
        let unheard = |id: MemberId| {
            self.get(id).is_none_or(|member| member.state(now) == MemberState::Dead && !member.buried)
        };
        self.members.values().any(|member| {
            let lately = member.latest.interval * DEAD_INTERVALS;
            let above = |heard: &&Heard| heard.member != me && heard.address > address;
            let mut mentioned = member.latest.heard.iter().filter(above);
            mentioned.any(|heard| now.since(member.said_at - heard.age) < lately && unheard(heard.member))
        })
    }

    /// The highest term any member has told of.
    pub fn highest_term(&self, vip: VipId) -> u32 {
        self.members.values().filter_map(|m| m.part(vip)).map(|part| part.term).max().unwrap_or(0)
    }

    /// Whether `mac` is a member's own for this VIP.
    pub fn owns_mac(&self, vip: VipId, mac: Mac) -> bool {
        self.members.values().filter_map(|m| m.part(vip)).any(|part| part.mac == mac)
    }

    /// Whether some have been heard, and each of them has left or is dead.
    pub fn all_gone(&self, now: Time) -> bool {
        !self.members.is_empty() && self.members.values().all(|m| m.state(now) >= MemberState::Dead)
    }

    /// Whether so it is, and somebody has fallen silent without a word.
    pub fn all_lost(&self, now: Time) -> bool {
        let unexplained = |m: &Member| m.state(now) == MemberState::Dead && !m.buried;
        self.all_gone(now) && self.members.values().any(unexplained)
    }
}

impl Member {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.latest.name
    }

    /// The address it speaks from.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// When it was last heard.
    pub fn heard_at(&self) -> Time {
        self.heard_at
    }

    /// The last thing it advertised.
    pub fn latest(&self) -> &Advertisement {
        &self.latest
    }

    /// Whether a word from it now comes after a silence so long that it, or clients, may believe something else
    /// than this node.
    pub fn has_been_away(&self, now: Time) -> bool {
        now.since(self.heard_at) >= self.latest.interval * BACK_INTERVALS
    }

    /// Whether it has said anything since a moment.
    pub fn has_spoken_since(&self, since: Time) -> bool {
        self.said_at >= since
    }

    /// When it had last heard `other`, and which sequence number, by what it said last.
    pub fn heard_of(&self, other: MemberId) -> Option<(Time, u64)> {
        let heard = self.latest.heard.iter().find(|heard| heard.member == other)?;
        Some((self.said_at - heard.age, heard.sequence))
    }

    /// Whom it hears holding the VIP, unless what it said is too old by now.
    pub fn hears(&self, vip: VipId, now: Time) -> Option<Holder> {
        let holder = self.part(vip)?.hears?;
        self.heard_lately(holder.member, now).map(|_sequence| holder)
    }

    /// Which sequence number of `other` it had heard last, unless that is too long ago by now, going by its own
    /// interval.
    pub fn heard_lately(&self, other: MemberId, now: Time) -> Option<u64> {
        let (at, sequence) = self.heard_of(other)?;
        (now.since(at) < self.latest.interval * SUSPECT_HALF_INTERVALS / 2).then_some(sequence)
    }

    /// How many words of `other`, one each `interval`, it had missed in a row when it spoke last.
    fn missed(&self, other: MemberId, interval: Duration) -> u64 {
        let Some((at, _sequence)) = self.heard_of(other) else { return 0 };
        // The next one was due an interval after the last, and may have been half an interval late.
        let halves = self.said_at.since(at).as_nanos() * 2 / interval.as_nanos().max(1);
        u64::try_from(halves.saturating_sub(1) / 2).unwrap_or(u64::MAX)
    }

    /// Whether it had heard `other`, which is known here as well, lately when it spoke last.
    fn was_hearing(&self, id: MemberId, other: &Self) -> bool {
        let lately = other.latest.interval * SUSPECT_HALF_INTERVALS / 2;
        self.latest.heard.iter().any(|heard| heard.member == id && heard.age < lately)
    }

    /// Its part in one VIP.
    pub fn part(&self, vip: VipId) -> Option<&VipAdvertisement> {
        self.latest.vips.iter().find(|part| part.vip == vip)
    }

    /// From when on its silence is suspect.
    pub fn suspect_at(&self) -> Time {
        self.suspect_at
    }

    /// Whatever it says, it is alive.
    fn speaks(&mut self, now: Time) {
        self.heard_at = self.heard_at.max(now);
        self.suspect_at = self.heard_at + self.latest.interval * SUSPECT_HALF_INTERVALS / 2;
        self.dead_at = self.heard_at + self.latest.interval * DEAD_INTERVALS;
    }

    /// Whether it has been heard lately enough to be believed.
    pub fn is_fresh(&self, now: Time) -> bool {
        !self.latest.leaving && !self.buried && now < self.suspect_at
    }

    /// How it is doing.
    pub fn state(&self, now: Time) -> MemberState {
        if self.latest.leaving {
            MemberState::Left
        } else if self.buried {
            MemberState::Dead
        } else if now < self.suspect_at {
            MemberState::Alive
        } else if now < self.dead_at {
            MemberState::Suspect
        } else {
            MemberState::Dead
        }
    }

    /// Whether it says anything else than `before`, apart from whom it hears.
    fn differs(&self, before: &Self) -> bool {
        let (now, then) = (&self.latest, &before.latest);
        (self.boot, self.address, self.buried) != (before.boot, before.address, before.buried)
            || (now.leaving, now.config, &now.vips) != (then.leaving, then.config, &then.vips)
            || (&now.name, &now.version) != (&then.name, &then.version)
    }
}
