//! Every metric family of this program, in one list: name, labels, and what it means.
//!
//! Names follow Prometheus' conventions (base units, `_total` for counters, `_info` for gauges that are
//! always 1), so that `promtool check metrics` has nothing to say. `process_*` are the official clients'.
//! What the boards of other programs ask for has lists of its own: [`haproxy`](super::haproxy) and
//! [`keepalived`](super::keepalived).

/// One metric family: what a scrape shows of it before the first series.
#[derive(Debug)]
pub(super) struct Family {
    /// What queries call it.
    pub(super) name: &'static str,
    /// What its numbers do.
    pub(super) kind: Kind,
    /// The labels of its series, in the order in which values are given.
    pub(super) labels: &'static [&'static str],
    /// One sentence for people.
    pub(super) help: &'static str,
}

/// What a family's numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows from zero.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

impl Family {
    pub(super) const fn counter(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Counter, labels, help }
    }

    pub(super) const fn gauge(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Gauge, labels, help }
    }

    pub(super) const fn histogram(
        name: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind: Kind::Histogram, labels, help }
    }
}

pub(super) const BUILD_INFO: Family = Family::gauge(
    "chinthe_build_info",
    &["version", "revision"],
    "Version and source revision of this binary; always 1.",
);
pub(super) const CONFIG_INFO: Family = Family::gauge(
    "chinthe_config_info",
    &["sha256"],
    "Digest of the configuration in use, equal on all nodes that run the same one; always 1.",
);
pub(super) const CONFIG_RELOADS: Family = Family::counter(
    "chinthe_config_reloads_total",
    &["result"],
    "Times this node was asked to load its configuration again, by what came of it.",
);
pub(super) const CONFIG_RELOAD: Family = Family::gauge(
    "chinthe_config_last_reload_successful",
    &[],
    "Whether the last attempt to load the configuration succeeded.",
);
pub(super) const CONFIG_LOADED: Family = Family::gauge(
    "chinthe_config_last_reload_success_timestamp_seconds",
    &[],
    "When the configuration in use was loaded.",
);
pub(super) const READY: Family = Family::gauge(
    "chinthe_ready",
    &[],
    "Whether this node can serve: its listeners accept and a full round of probes is done.",
);
pub(super) const NODE_INFO: Family = Family::gauge(
    "chinthe_node_info",
    &["role"],
    "What this node is in its cluster: a member, which can hold VIPs, or a witness, which only votes; always 1.",
);
pub(super) const NODE_ADMIN: Family = Family::gauge(
    "chinthe_node_admin_state",
    &["state"],
    "What operators want of this node: 1 for the state that holds, 0 for the others.",
);
pub(super) const DRIVER_STALLS: Family = Family::counter(
    "chinthe_driver_stalls_total",
    &[],
    "Times the control loop woke so late that it took nobody's silence for a sign of death.",
);
pub(super) const DRIVER_LATENESS: Family = Family::histogram(
    "chinthe_driver_lateness_seconds",
    &[],
    "How late the control loop woke for its deadlines.",
);
pub(super) const CHECK_UP: Family =
    Family::gauge("chinthe_check_up", &["check"], "Whether the command of a `[[check]]` succeeds.");
pub(super) const LOG_DROPPED: Family = Family::counter(
    "chinthe_log_lines_dropped_total",
    &[],
    "Log lines given up because whatever reads standard error was too slow.",
);
pub(super) const EVENTS_DROPPED: Family = Family::counter(
    "chinthe_events_dropped_total",
    &[],
    "Events that the event stream doesn't have, because more came than could be taken in.",
);
pub(super) const TRACE_SPANS: Family = Family::counter(
    "chinthe_trace_spans_total",
    &["stage"],
    "Spans that ended here, and those of them that a collector has taken; the others wait, or are lost.",
);
pub(super) const ADMIN_REQUESTS: Family = Family::counter(
    "chinthe_admin_requests_total",
    &["path", "code"],
    "Requests that this node's admin server has answered, by path and HTTP status code.",
);
pub(super) const MEMBERS: Family = Family::gauge(
    "chinthe_cluster_members",
    &["state"],
    "Members of the cluster as this node sees them, itself included.",
);
pub(super) const MEMBERS_EXPECTED: Family = Family::gauge(
    "chinthe_cluster_expected_members",
    &[],
    "Members that the configuration expects: `expected_nodes`, or those it names.",
);
pub(super) const MEMBER_TRANSITIONS: Family = Family::counter(
    "chinthe_member_transitions_total",
    &["to"],
    "Changes of other members' states, as this node sees them; brief doubts are not counted.",
);
pub(super) const MEMBER_HEARD: Family = Family::gauge(
    "chinthe_member_last_heard_timestamp_seconds",
    &["member"],
    "When another member was last heard directly, to within a second.",
);

pub(super) const QUORUM_NODES: Family = Family::gauge(
    "chinthe_quorum_nodes",
    &["kind"],
    "Nodes expected, needed to hold a VIP, and present as this node sees it; 0 where no majority has to agree.",
);

pub(super) const VIP_ACTIVE: Family =
    Family::gauge("chinthe_vip_active", &["vip"], "Whether this node holds the VIP.");
pub(super) const VIP_ELIGIBLE: Family =
    Family::gauge("chinthe_vip_eligible", &["vip"], "Whether this node holds the VIP or could.");
pub(super) const VIP_HOLDER: Family = Family::gauge(
    "chinthe_vip_holder_info",
    &["vip", "holder"],
    "Whom this node believes to hold the VIP; always 1, and no series while it believes nobody does.",
);
pub(super) const VIP_TERM: Family = Family::gauge(
    "chinthe_vip_term",
    &["vip"],
    "The number of the VIP's latest election that this node knows of.",
);
pub(super) const VIP_SINCE: Family = Family::gauge(
    "chinthe_vip_last_transition_timestamp_seconds",
    &["vip"],
    "When the VIP's state on this node last changed, or the daemon started.",
);
pub(super) const VIP_PRESENT: Family = Family::gauge(
    "chinthe_vip_address_present",
    &["vip"],
    "Whether the kernel has all of the VIP's addresses on this node.",
);
pub(super) const VIP_PRIORITY: Family = Family::gauge(
    "chinthe_vip_priority",
    &["vip", "kind"],
    "This node's priority for the VIP: as configured (base) and with all weights (effective).",
);
pub(super) const VIP_TRACK_WEIGHT: Family = Family::gauge(
    "chinthe_vip_track_weight",
    &["vip", "kind", "tracked"],
    "What a tracked service or check adds to this node's priority now; 0 where it only decides on eligibility.",
);
pub(super) const VIP_GRANTS: Family = Family::gauge(
    "chinthe_vip_grants",
    &["vip"],
    "Members that grant the VIP to this node now, itself included; 0 where no majority has to agree.",
);
pub(super) const VIP_DAMPED: Family = Family::gauge(
    "chinthe_vip_damped_members",
    &["vip"],
    "Members that this node doesn't hand the VIP back to yet, since that would repeat.",
);
pub(super) const VIP_TRANSITIONS: Family = Family::counter(
    "chinthe_vip_transitions_total",
    &["vip", "to", "cause"],
    "Changes of the VIP's state on this node.",
);
pub(super) const VIP_CONFLICTS: Family = Family::counter(
    "chinthe_vip_conflicts_total",
    &["vip", "source"],
    "Times another holder of a VIP held here was noticed.",
);
pub(super) const VIP_ANNOUNCEMENTS: Family = Family::counter(
    "chinthe_vip_announcements_total",
    &["vip", "kind"],
    "Gratuitous ARP packets and unsolicited neighbour advertisements sent.",
);
pub(super) const VIP_ANNOUNCEMENT_ERRORS: Family = Family::counter(
    "chinthe_vip_announcement_errors_total",
    &["vip"],
    "Announcements of the VIP's addresses that couldn't be sent.",
);
pub(super) const VIP_RESTORED: Family = Family::counter(
    "chinthe_vip_addresses_restored_total",
    &["vip"],
    "Addresses of a VIP held here that somebody else removed and that were added again at once.",
);
pub(super) const FAILOVER: Family = Family::histogram(
    "chinthe_failover_duration_seconds",
    &["vip", "phase"],
    "Where the time of a takeover by this node went.",
);

pub(super) const BACKEND_UP: Family = Family::gauge(
    "chinthe_backend_up",
    &["service", "backend"],
    "Whether new connections go to the backend.",
);
pub(super) const BACKEND_CHECK_UP: Family = Family::gauge(
    "chinthe_backend_check_up",
    &["service", "backend"],
    "Whether the backend is up by this node's own probes.",
);
pub(super) const BACKEND_ADMIN: Family = Family::gauge(
    "chinthe_backend_admin_state",
    &["service", "backend", "state"],
    "What operators want of the backend: 1 for the state that holds, 0 for the others.",
);
pub(super) const BACKEND_VIEWS: Family = Family::gauge(
    "chinthe_backend_views",
    &["service", "backend", "verdict"],
    "Members by what they say of the backend, this node included.",
);
pub(super) const BACKEND_DISAGREEMENT: Family = Family::gauge(
    "chinthe_backend_disagreement",
    &["service", "backend"],
    "Whether this node's own verdict differs from what the members agree on.",
);
pub(super) const BACKEND_WEIGHT: Family = Family::gauge(
    "chinthe_backend_weight",
    &["service", "backend"],
    "The backend's share of new connections beside the others' weights.",
);
pub(super) const BACKEND_TRANSITIONS: Family = Family::counter(
    "chinthe_backend_transitions_total",
    &["service", "backend", "to"],
    "Changes of this node's verdict on the backend.",
);
pub(super) const BACKEND_SINCE: Family = Family::gauge(
    "chinthe_backend_last_transition_timestamp_seconds",
    &["service", "backend"],
    "When this node's verdict on the backend last changed, or the daemon started.",
);
pub(super) const BACKEND_DOWNTIME: Family = Family::counter(
    "chinthe_backend_downtime_seconds_total",
    &["service", "backend"],
    "For how long this node's verdict on the backend has been down, all in all.",
);
pub(super) const BACKEND_CHECKS: Family = Family::counter(
    "chinthe_backend_checks_total",
    &["service", "backend", "result"],
    "Probes of the backend by this node, by what came of them.",
);
pub(super) const BACKEND_CHECK_DURATION: Family = Family::gauge(
    "chinthe_backend_check_duration_seconds",
    &["service", "backend"],
    "How long the backend took to answer this node's last successful probe.",
);
pub(super) const BACKEND_CONNECTIONS: Family = Family::counter(
    "chinthe_backend_connections_total",
    &["service", "backend"],
    "Connections established to the backend.",
);
pub(super) const BACKEND_ACTIVE: Family = Family::gauge(
    "chinthe_backend_connections_active",
    &["service", "backend"],
    "Connections open to the backend.",
);
pub(super) const BACKEND_FAILURES: Family = Family::counter(
    "chinthe_backend_connect_failures_total",
    &["service", "backend", "reason"],
    "Attempts to connect to the backend that failed.",
);
pub(super) const BACKEND_BYTES: Family = Family::counter(
    "chinthe_backend_bytes_total",
    &["service", "backend", "direction"],
    "Bytes relayed from clients to the backend (in) and back (out).",
);

pub(super) const SERVICE_UP: Family = Family::gauge(
    "chinthe_service_up",
    &["service"],
    "Whether this node can serve it: it listens, and a backend is usable.",
);
pub(super) const SERVICE_BACKENDS: Family = Family::gauge(
    "chinthe_service_backends",
    &["service", "state"],
    "The service's backends by their state here; what operators took out counts as drain or maint.",
);
pub(super) const SERVICE_CONNECTIONS: Family =
    Family::counter("chinthe_service_connections_total", &["service"], "Connections accepted from clients.");
pub(super) const SERVICE_ACTIVE: Family = Family::gauge(
    "chinthe_service_connections_active",
    &["service"],
    "Connections of clients that are open.",
);
pub(super) const SERVICE_LIMIT: Family = Family::gauge(
    "chinthe_service_connections_limit",
    &["service"],
    "Connections of clients that the service may have open: its own limit, else what all services share.",
);
pub(super) const SERVICE_REJECTED: Family = Family::counter(
    "chinthe_service_connections_rejected_total",
    &["service", "reason"],
    "Connections of clients that were closed unserved.",
);
pub(super) const SERVICE_BYTES: Family = Family::counter(
    "chinthe_service_bytes_total",
    &["service", "direction"],
    "Bytes relayed from clients (in) and to them (out).",
);
pub(super) const SERVICE_CONNECT: Family = Family::histogram(
    "chinthe_service_connect_duration_seconds",
    &["service"],
    "How long successful attempts to connect to a backend took.",
);

pub(super) const SERVICE_RETRIES: Family = Family::counter(
    "chinthe_service_connect_retries_total",
    &["service"],
    "Further attempts to connect a client, at another backend, after one had failed or was overdue.",
);
pub(super) const SERVICE_LASTING: Family = Family::histogram(
    "chinthe_service_connection_duration_seconds",
    &["service"],
    "How long connections that had a backend lasted, counted when they end.",
);

pub(super) const PROXY_LIMIT: Family = Family::gauge(
    "chinthe_proxy_connections_limit",
    &[],
    "Clients' connections that may be open at once, over all services; more wait in the kernel.",
);
pub(super) const PROXY_PAUSES: Family = Family::counter(
    "chinthe_proxy_accept_pauses_total",
    &[],
    "Times a worker stopped accepting for a while, having all the connections or descriptors it may have.",
);

pub(super) const PEER_MESSAGES: Family = Family::counter(
    "chinthe_peer_messages_total",
    &["channel", "direction"],
    "Messages sent to other nodes, and accepted from them.",
);
pub(super) const PEER_REJECTED: Family = Family::counter(
    "chinthe_peer_messages_rejected_total",
    &["channel", "reason"],
    "Messages dropped before or after they were opened.",
);

pub(super) const GOSSIP_BYTES: Family = Family::counter(
    "chinthe_gossip_bytes_total",
    &["direction"],
    "Bytes of gossip sent to other nodes, and accepted from them, sealed, without headers of UDP.",
);
pub(super) const GOSSIP_CONVERGENCE: Family = Family::histogram(
    "chinthe_gossip_convergence_seconds",
    &[],
    "How long operators' words from other nodes took to get here, by both nodes' clocks: as exact as these agree.",
);

pub(super) const PROCESS_CPU: Family =
    Family::counter("process_cpu_seconds_total", &[], "Total user and system CPU time spent in seconds.");
pub(super) const PROCESS_FDS: Family =
    Family::gauge("process_open_fds", &[], "Number of open file descriptors.");
pub(super) const PROCESS_MAX_FDS: Family =
    Family::gauge("process_max_fds", &[], "Maximum number of open file descriptors.");
pub(super) const PROCESS_VIRTUAL: Family =
    Family::gauge("process_virtual_memory_bytes", &[], "Virtual memory size in bytes.");
pub(super) const PROCESS_RESIDENT: Family =
    Family::gauge("process_resident_memory_bytes", &[], "Resident memory size in bytes.");
pub(super) const PROCESS_START: Family = Family::gauge(
    "process_start_time_seconds",
    &[],
    "Start time of the process since unix epoch in seconds.",
);
pub(super) const PROCESS_THREADS: Family =
    Family::gauge("process_threads", &[], "Number of OS threads in the process.");

/// What can come of a reload.
pub(super) const RELOAD_RESULTS: [&str; 2] = ["success", "failure"];
/// How another holder can be noticed.
pub(super) const CONFLICT_SOURCES: [&str; 2] = ["arp", "advertisement"];
/// How a VIP can be announced.
pub(super) const ANNOUNCEMENT_KINDS: [&str; 2] = ["garp", "na"];
/// What the backends of a service can be counted as.
pub(super) const BACKEND_STATES: [&str; 5] = ["unknown", "up", "down", "drain", "maint"];
/// What can come of a probe.
pub(super) const CHECK_RESULTS: [&str; 6] =
    ["success", "refused", "timeout", "unreachable", "resolve", "other"];
/// Why a client's connection can be closed unserved.
pub(super) const CONNECTION_REJECTIONS: [&str; 3] = ["no_backend", "resources", "client_gone"];
/// Why an attempt to connect can fail.
pub(super) const CONNECT_FAILURES: [&str; 5] = ["refused", "timeout", "overdue", "unreachable", "other"];
/// Why a message from the network can be dropped: what the envelope's reader says, and what gossip leaves out.
pub(super) const MESSAGE_REJECTIONS: [&str; 15] = [
    "short",
    "version",
    "channel",
    "cluster",
    "key",
    "forged",
    "own",
    "full",
    "replayed",
    "unproven",
    "malformed",
    "name",
    "busy",
    "large",
    "foreign",
];

/// Upper bounds of the takeover histogram, in seconds: a planned move takes milliseconds, a crash tenths,
/// an expired lease seconds, and VRRP's own timers 3.6 s.
pub(super) const FAILOVER_BOUNDS: &[f64] =
    &[0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 3.0, 5.0, 10.0, 30.0];
/// Upper bounds of gossip's convergence, in seconds: what is new is told to everybody at once, else by rounds.
pub(super) const CONVERGENCE_BOUNDS: &[f64] =
    &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
/// Upper bounds of the control loop's lateness, in seconds: a timer is exact to tenths of a millisecond, 15 ms are
/// a stall at the usual interval, and whole seconds are a host that was paused.
pub(super) const LATENESS_BOUNDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.015, 0.05, 0.25, 1.0, 10.0];
