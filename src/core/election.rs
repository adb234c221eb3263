//! Which node holds a virtual IP: one node's part in it.
//!
//! The states are RFC 9568's; what moves them isn't a timer of three lost advertisements but proof
//! (`suspicion`) and resignations that are acknowledged.

mod candidates;
mod claim;
mod events;
mod opinion;
mod step;
mod surroundings;

use std::time::Duration;

use super::FEED;
use super::contract::{Output, Proof, VipSettings};
use super::damping::Damping;
use super::member::MemberState;
use super::message::{Mac, MemberId, VipAdvertisement, VipId};
use super::placement::Placement;
use super::priority::{ADDRESS_OWNER, Standing};
use super::quorum::Want;
use super::suspicion::{Patience, Suspicion};
use super::time::Time;
use super::transition::{Cause, Phases, Transition, VipState};

use self::claim::Asking;

pub(super) use self::surroundings::Surroundings;

/// How long a candidate waits for each better one before it claims a released VIP.
const SUCCESSION: Duration = Duration::from_millis(20);
/// A guard that hasn't answered within this time is asked again.
const GUARD_ANSWER: Duration = Duration::from_millis(200);

/// One node's part in one VIP.
///
/// ```text
///                 eligible                 free, this node's turn, and nobody objects
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
    terms: Terms,
    proof: Proof,
    mac: Mac,
    term: u32,
    state: State,
    standing: Standing,
    /// When this node was last late: what it reads next may be old.
    late_at: Option<Time>,
    /// Somebody removes the address here, again and again: until then this node is no candidate.
    barred_until: Option<Time>,
    canvass: Option<Canvass>,
    /// Since when it could hold the VIP.
    candidate_since: Time,
    /// The highest effective priority since it holds the VIP.
    peak: u8,
    damping: Damping,
}

/// By what a VIP may be taken from a living holder, or is handed over by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Whether this node takes it from a living holder of lower priority.
    pub preempt: bool,
    /// Not before it has been a candidate for so long.
    pub preempt_delay: Duration,
    /// Hand-backs to the same member that repeat have to wait.
    pub damped: bool,
    /// A holder hands it back only with fewer connections than this.
    pub connections_below: Option<u64>,
    /// Who of equals holds it.
    pub placement: Placement,
}

impl Default for Terms {
    fn default() -> Self {
        let (preempt_delay, placement) = (Duration::ZERO, Placement::Address);
        Self { preempt: true, preempt_delay, damped: true, connections_below: None, placement }
    }
}

/// A majority's grants are being asked for: it is this node's turn.
#[derive(Debug, Clone, Copy)]
struct Canvass {
    since: Time,
    /// They didn't come: a lower candidate that reaches more members may try.
    pausing: bool,
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
    Vacated { since: Time, claim_at: Time, turn: Turn },
    /// The others have been told that this node takes it: does any of them know better?
    Asking(Asking),
    /// The guard has been asked to hold it.
    Claiming { cause: Cause, phases: Phases, decided_at: Time, until: Time },
}

/// Whose turn it is when a VIP has been released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// This node's: the holder itself has named it.
    Named,
    /// This node's, as far as it knows.
    First,
    /// A better one's, who may be dead.
    Later,
}

/// What an active node has in hand.
#[derive(Debug, Clone, Copy)]
enum Hold {
    /// The kernel has the address; the guard keeps it up to `until` and not beyond. Advertisements after number
    /// `told_after` say so.
    Holding { until: Time, told_after: u64 },
    /// The guard has been asked to let go.
    Releasing { successor: Option<MemberId>, cause: Cause, ask_again_at: Time },
}

/// A holder lets go so long before its grants run out: then it is its own word that goes round, not its guard's.
const AHEAD: Duration = Duration::from_millis(20);

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
    /// A member has released it, which had it at `mac` if that is sure.
    Resigned { successor: Option<MemberId>, known_holder: bool, mac: Option<Mac> },
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

impl Election {
    pub(super) fn new(index: usize, settings: &VipSettings) -> Self {
        Self {
            index,
            id: settings.id,
            terms: settings.terms,
            proof: settings.proof,
            mac: Mac::default(),
            term: 0,
            state: State::Initialize,
            standing: Standing { effective: 1, eligible: false },
            late_at: None,
            barred_until: None,
            canvass: None,
            candidate_since: Time::ZERO,
            peak: 0,
            damping: Damping::default(),
        }
    }

    /// Goes on by other terms: whoever holds the VIP keeps it until these say otherwise.
    pub(super) fn reconfigure(&mut self, settings: &VipSettings) {
        (self.terms, self.proof) = (settings.terms, settings.proof);
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

    /// What it remembers of hand-backs.
    pub fn damping(&self) -> &Damping {
        &self.damping
    }

    /// How equals are ordered.
    pub fn placement(&self) -> Placement {
        self.terms.placement
    }

    pub(super) fn set_standing(&mut self, standing: Standing) {
        self.standing = standing;
    }

    pub(super) fn set_mac(&mut self, mac: Mac) {
        self.mac = mac;
    }

    pub(super) fn advertisement(&self, around: &Surroundings<'_>) -> VipAdvertisement {
        let (hears, others) = around.members.rivals(self.id, around.now);
        let standing_by = around.now.since(self.candidate_since);
        let preempts = self.terms.preempt && standing_by >= self.terms.preempt_delay;
        VipAdvertisement {
            vip: self.id,
            // What the guard has let go, or will before this arrives, is claimed no longer.
            state: match self.state {
                State::Active(Hold::Releasing { cause: Cause::HoldExpired | Cause::NoMajority, .. }) => {
                    VipState::Backup
                }
                State::Initialize | State::Backup(_) | State::Active(_) => self.state(),
            },
            effective_priority: self.standing.effective,
            preempt: preempts || self.standing.effective == ADDRESS_OWNER,
            term: self.term,
            mac: self.mac,
            suspects: self.suspects(),
            claims: self.claims(),
            pinned: around.pin == Some(around.me),
            hears,
            answered: matches!(&self.state, State::Backup(Watch::Suspecting(suspicion))
                if suspicion.is_answered(self.patience(around))),
            disputed: others + usize::from(self.hold_until().is_some()) > 1,
        }
    }

    /// Whether this node is about to hold it: nobody else begins to.
    pub(super) fn claims(&self) -> bool {
        match self.want() {
            Want::Nothing => matches!(self.state, State::Backup(Watch::Asking(_))),
            Want::Candidate | Want::Holder => self.state() == VipState::Backup,
        }
    }

    /// What a majority's grants are needed for.
    pub(super) fn want(&self) -> Want {
        let asking = self.canvass.is_some_and(|canvass| !canvass.pausing);
        match (&self.state, asking) {
            (State::Active(_) | State::Backup(Watch::Claiming { .. }), _) => Want::Holder,
            (State::Backup(Watch::Suspecting(_) | Watch::Vacated { .. }), true) => Want::Candidate,
            (State::Backup(_) | State::Initialize, _) => Want::Nothing,
        }
    }

    /// The term of the hold that this node has, or would have next.
    pub(super) fn wanted_term(&self) -> u32 {
        match self.want() {
            Want::Candidate => self.term.saturating_add(1),
            Want::Nothing | Want::Holder => self.term,
        }
    }

    /// Whether nobody waits for this node's word on the VIP: somebody else holds it, and is heard; or this node is no
    /// candidate.
    pub(super) fn is_quiet(&self) -> bool {
        match &self.state {
            State::Initialize | State::Backup(Watch::Following { .. }) => true,
            State::Backup(
                Watch::Suspecting(_) | Watch::Vacated { .. } | Watch::Asking(_) | Watch::Claiming { .. },
            )
            | State::Active(_) => false,
        }
    }

    /// Whether this node holds the VIP, and goes on to.
    pub(super) fn is_holding(&self) -> bool {
        matches!(&self.state, State::Active(Hold::Holding { .. }))
    }

    fn suspects(&self) -> bool {
        matches!(&self.state, State::Backup(Watch::Suspecting(suspicion)) if suspicion.holder().is_some())
    }

    /// What everybody has to be told of at once when it changes.
    pub(super) fn news(&self) -> impl PartialEq + use<> {
        (self.state(), self.standing, self.claims(), self.suspects())
    }

    /// Until when the guard keeps the address, while it holds it.
    pub fn hold_until(&self) -> Option<Time> {
        match self.state {
            State::Active(Hold::Holding { until, .. }) => Some(until),
            State::Initialize | State::Backup(_) | State::Active(Hold::Releasing { .. }) => None,
        }
    }

    /// Whether this node stands back because somebody removes the address here, again and again.
    pub fn is_barred(&self, now: Time) -> bool {
        self.barred_until.is_some_and(|until| now < until)
    }

    /// When there is something to do even if nothing happens.
    pub(super) fn deadline(&self, around: &Surroundings<'_>) -> Option<Time> {
        match &self.state {
            State::Initialize => self.barred_until.filter(|until| around.now < *until),
            State::Backup(Watch::Following { suspect_at, .. }) => Some(*suspect_at),
            State::Backup(Watch::Suspecting(suspicion)) => Some(suspicion.deadline(self.patience(around))),
            State::Backup(Watch::Vacated { claim_at, .. }) => Some(*claim_at),
            State::Backup(Watch::Asking(asking)) => Some(asking.deadline()),
            State::Backup(Watch::Claiming { until, .. }) => Some(*until),
            State::Active(Hold::Holding { until, .. }) => {
                Some(around.grants.end().map_or(*until, |end| (*until).min(end - AHEAD)))
            }
            State::Active(Hold::Releasing { ask_again_at, .. }) => Some(*ask_again_at),
        }
    }

    fn obstacle(&self, around: &Surroundings<'_>) -> Option<Cause> {
        around
            .obstacle
            .or((!self.standing.eligible).then_some(Cause::Ineligible))
            .or(self.is_barred(around.now).then_some(Cause::AddressRemoved))
    }

    /// How much a suspicion asks for.
    fn patience(&self, around: &Surroundings<'_>) -> Patience {
        Patience { loss: around.loss(), doubt: around.missing, rank: self.rank(around) }
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
                Watch::Suspecting(Suspicion::new(suspect, self.proof, around.interval, around.now))
            }
        }
    }

    /// A sealed word has released the VIP: the named successor takes it at once, the others wait their turn.
    fn succeed(&self, successor: Option<MemberId>, around: &Surroundings<'_>) -> Watch {
        let now = around.now;
        // Whoever released it wasn't the only holder: the other one may only be silent.
        let another = around.members.holder(self.id, now).and_then(|id| around.members.get(id));
        if another.is_some_and(|member| member.state(now) <= MemberState::Suspect) {
            return self.look_again(None, around);
        }
        let rank = self.rank(around);
        // Two that don't hear each other would both take it: one of them looks first.
        let first = rank == 0 && !around.members.mentions_above(around.me, around.address, now);
        let turn = match successor {
            Some(named) if named == around.me => Turn::Named,
            None if first => Turn::First,
            Some(_) | None => Turn::Later,
        };
        // Behind an old resignation may stand the word of who has taken the VIP since.
        let late = self.late_at.is_some_and(|at| now.since(at) < SUCCESSION);
        let (turn, turns) = match turn {
            Turn::Named | Turn::First if !late => (turn, 0),
            Turn::Named | Turn::First => (Turn::First, rank.max(1)),
            Turn::Later => (turn, rank.max(1)),
        };
        Watch::Vacated { since: now, claim_at: now + SUCCESSION * turns, turn }
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

/// No hold is asked for longer: a guard that hangs has refreshed the kernel's lease of 2 s up to 600 ms before, and a
/// node doesn't claim what its kernel may have given up. Less an eighth, as all holds are, it fits.
pub(super) const LONGEST_HOLD: Duration = Duration::from_millis(1600);

/// For how long a hold is asked for: three intervals less a margin, so that a daemon that hangs is without
/// its VIPs soon after its peers miss it.
///
/// The margin covers the guard's own lateness.
pub(super) fn hold_time(interval: Duration) -> Duration {
    let whole = (interval * 3).clamp(Duration::from_millis(100), LONGEST_HOLD);
    whole.saturating_sub((whole / 8).max(Duration::from_millis(10)))
}

/// For how long one of the holder's beacons keeps its VIPs from being fenced: a little longer than the hold that is
/// asked for beside it.
pub(super) fn fence_time(interval: Duration) -> Duration {
    if interval <= FEED {
        (interval * 3).max(Duration::from_millis(100))
    } else {
        // The last hold may have been asked for an interval after the last beacon.
        hold_time(interval) + interval + FEED
    }
}
