//! The guard as a process that can fail: it hangs, it is killed, and somebody meddles with its addresses.

use std::time::{Duration, Instant};

use chinthe::lab::{Sandbox, holds_within};
use rustix::process::{Signal, kill_process};

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, Scene, VIP, has_vip, sum, transitions};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("guard::a_guard_that_hangs_is_replaced_and_the_vip_stays", a_hanging_guard),
    Test::inside("guard::a_guard_that_is_killed_is_replaced_and_the_vip_stays", a_killed_guard),
    Test::inside("guard::a_guard_of_a_backup_that_hangs_is_replaced", a_hanging_guard_of_a_backup),
    Test::inside("guard::an_address_that_somebody_removes_is_back_at_once_and_counted", a_removed_address),
    Test::inside("guard::a_node_whose_address_is_removed_again_and_again_yields", a_stubborn_remover),
];

/// A client asks every 4 ms; an outage of the VIP is longer than a busy machine's usual hiccup.
const UNHARMED: Duration = Duration::from_millis(250);

/// Ends the guard of `name` by `signal`, and waits until another one has its place.
fn lose_guard(scene: &Scene, name: &str, signal: Signal) -> Outcome {
    let node = scene.node(name)?;
    let (daemon, guard, before) = (node.daemon()?, node.guard()?, transitions(node)?);
    let began = Instant::now();
    kill_process(guard, signal)?;
    scene.lab.wait_for("another guard", PATIENCE, || {
        node.guard().is_ok_and(|other| other != guard) && node.log_text().contains("guard.started")
    })?;
    // A while longer than every hold and every lease of the lost guard's.
    holds_within(Duration::from_millis(2500), || false);
    assert_eq!(node.daemon()?, daemon, "the daemon goes on");
    assert_eq!(scene.witness.holder().as_deref(), Some("ha1"));
    assert!(has_vip(scene.lab.machine("ha1")?) && !has_vip(scene.lab.machine("ha2")?));
    let after = transitions(node)?;
    assert!((after - before).abs() < f64::EPSILON, "{} transitions", after - before);
    let gap = scene.prober.gap(began);
    eprintln!("the client was without an answer for {gap:?}");
    assert!(gap < UNHARMED, "{gap:?}");
    scene.assert_one_answerer();
    Ok(())
}

fn a_hanging_guard(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    lose_guard(&scene, "ha1", Signal::STOP)?;
    // And it guards: the VIP goes with its daemon.
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    assert!(!has_vip(scene.lab.machine("ha1")?));
    Ok(())
}

fn a_killed_guard(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    lose_guard(&scene, "ha1", Signal::KILL)?;
    lose_guard(&scene, "ha1", Signal::KILL)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_both())?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_hanging_guard_of_a_backup(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha2 = scene.node("ha2")?;
    let guard = ha2.guard()?;
    kill_process(guard, Signal::STOP)?;
    // Nobody asks it for anything until it is needed; then it costs what it takes to notice.
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.terminate())?;
    assert!(ha2.guard()? != guard);
    scene.assert_one_answerer();
    Ok(())
}

fn a_removed_address(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    let began = Instant::now();
    ha1.machine().remove_address(VIP)?;
    scene.lab.wait_for("it to be counted", PATIENCE, || {
        sum(ha1, "chinthe_vip_addresses_restored_total", &["vip=\"vi_1\""]).is_ok_and(|n| n >= 1.0)
    })?;
    assert!(has_vip(ha1.machine()));
    let since = Instant::now();
    scene.lab.wait_for("the client to be served", PATIENCE, || scene.prober.answered_since(since))?;
    let gap = scene.prober.gap(began);
    assert!(gap < UNHARMED, "{gap:?}");
    assert_eq!(scene.witness.holder().as_deref(), Some("ha1"));
    scene.assert_one_answerer();
    Ok(())
}

fn a_stubborn_remover(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    scene.moves_to("ha2", FAILOVER, |_| {
        for _ in 0..3 {
            scene.lab.wait_for("the address", PATIENCE, || has_vip(ha1.machine()))?;
            ha1.machine().remove_address(VIP)?;
        }
        Ok(())
    })?;
    let yielded = sum(ha1, "chinthe_vip_transitions_total", &["cause=\"address_removed\""])?;
    assert!(yielded >= 1.0);
    let status = ha1.status()?;
    assert_eq!(status["vips"][0]["state"], "initialize", "{status}");
    // Better as it is, it doesn't take it back to lose it again.
    holds_within(Duration::from_secs(3), || scene.witness.holder().as_deref() != Some("ha2"));
    assert_eq!(scene.witness.holder().as_deref(), Some("ha2"));
    scene.assert_one_answerer();
    Ok(())
}
