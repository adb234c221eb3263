//! Thirty nodes: that they find each other, and what being one of them costs.
//!
//! `cargo test --release --test e2e -- cluster::thirty --nocapture` prints each node's share of a core.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox};
use rustix::param::clock_ticks_per_second;
use rustix::process::Pid;

use crate::cluster::{SEED, file, members};
use crate::harness::{Outcome, Test};
use crate::scene::{CHINTHE, PATIENCE, VIP, holder};

pub(crate) const TESTS: &[Test] =
    &[Test::inside("cluster::thirty_nodes_converge_and_cost_little", thirty_nodes)
        .within(Duration::from_mins(2))];

const NODES: usize = 30;

/// How long the cost is measured.
const MEASURED: Duration = Duration::from_secs(10);

/// The most that a node's daemon and guard may take of a core, in per cent.
const MOST: f64 = 2.0;

/// When set to 1 the limit counts in a debug build as well.
const BENCH: &str = "CHINTHE_BENCH";

fn thirty_nodes(sandbox: Sandbox) -> Outcome {
    let began = Instant::now();
    let bench = !cfg!(debug_assertions) || std::env::var(BENCH).is_ok_and(|value| value == "1");
    let builder = Lab::builder(sandbox).program(CHINTHE).nodes(NODES);
    let lab = if bench { builder } else { builder.config(ConfigSource::Text(slower())) }.start()?;
    let witness = lab.witness(VIP)?;
    for node in lab.nodes() {
        lab.wait_for(&format!("{} to see all members alive", node.name()), PATIENCE, || {
            let members = members(node);
            members.len() == NODES && members.values().all(|state| state == "alive")
        })?;
        lab.wait_for(&format!("{} to see ha1 hold the VIP", node.name()), PATIENCE, || {
            holder(node).as_deref() == Some("ha1")
        })?;
    }
    println!("{NODES} nodes had converged after {:?}", began.elapsed());
    if !bench {
        println!("what they cost is measured in a release build, or with {BENCH}=1");
        return Ok(());
    }
    let before = costs(&lab)?;
    let since = Instant::now();
    lab.wait_for("the time of measurement to pass", MEASURED * 2, || since.elapsed() >= MEASURED)?;
    let (after, elapsed) = (costs(&lab)?, since.elapsed().as_secs_f64());
    let shares: BTreeMap<&str, f64> =
        after.iter().map(|(name, spent)| (*name, 100.0 * (spent - before[name]) / elapsed)).collect();
    let (most, sum) = (shares.values().copied().fold(0.0, f64::max), shares.values().sum::<f64>());
    for (name, share) in &shares {
        println!("{name:>5} {share:5.2} % of a core");
    }
    println!("on average {:.2} %, at most {most:.2} %", sum / NODES as f64);
    assert!(most <= MOST, "a node took {most:.2} % of a core");
    assert_eq!(witness.double_answers(), 0, "{:?}", witness.doubles());
    Ok(())
}

/// One seed for all, and a tenth of the advertisements: a debug build of thirty nodes is too much for two cores.
fn slower() -> String {
    let text = file(&[SEED], "2s", "");
    let slower = text.replace("track = ", "advertisement_interval = \"1s\"\ntrack = ");
    assert_ne!(text, slower);
    slower
}

/// The time that each node's daemon and guard have spent on a processor, in seconds.
fn costs(lab: &Lab) -> Result<BTreeMap<&str, f64>, LabError> {
    lab.nodes().iter().map(|node| Ok((node.name(), cost(node)?))).collect()
}

fn cost(node: &Node) -> Result<f64, LabError> {
    let spent = |process: Pid| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // After the name, which is in brackets: state and ten more, then user and system time.
        let fields = stat.rsplit_once(')').map(|(_, fields)| fields).unwrap_or_default().split_whitespace();
        fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>()
    };
    Ok((spent(node.daemon()?) + spent(node.guard()?)) / clock_ticks_per_second() as f64)
}
