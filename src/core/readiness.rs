//! Whether this node may hold anything: never before it can serve.
//!
//! Its proxy listens, a full round of probes is done, what the cluster knows already has arrived (or can't be
//! had), and membership has settled: every peer that the configuration names has been heard, anybody where it names
//! none, or a second has passed. Losing all peers and all backends at once looks like a lost cable whose carrier
//! stayed, and revokes it until a new full round.

use std::time::Duration;

use super::time::Time;
use super::transition::Cause;

/// How long a node waits for peers it hasn't heard; three intervals where these are longer.
const LONELY: Duration = Duration::from_secs(1);
/// Peers and backends lost within this time of each other were lost at once: probes take a while to notice.
const AT_ONCE: Duration = Duration::from_secs(10);

/// One node's readiness.
#[derive(Debug, Clone)]
pub(super) struct Readiness {
    expected_peers: usize,
    settles_at: Time,
    settled: bool,
    /// Until when what the cluster knows already is waited for.
    syncs_at: Time,
    synced: bool,
    ready: bool,
    isolated: bool,
    peers_lost_at: Option<Time>,
    backends_lost_at: Option<Time>,
    had_backends: bool,
}

/// What readiness follows from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts {
    /// Every service's listeners accept.
    pub(super) listening: bool,
    /// Every backend has been probed since the round began.
    pub(super) round_complete: bool,
    /// How many peers have been heard, ever.
    pub(super) peers_heard: usize,
    /// Some have been heard, and each of them has left since or is dead.
    pub(super) peers_gone: bool,
    /// So it is, and not all of them said that they would go.
    pub(super) peers_lost: bool,
    /// Whether a backend is reached from here, or there are none.
    pub(super) backends_reached: bool,
    /// Backends aren't reached that were looked at: none is lost by an operator's word.
    pub(super) backends_failed: bool,
}

/// What an update came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing to be done.
    Unchanged,
    /// Everything was lost at once: a new round of probes is needed.
    Isolated,
}

impl Readiness {
    pub(super) fn new(expected_peers: usize, interval: Duration, sync_patience: Duration, now: Time) -> Self {
        Self {
            expected_peers,
            settles_at: now + LONELY.max(interval * 3),
            settled: false,
            syncs_at: now + sync_patience,
            synced: sync_patience.is_zero(),
            ready: false,
            isolated: false,
            peers_lost_at: None,
            backends_lost_at: None,
            had_backends: false,
        }
    }

    /// Another number of peers is named; whoever had settled stays so.
    pub(super) fn expect(&mut self, peers: usize) {
        self.expected_peers = peers;
    }

    /// What the cluster knew before has arrived.
    pub(super) fn synced(&mut self) {
        self.synced = true;
    }

    /// Takes in the facts as they are now.
    pub(super) fn update(&mut self, facts: &Facts, now: Time) -> Verdict {
        // A lone node waits for its second: somebody it doesn't know of may speak. A seed to which the others come may
        // be the best of them, and they don't wait for it longer than that; but who only says that it leaves isn't them.
        let heard = facts.peers_heard >= self.expected_peers.max(1);
        let has_come = self.expected_peers > 0 || !facts.peers_gone;
        self.settled |= now >= self.settles_at || (heard && has_come);
        self.had_backends |= facts.backends_reached;
        self.peers_lost_at = lost_at(self.peers_lost_at, facts.peers_lost, now);
        let lost = self.had_backends && facts.backends_failed && !facts.backends_reached;
        self.backends_lost_at = lost_at(self.backends_lost_at, lost, now);
        let was_isolated = self.isolated;
        self.isolated = match (self.peers_lost_at, self.backends_lost_at) {
            (Some(peers), Some(backends)) => {
                was_isolated || peers.since(backends).max(backends.since(peers)) <= AT_ONCE
            }
            (None, _) | (_, None) => false,
        };
        // Gossip may be dead: the election goes on without it. And the dead tell nothing: when the holder dies while
        // this node waits for its word, nobody else would succeed it.
        let nobody_to_tell = self.settled && facts.peers_gone && facts.peers_heard >= self.expected_peers;
        self.synced |= now >= self.syncs_at || nobody_to_tell;
        self.ready = self.settled && self.synced && !self.isolated && facts.listening && facts.round_complete;
        if self.isolated && !was_isolated { Verdict::Isolated } else { Verdict::Unchanged }
    }

    /// Why this node may not hold anything, if it may not.
    pub(super) fn obstacle(&self) -> Option<Cause> {
        if self.isolated {
            Some(Cause::Isolated)
        } else if self.ready {
            None
        } else {
            Some(Cause::Ineligible)
        }
    }

    /// Whether this node's first second isn't over yet.
    pub(super) fn is_young(&self, now: Time) -> bool {
        now < self.settles_at
    }

    /// When time alone changes something.
    pub(super) fn deadline(&self) -> Option<Time> {
        let settles = (!self.settled).then_some(self.settles_at);
        let syncs = (!self.synced).then_some(self.syncs_at);
        settles.into_iter().chain(syncs).min()
    }
}

fn lost_at(before: Option<Time>, lost: bool, now: Time) -> Option<Time> {
    lost.then(|| before.unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Facts = Facts {
        listening: true,
        round_complete: true,
        peers_heard: 1,
        peers_gone: false,
        peers_lost: false,
        backends_reached: true,
        backends_failed: false,
    };

    const INTERVAL: Duration = Duration::from_millis(100);

    fn at(milliseconds: u64) -> Time {
        Time::from_nanos(milliseconds * 1_000_000)
    }

    #[test]
    fn a_node_is_ready_once_it_listens_has_probed_and_heard_its_peers() {
        for facts in [
            Facts { listening: false, ..GOOD },
            Facts { round_complete: false, ..GOOD },
            Facts { peers_heard: 0, ..GOOD },
        ] {
            let mut readiness = Readiness::new(1, INTERVAL, Duration::ZERO, at(0));
            readiness.update(&facts, at(10));
            assert_eq!(readiness.obstacle(), Some(Cause::Ineligible), "{facts:?}");
            readiness.update(&GOOD, at(20));
            assert_eq!(readiness.obstacle(), None);
        }
    }

    #[test]
    fn a_lone_node_is_ready_after_a_second() {
        for expected in [0, 1] {
            let alone = Facts { peers_heard: 0, ..GOOD };
            let mut readiness = Readiness::new(expected, INTERVAL, Duration::ZERO, at(0));
            readiness.update(&alone, at(999));
            assert!(readiness.obstacle().is_some());
            assert_eq!(readiness.deadline(), Some(at(1000)));
            readiness.update(&alone, at(1000));
            assert_eq!(readiness.obstacle(), None);
        }
    }

    #[test]
    fn a_seed_that_expects_nobody_by_name_is_ready_once_somebody_has_come() {
        let alone = Facts { peers_heard: 0, ..GOOD };
        let mut readiness = Readiness::new(0, INTERVAL, Duration::ZERO, at(0));
        readiness.update(&alone, at(10));
        assert!(readiness.obstacle().is_some());
        readiness.update(&GOOD, at(20));
        assert_eq!(readiness.obstacle(), None);
    }

    #[test]
    fn whoever_has_only_said_that_it_leaves_has_not_come_to_a_seed() {
        let mut readiness = Readiness::new(0, INTERVAL, Duration::from_secs(1), at(0));
        readiness.update(&Facts { peers_gone: true, ..GOOD }, at(10));
        assert!(readiness.obstacle().is_some());
        readiness.update(&GOOD, at(20));
        assert!(readiness.obstacle().is_some(), "another one knows what there is to know");
        readiness.synced();
        readiness.update(&GOOD, at(30));
        assert_eq!(readiness.obstacle(), None);
    }

    #[test]
    fn losing_all_peers_and_all_backends_at_once_revokes_it_until_a_new_round() {
        let mut readiness = Readiness::new(1, INTERVAL, Duration::ZERO, at(0));
        readiness.update(&GOOD, at(0));
        let no_peers = Facts { peers_gone: true, peers_lost: true, ..GOOD };
        readiness.update(&no_peers, at(1000));
        assert_eq!(readiness.obstacle(), None, "peers alone may be dead");
        let nothing = Facts { backends_reached: false, backends_failed: true, ..no_peers };
        assert_eq!(readiness.update(&nothing, at(6000)), Verdict::Isolated);
        assert_eq!(readiness.obstacle(), Some(Cause::Isolated));
        let back = Facts { round_complete: false, ..GOOD };
        readiness.update(&back, at(7000));
        assert_eq!(readiness.obstacle(), Some(Cause::Ineligible), "not before the new round");
        readiness.update(&GOOD, at(8000));
        assert_eq!(readiness.obstacle(), None);
    }

    #[test]
    fn backends_lost_long_after_the_peers_do_not_revoke_it() {
        let mut readiness = Readiness::new(1, INTERVAL, Duration::ZERO, at(0));
        readiness.update(&GOOD, at(0));
        let no_peers = Facts { peers_gone: true, peers_lost: true, ..GOOD };
        readiness.update(&no_peers, at(1000));
        readiness.update(&Facts { backends_reached: false, backends_failed: true, ..no_peers }, at(20_000));
        assert_eq!(readiness.obstacle(), None);
    }

    #[test]
    fn backends_that_operators_take_out_of_use_are_not_lost() {
        let mut readiness = Readiness::new(1, INTERVAL, Duration::ZERO, at(0));
        readiness.update(&GOOD, at(0));
        // In maintenance nobody looks at them: neither reached nor failed.
        let facts = Facts { peers_gone: true, peers_lost: true, backends_reached: false, ..GOOD };
        assert_eq!(readiness.update(&facts, at(1000)), Verdict::Unchanged);
        assert_eq!(readiness.obstacle(), None);
    }

    #[test]
    fn what_the_cluster_knows_already_is_waited_for_but_not_for_ever() {
        let patience = Duration::from_secs(2);
        let mut readiness = Readiness::new(1, INTERVAL, patience, at(0));
        readiness.update(&GOOD, at(100));
        assert!(readiness.obstacle().is_some());
        readiness.synced();
        readiness.update(&GOOD, at(200));
        assert_eq!(readiness.obstacle(), None);

        let mut readiness = Readiness::new(1, INTERVAL, patience, at(0));
        readiness.update(&GOOD, at(100));
        assert_eq!(readiness.deadline(), Some(at(2000)));
        readiness.update(&GOOD, at(2000));
        assert_eq!(readiness.obstacle(), None);
    }

    #[test]
    fn the_dead_are_not_waited_for() {
        let patience = Duration::from_secs(2);
        let gone = Facts { peers_gone: true, ..GOOD };
        let mut readiness = Readiness::new(1, INTERVAL, patience, at(0));
        readiness.update(&GOOD, at(100));
        assert!(readiness.obstacle().is_some());
        readiness.update(&gone, at(200));
        assert_eq!(readiness.obstacle(), None);

        // Another one may live, and know.
        let mut readiness = Readiness::new(2, INTERVAL, patience, at(0));
        readiness.update(&gone, at(1500));
        assert!(readiness.obstacle().is_some());
        readiness.update(&gone, at(2000));
        assert_eq!(readiness.obstacle(), None);
    }
}
