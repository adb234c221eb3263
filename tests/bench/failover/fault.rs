//! What happens to the holder, and how it is undone.

use std::time::Duration;

use chinthe::lab::LabError;

use crate::cluster::{Cluster, HOLDER};
use crate::contender::{Contender, Kind};
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

/// How long a phase is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    /// At least so long, settled or not.
    pub(crate) least: Duration,
    /// At most so long, settled or not.
    pub(crate) most: Duration,
}

impl Watch {
    const fn exactly(time: Duration) -> Self {
        Self { least: time, most: time }
    }
}

/// How long whatever is frozen stays so.
const FROZEN: Duration = Duration::from_secs(20);
/// How long a fifth of all packets between nodes is lost.
const LOSSY: Duration = Duration::from_secs(60);
/// How long a third of them is.
const VERY_LOSSY: Duration = Duration::from_secs(300);
/// How long every core is kept busy.
const BUSY: Duration = Duration::from_secs(600);
/// How long the cost of doing nothing is measured.
pub(crate) const IDLE: Duration = Duration::from_secs(12);
/// After a daemon was killed and started again: for its return, and whatever second gap that makes.
const RESTARTED: Duration = Duration::from_secs(4);
/// A failover is looked at for a while after it is over.
const LEAST: Duration = Duration::from_secs(1);
/// For a VIP's way home.
const HOME: Duration = Duration::from_secs(20);
/// After the cluster has been put together again with the post's intervals: its clients are served, or not, until
/// their ARP entries have run out.
const HEALED: Duration = Duration::from_secs(60);

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

    /// Whether it is tried without being asked for: the others last for minutes.
    pub(crate) fn is_usual(self) -> bool {
        !matches!(self, Self::HeavyLoss | Self::Busy)
    }

    /// Whether the VIP should move.
    pub(crate) fn moves_the_vip(self) -> bool {
        !matches!(self, Self::Loss | Self::HeavyLoss | Self::Busy | Self::Idle | Self::Restart)
    }

    /// Whether it takes nft(8) in the switch.
    pub(crate) fn needs_nft(self) -> bool {
        matches!(self, Self::CutOff | Self::Loss | Self::HeavyLoss)
    }

    /// How long it lasts.
    pub(crate) fn watch(self, contender: &Contender) -> Watch {
        let most = contender.patience();
        match self {
            Self::Freeze | Self::FreezeBoth => Watch::exactly(FROZEN),
            // Long enough for both sides to have made up their minds.
            Self::CutOff => Watch::exactly(most),
            Self::Loss => Watch::exactly(LOSSY),
            Self::HeavyLoss => Watch::exactly(VERY_LOSSY),
            Self::Busy => Watch::exactly(BUSY),
            Self::Idle => Watch::exactly(IDLE),
            Self::Restart => Watch::exactly(most.max(RESTARTED)),
            Self::Terminate
            | Self::Kill
            | Self::KillBoth
            | Self::NoProxy
            | Self::NoBackends
            | Self::PowerOff
            | Self::Cable => Watch { least: LEAST, most },
        }
    }

    /// How long its end is looked at; `None` when there is nothing to be seen.
    pub(crate) fn watch_of_the_end(self, contender: &Contender) -> Option<Watch> {
        let least = match (self, contender.kind) {
            (Self::Loss | Self::HeavyLoss | Self::Busy | Self::Idle | Self::Restart, _) => return None,
            (Self::CutOff, Kind::Post) => HEALED,
            (Self::CutOff, _) => HOME / 2,
            // Longer than a script's period and than the way to a second thought.
            (_, Kind::Post) => contender.patience(),
            (_, Kind::Expert | Kind::Chinthe { .. }) => 2 * LEAST,
        };
        Some(Watch { least, most: least.max(HOME) })
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
