//! From a file and a host to everything the driver needs, or to an error that says what to do.
//!
//! In this order, so that a refusal has changed nothing: the file, the node's name and address, secret and token,
//! the ports, and last the guard, which touches the network only to remove what an earlier life left.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::rand::{GetRandomFlags, getrandom};

use crate::admin;
use crate::config::identity::ThisHost;
use crate::config::{self, Config, Endpoint, Identity, LoadError};
use crate::core::{self, Boot, Core, MemberId, Placement, Settings, Terms, VipSettings};
use crate::guard::{Guard, GuardError, Inherited, Ward, WardVip, clock};
use crate::peers::{self, Peers, PeersError, gossip};
use crate::proxy;
use crate::telemetry::Tracing;
use crate::wire::seal::{Channel, Keyring};
use crate::wire::{member_id, vip_id};

use super::RunError;

/// How long a starting node waits for what the others know of the backends and from operators.
const SYNC_PATIENCE: Duration = Duration::from_secs(2);
/// With more other nodes than this, those from which nobody waits for anything advertise less often.
const CROWD: usize = 6;

/// Everything that can fail has been done.
pub(super) struct Prepared {
    /// Where the configuration is, for reloads.
    pub(super) file: PathBuf,
    pub(super) config: Config,
    pub(super) digest: [u8; 32],
    pub(super) identity: Identity,
    pub(super) core: Core,
    pub(super) peers: Peers,
    pub(super) guard: Guard,
    pub(super) wards: Wards,
    pub(super) listeners: Vec<Vec<(usize, TcpListener)>>,
    pub(super) admin: admin::Listeners,
    pub(super) token: Option<admin::Token>,
    pub(super) gossip: gossip::Settings,
    pub(super) tracing: Option<Tracing>,
}

/// What a guard, and its successors, are started with.
pub(super) struct Wards {
    keyring: Keyring,
    sender: MemberId,
    address: IpAddr,
    fence: Duration,
    vips: Vec<(core::VipId, Vec<IpAddr>, String)>,
}

impl Wards {
    /// Starts a guard with a boot id of its own, and waits until nothing of an earlier life is left.
    fn start(&self) -> Result<(Guard, Boot), GuardError> {
        let (ward, boot) = self.ward(&[]);
        Ok((Guard::start(&ward)?, boot))
    }

    /// Starts a successor, without waiting for it, that goes on with these holds.
    pub(super) fn succeed(&self, holds: &[Option<Inherited>]) -> Result<(Guard, Boot), GuardError> {
        let (ward, boot) = self.ward(holds);
        Ok((Guard::begin(&ward)?, boot))
    }

    fn ward(&self, holds: &[Option<Inherited>]) -> (Ward, Boot) {
        let boot = Boot(random());
        let vips = self.vips.iter().enumerate().map(|(at, (id, addresses, interface))| WardVip {
            id: *id,
            addresses: addresses.clone(),
            interface: interface.clone(),
            inherited: holds.get(at).copied().flatten(),
        });
        let ward = Ward {
            vips: vips.collect(),
            address: self.address,
            fence: self.fence,
            sealer: self.keyring.sealer(Channel::Guard, self.sender, boot),
            sender: self.sender,
            boot,
        };
        (ward, boot)
    }
}

/// Reads the file and takes what the host has to give.
pub(super) fn prepare(file: &Path, node: Option<&str>) -> Result<Prepared, RunError> {
    let mut config = read(file).map_err(|error| RunError::Problems(error.to_string()))?;
    let digest = config::digest(&config);
    let identity = config::identify(&config, node, &ThisHost).map_err(|e| RunError::two_lines(2, &e))?;
    let witness = config.cluster.witness.contains(&identity.name);
    if witness {
        only_vote(&mut config);
    }
    let secret =
        config::read_secret(&config::secret_path(&config)).map_err(|e| RunError::two_lines(2, &e))?;
    let keyring = Keyring::new(secret.as_bytes(), &config.cluster.name);
    let token = config.admin.token_file.as_deref().map(admin::read_token).transpose();
    let token = token.map_err(|error| RunError::new(2, &error, error.hint()))?;
    let tracing = Tracing::from_environment(&config.cluster.name, &identity.name);
    let tracing = tracing.map_err(|error| RunError::new(2, &error, error.hint()))?;
    let me = member_id(&identity.name);

    let interfaces = if witness { Vec::new() } else { interfaces(&config, &identity)? };
    let mine = peers::Identity { id: me, address: identity.address, boot: Boot(random()), cookies: random() };
    let unique: BTreeSet<String> = interfaces.iter().cloned().collect();
    ports_are_free(&config)?;
    if let Some(name) = &config.proxy.congestion_control {
        proxy::can_control_congestion(name).map_err(|error| refused_congestion_control(name, &error))?;
    }
    missing_interface(&unique)?;
    let mut peers = Peers::open(&mine, &keyring, &Vec::from_iter(unique)).map_err(|e| refused_peers(&e))?;
    peers.know_always(known_addresses(&config));
    let admin = admin(&config)?;

    let vips = config.vips.iter().zip(interfaces);
    let vips = vips
        .map(|(vip, interface)| (vip_id(&vip.name), vip.addresses.iter().map(|a| a.ip).collect(), interface))
        .collect();
    let gossip = gossip::Settings {
        name: identity.name.clone(),
        address: SocketAddr::new(identity.address, peers::PORT),
        cluster: config.cluster.name.clone(),
        seeds: config.cluster.seeds.clone(),
        keyring: keyring.clone(),
        id: me,
        boot: mine.boot,
        cookies: mine.cookies,
        own: std::collections::BTreeMap::new(),
    };
    let mut core = Core::new(settings(&config, &identity, &digest), clock::now());
    let wards = Wards { keyring, sender: me, address: identity.address, fence: core.fence_time(), vips };
    let (mut guard, boot) = wards.start().map_err(refused_guard)?;
    let listeners = listen(&config, &mut guard)?;

    core.set_guard(boot);
    for service in 0..config.services.len() {
        core.handle(core::Input::Listening { service, listening: true }, clock::now());
    }
    Ok(Prepared {
        file: file.to_owned(),
        config,
        digest,
        identity,
        core,
        peers,
        guard,
        wards,
        listeners,
        admin,
        token,
        gossip,
        tracing,
    })
}

/// Reads the file; what is odd about it is logged.
pub(super) fn read(file: &Path) -> Result<Config, LoadError> {
    let (config, lints) = config::load(file)?;
    for lint in &lints {
        tracing::warn!(line = lint.line, "{}", lint.message);
    }
    Ok(config)
}

/// A witness knows the VIPs that it votes on, and has nothing to serve.
pub(super) fn only_vote(config: &mut Config) {
    config.services.clear();
    config.checks.clear();
    for vip in &mut config.vips {
        vip.track.clear();
        vip.priority = config::PerNode::all(1);
    }
}

/// The interface of every VIP on this node.
fn interfaces(config: &Config, identity: &Identity) -> Result<Vec<String>, RunError> {
    let of = |vip: &config::Vip| {
        vip.interface.on(&identity.name).cloned().ok_or_else(|| {
            let message = format!("`{}` has no interface on node `{}`", vip.name, identity.name);
            RunError::new(
                2,
                message,
                "add the node to the VIP's `interface`, or choose another name with `--node`",
            )
        })
    };
    config.vips.iter().map(of).collect()
}

fn missing_interface(interfaces: &BTreeSet<String>) -> Result<(), RunError> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)
        .map_err(|error| RunError::new(2, format!("no sockets to be had: {error}"), "see `ulimit -n`"))?;
    for name in interfaces {
        if rustix::net::netdevice::name_to_index(&socket, name).is_err() {
            let hint = "`ip link` lists the interfaces; `interface = { NODE = \"…\" }` names one by node";
            return Err(RunError::new(2, format!("there is no interface `{name}` on this machine"), hint));
        }
    }
    Ok(())
}

/// Another daemon of the same user could share a port unseen; this asks before anything is opened.
fn ports_are_free(config: &Config) -> Result<(), RunError> {
    for address in config.services.iter().flat_map(|service| &service.listen) {
        port_is_free(*address)?;
    }
    Ok(())
}

fn port_is_free(address: SocketAddr) -> Result<(), RunError> {
    match proxy::port_is_free(address) {
        // The guard may be allowed what the daemon isn't.
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
            Err(refused_listener(address, &error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One listener for every worker, service and address.
fn listen(config: &Config, guard: &mut Guard) -> Result<Vec<Vec<(usize, TcpListener)>>, RunError> {
    open(
        config,
        |_, _| true,
        |socket, address| match socket.bind(&address.into()) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                guard.bind(socket.as_fd(), address).map_err(|error| match error {
                    GuardError::Unreachable(error) => error,
                    error => io::Error::other(error),
                })
            }
            bound => bound,
        },
    )
}

/// The listeners that `config` has, and `before` hasn't: with what the daemon itself may do, since nobody waits for a
/// guard that is holding VIPs.
pub(super) fn listen_anew(
    before: &Config,
    config: &Config,
) -> Result<Vec<Vec<(usize, TcpListener)>>, RunError> {
    let ours = |address: &SocketAddr| before.services.iter().any(|service| service.listen.contains(address));
    let is_new = |service: &config::Service, address: &SocketAddr| {
        let was = before.services.iter().find(|was| was.name == service.name);
        was.is_none_or(|was| !was.listen.contains(address))
    };
    let all = config.services.iter().flat_map(|service| &service.listen);
    for address in all.filter(|address| !ours(address)) {
        port_is_free(*address)?;
    }
    open(config, is_new, |socket, address| socket.bind(&address.into()))
}

/// For every worker those listeners that are `chosen`, each with its service's place.
fn open(
    config: &Config,
    chosen: impl Fn(&config::Service, &SocketAddr) -> bool,
    mut bind: impl FnMut(&socket2::Socket, SocketAddr) -> io::Result<()>,
) -> Result<Vec<Vec<(usize, TcpListener)>>, RunError> {
    let config::Proxy { workers, backlog, congestion_control, .. } = &config.proxy;
    let workers = workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let mut all = Vec::new();
    for _worker in 0..workers {
        let mut listeners = Vec::new();
        for (at, service) in config.services.iter().enumerate() {
            for address in service.listen.iter().filter(|address| chosen(service, address)) {
                let listener = proxy::listen(*address, *backlog, congestion_control.as_deref(), &mut bind);
                listeners.push((at, listener.map_err(|error| refused_listener(*address, &error))?));
            }
        }
        all.push(listeners);
    }
    Ok(all)
}

fn admin(config: &Config) -> Result<admin::Listeners, RunError> {
    let tcp = match config.admin.listen {
        Some(address) => Some(admin::bind_tcp(address).map_err(|e| RunError::new(2, &e, e.hint()))?),
        None => None,
    };
    let socket = match &config.admin.socket {
        Some(path) => match admin::bind_socket(path) {
            Ok(socket) => Some(socket),
            Err(error @ admin::BindError::SocketAlive { .. }) => {
                tracing::warn!("{error}");
                None
            }
            Err(error) => return Err(RunError::new(2, &error, error.hint())),
        },
        None => None,
    };
    Ok(admin::Listeners { tcp, socket })
}

/// What the file says of where the others are; names are resolved later, and again and again.
pub(super) fn known_addresses(config: &Config) -> Vec<SocketAddr> {
    let seeds = config.cluster.seeds.iter().filter_map(|seed| match seed {
        Endpoint::Address(address) => Some(*address),
        Endpoint::Name(..) => None,
    });
    seeds.chain(config.cluster.nodes.values().map(|ip| SocketAddr::new(*ip, peers::PORT))).collect()
}

/// What the core needs to know of a configuration.
pub(super) fn settings(config: &Config, identity: &Identity, digest: &[u8; 32]) -> Settings {
    let names = config.cluster.seeds.iter().filter(|seed| matches!(seed, Endpoint::Name(..))).count();
    let others: BTreeSet<IpAddr> =
        known_addresses(config).iter().map(SocketAddr::ip).filter(|ip| *ip != identity.address).collect();
    let vip = |vip: &config::Vip| VipSettings {
        id: vip_id(&vip.name),
        base_priority: vip.priority.on(&identity.name).copied().unwrap_or(100),
        advertisement_interval: vip.advertisement_interval,
        name: vip.name.clone(),
        terms: Terms {
            preempt: vip.preempt.on(&identity.name).copied().unwrap_or(true),
            preempt_delay: vip.preempt_delay.on(&identity.name).copied().unwrap_or_default(),
            damped: vip.preempt_damping,
            connections_below: vip.preempt_when_connections_below,
            placement: match vip.placement {
                config::Placement::Address => Placement::Address,
                config::Placement::Spread => Placement::Spread,
            },
        },
        proof: match vip.probe {
            config::VipProbe::Address => core::Proof::Answers,
            config::VipProbe::None => core::Proof::Time,
        },
        track: vip.track.iter().map(tracked).collect(),
    };
    let service = |service: &config::Service| core::ServiceSettings {
        name: service.name.clone(),
        backends: service.backends.iter().map(|backend| backend.name.clone()).collect(),
        interval: service.check.interval + service.check.timeout,
        rise: service.check.rise,
        fall: service.check.fall,
    };
    let check = |check: &config::Check| core::CheckSettings {
        name: check.name.clone(),
        rise: check.rise,
        fall: check.fall,
    };
    Settings {
        me: member_id(&identity.name),
        name: identity.name.clone(),
        address: identity.address,
        version: env!("CARGO_PKG_VERSION").into(),
        sync_patience: match (config.cluster.seeds.is_empty(), others.len() + names) {
            (true, 0) => Duration::ZERO,
            // It is a seed itself: whoever has joined by it may know more.
            (false, 0) => SYNC_PATIENCE / 2,
            _ => SYNC_PATIENCE,
        },
        config: std::array::from_fn(|i| digest[i]),
        majority_of: config.cluster.quorum.majority_of(),
        witness: config.cluster.witness.contains(&identity.name),
        expected_peers: others.len() + names,
        crowd: CROWD,
        vips: config.vips.iter().map(vip).collect(),
        services: config.services.iter().map(service).collect(),
        checks: config.checks.iter().map(check).collect(),
    }
}

fn tracked(track: &config::Track) -> (core::Tracked, core::priority::Weight) {
    let what = match track.what {
        config::Tracked::Service(index) => core::Tracked::Service(index),
        config::Tracked::Check(index) => core::Tracked::Check(index),
    };
    (what, core::priority::Weight { weight: track.weight, reverse: track.reverse })
}

fn refused_listener(address: SocketAddr, error: &io::Error) -> RunError {
    let hint = match error.kind() {
        io::ErrorKind::AddrInUse => format!("`ss -ltnp 'sport = :{}'` shows who has it", address.port()),
        io::ErrorKind::PermissionDenied => "ports below 1024 need CAP_NET_BIND_SERVICE, or root".into(),
        _ => "`listen` names the addresses and ports".into(),
    };
    match error.kind() {
        io::ErrorKind::AddrInUse => RunError::new(2, format!("{address} is in use"), hint),
        _ => RunError::new(2, format!("can't listen on {address}: {error}"), hint),
    }
}

fn refused_congestion_control(name: &str, error: &io::Error) -> RunError {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => {
            "net.ipv4.tcp_allowed_congestion_control says which of them need no CAP_NET_ADMIN".to_owned()
        }
        _ => {
            let here = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control");
            let here = here.unwrap_or_default();
            format!("there are: {}; `modprobe tcp_{name}` may bring it", here.trim())
        }
    };
    RunError::new(2, format!("no congestion control `{name}` to be had: {error}"), hint)
}

fn refused_peers(error: &PeersError) -> RunError {
    let hint = match error {
        PeersError::InUse(at) => {
            format!("another chinthe may be running here: `ss -lunp 'sport = :{}'` shows it", at.port())
        }
        PeersError::NotHere(_) => {
            "`--node NAME` chooses the node; `[cluster.nodes]` says where each one is".to_owned()
        }
        PeersError::Other { .. } => "`ip addr` shows this machine's addresses".to_owned(),
    };
    RunError::new(2, error, hint)
}

fn refused_guard(error: GuardError) -> RunError {
    match error {
        GuardError::Refused { error, hint } => RunError::new(2, error, hint),
        error @ (GuardError::Ended | GuardError::Hung | GuardError::Unreachable(_)) => {
            RunError::new(2, error, "run `chinthe` as root, and see whether its own file may be executed")
        }
    }
}

/// From the kernel; never blocks once the machine has booted.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    let filled =
        getrandom(&mut bytes, GetRandomFlags::empty()).expect("Linux has had getrandom(2) since 3.17");
    debug_assert_eq!(filled, N);
    bytes
}
