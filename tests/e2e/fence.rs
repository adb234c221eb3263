//! The fence: what becomes of a VIP whose daemon and guard hang or die together, and of everything else meanwhile.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, LabError, Sandbox, holds_within};

use crate::harness::{self, Outcome, Test};
use crate::nftables::{delete_table, has_table};
use crate::scene::{self, FAILOVER, LEASE, PATIENCE, Scene, VIP, has_vip};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("fence::a_node_that_hangs_as_a_whole_is_silent_long_before_its_lease_ends", a_hanging_node),
    Test::inside("fence::a_hang_that_ends_before_anybody_notices_costs_nothing", a_short_hang),
    Test::inside("fence::a_flush_during_a_hang_leaves_it_to_the_lease", a_flush_during_a_hang),
    Test::inside("fence::a_table_that_is_flushed_is_put_up_again", a_flushed_table_is_put_up_again),
    Test::inside("fence::a_table_that_is_removed_again_and_again_is_given_up", a_stubborn_flusher),
    Test::inside(
        "fence::a_firewall_that_stops_the_beacons_stops_the_fence_and_not_the_vip",
        a_firewall_that_stops_the_beacons,
    ),
    Test::inside("fence::a_stop_leaves_no_table", a_stop_leaves_no_table),
    Test::inside("fence::a_table_that_nobody_tends_becomes_inert", an_orphaned_table_becomes_inert),
    Test::inside("fence::another_interface_never_says_that_the_vip_is_there", another_interface),
];

/// Whether a node says that its kernel fences what hangs.
fn is_fenced(lab: &Lab, node: &str) -> Result<bool, LabError> {
    let status = lab.node(node)?.status()?;
    Ok(status["vips"][0]["fence"] == "on")
}

/// Waits until both nodes say so: a kernel without the hooks can't show anything of this.
fn fenced(sandbox: Sandbox) -> Result<Scene, Box<dyn std::error::Error>> {
    fenced_as(sandbox, scene::POST)
}

fn fenced_as(sandbox: Sandbox, config: &str) -> Result<Scene, Box<dyn std::error::Error>> {
    let scene = Scene::of(scene::post(sandbox).config(ConfigSource::Text(config.into())))?;
    for node in ["ha1", "ha2"] {
        scene.lab.wait_for("the fence", PATIENCE, || is_fenced(&scene.lab, node).unwrap_or(false))?;
        assert!(has_table(scene.lab.machine(node)?)?);
    }
    Ok(scene)
}

/// How long after `began` the machine answered last.
fn silent_after(scene: &Scene, machine: &str, began: Instant) -> Duration {
    let last = scene.witness.last_answer(machine);
    last.map_or(Duration::ZERO, |last| last.saturating_duration_since(began))
}

fn a_hanging_node(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    let (began, _) = scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_both())?;
    let silent = silent_after(&scene, "ha1", began);
    eprintln!("ha1 answered for another {silent:?}");
    assert!(silent < FAILOVER);
    assert!(has_vip(scene.lab.machine("ha1")?), "its kernel has the address still, and says nothing");
    // Whatever isn't the VIP's is untouched: its kernel accepts for the frozen daemon.
    let door = SocketAddr::from((scene.lab.machine("ha1")?.address(), 80));
    let reached =
        scene.lab.machine("client")?.space().within(move || TcpStream::connect_timeout(&door, PATIENCE));
    assert!(reached.is_ok(), "{reached:?}");
    scene.lab.wait_for("the lease to end", PATIENCE, || {
        scene.lab.machine("ha1").is_ok_and(|machine| !has_vip(machine))
    })?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.cont())?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_short_hang(sandbox: Sandbox) -> Outcome {
    // It comes home again and again.
    let config = scene::POST.replacen("[[vip]]\n", "[[vip]]\npreempt_damping = false\n", 1);
    assert_ne!(config, scene::POST);
    let scene = fenced_as(sandbox, &config)?;
    for millis in [50, 250, 400, 1000] {
        scene.node("ha1")?.stop_both()?;
        // Nothing is waited for: the time has to pass.
        holds_within(Duration::from_millis(millis), || false);
        scene.node("ha1")?.cont()?;
        scene.await_home()?;
    }
    scene.assert_one_answerer();
    Ok(())
}

fn a_flush_during_a_hang(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    scene.moves_to("ha2", LEASE, |lab| {
        lab.node("ha1")?.stop_both()?;
        delete(lab, "ha1")
    })?;
    assert!(!has_vip(scene.lab.machine("ha1")?), "its lease has run out");
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.cont())?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_flushed_table_is_put_up_again(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    let machine = scene.lab.machine("ha1")?;
    delete_table(machine)?;
    scene.lab.wait_for("the table to be back", PATIENCE, || has_table(machine).unwrap_or(false))?;
    assert!(is_fenced(&scene.lab, "ha1")?);
    assert_eq!(scene.witness.holder().as_deref(), Some("ha1"));
    let (began, _) = scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_both())?;
    assert!(silent_after(&scene, "ha1", began) < FAILOVER, "and it is as good as the first");
    scene.assert_one_answerer();
    Ok(())
}

fn a_stubborn_flusher(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    let machine = scene.lab.machine("ha1")?;
    for _ in 0..3 {
        scene.lab.wait_for("the table", PATIENCE, || has_table(machine).unwrap_or(false))?;
        delete_table(machine)?;
    }
    let ha1 = scene.node("ha1")?;
    let mut status = serde_json::Value::Null;
    scene.lab.wait_for("ha1 to give it up", PATIENCE, || {
        status = ha1.status().unwrap_or_default();
        status["vips"][0]["fence"] == "off"
    })?;
    let why = status["vips"][0]["fence_missing"].as_str().unwrap_or_default();
    assert!(why.contains("again and again"), "{status}");
    assert_eq!(scene::holder(ha1).as_deref(), Some("ha1"), "the VIP stays");
    scene.assert_one_answerer();
    Ok(())
}

fn a_firewall_that_stops_the_beacons(sandbox: Sandbox) -> Outcome {
    let lab = scene::post(sandbox).without_daemons().start()?;
    let rules = "add table ip strict; \
        add chain ip strict output { type filter hook output priority 0; }; \
        add rule ip strict output udp dport 7781 drop";
    for node in lab.nodes() {
        match node.machine().command("nft").arg(rules).status() {
            Ok(status) => assert!(status.success(), "nft refused the rules"),
            Err(e) if harness::peers_are_required() => {
                return Err(format!("nft: {e}").into());
            }
            Err(e) => {
                println!("skipped: nft: {e}; to install it: sudo apt-get install nftables");
                return Ok(());
            }
        }
        node.start()?;
    }
    let witness = lab.witness(VIP)?;
    let ha1 = lab.node("ha1")?;
    let mut status = serde_json::Value::Null;
    lab.wait_for("ha1 to do without the fence", PATIENCE, || {
        status = ha1.status().unwrap_or_default();
        let why = status["vips"][0]["fence_missing"].as_str().unwrap_or_default();
        why.contains("7781") && why.contains("eth1")
    })?;
    assert_eq!(status["vips"][0]["fence"], "off");
    lab.wait_for("ha1 to answer", PATIENCE, || witness.holder().as_deref() == Some("ha1"))?;
    // And to go on: fifty answers in a row are a second.
    let answers = || witness.spans().last().map_or(0, |span| span.answers);
    let before = answers();
    lab.wait_for("fifty more answers", PATIENCE, || answers() >= before + 50)?;
    assert_eq!(witness.double_answers(), 0);
    Ok(())
}

fn a_stop_leaves_no_table(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    let (ha1, ha2) = (scene.node("ha1")?, scene.node("ha2")?);
    ha1.terminate()?;
    ha1.wait_exit(PATIENCE)?;
    assert!(!has_table(ha1.machine())?);
    scene.await_holder("ha2", PATIENCE)?;
    ha2.kill9_daemon()?;
    scene.lab.wait_for("the guard to take the table down", PATIENCE, || {
        has_table(ha2.machine()).is_ok_and(|there| !there)
    })?;
    scene.assert_one_answerer();
    Ok(())
}

fn an_orphaned_table_becomes_inert(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    scene.node("ha2")?.terminate()?;
    let ha1 = scene.node("ha1")?;
    ha1.kill9_both()?;
    assert!(has_table(ha1.machine())?, "nobody was left to take it down");
    scene.lab.wait_for("the lease to end", PATIENCE, || !has_vip(ha1.machine()))?;
    let silent_since = Instant::now();
    ha1.machine().add_address(VIP, 32)?;
    scene.lab.wait_for("the address to be of use again", PATIENCE, || {
        scene.witness.last_answer("ha1").is_some_and(|at| at > silent_since)
    })?;
    assert!(has_table(ha1.machine())?);
    Ok(())
}

fn another_interface(sandbox: Sandbox) -> Outcome {
    let scene = fenced(sandbox)?;
    let ha1 = scene.lab.machine("ha1")?;
    ha1.add_interface("eth2")?;
    // Linux answers ARP for all its addresses on all its interfaces.
    let asked = scene.witness.questions();
    scene.lab.wait_for("fifty more questions", PATIENCE, || scene.witness.questions() >= asked + 50)?;
    let since = Instant::now();
    scene.lab.wait_for("fifty more questions", PATIENCE, || scene.witness.questions() >= asked + 100)?;
    let answerers: Vec<String> = scene.witness.answerers(since).into_iter().collect();
    assert_eq!(answerers, ["ha1"]);
    // Nothing else keeps it from doing so.
    for _ in 0..3 {
        scene.lab.wait_for("the table", PATIENCE, || has_table(ha1).unwrap_or(false))?;
        delete_table(ha1)?;
    }
    scene.lab.wait_for("eth2 to answer, too", PATIENCE, || scene.witness.answerers(since).len() == 2)?;
    Ok(())
}

fn delete(lab: &Lab, machine: &str) -> Result<(), LabError> {
    delete_table(lab.machine(machine)?)
        .map_err(|source: io::Error| LabError::System { doing: "delete the table".into(), source })
}
