//! The judge, judged: shown what must never be, it objects.

use std::time::Duration;

use chinthe::core::{
    AdminState, Cause, Input, Output, Placement, Setting, Stamp, Target, Transition, Verdict, VipState, Word,
};

use crate::machine::{Common, Node, member, node_name, vip_name};
use crate::settled::{converged, evenly_spread};
use crate::trace::Trace;
use crate::world::World;

const MOMENT: Duration = Duration::from_millis(50);

/// Three nodes of falling priority, the first of which has held the VIP for some seconds.
fn settled(majority: bool) -> World {
    settled_with(&Common { majority, ..Common::plain(Duration::from_millis(100)) })
}

fn settled_with(common: &Common) -> World {
    let service = (common.backends > 0).then_some(0);
    let node = |base| Node { base, preempt: true, service, checks: vec![] };
    let nodes = [node(102), node(101), node(100)];
    let mut world = World::new(1, &nodes, common, &[0; 3], Trace::silent());
    (0..3).for_each(|index| world.start(index));
    world.run_to(world.now + Duration::from_millis(8200));
    assert_eq!(converged(&world), Ok(vec![Some(0)]));
    assert_eq!(world.judge.violations, []);
    world
}

/// A kernel has the address, whoever may have given it to it.
fn give(world: &mut World, machine: usize) {
    let local = world.local(machine);
    let mut random = world.random.clone();
    world.machines[machine].kernel.add(0, local, &mut random);
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
    world.machines[0].kernel.remove(0, world.now);
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
    world.machines[0].kernel.remove(0, world.now);
    assert!(converged(&world).is_err_and(|what| what.contains("nobody holds it")));
    give(&mut world, 1);
    assert!(converged(&world).is_err_and(|what| what.contains("n2 holds it, not n1")));
    give(&mut world, 0);
    assert!(converged(&world).is_err_and(|what| what.contains("hold it")));
}

/// A word that nobody passes on.
fn tell(world: &mut World, to: &[usize], target: &Target, setting: Setting) {
    let stamp = Stamp { milliseconds: world.wall_clock(0), writer: member(0) };
    let said = Word { setting, stamp, expires: None, ends: None };
    for index in to {
        world.handle(*index, Input::Said { target: target.clone(), word: said });
    }
}

fn node(index: usize) -> Target {
    Target::Node { node: node_name(index) }
}

const DRAIN: Setting = Setting::State(AdminState::Drain);

/// As if the machine's core had taken the VIP.
fn takes(world: &mut World, index: usize) {
    let transition = Transition {
        vip: 0,
        from: VipState::Backup,
        to: VipState::Active,
        cause: Cause::Vacant,
        at: world.local(index),
        priority: 100,
        term: 1,
        phases: None,
    };
    world.carry_out(index, Output::Transition(transition));
}

fn ends_badly(world: &World, with: &str) {
    assert!(converged(world).is_err_and(|what| what.contains(with)), "{:?}", converged(world));
}

#[test]
fn to_nodes_that_know_different_words() {
    let mut world = settled(false);
    tell(&mut world, &[1], &node(2), DRAIN);
    ends_badly(&world, "n1 and n2 know different words");
    tell(&mut world, &[0, 2], &node(2), DRAIN);
    assert_eq!(converged(&world), Ok(vec![Some(0)]));
}

#[test]
fn to_a_drained_node_that_takes_or_has_the_vip() {
    let mut world = settled(false);
    tell(&mut world, &[0, 1, 2], &node(0), DRAIN);
    world.run_to(world.now + Duration::from_secs(1));
    assert_eq!(converged(&world), Ok(vec![Some(1)]));
    world.machines[1].kernel.remove(0, world.now);
    give(&mut world, 0);
    ends_badly(&world, "n1 holds it and must not");
    takes(&mut world, 0);
    objects(&world, "n1 takes a VIP though it is drained");
}

#[test]
fn to_a_vip_that_is_not_where_operators_want_it() {
    let mut world = settled(false);
    let vip = Target::Vip { vip: vip_name(0) };
    tell(&mut world, &[0, 1, 2], &vip, Setting::Holder(Some(member(2))));
    world.run_to(world.now + Duration::from_secs(1));
    assert_eq!(converged(&world), Ok(vec![Some(2)]));
    world.machines[2].kernel.remove(0, world.now);
    give(&mut world, 0);
    ends_badly(&world, "n1 holds it, and operators want it on n3");
}

#[test]
fn to_a_view_that_has_not_come_and_to_a_holder_that_reaches_less() {
    let interval = Duration::from_millis(100);
    let (gossip, probe_interval) = (Some(interval), Some(interval));
    let common = Common { gossip, probe_interval, backends: 2, ..Common::plain(interval) };
    let mut world = settled_with(&common);
    world.machines[0].reaches[0] = false;
    ends_badly(&world, "n1 holds it, not n2");
    world.run_to(world.now + Duration::from_secs(5));
    assert_eq!(converged(&world), Ok(vec![Some(1)]), "it has yielded");
    let verdicts = vec![Verdict::Up, Verdict::Up];
    world.handle(2, Input::Viewed { member: member(0), service: 0, verdicts });
    ends_badly(&world, "n3 doesn't know what n1 sees of backend 0");
}

#[test]
fn to_a_witness_that_takes_the_vip() {
    let common = Common { majority: true, witness: Some(2), ..Common::plain(Duration::from_millis(100)) };
    let mut world = settled_with(&common);
    takes(&mut world, 2);
    objects(&world, "n3 takes a VIP though it is a witness");
}

#[test]
fn to_shares_that_differ_by_two() {
    let placement = Placement::Spread;
    let common = Common { placement, vips: 2, ..Common::plain(Duration::from_millis(100)) };
    let nodes = [(); 3].map(|()| Node { base: 100, preempt: true, service: None, checks: vec![] });
    let mut world = World::new(1, &nodes, &common, &[0; 3], Trace::silent());
    (0..3).for_each(|index| world.start(index));
    world.run_to(world.now + Duration::from_secs(8));
    let holders = converged(&world).expect("they are spread");
    assert_ne!(holders[0], holders[1]);
    let unfair = evenly_spread(&world, &[Some(1), Some(1)]);
    assert!(unfair.is_err_and(|what| what.contains("n2 holds more than its share")));
}

#[test]
fn to_nothing_that_the_design_s_table_allows() {
    let mut world = settled(false);
    world.kill(0, true, true);
    world.run_to(world.now + Duration::from_secs(6));
    assert_eq!(world.judge.violations, [], "a leftover is waited for");
    assert_eq!(converged(&world), Ok(vec![Some(1)]));
}
