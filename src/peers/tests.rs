//! Two nodes on loopback addresses of this test's own, with real datagrams.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::*;
use crate::core::{Resignation, VipId};
use crate::wire::member_id;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Time = Time::from_nanos(1_000_000_000_000);

fn node(name: &str, last: u8, secret: &[u8], cluster: &str) -> Peers {
    let identity = Identity {
        id: member_id(name),
        address: Ipv4Addr::new(127, 77, 80, last).into(),
        boot: Boot([last; 16]),
        cookies: [last; 32],
    };
    Peers::open(&identity, &Keyring::new(secret, cluster), &[]).expect("a port of its own")
}

fn address(last: u8) -> SocketAddr {
    (Ipv4Addr::new(127, 77, 80, last), PORT).into()
}

fn advertisement(name: &str, guard: u8) -> Advertisement {
    Advertisement {
        beat: None,
        sequence: 1,
        name: name.into(),
        version: "0".into(),
        config: [0; 8],
        interval: Duration::from_millis(100),
        leaving: false,
        guard: Boot([guard; 16]),
        vips: vec![],
        heard: vec![],
    }
}

/// Waits for the next thing that comes in.
fn next(peers: &mut Peers) -> Received {
    loop {
        if let Some(received) = peers.receive(NOW, true) {
            return received;
        }
        let sockets: Vec<_> = std::iter::once(peers.advertisements()).chain(peers.beacons()).collect();
        let mut ready: Vec<_> = sockets.iter().map(|s| PollFd::new(s, PollFlags::IN)).collect();
        let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert!(poll(&mut ready, Some(&patience)).expect("poll") > 0, "nothing came in");
    }
}

/// What the next datagram says, and who.
fn heard(peers: &mut Peers) -> Vec<(MemberId, Message)> {
    let Received::Inputs(Channel::Advertisement, inputs) = next(peers) else { panic!("no message") };
    let heard = inputs.into_iter().map(|input| match input {
        Input::Heard { from, message, .. } => (from, message),
        other => panic!("{other:?}"),
    });
    heard.collect()
}

/// Lets `b` prove itself to `a`.
fn meet(a: &mut Peers, b: &mut Peers, at: u8) {
    b.know([address(at)]);
    b.advertise(advertisement("b", 9), false);
    assert!(matches!(next(a), Received::Handshake), "a asks for proof");
    assert!(matches!(next(b), Received::Handshake), "b proves itself");
    assert!(matches!(next(a), Received::Proven));
}

#[test]
fn a_node_that_proves_itself_is_heard_and_told_from_then_on() {
    let (mut a, mut b) = (node("a", 1, SECRET, "c"), node("b", 2, SECRET, "c"));
    meet(&mut a, &mut b, 1);
    assert_eq!(a.known(), [address(2)], "a didn't know of b before");
    b.advertise(advertisement("b", 9), false);
    assert_eq!(heard(&mut a), [(member_id("b"), Message::Advertisement(advertisement("b", 9)))]);
}

#[test]
fn what_a_member_is_told_at_once_arrives_in_one_datagram_and_in_its_order() {
    let (mut a, mut b) = (node("a", 21, SECRET, "c"), node("b", 22, SECRET, "c"));
    meet(&mut a, &mut b, 21);
    b.post(address(21).ip(), &Message::Acknowledgement(1));
    b.post(address(21).ip(), &Message::Probe);
    b.advertise(advertisement("b", 9), false);
    let advertised = Message::Advertisement(advertisement("b", 9));
    let expected = [Message::Acknowledgement(1), Message::Probe, advertised];
    assert_eq!(heard(&mut a), expected.map(|message| (member_id("b"), message)));
    b.post(address(21).ip(), &Message::Acknowledgement(2));
    b.flush();
    assert_eq!(heard(&mut a), [(member_id("b"), Message::Acknowledgement(2))]);
    b.flush();
    b.advertise(advertisement("b", 9), false);
    assert_eq!(heard(&mut a).len(), 1, "nothing is sent twice");
}

#[test]
fn whoever_a_member_hears_is_told_as_well_until_nobody_mentions_it_any_more() {
    let (mut a, mut b) = (node("a", 12, SECRET, "c"), node("b", 13, SECRET, "c"));
    meet(&mut a, &mut b, 12);
    let heard = |last, age| Heard {
        member: member_id("c"),
        address: address(last).ip(),
        sequence: 1,
        age: Duration::from_millis(age),
    };
    // One that is there, one long gone, and the listener itself.
    let mentions = vec![heard(14, 100), heard(15, 5000), heard(12, 0)];
    b.advertise(Advertisement { heard: mentions, ..advertisement("b", 9) }, false);
    assert!(matches!(next(&mut a), Received::Inputs(..)));
    assert_eq!(a.known(), [address(13), address(14)]);
    a.introduce(&[], NOW + INTRODUCED);
    assert_eq!(a.known(), [address(13)]);
}

#[test]
fn nobody_is_made_to_talk_to_more_than_a_bounded_number() {
    let mut a = node("a", 16, SECRET, "c");
    let heard: Vec<_> = (0..=u8::MAX)
        .map(|last| Heard {
            member: member_id("c"),
            address: Ipv4Addr::new(192, 0, 2, last).into(),
            sequence: 1,
            age: Duration::ZERO,
        })
        .collect();
    a.introduce(&heard, NOW);
    assert_eq!(a.known().len(), KNOWN);
}

#[test]
fn a_guard_is_believed_once_its_daemon_has_named_it() {
    let (mut a, mut b) = (node("a", 3, SECRET, "c"), node("b", 4, SECRET, "c"));
    let resignation = Resignation { id: 0, vip: VipId(7), term: 3, successor: None };
    let body = message::encode(&Message::Resignation(resignation));
    let mut guard = Keyring::new(SECRET, "c").sealer(Channel::Guard, member_id("b"), Boot([9; 16]));
    let mouth = UdpSocket::bind((Ipv4Addr::new(127, 77, 80, 4), 0)).expect("a port");
    mouth.send_to(&guard.seal(&body), address(3)).expect("sent");
    assert!(
        matches!(next(&mut a), Received::Handshake),
        "nobody has vouched for it: it would have to prove itself"
    );
    meet(&mut a, &mut b, 3);
    b.advertise(advertisement("b", 9), false);
    assert!(matches!(next(&mut a), Received::Inputs(..)));
    mouth.send_to(&guard.seal(&body), address(3)).expect("sent");
    let Received::Inputs(Channel::Guard, inputs) = next(&mut a) else { panic!("not believed") };
    let [Input::GuardResigned { of, resignation: heard }] = inputs[..] else { panic!("{inputs:?}") };
    assert_eq!((of, heard), (member_id("b"), resignation));
}

#[test]
fn strangers_are_refused_by_reason_and_never_told_anything() {
    let mut a = node("a", 5, SECRET, "c");
    let mut wrong_secret = node("b", 6, b"another secret of thirty-two bytes", "c");
    let mut wrong_cluster = node("b", 7, SECRET, "other");
    let mut same_name = node("a", 8, SECRET, "c");
    for (stranger, reason) in [
        (&mut wrong_secret, Reject::Key),
        (&mut wrong_cluster, Reject::Cluster),
        (&mut same_name, Reject::Own),
    ] {
        stranger.know([address(5)]);
        stranger.advertise(advertisement("b", 9), false);
        let Received::Rejected(Channel::Advertisement, got) = next(&mut a) else { panic!("{reason:?}") };
        assert_eq!(got, reason);
    }
    let mouth = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    mouth.send_to(b"hello", address(5)).expect("sent");
    assert!(matches!(next(&mut a), Received::Rejected(_, Reject::Short)));
    assert!(a.known().is_empty());
}

#[test]
fn a_node_that_speaks_by_another_s_name_is_refused() {
    let (mut a, mut b) = (node("a", 9, SECRET, "c"), node("b", 10, SECRET, "c"));
    meet(&mut a, &mut b, 9);
    b.advertise(advertisement("a", 9), false);
    assert!(matches!(next(&mut a), Received::Rejected(Channel::Advertisement, Reject::Name)));
}

#[test]
fn a_port_in_use_and_an_address_from_elsewhere_are_told_apart() {
    let _first = node("a", 11, SECRET, "c");
    let identity = |ip: Ipv4Addr| Identity {
        id: member_id("x"),
        address: ip.into(),
        boot: Boot([1; 16]),
        cookies: [1; 32],
    };
    let open = |ip| Peers::open(&identity(ip), &Keyring::new(SECRET, "c"), &[]).err();
    assert!(matches!(open(Ipv4Addr::new(127, 77, 80, 11)), Some(PeersError::InUse(_))));
    assert!(matches!(open(Ipv4Addr::new(192, 0, 2, 1)), Some(PeersError::NotHere(_))));
}
