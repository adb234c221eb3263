//! The configuration: what the program needs, resolved and in range.
//!
//! The file's shape is another type (`file`), read from values that know their line and column. What stands
//! here needs no checking any more: addresses are addresses, durations are durations, names refer to things
//! that exist. One identical file serves every node, so whatever differs between nodes is a [`PerNode`].

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

mod difference;
mod digest;
mod example;
mod file;
pub mod identity;
mod lints;
mod load;
pub mod options;
mod report;
mod resolve;
pub mod secret;
mod syntax;
mod values;

pub use difference::{Difference, difference, in_order_of};
pub use digest::{digest, hex, short_hex};
pub use example::example;
pub use identity::{Identity, identify};
pub use load::{LoadError, load};
pub use report::{Lint, Problem, Problems, did_you_mean, warnings};
pub use secret::{Secret, SecretError, read_secret, secret_path};
pub use values::{duration_text, is_interface, is_name, parse_duration, parse_endpoint, parse_listen};

/// The largest file that is read, in bytes: far above what a cluster needs, far below what could do harm.
pub const LARGEST_FILE: usize = 1 << 20;

/// Judges a whole file: `text`, which messages call `file`.
///
/// The file alone is judged, never the host or the secret. What comes back with the configuration is odd about it,
/// in the file's order; what comes back in its place is every mistake.
pub fn parse(text: &str, file: &str) -> Result<(Config, Vec<Lint>), Problems> {
    if text.len() > LARGEST_FILE {
        return Err(too_large(file));
    }
    let mut findings = report::Findings::new(text);
    let shape = file::read(text, &mut findings);
    let config = resolve::resolve(&shape, &mut findings);
    if !findings.any() {
        lints::lint(&shape, &config, &mut findings);
    }
    let lints = findings.finish(file)?;
    Ok((config, lints))
}

fn too_large(file: &str) -> Problems {
    let problem = Problem {
        line: 1,
        column: 1,
        message: format!("the file has more than {LARGEST_FILE} bytes"),
        hint: Some("is it another file by mistake?".into()),
    };
    Problems { file: file.to_owned(), list: vec![problem] }
}

/// A whole configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Who belongs together, and how they find and trust each other.
    pub cluster: Cluster,
    /// Where this node answers its operators.
    pub admin: Admin,
    /// How much of itself a node shows to Prometheus.
    pub metrics: Metrics,
    /// How bytes are moved.
    pub proxy: Proxy,
    /// Commands whose outcome a VIP can track (keepalived's `vrrp_script`).
    pub checks: Vec<Check>,
    /// The virtual IPs.
    pub vips: Vec<Vip>,
    /// What is proxied.
    pub services: Vec<Service>,
}

/// `[cluster]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// The cluster's name: nodes of another cluster are not listened to.
    pub name: String,
    /// Where to look for members first; port 7780 unless said.
    pub seeds: Vec<Endpoint>,
    /// The file that holds the shared secret.
    pub secret_file: PathBuf,
    /// When a node may hold a VIP.
    pub quorum: Quorum,
    /// Nodes that only vote.
    pub witness: Vec<String>,
    /// Names and addresses, where hostname and seeds don't tell.
    pub nodes: BTreeMap<String, IpAddr>,
}

/// What a node needs from the others to hold a VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quorum {
    /// Nothing: VRRP's choice.
    None,
    /// The grants of a majority.
    Majority {
        /// How many nodes there are when all are there.
        of: u16,
    },
}

impl Quorum {
    /// As the file has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Majority { .. } => "majority",
        }
    }

    /// How many nodes a majority is counted of, where one is needed.
    pub const fn majority_of(self) -> Option<u16> {
        match self {
            Self::None => None,
            Self::Majority { of } => Some(of),
        }
    }
}

/// `[admin]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// The TCP address of the HTTP server; `None` when the file says `""`.
    pub listen: Option<SocketAddr>,
    /// The Unix socket of the same server; `None` when the file says `""`.
    pub socket: Option<PathBuf>,
    /// The file with the token that changes over TCP need.
    pub token_file: Option<PathBuf>,
}

/// `[metrics]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Metrics {
    /// How much is shown of each backend.
    pub detail: Detail,
    /// Whether what boards for haproxy ask for is shown as well.
    pub haproxy_compat: bool,
    /// Whether what boards for keepalived ask for is shown as well.
    pub keepalived_compat: bool,
}

/// `metrics.detail`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Detail {
    /// Everything, on every node.
    #[default]
    Full,
    /// Everything on a node that holds a VIP; elsewhere of each backend its verdicts alone.
    Holder,
    /// No series by backend: the service's alone.
    Aggregate,
}

/// `[proxy]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Threads that move bytes; `None` for one a core.
    pub workers: Option<usize>,
    /// Connections open at once; `None` for as many as there are descriptors for.
    pub max_connections: Option<usize>,
    /// Clients that may wait to be accepted, for each listener and worker.
    pub backlog: u16,
    /// Whether bulk is moved within the kernel.
    pub splice: bool,
    /// How long a worker looks for more before it sleeps.
    pub spin: Duration,
    /// TCP's congestion control on the proxy's sockets; `None` for the kernel's.
    pub congestion_control: Option<String>,
}

/// `[[check]]`: a command, run again and again; exit status 0 is success.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// What `track` calls it.
    pub name: String,
    /// Program and arguments; no shell. Never empty.
    pub command: Vec<String>,
    /// From the end of one run to the start of the next.
    pub interval: Duration,
    /// How long a run may take; `interval` unless said.
    pub timeout: Duration,
    /// Successes in a row that make it well again.
    pub rise: u32,
    /// Failures in a row that make it failed.
    pub fall: u32,
}

/// `[[vip]]`: one or several addresses that move together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vip {
    /// What logs, metrics and commands call it.
    pub name: String,
    /// At least one.
    pub addresses: Vec<VipAddress>,
    /// The interface that carries it.
    pub interface: PerNode<String>,
    /// The base priority: 1 to 254, or 255 for the address owner; 100 for nodes that aren't named.
    pub priority: PerNode<u8>,
    /// How often every node tells the others that it is there.
    pub advertisement_interval: Duration,
    /// Whether a node takes the VIP from a living holder of lower priority.
    pub preempt: PerNode<bool>,
    /// For how long a node that has just become able to hold it doesn't.
    pub preempt_delay: PerNode<Duration>,
    /// Whether hand-backs to the same node that repeat have to wait.
    pub preempt_damping: bool,
    /// A holder hands it back only once it has fewer connections of clients.
    pub preempt_when_connections_below: Option<u64>,
    /// Who of equal nodes holds it.
    pub placement: Placement,
    /// How a node makes sure that a silent holder's address is free.
    pub probe: VipProbe,
    /// What adds to or takes from the priority.
    pub track: Vec<Track>,
}

/// `placement`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// The highest address of equal nodes.
    Address,
    /// An order of its own for each VIP.
    Spread,
}

/// A VIP's `probe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VipProbe {
    /// It asks the address, by ARP.
    Address,
    /// It waits until whatever the holder's kernel had has run out.
    None,
}

impl VipProbe {
    /// As the file has it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::None => "none",
        }
    }
}

/// One address of a VIP; the prefix is what the operator wrote, for comparison with the subnet only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipAddress {
    /// The address itself: held as /32 or /128.
    pub ip: IpAddr,
    /// The prefix length in the file, if any.
    pub prefix: Option<u8>,
}

/// A value for all nodes, with exceptions by node name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PerNode<T> {
    /// What nodes have that aren't named; `None` when the file names nodes and there is no default
    /// (an interface, which nobody can guess).
    pub default: Option<T>,
    /// What the named nodes have.
    pub nodes: BTreeMap<String, T>,
}

impl<T> PerNode<T> {
    /// The same value on every node.
    pub fn all(value: T) -> Self {
        Self { default: Some(value), nodes: BTreeMap::new() }
    }

    /// The same, each value turned into another.
    pub(crate) fn map<U>(&self, turn: impl Fn(&T) -> U) -> PerNode<U> {
        PerNode {
            default: self.default.as_ref().map(&turn),
            nodes: self.nodes.iter().map(|(name, value)| (name.clone(), turn(value))).collect(),
        }
    }

    /// The value on the node called `name`.
    pub fn on(&self, name: &str) -> Option<&T> {
        self.nodes.get(name).or(self.default.as_ref())
    }
}

/// One entry of a VIP's `track`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track {
    /// What is watched.
    pub what: Tracked,
    /// Added while well if positive, subtracted while not if negative; 0: not well makes the node ineligible.
    pub weight: i16,
    /// Well and failed change places.
    pub reverse: bool,
}

/// What a VIP can track: indices into [`Config::services`] and [`Config::checks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// Well while its listeners accept and a backend is usable from here.
    Service(usize),
    /// Well while the command succeeds.
    Check(usize),
}

/// `[[service]]`: a listener, a pool of backends and how they are shared out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What `track`, metrics and commands call it.
    pub name: String,
    /// At least one address; port included.
    pub listen: Vec<SocketAddr>,
    /// How connections are shared out.
    pub balance: Balance,
    /// Connections open at once; `None` for no limit of its own.
    pub max_connections: Option<usize>,
    /// The three timeouts.
    pub timeout: Timeouts,
    /// How the backends are probed.
    pub check: HealthCheck,
    /// The pool, in the file's order. May be empty.
    pub backends: Vec<Backend>,
}

/// `balance`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Balance {
    /// Smooth weighted round robin, exact over all connections of a node.
    RoundRobin,
}

/// `timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For one attempt to connect to a backend.
    pub connect: Duration,
    /// Inactivity while the client is the one awaited.
    pub client: Duration,
    /// Inactivity while the backend is the one awaited.
    pub server: Duration,
}

/// A service's `check`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HealthCheck {
    /// What one try does.
    pub kind: ProbeKind,
    /// From the end of one try to the start of the next.
    pub interval: Duration,
    /// How long one try may take; `interval` unless said.
    pub timeout: Duration,
    /// Successes in a row that bring a backend back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
}

/// `check.type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProbeKind {
    /// SYN, SYN-ACK, RST: the backend's accept never returns.
    Tcp,
}

/// `[[service.backend]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backend {
    /// Unique in its service.
    pub name: String,
    /// Where it listens; a name is resolved again and again, and never stops a start.
    pub address: Endpoint,
    /// Its share: 1 to 256; 0 takes no new connections.
    pub weight: u16,
}

/// An address with a port, or a name that is yet to be resolved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Endpoint {
    /// Known.
    Address(SocketAddr),
    /// To be resolved.
    Name(String, u16),
}
