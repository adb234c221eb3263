//! What goes wrong in one run: drawn from its seed, and readable.

use std::time::Duration;

use chinthe::core::Input;

use crate::machine::{Common, Node};
use crate::network::Weather;
use crate::operators::{self, Command};
use crate::random::Random;
use crate::world::{CLIENTS, World};

/// All that goes wrong in one run.
#[derive(Debug)]
pub(crate) struct Faults {
    /// How well packets travel until the heal.
    pub(crate) weather: Weather,
    /// How much too fast each machine's clock runs, in parts per million.
    pub(crate) rates: Vec<i32>,
    /// One wake-up in a hundred is late by up to this.
    pub(crate) lateness: Duration,
    /// In order; counted from the end of the warm-up.
    pub(crate) events: Vec<(Duration, Fault)>,
    /// When everything heals.
    pub(crate) heal_at: Duration,
    /// These machines stay off then.
    pub(crate) stay_off: Vec<bool>,
}

/// One thing that goes wrong, or right again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing gets from one station to another; the other way it does.
    Cut {
        from: usize,
        to: usize,
        cut: bool,
    },
    /// Stations (machines, then clients) reach only those of their own group.
    Partition(Vec<u8>),
    /// SIGSTOP.
    Stop {
        machine: usize,
        daemon: bool,
        guard: bool,
    },
    /// SIGCONT, to both.
    Continue(usize),
    /// The whole machine, and its clock unless that goes on.
    Pause {
        machine: usize,
        clock_stands: bool,
    },
    Resume(usize),
    /// SIGKILL.
    Kill {
        machine: usize,
        daemon: bool,
        guard: bool,
    },
    PowerOff(usize),
    /// The machine is on, and its daemon is started.
    Start(usize),
    /// SIGTERM.
    Terminate(usize),
    Link {
        machine: usize,
        up: bool,
    },
    Check {
        machine: usize,
        check: usize,
        well: bool,
    },
    Backend {
        backend: usize,
        serves: bool,
    },
    Reach {
        machine: usize,
        backend: usize,
        reaches: bool,
    },
    ConnectFailed {
        machine: usize,
        backend: usize,
    },
    /// Somebody else removes the addresses.
    RemoveAddress(usize),
    /// An operator types a command.
    Command(Command),
    /// The thread that gossips dies, or is there again.
    Gossip {
        machine: usize,
        lives: bool,
    },
    /// Another file for the next start, or for a reload.
    Configure {
        machine: usize,
        node: Node,
        config: u64,
    },
    /// Its daemon reads its file again.
    Reload(usize),
}

const KINDS: usize = 12;

impl Faults {
    /// Draws them for a cluster of `nodes`.
    pub(crate) fn draw(random: &mut Random, nodes: &[Node], common: &Common) -> Self {
        let mut weather = Weather::CALM;
        if random.coin() {
            weather.loss = random.pick(&[10, 50, 100, 200, 300, 400]);
        }
        if random.coin() {
            weather.duplicates = random.pick(&[10, 200]);
            weather.reordered = random.pick(&[0, 10, 30]);
            weather.jitter = random.pick(&[Duration::from_micros(100), Duration::from_millis(2)]);
        }
        let drift = random.pick(&[0, 50, 500, 30_000]);
        let rates = nodes.iter().map(|_| random.below(2 * drift + 1) as i32 - drift as i32).collect();
        let lateness = random.pick(&[0, 0, 5, 40, 120]);
        let heal_at =
            random.between(Duration::from_secs(2), Duration::from_secs(8)).max(common.interval * 20);
        let mut events = Vec::new();
        // A mix of few kinds goes deeper than a bit of everything.
        let kinds: Vec<usize> = (0..=random.below(4)).map(|_| random.below(KINDS)).collect();
        for _ in 0..=random.below(9) {
            let kind = random.pick(&kinds);
            one(kind, random, nodes, common, heal_at, &mut events);
        }
        events.sort_by_key(|(at, _)| *at);
        let off = random.coin();
        let mut stay_off: Vec<bool> = nodes.iter().map(|_| off && random.below(3) == 0).collect();
        if stay_off.iter().all(|off| *off) {
            stay_off[0] = false;
        }
        Self { weather, rates, lateness: Duration::from_millis(lateness), events, heal_at, stay_off }
    }
}

impl Faults {
    /// More of what goes on where nodes gossip: operators' commands, gossip that dies, and a file that differs.
    pub(crate) fn add_hearsay(&mut self, random: &mut Random, nodes: &[Node], common: &Common) {
        let end = self.heal_at;
        self.events.extend(operators::draw(random, nodes.len(), common, end));
        for machine in 0..nodes.len() {
            if random.below(8) > 0 {
                continue;
            }
            let at = random.up_to(end);
            self.events.push((at, Fault::Gossip { machine, lives: false }));
            self.events.push((at + random.up_to(end), Fault::Gossip { machine, lives: true }));
        }
        if random.below(4) == 0 {
            let machine = random.below(nodes.len());
            let at = random.up_to(end);
            self.restart_otherwise(machine, at, random, nodes);
        }
        self.events.retain(|(at, _)| *at < end);
        self.events.sort_by_key(|(at, _)| *at);
    }

    /// One node is restarted with another file, quickly; sometimes, later, with the same one as the others again.
    fn restart_otherwise(&mut self, machine: usize, at: Duration, random: &mut Random, nodes: &[Node]) {
        let before = &nodes[machine];
        let other = Node {
            base: 90 + random.below(20) as u8,
            preempt: before.preempt,
            service: before.service.and_then(|_| random.pick(&[None, Some(0), Some(-30), Some(20)])),
            checks: before.checks.iter().map(|(_, reverse)| (random.pick(&[0, -15, 7]), *reverse)).collect(),
        };
        let mut again = |at: Duration, node: Node, config: u64| {
            let in_order = random.coin();
            let kill = Fault::Kill { machine, daemon: true, guard: false };
            self.events.extend([
                (at, Fault::Configure { machine, node, config }),
                (at, if in_order { Fault::Terminate(machine) } else { kill }),
            ]);
            let wait = random.between(Duration::from_millis(5), Duration::from_millis(700));
            self.events.push((at + wait, Fault::Start(machine)));
            at + wait
        };
        let at = again(at, other, 1);
        let returns = at.as_millis().is_multiple_of(2);
        if returns {
            again(at + Duration::from_millis(1500), before.clone(), 0);
        }
    }
}

/// Draws one fault of a kind, and mostly its end.
fn one(
    kind: usize,
    random: &mut Random,
    nodes: &[Node],
    common: &Common,
    end: Duration,
    events: &mut Vec<(Duration, Fault)>,
) {
    let at = random.up_to(end);
    let short = random.pick(&[20, 150, 300, 1500, 4000]);
    let later = at + random.up_to(Duration::from_millis(short));
    let machine = random.below(nodes.len());
    let (begins, ends) = match kind {
        0 => {
            let from = random.below(nodes.len() + CLIENTS);
            let to = random.below(nodes.len() + CLIENTS);
            (Fault::Cut { from, to, cut: true }, Fault::Cut { from, to, cut: false })
        }
        1 => {
            let groups = 2 + random.below(2);
            let mut sides: Vec<u8> = nodes.iter().map(|_| random.below(groups) as u8).collect();
            // A client is always on some machine's side.
            for _ in 0..CLIENTS {
                sides.push(sides[random.below(nodes.len())]);
            }
            (Fault::Partition(sides), Fault::Partition(vec![0; nodes.len() + CLIENTS]))
        }
        2 => {
            let daemon = random.coin();
            let guard = !daemon || random.coin();
            (Fault::Stop { machine, daemon, guard }, Fault::Continue(machine))
        }
        3 => (Fault::Pause { machine, clock_stands: random.coin() }, Fault::Resume(machine)),
        4 => (Fault::Kill { machine, daemon: true, guard: false }, Fault::Start(machine)),
        5 => (Fault::Kill { machine, daemon: random.coin(), guard: true }, Fault::Start(machine)),
        6 => (Fault::PowerOff(machine), Fault::Start(machine)),
        7 => (Fault::Terminate(machine), Fault::Start(machine)),
        8 => (Fault::Link { machine, up: false }, Fault::Link { machine, up: true }),
        9 if !nodes[machine].checks.is_empty() => {
            let check = random.below(nodes[machine].checks.len());
            (
                Fault::Check { machine, check, well: false },
                Fault::Check { machine, check, well: random.coin() },
            )
        }
        10 if common.backends > 0 => {
            let backend = random.below(common.backends);
            if random.coin() {
                (Fault::Backend { backend, serves: false }, Fault::Backend { backend, serves: true })
            } else {
                (
                    Fault::Reach { machine, backend, reaches: false },
                    Fault::Reach { machine, backend, reaches: random.coin() },
                )
            }
        }
        11 if common.backends > 0 => {
            let backend = random.below(common.backends);
            (Fault::ConnectFailed { machine, backend }, Fault::ConnectFailed { machine, backend })
        }
        _ => (Fault::RemoveAddress(machine), Fault::RemoveAddress(machine)),
    };
    events.push((at, begins));
    if later < end {
        events.push((later, ends));
    }
}

impl World {
    /// Makes a fault happen now.
    pub(crate) fn suffer(&mut self, fault: &Fault) {
        let now = self.now;
        self.trace.note(now, || format!("-- {fault:?}"));
        match fault {
            Fault::Cut { from, to, cut } => self.network.set(*from, *to, *cut, now),
            Fault::Partition(groups) => self.network.partition(groups, now),
            Fault::Stop { machine, daemon, guard } => {
                let machine = &mut self.machines[*machine];
                if let Some(running) = &mut machine.daemon {
                    running.stopped |= daemon;
                }
                machine.guards.iter_mut().for_each(|g| g.stopped |= guard);
            }
            Fault::Continue(machine) => self.go_on(*machine),
            Fault::Pause { machine, clock_stands } => {
                let machine = &mut self.machines[*machine];
                if machine.powered {
                    machine.paused.get_or_insert((now, *clock_stands));
                }
            }
            Fault::Resume(machine) => self.resume(*machine),
            Fault::Kill { machine, daemon, guard } => self.kill(*machine, *daemon, *guard),
            Fault::PowerOff(machine) => {
                let machine = &mut self.machines[*machine];
                machine.kernel.remove_all(now);
                machine.guards.clear();
                (machine.daemon, machine.paused, machine.powered) = (None, None, false);
            }
            Fault::Start(machine) => {
                self.resume(*machine);
                self.start(*machine);
            }
            Fault::Terminate(machine) => {
                if let Some(life) = self.machines[*machine].daemon.as_ref().map(|d| d.life) {
                    self.mail(*machine, life, Input::Shutdown);
                }
            }
            Fault::Link { machine, up } => self.link(*machine, *up),
            Fault::Check { machine, check, well } => self.machines[*machine].checks[*check] = *well,
            Fault::Backend { backend, serves } => self.backends[*backend] = *serves,
            Fault::Reach { machine, backend, reaches } => {
                self.machines[*machine].reaches[*backend] = *reaches;
            }
            Fault::ConnectFailed { machine, backend } => {
                if let Some(life) = self.machines[*machine].daemon.as_ref().map(|d| d.life) {
                    self.mail(*machine, life, Input::ConnectFailed { service: 0, backend: *backend });
                }
            }
            Fault::RemoveAddress(machine) => {
                if self.machines[*machine].runs() {
                    (0..self.common.vips).for_each(|vip| self.remove_address(*machine, vip, None));
                }
            }
            Fault::Command(command) => self.command(command),
            Fault::Gossip { machine, lives } => self.set_gossip(*machine, *lives),
            Fault::Configure { machine, node, config } => {
                self.machines[*machine].file = (node.clone(), *config);
            }
            Fault::Reload(machine) => self.reload(*machine),
        }
        self.judge();
    }

    /// Everything is mended, and whoever doesn't stay off is started.
    pub(crate) fn mend(&mut self, stay_off: &[bool]) {
        let now = self.now;
        self.trace.note(now, || format!("-- everything heals; off: {stay_off:?}"));
        self.network.weather = Weather::CALM;
        self.network.heal(now);
        self.network.mended_at = now;
        self.lateness = Duration::ZERO;
        for (machine, off) in stay_off.iter().enumerate() {
            self.resume(machine);
            self.go_on(machine);
            self.link(machine, true);
            self.set_gossip(machine, true);
            if *off {
                self.kill(machine, true, false);
            } else {
                self.start(machine);
            }
        }
        self.judge();
    }

    fn go_on(&mut self, machine: usize) {
        let now = self.now;
        let here = &mut self.machines[machine];
        let stopped =
            here.daemon.as_ref().is_some_and(|d| d.stopped) || here.guards.iter().any(|g| g.stopped);
        if !stopped {
            return;
        }
        here.guards.iter_mut().for_each(|g| g.stopped = false);
        if let Some(daemon) = here.daemon.as_mut() {
            daemon.stopped = false;
            daemon.running_since = now;
        }
        self.wake(machine);
    }

    /// Whoever the scheduler happens to choose goes first.
    fn wake(&mut self, machine: usize) {
        let guards: Vec<u64> = self.machines[machine].guards.iter().map(|g| g.id).collect();
        if self.random.coin() {
            self.turn_daemon(machine);
        }
        for guard in guards {
            self.turn_guard(machine, guard);
        }
        self.turn_daemon(machine);
    }

    fn resume(&mut self, machine: usize) {
        let here = &mut self.machines[machine];
        let Some((since, clock_stood)) = here.paused.take() else { return };
        if clock_stood {
            here.clock.stand_still(self.now.since(since));
        }
        here.back_since = self.now;
        // The kernel looks at its leases before any process gets its turn.
        self.later(Duration::ZERO, crate::world::Event::Lease(machine));
        self.later(Duration::ZERO, crate::world::Event::Fence(machine));
        self.run_to(self.now);
        self.wake(machine);
    }

    fn link(&mut self, machine: usize, up: bool) {
        let here = &mut self.machines[machine];
        if here.link == up {
            return;
        }
        here.link = up;
        if up {
            here.back_since = self.now;
        }
        if self.common.witness == Some(machine) {
            return;
        }
        here.guards.iter_mut().for_each(|g| g.link = Some((up, crate::machine::mac(machine))));
        let guards: Vec<u64> = here.guards.iter().map(|g| g.id).collect();
        for guard in guards {
            self.turn_guard(machine, guard);
        }
    }

    pub(crate) fn kill(&mut self, machine: usize, daemon: bool, guard: bool) {
        if guard {
            let killed: Vec<u64> = self.machines[machine].guards.drain(..).map(|g| g.id).collect();
            for guard in killed {
                self.later(Duration::from_micros(100), crate::world::Event::GuardLost { machine, guard });
            }
        }
        if daemon {
            self.end_daemon(machine);
        }
    }
}
