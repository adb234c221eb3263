//! Starts and ends of every kind: no address stays where no daemon is, and none is held twice.

use std::net::TcpStream;
use std::time::{Duration, Instant};

use chinthe::lab::{LabError, Sandbox};
use rustix::process::{Signal, kill_process, test_kill_process};

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, Scene, has_vip};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("restart::a_restart_leaves_no_stray_address", a_restart_leaves_no_stray_address),
    Test::inside(
        "restart::the_next_start_removes_what_a_killed_one_left",
        the_next_start_removes_what_was_left,
    ),
    Test::inside(
        "restart::after_a_kill_of_everything_the_address_goes_with_its_lease",
        the_address_goes_with_its_lease,
    ),
    Test::inside("restart::a_hung_daemon_loses_the_vip_and_never_shares_it", a_hung_daemon_loses_the_vip)
        .within(Duration::from_secs(90)),
    Test::inside("restart::a_frozen_node_loses_the_vip_and_never_shares_it", a_frozen_node_loses_the_vip),
    Test::inside(
        "restart::a_killed_guard_is_replaced_and_one_node_holds_the_vip",
        a_killed_guard_is_replaced,
    ),
    Test::inside("restart::a_stop_takes_less_than_two_seconds", a_stop_takes_less_than_two_seconds),
    Test::inside(
        "restart::a_busy_holder_stops_in_less_than_two_seconds_too",
        a_busy_holder_stops_in_less_than_two_seconds_too,
    ),
    Test::inside("restart::a_second_sigterm_ends_it_at_once", a_second_sigterm_ends_it_at_once),
    Test::inside("restart::a_cluster_that_was_killed_comes_up_again", a_killed_cluster_comes_up_again),
    Test::inside(
        "restart::a_node_that_has_just_started_succeeds_a_holder_that_dies",
        a_newcomer_succeeds_a_holder_that_dies,
    ),
];

/// The lease, and what the kernel may add to it.
const LEASE_AND_SLACK: Duration = Duration::from_millis(2000 + 1250);

/// What a clean stop may take when no connection is open.
const STOP: Duration = Duration::from_secs(2);

/// The processes of `node` have ended, its guard too.
fn await_end(scene: &Scene, node: &str) -> Result<(), LabError> {
    let node = scene.node(node)?;
    node.wait_exit(PATIENCE)?;
    // Its log ends when nobody holds the pipe any more.
    scene.lab.wait_for("daemon and guard to end", PATIENCE, || node.log_text().ends_with("--- ended\n"))
}

fn a_restart_leaves_no_stray_address(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    for _ in 0..2 {
        let (ha1, ha2) = (scene.node("ha1")?, scene.lab.machine("ha2")?);
        scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.terminate())?;
        await_end(&scene, "ha1")?;
        assert!(!has_vip(ha1.machine()) && has_vip(ha2));
        scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
        scene.await_home()?;
        assert!(has_vip(ha1.machine()) && !has_vip(ha2));
    }
    // The last one to go leaves nothing either.
    for node in ["ha2", "ha1"] {
        scene.node(node)?.terminate()?;
        await_end(&scene, node)?;
        assert!(!has_vip(scene.lab.machine(node)?));
    }
    scene.assert_one_answerer();
    Ok(())
}

fn the_next_start_removes_what_was_left(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    ha1.kill9_both()?;
    let killed = Instant::now();
    assert!(has_vip(ha1.machine()), "nobody was left to remove it");
    ha1.start()?;
    scene
        .lab
        .wait_for("the new guard to remove it, or its lease to end", PATIENCE, || !has_vip(ha1.machine()))?;
    // On a machine so busy that the lease was over first, there is nothing to be seen.
    eprintln!("the address was gone after {:?}", killed.elapsed());
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn the_address_goes_with_its_lease(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    // The other node gone first, so that nobody takes the VIP over.
    scene.node("ha2")?.terminate()?;
    await_end(&scene, "ha2")?;
    ha1.kill9_both()?;
    let killed = Instant::now();
    assert!(has_vip(ha1.machine()));
    scene.lab.wait_for("the lease to end", PATIENCE, || !has_vip(ha1.machine()))?;
    let lasted = killed.elapsed();
    eprintln!("the lease ended after {lasted:?}");
    assert!(lasted < LEASE_AND_SLACK + Duration::from_millis(250), "{lasted:?}");
    let last = scene.witness.last_answer("ha1").ok_or("it never answered")?;
    assert!(last.saturating_duration_since(killed) < LEASE_AND_SLACK + Duration::from_millis(250));
    Ok(())
}

fn a_hung_daemon_loses_the_vip(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_daemon())?;
    assert!(!has_vip(ha1.machine()), "its guard lets go");
    // Hung for twenty seconds: nothing moves meanwhile.
    let until = Instant::now() + Duration::from_secs(20);
    scene.lab.wait_for("twenty seconds to pass, or the VIP to move", PATIENCE + PATIENCE, || {
        Instant::now() >= until || scene.witness.holder().as_deref() == Some("ha1")
    })?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.cont())?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_frozen_node_loses_the_vip(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_both())?;
    scene.lab.wait_for("its lease to run out", PATIENCE, || !has_vip(ha1.machine()))?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.cont())?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_killed_guard_is_replaced(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    let (daemon, guard) = (ha1.daemon()?, ha1.guard()?);
    ha1.kill9_guard()?;
    scene.lab.wait_for("another guard", PATIENCE, || ha1.guard().is_ok_and(|other| other != guard))?;
    scene.await_home()?;
    assert_eq!(ha1.daemon()?, daemon, "the daemon goes on");
    assert!(has_vip(ha1.machine()) && !has_vip(scene.lab.machine("ha2")?));
    scene.assert_one_answerer();
    Ok(())
}

fn a_stop_takes_less_than_two_seconds(sandbox: Sandbox) -> Outcome {
    // Without the scene's client, so that no connection is open, nor has been.
    let lab = scene::post(sandbox).start()?;
    let witness = lab.witness(scene::VIP)?;
    lab.wait_for("ha1 to hold the VIP", PATIENCE, || witness.holder().as_deref() == Some("ha1"))?;
    for node in lab.nodes() {
        let asked = Instant::now();
        node.terminate()?;
        assert_eq!(node.wait_exit(PATIENCE)?.code(), Some(0));
        assert!(asked.elapsed() < STOP, "{} took {:?}", node.name(), asked.elapsed());
        assert!(!has_vip(node.machine()));
    }
    Ok(())
}

fn a_busy_holder_stops_in_less_than_two_seconds_too(sandbox: Sandbox) -> Outcome {
    // What came by the VIP has gone with it: nobody can finish that here.
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    let _idle = scene.lab.machine("client")?.space().within(|| TcpStream::connect((scene::VIP, 80)))?;
    let asked = Instant::now();
    ha1.terminate()?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.code(), Some(0));
    assert!(asked.elapsed() < STOP, "ha1 took {:?}", asked.elapsed());
    Ok(())
}

fn a_second_sigterm_ends_it_at_once(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    // A client that holds on keeps a stopping daemon for as long as it drains.
    let door = (ha1.machine().address(), 80);
    let _idle = scene.lab.machine("client")?.space().within(move || TcpStream::connect(door))?;
    let open = "chinthe_service_connections_active{service=\"myweb\"}";
    scene.lab.wait_for("the connection to be counted", PATIENCE, || {
        ha1.metric(open).is_ok_and(|value| value.is_some_and(|value| value >= 1.0))
    })?;
    let daemon = ha1.daemon()?;
    ha1.terminate()?;
    scene.lab.wait_for("the VIP to move", PATIENCE, || scene.witness.holder().as_deref() == Some("ha2"))?;
    assert!(test_kill_process(daemon).is_ok() && ha1.daemon().is_ok(), "it drains");
    let asked = Instant::now();
    kill_process(daemon, Signal::TERM)?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
    assert!(!has_vip(ha1.machine()));
    scene.assert_one_answerer();
    Ok(())
}

fn a_killed_cluster_comes_up_again(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    for node in scene.lab.nodes() {
        node.kill9_both()?;
    }
    for node in scene.lab.nodes() {
        node.start()?;
    }
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_newcomer_succeeds_a_holder_that_dies(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    for _ in 0..6 {
        for node in ["ha1", "ha2"] {
            scene.node(node)?.terminate()?;
            await_end(&scene, node)?;
        }
        for node in scene.lab.nodes() {
            node.start()?;
        }
        let answers = || scene.witness.holder().as_deref() == Some("ha1");
        scene.lab.wait_for("ha1 to hold the VIP", PATIENCE, answers)?;
        // Or the time without anybody, before both started, would count as well.
        let since = Instant::now();
        scene.lab.wait_for("the client to be served", PATIENCE, || scene.prober.answered_since(since))?;
        // ha2 may be waiting for what ha1 knows: nobody is left to tell it.
        scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
        await_end(&scene, "ha1")?;
        scene.node("ha1")?.start()?;
    }
    scene.assert_one_answerer();
    Ok(())
}
