//! The judge, judged: shown what must never be, it objects.

use std::time::Duration;

use chinthe::core::Proof;

use crate::judge::converged;
use crate::machine::{Common, Node};
use crate::trace::Trace;
use crate::world::World;

const MOMENT: Duration = Duration::from_millis(50);

/// Three nodes of falling priority, the first of which has held the VIP for some seconds.
fn settled(majority: bool) -> World {
    let common = Common {
        interval: Duration::from_millis(100),
        backends: 0,
        rise: 1,
        fall: 1,
        proof: Proof::Answers,
        fenced: false,
        majority,
        probe_interval: None,
    };
    let node = |base| Node { base, preempt: true, service: None, checks: vec![] };
    let nodes = [node(102), node(101), node(100)];
    let mut world = World::new(1, &nodes, &common, &[0; 3], Trace::silent());
    (0..3).for_each(|index| world.start(index));
    world.run_to(world.now + Duration::from_millis(8200));
    assert_eq!(converged(&world), Ok(Some(0)));
    assert_eq!(world.judge.violations, []);
    world
}

/// A kernel has the address, whoever may have given it to it.
fn give(world: &mut World, machine: usize) {
    let local = world.local(machine);
    let mut random = world.random.clone();
    world.machines[machine].kernel.add(local, &mut random);
}

fn objects(world: &World, with: &str) {
    let found = world.judge.violations.iter().any(|(_, what)| what.contains(with));
    assert!(found, "no objection with {with:?} among {:?}", world.judge.violations);
}

#[test]
fn to_two_that_answer_on_one_network() {
    let mut world = settled(false);
    give(&mut world, 1);
    world.judge();
    objects(&world, "n1 and n2 both answer");
}

#[test]
fn to_two_that_a_third_hears() {
    let mut world = settled(false);
    for (from, to) in [(0, 1), (1, 0)] {
        world.network.set(from, to, true, world.now);
    }
    give(&mut world, 1);
    world.run_to(world.now + Duration::from_millis(400));
    objects(&world, "a third hears both");
}

#[test]
fn to_two_with_a_majority_each_wherever_they_are() {
    let mut world = settled(true);
    world.network.partition(&[0, 1, 2, 0, 0], world.now);
    give(&mut world, 1);
    world.judge();
    objects(&world, "each by a majority");

    let mut world = settled(false);
    world.network.partition(&[0, 1, 2, 0, 0], world.now);
    give(&mut world, 1);
    world.judge();
    assert_eq!(world.judge.violations, [], "without a quorum a cut network may have two");
}

#[test]
fn to_a_claim_that_the_kernel_does_not_bear_out() {
    let mut world = settled(false);
    // Behind its guard's back, which the kernel would tell otherwise.
    world.machines[0].kernel.remove(world.now);
    world.run_to(world.now + MOMENT);
    objects(&world, "n1 claims an address for which its kernel does not");
}

#[test]
fn to_a_core_without_rest_or_measure() {
    let mut world = settled(false);
    world.judge.outputs(world.now, 0, 1000);
    objects(&world, "asked for 1000 things");
    world.run_to(world.now + Duration::from_secs(2));
    world.judge.busy(world.now, 1);
    objects(&world, "n2 asks for a deadline that is past");
}

#[test]
fn to_an_end_with_none_or_two_or_the_wrong_holder() {
    let mut world = settled(false);
    world.machines[0].kernel.remove(world.now);
    assert!(converged(&world).is_err_and(|what| what.contains("nobody holds it")));
    give(&mut world, 1);
    assert!(converged(&world).is_err_and(|what| what.contains("n2 holds it, not n1")));
    give(&mut world, 0);
    assert!(converged(&world).is_err_and(|what| what.contains("hold it")));
}

#[test]
fn to_nothing_that_the_design_s_table_allows() {
    let mut world = settled(false);
    world.kill(0, true, true);
    world.run_to(world.now + Duration::from_secs(6));
    assert_eq!(world.judge.violations, [], "a leftover is waited for");
    assert_eq!(converged(&world), Ok(Some(1)));
}
