//! Without a quorum both sides of a cut hold the VIP: how soon, once it has healed, every client is with the one that
//! keeps it.

use std::time::Duration;

use chinthe::core::Time;

use crate::majority::{cluster, cut};
use crate::world::World;

const STEP: Duration = Duration::from_millis(1);
/// From the one's release to the other's announcement: two ways through the network.
const MOMENT: Duration = Duration::from_millis(4);

#[test]
fn a_client_of_the_one_that_yields_is_told_at_once_who_stays() {
    for (nodes, seed) in [2, 3, 5].into_iter().flat_map(|nodes| (0..40).map(move |seed| (nodes, seed))) {
        let dark = after_a_cut(nodes, seed, |world| cut(world, false));
        assert!(dark <= MOMENT, "{nodes} nodes, seed {seed}: {dark:?}");
    }
}

#[test]
fn so_it_is_when_the_one_that_yields_knows_only_from_a_third_who_stays() {
    for (nodes, seed) in [3, 5].into_iter().flat_map(|nodes| (0..40).map(move |seed| (nodes, seed))) {
        let dark = after_a_cut(nodes, seed, |world| {
            cut(world, false);
            world.network.set(0, 1, true, world.now);
        });
        assert!(dark <= MOMENT, "{nodes} nodes, seed {seed}: {dark:?}");
    }
}

/// Cuts the first node off until each side has a holder, and then has it `heal`. For how long a client sent to
/// somebody who didn't answer, at the longest.
fn after_a_cut(nodes: usize, seed: u64, heal: impl Fn(&mut World)) -> Duration {
    let mut world = cluster(nodes, seed, false);
    cut(&mut world, true);
    let wait = Duration::from_secs(4) + world.random.up_to(Duration::from_millis(200));
    world.run_to(world.now + wait);
    assert!(world.machines[..2].iter().all(|machine| machine.answers(0)), "each side holds it");
    heal(&mut world);
    let end = world.now + Duration::from_secs(3);
    let mut served: Vec<Time> = vec![world.now; world.clients.len()];
    let mut dark = Duration::ZERO;
    while world.now < end {
        world.run_to(world.now + STEP);
        for (client, served) in world.clients.iter().zip(&mut served) {
            if client[0].believes().is_none_or(|machine| world.machines[machine].answers(0)) {
                *served = world.now;
            }
            dark = dark.max(world.now.since(*served));
        }
    }
    let answers: Vec<bool> = world.machines.iter().map(|machine| machine.answers(0)).collect();
    assert!(answers[0] && !answers[1..].contains(&true), "{nodes} nodes, seed {seed}: {answers:?}");
    dark
}
