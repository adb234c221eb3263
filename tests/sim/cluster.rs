//! A cluster on a script, for the vectors: nodes are numbered from 1 and have ascending addresses.

use std::time::Duration;

use chinthe::core::{Input, VipState};

use crate::faults::Fault;
use crate::machine::{self, Common, member};
use crate::trace::Trace;
use crate::world::{CLIENTS, World};

/// What a node is configured with.
#[derive(Clone)]
pub(crate) struct Node {
    node: machine::Node,
    rise_fall: (u32, u32),
}

impl Node {
    pub(crate) fn new(base: u8, weights: &[i16]) -> Self {
        let checks = weights.iter().map(|w| (*w, false)).collect();
        Self { node: machine::Node { base, preempt: true, service: None, checks }, rise_fall: (1, 1) }
    }

    pub(crate) fn reversed(mut self) -> Self {
        self.node.checks.iter_mut().for_each(|(_, reverse)| *reverse = true);
        self
    }

    pub(crate) fn nopreempt(mut self) -> Self {
        self.node.preempt = false;
        self
    }

    /// The same for all nodes of a cluster.
    pub(crate) fn rise_fall(mut self, rise: u32, fall: u32) -> Self {
        self.rise_fall = (rise, fall);
        self
    }
}

pub(crate) struct Cluster {
    world: World,
}

impl Cluster {
    /// Nobody has started yet.
    pub(crate) fn new(nodes: &[Node]) -> Self {
        Self::with_preempt_delay(nodes, Duration::ZERO)
    }

    /// The same, whose nodes take the VIP from a living holder only after so long.
    pub(crate) fn with_preempt_delay(nodes: &[Node], preempt_delay: Duration) -> Self {
        let (rise, fall) = nodes[0].rise_fall;
        let common = Common { preempt_delay, rise, fall, ..Common::plain(Duration::from_millis(100)) };
        let rates = vec![0; nodes.len()];
        let nodes: Vec<machine::Node> = nodes.iter().map(|n| n.node.clone()).collect();
        Self { world: World::new(1, &nodes, &common, &rates, Trace::silent()) }
    }

    /// Starts a node, the way it starts with its proxy listening.
    pub(crate) fn start(&mut self, node: usize) -> &mut Self {
        self.world.start(node - 1);
        self
    }

    pub(crate) fn start_all(&mut self) -> &mut Self {
        for node in 1..=self.world.machines.len() {
            self.start(node);
        }
        self
    }

    /// One result of one check.
    pub(crate) fn check(&mut self, node: usize, check: usize, success: bool) -> &mut Self {
        if let Some(life) = self.world.machines[node - 1].daemon.as_ref().map(|d| d.life) {
            self.world.mail(node - 1, life, Input::Checked { check, success });
        }
        self
    }

    /// The first check's result, on every node.
    pub(crate) fn checks(&mut self, results: &[bool]) -> &mut Self {
        for (index, success) in results.iter().enumerate() {
            self.check(index + 1, 0, *success);
        }
        self
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self, node: usize) -> &mut Self {
        self.world.suffer_for(&Fault::Terminate(node - 1), Duration::from_millis(600));
        self
    }

    /// Daemon and guard are gone at once: the kernel keeps the address for its lease.
    pub(crate) fn kill(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::Kill { machine: node - 1, daemon: true, guard: true });
        self
    }

    /// The daemon alone is gone: its guard removes the address and resigns.
    pub(crate) fn kill_daemon(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::Kill { machine: node - 1, daemon: true, guard: false });
        self
    }

    /// The guard alone is gone.
    pub(crate) fn kill_guard(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::Kill { machine: node - 1, daemon: false, guard: true });
        self
    }

    /// SIGSTOP of daemon and guard.
    pub(crate) fn freeze(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::Stop { machine: node - 1, daemon: true, guard: true });
        self
    }

    /// Another file, read by the daemon that runs.
    pub(crate) fn reload(&mut self, node: usize, file: &Node) -> &mut Self {
        let (node, config) = (node - 1, 1);
        self.world.suffer(&Fault::Configure { machine: node, node: file.node.clone(), config });
        self.world.suffer(&Fault::Reload(node));
        self
    }

    /// SIGCONT of both.
    pub(crate) fn thaw(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::Continue(node - 1));
        self
    }

    /// Its cable is pulled, or plugged in.
    pub(crate) fn link(&mut self, node: usize, up: bool) -> &mut Self {
        self.world.suffer(&Fault::Link { machine: node - 1, up });
        self
    }

    /// Somebody else removes the VIP's address.
    pub(crate) fn remove_address(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::RemoveAddress(node - 1));
        self
    }

    /// The machine is gone.
    pub(crate) fn power_off(&mut self, node: usize) -> &mut Self {
        self.world.suffer(&Fault::PowerOff(node - 1));
        self
    }

    /// The nodes named here no longer hear the others.
    pub(crate) fn cut_off(&mut self, nodes: &[usize]) -> &mut Self {
        let stations = self.world.machines.len() + CLIENTS;
        let side = |station: usize| u8::from(nodes.contains(&(station + 1)));
        self.world.suffer(&Fault::Partition((0..stations).map(side).collect()));
        self
    }

    pub(crate) fn heal(&mut self) -> &mut Self {
        self.cut_off(&[])
    }

    /// Lets some seconds pass, then says who holds the VIP; panics when nodes disagree with it.
    pub(crate) fn holder(&mut self) -> Option<usize> {
        self.run(Duration::from_secs(4));
        let holders = self.holders();
        assert!(holders.len() <= 1, "nodes {holders:?} hold the VIP");
        for (index, machine) in self.world.machines.iter().enumerate() {
            let Some(daemon) = &machine.daemon else { continue };
            let active = daemon.core.elections()[0].state() == VipState::Active;
            assert_eq!(active, holders.contains(&(index + 1)), "node {} and its kernel disagree", index + 1);
            assert_eq!(
                daemon.core.holder(0, self.world.local(index)),
                holders.first().map(|n| member(n - 1)),
                "as node {} sees it",
                index + 1
            );
        }
        holders.first().copied()
    }

    /// All nodes whose kernel answers for the address.
    pub(crate) fn holders(&self) -> Vec<usize> {
        let machines = self.world.machines.iter().enumerate();
        machines.filter(|(_, machine)| machine.answers(0)).map(|(index, _)| index + 1).collect()
    }

    /// What a node advertises.
    pub(crate) fn priority(&self, node: usize) -> Option<u8> {
        let daemon = self.world.machines[node - 1].daemon.as_ref()?;
        Some(daemon.core.elections()[0].standing().effective)
    }

    /// The number of the latest election that a node knows of.
    pub(crate) fn term(&self, node: usize) -> Option<u32> {
        let daemon = self.world.machines[node - 1].daemon.as_ref()?;
        Some(daemon.core.elections()[0].term())
    }

    pub(crate) fn run(&mut self, time: Duration) {
        self.world.run_to(self.world.now + time);
    }

    /// The longest time during which two nodes on one network answered for the VIP.
    pub(crate) fn double(&self) -> Duration {
        self.world.judge.double
    }

    /// Everything that must never be, and was.
    pub(crate) fn violations(&self) -> &[(chinthe::core::Time, String)] {
        &self.world.judge.violations
    }
}
