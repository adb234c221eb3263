//! What the daemons say: one line for each step of a VIP, for people and for machines.

use chinthe::lab::{LabError, Node, Sandbox};
use serde_json::Value;

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, Scene, sum};

pub(crate) const TESTS: &[Test] = &[
    Test::inside(
        "logs::every_transition_is_one_line_with_vip_from_to_and_cause",
        every_transition_is_one_line,
    ),
    Test::inside("logs::every_line_is_json_when_asked", every_line_is_json_when_asked),
];

/// The events that are steps of a VIP.
const STEPS: [&str; 4] = [" vip.candidate ", " vip.withdrawn ", " vip.acquired ", " vip.released "];

/// The lines about steps of a VIP.
fn transitions(node: &Node) -> Vec<String> {
    node.log_text()
        .lines()
        .filter(|line| STEPS.iter().any(|step| line.contains(step)))
        .map(str::to_owned)
        .collect()
}

fn every_transition_is_one_line(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    scene.await_home()?;
    let ha2 = scene.node("ha2")?;
    let steps = [
        ("initialize", "backup", "ready"),
        ("backup", "active", "resignation"),
        ("active", "backup", "priority"),
    ];
    scene.lab.wait_for("all lines", PATIENCE, || transitions(ha2).len() >= steps.len())?;
    let lines = transitions(ha2);
    assert_eq!(lines.len(), steps.len(), "{lines:#?}");
    for (line, (from, to, cause)) in lines.iter().zip(steps) {
        for part in [
            "vip=\"vi_1\"",
            &format!("from=\"{from}\""),
            &format!("to=\"{to}\""),
            &format!("cause=\"{cause}\""),
        ] {
            assert!(line.contains(part), "{part} is missing in: {line}");
        }
    }
    let transitions = sum(ha2, "chinthe_vip_transitions_total", &[])?;
    assert!((transitions - 3.0).abs() < 0.5, "the counters tell the same story: {transitions}");
    Ok(())
}

fn every_line_is_json_when_asked(sandbox: Sandbox) -> Outcome {
    let scene = Scene::of(scene::post(sandbox).environment("CHINTHE_LOG_FORMAT", "json"))?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.terminate())?;
    let ha1 = scene.node("ha1")?;
    ha1.wait_exit(PATIENCE)?;
    scene.lab.wait_for("the log's end", PATIENCE, || ha1.log_text().contains("--- ended"))?;
    let text = ha1.log_text();
    let lines: Vec<Value> = text
        .lines()
        .filter(|line| !line.starts_with("--- "))
        .map(|line| {
            serde_json::from_str(line)
                .map_err(|e| LabError::Answer { node: "ha1".into(), problem: format!("{e}: {line}") })
        })
        .collect::<Result<_, _>>()?;
    let last = lines.iter().rfind(|line| line["event"] == "vip.released").ok_or("no release")?;
    for (key, value) in [("vip", "vi_1"), ("from", "active"), ("to", "initialize"), ("cause", "shutdown")] {
        assert_eq!(last[key], value, "{last}");
    }
    Ok(())
}
