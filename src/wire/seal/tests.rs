//! What the envelope keeps out.

use proptest::prelude::*;

use super::*;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const NOW: Time = Time::from_nanos(1_000_000_000_000);

struct Node {
    envelope: Envelope,
}

impl Node {
    fn new(name: u64, boot: u8) -> Self {
        Self::with(SECRET, "myweb", name, boot)
    }

    fn with(secret: &[u8], cluster: &str, name: u64, boot: u8) -> Self {
        let keyring = Keyring::new(secret, cluster);
        let (me, boot, cookies) = (MemberId(name), Boot([boot; 16]), [boot; 32]);
        Self { envelope: Envelope::new(keyring, Channel::Advertisement, me, boot, cookies) }
    }

    fn open(&mut self, datagram: &[u8]) -> Result<Opened, Reject> {
        self.open_at(datagram, NOW)
    }

    fn open_at(&mut self, datagram: &[u8], now: Time) -> Result<Opened, Reject> {
        self.envelope.open(datagram, now)
    }

    /// Lets `other` speak, and prove that it does so now.
    fn meet(&mut self, other: &mut Node) {
        let Ok(Opened::Reply(challenge)) = self.open(&other.envelope.seal(b"hello")) else {
            panic!("no challenge")
        };
        let Ok(Opened::Reply(proof)) = other.open(&challenge) else { panic!("no proof") };
        assert_eq!(self.open(&proof), Ok(Opened::Proven(other.envelope.sealer.sender)));
    }
}

#[allow(clippy::unnecessary_wraps, reason = "compared with what opening returns")]
fn data(body: &[u8], sender: u64, boot: u8) -> Result<Opened, Reject> {
    Ok(Opened::Data { sender: MemberId(sender), boot: Boot([boot; 16]), body: body.to_vec() })
}

#[test]
fn a_message_counts_once_its_sender_has_proven_that_it_speaks_now() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    a.meet(&mut b);
    assert_eq!(a.open(&b.envelope.seal(b"first")), data(b"first", 2, 22));
    let sealed = b.envelope.seal(b"second");
    assert_eq!(sealed.len(), b"second".len() + OVERHEAD);
    assert_eq!(a.open(&sealed), data(b"second", 2, 22));
}

#[test]
fn what_was_seen_is_refused() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    a.meet(&mut b);
    let sealed = b.envelope.seal(b"once");
    assert!(a.open(&sealed).is_ok());
    assert_eq!(a.open(&sealed), Err(Reject::Replayed));
}

#[test]
fn datagrams_may_overtake_each_other_within_the_window() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    a.meet(&mut b);
    let sealed: Vec<_> = (0..130u8).map(|n| b.envelope.seal(&[n])).collect();
    assert!(a.open(&sealed[129]).is_ok());
    assert!(a.open(&sealed[2]).is_ok(), "127 behind");
    assert_eq!(a.open(&sealed[2]), Err(Reject::Replayed));
    assert_eq!(a.open(&sealed[1]), Err(Reject::Replayed), "128 behind is too old to tell");
}

#[test]
fn a_recording_is_refused_by_a_node_that_has_just_started() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    a.meet(&mut b);
    let recorded = b.envelope.seal(b"resign");
    assert!(a.open(&recorded).is_ok());
    let mut restarted = Node::new(1, 12);
    // It asks for proof, and the recorder can't give it: the answer of the past doesn't fit.
    let Ok(Opened::Reply(_)) = restarted.open(&recorded) else { panic!("no challenge") };
    assert_eq!(restarted.open(&recorded), Err(Reject::Unproven));
}

#[test]
fn a_proof_answers_one_challenge_only() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    let Ok(Opened::Reply(challenge)) = a.open(&b.envelope.seal(b"")) else { panic!() };
    let Ok(Opened::Reply(proof)) = b.open(&challenge) else { panic!() };
    assert!(a.open(&proof).is_ok());
    assert_eq!(a.open(&proof), Err(Reject::Replayed));
    let mut c = Node::new(3, 33);
    assert_eq!(c.open(&proof), Err(Reject::Replayed), "one that wasn't asked for");
}

#[test]
fn a_proof_of_an_earlier_life_does_not_bring_it_back() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    let said = b.envelope.seal(b"I hold it");
    let Ok(Opened::Reply(challenge)) = a.open(&said) else { panic!() };
    let Ok(Opened::Reply(proof)) = b.open(&challenge) else { panic!() };
    assert!(a.open(&proof).is_ok());
    a.meet(&mut Node::new(2, 23));
    assert_eq!(a.open(&proof), Err(Reject::Replayed));
    assert!(matches!(a.open(&said), Ok(Opened::Reply(_))), "it would have to prove itself again");
}

#[test]
fn recordings_do_not_push_a_newcomer_s_challenge_out() {
    let (mut a, mut old, mut new) = (Node::new(1, 11), Node::new(2, 22), Node::new(2, 23));
    let Ok(Opened::Reply(challenge)) = a.open(&new.envelope.seal(b"")) else { panic!() };
    assert!(matches!(a.open(&old.envelope.seal(b"")), Ok(Opened::Reply(_))));
    let Ok(Opened::Reply(proof)) = new.open(&challenge) else { panic!() };
    assert_eq!(a.open(&proof), Ok(Opened::Proven(MemberId(2))));
}

#[test]
fn a_challenge_for_an_earlier_life_is_not_answered() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    let Ok(Opened::Reply(challenge)) = a.open(&b.envelope.seal(b"")) else { panic!() };
    let mut reborn = Node::new(2, 23);
    assert_eq!(reborn.open(&challenge), Err(Reject::Replayed));
}

#[test]
fn challenges_are_not_repeated_for_every_datagram() {
    let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
    assert!(matches!(a.open(&b.envelope.seal(b"")), Ok(Opened::Reply(_))));
    assert_eq!(a.open(&b.envelope.seal(b"")), Err(Reject::Unproven));
    let later = NOW + CHALLENGE_AGAIN;
    assert!(
        matches!(a.open_at(&b.envelope.seal(b""), later), Ok(Opened::Reply(_))),
        "but it may have got lost"
    );
}

#[test]
fn every_refusal_has_its_reason() {
    let mut a = Node::new(1, 11);
    let good = Node::new(2, 22).envelope.seal(b"x");
    let altered = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    assert_eq!(a.open(&good[..OVERHEAD - 1]), Err(Reject::Short));
    assert_eq!(a.open(&[]), Err(Reject::Short));
    assert_eq!(a.open(&altered(0)), Err(Reject::Version));
    assert_eq!(a.open(&altered(1)), Err(Reject::Key));
    assert_eq!(a.open(&altered(2)), Err(Reject::Channel));
    assert_eq!(a.open(&altered(4)), Err(Reject::Cluster));
    for at in [3, 8, 16, 32, HEADER, good.len() - 1] {
        assert_eq!(a.open(&altered(at)), Err(Reject::Forged), "byte {at}");
    }
    assert_eq!(a.open(&Node::with(SECRET, "other", 2, 22).envelope.seal(b"x")), Err(Reject::Cluster));
    let wrong =
        a.open(&Node::with(b"another secret that is long enough", "myweb", 2, 22).envelope.seal(b"x"));
    assert_eq!(wrong, Err(Reject::Key));
    assert_eq!(a.open(&Node::new(1, 99).envelope.seal(b"x")), Err(Reject::Own), "somebody else has our name");
    let own = a.envelope.seal(b"x");
    assert_eq!(a.open(&own), Err(Reject::Replayed), "our own words come back");
}

#[test]
fn places_are_bounded_and_those_long_silent_make_room() {
    let mut a = Node::new(1, 11);
    for name in 2..2 + SENDERS as u64 {
        assert!(a.open(&Node::new(name, 1).envelope.seal(b"")).is_ok());
    }
    let mut late = Node::new(1000, 1);
    assert_eq!(a.open(&late.envelope.seal(b"")), Err(Reject::Full));
    let later = NOW + FORGOTTEN_AFTER + Duration::from_secs(1);
    assert!(a.open_at(&late.envelope.seal(b""), later).is_ok());
    assert_eq!(a.envelope.senders.len(), SENDERS);
}

#[test]
fn a_guard_speaks_with_its_own_key_once_it_is_vouched_for() {
    let keyring = Keyring::new(SECRET, "myweb");
    let full = keyring.sealer(Channel::Guard, MemberId(2), Boot([5; 16]));
    let mut guard = Sealer::from_parts(full.parts(), Channel::Guard, MemberId(2), Boot([5; 16]));
    let mut receiver = Envelope::new(keyring, Channel::Guard, MemberId(1), Boot([1; 16]), [1; 32]);
    receiver.vouch(MemberId(2), Boot([5; 16]), NOW);
    let sealed = guard.seal(b"resigned");
    assert_eq!(receiver.open(&sealed, NOW), data(b"resigned", 2, 5));
    assert_eq!(receiver.open(&sealed, NOW), Err(Reject::Replayed));
    receiver.vouch(MemberId(2), Boot([6; 16]), NOW);
    assert!(
        matches!(receiver.open(&guard.seal(b"late"), NOW), Ok(Opened::Reply(_))),
        "an earlier guard's word"
    );
}

proptest! {
    #[test]
    fn random_datagrams_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        prop_assert!(Node::new(1, 11).open(&bytes).is_err());
    }

    #[test]
    fn any_altered_bit_is_noticed(at in 0usize..60, bit in 0u8..8) {
        let (mut a, mut b) = (Node::new(1, 11), Node::new(2, 22));
        a.meet(&mut b);
        let mut sealed = b.envelope.seal(b"abcd");
        sealed[at] ^= 1 << bit;
        prop_assert!(a.open(&sealed).is_err());
    }
}
