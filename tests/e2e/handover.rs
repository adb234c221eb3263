//! Planned moves as a client sees them: by an operator's word, and back; what waits, and for what.

use std::error::Error;
use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox, TARGET};

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, POST, Scene};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("handover::a_moved_vip_loses_what_was_in_flight_and_comes_home_when_told", a_moved_vip),
    Test::inside("handover::a_pin_yields_to_a_node_that_cannot_hold_and_runs_out", a_pin_yields),
    Test::inside("handover::a_hand_back_that_repeats_waits_and_a_restart_in_order_does_not", repeats_wait),
    Test::inside("handover::a_node_that_returns_waits_for_its_preempt_delay", a_delay_is_kept),
    Test::inside("handover::a_hand_back_waits_until_connections_have_ended", connections_are_waited_for),
    Test::inside("handover::a_slip_in_a_move_changes_nothing", a_slip_changes_nothing),
];

/// The post's cluster with one more line for its VIP.
fn with(sandbox: Sandbox, line: &str) -> Result<Scene, LabError> {
    let text = POST.replacen("[[vip]]\n", &format!("[[vip]]\n{line}\n"), 1);
    assert_ne!(text, POST);
    Scene::of(scene::post(sandbox).config(ConfigSource::Text(text)))
}

/// Has a client command go well on ha1.
fn tell(lab: &Lab, words: &[&str]) -> Result<(), LabError> {
    let (status, said) = say(lab.node("ha1")?, words)
        .map_err(|e| LabError::Answer { node: "ha1".into(), problem: e.to_string() })?;
    if status == Some(0) { Ok(()) } else { Err(LabError::Answer { node: "ha1".into(), problem: said }) }
}

fn say(node: &Node, words: &[&str]) -> Result<(Option<i32>, String), Box<dyn Error>> {
    let output = node.command().args(words).output()?;
    Ok((output.status.code(), String::from_utf8([output.stdout, output.stderr].concat())?))
}

fn a_moved_vip(sandbox: Sandbox) -> Outcome {
    let mut scene = scene::start(sandbox)?;
    let (began, _) = scene.moves_to("ha2", FAILOVER, |lab| tell(lab, &["move", "vi_1", "ha2"]))?;
    let ha1 = scene.node("ha1")?;
    assert!(ha1.log_text().contains("from=\"active\" to=\"backup\" cause=\"moved\""), "{}", ha1.log_text());
    let words = ha1.get("/api/v1/administration")?;
    assert!(words.contains("\"target\":{\"vip\":\"vi_1\"},\"holder\":\"ha2\""), "{words}");
    scene.prober.finish();
    scene.assert_only_in_flight_failed(began);
    scene.prober = scene.lab.prober(chinthe::lab::ProbePlan::of(TARGET))?;
    let (began, _) = scene.moves_to("ha1", FAILOVER, |lab| tell(lab, &["move", "vi_1", "--home"]))?;
    scene.prober.finish();
    scene.assert_only_in_flight_failed(began);
    scene.assert_one_answerer();
    Ok(())
}

fn a_pin_yields(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| tell(lab, &["move", "vi_1", "ha2", "--for", "15s"]))?;
    let pinned = Instant::now();
    scene.moves_to("ha1", FAILOVER, |lab| tell(lab, &["drain", "--node", "ha2"]))?;
    scene.moves_to("ha2", FAILOVER, |lab| tell(lab, &["ready", "--node", "ha2"]))?;
    // Its time runs out, and the better node has it again.
    scene.await_holder("ha1", PATIENCE)?;
    assert!(pinned.elapsed() > Duration::from_secs(10), "it ended too soon");
    scene.assert_one_answerer();
    Ok(())
}

fn repeats_wait(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha2 = scene.node("ha2")?;
    for _ in 0..3 {
        scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
        scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
        scene.await_home()?;
    }
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    scene.node("ha1")?.start()?;
    scene.lab.wait_for("ha2 to say that it waits", PATIENCE, || {
        ha2.status().is_ok_and(|status| status["vips"][0]["damped"]["ha1"].as_u64() > Some(0))
            && ha2.metric("chinthe_vip_damped_members{vip=\"vi_1\"}").is_ok_and(|value| value == Some(1.0))
    })?;
    let candidate = |status: &serde_json::Value| status["vips"][0]["candidates"][0].clone();
    scene.lab.wait_for("ha1 to be the better candidate", PATIENCE, || {
        ha2.status().is_ok_and(|status| {
            let first = candidate(&status);
            first["node"] == "ha1" && first["effective_priority"] == 103 && first["eligible"] == true
        })
    })?;
    assert_eq!(scene::holder(ha2).as_deref(), Some("ha2"));
    // Who stops in order, and comes back, is an operator's business.
    let ha1 = scene.node("ha1")?;
    ha1.terminate()?;
    ha1.wait_exit(PATIENCE)?;
    scene.moves_to("ha1", PATIENCE, |lab| lab.node("ha1")?.start())?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_delay_is_kept(sandbox: Sandbox) -> Outcome {
    let scene = with(sandbox, "preempt_delay = { ha1 = \"3s\" }")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    let began = Instant::now();
    scene.node("ha1")?.start()?;
    scene.await_home()?;
    assert!(began.elapsed() >= Duration::from_secs(3), "after {:?}", began.elapsed());
    // Whoever is silent is nobody to wait for.
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    scene.node("ha1")?.start()?;
    let ha2 = scene.node("ha2")?;
    scene.lab.wait_for("ha1 to be a candidate", PATIENCE, || {
        ha2.status().is_ok_and(|status| status["vips"][0]["candidates"][0]["eligible"] == true)
    })?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha2")?.kill9_daemon())?;
    scene.assert_one_answerer();
    Ok(())
}

fn connections_are_waited_for(sandbox: Sandbox) -> Outcome {
    let mut scene = with(sandbox, "preempt_when_connections_below = 5")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    // The client's own connections come and go.
    scene.prober.finish();
    let space = scene.lab.machine("client")?.space();
    let open = || {
        let mut stream = TcpStream::connect(TARGET)?;
        stream.write_all(b"GET / HTTP/1.0\r\n")?;
        Ok::<_, std::io::Error>(stream)
    };
    let open: Vec<TcpStream> = (0..8).map(|_| space.within(open)).collect::<Result<_, _>>()?;
    let ha2 = scene.node("ha2")?;
    scene.lab.wait_for("ha2 to count them", PATIENCE, || {
        ha2.status().is_ok_and(|status| status["services"][0]["connections_active"].as_u64() >= Some(8))
    })?;
    scene.node("ha1")?.start()?;
    let heard = || scene::sum(ha2, "chinthe_peer_messages_total", &["direction=\"in\""]);
    scene.lab.wait_for("ha1 to be the better candidate", PATIENCE, || {
        ha2.status().is_ok_and(|status| {
            let first = &status["vips"][0]["candidates"][0];
            first["node"] == "ha1" && first["effective_priority"] == 103 && first["eligible"] == true
        })
    })?;
    let before = heard()?;
    scene.lab.wait_for("many of its words", PATIENCE, || heard().is_ok_and(|now| now > before + 20.0))?;
    assert_eq!(scene::holder(ha2).as_deref(), Some("ha2"));
    drop(open);
    scene.lab.wait_for("ha1 to answer for the VIP", PATIENCE, || {
        scene.witness.holder().as_deref() == Some("ha1")
    })?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_slip_changes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    for (words, part) in [
        (&["move", "vi_2", "ha2"][..], "there is no VIP called `vi_2`: did you mean `vi_1`?"),
        (&["move", "vi_1", "ha3"], "there is no node called `ha3`: did you mean `ha1`?"),
        (&["move", "vi_1", "ha2", "--for", "10"], "has no unit"),
    ] {
        let (status, said) = say(ha1, words)?;
        assert_eq!(status, Some(1), "{words:?}: {said}");
        assert!(said.starts_with("error: ") && said.contains(part) && said.contains("\nhint: "), "{said}");
    }
    assert_eq!(ha1.get("/api/v1/administration")?, "{\"words\":[]}\n");
    scene.await_home()?;
    Ok(())
}
