//! Thirty nodes: that they find each other, and what being one of them costs.
//!
//! `cargo test --release --test e2e -- cluster::thirty --nocapture` prints what each kind of thread takes of a core.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;
use std::time::{Duration, Instant};

use chinthe::lab::{Lab, Sandbox};
use rustix::param::clock_ticks_per_second;

use crate::cluster::members;
use crate::harness::{Outcome, Test};
use crate::scene::{CHINTHE, PATIENCE, VIP, holder};

pub(crate) const TESTS: &[Test] =
    &[Test::inside("cluster::thirty_nodes_converge_and_cost_little", thirty_nodes)
        .within(Duration::from_secs(120))];

const NODES: usize = 30;

/// How long the cost is measured.
const MEASURED: Duration = Duration::from_secs(10);

/// The most that a node's daemon and guard may take of a core on average, in per cent.
const MOST: f64 = 2.0;

/// When set to 1 the limit counts in a debug build as well.
const BENCH: &str = "CHINTHE_BENCH";

fn thirty_nodes(sandbox: Sandbox) -> Outcome {
    let began = Instant::now();
    let bench = !cfg!(debug_assertions) || std::env::var(BENCH).is_ok_and(|value| value == "1");
    if !bench {
        // Thirty daemons of a debug build want more than two cores have; half of it would measure the machine.
        println!("skipped: thirty nodes are for a release build, or for {BENCH}=1");
        return Ok(());
    }
    let builder = Lab::builder(sandbox).program(CHINTHE).nodes(NODES);
    let lab = builder.start()?;
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
    let before = costs(&lab)?;
    let since = Instant::now();
    lab.wait_for("the time of measurement to pass", MEASURED * 2, || since.elapsed() >= MEASURED)?;
    let (after, elapsed) = (costs(&lab)?, since.elapsed().as_secs_f64());
    let mut by_node: BTreeMap<&str, f64> = BTreeMap::new();
    let mut by_thread: BTreeMap<&str, f64> = BTreeMap::new();
    for ((node, thread), spent) in &after {
        let share = 100.0 * (spent - before.get(&(*node, thread.clone())).unwrap_or(&0.0)) / elapsed;
        *by_node.entry(node).or_default() += share;
        *by_thread.entry(thread).or_default() += share / NODES as f64;
    }
    for (thread, share) in &by_thread {
        println!("{thread:>16} {share:5.2} % of a core on average");
    }
    let busiest = by_node.iter().max_by(|one, other| one.1.total_cmp(other.1)).ok_or("no node")?;
    let sum = by_node.values().sum::<f64>();
    println!("all of a node {:8.2} % of a core on average, at most {:.2} %:", sum / NODES as f64, busiest.1);
    for ((_, thread), spent) in after.iter().filter(|((node, _), _)| node == busiest.0) {
        let share = 100.0 * (spent - before.get(&(*busiest.0, thread.clone())).unwrap_or(&0.0)) / elapsed;
        println!("{thread:>16} {share:5.2} % of a core on {}", busiest.0);
    }
    assert!(sum / NODES as f64 <= MOST, "a node took {:.2} % of a core", sum / NODES as f64);
    assert_eq!(witness.double_answers(), 0, "{:?}", witness.doubles());
    Ok(())
}

/// The time that each node's threads of each name have spent on a processor, in seconds.
type Costs<'a> = BTreeMap<(&'a str, String), f64>;

fn costs(lab: &Lab) -> Result<Costs<'_>, Box<dyn Error>> {
    let mut costs = Costs::new();
    for node in lab.nodes() {
        for (process, prefix) in [(node.daemon()?, ""), (node.guard()?, "guard: ")] {
            for thread in fs::read_dir(format!("/proc/{process}/task"))? {
                let stat = fs::read_to_string(thread?.path().join("stat"))?;
                let (name, spent) = spent(&stat).ok_or("a line of /proc that can't be read")?;
                *costs.entry((node.name(), format!("{prefix}{name}"))).or_default() += spent;
            }
        }
    }
    Ok(costs)
}

/// A thread's name, and the time that it has spent on a processor, in seconds.
fn spent(stat: &str) -> Option<(&str, f64)> {
    let (name, fields) = stat.split_once('(')?.1.rsplit_once(')')?;
    // After the name: its state and ten numbers, then user and system time.
    let ticks = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok());
    Some((name, ticks.sum::<f64>() / clock_ticks_per_second() as f64))
}
