//! Many nodes that find each other by gossip: from one seed, across its death, partitions and their own.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use chinthe::lab::{Builder, ConfigSource, Lab, LabError, Node, Sandbox};

use crate::harness::{Outcome, Test};
use crate::scene::{self, CHINTHE, FAILOVER, PATIENCE, Scene, VIP, holder, sum};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("cluster::five_nodes_find_each_other_by_one_seed", five_nodes_find_each_other),
    Test::inside("cluster::a_sixth_joins_through_another_member_while_the_seed_is_dead", a_sixth_joins),
    Test::inside("cluster::five_nodes_meet_by_one_seed_without_gossip", five_nodes_meet_without_gossip),
    Test::inside("cluster::a_failover_needs_no_gossip_and_gossip_comes_back", a_failover_needs_no_gossip),
    Test::inside("cluster::a_partition_heals_without_a_restart", a_partition_heals),
    Test::inside("cluster::a_node_that_stops_has_left_at_once", a_node_that_stops_has_left),
    Test::inside("cluster::the_younger_of_two_nodes_of_one_name_gives_up", the_younger_gives_up),
];

/// From the last node's start until everybody knows everybody.
const FOUND: Duration = Duration::from_secs(2);

/// From a clean stop until everybody has heard of it.
const FAREWELL: Duration = Duration::from_secs(1);

/// Messages that a node of three hears of the two others until it has long given up whoever it doesn't hear.
const ROUNDS: f64 = 50.0;

/// The one file of a cluster whose nodes say by `--node` who they are; ha1 comes first, then ha2.
pub(crate) fn file(seeds: &[&str], probe_interval: &str, more: &str) -> String {
    let seeds: Vec<String> = seeds.iter().map(|seed| format!("\"{seed}\"")).collect();
    format!(
        r#"
[cluster]
name = "myweb"
seeds = [{}]
secret_file = "/etc/chinthe/secret"
{more}
[[vip]]
name = "vi_1"
address = "192.168.56.69/24"
interface = "eth1"
priority = {{ ha1 = 105, ha2 = 104 }}
track = [{{ service = "myweb", weight = 2 }}]

[[service]]
name = "myweb"
listen = ["0.0.0.0:80"]
check = {{ type = "tcp", interval = "{probe_interval}", fall = 3, rise = 2 }}

[[service.backend]]
name = "web1"
address = "192.168.56.11:80"

[[service.backend]]
name = "web2"
address = "192.168.56.12:80"
"#,
        seeds.join(", ")
    )
}

/// A lab of `nodes` machines with this one seed, none of whose daemons has been started.
fn by_one_seed(sandbox: Sandbox, nodes: usize) -> Builder {
    let text = file(&[SEED], "500ms", "");
    Lab::builder(sandbox).program(CHINTHE).nodes(nodes).config(ConfigSource::Text(text)).without_daemons()
}

/// ha1's address.
pub(crate) const SEED: &str = "192.168.56.21";

/// The first five of a lab's nodes, on one seed, each started and known to all.
fn five(builder: Builder) -> Result<Scene, LabError> {
    let lab = builder.start()?;
    let five = &lab.nodes()[..5];
    five.iter().try_for_each(Node::start)?;
    await_all(&lab, five, &["ha1", "ha2", "ha3", "ha4", "ha5"], PATIENCE)?;
    Scene::watch(lab)
}

/// How the members are doing, as `node` says; nothing while it doesn't answer.
pub(crate) fn members(node: &Node) -> BTreeMap<String, String> {
    let Ok(status) = node.status() else { return BTreeMap::new() };
    let members = status["members"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    members.iter().map(|member| (text(&member["name"]), text(&member["state"]))).collect()
}

/// Waits until each of `nodes` sees `names` alive, nobody else, and the same holder.
fn await_all(lab: &Lab, nodes: &[Node], names: &[&str], timeout: Duration) -> Result<(), LabError> {
    let wanted: BTreeMap<String, String> =
        names.iter().map(|name| ((*name).to_owned(), "alive".to_owned())).collect();
    let end = Instant::now() + timeout;
    for node in nodes {
        let left = end.saturating_duration_since(Instant::now());
        let what = format!("{} to see all members alive: {:?}", node.name(), members(node));
        lab.wait_for(&what, left, || members(node) == wanted)?;
    }
    lab.wait_for("one holder", end.saturating_duration_since(Instant::now()), || {
        let holders: BTreeSet<_> = nodes.iter().map(holder).collect();
        holders.len() == 1 && !holders.contains(&None)
    })
}

/// Waits until `node` says of `member` that it is `state`.
fn await_state(lab: &Lab, node: &Node, member: &str, state: &str, timeout: Duration) -> Result<(), LabError> {
    let what = format!("{} to see {member} {state}", node.name());
    lab.wait_for(&what, timeout, || members(node).get(member).is_some_and(|now| now == state))
}

/// Gossip's datagrams that `node` has taken in.
fn gossip_heard(node: &Node) -> Result<f64, LabError> {
    sum(node, "chinthe_peer_messages_total", &["channel=\"gossip\"", "direction=\"in\""])
}

fn five_nodes_find_each_other(sandbox: Sandbox) -> Outcome {
    let lab = by_one_seed(sandbox, 5).start()?;
    lab.nodes().iter().try_for_each(Node::start)?;
    let began = Instant::now();
    await_all(&lab, lab.nodes(), &["ha1", "ha2", "ha3", "ha4", "ha5"], FOUND)?;
    eprintln!("all members are known to all after {:?}", began.elapsed());
    Scene::watch(lab)?.assert_one_answerer();
    Ok(())
}

fn a_sixth_joins(sandbox: Sandbox) -> Outcome {
    let (one, two) = (file(&[SEED], "500ms", ""), file(&[SEED, "192.168.56.24"], "500ms", ""));
    let mut texts = vec![one; 5];
    texts.push(two);
    let builder = by_one_seed(sandbox, 6).config(ConfigSource::Texts(texts));
    let scene = five(builder)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.power_off())?;
    let rest = &scene.lab.nodes()[1..5];
    let but_the_seed = |node: &Node| {
        let mut all = members(node);
        (all.remove("ha1"), all)
    };
    for node in rest {
        await_state(&scene.lab, node, "ha1", "dead", PATIENCE)?;
        let (_, others) = but_the_seed(node);
        assert_eq!(others.len(), 4, "{}: {others:?}", node.name());
        assert!(others.values().all(|state| state == "alive"), "{}: {others:?}", node.name());
    }
    scene.await_holder("ha2", PATIENCE)?;
    scene.node("ha6")?.start()?;
    let began = Instant::now();
    for node in &scene.lab.nodes()[1..] {
        scene.lab.wait_for(&format!("{} to see five alive", node.name()), PATIENCE, || {
            let (_, others) = but_the_seed(node);
            others.len() == 5 && others.values().all(|state| state == "alive")
        })?;
    }
    eprintln!("the sixth was known to all after {:?}", began.elapsed());
    // The one seed of five files comes back, and finds them all: they look for it.
    scene.node("ha1")?.power_on()?;
    await_all(&scene.lab, scene.lab.nodes(), &["ha1", "ha2", "ha3", "ha4", "ha5", "ha6"], PATIENCE)?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

/// Whom a member hears it introduces. Nodes that start together and know one seed must meet before any of them
/// thinks that the VIP is vacant, and gossip is too slow for that, if it lives.
fn five_nodes_meet_without_gossip(sandbox: Sandbox) -> Outcome {
    let lab = by_one_seed(sandbox, 5).start()?;
    for node in lab.nodes() {
        node.machine().set_loopback(false)?;
    }
    let (nodes, witness) = (lab.nodes(), lab.witness(VIP)?);
    for _round in 0..3 {
        nodes.iter().try_for_each(Node::start)?;
        await_all(&lab, nodes, &["ha1", "ha2", "ha3", "ha4", "ha5"], PATIENCE)?;
        nodes.iter().try_for_each(Node::kill9_both)?;
    }
    assert_eq!(witness.double_answers(), 0, "{:?}", witness.doubles());
    Ok(())
}

fn a_failover_needs_no_gossip(sandbox: Sandbox) -> Outcome {
    let scene = five(by_one_seed(sandbox, 6))?;
    let first_five = &scene.lab.nodes()[..5];
    for node in scene.lab.nodes() {
        node.machine().set_loopback(false)?;
    }
    for node in first_five {
        // Several intervals without a single message, since a while after the loopback went.
        let (mut before, mut still) = (f64::NAN, Instant::now());
        scene.lab.wait_for(&format!("gossip to die on {}", node.name()), PATIENCE, || {
            let now = gossip_heard(node).unwrap_or(f64::NAN);
            if now.to_bits() != before.to_bits() {
                (before, still) = (now, Instant::now());
            }
            still.elapsed() > Duration::from_secs(2)
        })?;
    }
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    scene.await_home()?;
    let before: Vec<f64> = first_five.iter().map(gossip_heard).collect::<Result<_, _>>()?;
    for node in scene.lab.nodes() {
        node.machine().set_loopback(true)?;
    }
    for (node, before) in first_five.iter().zip(before) {
        scene.lab.wait_for(&format!("gossip to come back on {}", node.name()), PATIENCE, || {
            gossip_heard(node).is_ok_and(|now| now > before + 5.0)
        })?;
    }
    scene.node("ha6")?.start()?;
    let all = ["ha1", "ha2", "ha3", "ha4", "ha5", "ha6"];
    await_all(&scene.lab, scene.lab.nodes(), &all, PATIENCE)?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_partition_heals(sandbox: Sandbox) -> Outcome {
    let scene = five(by_one_seed(sandbox, 5))?;
    let (ones, others) = scene.lab.nodes().split_at(3);
    let strand = |stranded: bool| others.iter().try_for_each(|node| node.machine().strand(stranded));
    let view = |node: &Node, web: &str, of: &str| -> Option<String> {
        scene::backend(node, web).ok()?["views"][of].as_str().map(str::to_owned)
    };
    // What one side learns while the other can't hear of it.
    let lessons = [("ha3", "web2"), ("ha2", "web2")];
    for (learner, web) in lessons {
        strand(true)?;
        scene.lab.cut(learner, web)?;
        for (here, there) in [(ones, others), (others, ones)] {
            for node in here {
                for gone in there {
                    await_state(&scene.lab, node, gone.name(), "dead", PATIENCE)?;
                }
                for near in here {
                    await_state(&scene.lab, node, near.name(), "alive", PATIENCE)?;
                }
            }
        }
        // Without a quorum each side has one of its own.
        for node in others {
            scene.lab.wait_for("a holder beyond the cut", PATIENCE, || {
                holder(node).is_some_and(|name| name == "ha4" || name == "ha5")
            })?;
        }
        for node in ones {
            assert_eq!(holder(node).as_deref(), Some("ha1"), "{}", node.name());
        }
        for node in others {
            for beyond in others {
                scene.lab.wait_for("gossip to go on beyond the cut", PATIENCE, || {
                    view(node, "web1", beyond.name()).is_some_and(|view| view == "down")
                })?;
            }
        }
        // Long enough for gossip, too, to take those beyond the cut for dead.
        let heard = gossip_heard(&ones[0])?;
        scene.lab.wait_for("many rounds of gossip", PATIENCE, || {
            gossip_heard(&ones[0]).is_ok_and(|now| now > heard + ROUNDS)
        })?;
        strand(false)?;
        await_all(&scene.lab, scene.lab.nodes(), &["ha1", "ha2", "ha3", "ha4", "ha5"], PATIENCE)?;
        scene.await_home()?;
        for node in scene.lab.nodes() {
            for seen_by in scene.lab.nodes() {
                let what = format!("{} to hear what {} sees", node.name(), seen_by.name());
                let web2 = if seen_by.name() == learner { "down" } else { "up" };
                scene.lab.wait_for(&what, PATIENCE, || {
                    view(node, "web1", seen_by.name()).is_some_and(|view| view == "up")
                        && view(node, "web2", seen_by.name()).is_some_and(|view| view == web2)
                })?;
            }
        }
        scene.lab.heal(learner, web)?;
    }
    Ok(())
}

fn a_node_that_stops_has_left(sandbox: Sandbox) -> Outcome {
    let scene = five(by_one_seed(sandbox, 5))?;
    for name in ["ha4", "ha1"] {
        let node = scene.node(name)?;
        node.terminate()?;
        let end = Instant::now() + FAREWELL;
        for other in scene.lab.nodes().iter().filter(|other| other.name() == "ha2" || other.name() == "ha5") {
            let left = end.saturating_duration_since(Instant::now());
            await_state(&scene.lab, other, name, "left", left)?;
        }
        assert_eq!(node.wait_exit(PATIENCE)?.code(), Some(0));
    }
    scene.await_holder("ha2", PATIENCE)?;
    for name in ["ha4", "ha1"] {
        scene.node(name)?.start()?;
    }
    await_all(&scene.lab, scene.lab.nodes(), &["ha1", "ha2", "ha3", "ha4", "ha5"], PATIENCE)?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}

fn the_younger_gives_up(sandbox: Sandbox) -> Outcome {
    let scene = five(by_one_seed(sandbox, 6))?;
    let (older, younger) = (scene.node("ha3")?, scene.node("ha6")?);
    let before = older.daemon()?;
    younger.start_with(|command| {
        command.args(["run", "--node", "ha3", "--config"]).arg(younger.config());
    })?;
    let began = Instant::now();
    assert_eq!(younger.wait_exit(PATIENCE)?.code(), Some(2), "the host won't have it");
    eprintln!("the younger gave up after {:?}", began.elapsed());
    scene.lab.wait_for("the reason to be in the log", PATIENCE, || {
        let said = younger.log_text();
        said.contains("error: another node at 192.168.56.23 has this one's name") && said.contains("hint: ")
    })?;
    assert_eq!(older.daemon()?, before, "the older goes on");
    assert!(older.log_text().contains("peer.name_taken"), "{}", older.log_text());
    let first_five = &scene.lab.nodes()[..5];
    await_all(&scene.lab, first_five, &["ha1", "ha2", "ha3", "ha4", "ha5"], PATIENCE)?;
    scene.await_home()?;
    scene.assert_one_answerer();
    Ok(())
}
