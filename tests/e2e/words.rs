//! What an operator says to one node of five, on all of them.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, Node, Sandbox, TARGET};

use crate::cluster::{SEED, file, members};
use crate::harness::{Outcome, Test};
use crate::scene::{CHINTHE, PATIENCE, backend, is_ready};

pub(crate) const TESTS: &[Test] = &[
    Test::inside(
        "words::a_drain_said_to_one_node_holds_on_all_and_survives_their_restarts",
        a_drain_holds_on_all,
    ),
    Test::inside("words::a_word_with_an_end_runs_out_on_every_node", a_word_runs_out_everywhere),
    Test::inside("words::two_opposite_words_at_once_end_the_same_on_all", opposite_words_end_the_same),
];

/// From a command's end until no node sends that backend a new connection.
const TAKES_EFFECT: Duration = Duration::from_secs(1);
/// Enough requests by way of each node to meet both backends if both were used.
const REQUESTS: usize = 6;

fn five(sandbox: Sandbox) -> Result<Lab, Box<dyn Error>> {
    let text = file(&[SEED], "500ms", "");
    let lab = Lab::builder(sandbox).program(CHINTHE).nodes(5).config(ConfigSource::Text(text)).start()?;
    await_all(&lab)?;
    Ok(lab)
}

fn await_all(lab: &Lab) -> Outcome {
    for node in lab.nodes() {
        let name = node.name();
        lab.wait_for(&format!("{name} to be ready and to know all five"), PATIENCE, || {
            is_ready(node) && members(node).values().filter(|state| *state == "alive").count() == 5
        })?;
    }
    Ok(())
}

fn well(node: &Node, words: &[&str]) -> Outcome {
    let output = node.command().args(words).output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Ok(()) } else { Err(format!("{words:?}: {said}").into()) }
}

fn all_show(lab: &Lab, web: &str, admin: &str) -> bool {
    lab.nodes().iter().all(|node| backend(node, web).is_ok_and(|backend| backend["admin"] == admin))
}

/// Who answers, of a request made by way of one address of the service.
fn ask(lab: &Lab, at: Ipv4Addr) -> Result<String, Box<dyn Error>> {
    let space = lab.machine("client")?.space();
    let mut stream = space.within(|| TcpStream::connect((at, TARGET.port())))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (_, body) = answer.split_once("\r\n\r\n").ok_or("no answer")?;
    Ok(body.trim().to_owned())
}

/// Whom requests by way of every node's own address meet.
fn met(lab: &Lab) -> Result<Vec<(String, String)>, Box<dyn Error>> {
    let mut met = Vec::new();
    for node in lab.nodes() {
        for _ in 0..REQUESTS {
            met.push((node.name().to_owned(), ask(lab, node.machine().address())?));
        }
    }
    Ok(met)
}

fn a_drain_holds_on_all(sandbox: Sandbox) -> Outcome {
    let lab = five(sandbox)?;
    // One request begun before, by way of a node that isn't told.
    let space = lab.machine("client")?.space();
    let ha5 = lab.node("ha5")?.machine().address();
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = space.within(|| TcpStream::connect((ha5, TARGET.port())))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET / HTTP/1.0\r\n")?;
        open.push(stream);
    }
    lab.wait_for("web1 to have some of them", PATIENCE, || {
        lab.node("ha5").is_ok_and(|node| {
            backend(node, "web1").is_ok_and(|web| web["connections_active"].as_u64() >= Some(2))
        })
    })?;

    well(lab.node("ha3")?, &["drain", "myweb/web1"])?;
    lab.wait_for("all nodes to drain web1", TAKES_EFFECT, || all_show(&lab, "web1", "drain"))?;
    for (node, heard) in [("ha1", 1.0), ("ha3", 0.0), ("ha5", 1.0)] {
        let node = lab.node(node)?;
        assert_eq!(node.metric("chinthe_gossip_convergence_seconds_count")?, Some(heard), "{}", node.name());
        // Bytes are counted once a round, and all this may have been within the first.
        lab.wait_for(&format!("{} to have had bytes", node.name()), PATIENCE, || {
            let gossip = node.metric("chinthe_gossip_bytes_total{direction=\"in\"}");
            gossip.is_ok_and(|bytes| bytes > Some(1000.0))
        })?;
    }
    let strays: Vec<_> = met(&lab)?.into_iter().filter(|(_, web)| web != "web2").collect();
    assert!(strays.is_empty(), "{strays:?}");
    let mut finished = Vec::new();
    for mut stream in open {
        stream.write_all(b"\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        finished.push(answer);
    }
    assert!(finished.iter().any(|answer| answer.ends_with("web1\n")), "open ones go on: {finished:?}");

    // Every one of them is restarted, the one that was told included.
    for node in lab.nodes() {
        node.terminate()?;
        node.wait_exit(PATIENCE)?;
        node.start()?;
        lab.wait_for(&format!("{} to be back", node.name()), PATIENCE, || is_ready(node))?;
        assert_eq!(backend(node, "web1")?["admin"], "drain", "{}, as soon as it serves", node.name());
    }
    await_all(&lab)?;
    assert!(all_show(&lab, "web1", "drain"));
    let strays: Vec<_> = met(&lab)?.into_iter().filter(|(_, web)| web != "web2").collect();
    assert!(strays.is_empty(), "{strays:?}");
    Ok(())
}

fn a_word_runs_out_everywhere(sandbox: Sandbox) -> Outcome {
    let lab = five(sandbox)?;
    let lasting = Duration::from_secs(3);
    let said = Instant::now();
    well(lab.node("ha2")?, &["drain", "*/web2", "--for", "3s"])?;
    lab.wait_for("all nodes to drain web2", TAKES_EFFECT, || all_show(&lab, "web2", "drain"))?;
    lab.wait_for("all nodes to use web2 again", PATIENCE, || all_show(&lab, "web2", "ready"))?;
    assert!(said.elapsed() >= lasting, "after {:?}", said.elapsed());
    let webs: Vec<String> = met(&lab)?.into_iter().map(|(_, web)| web).collect();
    assert!(webs.iter().any(|web| web == "web2"));
    Ok(())
}

fn opposite_words_end_the_same(sandbox: Sandbox) -> Outcome {
    let lab = five(sandbox)?;
    let mut commands = [("ha1", "drain"), ("ha4", "ready")].map(|(node, word)| {
        lab.node(node).map(|node| {
            let mut command = node.command();
            command.args([word, "myweb/web1"]);
            command
        })
    });
    thread::scope(|scope| {
        let said: Vec<_> = commands
            .iter_mut()
            .map(|command| scope.spawn(|| command.as_mut().map(|c| c.output().is_ok())))
            .collect();
        said.into_iter().all(|said| matches!(said.join(), Ok(Ok(true))))
    })
    .then_some(())
    .ok_or("a command failed")?;
    let states = || -> Vec<String> {
        let state =
            |node: &Node| backend(node, "web1").map(|web| web["admin"].to_string()).unwrap_or_default();
        lab.nodes().iter().map(state).collect()
    };
    lab.wait_for("all nodes to agree", PATIENCE, || {
        let states = states();
        states.iter().all(|state| *state == states[0] && !state.is_empty())
    })?;
    // And it stays so: the same word won everywhere.
    let first = states();
    lab.wait_for("some rounds of gossip", PATIENCE, || {
        lab.nodes().iter().all(|node| {
            node.metric("chinthe_peer_messages_total{channel=\"gossip\",direction=\"in\"}")
                .is_ok_and(|count| count >= Some(50.0))
        })
    })?;
    assert_eq!(states(), first);
    Ok(())
}
