//! One whole cluster: the machines, what runs on them, and where a test looks at them from.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use super::LabError;
use super::logs::{self, Log};
use super::machine::{Machine, Switch, address};
use super::net::Mac;
use super::node::{Launch, Node};
use super::prober::{ProbePlan, Prober};
use super::sandbox::{Sandbox, own_program};
use super::settings;
use super::space::RUN;
use super::wait::holds_within;
use super::web::Web;
use super::witness::Witness;

/// The most nodes, by the addresses from .21 on: up to the VIP's.
pub const MOST_NODES: usize = 48;
/// The most web servers: ten have the addresses from .11 on, the others those from .111 on.
pub const MOST_BACKENDS: usize = 80;

/// The client's address, and the witness's: hosts in 192.168.56.0/24. The hub itself has .1.
const CLIENT: u8 = 100;
const WITNESS: u8 = 101;
const HUB: u8 = 1;

/// Length of the secret that the lab makes for its daemons, in bytes.
const SECRET_LENGTH: usize = 32;

/// What the daemons run on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ConfigSource {
    /// The post's cluster, for as many nodes and backends as there are.
    #[default]
    Post,
    /// This text, on every node.
    Text(String),
    /// One text for each node, in order; the last one for all the rest.
    Texts(Vec<String>),
}

/// What to build; see [`Lab::builder`].
#[derive(Debug)]
pub struct Builder {
    sandbox: Sandbox,
    nodes: usize,
    backends: usize,
    config: ConfigSource,
    program: PathBuf,
    environment: Vec<(String, String)>,
    daemons: bool,
}

/// One cluster in a sandbox.
#[derive(Debug)]
pub struct Lab {
    nodes: Vec<Node>,
    webs: Vec<(Machine, Web)>,
    client: Machine,
    witness: Machine,
    sandbox: Sandbox,
}

impl Builder {
    /// How many nodes: 2 unless said.
    #[must_use]
    pub fn nodes(mut self, nodes: usize) -> Self {
        self.nodes = nodes;
        self
    }

    /// How many web servers: 2 unless said.
    #[must_use]
    pub fn backends(mut self, backends: usize) -> Self {
        self.backends = backends;
        self
    }

    /// What the daemons run on: the post's cluster unless said.
    #[must_use]
    pub fn config(mut self, config: ConfigSource) -> Self {
        self.config = config;
        self
    }

    /// The daemon's program: the running one unless said.
    #[must_use]
    pub fn program(mut self, program: impl Into<PathBuf>) -> Self {
        self.program = program.into();
        self
    }

    /// Adds to the daemons' environment.
    #[must_use]
    pub fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// Leaves it to the caller to start the daemons, by [`Node::start`].
    #[must_use]
    pub fn without_daemons(mut self) -> Self {
        self.daemons = false;
        self
    }

    /// Builds it: all machines are up, the web servers accept, and the daemons have been started when it returns.
    pub fn start(self) -> Result<Lab, LabError> {
        if self.nodes > MOST_NODES || self.backends > MOST_BACKENDS {
            return Err(LabError::TooMany { nodes: self.nodes, backends: self.backends });
        }
        let room = self.sandbox.room();
        let failed = |source| LabError::System { doing: "prepare the lab's folder".into(), source };
        let machines = room.join("machines");
        for folder in [&machines, &room.join("config"), &logs_folder(room), Path::new(RUN)] {
            fs::create_dir(folder).map_err(failed)?;
        }
        let secret = room.join("secret");
        write_secret(&secret).map_err(failed)?;

        let switch = Rc::new(Switch::create(address(HUB))?);
        let machine = |name: &str, host: u8| Machine::create(name, address(host), &machines, &switch);
        let mut webs = Vec::new();
        for (name, address) in backends(self.backends) {
            let machine = machine(&name, address.octets()[3])?;
            let web = Web::start_in(&machine.space(), &name)?;
            webs.push((machine, web));
        }
        let mut nodes = Vec::new();
        for (index, (name, address)) in node_names(self.nodes).into_iter().enumerate() {
            let config = room.join("config").join(format!("{name}.toml"));
            fs::write(&config, self.config_text(index)).map_err(failed)?;
            let launch = Launch {
                program: self.program.clone(),
                config,
                secret: secret.clone(),
                environment: self.environment.clone(),
            };
            let log = Log::new(&logs_folder(room), &name);
            nodes.push(Node::new(machine(&name, address.octets()[3])?, launch, log));
        }
        let lab = Lab {
            nodes,
            webs,
            client: machine("client", CLIENT)?,
            witness: machine("witness", WITNESS)?,
            sandbox: self.sandbox,
        };
        if self.daemons {
            lab.nodes.iter().try_for_each(Node::start)?;
        }
        Ok(lab)
    }

    fn config_text(&self, node: usize) -> String {
        match &self.config {
            ConfigSource::Post => settings::post(&node_names(self.nodes), &backends(self.backends)),
            ConfigSource::Text(text) => text.clone(),
            ConfigSource::Texts(texts) => texts.get(node).or(texts.last()).cloned().unwrap_or_default(),
        }
    }
}

impl Lab {
    /// A lab like the post's: two nodes, two web servers, a client; all of it can be changed before it starts.
    pub fn builder(sandbox: Sandbox) -> Builder {
        Builder {
            sandbox,
            nodes: 2,
            backends: 2,
            config: ConfigSource::Post,
            program: own_program(),
            environment: Vec::new(),
            daemons: true,
        }
    }

    /// The node called `name`: `ha1`, `ha2`, …
    pub fn node(&self, name: &str) -> Result<&Node, LabError> {
        let found = self.nodes.iter().find(|node| node.name() == name);
        found.ok_or_else(|| LabError::Unknown { what: "node", name: name.into() })
    }

    /// All nodes, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The web server called `name`: `web1`, `web2`, …
    pub fn web(&self, name: &str) -> Result<&Web, LabError> {
        let found = self.webs.iter().map(|(_, web)| web).find(|web| web.name() == name);
        found.ok_or_else(|| LabError::Unknown { what: "web server", name: name.into() })
    }

    /// Any machine, by its name: a node's, a web server's, `client` or `witness`.
    pub fn machine(&self, name: &str) -> Result<&Machine, LabError> {
        let found = self.machines().find(|machine| machine.name() == name);
        found.ok_or_else(|| LabError::Unknown { what: "machine", name: name.into() })
    }

    /// All machines: web servers, nodes, client and witness.
    pub fn machines(&self) -> impl Iterator<Item = &Machine> {
        let webs = self.webs.iter().map(|(machine, _)| machine);
        let nodes = self.nodes.iter().map(Node::machine);
        webs.chain(nodes).chain([&self.client, &self.witness])
    }

    /// Starts a client that asks as `plan` says.
    pub fn prober(&self, plan: ProbePlan) -> Result<Prober, LabError> {
        Prober::start(&self.client.space(), plan)
    }

    /// Starts a witness of who answers for `vip`.
    pub fn witness(&self, vip: impl Into<IpAddr>) -> Result<Witness, LabError> {
        let names: BTreeMap<Mac, String> =
            self.machines().map(|machine| (machine.mac(), machine.name().to_owned())).collect();
        Witness::start(&self.witness, vip.into(), names)
    }

    /// Cuts the way from `from` to `to` by silence: what the one sends to the other's own address is lost; the
    /// other way stays open. Broadcast and multicast pass; [`Machine::isolate`] stops them too.
    pub fn cut(&self, from: &str, to: &str) -> Result<(), LabError> {
        self.machine(from)?.lose(self.machine(to)?)
    }

    /// Undoes [`cut`](Self::cut).
    pub fn heal(&self, from: &str, to: &str) -> Result<(), LabError> {
        self.machine(from)?.find(self.machine(to)?)
    }

    /// Has `machine` claim `address` on the network by an ARP announcement, without having it.
    pub fn claim(&self, machine: &str, address: Ipv4Addr) -> Result<(), LabError> {
        Witness::claim(self.machine(machine)?, address)
    }

    /// Looks until `condition` holds. An error after `timeout` that says what didn't come to hold.
    pub fn wait_for(
        &self,
        what: &str,
        timeout: Duration,
        condition: impl FnMut() -> bool,
    ) -> Result<(), LabError> {
        if holds_within(timeout, condition) {
            Ok(())
        } else {
            Err(LabError::TimedOut { what: what.into(), after: timeout })
        }
    }

    /// Where the daemons' logs are, in the sandbox.
    pub fn logs(&self) -> PathBuf {
        logs_folder(self.sandbox.room())
    }

    /// The sandbox that it is in.
    pub fn sandbox(&mut self) -> &mut Sandbox {
        &mut self.sandbox
    }

    /// How a person on the host enters each machine: its name and a command. Nothing where the host's process id
    /// can't be told.
    pub fn how_to_enter(&self) -> Vec<(String, String)> {
        let Some(pid) = self.sandbox.host_pid() else { return Vec::new() };
        let user = self.sandbox.user_namespace();
        self.machines().map(|machine| (machine.name().into(), machine.how_to_enter(pid, user))).collect()
    }
}

/// Prints the end of every daemon's log in this sandbox, for whoever looks for the cause of a failure.
pub fn show_logs(to: &mut impl Write) -> io::Result<()> {
    logs::show(&logs_folder(Path::new(super::sandbox::ROOM)), to)
}

fn logs_folder(room: &Path) -> PathBuf {
    room.join("logs")
}

fn node_names(nodes: usize) -> Vec<(String, Ipv4Addr)> {
    (1..).zip(21..).take(nodes).map(|(number, host)| (format!("ha{number}"), address(host))).collect()
}

fn backends(backends: usize) -> Vec<(String, Ipv4Addr)> {
    (1..)
        .zip((11..21).chain(111..))
        .take(backends)
        .map(|(n, host)| (format!("web{n}"), address(host)))
        .collect()
}

/// Writes a fresh secret that nobody else can read.
fn write_secret(path: &Path) -> io::Result<()> {
    let mut secret = [0; SECRET_LENGTH];
    fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(path)?;
    // Hexadecimal: a secret that was trimmed would be a shorter one.
    secret.iter().try_for_each(|byte| write!(file, "{byte:02x}"))
}
