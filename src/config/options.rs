//! The one table of options: what the reader accepts, what `config/example.toml` shows.

use std::time::Duration;

/// One key of the file.
#[derive(Debug)]
pub struct Setting {
    /// Its place: `vip.track.weight` is the key `weight` in an entry of `track` in a `[[vip]]`.
    pub path: &'static str,
    /// What may stand there.
    pub kind: Kind,
    /// What counts when it isn't there.
    pub absent: Absent,
    /// What it is for, in a sentence.
    pub meaning: &'static str,
}

/// What counts when a key isn't there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// This TOML text.
    Default(&'static str),
    /// Nothing: it must be there. The text is an example.
    Required(&'static str),
    /// Nothing: it may be missing. The text is an example that fits the rest of the example file.
    Optional(&'static str),
    /// Nothing; the text is an example that the example file shows as a comment, because it stands in the
    /// place of another key or has a meaning of its own when it is there.
    Aside(&'static str),
}

/// What may stand at a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `[table]`, once.
    Table,
    /// `[[table]]`, any number.
    Tables,
    /// `key = { … }`, in one line.
    Inline,
    /// `key = [{ … }, { … }]`.
    Rows,
    /// A name that goes into labels and paths: letters, digits, `-`, `_`, `.`.
    Name,
    /// The name of a network interface.
    Interface,
    /// Any text but the empty one.
    Text,
    /// A file's path.
    Path,
    /// A file's path; `""` for none.
    PathOrNone,
    /// `true` or `false`.
    Flag,
    /// A whole number in this range, both ends included.
    Integer(i64, i64),
    /// A number with its unit, in this range, both ends included.
    Duration(Duration, Duration),
    /// An IP address.
    Address,
    /// The address of a virtual IP, with or without its prefix.
    VipAddress,
    /// An address with its port, for listening.
    Listen,
    /// An address with its port, for listening; `""` for none.
    ListenOrNone,
    /// A host with its port, or with this port if none is given.
    Endpoint(Option<u16>),
    /// One of the words; the second list is of words that are understood and not available yet.
    Word(&'static [&'static str], &'static [&'static str]),
    /// A list of such values.
    List(&'static Kind),
    /// A list of such values with one in it at least.
    NonEmpty(&'static Kind),
    /// One value for all nodes, or a table of values by node.
    PerNode(&'static Kind),
    /// A table of values by node.
    ByNode(&'static Kind),
    /// Understood, and not available yet; the text says what to do meanwhile.
    Later(&'static str),
}

impl Setting {
    /// The last part of the path: the key as the file has it.
    pub fn key(&self) -> &'static str {
        self.path.rsplit('.').next().unwrap_or(self.path)
    }

    /// What may stand there, as TOML text: the default if there is one. Empty for tables with a header.
    pub fn sample(&self) -> String {
        let (Absent::Default(text) | Absent::Required(text) | Absent::Optional(text) | Absent::Aside(text)) =
            self.absent;
        match self.kind {
            Kind::Inline => {
                let keys = Self::below(self.path).filter(|inner| !matches!(inner.absent, Absent::Aside(_)));
                let cells: Vec<String> =
                    keys.map(|inner| format!("{} = {}", inner.key(), inner.sample())).collect();
                format!("{{ {} }}", cells.join(", "))
            }
            _ => text.to_owned(),
        }
    }

    /// The settings of the table at `path`, in the file's order; `""` for the file itself.
    pub fn below(path: &str) -> impl Iterator<Item = &'static Setting> + use<'_> {
        SETTINGS.iter().filter(move |setting| match setting.path.rsplit_once('.') {
            Some((parent, _)) => parent == path,
            None => path.is_empty(),
        })
    }
}

/// The port of gossip and advertisements.
pub const PEER_PORT: u16 = 7780;

const MILLISECOND: Duration = Duration::from_millis(1);
/// Below it a loaded machine's timers are all noise.
const SHORTEST_ADVERTISEMENT: Duration = Duration::from_millis(10);
/// What VRRP's field can carry, rounded down: 12 bits of centiseconds.
const LONGEST_ADVERTISEMENT: Duration = Duration::from_secs(40);
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);
/// A bit above the 24.8 days that haproxy's timers can count to.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(600 * 3600);
/// A worker that spins for longer than an answer on the local network takes has nothing to gain.
const LONGEST_SPIN: Duration = MILLISECOND;
const CONNECTIONS: Kind = Kind::Integer(1, 10_000_000);
/// As many members as a node listens to.
const MOST_NODES: i64 = 64;
const COUNT: Kind = Kind::Integer(1, 1000);
const INTERVAL: Kind = Kind::Duration(SHORTEST_INTERVAL, LONGEST_INTERVAL);
const TIMEOUT: Kind = Kind::Duration(MILLISECOND, LONGEST_TIMEOUT);

use Absent::{Aside, Default, Optional, Required};

macro_rules! settings {
    ($($path:literal, $kind:expr, $absent:expr, $meaning:literal;)*) => {
        /// Every key, in the order of the file.
        pub static SETTINGS: &[Setting] =
            &[$(Setting { path: $path, kind: $kind, absent: $absent, meaning: $meaning }),*];
    };
}

settings! {
    "cluster", Kind::Table, Required(""),
        "Who belongs together, and how they find and trust each other.";
    "cluster.name", Kind::Name, Required("\"myweb\""),
        "Nodes of a cluster with another name are not listened to.";
    "cluster.seeds", Kind::List(&Kind::Endpoint(Some(PEER_PORT))),
        Required("[\"192.168.56.21\", \"192.168.56.22\"]"),
        "Where to look for the others, by address or name; any one within reach is enough, the node itself does no harm, port 7780/udp unless said; [] for a node on its own.";
    "cluster.secret_file", Kind::Path, Default("\"/etc/chinthe/secret\""),
        "Holds what the nodes trust each other by: the same 32 bytes or more on each, not readable by group or others; the variable CHINTHE_SECRET_FILE overrides it.";
    "cluster.quorum", Kind::Word(&["none", "majority"], &[]), Default("\"none\""),
        "What a node needs from the others to hold a virtual IP: nothing (a network cut in two has two holders), or the grants of a majority of `expected_nodes` (the smaller part has none).";
    "cluster.expected_nodes", Kind::Integer(1, MOST_NODES), Aside("3"),
        "With `quorum = \"majority\"`: how many nodes there are when all are there, witnesses included.";
    "cluster.witness", Kind::List(&Kind::Name), Aside("[\"ha3\"]"),
        "Nodes that only vote: they hold no virtual IP, listen for no service and need no `interface`.";
    "cluster.nodes", Kind::ByNode(&Kind::Address), Optional("ha1 = \"192.168.56.21\"\nha2 = \"192.168.56.22\""),
        "Names and addresses of nodes, where hostname and seeds don't tell; others may join.";

    "admin", Kind::Table, Optional(""),
        "Where this node answers its operators.";
    "admin.listen", Kind::ListenOrNone, Default("\"127.0.0.1:7781\""),
        "The TCP address of metrics, health and status; \"\" for none.";
    "admin.socket", Kind::PathOrNone, Default("\"/run/chinthe/admin.sock\""),
        "The Unix socket of the same; its folder is created; \"\" for none.";
    "admin.token_file", Kind::Path, Aside("\"/etc/chinthe/token\""),
        "Holds the token that changes over TCP need: 16 characters or more, not readable by others; \
         without it changes come by the socket alone.";

    "metrics", Kind::Table, Optional(""),
        "How much of itself a node shows to Prometheus.";
    "metrics.detail", Kind::Word(&["full", "holder", "aggregate"], &[]), Default("\"full\""),
        "Series by backend: full has all on every node; holder has them on a node that holds a virtual IP, and elsewhere its verdicts alone; aggregate has none.";
    "metrics.haproxy_compat", Kind::Flag, Default("false"),
        "Whether to show haproxy_* as well, for boards and alerts that were made for haproxy.";
    "metrics.keepalived_compat", Kind::Flag, Default("false"),
        "Whether to show keepalived_* as well, for boards and alerts that were made for keepalived.";

    "proxy", Kind::Table, Optional(""),
        "How bytes are moved.";
    "proxy.workers", Kind::Integer(1, 256), Aside("2"),
        "Threads that move bytes, each with its own connections; as many as there are cores unless said.";
    "proxy.max_connections", CONNECTIONS, Aside("50000"),
        "Open at once, shared out evenly over the workers, each of which lets further clients wait; \
         as many as there are descriptors for unless said: two each.";
    "proxy.backlog", Kind::Integer(1, 65_535), Default("4096"),
        "Clients that may wait to be accepted, for each listener and worker; net.core.somaxconn may say less.";
    "proxy.splice", Kind::Flag, Default("true"),
        "Bulk is moved within the kernel, instead of being copied out and in.";
    "proxy.spin", Kind::Duration(Duration::ZERO, LONGEST_SPIN), Default("\"0us\""),
        "How long a worker looks for more before it sleeps, up to 1ms: answers come sooner on a machine with a core \
         to spare for each worker, which is then always busy, and later on any other. With 0us a busy worker of at \
         most 16 connections does so for 50us, where that brings anything.";
    "proxy.congestion_control", Kind::Text, Aside("\"cubic\""),
        "TCP's congestion control on the proxy's own sockets; the kernel's unless said.";

    "check", Kind::Tables, Optional(""),
        "A command that is run again and again; exit status 0 is success. What keepalived calls vrrp_script.";
    "check.name", Kind::Name, Required("\"chk_disk\""),
        "What `track` calls it.";
    "check.command", Kind::NonEmpty(&Kind::Text), Required("[\"/usr/local/bin/disk-ok\"]"),
        "Program and arguments; no shell.";
    "check.interval", INTERVAL, Default("\"2s\""),
        "From the end of one run to the start of the next.";
    "check.timeout", INTERVAL, Aside("\"2s\""),
        "How long a run may take; as long as `interval` unless said.";
    "check.fall", COUNT, Default("3"),
        "Failures in a row that make it failed.";
    "check.rise", COUNT, Default("2"),
        "Successes in a row that make it well again.";

    "vip", Kind::Tables, Optional(""),
        "A virtual IP: one node holds it, the one with the highest priority of those that can serve.";
    "vip.name", Kind::Name, Required("\"vi_1\""),
        "What logs, metrics and commands call it.";
    "vip.address", Kind::VipAddress, Optional("\"192.168.56.69/24\""),
        "The address; with the prefix of its subnet, if you want that compared with the host's.";
    "vip.addresses", Kind::NonEmpty(&Kind::VipAddress), Aside("[\"192.168.56.69/24\", \"192.168.56.70/24\"]"),
        "In place of `address`: several that move together.";
    "vip.interface", Kind::PerNode(&Kind::Interface), Required("\"eth1\""),
        "The interface that carries it: one name for all nodes, or { ha1 = \"eth1\", ha2 = \"ens3\" }.";
    "vip.priority", Kind::PerNode(&Kind::Integer(1, 255)), Default("100"),
        "Before weights, 1 to 254: one for all nodes, or { ha1 = 101 } and 100 for the others; 255 is for the node whose own address this is.";
    "vip.advertisement_interval", Kind::Duration(SHORTEST_ADVERTISEMENT, LONGEST_ADVERTISEMENT), Default("\"100ms\""),
        "How often every node tells the others that it is there, 10ms to 40s; a lost holder is noticed after one and a half.";
    "vip.preempt", Kind::PerNode(&Kind::Flag), Default("true"),
        "Whether a node takes it from a living holder of lower priority: for all nodes, or { ha2 = false } and true for the others.";
    "vip.preempt_delay", Kind::PerNode(&Kind::Duration(MILLISECOND, LONGEST_INTERVAL)), Aside("\"30s\""),
        "For how long a node that has just become able to serve doesn't take it from a living holder; for all nodes, or { ha1 = \"30s\" }.";
    "vip.preempt_damping", Kind::Flag, Default("true"),
        "Whether hand-backs to the same node have to wait from the fourth on: 30 s, then twice as long each time, up to 10 min.";
    "vip.preempt_when_connections_below", Kind::Integer(1, 1_000_000_000), Aside("10"),
        "A holder hands it back only once fewer connections of clients are open to the services that it tracks.";
    "vip.placement", Kind::Word(&["address", "spread"], &[]), Default("\"address\""),
        "Which of nodes with the same priority holds it: the one with the highest address, or, where many virtual IPs are to be spread over equal nodes, each its own; those that are spread even out by themselves.";
    "vip.probe", Kind::Word(&["address", "none"], &[]), Default("\"address\""),
        "How a node makes sure that a silent holder's address is free: address asks it, by ARP. none, for networks where nobody answers that, waits 4.85s instead: the longest hold and the kernel's lease.";
    "vip.track", Kind::Rows, Optional("[{ service = \"myweb\", weight = 2 }, { check = \"chk_disk\", weight = -10 }]"),
        "What adds to or takes from the priority; without it the priority alone counts.";
    "vip.track.service", Kind::Name, Optional("\"myweb\""),
        "The `[[service]]` that is watched: well while it listens and has a backend that is up.";
    "vip.track.check", Kind::Name, Aside("\"chk_disk\""),
        "In place of `service`: the `[[check]]` that is watched.";
    "vip.track.weight", Kind::Integer(-254, 254), Default("0"),
        "Above 0: added while well. Below 0: taken away while not well. 0: a node where it is not well holds nothing.";
    "vip.track.reverse", Kind::Flag, Default("false"),
        "Well and not well change places.";
    "vip.vrrp", Kind::Later("leave it out: between chinthe nodes it isn't needed"), Aside(""),
        "VRRP on the wire, beside keepalived nodes.";

    "service", Kind::Tables, Optional(""),
        "What is proxied: TCP connections, spread over backends.";
    "service.name", Kind::Name, Required("\"myweb\""),
        "What `track`, metrics and commands call it.";
    "service.listen", Kind::NonEmpty(&Kind::Listen), Required("[\"0.0.0.0:80\"]"),
        "Where clients connect to, on every node, whether it holds a virtual IP or not.";
    "service.balance", Kind::Word(&["roundrobin"], &["leastconn", "source", "random", "first", "hash"]), Default("\"roundrobin\""),
        "How connections are spread: in turn, by weight.";
    "service.max_connections", CONNECTIONS, Aside("10000"),
        "Of this service, open at once; shared out and waited for as `proxy.max_connections`.";
    "service.timeout", Kind::Inline, Optional(""),
        "When to give up.";
    "service.timeout.connect", TIMEOUT, Default("\"5s\""),
        "One attempt to connect to a backend.";
    "service.timeout.client", TIMEOUT, Default("\"50s\""),
        "Silence while the client is the one awaited.";
    "service.timeout.server", TIMEOUT, Default("\"50s\""),
        "Silence while the backend is the one awaited.";
    "service.check", Kind::Inline, Optional(""),
        "How the backends are probed.";
    "service.check.type", Kind::Word(&["tcp"], &["http", "exec"]), Default("\"tcp\""),
        "What one try does: tcp opens a connection and resets it before the backend's accept returns.";
    "service.check.interval", INTERVAL, Default("\"2s\""),
        "From the end of one try to the start of the next.";
    "service.check.timeout", INTERVAL, Aside("\"2s\""),
        "How long a try may take; as long as `interval` unless said.";
    "service.check.fall", COUNT, Default("3"),
        "Failures in a row that take a backend out.";
    "service.check.rise", COUNT, Default("2"),
        "Successes in a row that bring it back.";
    "service.backend", Kind::Tables, Optional(""),
        "One of the places where connections go. What haproxy calls a server.";
    "service.backend.name", Kind::Name, Required("\"web1\""),
        "Unique in its service.";
    "service.backend.address", Kind::Endpoint(None), Required("\"192.168.56.11:80\""),
        "Host and port; a name is resolved again and again, and one that doesn't resolve never stops a start.";
    "service.backend.weight", Kind::Integer(0, 256), Default("1"),
        "Its share beside the others' weights; 0 gets no new connections.";
}
