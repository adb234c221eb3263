//! A daemon's process: a core, and the driver that feeds it.

use std::collections::VecDeque;
use std::time::Duration;

use chinthe::core::{Core, Election, Input, Time, VipState};

use crate::envelope::Envelope;
use crate::gossip::Gossip;
use crate::machine::boot;
use crate::world::Datagram;

/// Later than this, or than half an interval, counts as a stall.
pub(crate) const LATE: Duration = Duration::from_millis(15);
/// A guard that has just been started owes its first word for this long.
const GUARD_START: Duration = Duration::from_millis(900);
/// A guard that is lost so soon after it was started is replaced only then.
const GUARD_AGAIN: Duration = Duration::from_secs(1);
/// For so long a holder without a guard goes on.
const SUCCESSION: Duration = Duration::from_secs(1);
/// A guard that said so long ago that it holds a VIP is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(450);
/// How long a stopping node waits for its successors' acknowledgements.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// One daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Later lives have higher numbers.
    pub(crate) life: u64,
    pub(crate) core: Core,
    /// SIGSTOP: what comes waits.
    pub(crate) stopped: bool,
    pub(crate) envelope: Envelope,
    /// Counts its datagrams.
    pub(crate) counter: u64,
    pub(crate) guard: Option<u64>,
    pub(crate) guard_lost: bool,
    /// When the guard is given up unless it says something, by the machine's clock.
    guard_due_at: Option<Time>,
    /// When the one that there is was started, if it isn't the first.
    guard_begun_at: Option<Time>,
    /// When there may be another one.
    guard_again_at: Time,
    /// By VIP: what the guard was last asked for and has answered.
    holds: Vec<Option<Shared>>,
    /// With each hold, up to when it is leased.
    pub(crate) reports: VecDeque<(Input, Option<Time>)>,
    pub(crate) datagrams: VecDeque<Datagram>,
    pub(crate) mail: VecDeque<Input>,
    pub(crate) gossip: Gossip,
    /// What it went to sleep for, by its own clock.
    pub(crate) deadline: Time,
    pub(crate) leaving_since: Option<Time>,
    /// What it last advertised of each VIP, and since when (the simulation's clock).
    pub(crate) claims: Vec<(VipState, Time)>,
    /// When it went from stopped to running, or was started.
    pub(crate) running_since: Time,
}

/// A hold that goes on without the guard's being asked.
#[derive(Debug, Clone, Copy)]
struct Shared {
    term: u32,
    asked_at: Time,
    /// Whether it has answered that.
    answered: bool,
    /// By what it said last.
    leased_until: Option<Time>,
}

/// A socket's buffer holds no more.
pub(crate) const QUEUE: usize = 2000;

impl Daemon {
    pub(crate) fn new(life: u64, core: Core, machines: usize, now: Time, local: Time) -> Self {
        let vips = core.elections().len();
        Self {
            life,
            core,
            stopped: false,
            envelope: Envelope::default(),
            counter: 0,
            guard: None,
            guard_lost: false,
            guard_due_at: None,
            guard_begun_at: None,
            guard_again_at: local,
            holds: vec![None; vips],
            reports: VecDeque::new(),
            datagrams: VecDeque::new(),
            mail: VecDeque::new(),
            gossip: Gossip::new(machines, now),
            deadline: local,
            leaving_since: None,
            claims: vec![(VipState::Initialize, now); vips],
            running_since: now,
        }
    }

    pub(crate) fn is_late(&self, local: Time) -> bool {
        local.since(self.deadline) > LATE.max(self.core.interval() / 2)
    }

    /// The guard was asked for something that it answers.
    pub(crate) fn asked_guard(&mut self, local: Time) {
        let patience = self.core.guard_patience();
        self.guard_due_at.get_or_insert(local + patience);
    }

    /// It said something.
    pub(crate) fn heard_guard(&mut self, report: &Input, leased_until: Option<Time>) {
        self.guard_due_at = None;
        match report {
            Input::Held { vip, .. } => {
                if let Some(shared) = &mut self.holds[*vip] {
                    (shared.answered, shared.leased_until) = (true, leased_until);
                }
            }
            Input::Released { vip } | Input::LetGo { vip, .. } => self.holds[*vip] = None,
            _of_no_hold => {}
        }
    }

    /// A VIP is to be held: whether that can go on without a word to the guard, which is asked otherwise.
    pub(crate) fn may_go_on(&mut self, vip: usize, until: Time, term: u32, local: Time) -> bool {
        let lasts = |shared: &Shared| {
            let leased = shared.leased_until.is_some_and(|leased| until <= leased);
            leased && shared.answered && shared.term == term && local.since(shared.asked_at) < ASK_AGAIN
        };
        let goes_on = self.holds[vip].as_ref().is_some_and(lasts);
        if !goes_on {
            self.ask_to_hold(vip, term, local);
        }
        goes_on
    }

    pub(crate) fn ask_to_hold(&mut self, vip: usize, term: u32, local: Time) {
        let leased_until = self.holds[vip].and_then(|shared| shared.leased_until);
        self.holds[vip] = Some(Shared { term, asked_at: local, answered: false, leased_until });
    }

    /// A VIP is to be let go of.
    pub(crate) fn forget_hold(&mut self, vip: usize) {
        self.holds[vip] = None;
    }

    /// The daemon itself was late: the guard may have been, too.
    pub(crate) fn watch_guard_afresh(&mut self, local: Time) {
        let patience = self.core.guard_patience();
        self.guard_due_at = self.guard_due_at.map(|at| at.max(local + patience));
    }

    /// Whether there is no guard any more, or one that hangs.
    pub(crate) fn misses_guard(&self, local: Time) -> bool {
        self.guard.is_some() && (self.guard_lost || self.guard_due_at.is_some_and(|at| local >= at))
    }

    /// Gives its guard up. What that held is held on for a while, but not twice in a row.
    pub(crate) fn lose_guard(&mut self, local: Time) -> Vec<Input> {
        (self.guard, self.guard_lost, self.guard_due_at) = (None, false, None);
        let at_once = self.guard_begun_at.is_none_or(|at| local.since(at) >= GUARD_AGAIN);
        self.guard_again_at = if at_once { local } else { local + GUARD_AGAIN };
        let elections = self.core.elections().iter().enumerate();
        let held = elections.filter(|(_, election)| at_once && election.hold_until().is_some());
        let leased: Vec<Option<Time>> =
            self.holds.iter_mut().map(|hold| hold.take().and_then(|hold| hold.leased_until)).collect();
        let until =
            |vip: usize| leased[vip].map_or(local + SUCCESSION, |leased| leased.min(local + SUCCESSION));
        held.map(|(vip, _)| Input::Held { vip, until: until(vip) }).collect()
    }

    /// What a successor to its guard inherits, if one is to be started now.
    pub(crate) fn bequeathes(&self, local: Time) -> Option<Vec<Option<(Time, u32)>>> {
        let hold = |election: &Election| {
            let until = election.hold_until().filter(|until| local < *until)?;
            Some((until, election.term()))
        };
        let due = self.guard.is_none() && local >= self.guard_again_at;
        due.then(|| self.core.elections().iter().map(hold).collect())
    }

    /// Its guard, from now on; the first one has begun before the daemon does.
    pub(crate) fn has_guard(&mut self, guard: u64, first: bool, local: Time) {
        (self.guard, self.guard_lost) = (Some(guard), false);
        self.guard_due_at = (!first).then_some(local + GUARD_START);
        self.guard_begun_at = (!first).then_some(local);
        self.core.set_guard(boot(guard));
    }

    /// When it wakes if nothing happens, with a core that wants to be told of the time at `deadline`.
    pub(crate) fn wakes_at(&self, mut deadline: Time) -> Time {
        if self.guard.is_none() {
            deadline = deadline.min(self.guard_again_at);
        } else if let Some(due) = self.guard_due_at {
            deadline = deadline.min(due);
        }
        self.leaving_since.map_or(deadline, |since| deadline.min(since + FAREWELL))
    }

    /// It has handed over, or has waited long enough for that.
    pub(crate) fn is_done(&self, local: Time) -> bool {
        self.leaving_since.is_some_and(|since| self.core.is_stopped() || local.since(since) > FAREWELL)
    }
}
