//! One run: a cluster drawn from a seed, its faults, the heal, and what must be true then.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use chinthe::core::{Placement, Proof};

use crate::faults::{Fault, Faults};
use crate::kernel::{LEASE, SLACK};
use crate::machine::{Common, Node};
use crate::operators::{self, SKEW};
use crate::random::Random;
use crate::settled::{converged, waits};
use crate::trace::Trace;
use crate::world::World;

/// What is drawn from a seed: a seed that failed once is run with what there was then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Draw {
    /// One VIP, and no gossip.
    Plain,
    /// Everything but what follows, each in a share of the runs.
    Everything,
    /// And nodes that speak less often among many: what many are is drawn, too.
    Crowds,
    /// And daemons that read other files while they run.
    Reloads,
    /// And clusters that find each other by one seed.
    OneSeed,
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) nodes: usize,
    pub(crate) hash: u64,
    /// Why anything has moved.
    pub(crate) causes: BTreeSet<&'static str>,
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
/// What a starting node waits for, and how long a difference in reach has to last.
const HEARSAY: Duration = Duration::from_secs(2);
const REACH: Duration = Duration::from_secs(3);
/// A hand-back that comes so soon after the silence isn't waited for.
const MOMENT: Duration = Duration::from_millis(200);
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
const MORE_VARIANTS: u64 = 0x7a51_0000;
const RELOADS: u64 = 0x4e10_ad00;
const CROWDS: u64 = 0xc0d0_0000;
const ONE_SEED: u64 = 0x5eed_0000;

/// How much longer everything takes by the clock of promises and leases alone.
fn patience(common: &Common) -> Duration {
    let promises = (GRANT.max(common.interval * 5)).min(LONGEST_GRANT) * 6;
    // Two that are through at the same moment may both begin anew.
    let leases = (LEASE + SLACK + LONGEST_HOLD) * 2;
    let majority = if common.majority { promises } else { Duration::ZERO };
    let leases = if common.proof == Proof::Time { leases } else { Duration::ZERO };
    let hearsay = if common.gossip.is_some() { HEARSAY } else { Duration::ZERO };
    // One VIP at a time is handed over, and what went last has to show.
    let shares = (common.interval * 4 + MOMENT) * (common.vips as u32 - 1);
    majority + leases + hearsay + shares + common.preempt_delay
}

/// Runs a seed.
pub(crate) fn run(seed: u64, draw_of: Draw, trace: Trace) -> Outcome {
    let mut random = Random::new(seed);
    let (mut common, nodes) = draw(&mut random);
    // By a die of their own: a seed's faults stay what they were when it was written down.
    let mut other = Random::new(seed ^ VARIANTS);
    common.majority = other.below(3) == 0;
    common.fenced = other.below(4) > 0;
    common.proof = if other.below(8) == 0 { Proof::Time } else { Proof::Answers };
    let mut faults = Faults::draw(&mut random, &nodes, &common);
    let mut skews = vec![0; nodes.len()];
    if draw_of >= Draw::Everything {
        let mut more = Random::new(seed ^ MORE_VARIANTS);
        draw_more(&mut more, nodes.len(), &mut common);
        if common.gossip.is_some() {
            faults.add_hearsay(&mut more, &nodes, &common);
            let skew = more.pick(&[Duration::ZERO, SKEW / 10, SKEW]);
            for ahead in &mut skews {
                *ahead = more.up_to(skew).as_millis() as i64;
            }
        }
    }
    if draw_of >= Draw::Crowds {
        common.crowd = Random::new(seed ^ CROWDS).pick(&[1, 2, 4, usize::MAX]);
    }
    if draw_of >= Draw::Reloads {
        faults.add_reloads(&mut Random::new(seed ^ RELOADS), &nodes);
    }
    if draw_of >= Draw::OneSeed {
        common.one_seed = Random::new(seed ^ ONE_SEED).below(3) == 0;
    }
    let mut world = World::new(random.next(), &nodes, &common, &faults.rates, trace);
    let start = world.now;
    world.machines.iter_mut().zip(skews).for_each(|(machine, skew)| machine.skew = skew);
    let finish = |world: &mut World, failure: Option<String>| {
        let failure = failure.or_else(|| {
            let (at, what) = world.judge.violations.first()?;
            Some(format!("at {at:?}: {what}"))
        });
        let failure = failure.map(|what| story(&what, seed, &common, &nodes, &faults));
        Outcome {
            nodes: nodes.len(),
            hash: world.trace.hash(),
            causes: world.judge.causes.clone(),
            failure,
            lines: world.trace.lines().to_vec(),
        }
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
    // The last word has been said, but some run out a little later.
    world.run_to(world.now + operators::outlast(&faults.events, faults.heal_at));
    if common.gossip.is_some() && common.backends > 0 {
        world.run_to(world.now + REACH);
    }
    world.run_to(world.now + bound);
    if barred {
        // Who stands back comes back, and may be the best.
        world.run_to(world.now + STANDING_BACK + bound);
    }
    let holders = match converged(&world) {
        Ok(holders) => holders,
        Err(what) => return finish(&mut world, Some(format!("{bound:?} after the heal: {what}"))),
    };
    let settled = world.now;
    world.run_to(settled + CACHES);
    for (vip, holder) in holders.iter().enumerate() {
        let Some(holder) = *holder else { continue };
        for (client, cache) in world.clients.iter().map(|caches| &caches[vip]).enumerate() {
            // Who has missed all announcements, asks when its entry has aged: beyond this run.
            let told = cache.was_told_by(holder);
            if cache.believes().is_some_and(|known| known != holder) && told {
                let what = format!("client {client} still sends to {:?}, not to {holder}", cache.believes());
                return finish(&mut world, Some(what));
            }
        }
    }
    if any_waits(&world, &holders) {
        // What waits will move in its time.
        return finish(&mut world, None);
    }
    let silence = if seed.is_multiple_of(16) { SILENCE } else { SOME_SILENCE };
    world.run_to(settled + silence.max(CACHES));
    let moves = world.judge.transitions_since(settled);
    let failure = (moves > 0).then(|| format!("{moves} transitions after it had settled"));
    let failure = failure.or_else(|| converged(&world).err());
    finish(&mut world, failure)
}

/// Whether some hand-back is damped: it will come, but not now.
fn any_waits(world: &World, holders: &[Option<usize>]) -> bool {
    let machines = 0..world.machines.len();
    holders.iter().enumerate().any(|(vip, holder)| {
        holder.is_some_and(|holder| machines.clone().any(|to| waits(world, vip, holder, to)))
    })
}

/// What came later: gossip and what it carries, several VIPs, and what slows a hand-back.
fn draw_more(random: &mut Random, nodes: usize, common: &mut Common) {
    if random.below(4) > 0 {
        common.gossip = Some(Duration::from_millis(random.pick(&[100, 200, 500])));
    }
    if random.below(5) == 0 {
        common.placement = Placement::Spread;
        common.vips = 1 + random.below(4);
    }
    common.damped = random.below(3) == 0;
    if random.below(5) == 0 {
        common.preempt_delay = Duration::from_millis(random.pick(&[100, 1000, 3000]));
    }
    if common.majority && nodes > 2 && random.below(3) == 0 {
        common.witness = Some(random.below(nodes));
    }
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
        backends: random.pick(&[0, 1, 2, 2]),
        rise: random.pick(&[1, 2]),
        fall: random.pick(&[1, 3]),
        probe_interval: Some(Duration::from_millis(random.pick(&[200, 500, 1000]))),
        ..Common::plain(Duration::from_millis(interval))
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
    let interval = Duration::from_millis(100);
    let common = Common { probe_interval: Some(Duration::from_secs(1)), ..Common::plain(interval) };
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
        daemon.is_some_and(|daemon| daemon.core.elections().iter().any(|e| e.is_barred(self.local(machine))))
    }

    /// Used by scripts: a fault, and some time.
    pub(crate) fn suffer_for(&mut self, fault: &Fault, time: Duration) {
        self.suffer(fault);
        self.run_to(self.now + time);
    }
}
