//! What the daemons say: one line for each step of a VIP, for people and for machines.

use std::error::Error;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

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
    Test::inside("logs::the_journal_gets_entries_with_fields", the_journal_gets_entries_with_fields),
    Test::inside("logs::events_can_be_followed_over_a_failover_and_a_restart", events_can_be_followed),
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

/// A journal that the test plays, which takes what the daemon sends as systemd's would.
fn the_journal_gets_entries_with_fields(sandbox: Sandbox) -> Outcome {
    let lab = scene::post(sandbox).nodes(1).without_daemons().start()?;
    let ha1 = lab.node("ha1")?;
    let socket = Path::new("/run/systemd/journal/socket");
    let folder = socket.parent().ok_or("no folder")?;
    ha1.start_with(|command| {
        // Without a journal there is nothing to write to, and that is said.
        command.args(["run", "--log", "journald", "--node", "ha1", "--config"]).arg(ha1.config());
    })?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.code(), Some(2));
    lab.wait_for("the reason", PATIENCE, || ha1.log_text().contains("error: the journal can't be reached"))?;
    fs::create_dir_all(folder)?;
    let journal = UnixDatagram::bind(socket)?;
    journal.set_read_timeout(Some(PATIENCE))?;
    ha1.start_with(|command| {
        command.args(["run", "--log", "journald", "--node", "ha1", "--config"]).arg(ha1.config());
    })?;
    let mut bytes = [0; 4096];
    loop {
        let length = journal.recv(&mut bytes)?;
        let entry = String::from_utf8_lossy(&bytes[..length]).into_owned();
        if entry.contains("CHINTHE_EVENT=vip.acquired\n") {
            for field in
                ["PRIORITY=6\n", "SYSLOG_IDENTIFIER=chinthe\n", "CHINTHE_VIP=vi_1\n", "CHINTHE_TERM=1\n"]
            {
                assert!(entry.contains(field), "{field} in {entry}");
            }
            return Ok(());
        }
    }
}

/// What `chinthe events --follow` prints while the VIP moves, and the node that it asks goes and comes back.
fn events_can_be_followed(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha2 = scene.node("ha2")?;
    let mut follow = ha2.command().args(["events", "--follow"]).stdout(Stdio::piped()).spawn()?;
    let lines = BufReader::new(follow.stdout.take().ok_or("no output")?).lines();
    let (told, heard) = mpsc::channel();
    thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| told.send(line)));
    let hear = |what: &str| -> Result<String, Box<dyn Error>> {
        loop {
            let line = heard.recv_timeout(PATIENCE).map_err(|e| format!("{what}: {e}"))?;
            if line.contains(what) {
                return Ok(line);
            }
        }
    };
    hear(" node.started node=\"ha2\"")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    let line = hear(" vip.acquired vip=\"vi_1\"")?;
    assert!(ha2.log_text().lines().any(|logged| logged == line), "the log has the same line: {line}");
    hear(" failover.complete vip=\"vi_1\"")?;
    ha2.terminate()?;
    ha2.wait_exit(PATIENCE)?;
    ha2.start()?;
    hear(" node.started node=\"ha2\"")?;
    hear(" vip.acquired vip=\"vi_1\"")?;
    follow.kill()?;
    follow.wait()?;

    let listed = ha2.command().arg("events").output()?;
    assert!(listed.status.success());
    assert!(String::from_utf8(listed.stdout)?.contains(" vip.acquired vip=\"vi_1\""));
    Ok(())
}
