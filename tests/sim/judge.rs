//! What must never be: looked at after everything that happens, on what the kernels have.
//!
//! Each exemption stands with the row of the design's table that grants it.

use std::collections::BTreeSet;
use std::time::Duration;

use chinthe::core::{AdminState, Cause, Time, Transition, VipState};

use crate::kernel::{LEASE, SLACK};
use crate::machine::node_name;
use crate::world::World;

/// For so long a core goes on when its guard is gone, or known to hang.
const GUARD_ABSENT: Duration = Duration::from_secs(1);
/// A core may claim what its kernel no longer has for as long as its guard's word is on its way.
const STALE_CLAIM: Duration = Duration::from_millis(10);
/// No input makes a core ask for more than this, and so much more per machine.
const OUTPUTS: usize = 16;
const OUTPUTS_PER_MACHINE: usize = 8;
/// After a heal with losses: as many advertisements, each by two ways, can't all have been lost.
const LOSSY_INTERVALS: u32 = 12;
/// A few round trips, and the kernel's work.
const ROUND_TRIPS: Duration = Duration::from_millis(20);

/// The judge of one run.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    pub(crate) violations: Vec<(Time, String)>,
    /// By VIP and pair of machines.
    pairs: Vec<Pair>,
    /// The longest time two answered on one network, with an exemption or not.
    pub(crate) double: Duration,
    whole_since: Vec<Option<Time>>,
    /// So many answered for each VIP when it looked last.
    answering: Vec<usize>,
    transitions: Vec<Time>,
    /// Why anything has moved.
    pub(crate) causes: BTreeSet<&'static str>,
}

/// Since when both of two machines answer.
#[derive(Debug, Clone, Copy, Default)]
struct Pair {
    /// And reach each other.
    double: Option<Time>,
    /// And don't, but a third one reaches both.
    relayed: Option<Time>,
    /// And don't.
    apart: Option<Time>,
}

impl Judge {
    pub(crate) fn new(machines: usize, vips: usize) -> Self {
        Self {
            pairs: vec![Pair::default(); vips * machines * machines],
            answering: vec![0; vips],
            whole_since: vec![None; machines],
            ..Self::default()
        }
    }

    pub(crate) fn transition(&mut self, now: Time, cause: Cause) {
        self.transitions.push(now);
        self.causes.insert(cause.as_str());
    }

    /// Whoever knows that operators want nothing on it takes nothing, and a witness holds nothing.
    pub(crate) fn taking(&mut self, world: &World, index: usize, transition: &Transition) {
        if transition.to != VipState::Active {
            return;
        }
        let local = world.local(index);
        let daemon = world.machines[index].daemon.as_ref();
        let drained = daemon.is_some_and(|daemon| {
            daemon.core.administration().node(&node_name(index), local) != AdminState::Ready
        });
        if drained {
            self.violate(world.now, format!("n{} takes a VIP though it is drained", index + 1));
        }
        if world.common.witness == Some(index) {
            self.violate(world.now, format!("n{} takes a VIP though it is a witness", index + 1));
        }
    }

    pub(crate) fn transitions_since(&self, since: Time) -> usize {
        self.transitions.iter().filter(|at| **at >= since).count()
    }

    pub(crate) fn busy(&mut self, now: Time, machine: usize) {
        self.violate(now, format!("n{} asks for a deadline that is past, again and again", machine + 1));
    }

    pub(crate) fn outputs(&mut self, now: Time, machine: usize, outputs: usize) {
        if outputs > OUTPUTS + OUTPUTS_PER_MACHINE * self.whole_since.len() {
            self.violate(now, format!("n{} asked for {outputs} things at once", machine + 1));
        }
    }

    /// What goes on is said once a second.
    pub(crate) fn violate(&mut self, now: Time, what: String) {
        let last = self.violations.last().map(|(at, _)| *at);
        if self.violations.len() < 20 && last.is_none_or(|at| now.since(at) > Duration::from_secs(1)) {
            self.violations.push((now, what));
        }
    }

    /// Looks at the world as it is now.
    pub(crate) fn look(&mut self, world: &World) {
        for (index, machine) in world.machines.iter().enumerate() {
            if machine.is_whole() {
                self.whole_since[index].get_or_insert(world.now);
            } else {
                self.whole_since[index] = None;
            }
            self.claims(world, index);
        }
        for vip in 0..world.common.vips {
            let answering = world.machines.iter().filter(|machine| machine.answers(vip)).count();
            if answering > 1 || self.answering[vip] > 1 {
                self.pairs(world, vip);
            }
            self.answering[vip] = answering;
        }
    }

    fn pairs(&mut self, world: &World, vip: usize) {
        let machines = world.machines.len();
        for a in 0..machines {
            for b in a + 1..machines {
                let both = world.machines[a].answers(vip) && world.machines[b].answers(vip);
                let joined = world.network.joined(a, b);
                let relayed = both && !joined && (0..machines).any(|c| relays(world, a, c, b));
                let pair = &mut self.pairs[(vip * machines + a) * machines + b];
                pair.double = (both && joined).then(|| pair.double.unwrap_or(world.now));
                pair.relayed = relayed.then(|| pair.relayed.unwrap_or(world.now));
                pair.apart = (both && !joined).then(|| pair.apart.unwrap_or(world.now));
                let Pair { double, relayed, apart } = *pair;
                if let Some(since) = double {
                    self.double = self.double.max(world.now.since(since));
                    self.double_holder(world, a, b, since);
                }
                if let Some(since) = relayed {
                    self.double_relayed(world, a, b, since);
                }
                if let (true, Some(since)) = (world.common.majority, apart) {
                    self.double_apart(world, a, b, since);
                }
            }
        }
    }

    /// Two nodes answer on one network: for no time at all, except where the design's table says so.
    fn double_holder(&mut self, world: &World, a: usize, b: usize, since: Time) {
        let (one, other) = (&world.machines[a], &world.machines[b]);
        let back = world.network.joined_since(a, b).max(one.back_since).max(other.back_since);
        let reunited = back.max(world.network.mended_at);
        // A leftover meets, after a heal, whoever the others' holder hands over to.
        let healed = (0..world.machines.len())
            .filter(|c| *c != a && *c != b)
            .map(|c| world.network.joined_since(a, c).max(world.network.joined_since(b, c)));
        let whole = |index: usize| self.whole_since[index].is_some_and(|since| since <= reunited);
        let leftover = !(whole(a) && whole(b));
        let reunited = if leftover { healed.fold(reunited, Time::max) } else { reunited };
        // A node that has just started knows of no leftover that a third one, which hands over to it, can't hear.
        let new = |index: usize| {
            self.whole_since[index].is_some_and(|since| world.now.since(since) < left_behind(world))
        };
        let apart =
            |c: usize| c != a && c != b && !(world.network.joined(a, c) && world.network.joined(b, c));
        let unheard = (new(a) || new(b)) && (0..world.machines.len()).any(apart);
        let reunited = if leftover && unheard { since } else { reunited };
        let allowed = if leftover {
            // "host paused and resumed", "daemon and guard killed, or hung": fence or lease run out after it.
            // A daemon whose guard hangs feeds the fence until it hears the other.
            hearing(world) + left_behind(world) + ROUND_TRIPS + world.lateness
        } else {
            // "heal: the lower releases": as soon as it hears the other.
            hearing(world) + ROUND_TRIPS + world.lateness
        };
        if world.now > reunited + allowed {
            let text =
                format!("n{} and n{} both answer since {since:?}, together since {reunited:?}", a + 1, b + 1);
            self.violate(world.now, text);
        }
    }

    /// Two nodes answer that don't reach each other, but that a third one reaches: by its word the lower releases.
    fn double_relayed(&mut self, world: &World, a: usize, b: usize, since: Time) {
        let whole = |index: usize| self.whole_since[index].is_some_and(|whole| whole <= since);
        let allowed = if whole(a) && whole(b) {
            hearing(world) * 2 + ROUND_TRIPS + world.lateness * 2
        } else {
            left_behind(world) + ROUND_TRIPS + world.lateness
        };
        if world.now > since + allowed {
            let text =
                format!("n{} and n{} both answer since {since:?}, and a third hears both", a + 1, b + 1);
            self.violate(world.now, text);
        }
    }

    /// With a majority's grants there are never two, whoever reaches whom; but the lease of a daemon and guard that
    /// are dead, hang or were paused may outlast the promises.
    fn double_apart(&mut self, world: &World, a: usize, b: usize, since: Time) {
        let leftover = left_behind(world) + ROUND_TRIPS + world.lateness;
        let whole = |index: usize| self.whole_since[index].is_some_and(|whole| whole + leftover <= since);
        if whole(a) && whole(b) || world.now > since + leftover {
            let text = format!("n{} and n{} both answer since {since:?}, each by a majority", a + 1, b + 1);
            self.violate(world.now, text);
        }
    }

    /// What a core says that it holds, its kernel has.
    fn claims(&mut self, world: &World, index: usize) {
        let machine = &world.machines[index];
        let Some(daemon) = machine.daemon.as_ref().filter(|_| machine.daemon_runs()) else { return };
        for (vip, (state, claimed_since)) in daemon.claims.iter().enumerate() {
            if *state != VipState::Active || machine.kernel.answers(vip) {
                continue;
            }
            let since = machine
                .kernel
                .without_since(vip)
                .max(*claimed_since)
                .max(daemon.running_since)
                .max(machine.back_since)
                // A guard that has just begun says at once what isn't there.
                .max(self.whole_since[index].unwrap_or(Time::ZERO));
            // A guard that hangs says nothing until it is replaced.
            let silent = if machine.is_whole() { Duration::ZERO } else { GUARD_ABSENT };
            // Grants that run out starve the fence first: a beacon that they wouldn't outlast doesn't leave.
            let starved = if world.common.majority { world.common.interval } else { Duration::ZERO };
            if world.now.since(since) > STALE_CLAIM + silent + starved + world.lateness {
                let text = format!(
                    "n{} claims an address for which its kernel does not answer since {since:?}",
                    index + 1
                );
                self.violate(world.now, text);
            }
        }
    }
}

/// How long a kernel answers after daemon and guard have died, hung or been paused.
fn left_behind(world: &World) -> Duration {
    if world.common.fenced { world.fence } else { LEASE + SLACK }
}

/// After this time one word has come, of those that are said each interval.
fn hearing(world: &World) -> Duration {
    let lossy = world.network.weather.loss > 0 || world.network.weather.reordered > 0;
    world.common.interval * if lossy { LOSSY_INTERVALS } else { 1 }
}

fn relays(world: &World, a: usize, third: usize, b: usize) -> bool {
    let machine = &world.machines[third];
    let both = world.network.joined(a, third) && world.network.joined(third, b);
    third != a && third != b && both && machine.daemon_runs() && machine.on_network()
}
