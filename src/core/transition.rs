//! The core's one record of what happened to a VIP: log line, counter, trace and status all derive from it.

use std::time::Duration;

use super::time::Time;

/// One step of a VIP's state on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// Index of the VIP in the configuration.
    pub vip: usize,
    /// The state left.
    pub from: VipState,
    /// The state entered.
    pub to: VipState,
    /// Why.
    pub cause: Cause,
    /// When the core decided it.
    pub at: Time,
    /// This node's effective priority at that moment.
    pub priority: u8,
    /// The term of the election it belongs to.
    pub term: u32,
    /// Where the time went, when `to` is `Active`.
    pub phases: Option<Phases>,
}

/// A VIP's state on one node, by RFC 9568's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum VipState {
    /// Not a candidate: still starting, or something tracked with weight 0 isn't well (keepalived's FAULT).
    #[default]
    Initialize,
    /// A candidate; somebody else holds it, or nobody does yet.
    Backup,
    /// This node holds it.
    Active,
}

impl VipState {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Initialize, Self::Backup, Self::Active];

    /// As in status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        }
    }
}

/// Why a VIP's state changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Cause {
    /// The node became a candidate: it is up, its proxy listens, its backends have been probed.
    Ready,
    /// Nobody held the VIP.
    Vacant,
    /// The holder fell silent and its address no longer answers.
    HolderSilent,
    /// The holder gave it up and named this node, or nobody better took it.
    Resignation,
    /// A healthy peer's effective priority is higher, or it holds too few of VIPs that are spread.
    Priority,
    /// Operators want it elsewhere.
    Moved,
    /// Something tracked with weight 0 isn't well.
    Ineligible,
    /// The interface lost its carrier or was taken down.
    LinkDown,
    /// No peer and no backend can be reached any more.
    Isolated,
    /// Another node that is entitled to it holds it too.
    Conflict,
    /// No majority grants it any more.
    NoMajority,
    /// The driver was late, and the guard let go by itself.
    HoldExpired,
    /// The guard ended or refused.
    GuardLost,
    /// The address was removed by somebody else, again and again.
    AddressRemoved,
    /// Operators want the node to hold nothing.
    Drain,
    /// The daemon is stopping.
    Shutdown,
}

impl Cause {
    /// All of them, in order.
    pub const ALL: [Self; 16] = [
        Self::Ready,
        Self::Vacant,
        Self::HolderSilent,
        Self::Resignation,
        Self::Priority,
        Self::Moved,
        Self::Ineligible,
        Self::LinkDown,
        Self::Isolated,
        Self::Conflict,
        Self::NoMajority,
        Self::HoldExpired,
        Self::GuardLost,
        Self::AddressRemoved,
        Self::Drain,
        Self::Shutdown,
    ];

    /// As in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Vacant => "vacant",
            Self::HolderSilent => "holder_silent",
            Self::Resignation => "resignation",
            Self::Priority => "priority",
            Self::Moved => "moved",
            Self::Ineligible => "ineligible",
            Self::LinkDown => "link_down",
            Self::Isolated => "isolated",
            Self::Conflict => "conflict",
            Self::NoMajority => "no_majority",
            Self::HoldExpired => "hold_expired",
            Self::GuardLost => "guard_lost",
            Self::AddressRemoved => "address_removed",
            Self::Drain => "drain",
            Self::Shutdown => "shutdown",
        }
    }
}

/// Where the time of a takeover went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Phases {
    /// From the last word of the old holder (or its resignation) to the suspicion or the resignation's arrival.
    pub detect: Duration,
    /// From there to the decision to take the VIP.
    pub elect: Duration,
    /// From the decision to the kernel's acknowledgement of the address.
    pub assign: Duration,
}

/// A backend's health, as one node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Verdict {
    /// Not probed yet.
    #[default]
    Unknown,
    /// The first probe succeeded, or `rise` in a row did.
    Up,
    /// The first probe failed, or `fall` in a row did.
    Down,
}

impl Verdict {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Unknown, Self::Up, Self::Down];

    /// As in status, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}
