//! One machine: its clock, its kernel, and the processes on it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use chinthe::core::priority::Weight;
use chinthe::core::{
    Boot, CheckSettings, Core, Mac, MemberId, Placement, Proof, ServiceSettings, Settings, Terms, Time,
    Tracked, VipId, VipSettings,
};

use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::guard::Guard;
use crate::kernel::Kernel;

/// What all nodes are configured with.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) interval: Duration,
    /// How many VIPs there are, all configured alike.
    pub(crate) vips: usize,
    pub(crate) placement: Placement,
    /// Hand-backs that repeat have to wait.
    pub(crate) damped: bool,
    pub(crate) preempt_delay: Duration,
    /// Only votes, and holds nothing.
    pub(crate) witness: Option<usize>,
    /// How often nodes gossip, if they do.
    pub(crate) gossip: Option<Duration>,
    /// Backends of the one service; there is none when this is 0.
    pub(crate) backends: usize,
    /// Of the service's probes and of the checks.
    pub(crate) rise: u32,
    pub(crate) fall: u32,
    /// What proves that the VIP is free.
    pub(crate) proof: Proof,
    /// The kernels have the fence's hooks.
    pub(crate) fenced: bool,
    /// `quorum = "majority"`, of all machines.
    pub(crate) majority: bool,
    /// Among more other nodes than this, some speak less often.
    pub(crate) crowd: usize,
    /// All that a node's file names of the others is the first; that one's names nobody.
    pub(crate) one_seed: bool,
    /// Between two probes or checks; a script gives the results itself when there is none.
    pub(crate) probe_interval: Option<Duration>,
}

impl Common {
    /// One VIP, nothing behind it, and scripts or nobody to say what is well.
    pub(crate) fn plain(interval: Duration) -> Self {
        Self {
            interval,
            vips: 1,
            placement: Placement::Address,
            // A scripted cluster's nodes come and go all the time.
            damped: false,
            preempt_delay: Duration::ZERO,
            witness: None,
            crowd: usize::MAX,
            one_seed: false,
            gossip: None,
            backends: 0,
            rise: 1,
            fall: 1,
            proof: Proof::Answers,
            fenced: false,
            majority: false,
            probe_interval: None,
        }
    }
}

/// What one node is configured with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) base: u8,
    pub(crate) preempt: bool,
    /// The service's weight, if it is tracked.
    pub(crate) service: Option<i16>,
    /// Weight and reverse of each check.
    pub(crate) checks: Vec<(i16, bool)>,
}

/// One machine.
#[derive(Debug)]
pub(crate) struct Machine {
    /// What its daemon runs with, and which of the configurations that is: equal ones have equal numbers.
    pub(crate) node: Node,
    pub(crate) config: u64,
    /// What its file says, for the next start.
    pub(crate) file: (Node, u64),
    /// How far its wall clock is ahead of the others', in milliseconds.
    pub(crate) skew: i64,
    pub(crate) clock: Clock,
    pub(crate) powered: bool,
    /// Since when it is paused as a whole, and whether its clock stands still meanwhile.
    pub(crate) paused: Option<(Time, bool)>,
    pub(crate) link: bool,
    /// When its link or itself last came back.
    pub(crate) back_since: Time,
    pub(crate) kernel: Kernel,
    /// When the kernel looks at its leases next.
    pub(crate) lease_look: Option<Time>,
    pub(crate) daemon: Option<Daemon>,
    /// More than one when an orphan hasn't been let run to its end.
    pub(crate) guards: Vec<Guard>,
    /// The next time the daemon wakes of itself.
    pub(crate) wakes_at: Option<Time>,
    /// Orders and reports arrive in order.
    pub(crate) last_order_at: Time,
    pub(crate) last_report_at: Time,
    /// What its checks find, and whether it reaches each backend.
    pub(crate) checks: Vec<bool>,
    pub(crate) reaches: Vec<bool>,
}

impl Machine {
    pub(crate) fn new(node: &Node, common: &Common, clock: Clock) -> Self {
        Self {
            checks: vec![true; node.checks.len()],
            reaches: vec![true; common.backends],
            node: node.clone(),
            config: 0,
            file: (node.clone(), 0),
            skew: 0,
            clock,
            powered: true,
            paused: None,
            link: true,
            back_since: Time::ZERO,
            kernel: Kernel::new(common.fenced, common.vips),
            lease_look: None,
            daemon: None,
            guards: Vec::new(),
            wakes_at: None,
            last_order_at: Time::ZERO,
            last_report_at: Time::ZERO,
        }
    }

    pub(crate) fn runs(&self) -> bool {
        self.powered && self.paused.is_none()
    }

    pub(crate) fn on_network(&self) -> bool {
        self.runs() && self.link
    }

    /// Whether a question who has a VIP gets an answer from here.
    pub(crate) fn answers(&self, vip: usize) -> bool {
        self.on_network() && self.kernel.answers(vip)
    }

    pub(crate) fn daemon_runs(&self) -> bool {
        self.runs() && self.daemon.as_ref().is_some_and(|d| !d.stopped)
    }

    /// Daemon and guard run, and belong together.
    pub(crate) fn is_whole(&self) -> bool {
        let guard = self.daemon.as_ref().and_then(|d| d.guard);
        self.daemon_runs()
            && guard.is_some_and(|id| {
                self.guards.iter().any(|g| g.id == id && !g.stopped && g.begins_at.is_none())
            })
    }
}

/// What a node's core is told of its configuration.
pub(crate) fn settings(index: usize, nodes: usize, node: &Node, common: &Common) -> Settings {
    let witness = common.witness == Some(index);
    let checks = node.checks.iter().enumerate();
    let checks = checks.map(|(i, (weight, reverse))| (Tracked::Check(i), weight_of(*weight, *reverse)));
    let service = node.service.map(|weight| (Tracked::Service(0), weight_of(weight, false)));
    let track: Vec<_> = service.into_iter().chain(checks).filter(|_| !witness).collect();
    let services = (common.backends > 0 && !witness).then_some(ServiceSettings {
        name: SERVICE.into(),
        backends: (0..common.backends).map(backend_name).collect(),
        interval: Duration::from_secs(2),
        rise: common.rise,
        fall: common.fall,
    });
    let vip = |vip: usize| VipSettings {
        id: vip_id(vip),
        base_priority: if witness { 1 } else { node.base },
        advertisement_interval: common.interval,
        name: vip_name(vip),
        terms: Terms {
            preempt: node.preempt,
            preempt_delay: common.preempt_delay,
            damped: common.damped,
            placement: common.placement,
            ..Terms::default()
        },
        proof: common.proof,
        track: track.clone(),
    };
    let check =
        |check: usize| CheckSettings { name: format!("chk{check}"), rise: common.rise, fall: common.fall };
    Settings {
        me: member(index),
        name: node_name(index),
        address: address(index),
        version: String::new(),
        sync_patience: if common.gossip.is_some() { SYNC_PATIENCE } else { Duration::ZERO },
        config: [0; 8],
        majority_of: common.majority.then_some(nodes as u16),
        witness,
        expected_peers: if common.one_seed { usize::from(index > 0) } else { nodes - 1 },
        crowd: common.crowd,
        vips: (0..common.vips).map(vip).collect(),
        services: services.into_iter().collect(),
        checks: if witness { Vec::new() } else { (0..node.checks.len()).map(check).collect() },
    }
}

/// The one service's name.
pub(crate) const SERVICE: &str = "service";
/// How long a starting node waits for what the others know.
const SYNC_PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn backend_name(backend: usize) -> String {
    format!("b{backend}")
}

pub(crate) fn node_name(index: usize) -> String {
    format!("n{}", index + 1)
}

pub(crate) fn vip_name(vip: usize) -> String {
    format!("vip{}", vip + 1)
}

pub(crate) fn vip_id(vip: usize) -> VipId {
    VipId(vip as u64 + 1)
}

pub(crate) fn weight_of(weight: i16, reverse: bool) -> Weight {
    Weight { weight, reverse }
}

pub(crate) fn member(index: usize) -> MemberId {
    MemberId(index as u64)
}

pub(crate) fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, index as u8 + 1))
}

pub(crate) fn mac(index: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, index as u8 + 1])
}

pub(crate) fn boot(number: u64) -> Boot {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&number.to_be_bytes());
    Boot(bytes)
}

pub(crate) fn number(boot: Boot) -> u64 {
    boot.0[..8].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// A core that has just started.
pub(crate) fn core(index: usize, nodes: usize, node: &Node, common: &Common, local: Time) -> Core {
    Core::new(settings(index, nodes, node, common), local)
}
