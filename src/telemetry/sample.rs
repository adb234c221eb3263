//! What others count for themselves, as plain data at the time of a scrape.
//!
//! The proxy's counters and the driver's state are copied into a [`Sample`] when somebody asks; between
//! scrapes they cost nothing. Lists follow the order of [`Layout`](super::Layout); what a sample lacks is
//! shown as zero, so that every series exists from the start.

use crate::core::{AdminState, Verdict};

/// Upper bounds that `chinthe_service_connect_duration_seconds` has until the proxy's own counts say
/// otherwise, in seconds: a connect on a LAN takes 0.2 ms, a lost SYN is repeated after 1 and 3 s.
pub const CONNECT_BOUNDS: [f64; 12] =
    [0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// The state of this node at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Whether this node can serve.
    pub ready: bool,
    /// Whether the last attempt to load the configuration succeeded.
    pub config_reload_ok: bool,
    /// Log lines given up so far.
    pub log_lines_dropped: u64,
    /// Events given up so far, that the event stream doesn't have.
    pub events_dropped: u64,
    /// The cluster as this node sees it, itself included.
    pub members: MemberCounts,
    /// How many nodes are expected, needed and present, where a majority has to agree.
    pub majority: [u64; 3],
    /// One for each VIP.
    pub vips: Vec<VipSample>,
    /// One for each service.
    pub services: Vec<ServiceSample>,
}

/// How many members are in each state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemberCounts {
    /// Heard from lately.
    pub alive: u64,
    /// Silent for longer than they should be.
    pub suspect: u64,
    /// Given up.
    pub dead: u64,
    /// Gone by their own word.
    pub left: u64,
}

/// One VIP on this node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VipSample {
    /// Whether this node holds it.
    pub active: bool,
    /// Whether the kernel has all of its addresses.
    pub address_present: bool,
    /// The configured priority.
    pub base_priority: u8,
    /// The priority with all weights.
    pub effective_priority: u8,
    /// How many members grant it to this node now.
    pub grants: u64,
}

/// One service's traffic since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceSample {
    /// Connections accepted.
    pub connections_total: u64,
    /// Connections open.
    pub connections_active: u64,
    /// Connections closed unserved, by reason.
    pub rejected: Vec<(&'static str, u64)>,
    /// Bytes from clients.
    pub bytes_in: u64,
    /// Bytes to clients.
    pub bytes_out: u64,
    /// How long connects to backends took.
    pub connect_durations: ConnectDurations,
    /// One for each backend.
    pub backends: Vec<BackendSample>,
}

/// A histogram as its owner counts it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ConnectDurations {
    /// Upper bound in seconds (finite, ascending), and how many took no longer than that.
    pub buckets: Vec<(f64, u64)>,
    /// All durations together, in seconds.
    pub sum: f64,
    /// How many there were.
    pub count: u64,
}

/// One backend, as this node sees and uses it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendSample {
    /// Whether new connections go there.
    pub up: bool,
    /// Whether it is up by this node's own probes.
    pub check_up: bool,
    /// What operators want of it.
    pub admin: Option<AdminState>,
    /// How many members say what of it, in the order of [`Verdict::ALL`].
    pub views: [u64; Verdict::ALL.len()],
    /// This node's own verdict differs from what the members agree on.
    pub disagrees: bool,
    /// Connections established.
    pub connections_total: u64,
    /// Connections open.
    pub connections_active: u64,
    /// Attempts to connect that failed, by reason.
    pub connect_failures: Vec<(&'static str, u64)>,
    /// Bytes to the backend.
    pub bytes_in: u64,
    /// Bytes from the backend.
    pub bytes_out: u64,
}
