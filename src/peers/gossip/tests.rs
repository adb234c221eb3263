//! Gossip on a clock that stands still, in a network without wires: chitchat, its codec and the envelope are the
//! real ones.

mod attacks;
mod forge;
mod network;
mod udp;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::*;

use self::network::{Network, Peer, start, start_with, until};

/// Members 1 to `count` on `network`, of which the first is everybody's seed.
fn members(network: &Arc<Network>, count: u8) -> Vec<Peer> {
    (1..=count).map(|number| start(network, number)).collect()
}

async fn met(peers: &[Peer]) {
    until("everybody sees everybody", || peers.iter().all(|peer| peer.live().len() == peers.len() - 1)).await;
}

#[tokio::test(start_paused = true)]
async fn five_nodes_that_know_one_of_them_find_each_other() {
    // chitchat throws dice: what holds once in a while doesn't hold.
    for _ in 0..20 {
        let network = Network::new();
        let begun = Instant::now();
        let peers = members(&network, 5);
        met(&peers).await;
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        assert_eq!(peers[4].directory().members["node1"].address, network::address(1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_third_of_all_datagrams_lost_keeps_nobody_out() {
    let network = Network::new();
    network.lose(33);
    let peers = members(&network, 5);
    met(&peers).await;
    sleep(Duration::from_secs(20)).await;
    assert!(peers.iter().all(|peer| peer.live().len() == 4), "nobody is taken for dead");
}

#[tokio::test(start_paused = true)]
async fn what_is_published_reaches_everybody_at_once() {
    let network = Network::new();
    let peers = members(&network, 5);
    met(&peers).await;
    sleep(Duration::from_secs(1)).await;
    let begun = Instant::now();
    for value in ["1", "2", "3"] {
        peers[3].publish("cfg", value);
    }
    until("all have the value", || {
        peers
            .iter()
            .filter(|peer| peer.name != "node4")
            .all(|peer| peer.value("node4", "cfg") == Some("3".into()))
    })
    .await;
    assert!(begun.elapsed() <= Duration::from_millis(60), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn two_nodes_exchange_what_they_know_once_an_interval_and_not_at_the_asking_of_both() {
    let network = Network::new();
    let peers = members(&network, 2);
    met(&peers).await;
    // Until nobody remembers anybody any more who isn't there yet, and has to be told of everything.
    sleep(Duration::from_secs(6)).await;
    network.record();
    sleep(Duration::from_secs(10)).await;
    // Twenty exchanges of three datagrams each.
    let sent = network.recorded();
    assert!((57..=63).contains(&sent), "{sent}");
    assert!(peers.iter().all(|peer| peer.live().len() == 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_published_by_somebody_just_met_is_known_long_before_it_counts_as_live() {
    let network = Network::new();
    let peers = members(&network, 2);
    until("they have met", || peers[1].directory().members.contains_key("node1")).await;
    let begun = Instant::now();
    peers[0].publish("cfg", "1");
    until("the value is known", || peers[1].value("node1", "cfg") == Some("1".into())).await;
    assert!(begun.elapsed() < Duration::from_millis(250), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_leave_reaches_everybody_before_the_end() {
    for loss in [0, 20] {
        let network = Network::new();
        let mut peers = members(&network, 5);
        met(&peers).await;
        network.lose(loss);
        let leaver = peers.remove(0);
        leaver.leave(Duration::from_secs(2)).await;
        network.unplug(1);
        network.lose(0);
        until("all know that it left", || {
            peers.iter().all(|peer| peer.value("node1", STATE) == Some(LEFT.into()))
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_leave_within_moments_of_the_start_reaches_everybody_too() {
    // From before anybody counts as live to after it.
    for age in (0..=400).step_by(20) {
        let network = Network::new();
        let mut peers = members(&network, 3);
        let knows = |peer: &Peer, name: &str| peer.directory().members.contains_key(name);
        until("the leaver knows all", || ["node1", "node2"].iter().all(|name| knows(&peers[2], name))).await;
        sleep(Duration::from_millis(age)).await;
        let leaver = peers.remove(2);
        leaver.leave(Duration::from_secs(2)).await;
        network.unplug(3);
        until("nobody waits for it", || {
            peers.iter().all(|peer| peer.value("node3", STATE) == Some(LEFT.into()))
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_lone_node_leaves_at_once() {
    let network = Network::new();
    let peer = start(&network, 1);
    until("it lives", || peer.alive()).await;
    let begun = Instant::now();
    peer.leave(Duration::from_secs(5)).await;
    assert!(begun.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_crashed_node_is_seen_as_dead() {
    let network = Network::new();
    let mut peers = members(&network, 4);
    met(&peers).await;
    drop(peers.remove(2));
    network.unplug(3);
    let begun = Instant::now();
    until("all see it", || peers.iter().all(|peer| peer.live().len() == 2)).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert!(peers.iter().all(|peer| peer.directory().members.contains_key("node3")), "it isn't forgotten");
}

#[tokio::test(start_paused = true)]
async fn parts_find_each_other_again_after_longer_than_either_remembers_the_dead() {
    let network = Network::new();
    let peers = members(&network, 3);
    met(&peers).await;
    // The only seed is alone, and it knows no seed but itself.
    network.split(&[1]);
    until("the parts are alone", || peers[0].live().is_empty() && peers[1].live().len() == 1).await;
    peers[0].publish("cfg", "new");
    sleep(Duration::from_mins(11)).await;
    assert!(peers[0].directory().members.is_empty(), "the dead are forgotten");
    network.split(&[]);
    let begun = Instant::now();
    met(&peers).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    until("what was missed is made up for", || peers[2].value("node1", "cfg") == Some("new".into())).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_takes_over_even_when_the_clock_went_back() {
    let network = Network::new();
    let mut peers = members(&network, 3);
    met(&peers).await;
    peers[2].publish("cfg", "old");
    until("it is known", || peers[0].value("node3", "cfg").is_some()).await;
    let before = peers[0].directory().members["node3"].generation;
    drop(peers.pop());
    let again = start_with(&network, 3, |settings, clock| {
        settings.boot = Boot([99; 16]);
        *clock -= 1_000_000;
    });
    until("the new life counts", || {
        let directory = peers[0].directory();
        let entry = &directory.members["node3"];
        entry.generation > before && entry.live && !entry.values.contains_key("cfg")
    })
    .await;
    assert!(again.alive());
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_name_is_taken_is_told_so() {
    let network = Network::new();
    let peers = members(&network, 3);
    met(&peers).await;
    let impostor = start_with(&network, 9, |settings, clock| {
        settings.name = "node3".into();
        settings.id = crate::wire::member_id("node3");
        *clock += 1_000;
    });
    until("the younger learns of it", || {
        impostor.heard(|news| *news == News::NameTaken { address: network::address(3), younger: true })
    })
    .await;
    until("and the elder", || {
        peers[2].heard(|news| *news == News::NameTaken { address: network::address(9), younger: false })
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_node_that_moves_isn_t_taken_for_two() {
    let network = Network::new();
    let mut peers = members(&network, 3);
    met(&peers).await;
    drop(peers.pop());
    network.unplug(3);
    let moved = start_with(&network, 9, |settings, clock| {
        settings.name = "node3".into();
        settings.id = crate::wire::member_id("node3");
        *clock += 1_000;
    });
    until("it is known by its new address", || {
        peers.iter().all(|peer| peer.directory().members["node3"].address == network::address(9))
    })
    .await;
    sleep(Duration::from_mins(1)).await;
    assert!(!moved.heard(|news| matches!(news, News::NameTaken { .. })));
}

#[tokio::test(start_paused = true)]
async fn what_no_node_publishes_isn_t_published() {
    let network = Network::new();
    let peers = members(&network, 2);
    met(&peers).await;
    peers[0].publish("été", "1");
    peers[0].publish("cfg", "1\n2");
    peers[0].publish("prio", "100");
    until("the good one is there", || peers[1].value("node1", "prio").is_some()).await;
    assert_eq!(peers[1].value("node1", "cfg"), None);
    assert!(peers.iter().all(Peer::alive));
}

#[test]
fn a_full_queue_never_blocks_and_is_counted() {
    let settings = network::settings(1);
    let network: Arc<dyn Carrier> = Network::new().port(1);
    // Nobody runs the other end.
    let (gossip, _supervisor) = assemble(settings, network, Arc::new(|_news| ()), Box::new(|| 1));
    for _ in 0..INBOX + 7 {
        gossip.datagram(vec![0; 100], network::address(2));
    }
    assert_eq!(gossip.desk.busy.load(Ordering::Relaxed), 7);
}
