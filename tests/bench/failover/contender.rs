//! Who competes: chinthe in its modes, keepalived + haproxy in two configurations.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use chinthe::lab::TARGET;
use serde::{Deserialize, Serialize};

use crate::fault::Fault;

/// What a contender is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The daemon of this package.
    Chinthe {
        /// Of whom a holder needs consent.
        quorum: Quorum,
        /// Whether its kernel has what it takes to shut up a holder that isn't heard any more.
        fenced: bool,
    },
    /// keepalived and haproxy as the post configures them.
    Post,
    /// keepalived and haproxy as somebody configures them who knows both well.
    Expert,
}

/// What a node needs from the others to hold the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Quorum {
    /// Nothing, as with VRRP.
    None,
    /// Consent of more than half of them.
    Majority,
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::None => "none",
            Self::Majority => "majority",
        })
    }
}

/// One contender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contender {
    /// What the command line and the table call it.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How many nodes it has.
    pub(crate) nodes: usize,
    /// From one advertisement to the next.
    pub(crate) interval: Duration,
    /// Whether its VIP is one of IPv6.
    pub(crate) ipv6: bool,
}

/// All of them, in the order of the table.
pub(crate) const CONTENDERS: [Contender; 14] = [
    Contender { interval: Duration::from_secs(2), ..contender("post", Kind::Post, 2) },
    contender("expert", Kind::Expert, 2),
    contender("none-2", Kind::FENCED, 2),
    contender("none-3", Kind::FENCED, 3),
    contender("majority-3", Kind::MAJORITY, 3),
    contender("majority-5", Kind::MAJORITY, 5),
    contender("unfenced-2", Kind::UNFENCED, 2),
    contender("unfenced-3", Kind::UNFENCED, 3),
    Contender { interval: FAST, ..contender("expert-10ms", Kind::Expert, 2) },
    Contender { interval: FAST, ..contender("none-2-10ms", Kind::FENCED, 2) },
    Contender { interval: FAST, ..contender("none-3-10ms", Kind::FENCED, 3) },
    Contender { ipv6: true, ..contender("none-2-ipv6", Kind::FENCED, 2) },
    Contender { ipv6: true, ..contender("none-3-ipv6", Kind::FENCED, 3) },
    Contender { ipv6: true, ..contender("majority-3-ipv6", Kind::MAJORITY, 3) },
];

const fn contender(name: &'static str, kind: Kind, nodes: usize) -> Contender {
    Contender { name, kind, nodes, interval: USUAL, ipv6: false }
}

const USUAL: Duration = Duration::from_millis(100);
/// The VIP of those of IPv6.
const VIP6: Ipv6Addr = Ipv6Addr::new(0xfd56, 0, 0, 0, 0, 0, 0, 0x69);
const FAST: Duration = Duration::from_millis(10);

impl Kind {
    const FENCED: Self = Self::Chinthe { quorum: Quorum::None, fenced: true };
    const UNFENCED: Self = Self::Chinthe { quorum: Quorum::None, fenced: false };
    const MAJORITY: Self = Self::Chinthe { quorum: Quorum::Majority, fenced: true };
}

impl Contender {
    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        CONTENDERS.into_iter().find(|contender| contender.name == name)
    }

    /// Whether it is chinthe.
    pub(crate) fn is_ours(&self) -> bool {
        matches!(self.kind, Kind::Chinthe { .. })
    }

    /// What a holder needs from the others; keepalived needs nothing.
    pub(crate) fn quorum(&self) -> Quorum {
        match self.kind {
            Kind::Chinthe { quorum, .. } => quorum,
            Kind::Post | Kind::Expert => Quorum::None,
        }
    }

    /// Whether its kernel can fence its holder.
    pub(crate) fn fenced(&self) -> bool {
        matches!(self.kind, Kind::Chinthe { fenced: true, .. })
    }

    /// Where its clients go.
    pub(crate) fn target(&self) -> SocketAddr {
        if self.ipv6 { SocketAddr::from((VIP6, TARGET.port())) } else { TARGET.into() }
    }

    /// Whether it advertises as fast as VRRP can.
    pub(crate) fn is_fast(&self) -> bool {
        self.interval == FAST
    }

    /// Whether there is something to be seen of `fault` in it.
    pub(crate) fn suffers(&self, fault: Fault) -> bool {
        let chosen = match fault {
            // The proxy of chinthe dies with its daemon, which is a fault of its own.
            Fault::NoProxy => !self.is_ours(),
            // keepalived has no guard.
            Fault::KillBoth => self.is_ours(),
            Fault::Busy => self.is_ours() && self.is_fast(),
            Fault::HeavyLoss => self.is_ours(),
            Fault::Terminate
            | Fault::Kill
            | Fault::NoBackends
            | Fault::PowerOff
            | Fault::Cable
            | Fault::Freeze
            | Fault::FreezeBoth
            | Fault::CutOff
            | Fault::Loss
            | Fault::Restart
            | Fault::Idle => true,
        };
        chosen && self.has_a_row(fault)
    }

    /// Whether its variant differs from the usual one in `fault`.
    fn has_a_row(&self, fault: Fault) -> bool {
        let unfenced = self.is_ours() && !self.fenced();
        if self.is_fast() {
            matches!(fault, Fault::PowerOff | Fault::Cable | Fault::Loss | Fault::Busy | Fault::Idle)
        } else if unfenced {
            matches!(fault, Fault::KillBoth | Fault::Freeze | Fault::FreezeBoth)
        } else {
            true
        }
    }

    /// How long it may take for the slowest of its failovers: what is watched at most.
    pub(crate) fn patience(&self) -> Duration {
        match self.kind {
            // Three intervals, the skew, and its script's period.
            Kind::Post => Duration::from_secs(9),
            // The lease and what the kernel adds to it.
            Kind::Chinthe { .. } => Duration::from_millis(4500),
            Kind::Expert => Duration::from_secs(3),
        }
    }
}
