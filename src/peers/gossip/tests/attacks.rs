//! Nobody without the secret has any effect, and nobody with it a lasting one.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::super::News;
use super::super::sealed::Datagram;
use super::forge::{self, Id};
use super::network::{CLUSTER, Network, Peer, SECRET, address, start_with, until};
use super::{members, met};
use crate::core::{Boot, Time};
use crate::wire::member_id;
use crate::wire::seal::{Channel, Envelope, Keyring, Opened, Reject};

const NOW: Time = Time::from_nanos(1 << 50);

/// Somebody at address 66.
struct Mallory {
    network: Arc<Network>,
    inbox: mpsc::Receiver<Datagram>,
    envelope: Envelope,
}

impl Mallory {
    fn new(network: &Arc<Network>, secret: &[u8], cluster: &str) -> Self {
        let keyring = Keyring::new(secret, cluster);
        let id = member_id("mallory");
        let envelope = Envelope::new(keyring, Channel::Gossip, id, Boot([66; 16]), [66; 32]);
        Self { network: Arc::clone(network), inbox: network.plug(66), envelope }
    }

    fn send(&self, datagram: &[u8], to: SocketAddr) {
        self.network.send(address(66), to, datagram);
    }

    /// Has its boot id believed, as any node would.
    async fn prove(&mut self, to: SocketAddr) {
        let first = self.envelope.seal(b"");
        self.send(&first, to);
        loop {
            let (datagram, from) = self.inbox.recv().await.expect("plugged in");
            if from == to
                && let Ok(Opened::Reply(proof)) = self.envelope.open(&datagram, NOW)
            {
                self.send(&proof, to);
                return;
            }
        }
    }

    fn say(&mut self, message: &[u8], to: SocketAddr) {
        let datagram = self.envelope.seal(message);
        self.send(&datagram, to);
    }
}

fn id(peer: &Peer, by: &Peer, number: u8) -> Id {
    let generation = by.directory().members[&peer.name].generation;
    Id { name: peer.name.clone(), generation, address: address(number) }
}

fn refused(peer: &Peer, why: Reject) -> usize {
    peer.count(|news| *news == News::Rejected(why))
}

/// Three members, and Mallory among them with their secret.
async fn with_an_insider() -> (Arc<Network>, Vec<Peer>, Mallory) {
    let network = Network::new();
    let peers = members(&network, 3);
    met(&peers).await;
    let mut mallory = Mallory::new(&network, SECRET, CLUSTER);
    mallory.prove(address(1)).await;
    (network, peers, mallory)
}

async fn recovers(peers: &[Peer]) {
    until("chitchat dies", || peers[0].heard(|news| matches!(news, News::Died { restarts: 1 }))).await;
    until("it is back, and has been taken note of", || {
        peers[0].alive() && peers[1].directory().members["node1"].live && peers[0].live().len() == 2
    })
    .await;
    peers[0].publish("cfg", "after");
    until("it goes on as ever", || {
        peers[1].value("node1", "cfg") == Some("after".into())
            && peers[1].value("node1", "prio") == Some("1".into())
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn strangers_have_no_effect_and_are_counted() {
    let network = Network::new();
    let peers = members(&network, 2);
    met(&peers).await;
    let ghost = Id { name: "ghost".into(), generation: 1, address: address(66) };
    let message = forge::syn(CLUSTER, &[(ghost, 7)]);
    let mut stranger = Mallory::new(&network, b"another secret of thirty-two byte", CLUSTER);
    let mut neighbour = Mallory::new(&network, SECRET, "another cluster");
    for _ in 0..10 {
        // In plain text, by another secret, of another cluster, and with a byte changed.
        stranger.send(&message, address(1));
        stranger.say(&message, address(1));
        neighbour.say(&message, address(1));
        let mut forged = Mallory::new(&network, SECRET, CLUSTER).envelope.seal(&message);
        forged[50] ^= 1;
        stranger.send(&forged, address(1));
        sleep(Duration::from_millis(100)).await;
    }
    for why in [Reject::Version, Reject::Key, Reject::Cluster, Reject::Forged] {
        assert!(refused(&peers[0], why) >= 10, "{why:?}");
    }
    assert_eq!(peers[0].directory().members.len(), 1);
    assert!(!peers[0].heard(|news| matches!(news, News::Died { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_was_recorded_can_t_be_played_back() {
    let network = Network::new();
    let mut peers = members(&network, 3);
    network.record();
    met(&peers).await;
    sleep(Duration::from_secs(30)).await;
    let tape = network.recorded_to(1);
    let mallory = Mallory::new(&network, b"none", CLUSTER);
    let before = refused(&peers[0], Reject::Replayed);
    for datagram in tape.iter().rev().take(100) {
        mallory.send(datagram, address(1));
    }
    until("all are refused", || refused(&peers[0], Reject::Replayed) >= before + 100).await;
    // Nor to one that has just started and knows nobody.
    drop(peers.drain(..));
    for number in 1..=3 {
        network.unplug(number);
    }
    let fresh = start_with(&network, 1, |settings, _clock| {
        settings.boot = Boot([77; 16]);
        settings.cookies = [77; 32];
    });
    until("it lives", || fresh.alive()).await;
    for datagram in &tape[..100] {
        mallory.send(datagram, address(1));
    }
    sleep(Duration::from_secs(5)).await;
    assert_eq!(fresh.directory().members.len(), 0);
    assert!(fresh.heard(|news| matches!(news, News::Rejected(Reject::Unproven | Reject::Replayed))));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_contradicts_itself_kills_chitchat_and_it_comes_back() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let victim = id(&peers[1], &peers[0], 2);
    mallory.say(&forge::ack(&victim, &[("cfg", "x", 10_000)], Some(5_000)), address(1));
    recovers(&peers).await;
}

#[tokio::test(start_paused = true)]
async fn a_key_that_isn_t_ascii_kills_chitchat_and_it_comes_back() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let victim = id(&peers[1], &peers[0], 2);
    mallory.say(&forge::ack(&victim, &[("été", "x", 10_000)], None), address(1));
    recovers(&peers).await;
}

#[tokio::test(start_paused = true)]
async fn nobody_has_the_last_word_on_a_node_s_own_values() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let victim = id(&peers[0], &peers[1], 1);
    mallory.say(&forge::ack(&victim, &[("prio", "254", 500)], None), address(1));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(peers[1].value("node1", "prio"), Some("1".into()));
    assert!(!peers[0].heard(|news| matches!(news, News::Died { .. })));
    mallory.say(&forge::ack(&victim, &[("prio", "254", u64::MAX)], None), address(1));
    recovers(&peers).await;
}

#[tokio::test(start_paused = true)]
async fn ghosts_end_at_the_directory_s_bounds() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let ghosts = |beat: u64| {
        (0..150_u64)
            .map(|n| (Id { name: format!("a-ghost{n}"), generation: 1, address: address(67) }, beat))
            .collect::<Vec<_>>()
    };
    for beat in 1..20 {
        mallory.say(&forge::syn(CLUSTER, &ghosts(beat)), address(1));
        sleep(Duration::from_millis(100)).await;
    }
    let directory = peers[0].directory();
    assert_eq!(directory.members.len(), super::super::directory::MEMBERS);
    assert!(
        directory.members["node2"].live && directory.members["node3"].live,
        "no ghost displaces a member"
    );
    assert!(peers[0].heard(|news| matches!(news, News::Dropped { why: super::Dropped::Foreign, .. })));
}

#[tokio::test(start_paused = true)]
async fn more_ghosts_than_chitchat_can_name_in_a_datagram_are_survived() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let ghosts: Vec<_> = (0..1_100_u64)
        .map(|n| (Id { name: format!("ghost{n}"), generation: n, address: address(67) }, 1))
        .collect();
    mallory.say(&forge::syn(CLUSTER, &ghosts), address(1));
    until("chitchat is given up", || peers[0].heard(|news| matches!(news, News::Died { .. }))).await;
}

#[tokio::test(start_paused = true)]
async fn what_opens_and_is_no_message_is_counted() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let before = refused(&peers[0], Reject::Malformed);
    mallory.say(&forge::bomb(), address(1));
    mallory.say(b"junk", address(1));
    mallory.say(&[0x53, 0xb0, 1, 2, 2, 1, 0, 9, 0], address(1));
    until("all are refused", || refused(&peers[0], Reject::Malformed) == before + 3).await;
    assert!(!peers[0].heard(|news| matches!(news, News::Died { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_generation_that_no_clock_shows_outranks_nobody() {
    let (_network, peers, mut mallory) = with_an_insider().await;
    let mut victim = id(&peers[1], &peers[0], 2);
    victim.generation = u64::MAX;
    for beat in 1..20 {
        mallory.say(&forge::syn(CLUSTER, &[(victim.clone(), beat)]), address(1));
        sleep(Duration::from_millis(100)).await;
    }
    assert!(peers[0].directory().members["node2"].generation < u64::MAX);
}
