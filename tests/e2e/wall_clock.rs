//! The wall clock: it is set while the cluster runs, and nothing comes of it.
//!
//! No namespace has a wall clock of its own, so that `libfaketime` stands between the daemons and the C library's: it
//! adds what a file says, each machine's its own, and leaves the monotonic clocks alone.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chinthe::lab::{LabError, Machine, Node, Sandbox, holds_within};

use crate::harness::{self, Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, Scene, sum, transitions};

pub(crate) const TESTS: &[Test] =
    &[Test::inside("wall_clock::a_step_of_an_hour_in_either_direction_moves_nothing", a_step_of_an_hour)];

/// What says how far ahead a machine's wall clock is, in the folder that it sees as `/run/chinthe`.
const FILE: &str = "wall-clock";

/// So long after a step whatever it could have upset has had its time: the lease, silences, and rounds of gossip.
const A_WHILE: Duration = Duration::from_secs(4);

/// How far a clock may seem to be from where it was set: for a scrape on a busy machine.
const ABOUT: f64 = 60.0;

/// Sets the machine's wall clock so many seconds ahead.
fn set(machine: &Machine, ahead: i32) -> Result<(), LabError> {
    let failed = |source| LabError::System { doing: "set a wall clock".into(), source };
    let file = machine.run_folder().join(FILE);
    // In one go: who reads it meanwhile would find nothing.
    let fresh = file.with_extension("new");
    fs::write(&fresh, format!("{ahead:+}\n")).and_then(|()| fs::rename(&fresh, &file)).map_err(failed)
}

/// How many seconds ahead the node's clock is, by when it says that it heard `peer`.
fn ahead(node: &Node, peer: &str) -> Result<f64, LabError> {
    let label = format!("member=\"{peer}\"");
    let heard = sum(node, "chinthe_member_last_heard_timestamp_seconds", &[&label])?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(heard - now.as_secs_f64())
}

/// Where Debian's `libfaketime` is, for programs with threads.
fn library() -> Option<String> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten();
    let mut files = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    files.find(|file| file.exists()).map(|file| file.to_string_lossy().into_owned())
}

fn a_step_of_an_hour(sandbox: Sandbox) -> Outcome {
    let Some(library) = library() else {
        if harness::peers_are_required() {
            return Err("libfaketime is missing".into());
        }
        println!("skipped: libfaketime is missing; `apt-get install faketime` has it");
        return Ok(());
    };
    let lab = scene::post(sandbox)
        .environment("LD_PRELOAD", &library)
        .environment("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .environment("FAKETIME_NO_CACHE", "1")
        .environment("FAKETIME_TIMESTAMP_FILE", &format!("/run/chinthe/{FILE}"))
        .without_daemons()
        .start()?;
    for node in lab.nodes() {
        set(node.machine(), 0)?;
        node.start()?;
    }
    let scene = Scene::watch(lab)?;
    let both = || Ok::<_, LabError>(transitions(scene.node("ha1")?)? + transitions(scene.node("ha2")?)?);
    let before = both()?;
    let began = Instant::now();
    // Forth and back, of the holder, of the other one, and of both in opposite directions.
    for (ha1, ha2) in [(3600, 0), (-3600, 0), (0, 3600), (0, -3600), (3600, -3600), (0, 0)] {
        set(scene.lab.machine("ha1")?, ha1)?;
        set(scene.lab.machine("ha2")?, ha2)?;
        for (node, peer, set) in [("ha1", "ha2", ha1), ("ha2", "ha1", ha2)] {
            let node = scene.node(node)?;
            let stepped = || ahead(node, peer).is_ok_and(|seconds| (seconds - f64::from(set)).abs() < ABOUT);
            scene.lab.wait_for("the clock to be seen to have stepped", PATIENCE, stepped)?;
        }
        holds_within(A_WHILE, || false);
        // Everybody goes on to know everybody, and who holds the VIP.
        scene.await_home()?;
    }
    let moved = both()? - before;
    assert!(moved.abs() < f64::EPSILON, "{moved} transitions");
    let failed = scene.prober.exchanges(began).iter().filter(|exchange| exchange.outcome.is_err()).count();
    let gap = scene.prober.gap(began);
    eprintln!("{failed} requests failed; the client was without an answer for {gap:?} at most");
    assert_eq!(failed, 0);
    assert!(gap < FAILOVER, "{gap:?}");
    scene.assert_one_answerer();
    Ok(())
}
