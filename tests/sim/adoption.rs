//! A guard that hangs or dies is replaced, and the VIP stays where it is.

use std::time::Duration;

use crate::faults::Fault;
use crate::machine::{Common, Node};
use crate::settled::converged;
use crate::trace::Trace;
use crate::world::World;

const STEP: Duration = Duration::from_millis(5);

/// Two nodes, the first of which has held the VIP for some seconds.
fn pair(fenced: bool) -> World {
    let common = Common { fenced, ..Common::plain(Duration::from_millis(100)) };
    let node = |base| Node { base, preempt: true, service: None, checks: vec![] };
    let mut world = World::new(1, &[node(101), node(100)], &common, &[0; 2], Trace::silent());
    (0..2).for_each(|index| world.start(index));
    world.run_to(world.now + Duration::from_secs(6));
    assert_eq!(converged(&world), Ok(vec![Some(0)]));
    world
}

/// Lets time pass, and looks again and again whether the first node answers.
fn answers_all_the_time(world: &mut World, time: Duration) {
    let end = world.now + time;
    while world.now < end {
        world.run_to(world.now + STEP);
        assert!(world.machines[0].answers(0), "not at {:?}", world.now);
    }
}

fn guard(world: &World) -> Option<u64> {
    world.machines[0].daemon.as_ref().and_then(|daemon| daemon.guard)
}

#[test]
fn a_guard_that_hangs_is_replaced_and_the_vip_stays() {
    for fenced in [true, false] {
        let mut world = pair(fenced);
        let (begin, first) = (world.now, guard(&world));
        world.suffer(&Fault::Stop { machine: 0, daemon: false, guard: true });
        answers_all_the_time(&mut world, Duration::from_secs(5));
        assert_ne!(guard(&world), first, "there is another one");
        assert!(world.machines[0].is_whole());
        assert_eq!(world.judge.transitions_since(begin), 0);
        assert_eq!(world.judge.violations, []);
        assert_eq!(converged(&world), Ok(vec![Some(0)]));
    }
}

#[test]
fn a_guard_that_dies_is_replaced_and_the_vip_stays() {
    let mut world = pair(true);
    let begin = world.now;
    world.suffer(&Fault::Kill { machine: 0, daemon: false, guard: true });
    answers_all_the_time(&mut world, Duration::from_secs(5));
    assert_eq!(world.judge.transitions_since(begin), 0);
    assert_eq!(converged(&world), Ok(vec![Some(0)]));
}

#[test]
fn a_guard_that_dies_as_soon_as_it_begins_is_not_replaced_at_once() {
    let mut world = pair(true);
    world.suffer_for(&Fault::Kill { machine: 0, daemon: false, guard: true }, Duration::from_millis(100));
    world.suffer(&Fault::Kill { machine: 0, daemon: false, guard: true });
    world.run_to(world.now + Duration::from_millis(600));
    assert_eq!(guard(&world), None);
    world.run_to(world.now + Duration::from_secs(6));
    assert!(world.machines[0].is_whole());
    assert_eq!(world.judge.violations, []);
    assert_eq!(converged(&world), Ok(vec![Some(0)]));
}
