//! Which node holds a virtual IP: one node's part in it.
//!
//! The states are RFC 9568's; what moves them isn't a timer of three lost advertisements but proof
//! (`suspicion`) and resignations that are acknowledged.

mod events;
mod step;

use std::net::IpAddr;
use std::time::Duration;

use super::contract::Output;
use super::member::Members;
use super::message::{Mac, MemberId, VipAdvertisement, VipId};
use super::priority::{ADDRESS_OWNER, Standing};
use super::suspicion::Suspicion;
use super::time::Time;
use super::transition::{Cause, Phases, Transition, VipState};

/// How long a candidate waits for each better one before it claims a released VIP.
const SUCCESSION: Duration = Duration::from_millis(20);
/// A guard that hasn't answered within this time is asked again.
const GUARD_ANSWER: Duration = Duration::from_millis(200);

/// One node's part in one VIP.
///
/// ```text
///                 eligible                 free, and this node's turn
///   Initialize ------------> Backup --------------------------------> (claiming)
///       ^                     |  ^                                        | the kernel has the address
///       |      not eligible   |  |  released: a better node,              v
///       +---------------------+  +--- a conflict, a late hold --------- Active
///       |                                                                 |
///       +----------------- released: not eligible ------------------------+
/// ```
#[derive(Debug, Clone)]
pub struct Election {
    index: usize,
    id: VipId,
    preempt: bool,
    mac: Mac,
    term: u32,
    state: State,
    standing: Standing,
    /// When somebody else's claim was last met with an announcement.
    defended_at: Option<Time>,
    /// When this node was last late: what it reads next may be old.
    late_at: Option<Time>,
}

#[derive(Debug, Clone)]
enum State {
    Initialize,
    Backup(Watch),
    Active(Hold),
}

/// What a backup is waiting for.
#[derive(Debug, Clone)]
enum Watch {
    /// The holder speaks; its silence is suspect from then on.
    Following { holder: MemberId, suspect_at: Time },
    /// Nobody speaks for the VIP: is it free?
    Suspecting(Suspicion),
    /// It was released by a sealed word; this node's turn comes then.
    Vacated { since: Time, claim_at: Time, mine: bool },
    /// The guard has been asked to hold it.
    Claiming { cause: Cause, phases: Phases, decided_at: Time, until: Time },
}

/// What an active node has in hand.
#[derive(Debug, Clone, Copy)]
enum Hold {
    /// The kernel has the address; the guard keeps it up to `until` and not beyond.
    Holding { until: Time },
    /// The guard has been asked to let go.
    Releasing { successor: Option<MemberId>, cause: Cause, ask_again_at: Time },
}

/// What happened to a VIP, apart from the passing of time and from what the members advertise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The guard has the kernel's acknowledgement; it lets go by itself at `until`.
    Held { until: Time },
    /// The address is gone from the kernel, as asked.
    Released,
    /// The address is gone from the kernel, for a reason of the guard's own.
    LetGo { cause: Cause },
    /// The guard has read all answers and sent one more probe.
    AddressProbed,
    /// Somebody answered for the address, or claimed it.
    AddressAnswered { mac: Mac, by_ip: bool },
    /// A member has released it.
    Resigned { successor: Option<MemberId>, known_holder: bool },
    /// This node was late: silence proves nothing.
    Stalled,
}

/// What an election asks for.
#[derive(Debug, Default)]
pub(super) struct Orders {
    pub(super) outputs: Vec<Output>,
    /// The members are to be told that this node has released the VIP: the hold's term, and who takes it.
    pub(super) resignations: Vec<(u32, Option<MemberId>)>,
}

impl Orders {
    fn push(&mut self, output: Output) {
        self.outputs.push(output);
    }
}

/// What an election looks at.
pub(super) struct Surroundings<'a> {
    pub(super) now: Time,
    pub(super) me: MemberId,
    pub(super) address: IpAddr,
    /// The time between two advertisements of this node.
    pub(super) interval: Duration,
    pub(super) members: &'a Members,
    /// Why this node can't be a candidate, if it can't.
    pub(super) obstacle: Option<Cause>,
    /// This node has started so lately that others may be starting, too.
    pub(super) young: bool,
}

impl Election {
    pub(super) fn new(index: usize, id: VipId, preempt: bool) -> Self {
        let standing = Standing { effective: 1, eligible: false };
        let (mac, state) = (Mac::default(), State::Initialize);
        Self { index, id, preempt, mac, term: 0, state, standing, defended_at: None, late_at: None }
    }

    /// The VIP's state on this node.
    pub fn state(&self) -> VipState {
        match self.state {
            State::Initialize => VipState::Initialize,
            State::Backup(_) => VipState::Backup,
            State::Active(_) => VipState::Active,
        }
    }

    /// This node's standing.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// The term of the last election this node has won or heard of.
    pub fn term(&self) -> u32 {
        self.term
    }

    /// Which VIP, as members know it.
    pub fn id(&self) -> VipId {
        self.id
    }

    pub(super) fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    pub(super) fn set_mac(&mut self, mac: Mac) {
        self.mac = mac;
    }

    pub(super) fn advertisement(&self) -> VipAdvertisement {
        VipAdvertisement {
            vip: self.id,
            // What the guard has let go, or will before this arrives, is claimed no longer.
            state: match self.state {
                State::Active(Hold::Releasing { cause: Cause::HoldExpired, .. }) => VipState::Backup,
                State::Initialize | State::Backup(_) | State::Active(_) => self.state(),
            },
            effective_priority: self.standing.effective,
            preempt: self.preempt || self.standing.effective == ADDRESS_OWNER,
            term: self.term,
            mac: self.mac,
            suspects: matches!(self.state, State::Backup(Watch::Suspecting(_))),
            claims: matches!(self.state, State::Backup(Watch::Claiming { .. })),
        }
    }

    /// Until when the guard keeps the address, while it holds it.
    pub(super) fn hold_until(&self) -> Option<Time> {
        match self.state {
            State::Active(Hold::Holding { until }) => Some(until),
            State::Initialize | State::Backup(_) | State::Active(Hold::Releasing { .. }) => None,
        }
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self, around: &Surroundings<'_>) -> Option<Time> {
        match &self.state {
            State::Initialize => None,
            State::Backup(Watch::Following { suspect_at, .. }) => Some(*suspect_at),
            State::Backup(Watch::Suspecting(suspicion)) => Some(suspicion.deadline(self.rank(around))),
            State::Backup(Watch::Vacated { claim_at, .. }) => Some(*claim_at),
            State::Backup(Watch::Claiming { until, .. }) => Some(*until),
            State::Active(Hold::Holding { until }) => Some(*until),
            State::Active(Hold::Releasing { ask_again_at, .. }) => Some(*ask_again_at),
        }
    }

    /// Whether this node holds against `other`, when both say that they do: higher effective priority,
    /// then higher address (RFC 9568 section 6.4.3).
    pub(super) fn outranks(&self, other: MemberId, around: &Surroundings<'_>) -> bool {
        let Some(member) = around.members.get(other) else { return true };
        let theirs = member.part(self.id).map_or(0, |part| part.effective_priority);
        (self.standing.effective, around.address) > (theirs, member.address())
    }

    fn obstacle(&self, around: &Surroundings<'_>) -> Option<Cause> {
        around.obstacle.or((!self.standing.eligible).then_some(Cause::Ineligible))
    }

    /// The member that says it holds the VIP and has been heard lately.
    fn heard_holder(&self, around: &Surroundings<'_>) -> Option<MemberId> {
        let holder = around.members.holder(self.id, around.now)?;
        around.members.get(holder).is_some_and(|m| m.is_fresh(around.now)).then_some(holder)
    }

    /// How many living candidates stand before this node.
    fn rank(&self, around: &Surroundings<'_>) -> u32 {
        let mine = (self.standing.effective, around.address);
        let better = around
            .members
            .candidates(self.id, around.now)
            .filter(|(_, member, part)| (part.effective_priority, member.address()) > mine);
        u32::try_from(better.count()).unwrap_or(u32::MAX)
    }

    /// Whether a better node is about to hold it: its kernel may take a while, longer than its lead.
    fn is_claimed(&self, around: &Surroundings<'_>) -> bool {
        let mine = (self.standing.effective, around.address);
        around.members.claiming(self.id, around.now).any(|theirs| theirs > mine)
    }

    /// Whether a better node is just starting, as this one is, or one that this node has only been told of: a cluster
    /// that starts as a whole needn't begin with a move, nor with two holders. Nobody waits for long, and not where
    /// there was a holder.
    fn gives_way(&self, around: &Surroundings<'_>) -> bool {
        let mine = (self.standing.effective, around.address);
        around.young
            && (around.members.starting(self.id, around.now).any(|theirs| theirs > mine)
                || around.members.mentions_others(around.me, around.now))
    }

    /// The best candidate heard lately that `may` hold it.
    fn best_candidate(
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
    fn challenger(&self, around: &Surroundings<'_>) -> Option<MemberId> {
        let mine = self.standing.effective;
        self.best_candidate(around, |part| part.preempt && part.effective_priority > mine)
    }

    fn follow(holder: MemberId, around: &Surroundings<'_>) -> Watch {
        let suspect_at = around.members.get(holder).map_or(around.now, super::member::Member::suspect_at);
        Watch::Following { holder, suspect_at }
    }

    /// Whoever is known to hold it is followed while it speaks, and suspected when it doesn't.
    fn look_again(&self, suspect: Option<MemberId>, around: &Surroundings<'_>) -> Watch {
        match self.heard_holder(around) {
            Some(holder) => Self::follow(holder, around),
            None => {
                let suspect = suspect.or_else(|| around.members.holder(self.id, around.now));
                Watch::Suspecting(Suspicion::new(suspect, around.interval, around.now))
            }
        }
    }

    /// A sealed word has released the VIP: the named successor takes it at once, the others wait their turn.
    fn succeed(&self, successor: Option<MemberId>, around: &Surroundings<'_>) -> Watch {
        let now = around.now;
        let rank = self.rank(around);
        let mine = successor.map_or(rank == 0, |id| id == around.me);
        // Behind an old resignation may stand the word of who has taken the VIP since.
        let late = self.late_at.is_some_and(|at| now.since(at) < SUCCESSION);
        let turns = if mine && !late { 0 } else { rank.max(1) };
        Watch::Vacated { since: now, claim_at: now + SUCCESSION * turns, mine }
    }

    fn claim(
        &mut self,
        cause: Cause,
        detect: Duration,
        elect: Duration,
        around: &Surroundings<'_>,
        out: &mut Orders,
    ) -> Watch {
        let now = around.now;
        self.term = self.term.saturating_add(1);
        out.push(Output::Hold { vip: self.index, until: now + hold_time(around.interval), term: self.term });
        let phases = Phases { detect, elect, assign: Duration::ZERO };
        Watch::Claiming { cause, phases, decided_at: now, until: now + GUARD_ANSWER }
    }

    fn release(&self, successor: Option<MemberId>, cause: Cause, now: Time, out: &mut Orders) -> Hold {
        out.push(Output::Release { vip: self.index });
        Hold::Releasing { successor, cause, ask_again_at: now + GUARD_ANSWER }
    }

    /// The address is gone from the kernel: only now may anybody be told.
    fn released(
        &mut self,
        successor: Option<MemberId>,
        cause: Cause,
        around: &Surroundings<'_>,
        out: &mut Orders,
    ) {
        out.resignations.push((self.term, successor));
        if self.obstacle(around).is_some() {
            self.state = State::Initialize;
        } else {
            self.state = State::Backup(match successor {
                Some(_) => self.succeed(successor, around),
                None => self.look_again(None, around),
            });
        }
        self.tell(VipState::Active, cause, None, around.now, out);
    }

    fn tell(&self, from: VipState, cause: Cause, phases: Option<Phases>, at: Time, out: &mut Orders) {
        out.push(Output::Transition(Transition {
            vip: self.index,
            from,
            to: self.state(),
            cause,
            at,
            priority: self.standing.effective,
            term: self.term,
            phases,
        }));
    }
}

/// Who else claims a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claimant {
    /// An answer or an announcement on the VIP's network.
    Address(Mac),
    /// A member, by its sealed word.
    Member(MemberId),
}

/// No hold is asked for longer: a guard that hangs has refreshed the kernel's lease of 2 s up to 500 ms before, and a
/// node doesn't claim what its kernel may have given up.
const LONGEST_HOLD: Duration = Duration::from_millis(1600);

/// For how long a hold is asked for: three intervals less a margin, so that a daemon that hangs is without
/// its VIPs soon after its peers miss it.
///
/// The margin covers the guard's own lateness.
pub(super) fn hold_time(interval: Duration) -> Duration {
    let whole = (interval * 3).clamp(Duration::from_millis(100), LONGEST_HOLD);
    whole.saturating_sub((whole / 8).max(Duration::from_millis(10)))
}
