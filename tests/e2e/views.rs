//! What each node sees of the backends, what the cluster makes of it, and who had better not hold the VIP.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, LabError, Node, ProbePlan, Sandbox, TARGET};

use crate::cluster::{SEED, file, members};
use crate::harness::{Outcome, Test};
use crate::scene::{self, CHINTHE, PATIENCE, Scene, VIP, backend, holder, sum};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("views::a_holder_that_reaches_fewer_backends_than_others_yields", a_worse_holder_yields),
    Test::inside("views::a_backend_that_nobody_reaches_changes_no_priority", a_dead_backend_changes_nothing),
    Test::inside("views::of_two_nodes_the_one_that_reaches_fewer_yields", of_two_the_worse_yields),
    Test::inside("views::what_dead_members_saw_no_longer_counts", what_dead_members_saw),
];

/// How often backends are probed here, as in the file.
const INTERVAL: Duration = Duration::from_millis(500);
const INTERVAL_TEXT: &str = "500ms";

/// `nodes` nodes on one seed, of which `first` is to hold the VIP; it returns when it does, and all views are in.
fn start(sandbox: Sandbox, nodes: usize, first: &str) -> Result<Scene, LabError> {
    let priority = format!("priority = {{ {first} = 110 }}");
    let text = file(&[SEED], INTERVAL_TEXT, "").replace("priority = { ha1 = 105, ha2 = 104 }", &priority);
    assert!(text.contains(&priority), "{text}");
    let lab = Lab::builder(sandbox).program(CHINTHE).nodes(nodes).config(ConfigSource::Text(text)).start()?;
    let witness = lab.witness(VIP)?;
    let prober = lab.prober(ProbePlan::of(TARGET))?;
    let scene = Scene { prober, witness, lab };
    scene.await_holder(first, PATIENCE)?;
    for node in scene.lab.nodes() {
        for web in ["web1", "web2"] {
            await_views(&scene.lab, node, web, |view| view == "up", nodes)?;
        }
    }
    Ok(scene)
}

/// What each node sees of a backend, as `node` says.
fn views(node: &Node, web: &str) -> BTreeMap<String, String> {
    let Ok(backend) = backend(node, web) else { return BTreeMap::new() };
    let views = backend["views"].as_object().cloned().unwrap_or_default();
    views.into_iter().map(|(name, view)| (name, view.as_str().unwrap_or_default().to_owned())).collect()
}

/// Waits until `node` knows of just `number` views of this kind.
fn await_views(
    lab: &Lab,
    node: &Node,
    web: &str,
    kind: impl Fn(&str) -> bool,
    number: usize,
) -> Result<(), LabError> {
    let what = format!("{} to show {number} such views of {web}", node.name());
    lab.wait_for(&what, PATIENCE, || views(node, web).values().filter(|view| kind(view)).count() == number)
}

/// A node's effective priority, as it says itself.
fn priority(node: &Node) -> Result<i64, LabError> {
    Ok(node.status()?["vips"][0]["effective_priority"].as_i64().unwrap_or(-1))
}

fn a_worse_holder_yields(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, 5, "ha3")?;
    let ha3 = scene.node("ha3")?;
    assert_eq!(priority(ha3)?, 112);
    scene.lab.cut("ha3", "web2")?;
    scene.lab.wait_for("ha3 to find web2 down", PATIENCE, || {
        backend(ha3, "web2").is_ok_and(|backend| backend["health"] == "down")
    })?;
    let found = Instant::now();
    for node in scene.lab.nodes() {
        let name = node.name();
        let left = (2 * INTERVAL).saturating_sub(found.elapsed());
        scene.lab.wait_for(&format!("{name} to show that ha3 sees web2 down"), left, || {
            views(node, "web2").get("ha3").is_some_and(|view| view == "down")
        })?;
        let series = "chinthe_backend_views{service=\"myweb\",backend=\"web2\",verdict=\"down\"}";
        let left = (2 * INTERVAL).saturating_sub(found.elapsed());
        let labels = ["service=\"myweb\"", "backend=\"web2\"", "verdict=\"down\""];
        scene.lab.wait_for(&format!("{series} on {name}"), left, || {
            sum(node, "chinthe_backend_views", &labels).is_ok_and(|count| (count - 1.0).abs() < 0.1)
        })?;
        let backend = backend(node, "web2")?;
        assert_eq!(backend["agreed"], "up", "{name}: {backend}");
        let own = if name == "ha3" { "down" } else { "up" };
        assert_eq!(backend["health"], own, "{name}: {backend}");
        let disagrees = node.metric("chinthe_backend_disagreement{service=\"myweb\",backend=\"web2\"}")?;
        assert_eq!(disagrees, Some(if name == "ha3" { 1.0 } else { 0.0 }), "{name}");
    }
    eprintln!("all nodes showed ha3's view after {:?}", found.elapsed());

    scene.lab.wait_for("the VIP to move", PATIENCE, || {
        scene.witness.holder().is_some_and(|holder| holder != "ha3")
    })?;
    eprintln!("the VIP had moved after {:?}", found.elapsed());
    scene.lab.wait_for("ha3 to be a backup", PATIENCE, || {
        ha3.status().is_ok_and(|status| status["vips"][0]["state"] == "backup")
    })?;
    // As long as it is worse it stays away, though its own file would have it first.
    let settled = Instant::now();
    scene.lab.wait_for("ten intervals", PATIENCE, || {
        assert_ne!(holder(ha3).as_deref(), Some("ha3"));
        settled.elapsed() > 10 * INTERVAL
    })?;
    assert!(priority(ha3)? < 102, "below the peers that reach more");
    let taken = sum(ha3, "chinthe_vip_transitions_total", &["to=\"active\""])?;
    assert!((taken - 1.0).abs() < 0.1, "it took the VIP once, at the start: {taken}");

    scene.lab.heal("ha3", "web2")?;
    scene.await_holder("ha3", PATIENCE)?;
    assert_eq!(priority(ha3)?, 112);
    for node in scene.lab.nodes() {
        await_views(&scene.lab, node, "web2", |view| view == "up", 5)?;
    }
    scene.assert_one_answerer();
    Ok(())
}

fn a_dead_backend_changes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, 5, "ha3")?;
    let nodes = scene.lab.nodes();
    let priorities = || nodes.iter().map(priority).collect::<Result<Vec<_>, _>>();
    let before = priorities()?;
    assert_eq!(before, [102, 102, 112, 102, 102]);
    let transitions = || -> Result<f64, LabError> {
        nodes.iter().map(|node| sum(node, "chinthe_vip_transitions_total", &[])).sum()
    };
    let moved = transitions()?;
    for cut in [true, false] {
        for node in nodes {
            if cut { scene.lab.cut(node.name(), "web2")? } else { scene.lab.heal(node.name(), "web2")? }
        }
        let view = if cut { "down" } else { "up" };
        let mut settled = None;
        scene.lab.wait_for(
            &format!("everybody to see web2 {view}, and some intervals more"),
            PATIENCE,
            || {
                let now = priorities().unwrap_or_default();
                assert_eq!(now, before);
                if nodes.iter().all(|node| views(node, "web2").values().filter(|v| *v == view).count() == 5) {
                    settled.get_or_insert_with(Instant::now);
                }
                settled.is_some_and(|since| since.elapsed() > 4 * INTERVAL)
            },
        )?;
        for node in nodes {
            assert_eq!(backend(node, "web2")?["agreed"], view, "{}", node.name());
        }
    }
    assert!((transitions()? - moved).abs() < 0.1, "the VIP has stayed where it was");
    scene.assert_one_answerer();
    Ok(())
}

fn of_two_the_worse_yields(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, 2, "ha1")?;
    scene.lab.cut("ha1", "web2")?;
    scene.await_holder("ha2", PATIENCE)?;
    for node in scene.lab.nodes() {
        assert_eq!(backend(node, "web2")?["agreed"], "up", "{}: a tie is up", node.name());
    }
    // Both reach one each: equals don't yield, and the file decides again.
    scene.lab.cut("ha2", "web1")?;
    scene.await_holder("ha1", PATIENCE)?;
    scene.lab.heal("ha1", "web2")?;
    scene.lab.heal("ha2", "web1")?;
    for node in scene.lab.nodes() {
        for web in ["web1", "web2"] {
            await_views(&scene.lab, node, web, |view| view == "up", 2)?;
        }
    }
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn what_dead_members_saw(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, 5, "ha1")?;
    for name in ["ha3", "ha4", "ha5"] {
        scene.node(name)?.power_off()?;
    }
    let rest = &scene.lab.nodes()[..2];
    for node in rest {
        scene.lab.wait_for(&format!("{} to miss three", node.name()), PATIENCE, || {
            members(node).values().filter(|state| *state == "dead").count() == 3
        })?;
    }
    for node in rest {
        scene.lab.cut(node.name(), "web2")?;
    }
    for node in rest {
        scene.lab.wait_for(&format!("{} to agree that web2 is down", node.name()), PATIENCE, || {
            backend(node, "web2").is_ok_and(|backend| backend["agreed"] == "down")
        })?;
        assert!(scene::is_ready(node));
    }
    Ok(())
}
