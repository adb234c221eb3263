//! N cores, their guards and kernels, and the network between them, on one virtual clock.
//!
//! What a kernel has (an address, up to a lease) lives apart from the process that asked for it, because the
//! interesting faults are those in which one is dead and the other isn't.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use chinthe::core::priority::Weight;
use chinthe::core::{
    Boot, Cause, Core, Input, Mac, MemberId, Message, Output, Resignation, Settings, Time, Tracked, VipId,
    VipSettings, VipState,
};

/// One way through the network.
const LATENCY: Duration = Duration::from_micros(200);
/// What the guard takes to get an answer from the kernel.
const KERNEL: Duration = Duration::from_micros(300);
/// How long an address outlives everybody who refreshes it.
const LEASE: Duration = Duration::from_secs(2);
const VIP: VipId = VipId(1);

/// What a node is configured with.
#[derive(Clone)]
pub(crate) struct Node {
    base: u8,
    preempt: bool,
    /// Weight and reverse of each check; `(rise, fall)` are the same for all.
    checks: Vec<(i16, bool)>,
    rise_fall: (u32, u32),
}

impl Node {
    pub(crate) fn new(base: u8, weights: &[i16]) -> Self {
        Self { base, preempt: true, checks: weights.iter().map(|w| (*w, false)).collect(), rise_fall: (1, 1) }
    }

    pub(crate) fn reversed(mut self) -> Self {
        self.checks.iter_mut().for_each(|(_, reverse)| *reverse = true);
        self
    }

    pub(crate) fn nopreempt(mut self) -> Self {
        self.preempt = false;
        self
    }

    pub(crate) fn rise_fall(mut self, rise: u32, fall: u32) -> Self {
        self.rise_fall = (rise, fall);
        self
    }
}

pub(crate) struct Cluster {
    now: Time,
    order: u64,
    events: BinaryHeap<Reverse<(Time, u64, usize, Happening)>>,
    machines: Vec<Machine>,
    /// Which side of a partition a node is on.
    sides: Vec<u8>,
    /// The longest time during which two nodes on one side answered for the VIP.
    pub double: Duration,
}

struct Machine {
    node: Node,
    boots: u8,
    core: Option<Core>,
    /// The kernel's address, and until when it keeps it.
    address_until: Option<Time>,
    /// The guard lets go then.
    hold_until: Option<Time>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Happening {
    Input(Box<Input>, u8),
}

impl PartialOrd for Happening {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Happening {
    /// Never asked: every event has its own number before it.
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Cluster {
    /// Nobody has started yet. Nodes have ascending addresses.
    pub(crate) fn new(nodes: &[Node]) -> Self {
        let machine = |node: &Node| Machine {
            node: node.clone(),
            boots: 0,
            core: None,
            address_until: None,
            hold_until: None,
        };
        Self {
            now: Time::from_nanos(1_000_000_000),
            order: 0,
            events: BinaryHeap::new(),
            machines: nodes.iter().map(machine).collect(),
            sides: vec![0; nodes.len()],
            double: Duration::ZERO,
        }
    }

    /// Starts a node (1 is the first), the way it starts with its proxy listening.
    pub(crate) fn start(&mut self, node: usize) -> &mut Self {
        let index = node - 1;
        let expected_peers = self.machines.len() - 1;
        let machine = &mut self.machines[index];
        machine.boots += 1;
        let (rise, fall) = machine.node.rise_fall;
        let track = machine.node.checks.iter().enumerate().map(|(check, (weight, reverse))| {
            (Tracked::Check(check), Weight { weight: *weight, reverse: *reverse })
        });
        let settings = Settings {
            me: member(index),
            name: format!("n{node}"),
            address: address(index),
            version: "test".into(),
            sync_patience: Duration::ZERO,
            config: [0; 8],
            expected_peers,
            vips: vec![VipSettings {
                id: VIP,
                base_priority: machine.node.base,
                advertisement_interval: Duration::from_millis(100),
                preempt: machine.node.preempt,
                track: track.collect(),
            }],
            services: vec![],
            checks: vec![(rise, fall); machine.node.checks.len()],
        };
        machine.core = Some(Core::new(settings, self.now));
        machine.address_until = None;
        self.give(index, Input::Link { vip: 0, up: true, mac: mac(index) });
        self
    }

    pub(crate) fn start_all(&mut self) -> &mut Self {
        for node in 1..=self.machines.len() {
            self.start(node);
        }
        self
    }

    /// One result of one check.
    pub(crate) fn check(&mut self, node: usize, check: usize, success: bool) -> &mut Self {
        self.give(node - 1, Input::Checked { check, success });
        self
    }

    /// The first check's result, on every node.
    pub(crate) fn checks(&mut self, results: &[bool]) -> &mut Self {
        for (index, success) in results.iter().enumerate() {
            self.give(index, Input::Checked { check: 0, success: *success });
        }
        self
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self, node: usize) -> &mut Self {
        self.give(node - 1, Input::Shutdown);
        self.run(Duration::from_millis(500));
        self.machines[node - 1].core = None;
        self
    }

    /// Daemon and guard are gone at once: the kernel keeps the address for its lease.
    pub(crate) fn kill(&mut self, node: usize) -> &mut Self {
        let machine = &mut self.machines[node - 1];
        machine.core = None;
        machine.hold_until = None;
        self
    }

    /// The daemon alone is gone: its guard removes the address and resigns.
    pub(crate) fn kill_daemon(&mut self, node: usize) -> &mut Self {
        let machine = &mut self.machines[node - 1];
        let Some(core) = machine.core.take() else { return self };
        machine.hold_until = None;
        if machine.address_until.take().is_some() {
            let term = core.elections()[0].term();
            let resignation = Resignation { id: 0, vip: VIP, term, successor: None };
            for to in 0..self.machines.len() {
                if to != node - 1 && self.sides[to] == self.sides[node - 1] {
                    let of = member(node - 1);
                    self.later(to, KERNEL + LATENCY, Input::GuardResigned { of, resignation });
                }
            }
        }
        self
    }

    /// The machine is gone.
    pub(crate) fn power_off(&mut self, node: usize) -> &mut Self {
        self.kill(node);
        self.machines[node - 1].address_until = None;
        self
    }

    /// The nodes named here no longer hear the others.
    pub(crate) fn cut_off(&mut self, nodes: &[usize]) -> &mut Self {
        for node in nodes {
            self.sides[node - 1] = 1;
        }
        self
    }

    pub(crate) fn heal(&mut self) -> &mut Self {
        self.sides.fill(0);
        self
    }

    /// Lets three seconds pass, then says who holds the VIP; panics when it isn't one node or none on a side.
    pub(crate) fn holder(&mut self) -> Option<usize> {
        self.run(Duration::from_secs(3));
        let holders = self.holders();
        assert!(holders.len() <= 1, "nodes {holders:?} hold the VIP");
        for (index, machine) in self.machines.iter().enumerate() {
            let Some(core) = &machine.core else { continue };
            let active = core.elections()[0].state() == VipState::Active;
            assert_eq!(active, holders.contains(&(index + 1)), "node {} and its kernel disagree", index + 1);
            assert_eq!(
                core.holder(0, self.now),
                holders.first().map(|n| member(n - 1)),
                "as node {} sees it",
                index + 1
            );
        }
        holders.first().copied()
    }

    /// All nodes whose kernel has the address.
    pub(crate) fn holders(&self) -> Vec<usize> {
        let has = |m: &Machine| m.address_until.is_some_and(|until| self.now < until);
        (1..=self.machines.len()).filter(|n| has(&self.machines[n - 1])).collect()
    }

    /// What a node advertises.
    pub(crate) fn priority(&self, node: usize) -> Option<u8> {
        let core = self.machines[node - 1].core.as_ref()?;
        Some(core.elections()[0].standing().effective)
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.watch_until(at);
            self.now = at;
            self.expire();
            while let Some(Reverse((due, ..))) = self.events.peek()
                && *due <= self.now
            {
                let Some(Reverse((_, _, index, happening))) = self.events.pop() else { break };
                let Happening::Input(input, boots) = happening;
                if boots == self.machines[index].boots {
                    self.give(index, *input);
                }
            }
            for index in 0..self.machines.len() {
                if self.machines[index].core.as_ref().is_some_and(|c| c.next_deadline(at) <= at) {
                    self.give(index, Input::Deadline);
                }
            }
        }
        self.watch_until(end);
        self.now = end;
    }

    fn next_at(&self) -> Option<Time> {
        let deadlines = self.machines.iter().filter_map(|m| Some(m.core.as_ref()?.next_deadline(self.now)));
        let kernels = self.machines.iter().flat_map(|m| [m.address_until, m.hold_until]).flatten();
        let event = self.events.peek().map(|Reverse((at, ..))| *at);
        deadlines.chain(kernels).chain(event).min().map(|at| at.max(self.now))
    }

    fn expire(&mut self) {
        for index in 0..self.machines.len() {
            let machine = &mut self.machines[index];
            if machine.address_until.is_some_and(|until| self.now >= until) {
                machine.address_until = None;
            }
            if machine.hold_until.is_some_and(|until| self.now >= until) {
                machine.hold_until = None;
                machine.address_until = None;
                self.give(index, Input::LetGo { vip: 0, cause: Cause::HoldExpired });
            }
        }
    }

    fn watch_until(&mut self, at: Time) {
        let doubled = [0, 1]
            .iter()
            .any(|side| self.holders().iter().filter(|node| self.sides[**node - 1] == *side).count() > 1);
        if doubled {
            self.double += at.since(self.now);
        }
    }

    fn give(&mut self, index: usize, input: Input) {
        let now = self.now;
        let Some(core) = &mut self.machines[index].core else { return };
        core.handle(input, now);
        while let Some(output) = self.machines[index].core.as_mut().and_then(Core::poll_output) {
            self.carry_out(index, output);
        }
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        let machine = &mut self.machines[index];
        match output {
            Output::Advertise(advertisement) => {
                for to in 0..self.machines.len() {
                    self.send(index, to, Message::Advertisement(advertisement.clone()));
                }
            }
            Output::Reply { to, advertisement } => {
                self.send(index, to.0 as usize, Message::Advertisement(advertisement));
            }
            Output::Probe { to } => self.send(index, to.0 as usize, Message::Probe),
            Output::Send { to, message } => self.send(index, to.0 as usize, message),
            Output::Hold { until, .. } => {
                machine.hold_until = Some(until);
                machine.address_until = Some(self.now + LEASE);
                self.later(index, KERNEL, Input::Held { vip: 0, until });
            }
            Output::Release { .. } => {
                machine.hold_until = None;
                machine.address_until = None;
                self.later(index, KERNEL, Input::Released { vip: 0 });
            }
            Output::ProbeAddress { .. } => {
                for node in self.holders() {
                    if node - 1 != index && self.sides[node - 1] == self.sides[index] {
                        self.later(
                            index,
                            LATENCY * 2,
                            Input::AddressAnswered { vip: 0, mac: mac(node - 1), by_ip: true },
                        );
                    }
                }
                self.later(index, KERNEL, Input::AddressProbed { vip: 0 });
            }
            Output::Announce { .. }
            | Output::RoutesChanged
            | Output::BackendChanged { .. }
            | Output::ProbeBackend { .. }
            | Output::PauseProbes { .. }
            | Output::AdministrationChanged { .. }
            | Output::Forgotten { .. }
            | Output::Conflict { .. }
            | Output::Transition(_) => {}
        }
    }

    fn send(&mut self, from: usize, to: usize, message: Message) {
        if from == to || self.sides[from] != self.sides[to] {
            return;
        }
        let boot = Boot([self.machines[from].boots; 16]);
        self.later(to, LATENCY, Input::Heard { from: member(from), address: address(from), boot, message });
    }

    fn later(&mut self, index: usize, wait: Duration, input: Input) {
        self.order += 1;
        let happening = Happening::Input(Box::new(input), self.machines[index].boots);
        self.events.push(Reverse((self.now + wait, self.order, index, happening)));
    }
}

fn member(index: usize) -> MemberId {
    MemberId(index as u64)
}

fn address(index: usize) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 77, 0, index as u8 + 1))
}

fn mac(index: usize) -> Mac {
    Mac([2, 0, 0, 0, 0, index as u8 + 1])
}
