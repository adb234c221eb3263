//! Where a majority has to agree: how soon a VIP that is let go has another holder, and by how many moves it comes home.

use std::time::Duration;

use crate::faults::Fault;
use crate::machine::{Common, Node};
use crate::settled::converged;
use crate::trace::Trace;
use crate::world::World;

const STEP: Duration = Duration::from_millis(1);
/// Release, resignation, grants, and the address: a few ways through the network.
const MOMENT: Duration = Duration::from_millis(5);

/// What was seen of a VIP's way to another node.
#[derive(Debug)]
struct Way {
    /// For how long nobody answered, at the longest.
    dark: Duration,
    /// How often a node became the holder or let go.
    transitions: usize,
}

/// Nodes of falling priority, the first of which has held the VIP for some seconds.
pub(crate) fn cluster(nodes: usize, seed: u64, majority: bool) -> World {
    let common = Common { majority, fenced: true, ..Common::plain(Duration::from_millis(100)) };
    let node = |index| Node { base: 110 - index as u8, preempt: true, service: None, checks: vec![] };
    let nodes: Vec<Node> = (0..nodes).map(node).collect();
    let mut world = World::new(seed, &nodes, &common, &vec![0; nodes.len()], Trace::silent());
    // Their beats don't go together.
    for index in 0..nodes.len() {
        let wait = world.random.up_to(Duration::from_millis(200));
        world.run_to(world.now + wait);
        world.start(index);
    }
    world.run_to(world.now + Duration::from_secs(7));
    assert_eq!(converged(&world), Ok(vec![Some(0)]));
    world
}

/// Has something happen, and looks for a while at what it does to the VIP.
fn moved(world: &mut World, happen: impl FnOnce(&mut World)) -> Way {
    let (begin, mut lit, mut dark) = (world.now, world.now, Duration::ZERO);
    happen(world);
    while world.now < begin + Duration::from_secs(3) {
        world.run_to(world.now + STEP);
        if world.machines.iter().any(|machine| machine.answers(0)) {
            lit = world.now;
        }
        dark = dark.max(world.now.since(lit));
    }
    Way { dark, transitions: world.judge.transitions_since(begin) }
}

/// Between the first node and the others; clients reach all of them.
pub(crate) fn cut(world: &mut World, cut: bool) {
    for other in 1..world.machines.len() {
        world.network.set(0, other, cut, world.now);
        world.network.set(other, 0, cut, world.now);
    }
}

#[test]
fn the_way_home_after_a_cut_is_one_hand_over_to_who_has_a_majority() {
    each(MOMENT, |world| {
        cut(world, true);
        let wait = Duration::from_secs(4) + world.random.up_to(Duration::from_millis(200));
        world.run_to(world.now + wait);
        assert!(world.machines[1].answers(0), "the majority's side holds it");
        let way = moved(world, |world| cut(world, false));
        // The other one lets go, this one takes it.
        assert_eq!(way.transitions, 2, "{way:?}");
        way
    });
}

#[test]
fn the_way_home_after_a_pulled_cable_is_one_hand_over_to_who_has_a_majority() {
    each(MOMENT, |world| {
        world.suffer(&Fault::Link { machine: 0, up: false });
        let wait = Duration::from_secs(2) + world.random.up_to(Duration::from_millis(200));
        world.run_to(world.now + wait);
        assert!(world.machines[1].answers(0));
        let way = moved(world, |world| world.suffer(&Fault::Link { machine: 0, up: true }));
        // It can be a candidate again, besides.
        assert_eq!(way.transitions, 3, "{way:?}");
        way
    });
}

/// Does it to clusters of three and of five, whose beats meet in other ways each time.
fn each(longest: Duration, suffer: impl Fn(&mut World) -> Way) {
    for (nodes, seed) in [3, 5].into_iter().flat_map(|nodes| (0..40).map(move |seed| (nodes, seed))) {
        let mut world = cluster(nodes, seed, true);
        let way = suffer(&mut world);
        assert!(way.dark <= longest, "{nodes} nodes, seed {seed}: {way:?}");
        assert_eq!(converged(&world), Ok(vec![Some(0)]), "{nodes} nodes, seed {seed}");
        assert_eq!(world.judge.violations, []);
    }
}

#[test]
fn a_member_that_hears_of_a_resignation_after_the_question_is_asked_again_at_once() {
    each(MOMENT * 2, |world| {
        world.network.weather.jitter = Duration::from_millis(2);
        let way = moved(world, |world| world.suffer(&Fault::Kill { machine: 0, daemon: true, guard: false }));
        world.suffer(&Fault::Start(0));
        world.run_to(world.now + Duration::from_secs(4));
        way
    });
}
