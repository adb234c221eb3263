//! The vocabulary: everything that an operator may want to know of, in one table.
//!
//! Names and fields are an interface: scripts and alerts are written against them. What is told in other words
//! than these is for whoever looks into a mistake.

use tracing::Level;

/// What marks a record as an event; a part of the program, as far as `CHINTHE_LOG` goes.
pub(super) const EVENTS: &str = "chinthe::event";

/// One event of the vocabulary.
#[derive(Debug)]
pub struct Kind {
    /// What it is called: `noun.verb`.
    pub name: &'static str,
    /// For whom: `INFO` is the operator's story, `WARN` and `ERROR` are for somebody to look at.
    pub level: Level,
    /// Its fields, in the order in which they are told. One that has nothing to say is left out.
    pub fields: &'static [&'static str],
    /// What has happened, in a sentence.
    pub meaning: &'static str,
}

macro_rules! events {
    ($($level:ident $name:literal $variant:ident($($field:ident: $type:ty),*) $meaning:literal;)*) => {
        /// Everything that can happen.
        pub static VOCABULARY: &[Kind] = &[$(Kind {
            name: $name,
            level: Level::$level,
            fields: &[$(stringify!($field)),*],
            meaning: $meaning,
        }),*];

        /// Something that happened, told by [`Event::tell`]. The fields' meanings are in the README's table.
        #[derive(Debug, Clone, Copy, PartialEq)]
        #[allow(missing_docs, reason = "a name says what each field is, everywhere the same")]
        pub enum Event<'a> {
            $(#[doc = $meaning] $variant { $($field: $type),* },)*
        }

        impl Event<'_> {
            /// Has it told: in the log and in the event stream.
            pub fn tell(self) {
                match self {
                    $(Self::$variant { $($field),* } => {
                        tracing::event!(target: EVENTS, Level::$level, $($field,)* $name);
                    })*
                }
            }
        }
    };
}

events! {
    INFO "node.started" NodeStarted(node: &'a str, version: &'a str, cluster: &'a str, address: &'a str, config: &'a str)
        "The daemon has started.";
    INFO "node.ready" NodeReady(node: &'a str)
        "It can serve: it listens, has probed all backends and has heard its peers.";
    WARN "node.not_ready" NodeNotReady(node: &'a str)
        "It could serve, and can't any more.";
    WARN "node.late" NodeLate(late_ms: f64)
        "The machine didn't let the daemon run in time.";
    INFO "node.stopping" NodeStopping(node: &'a str)
        "It was asked to stop, and hands over.";
    INFO "node.stopped" NodeStopped(node: &'a str)
        "It has stopped; nothing is left behind.";

    INFO "config.reloaded" ConfigReloaded(config: &'a str, changed: &'a str, by: &'a str)
        "The daemon goes on by the file as it is now.";
    ERROR "config.reload_failed" ConfigReloadFailed(error: &'a str, by: &'a str)
        "The file can't be used, or only by a daemon that is started anew; nothing has changed.";

    INFO "vip.candidate" VipCandidate(vip: &'a str, from: &'a str, to: &'a str, cause: &'a str, priority: u8, term: u32)
        "This node could hold the VIP now.";
    INFO "vip.withdrawn" VipWithdrawn(vip: &'a str, from: &'a str, to: &'a str, cause: &'a str, priority: u8, term: u32)
        "This node couldn't hold it any more.";
    INFO "vip.acquired" VipAcquired(vip: &'a str, from: &'a str, to: &'a str, cause: &'a str, priority: u8, term: u32, detect_ms: Option<f64>, elect_ms: Option<f64>, assign_ms: Option<f64>)
        "This node holds it: the kernel has the address.";
    INFO "failover.complete" FailoverComplete(vip: &'a str, cause: &'a str, term: u32, detect_ms: f64, elect_ms: f64, assign_ms: f64, announce_ms: f64, total_ms: f64, trace_id: &'a str)
        "And the network has been told. The total is from the old holder's last word to here.";
    INFO "vip.released" VipReleased(vip: &'a str, from: &'a str, to: &'a str, cause: &'a str, priority: u8, term: u32)
        "This node has let it go: the kernel's address is gone.";
    INFO "vip.moved" VipMoved(vip: &'a str, from: Option<&'a str>, to: &'a str, term: u32, trace_id: &'a str)
        "Another node than before holds it, as seen from this one. Told by every node.";
    WARN "vip.conflict" VipConflict(vip: &'a str, source: &'a str, by: &'a str, more: u64)
        "Somebody else claims it: by arp, or by advertisement.";
    WARN "vip.address_removed" VipAddressRemoved(vip: &'a str, restored: bool)
        "Somebody removed the address from the interface; restored says whether it was added again.";

    INFO "member.joined" MemberJoined(member: &'a str, address: &'a str, state: &'a str)
        "A member is heard that wasn't known.";
    INFO "member.returned" MemberReturned(member: &'a str, from: &'a str)
        "It is heard again.";
    WARN "member.dead" MemberDead(member: &'a str)
        "It has been silent for so long that it is given up, or its guard said so.";
    INFO "member.left" MemberLeft(member: &'a str)
        "It has stopped by its own word.";

    INFO "backend.up" BackendUp(service: &'a str, backend: &'a str, from: &'a str)
        "Its probes succeed, as seen from this node.";
    WARN "backend.down" BackendDown(service: &'a str, backend: &'a str, from: &'a str)
        "Its probes fail.";
    INFO "backend.unknown" BackendUnknown(service: &'a str, backend: &'a str, from: &'a str)
        "It isn't probed any more, for an operator said so.";
    WARN "backend.passed_over" BackendPassedOver(service: &'a str, backend: &'a str, reason: &'a str, more: u64)
        "A connection to it failed: it gets no other until a probe succeeds.";
    WARN "service.no_backend" ServiceNoBackend(service: &'a str, more: u64)
        "A client's connection was closed: no backend is left.";

    INFO "operator.said" OperatorSaid(of: &'a str, says: &'a str, lasting: &'a str, by: &'a str)
        "An operator changed something on this node.";

    ERROR "guard.lost" GuardLost(error: &'a str)
        "The guard has died or hangs; another one is started.";
    WARN "guard.started" GuardStarted()
        "Another guard has started.";
    WARN "guard.trouble" GuardTrouble(error: &'a str)
        "The guard couldn't do something, or there is no guard.";
    INFO "fence.up" FenceUp()
        "The kernel itself ends the VIPs of a daemon that hangs.";
    WARN "fence.missing" FenceMissing(reason: &'a str)
        "It doesn't: only the lease ends those of a daemon that hangs together with its guard.";
    ERROR "worker.stuck" WorkerStuck()
        "A worker of the proxy doesn't turn: this node can't serve.";
    INFO "worker.turns" WorkerTurns()
        "It turns again.";
    WARN "peer.refused" PeerRefused(channel: &'a str, reason: &'a str, more: u64)
        "A datagram was dropped: forged, replayed, of another cluster.";
    ERROR "peer.name_taken" PeerNameTaken(node: &'a str, address: &'a str, younger: bool)
        "Another node has this one's name; the younger one stops.";
    WARN "gossip.died" GossipDied(restarts: u64)
        "Gossip has died, and is started again; no failover needs it.";
}
