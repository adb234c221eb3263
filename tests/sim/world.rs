//! Machines, clients and the network between them, on one virtual clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::rc::Rc;
use std::time::Duration;

use chinthe::core::{Input, Message, Resignation, Time};

use crate::client::{Client, Question};
use crate::clock::Clock;
use crate::daemon::{Daemon, QUEUE};
use crate::envelope::Opened;
use crate::gossip::Rumour;
use crate::guard::{Guard, Order};
use crate::judge::Judge;
use crate::machine::{Common, Machine, Node, address, boot, core, mac, member, number};
use crate::network::Network;
use crate::random::Random;
use crate::trace::Trace;

pub(crate) const CLIENTS: usize = 2;
/// No run has as many events, unless somebody asks or answers without end.
const RESTLESS: u64 = 3_000_000;
const CLIENT_LOOKS: Duration = Duration::from_millis(250);
const GOSSIP: u64 = 0x6055_1b00;

/// Everything there is.
pub(crate) struct World {
    pub(crate) now: Time,
    pub(crate) random: Random,
    /// Gossip's own luck: with it or without, a seed's packets are the same.
    pub(crate) chance: Random,
    pub(crate) common: Common,
    /// For how long one beacon keeps a VIP alive.
    pub(crate) fence: Duration,
    pub(crate) network: Network,
    pub(crate) machines: Vec<Machine>,
    /// What each client believes of each VIP.
    pub(crate) clients: Vec<Vec<Client>>,
    /// Whether each backend serves.
    pub(crate) backends: Vec<bool>,
    /// Wake-ups are late by this much now and then.
    pub(crate) lateness: Duration,
    pub(crate) judge: Judge,
    pub(crate) trace: Trace,
    lives: u64,
    order: u64,
    /// So many events so far.
    happened: u64,
    events: BinaryHeap<Reverse<Due>>,
}

struct Due(Time, u64, Event);

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Due {}
impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Due {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// What happens at a moment.
#[derive(Debug)]
pub(crate) enum Event {
    Datagram {
        to: usize,
        datagram: Datagram,
    },
    Arp {
        to: usize,
        from: usize,
        vip: usize,
        packet: Arp,
    },
    /// Gossip between two machines.
    Rumour {
        to: usize,
        from: usize,
        rumour: Rumour,
    },
    /// A node's gossip is due to talk to somebody.
    GossipTick {
        machine: usize,
        life: u64,
    },
    /// A node's gossip is due to publish what is new.
    GossipWrite {
        machine: usize,
        life: u64,
    },
    Order {
        machine: usize,
        guard: u64,
        order: Order,
    },
    Report {
        machine: usize,
        guard: u64,
        report: Input,
        /// With a hold, up to when the kernel is sure to have the address.
        leased_until: Option<Time>,
    },
    /// From any other thread of the daemon: probes, checks, the proxy, operators.
    Mail {
        machine: usize,
        life: u64,
        input: Input,
    },
    Probe {
        machine: usize,
        life: u64,
        backend: usize,
        again: bool,
    },
    Check {
        machine: usize,
        life: u64,
        check: usize,
    },
    WakeDaemon(usize),
    WakeGuard {
        machine: usize,
        guard: u64,
    },
    Lease(usize),
    Fence(usize),
    Orphaned {
        machine: usize,
        guard: u64,
    },
    GuardLost {
        machine: usize,
        guard: u64,
    },
    ClientLooks(usize),
}

/// One sealed datagram.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) from: usize,
    pub(crate) life: u64,
    pub(crate) counter: u64,
    pub(crate) said: Rc<Said>,
}

/// What a datagram says.
#[derive(Debug)]
pub(crate) enum Said {
    Core(Message),
    Guard { id: u64, resignation: Resignation },
    Challenge,
    Proof,
}

/// What an ARP packet says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arp {
    Question,
    Answer,
    Announcement,
}

impl World {
    /// Nobody has started yet. Nodes have ascending addresses; `rates` are their clocks'.
    pub(crate) fn new(seed: u64, nodes: &[Node], common: &Common, rates: &[i32], trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let clocks: Vec<Clock> = rates
            .iter()
            .map(|rate| Clock::new(random.between(Duration::from_secs(1), Duration::from_secs(1000)), *rate))
            .collect();
        let machines: Vec<Machine> =
            nodes.iter().zip(clocks).map(|(node, clock)| Machine::new(node, common, clock)).collect();
        let mut client = || (0..common.vips).map(|_| Client::new(&mut random)).collect();
        let clients = (0..CLIENTS).map(|_| client()).collect();
        let mut world = Self {
            now: Time::from_nanos(1_000_000_000),
            network: Network::new(machines.len() + CLIENTS),
            judge: Judge::new(machines.len(), common.vips),
            backends: vec![true; common.backends],
            fence: core(0, nodes.len(), &nodes[0], common, Time::ZERO).fence_time(),
            common: common.clone(),
            chance: Random::new(seed ^ GOSSIP),
            random,
            machines,
            clients,
            lateness: Duration::ZERO,
            trace,
            lives: 0,
            order: 0,
            happened: 0,
            events: BinaryHeap::new(),
        };
        for client in 0..CLIENTS {
            let wait = world.random.up_to(CLIENT_LOOKS);
            world.later(wait, Event::ClientLooks(client));
        }
        world
    }

    pub(crate) fn later(&mut self, wait: Duration, event: Event) {
        self.at(self.now + wait, event);
    }

    pub(crate) fn at(&mut self, at: Time, event: Event) {
        self.order += 1;
        self.events.push(Reverse(Due(at, self.order, event)));
    }

    pub(crate) fn local(&self, machine: usize) -> Time {
        self.machines[machine].clock.local(self.now)
    }

    /// Lets time pass up to `end`.
    pub(crate) fn run_to(&mut self, end: Time) {
        while let Some(Reverse(Due(at, ..))) = self.events.peek()
            && *at <= end
        {
            let Some(Reverse(Due(at, order, event))) = self.events.pop() else { break };
            self.now = at;
            self.trace.count(at, order);
            self.happen(event);
            self.judge();
            self.happened += 1;
            if self.happened > RESTLESS {
                self.restless();
                break;
            }
        }
        self.now = end;
        self.judge();
    }

    fn restless(&mut self) {
        let mut kinds = std::collections::BTreeMap::new();
        for Reverse(Due(_, _, event)) in self.events.drain() {
            *kinds.entry(format!("{event:?}").chars().take(14).collect::<String>()).or_insert(0) += 1;
        }
        self.judge.violate(self.now, format!("events without end; waiting were {kinds:?}"));
    }

    pub(crate) fn judge(&mut self) {
        self.with_judge(Judge::look);
    }

    /// Has the judge look at the world that it is a part of.
    pub(crate) fn with_judge(&mut self, look: impl FnOnce(&mut Judge, &Self)) {
        let mut judge = std::mem::take(&mut self.judge);
        look(&mut judge, self);
        self.judge = judge;
    }

    /// Starts a machine's guard and daemon, and its proxy, which listens.
    pub(crate) fn start(&mut self, index: usize) {
        let local = self.local(index);
        self.machines[index].powered = true;
        if self.machines[index].daemon.is_some() {
            return;
        }
        let life = self.new_life();
        let (node, config) = self.machines[index].file.clone();
        (self.machines[index].node, self.machines[index].config) = (node, config);
        let core = core(index, self.machines.len(), &self.machines[index].node, &self.common, local);
        self.trace.note(self.now, || format!("n{} starts, life {life}", index + 1));
        self.machines[index].daemon = Some(Daemon::new(life, core, self.machines.len(), self.now, local));
        self.start_guard(index);
        self.start_gossip(index);
        if self.common.witness == Some(index) {
            return self.turn_daemon(index);
        }
        if self.common.backends > 0 {
            self.handle(index, Input::Listening { service: 0, listening: true });
        }
        if self.common.probe_interval.is_some() {
            for backend in 0..self.common.backends {
                self.later(
                    Duration::from_millis(2),
                    Event::Probe { machine: index, life, backend, again: true },
                );
            }
            for check in 0..self.machines[index].node.checks.len() {
                self.later(Duration::from_millis(5), Event::Check { machine: index, life, check });
            }
        }
        self.turn_daemon(index);
    }

    /// A daemon's first guard has removed what an earlier life left, and says how the link is.
    fn start_guard(&mut self, index: usize) {
        let (id, local) = (self.new_life(), self.local(index));
        self.machines[index].kernel.remove_all(self.now);
        self.begin_guard(index, Guard::new(id, self.common.vips, local), true);
    }

    /// A guard that takes the place of one that was lost: it takes orders at once, and begins in a moment.
    fn replace_guard(&mut self, index: usize, inherits: &[Option<(Time, u32)>]) {
        self.trace.note(self.now, || format!("n{} starts another guard, for {inherits:?}", index + 1));
        let (id, local) = (self.new_life(), self.local(index));
        let at = self.now + self.random.between(Duration::from_millis(2), Duration::from_millis(8));
        self.begin_guard(index, Guard::successor(id, inherits, at, local), false);
        self.at(at, Event::WakeGuard { machine: index, guard: id });
    }

    fn begin_guard(&mut self, index: usize, mut guard: Guard, first: bool) {
        let (id, local) = (guard.id, self.local(index));
        // A witness has no VIP's interface.
        guard.link = (self.common.witness != Some(index)).then_some((self.machines[index].link, mac(index)));
        self.machines[index].guards.push(guard);
        if let Some(daemon) = &mut self.machines[index].daemon {
            daemon.has_guard(id, first, local);
        }
        self.turn_guard(index, id);
    }

    fn new_life(&mut self) -> u64 {
        self.lives += 1;
        self.lives
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Datagram { to, datagram } => {
                let machine = &mut self.machines[to];
                if let (true, Some(daemon)) = (machine.on_network(), &mut machine.daemon)
                    && daemon.datagrams.len() < QUEUE
                {
                    daemon.datagrams.push_back(datagram);
                    self.turn_daemon(to);
                }
            }
            Event::Arp { to, from, vip, packet } => self.arp(to, from, vip, packet),
            Event::Rumour { to, from, rumour } => self.hear_rumour(to, from, rumour),
            Event::GossipTick { machine, life } => self.gossip(machine, life),
            Event::GossipWrite { machine, life } => self.publish(machine, life),
            Event::Order { machine, guard, order } => {
                if let Some(guard) = self.guard(machine, guard) {
                    guard.orders.push_back(order);
                }
                self.turn_guard(machine, guard);
            }
            Event::Report { machine, guard, report, leased_until } => {
                if let Some(daemon) =
                    self.machines[machine].daemon.as_mut().filter(|d| d.guard == Some(guard))
                {
                    // That a hold goes on is read with whatever comes next.
                    let waits = matches!(report, Input::Held { vip, .. }
                        if daemon.core.elections()[vip].hold_until().is_some());
                    daemon.reports.push_back((report, leased_until));
                    if !waits {
                        self.turn_daemon(machine);
                    }
                }
            }
            Event::Mail { machine, life, input } => {
                if let Some(daemon) = self.machines[machine].daemon.as_mut().filter(|d| d.life == life) {
                    daemon.mail.push_back(input);
                    self.turn_daemon(machine);
                }
            }
            Event::Probe { machine, life, backend, again } => self.probe(machine, life, backend, again),
            Event::Check { machine, life, check } => {
                let success = self.machines[machine].checks[check];
                self.mail(machine, life, Input::Checked { check, success });
                let wait = self.common.probe_interval.unwrap_or_default();
                if self.lives_on(machine, life) {
                    self.later(wait, Event::Check { machine, life, check });
                }
            }
            Event::WakeDaemon(machine) => {
                if self.machines[machine].wakes_at == Some(self.now) {
                    self.machines[machine].wakes_at = None;
                    self.turn_daemon(machine);
                }
            }
            Event::WakeGuard { machine, guard } => self.turn_guard(machine, guard),
            Event::Lease(machine) => self.lease(machine),
            Event::Fence(machine) => self.fence(machine),
            Event::Orphaned { machine, guard } => {
                if let Some(guard) = self.guard(machine, guard) {
                    guard.orphaned = true;
                }
                self.turn_guard(machine, guard);
            }
            Event::GuardLost { machine, guard } => {
                if let Some(daemon) =
                    self.machines[machine].daemon.as_mut().filter(|d| d.guard == Some(guard))
                {
                    daemon.guard_lost = true;
                    self.turn_daemon(machine);
                }
            }
            Event::ClientLooks(client) => {
                self.client_looks(client);
                self.later(CLIENT_LOOKS, Event::ClientLooks(client));
            }
        }
    }

    pub(crate) fn lives_on(&self, machine: usize, life: u64) -> bool {
        self.machines[machine].daemon.as_ref().is_some_and(|d| d.life == life)
    }

    /// Something from another thread of a daemon, which may be a long time on its way.
    pub(crate) fn mail(&mut self, machine: usize, life: u64, input: Input) {
        self.happen(Event::Mail { machine, life, input });
    }

    fn probe(&mut self, machine: usize, life: u64, backend: usize, again: bool) {
        if !self.lives_on(machine, life) {
            return;
        }
        let here = &self.machines[machine];
        if here.runs() {
            let success = here.on_network() && here.reaches[backend] && self.backends[backend];
            self.mail(machine, life, Input::Probed { service: 0, backend, success });
        }
        if let (true, Some(wait)) = (again, self.common.probe_interval) {
            self.later(wait, Event::Probe { machine, life, backend, again });
        }
    }

    fn arp(&mut self, to: usize, from: usize, vip: usize, packet: Arp) {
        let machines = self.machines.len();
        if to >= machines {
            let client = &mut self.clients[to - machines][vip];
            match packet {
                Arp::Question => {}
                Arp::Answer => client.answered(from, self.now),
                Arp::Announcement => client.announced(from, self.now),
            }
            return;
        }
        if !self.machines[to].on_network() {
            return;
        }
        if packet == Arp::Question {
            if self.machines[to].answers(vip) {
                self.transmit(to, from, vip, Arp::Answer);
            }
            return;
        }
        for at in 0..self.machines[to].guards.len() {
            self.machines[to].guards[at].hear(vip, mac(from));
            let id = self.machines[to].guards[at].id;
            self.turn_guard(to, id);
        }
    }

    fn client_looks(&mut self, client: usize) {
        let from = self.machines.len() + client;
        for vip in 0..self.common.vips {
            match self.clients[client][vip].question(self.now) {
                None => {}
                Some(Question::Machine(to)) => self.transmit(from, to, vip, Arp::Question),
                Some(Question::Everybody) => {
                    (0..self.machines.len()).for_each(|to| self.transmit(from, to, vip, Arp::Question));
                }
            }
        }
    }

    pub(crate) fn transmit(&mut self, from: usize, to: usize, vip: usize, packet: Arp) {
        for wait in self.network.carry(from, to, &mut self.random).into_iter().flatten() {
            self.later(wait, Event::Arp { to, from, vip, packet });
        }
    }

    /// Sends a sealed datagram.
    pub(crate) fn send(&mut self, from: usize, to: usize, life: u64, counter: u64, said: &Rc<Said>) {
        if from == to || to >= self.machines.len() || !self.machines[from].on_network() {
            return;
        }
        for wait in self.network.carry(from, to, &mut self.random).into_iter().flatten() {
            let datagram = Datagram { from, life, counter, said: Rc::clone(said) };
            self.later(wait, Event::Datagram { to, datagram });
        }
    }

    pub(crate) fn look_at_lease(&mut self, machine: usize, at: Time) {
        if self.machines[machine].lease_look.is_none_or(|known| known <= self.now || at < known) {
            self.machines[machine].lease_look = Some(at);
            self.at(at, Event::Lease(machine));
        }
    }

    fn lease(&mut self, machine: usize) {
        let local = self.local(machine);
        if self.machines[machine].paused.is_some() {
            return;
        }
        if let Some(until) = self.machines[machine].kernel.expire(local, self.now) {
            let at = self.machines[machine].clock.global(until);
            self.look_at_lease(machine, at);
        } else {
            self.trace.note(self.now, || format!("n{} kernel: no address (lease)", machine + 1));
        }
    }

    pub(crate) fn look_at_fence(&mut self, machine: usize, local: Time) {
        let at = self.machines[machine].clock.global(local).max(self.now);
        let look = &mut self.machines[machine].kernel.fence_look;
        if look.is_none_or(|known| known < self.now || at < known) {
            *look = Some(at);
            self.at(at, Event::Fence(machine));
        }
    }

    fn fence(&mut self, machine: usize) {
        let local = self.local(machine);
        if self.machines[machine].paused.is_some() {
            return;
        }
        match self.machines[machine].kernel.shut(local, self.now) {
            Some(until) => {
                self.machines[machine].kernel.fence_look = None;
                self.look_at_fence(machine, until);
            }
            None => self.trace.note(self.now, || format!("n{} kernel: fence shut", machine + 1)),
        }
    }

    fn guard(&mut self, machine: usize, id: u64) -> Option<&mut Guard> {
        self.machines[machine].guards.iter_mut().find(|g| g.id == id)
    }

    /// One turn of a daemon's loop, if it may run at all.
    pub(crate) fn turn_daemon(&mut self, index: usize) {
        if !self.machines[index].daemon_runs() {
            return;
        }
        let local = self.local(index);
        if self.with(index, |d| d.is_late(local)) {
            self.trace.note(self.now, || format!("n{} was late", index + 1));
            self.with(index, |d| d.watch_guard_afresh(local));
            self.handle(index, Input::Stalled);
        }
        while let Some((report, leased_until)) = self.with(index, |d| d.reports.pop_front()) {
            self.with(index, |d| d.heard_guard(&report, leased_until));
            self.handle(index, report);
        }
        while let Some(datagram) = self.with(index, |d| d.datagrams.pop_front()) {
            self.receive(index, datagram);
        }
        while let Some(input) = self.with(index, |d| d.mail.pop_front()) {
            if input == Input::Shutdown {
                self.with(index, |d| d.leaving_since = Some(local));
            }
            self.handle(index, input);
        }
        self.sync(index);
        let mut deadline = self.deadline(index, local);
        if self.watch_guard(index, local) {
            deadline = self.with(index, |d| d.core.next_deadline(local));
        }
        if self.with(index, |d| d.is_done(local)) {
            self.trace.note(self.now, || format!("n{} has stopped", index + 1));
            self.leave_gossip(index);
            return self.end_daemon(index);
        }
        let deadline = self.with(index, |d| {
            d.deadline = d.wakes_at(deadline);
            d.deadline
        });
        self.wake_at(index, deadline);
    }

    fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Daemon) -> T) -> T {
        act(self.machines[index].daemon.as_mut().expect("only asked while there is one"))
    }

    fn wake_at(&mut self, index: usize, deadline: Time) {
        let mut late = self.random.up_to(Duration::from_micros(200));
        if !self.lateness.is_zero() && self.random.per_mille(10) {
            late += self.random.up_to(self.lateness);
        }
        let at = self.machines[index].clock.global(deadline).max(self.now) + late;
        if self.machines[index].wakes_at.is_none_or(|known| at < known || known < self.now) {
            self.machines[index].wakes_at = Some(at);
            self.at(at, Event::WakeDaemon(index));
        }
    }

    /// A deadline that is due is told once; a second one at the same moment must change something. The next one.
    fn deadline(&mut self, index: usize, local: Time) -> Time {
        for _ in 0..3 {
            let deadline = self.with(index, |d| d.core.next_deadline(local));
            if deadline > local {
                return deadline;
            }
            self.handle(index, Input::Deadline);
        }
        let deadline = self.with(index, |d| d.core.next_deadline(local));
        if deadline <= local {
            self.judge.busy(self.now, index);
        }
        deadline
    }

    /// Replaces a guard that is lost; true when there was anything to do.
    fn watch_guard(&mut self, index: usize, local: Time) -> bool {
        let lost = self.with(index, |d| d.misses_guard(local));
        if lost {
            self.trace.note(self.now, || format!("n{} gives its guard up", index + 1));
            let guard = self.with(index, |d| d.guard);
            self.machines[index].guards.retain(|g| Some(g.id) != guard);
            for held in self.with(index, |d| d.lose_guard(local)) {
                self.handle(index, held);
            }
        }
        let inherits = self.with(index, |d| d.bequeathes(local));
        if let Some(inherits) = &inherits {
            self.replace_guard(index, inherits);
        }
        lost || inherits.is_some()
    }

    fn receive(&mut self, index: usize, datagram: Datagram) {
        let Datagram { from, life, counter, said } = datagram;
        let me = self.with(index, |d| d.life);
        match &*said {
            Said::Guard { id, resignation } => {
                if self.with(index, |d| d.envelope.believes_guard(from, *id)) {
                    let input = Input::GuardResigned { of: member(from), resignation: *resignation };
                    self.handle(index, input);
                }
            }
            Said::Challenge => self.send(index, from, me, 0, &Rc::new(Said::Proof)),
            Said::Proof => {
                if self.with(index, |d| d.envelope.proven(from, life)) {
                    let local = self.local(index);
                    let advertisement = self.with(index, |d| d.core.introduce(local));
                    self.carry_out(index, chinthe::core::Output::Advertise(advertisement));
                }
            }
            Said::Core(message) => match self.with(index, |d| d.envelope.open(from, life, counter)) {
                Opened::Unproven => self.send(index, from, me, 0, &Rc::new(Said::Challenge)),
                Opened::Refused => {}
                Opened::Welcome => {
                    if let Message::Advertisement(advertisement) = message {
                        let guard = number(advertisement.guard);
                        self.with(index, |d| d.envelope.vouch(from, guard));
                    }
                    let (from, address, boot) = (member(from), address(from), boot(life));
                    self.handle(index, Input::Heard { from, address, boot, message: message.clone() });
                }
            },
        }
    }
}
