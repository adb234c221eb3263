//! One machine: its clock, its kernel, and the processes on it.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use chinthe::core::priority::Weight;
use chinthe::core::{
    Boot, Core, Mac, MemberId, Proof, ServiceSettings, Settings, Terms, Time, Tracked, VipId, VipSettings,
};

use crate::clock::Clock;
use crate::daemon::Daemon;
use crate::guard::Guard;
use crate::kernel::Kernel;

/// The one VIP.
pub(crate) const VIP: VipId = VipId(1);

/// What all nodes are configured with.
#[derive(Debug, Clone)]
pub(crate) struct Common {
    pub(crate) interval: Duration,
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
    /// Between two probes or checks; a script gives the results itself when there is none.
    pub(crate) probe_interval: Option<Duration>,
}

/// What one node is configured with.
#[derive(Debug, Clone)]
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
    pub(crate) node: Node,
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
            clock,
            powered: true,
            paused: None,
            link: true,
            back_since: Time::ZERO,
            kernel: Kernel::new(common.fenced),
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

    /// Whether a question who has the VIP gets an answer from here.
    pub(crate) fn answers(&self) -> bool {
        self.on_network() && self.kernel.answers()
    }

    pub(crate) fn daemon_runs(&self) -> bool {
        self.runs() && self.daemon.as_ref().is_some_and(|d| !d.stopped)
    }

    /// Daemon and guard run, and belong together.
    pub(crate) fn is_whole(&self) -> bool {
        let guard = self.daemon.as_ref().and_then(|d| d.guard);
        self.daemon_runs() && guard.is_some_and(|id| self.guards.iter().any(|g| g.id == id && !g.stopped))
    }
}

pub(crate) fn settings(index: usize, nodes: usize, node: &Node, common: &Common) -> Settings {
    let checks = node.checks.iter().enumerate();
    let checks = checks.map(|(i, (weight, reverse))| (Tracked::Check(i), weight_of(*weight, *reverse)));
    let service = node.service.map(|weight| (Tracked::Service(0), weight_of(weight, false)));
    let services = (common.backends > 0).then_some(ServiceSettings {
        name: "service".into(),
        backends: (0..common.backends).map(|n| format!("b{n}")).collect(),
        interval: Duration::from_secs(2),
        rise: common.rise,
        fall: common.fall,
    });
    Settings {
        me: member(index),
        name: format!("n{}", index + 1),
        address: address(index),
        version: String::new(),
        sync_patience: Duration::ZERO,
        config: [0; 8],
        majority_of: common.majority.then_some(nodes as u16),
        witness: false,
        expected_peers: nodes - 1,
        vips: vec![VipSettings {
            id: VIP,
            base_priority: node.base,
            advertisement_interval: common.interval,
            name: "vip".into(),
            // A scripted cluster's nodes come and go all the time.
            terms: Terms { preempt: node.preempt, damped: false, ..Terms::default() },
            proof: common.proof,
            track: service.into_iter().chain(checks).collect(),
        }],
        services: services.into_iter().collect(),
        checks: vec![(common.rise, common.fall); node.checks.len()],
    }
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
