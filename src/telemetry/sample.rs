//! What others count for themselves, as plain data at the time of a scrape.
//!
//! The proxy's counters and the driver's state are copied into a [`Sample`] when somebody asks; between
//! scrapes they cost nothing. Lists follow the order of [`Layout`](super::Layout); what a sample lacks is
//! shown as zero, so that every series exists from the start.

use std::time::Duration;

use crate::core::{AdminState, MemberState, Verdict};

/// Upper bounds of `chinthe_service_connect_duration_seconds`, in seconds: a connect on a LAN takes 0.2 ms, a lost
/// SYN is repeated after 1 and 3 s. They are the proxy's.
pub const CONNECT_BOUNDS: &[f64] =
    &[0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0];

/// Upper bounds of `chinthe_service_connection_duration_seconds`, in seconds: a request, a page, a pool's connection.
/// They are the proxy's.
pub const LASTING_BOUNDS: &[f64] = &[0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0];

/// The state of this node at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Sample {
    /// Whether this node can serve.
    pub ready: bool,
    /// What operators want of this node.
    pub admin: AdminState,
    /// Requests to the admin server, by path, or `other` for one that isn't there, and status code.
    pub admin_requests: Vec<(&'static str, u16, u64)>,
    /// Spans that have ended, and how many of these a collector has taken.
    pub spans: [u64; 2],
    /// Log lines given up so far.
    pub log_lines_dropped: u64,
    /// Events given up so far, that the event stream doesn't have.
    pub events_dropped: u64,
    /// How many members are in each state, this node included, in the order of [`MemberState::ALL`].
    pub members: [u64; MemberState::ALL.len()],
    /// How many members the configuration names.
    pub members_expected: u64,
    /// The other members, each with when it was last heard, since the epoch.
    pub heard: Vec<(String, Duration)>,
    /// Whether each check succeeds; `None` before its first result.
    pub checks: Vec<Option<bool>>,
    /// How many nodes are expected, needed and present, where a majority has to agree.
    pub majority: [u64; 3],
    /// One for each VIP.
    pub vips: Vec<VipSample>,
    /// What the proxy has over all services.
    pub proxy: ProxySample,
    /// One for each service.
    pub services: Vec<ServiceSample>,
}

/// One VIP on this node.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VipSample {
    /// Whether this node holds it.
    pub active: bool,
    /// Whether this node holds it or could.
    pub eligible: bool,
    /// Whether the kernel has all of its addresses.
    pub address_present: bool,
    /// Whom this node believes to hold it.
    pub holder: Option<String>,
    /// The number of the latest election that is known of.
    pub term: u32,
    /// When its state here last changed, since the epoch.
    pub since: Duration,
    /// The configured priority.
    pub base_priority: u8,
    /// The priority with all weights.
    pub effective_priority: u8,
    /// What each thing that it tracks adds to the priority now.
    pub tracks: Vec<TrackSample>,
    /// How many members grant it to this node now.
    pub grants: u64,
    /// How many members it isn't handed back to yet, since that would repeat.
    pub damped: u64,
}

/// Something that a VIP tracks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TrackSample {
    /// `service` or `check`.
    pub kind: &'static str,
    /// Its name.
    pub tracked: String,
    /// What it adds to the priority now, possibly less than nothing.
    pub weight: i32,
}

/// The proxy as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ProxySample {
    /// Threads that move bytes.
    pub workers: u64,
    /// Clients' connections that may be open at once.
    pub connections_limit: u64,
    /// How often a worker stopped accepting for a while.
    pub accept_pauses: u64,
}

/// One service's traffic since the start.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ServiceSample {
    /// Whether this node can serve it.
    pub up: bool,
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
    /// Further attempts to connect a client, at another backend.
    pub connect_retries: u64,
    /// How long connects to backends took, by [`CONNECT_BOUNDS`].
    pub connect_durations: Durations,
    /// How long connections that had a backend lasted, by [`LASTING_BOUNDS`].
    pub connection_durations: Durations,
    /// One for each backend.
    pub backends: Vec<BackendSample>,
}

/// A histogram as its owner counts it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Durations {
    /// How many were at most as long as the bound of the same index, and longer than the one before; one more for
    /// those beyond every bound.
    pub buckets: Vec<u64>,
    /// All durations together.
    pub sum: Duration,
}

/// One backend, as this node sees and uses it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendSample {
    /// Whether new connections go there.
    pub up: bool,
    /// What this node's own probes say.
    pub verdict: Verdict,
    /// What operators want of it; `None` while nobody knows.
    pub admin: Option<AdminState>,
    /// Its share of new connections.
    pub weight: u16,
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

impl BackendSample {
    /// What it counts as among its service's backends.
    pub(super) fn state(&self) -> &'static str {
        match (self.admin, self.verdict) {
            (Some(AdminState::Drain), _) => "drain",
            (Some(AdminState::Maint), _) => "maint",
            (Some(AdminState::Ready) | None, verdict) => verdict.as_str(),
        }
    }
}
