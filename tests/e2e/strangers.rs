//! Whoever doesn't belong to the cluster changes nothing in it, and is counted.

use std::fs;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Instant;

use chinthe::lab::{LabError, Node, Sandbox};

use crate::harness::{Outcome, Test};
use crate::scene::{self, PATIENCE, POST, Scene, VIP, has_vip, sum};
use crate::sniffer::Sniffer;

pub(crate) const TESTS: &[Test] = &[
    Test::inside("strangers::a_node_with_a_wrong_secret_changes_nothing", a_wrong_secret_changes_nothing),
    Test::inside("strangers::a_node_of_another_cluster_changes_nothing", another_cluster_changes_nothing),
    Test::inside(
        "strangers::a_node_with_a_wrong_secret_does_not_take_an_address_that_answers",
        a_wrong_secret_takes_nothing,
    ),
    Test::inside("strangers::a_second_node_of_the_holders_name_changes_nothing", a_second_ha1),
    Test::inside("strangers::a_second_node_of_the_backups_name_changes_nothing", a_second_ha2),
    Test::inside("strangers::random_datagrams_change_nothing", random_datagrams_change_nothing),
    Test::inside("strangers::replayed_datagrams_change_nothing", replayed_datagrams_change_nothing),
    Test::inside("strangers::a_forged_claim_is_counted_and_answered", a_forged_claim_is_counted_and_answered),
];

/// The nodes' ports for each other.
const ADVERTISEMENTS: u16 = 7780;
const BEACONS: u16 = 7781;
/// Where beacons go.
const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 81);

/// How many datagrams of each kind a stranger sends.
const MANY: u64 = 200;

/// The post's pair, and a third machine whose daemon hasn't been started.
fn start_with_a_third(sandbox: Sandbox) -> Result<Scene, LabError> {
    let lab = scene::post(sandbox).nodes(3).without_daemons().start()?;
    for name in ["ha1", "ha2"] {
        lab.node(name)?.start()?;
    }
    Scene::watch(lab)
}

/// What mustn't change: each node's transitions, and what it thinks of who is there.
fn account(scene: &Scene) -> Result<Vec<(f64, f64, String)>, LabError> {
    let account = |name: &str| {
        let node = scene.node(name)?;
        let transitions = sum(node, "chinthe_vip_transitions_total", &[])?;
        let alive = sum(node, "chinthe_cluster_members", &["state=\"alive\""])?;
        let status = node.status()?;
        let members = status["members"].as_array().cloned().unwrap_or_default();
        let members: Vec<String> =
            members.iter().map(|m| format!("{} at {}", m["name"], m["address"])).collect();
        Ok((transitions, alive, members.join(", ")))
    };
    ["ha1", "ha2"].into_iter().map(account).collect()
}

/// Rejections by either node for `reason`, on all channels.
fn rejected(node: &Node, reason: &str) -> f64 {
    sum(node, "chinthe_peer_messages_rejected_total", &[&format!("reason=\"{reason}\"")]).unwrap_or_default()
}

/// Waits until ha1 and ha2 have each refused some more for `reason`, and looks that this is all that came of it.
fn assert_refused(scene: &Scene, reason: &str, some: f64, deed: impl FnOnce() -> Outcome) -> Outcome {
    let before = account(scene)?;
    let nodes = [scene.node("ha1")?, scene.node("ha2")?];
    let counted = nodes.map(|node| rejected(node, reason));
    let began = Instant::now();
    deed()?;
    for (node, before) in nodes.into_iter().zip(counted) {
        let what = format!("{} to refuse it: {reason}", node.name());
        scene.lab.wait_for(&what, PATIENCE, || rejected(node, reason) >= before + some)?;
    }
    assert_eq!(account(scene)?, before);
    assert_eq!(scene.witness.holder().as_deref(), Some("ha1"));
    assert_eq!(scene.prober.tally(began).failed(), 0);
    scene.assert_one_answerer();
    Ok(())
}

/// A secret of somebody else's, beside the file of `node`.
fn wrong_secret(node: &Node) -> io::Result<PathBuf> {
    let path = node.config().with_extension("secret");
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path)?;
    file.write_all(b"a secret of somebody else's, and a long one")?;
    Ok(path)
}

fn start_with_wrong_secret(node: &Node) -> Outcome {
    let secret = wrong_secret(node)?;
    node.start_with(|command| {
        command
            .env("CHINTHE_SECRET_FILE", secret)
            .args(["run", "--node", node.name(), "--config"])
            .arg(node.config());
    })?;
    Ok(())
}

fn a_wrong_secret_changes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = start_with_a_third(sandbox)?;
    let ha3 = scene.node("ha3")?;
    assert_refused(&scene, "key", 20.0, || start_with_wrong_secret(ha3))
}

fn another_cluster_changes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = start_with_a_third(sandbox)?;
    let ha3 = scene.node("ha3")?;
    fs::write(ha3.config(), POST.replace("name = \"myweb\"\nseeds", "name = \"yourweb\"\nseeds"))?;
    assert_refused(&scene, "cluster", 20.0, || Ok(ha3.start()?))
}

/// It can't know of the others, but it sees that the address answers: for longer than any lease lasts.
fn a_wrong_secret_takes_nothing(sandbox: Sandbox) -> Outcome {
    let scene = start_with_a_third(sandbox)?;
    let ha3 = scene.node("ha3")?;
    assert_refused(&scene, "key", 80.0, || start_with_wrong_secret(ha3))?;
    assert_ne!(ha3.status()?["vips"][0]["state"], "active");
    assert!(!has_vip(ha3.machine()));
    Ok(())
}

/// A third machine under a name that is taken changes nothing for as long as it tries.
fn impostor(sandbox: Sandbox, name: &str, address: &str) -> Outcome {
    let scene = start_with_a_third(sandbox)?;
    let ha3 = scene.node("ha3")?;
    let (own, others) = (format!("{name} = \"{address}\""), format!("{name} = \"192.168.56.23\""));
    fs::write(ha3.config(), POST.replace(&own, &others))?;
    let transitions = |name: &str| sum(scene.node(name)?, "chinthe_vip_transitions_total", &[]);
    let before = (transitions("ha1")?, transitions("ha2")?);
    let began = Instant::now();
    ha3.start_with(|command| {
        command.args(["run", "--node", name, "--config"]).arg(ha3.config());
    })?;
    let real = scene.node(name)?;
    let what = format!("{name} to refuse its own name");
    scene.lab.wait_for(&what, PATIENCE, || rejected(real, "own") >= 50.0)?;
    assert_eq!((transitions("ha1")?, transitions("ha2")?), before);
    assert_eq!(scene.witness.holder().as_deref(), Some("ha1"));
    assert_eq!(scene.prober.tally(began).failed(), 0);
    scene.assert_one_answerer();
    Ok(())
}

fn a_second_ha1(sandbox: Sandbox) -> Outcome {
    impostor(sandbox, "ha1", "192.168.56.21")
}

fn a_second_ha2(sandbox: Sandbox) -> Outcome {
    impostor(sandbox, "ha2", "192.168.56.22")
}

fn random_datagrams_change_nothing(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let client = scene.lab.machine("client")?;
    let socket = client.space().within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    let targets = |scene: &Scene| -> Result<Vec<SocketAddrV4>, LabError> {
        let mut targets = vec![SocketAddrV4::new(GROUP, BEACONS)];
        for name in ["ha1", "ha2"] {
            let address = scene.lab.machine(name)?.address();
            targets.extend([ADVERTISEMENTS, BEACONS].map(|port| SocketAddrV4::new(address, port)));
        }
        Ok(targets)
    };
    let targets = targets(&scene)?;
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut send = |make: &mut dyn FnMut(&mut Random) -> Vec<u8>| -> Outcome {
        for _ in 0..MANY {
            let datagram = make(&mut random);
            for target in &targets {
                // One too many for a buffer is one that can't do harm either.
                let _ = socket.send_to(&datagram, target);
            }
        }
        Ok(())
    };
    assert_refused(&scene, "short", 50.0, || send(&mut |random| random.bytes(30)))?;
    assert_refused(&scene, "version", 50.0, || {
        send(&mut |random| {
            let mut bytes = random.bytes(1200);
            bytes.resize(bytes.len().max(100), 0);
            bytes[0] = 0;
            bytes
        })
    })?;
    Ok(())
}

fn replayed_datagrams_change_nothing(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    // Recorded where they arrive: what ha2 tells ha1, the other way round, and the holder's beacons.
    let mut recorded = Vec::new();
    let mut sniffers = [Sniffer::at(scene.lab.machine("ha1")?)?, Sniffer::at(scene.lab.machine("ha2")?)?];
    scene.lab.wait_for("datagrams on each channel", PATIENCE, || {
        for sniffer in &mut sniffers {
            recorded.extend(sniffer.heard().into_iter().filter(|packet| !packet.payload.is_empty()));
        }
        [ADVERTISEMENTS, BEACONS].iter().all(|port| recorded.iter().filter(|p| p.port == *port).count() > 20)
    })?;
    let client = scene.lab.machine("client")?;
    let socket = client.space().within(|| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    assert_refused(&scene, "replayed", 10.0, || {
        for _ in 0..5 {
            for packet in &recorded {
                let _ = socket.send_to(&packet.payload, (packet.to, packet.port));
            }
        }
        Ok(())
    })?;
    // The same to a daemon that has just started, and so has seen none of them.
    let ha2 = scene.node("ha2")?;
    ha2.kill9_daemon()?;
    ha2.start()?;
    scene.await_home()?;
    assert_refused(&scene, "replayed", 0.0, || {
        for packet in &recorded {
            let _ = socket.send_to(&packet.payload, (packet.to, packet.port));
        }
        Ok(())
    })?;
    scene.await_home()?;
    Ok(())
}

fn a_forged_claim_is_counted_and_answered(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha1 = scene.node("ha1")?;
    let before = account(&scene)?;
    let announced = scene.witness.announcements("ha1");
    let began = Instant::now();
    let conflicts = || sum(ha1, "chinthe_vip_conflicts_total", &["source=\"arp\""]).unwrap_or_default();
    for claim in 1..=3 {
        scene.lab.claim("web1", VIP)?;
        scene.lab.wait_for("the claim to be counted", PATIENCE, || conflicts() >= f64::from(claim))?;
    }
    scene.lab.wait_for("ha1 to announce it", PATIENCE, || scene.witness.announcements("ha1") > announced)?;
    // The client believes whoever spoke last: that is ha1 again.
    let since = Instant::now();
    scene.lab.wait_for("the client to be served", PATIENCE, || scene.prober.answered_since(since))?;
    assert!(scene.prober.gap(began) < scene::FAILOVER, "{:?}", scene.prober.gap(began));
    assert_eq!(account(&scene)?, before);
    scene.lab.wait_for("the log to tell of it", PATIENCE, || ha1.log_text().contains("vip.conflict"))?;
    scene.assert_one_answerer();
    Ok(())
}

/// Bytes that are the same in every run: xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Up to `most` of them.
    fn bytes(&mut self, most: u64) -> Vec<u8> {
        let length = self.next() % most;
        (0..length).map(|_| self.next().to_le_bytes()[0]).collect()
    }
}
