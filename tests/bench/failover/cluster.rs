//! A contender's cluster in a lab, and what can be done to its nodes, whatever they run.

use std::io;

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox};
use rustix::process::Pid;

use crate::contender::Contender;
use crate::cost::Cost;
use crate::load::Load;
use crate::rival::Rival;
use crate::{settings, switch, unfenced};

/// Who holds the VIP when all is well: the node with the highest priority.
pub(crate) const HOLDER: &str = "ha1";

/// The real daemon.
pub(crate) const CHINTHE: &str = env!("CARGO_BIN_EXE_chinthe");

/// One cluster.
pub(crate) struct Cluster {
    /// One for each node, or none at all when the nodes run chinthe.
    rivals: Vec<Rival>,
    load: Option<Load>,
    /// Whether the nodes' kernels can fence a holder.
    fenced: bool,
    lab: Lab,
}

impl Cluster {
    /// Starts the contender's programs on as many machines as it has nodes.
    pub(crate) fn start(sandbox: Sandbox, contender: &Contender) -> Result<Self, LabError> {
        let lab = Lab::builder(sandbox)
            .nodes(contender.nodes)
            .program(CHINTHE)
            .config(ConfigSource::Text(settings::chinthe(contender)))
            .without_daemons()
            .start()?;
        let mut rivals = Vec::new();
        for (number, node) in lab.nodes().iter().enumerate() {
            match settings::files(contender, number) {
                Some(files) => rivals.push(Rival::start_on(node.machine(), files)?),
                None => start(node, contender.fenced())?,
            }
        }
        Ok(Self { rivals, load: None, fenced: contender.fenced(), lab })
    }

    /// The lab that it is in.
    pub(crate) fn lab(&self) -> &Lab {
        &self.lab
    }

    /// What the holder says of its fence; `None` when it says nothing, or isn't chinthe.
    pub(crate) fn fence(&self) -> Option<String> {
        let status = self.lab.node(HOLDER).ok()?.status().ok()?;
        status["vips"][0]["fence"].as_str().map(str::to_owned)
    }

    /// How often a node has become the holder, as they say themselves.
    pub(crate) fn takeovers(&self) -> u64 {
        let node = |(number, node): (usize, &Node)| match self.rivals.get(number) {
            Some(rival) => rival.takeovers(node.machine()),
            None => node.log_text().matches("to=\"active\"").count() as u64,
        };
        self.lab.nodes().iter().enumerate().map(node).sum()
    }

    /// What all nodes have logged.
    pub(crate) fn logs(&self) -> String {
        let log = |node: &Node| format!("==== {}\n{}", node.name(), node.log_text());
        self.lab.nodes().iter().map(log).collect()
    }

    /// What the programs of each node have cost so far.
    pub(crate) fn costs(&mut self) -> Result<Vec<Cost>, LabError> {
        if !self.rivals.is_empty() {
            return self.rivals.iter_mut().map(Rival::cost).collect();
        }
        let cost = |pid: Pid| {
            let failed = |source: io::Error| LabError::System { doing: format!("read /proc/{pid}"), source };
            Cost::of(pid.as_raw_pid()).map_err(failed)
        };
        self.lab.nodes().iter().map(|node| Ok(cost(node.daemon()?)? + cost(node.guard()?)?)).collect()
    }

    /// Starts whatever isn't running.
    pub(crate) fn start_node(&mut self, node: &str) -> Result<(), LabError> {
        match self.rival(node) {
            Some(rival) => rival.start(),
            None => start(self.lab.node(node)?, self.fenced),
        }
    }

    /// Asks the daemon that decides who holds the VIP to stop.
    pub(crate) fn terminate(&mut self, node: &str) -> Result<(), LabError> {
        match self.rival(node) {
            Some(rival) => rival.terminate(),
            None => self.lab.node(node)?.terminate(),
        }
    }

    /// Kills it.
    pub(crate) fn kill_daemon(&mut self, node: &str) -> Result<(), LabError> {
        match self.rival(node) {
            Some(rival) => rival.kill_keepalived(),
            None => self.lab.node(node)?.kill9_daemon(),
        }
    }

    /// Kills chinthe's daemon and guard so that neither sees the other die.
    pub(crate) fn kill_both(&mut self, node: &str) -> Result<(), LabError> {
        self.lab.node(node)?.kill9_both()
    }

    /// Kills haproxy.
    pub(crate) fn kill_proxy(&mut self, node: &str) -> Result<(), LabError> {
        self.rival(node).ok_or(LabError::Nobody("there is no proxy beside the daemon"))?.kill_haproxy()
    }

    /// Freezes the daemon that decides.
    pub(crate) fn stop_daemon(&mut self, node: &str) -> Result<(), LabError> {
        match self.rival(node) {
            Some(rival) => rival.stop_keepalived(),
            None => self.lab.node(node)?.stop_daemon(),
        }
    }

    /// Freezes all that runs on the node.
    pub(crate) fn stop_both(&mut self, node: &str) -> Result<(), LabError> {
        match self.rival(node) {
            Some(rival) => rival.stop_both(),
            None => self.lab.node(node)?.stop_both(),
        }
    }

    /// Lets what was frozen run on.
    pub(crate) fn cont(&mut self, node: &str) -> Result<(), LabError> {
        match self.rival(node) {
            Some(rival) => rival.cont(),
            None => self.lab.node(node)?.cont(),
        }
    }

    /// Takes a node's power away.
    pub(crate) fn power_off(&mut self, node: &str) -> Result<(), LabError> {
        match self.position(node) {
            Some(number) => self.rivals[number].power_off(self.lab.machine(node)?),
            None => self.lab.node(node)?.power_off(),
        }
    }

    /// Gives it back; everything starts.
    pub(crate) fn power_on(&mut self, node: &str) -> Result<(), LabError> {
        match self.position(node) {
            Some(number) => self.rivals[number].power_on(self.lab.machine(node)?),
            None => self.lab.node(node)?.power_on(),
        }
    }

    /// Has a node's kernel refuse whatever goes to the backends, or not any more.
    pub(crate) fn set_backends_reachable(&self, node: &str, reachable: bool) -> Result<(), LabError> {
        let machine = self.lab.machine(node)?;
        for web in ["web1", "web2"] {
            let web = self.lab.machine(web)?;
            if reachable { machine.accept(web)? } else { machine.refuse(web)? }
        }
        Ok(())
    }

    /// Drops whatever this node and the others send each other.
    pub(crate) fn cut_off(&self, node: &str) -> Result<(), LabError> {
        let others: Vec<&str> = self.names().into_iter().filter(|&name| name != node).collect();
        switch::cut_off(node, &others)
    }

    /// Loses so many per cent of what the nodes send each other.
    pub(crate) fn lose(&self, percent: u8) -> Result<(), LabError> {
        switch::lose(&self.names(), percent)
    }

    /// Keeps every core busy from now on.
    pub(crate) fn keep_busy(&mut self) -> Result<(), LabError> {
        let failed = |source| LabError::System { doing: "keep the cores busy".into(), source };
        self.load = Some(Load::start().map_err(failed)?);
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        self.lab.nodes().iter().map(Node::name).collect()
    }

    fn position(&self, node: &str) -> Option<usize> {
        let position = self.lab.nodes().iter().position(|one| one.name() == node)?;
        (position < self.rivals.len()).then_some(position)
    }

    fn rival(&mut self, node: &str) -> Option<&mut Rival> {
        let position = self.position(node)?;
        self.rivals.get_mut(position)
    }
}

/// Starts chinthe on a node, which has a kernel that can fence or one that can't.
fn start(node: &Node, fenced: bool) -> Result<(), LabError> {
    if fenced {
        return node.start();
    }
    node.start_with(|command| {
        command.args(["run".as_ref(), "--config".as_ref(), node.config().as_os_str()]);
        command.args(["--node", node.name()]);
        unfenced::arrange(command);
    })
}
