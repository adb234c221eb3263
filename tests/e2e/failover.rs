//! Every way in which a holder can fail, as a client sees it; and that the VIP comes home.

use std::time::Instant;

use chinthe::lab::{ConfigSource, Lab, LabError, Sandbox};

use crate::cluster;
use crate::harness::{Outcome, Test};
use crate::scene::{self, CHINTHE, FAILOVER, PATIENCE, Scene, has_vip, sum};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("failover::a_daemon_that_is_asked_to_stop_hands_the_vip_over", a_stopping_daemon_hands_over),
    Test::inside("failover::a_killed_daemon_loses_the_vip_at_once", a_killed_daemon_loses_the_vip),
    Test::inside("failover::a_pulled_cable_moves_the_vip", a_pulled_cable_moves_the_vip),
    Test::inside(
        "failover::what_was_queued_when_the_cable_went_moves_nothing",
        what_was_queued_moves_nothing,
    ),
    Test::inside("failover::a_machine_without_power_loses_the_vip", a_machine_without_power_loses_the_vip),
    Test::inside("failover::backends_that_refuse_one_node_move_the_vip", backends_that_refuse_one_node),
    Test::inside("failover::backends_silent_towards_one_node_move_the_vip", backends_silent_towards_one_node),
    Test::inside(
        "failover::a_daemon_killed_with_its_guard_loses_the_vip_by_the_fence",
        killed_with_its_guard,
    ),
    Test::inside("failover::an_interface_that_vanishes_moves_the_vip", an_interface_that_vanishes),
    Test::inside("failover::three_nodes_succeed_each_other_by_priority", three_nodes_succeed_each_other),
];

/// Brings ha1 back, waits until the VIP is home, and looks that nothing was lost but what was in flight.
fn comes_home(
    mut scene: Scene,
    bring_back: impl FnOnce(&Lab) -> Result<(), LabError>,
) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    scene.moves_to("ha1", FAILOVER, bring_back)?;
    scene.await_home()?;
    scene.prober.finish();
    scene.assert_only_in_flight_failed(began);
    scene.assert_one_answerer();
    assert!(!has_vip(scene.lab.machine("ha2")?));
    Ok(())
}

fn a_stopping_daemon_hands_over(sandbox: Sandbox) -> Outcome {
    let mut scene = scene::start(sandbox)?;
    let (began, _) = scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.terminate())?;
    let ha1 = scene.node("ha1")?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.code(), Some(0));
    assert!(!has_vip(ha1.machine()));
    let resigned = sum(
        scene.node("ha2")?,
        "chinthe_vip_transitions_total",
        &["to=\"active\"", "cause=\"resignation\""],
    )?;
    assert!(resigned > 0.0, "its word is what moved the VIP");
    scene.prober.finish();
    scene.assert_only_in_flight_failed(began);
    scene.prober = scene.lab.prober(chinthe::lab::ProbePlan::of(chinthe::lab::TARGET))?;
    comes_home(scene, |lab| lab.node("ha1")?.start())
}

fn a_killed_daemon_loses_the_vip(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    assert!(!has_vip(scene.lab.machine("ha1")?));
    comes_home(scene, |lab| lab.node("ha1")?.start())
}

fn a_pulled_cable_moves_the_vip(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.machine("ha1")?.unplug())?;
    let ha1 = scene.lab.machine("ha1")?;
    scene.lab.wait_for("the cut-off node to let go", PATIENCE, || !has_vip(ha1))?;
    comes_home(scene, |lab| lab.machine("ha1")?.plug())
}

fn what_was_queued_moves_nothing(sandbox: Sandbox) -> Outcome {
    let text = cluster::file(&["192.168.56.21", "192.168.56.22"], "100ms", "");
    let builder = Lab::builder(sandbox).program(CHINTHE).config(ConfigSource::Text(text));
    let mut scene = Scene::of(builder)?;
    for _ in 0..3 {
        scene.moves_to("ha2", FAILOVER, |lab| lab.machine("ha1")?.unplug())?;
        let ha1 = scene.lab.machine("ha1")?;
        scene.lab.wait_for("the cut-off node to let go", PATIENCE, || !has_vip(ha1))?;
        let taken = || sum(scene.node("ha2")?, "chinthe_vip_transitions_total", &["to=\"active\""]);
        let before = taken()?;
        let began = Instant::now();
        scene.moves_to("ha1", FAILOVER, |lab| lab.machine("ha1")?.plug())?;
        scene.await_home()?;
        // ha1's kernel delivers now what ha1 said before it noticed that its cable was gone: that it held the VIP.
        assert!(taken()? <= before, "ha2 let go of it, and took it back");
        scene.prober.finish();
        scene.assert_only_in_flight_failed(began);
        scene.prober = scene.lab.prober(chinthe::lab::ProbePlan::of(chinthe::lab::TARGET))?;
        scene.await_home()?;
    }
    scene.assert_one_answerer();
    Ok(())
}

fn a_machine_without_power_loses_the_vip(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.power_off())?;
    comes_home(scene, |lab| lab.node("ha1")?.power_on())
}

fn backends_that_refuse_one_node(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let both = |lab: &Lab, refuse: bool| {
        let ha1 = lab.machine("ha1")?;
        for web in ["web1", "web2"] {
            let web = lab.machine(web)?;
            if refuse { ha1.refuse(web)? } else { ha1.accept(web)? }
        }
        Ok(())
    };
    scene.moves_to("ha2", FAILOVER, |lab| both(lab, true))?;
    assert_eq!(scene.node("ha1")?.status()?["vips"][0]["effective_priority"], 101);
    comes_home(scene, |lab| both(lab, false))
}

fn backends_silent_towards_one_node(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| {
        lab.cut("ha1", "web1")?;
        lab.cut("ha1", "web2")
    })?;
    comes_home(scene, |lab| {
        lab.heal("ha1", "web1")?;
        lab.heal("ha1", "web2")
    })
}

fn killed_with_its_guard(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_both())?;
    assert!(has_vip(scene.lab.machine("ha1")?), "its lease runs on");
    comes_home(scene, |lab| lab.node("ha1")?.start())
}

fn an_interface_that_vanishes(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    scene.moves_to("ha2", FAILOVER, |_| ha1.machine().remove_interface())?;
    assert_eq!(ha1.get("/livez")?, "ok\n", "the daemon lives on");
    scene.lab.wait_for("ha1 to say that it can't hold it", PATIENCE, || {
        ha1.status().is_ok_and(|status| status["vips"][0]["state"] == "initialize")
    })?;
    ha1.terminate()?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.code(), Some(0));
    scene.assert_one_answerer();
    Ok(())
}

fn three_nodes_succeed_each_other(sandbox: Sandbox) -> Outcome {
    let scene = Scene::of(scene::post(sandbox).config(chinthe::lab::ConfigSource::Post).nodes(3))?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    scene.moves_to("ha3", FAILOVER, |lab| lab.node("ha2")?.power_off())?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha2")?.power_on())?;
    scene.moves_to("ha3", FAILOVER, |lab| lab.machine("ha2")?.unplug())?;
    scene.lab.machine("ha2")?.plug()?;
    comes_home(scene, |lab| lab.node("ha1")?.start())
}
