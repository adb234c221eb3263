//! One run: a cluster drawn from a seed, its faults, the heal, and what must be true then.

use std::fmt::Write;
use std::time::Duration;

use chinthe::core::Proof;

use crate::faults::{Fault, Faults};
use crate::judge::converged;
use crate::kernel::{LEASE, SLACK};
use crate::machine::{Common, Node};
use crate::random::Random;
use crate::trace::Trace;
use crate::world::World;

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) nodes: usize,
    pub(crate) hash: u64,
    /// What was violated, with the faults before it.
    pub(crate) failure: Option<String>,
    /// The story, when it was asked for.
    pub(crate) lines: Vec<String>,
}

/// Long enough for everybody to be ready and for the first election.
const WARM_UP: Duration = Duration::from_millis(2500);
/// Readiness (a second for a lone node), suspicion, and a start.
const SETTLING: Duration = Duration::from_millis(2500);
/// And so long where somebody has removed the address again and again.
const STANDING_BACK: Duration = Duration::from_secs(32);
/// Clients know the holder this long after it has been settled.
const CACHES: Duration = Duration::from_secs(2);
/// A promise to a holder lasts so long, at least and at most, and the longest hold.
const GRANT: Duration = Duration::from_millis(500);
const LONGEST_GRANT: Duration = Duration::from_millis(2700);
const LONGEST_HOLD: Duration = Duration::from_millis(1600);
/// Nothing moves for this long afterwards; most runs watch a part of it, for speed.
const SILENCE: Duration = Duration::from_secs(30);
const SOME_SILENCE: Duration = Duration::from_secs(2);

/// Chosen so that the seeds written down in `sweep` are of the plain kind.
const VARIANTS: u64 = 0x4d;

/// How much longer everything takes by the clock of promises and leases alone.
fn patience(common: &Common) -> Duration {
    let promises = (GRANT.max(common.interval * 5)).min(LONGEST_GRANT) * 6;
    // Two that are through at the same moment may both begin anew.
    let leases = (LEASE + SLACK + LONGEST_HOLD) * 2;
    let majority = if common.majority { promises } else { Duration::ZERO };
    majority + if common.proof == Proof::Time { leases } else { Duration::ZERO }
}

/// Runs a seed.
pub(crate) fn run(seed: u64, trace: Trace) -> Outcome {
    let mut random = Random::new(seed);
    let (mut common, nodes) = draw(&mut random);
    // By a die of their own: a seed's faults stay what they were when it was written down.
    let mut other = Random::new(seed ^ VARIANTS);
    common.majority = other.below(3) == 0;
    common.fenced = other.below(4) > 0;
    common.proof = if other.below(8) == 0 { Proof::Time } else { Proof::Answers };
    let faults = Faults::draw(&mut random, &nodes, &common);
    let mut world = World::new(random.next(), &nodes, &common, &faults.rates, trace);
    let start = world.now;
    let finish = |world: &mut World, failure: Option<String>| {
        let failure = failure.or_else(|| {
            let (at, what) = world.judge.violations.first()?;
            Some(format!("at {at:?}: {what}"))
        });
        let failure = failure.map(|what| story(&what, seed, &common, &nodes, &faults));
        Outcome { nodes: nodes.len(), hash: world.trace.hash(), failure, lines: world.trace.lines().to_vec() }
    };
    world.trace.note(start, || format!("-- {common:?} {nodes:?} {:?} {:?}", faults.weather, faults.lateness));

    let mut order: Vec<(Duration, usize)> =
        (0..nodes.len()).map(|index| (random.up_to(Duration::from_millis(600)), index)).collect();
    order.sort_unstable();
    for (at, index) in order {
        world.run_to(start + at);
        world.start(index);
    }
    let begin = start + WARM_UP + common.interval * 6 + patience(&common);
    world.run_to(begin);
    if let Err(what) = converged(&world) {
        return finish(&mut world, Some(format!("before any fault: {what}")));
    }
    world.network.weather = faults.weather;
    world.lateness = faults.lateness;
    for (at, fault) in &faults.events {
        world.run_to(begin + *at);
        world.suffer(fault);
    }
    world.run_to(begin + faults.heal_at);

    world.mend(&faults.stay_off);
    if faults.stay_off.iter().filter(|off| !**off).count() == 1 {
        // A lone node without any backend can't know whether it is cut off: no rule says what is right.
        world.backends.fill(true);
        world.machines.iter_mut().for_each(|m| m.reaches.fill(true));
    }
    let probes = common.probe_interval.unwrap_or_default() * (common.rise.max(common.fall) + 1);
    let bound = LEASE + SLACK + SETTLING + common.interval * 10 + probes + patience(&common);
    let barred = (0..world.machines.len()).any(|machine| world.is_barred(machine));
    world.run_to(world.now + bound);
    if barred {
        // Who stands back comes back, and may be the best.
        world.run_to(world.now + STANDING_BACK + bound);
    }
    let holder = match converged(&world) {
        Ok(holder) => holder,
        Err(what) => return finish(&mut world, Some(format!("{bound:?} after the heal: {what}"))),
    };
    let settled = world.now;
    world.run_to(settled + CACHES);
    if let Some(holder) = holder {
        for (client, cache) in world.clients.iter().enumerate() {
            // Who has missed all announcements, asks when its entry has aged: beyond this run.
            let told = cache.was_told_by(holder);
            if cache.believes().is_some_and(|known| known != holder) && told {
                let what = format!("client {client} still sends to {:?}, not to {holder}", cache.believes());
                return finish(&mut world, Some(what));
            }
        }
    }
    let silence = if seed.is_multiple_of(16) { SILENCE } else { SOME_SILENCE };
    world.run_to(settled + silence.max(CACHES));
    let moves = world.judge.transitions_since(settled);
    let failure = (moves > 0).then(|| format!("{moves} transitions after it had settled"));
    let failure = failure.or_else(|| converged(&world).err());
    finish(&mut world, failure)
}

/// A cluster of any size and kind; small ones more often, since they are cheap.
pub(crate) fn draw(random: &mut Random) -> (Common, Vec<Node>) {
    let size = random.pick(&[2, 2, 3, 3, 3, 3, 3, 5, 5, 9]);
    let interval = match size {
        2 | 3 => random.pick(&[100, 100, 100, 20, 1000]),
        5 => random.pick(&[100, 300, 1000]),
        _ => random.pick(&[300, 1000]),
    };
    let common = Common {
        interval: Duration::from_millis(interval),
        backends: random.pick(&[0, 1, 2, 2]),
        rise: random.pick(&[1, 2]),
        fall: random.pick(&[1, 3]),
        proof: Proof::Answers,
        fenced: false,
        majority: false,
        probe_interval: Some(Duration::from_millis(random.pick(&[200, 500, 1000]))),
    };
    let (ties, preempt) = (random.below(3) == 0, random.below(4) > 0);
    let owner = random.below(8) == 0;
    let service = random.pick(&[None, Some(0), Some(-30), Some(20)]).filter(|_| common.backends > 0);
    let check = random.pick(&[None, Some(0), Some(-15), Some(7)]);
    let nodes = (0..size).map(|index| Node {
        base: match index {
            0 if owner => 255,
            _ if ties => 100,
            _ => 90 + random.below(20) as u8,
        },
        preempt: preempt || random.coin(),
        service,
        checks: check.iter().map(|weight| (*weight, false)).collect(),
    });
    let nodes = nodes.collect();
    (common, nodes)
}

fn story(what: &str, seed: u64, common: &Common, nodes: &[Node], faults: &Faults) -> String {
    let mut story = format!(
        "{what}\n  {} nodes, {common:?}\n  {:?}, late {:?}",
        nodes.len(),
        faults.weather,
        faults.lateness
    );
    for (at, fault) in &faults.events {
        let _ = write!(story, "\n  {at:?} {fault:?}");
    }
    let _ = write!(story, "\n  heals at {:?}, off: {:?}", faults.heal_at, faults.stay_off);
    let _ = write!(story, "\n  replay: SIM_SEED={seed:#x} cargo test --test sim replay -- --nocapture");
    story
}

/// Losses alone: how many of `runs` clusters moved.
pub(crate) fn moved_by_loss(loss: u32, runs: u64) -> u64 {
    (0..runs).map(|seed| u64::from(moves_by_loss(seed, loss))).sum()
}

fn moves_by_loss(seed: u64, loss: u32) -> bool {
    let mut random = Random::new(seed ^ 0x1055);
    let common = Common {
        interval: Duration::from_millis(100),
        backends: 0,
        rise: 1,
        fall: 1,
        proof: Proof::Answers,
        fenced: false,
        majority: false,
        probe_interval: Some(Duration::from_secs(1)),
    };
    let node = |base| Node { base, preempt: true, service: None, checks: vec![] };
    let nodes: Vec<Node> = (0..random.pick(&[2, 3])).map(|index| node(100 + index)).collect();
    let mut world = World::new(random.next(), &nodes, &common, &vec![0; nodes.len()], Trace::silent());
    (0..nodes.len()).for_each(|index| world.start(index));
    world.run_to(world.now + WARM_UP);
    world.network.weather.loss = loss;
    let begin = world.now;
    world.run_to(begin + Duration::from_secs(10));
    world.judge.transitions_since(begin) > 0
}

impl World {
    /// Somebody has removed the address there again and again: for a while it stands back.
    pub(crate) fn is_barred(&self, machine: usize) -> bool {
        let daemon = self.machines[machine].daemon.as_ref();
        daemon.is_some_and(|daemon| daemon.core.elections()[0].is_barred(self.local(machine)))
    }

    /// Used by scripts: a fault, and some time.
    pub(crate) fn suffer_for(&mut self, fault: &Fault, time: Duration) {
        self.suffer(fault);
        self.run_to(self.now + time);
    }
}
