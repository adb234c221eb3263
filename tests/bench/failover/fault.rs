//! What happens to the holder, and how it is undone.

use chinthe::lab::LabError;

use crate::cluster::{Cluster, HOLDER};
use crate::switch;

/// One fault. It always hits `ha1`, which has the highest priority and so is the holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Terminate,
    Kill,
    KillBoth,
    NoProxy,
    NoBackends,
    PowerOff,
    Cable,
    Freeze,
    FreezeBoth,
    CutOff,
    Loss,
    Restart,
    Idle,
    HeavyLoss,
    Busy,
}

/// All of them, in the order of the table.
pub(crate) const FAULTS: [Fault; 15] = [
    Fault::Terminate,
    Fault::Kill,
    Fault::KillBoth,
    Fault::NoProxy,
    Fault::NoBackends,
    Fault::PowerOff,
    Fault::Cable,
    Fault::Freeze,
    Fault::FreezeBoth,
    Fault::CutOff,
    Fault::Loss,
    Fault::Restart,
    Fault::Idle,
    Fault::HeavyLoss,
    Fault::Busy,
];

impl Fault {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        FAULTS.into_iter().find(|fault| fault.name() == name)
    }

    /// What the command line calls it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Terminate => "sigterm",
            Self::Kill => "kill",
            Self::KillBoth => "kill-both",
            Self::NoProxy => "no-proxy",
            Self::NoBackends => "no-backends",
            Self::PowerOff => "power-off",
            Self::Cable => "cable",
            Self::Freeze => "freeze",
            Self::FreezeBoth => "freeze-both",
            Self::CutOff => "cut-off",
            Self::Loss => "loss",
            Self::Restart => "restart",
            Self::Idle => "idle",
            Self::HeavyLoss => "heavy-loss",
            Self::Busy => "busy",
        }
    }

    /// What happens.
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Self::Terminate => "SIGTERM of the holder's daemon",
            Self::Kill => "kill -9 of the holder's daemon",
            Self::KillBoth => "kill -9 of the holder's daemon and guard",
            Self::NoProxy => "kill -9 of the holder's haproxy",
            Self::NoBackends => "backends unreachable from the holder alone",
            Self::PowerOff => "power-off of the holder",
            Self::Cable => "the holder's cable pulled",
            Self::Freeze => "SIGSTOP of the holder's daemon for 20 s",
            Self::FreezeBoth => "SIGSTOP of the holder's daemon and guard (keepalived and haproxy) for 20 s",
            Self::CutOff => "the holder cut off from the other nodes",
            Self::Loss => "20 % loss between nodes for 60 s",
            Self::Restart => "kill -9 of the holder's daemon, which is started again at once",
            Self::Idle => "nothing",
            Self::HeavyLoss => "30 % loss between nodes for 300 s",
            Self::Busy => "every core kept busy for 600 s",
        }
    }

    /// What undoes it.
    pub(crate) fn undoing(self) -> &'static str {
        match self {
            Self::Terminate | Self::Kill | Self::KillBoth => "started again",
            Self::NoProxy => "haproxy started again",
            Self::NoBackends => "backends reachable again",
            Self::PowerOff => "machine back",
            Self::Cable => "cable back",
            Self::Freeze | Self::FreezeBoth => "SIGCONT",
            Self::CutOff => "healed",
            Self::Loss | Self::HeavyLoss | Self::Restart | Self::Idle | Self::Busy => "",
        }
    }

    /// Whether it lasts for minutes, and is tried only when asked for.
    pub(crate) fn is_long(self) -> bool {
        matches!(self, Self::HeavyLoss | Self::Busy)
    }

    /// Whether the VIP should move.
    pub(crate) fn moves_the_vip(self) -> bool {
        !matches!(self, Self::Loss | Self::HeavyLoss | Self::Busy | Self::Idle | Self::Restart)
    }

    /// Whether it takes nft(8) in the switch.
    pub(crate) fn needs_nft(self) -> bool {
        matches!(self, Self::CutOff | Self::Loss | Self::HeavyLoss)
    }

    /// Does it.
    pub(crate) fn inflict(self, cluster: &mut Cluster) -> Result<(), LabError> {
        match self {
            Self::Terminate => cluster.terminate(HOLDER),
            Self::Kill => cluster.kill_daemon(HOLDER),
            Self::KillBoth => cluster.kill_both(HOLDER),
            Self::NoProxy => cluster.kill_proxy(HOLDER),
            Self::NoBackends => cluster.set_backends_reachable(HOLDER, false),
            Self::PowerOff => cluster.power_off(HOLDER),
            Self::Cable => cluster.lab().machine(HOLDER)?.unplug(),
            Self::Freeze => cluster.stop_daemon(HOLDER),
            Self::FreezeBoth => cluster.stop_both(HOLDER),
            Self::CutOff => cluster.cut_off(HOLDER),
            Self::Loss => cluster.lose(20),
            Self::HeavyLoss => cluster.lose(30),
            Self::Restart => cluster.kill_daemon(HOLDER).and_then(|()| cluster.start_node(HOLDER)),
            Self::Busy => cluster.keep_busy(),
            Self::Idle => Ok(()),
        }
    }

    /// Undoes it.
    pub(crate) fn undo(self, cluster: &mut Cluster) -> Result<(), LabError> {
        match self {
            Self::Terminate | Self::Kill | Self::KillBoth | Self::NoProxy => cluster.start_node(HOLDER),
            Self::NoBackends => cluster.set_backends_reachable(HOLDER, true),
            Self::PowerOff => cluster.power_on(HOLDER),
            Self::Cable => cluster.lab().machine(HOLDER)?.plug(),
            Self::Freeze | Self::FreezeBoth => cluster.cont(HOLDER),
            Self::CutOff => switch::heal(),
            Self::Loss | Self::HeavyLoss | Self::Restart | Self::Idle | Self::Busy => Ok(()),
        }
    }
}
