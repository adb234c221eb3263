//! What cores and guards ask for, carried out on the machine and on the network.

use std::rc::Rc;
use std::time::Duration;

use chinthe::core::{Advertisement, Input, MemberId, Message, Output, Resignation, Time, VipState};

use crate::guard::{Act, Order};
use crate::machine::{mac, vip_id};
use crate::world::{Arp, Event, Said, World};

/// From one process of a machine to another.
const CHANNEL: Duration = Duration::from_micros(100);
/// What the kernel takes to add or remove an address.
const KERNEL: Duration = Duration::from_micros(300);

impl World {
    /// Gives an input to a core that runs, and carries out what it asks for.
    pub(crate) fn handle(&mut self, index: usize, input: Input) {
        let local = self.local(index);
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        self.trace.input(self.now, index, &input);
        daemon.core.handle(input, local);
        self.carry_out_all(index);
    }

    /// Whatever its core asks for.
    pub(crate) fn carry_out_all(&mut self, index: usize) {
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        let outputs: Vec<Output> = std::iter::from_fn(|| daemon.core.poll_output()).collect();
        self.judge.outputs(self.now, index, outputs.len());
        let mut goes_on = Vec::new();
        for output in outputs {
            if let Output::Hold { vip, until, term } = output {
                if self.goes_on(index, vip, until, term) {
                    goes_on.push(Input::Held { vip, until });
                }
            } else {
                self.carry_out(index, output);
            }
        }
        for held in goes_on {
            self.handle(index, held);
        }
    }

    /// Has a VIP held: by the kernel's timer, where that will do, or by the guard.
    fn goes_on(&mut self, index: usize, vip: usize, until: Time, term: u32) -> bool {
        let local = self.local(index);
        let Some(daemon) = &mut self.machines[index].daemon else { return false };
        let id = daemon.guard;
        if daemon.may_go_on(vip, until, term, local) {
            let guard = self.machines[index].guards.iter_mut().find(|g| Some(g.id) == id);
            if guard.is_some_and(|guard| guard.put_off(vip, until, local)) {
                return true;
            }
            if let Some(daemon) = &mut self.machines[index].daemon {
                daemon.ask_to_hold(vip, term, local);
            }
        }
        self.ask(index, Order::Hold { vip, until, term });
        false
    }

    pub(crate) fn carry_out(&mut self, index: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Advertise(advertisement) => {
                let states: Vec<VipState> = advertisement.vips.iter().map(|part| part.state).collect();
                let local = self.local(index);
                let holder = self.machines[index].daemon.as_ref().is_some_and(|d| d.core.may_beacon(local));
                if let Some(daemon) = &mut self.machines[index].daemon {
                    let claims = daemon.claims.iter_mut().zip(states);
                    for (claim, state) in claims.filter(|(claim, state)| claim.0 != *state) {
                        *claim = (state, now);
                    }
                }
                // A holder's beacon is a second way, with luck of its own, and counts for no loss.
                let beacon = Advertisement { beat: None, ..advertisement.clone() };
                if holder {
                    let until = local + self.fence;
                    self.machines[index].kernel.beacon(until);
                }
                let by_beacon = holder.then_some(beacon);
                for advertisement in by_beacon.into_iter().chain([advertisement]) {
                    let said = Rc::new(Said::Core(Message::Advertisement(advertisement)));
                    let Some((life, counter)) = self.seal(index) else { return };
                    for to in 0..self.machines.len() {
                        self.send(index, to, life, counter, &said);
                    }
                }
            }
            Output::Reply { to, advertisement } => {
                self.tell(index, to, Message::Advertisement(advertisement));
            }
            Output::Probe { to } => self.tell(index, to, Message::Probe),
            Output::Send { to, message } => self.tell(index, to, message),
            // Dealt with before it comes here.
            Output::Hold { .. } => {}
            Output::Release { vip } => {
                if let Some(daemon) = &mut self.machines[index].daemon {
                    daemon.forget_hold(vip);
                }
                self.ask(index, Order::Release { vip });
            }
            Output::Announce { vip, anew } => self.order(index, Order::Announce { vip, anew }),
            Output::ProbeAddress { vip, mac } => self.ask(index, Order::Probe { vip, mac }),
            Output::ProbeBackend { service: _, backend } => self.probe_soon(index, backend),
            Output::Transition(transition) => {
                self.judge.transition(now, transition.cause);
                self.with_judge(|judge, world| judge.taking(world, index, &transition));
                self.trace.transition(now, index, &transition);
            }
            Output::RoutesChanged | Output::BackendChanged { .. } | Output::AdministrationChanged { .. } => {
                self.stir(index);
            }
            Output::PauseProbes { service: _, backend, pause } => {
                self.stir(index);
                if !pause {
                    self.probe_soon(index, backend);
                }
            }
            Output::Forgotten { member, .. } => self.forget_views(index, member),
            Output::Conflict { vip, by } => {
                self.trace.note(now, || format!("n{} conflict with {by:?} over vip{}", index + 1, vip + 1));
            }
        }
    }

    fn probe_soon(&mut self, index: usize, backend: usize) {
        let Some(daemon) = &self.machines[index].daemon else { return };
        let life = daemon.life;
        let wait = self.random.between(Duration::from_millis(1), Duration::from_millis(5));
        self.later(wait, Event::Probe { machine: index, life, backend, again: false });
    }

    fn seal(&mut self, index: usize) -> Option<(u64, u64)> {
        let daemon = self.machines[index].daemon.as_mut()?;
        daemon.counter += 1;
        Some((daemon.life, daemon.counter))
    }

    fn tell(&mut self, index: usize, to: MemberId, message: Message) {
        let Some((life, counter)) = self.seal(index) else { return };
        self.send(index, to.0 as usize, life, counter, &Rc::new(Said::Core(message)));
    }

    /// An order that the guard answers.
    fn ask(&mut self, index: usize, order: Order) {
        let local = self.local(index);
        if let Some(daemon) = &mut self.machines[index].daemon {
            daemon.asked_guard(local);
        }
        self.order(index, order);
    }

    fn order(&mut self, index: usize, order: Order) {
        let at = (self.now + self.random.up_to(CHANNEL)).max(self.machines[index].last_order_at);
        self.machines[index].last_order_at = at;
        let Some(guard) = self.machines[index].daemon.as_ref().and_then(|d| d.guard) else { return };
        self.at(at, Event::Order { machine: index, guard, order });
    }

    /// One turn of a guard's loop, if it may run at all.
    pub(crate) fn turn_guard(&mut self, index: usize, id: u64) {
        if !self.machines[index].runs() {
            return;
        }
        let (now, local) = (self.now, self.local(index));
        let Some(guard) = self.machines[index].guards.iter_mut().find(|g| g.id == id && !g.stopped) else {
            return;
        };
        if guard.begins_at.is_some_and(|at| now < at) {
            return;
        }
        let acts = guard.work(local);
        let deadline = guard.deadline();
        for act in acts {
            self.act(index, id, act);
        }
        if let Some(deadline) = deadline {
            let late = self.random.up_to(CHANNEL);
            let at = self.machines[index].clock.global(deadline).max(self.now) + late;
            let guard = self.machines[index].guards.iter_mut().find(|g| g.id == id);
            if let Some(guard) =
                guard.filter(|g| g.wakes_at.is_none_or(|known| at < known || known <= self.now))
            {
                guard.wakes_at = Some(at);
                self.at(at, Event::WakeGuard { machine: index, guard: id });
            }
        }
    }

    fn act(&mut self, index: usize, id: u64, act: Act) {
        match act {
            Act::Arm(vip) => self.arm(index, vip, self.fence),
            Act::Open { vip, lasting } => self.arm(index, vip, lasting.min(self.fence)),
            Act::Add(vip) => {
                let local = self.local(index);
                let news = !self.machines[index].kernel.has_address(vip);
                let until = self.machines[index].kernel.add(vip, local, &mut self.random);
                let at = self.machines[index].clock.global(until);
                self.look_at_lease(index, at);
                if news {
                    self.trace.note(self.now, || format!("n{} kernel: address of vip{}", index + 1, vip + 1));
                }
            }
            Act::Look(vip) => {
                let open = self.machines[index].kernel.answers(vip);
                let guard = self.machines[index].guards.iter_mut().find(|g| g.id == id);
                for act in guard.map(|guard| guard.looked(vip, open)).unwrap_or_default() {
                    self.act(index, id, act);
                }
            }
            Act::Remove(vip) => self.remove_address(index, vip, Some(id)),
            Act::Announce(vip) => {
                // Behind a shut fence it doesn't leave.
                if self.machines[index].answers(vip) {
                    for to in (0..self.machines.len() + self.clients.len()).filter(|to| *to != index) {
                        self.transmit(index, to, vip, Arp::Announcement);
                    }
                }
            }
            Act::Ask(vip, known) => {
                if !self.machines[index].on_network() {
                    return;
                }
                for to in (0..self.machines.len()).filter(|to| *to != index) {
                    self.transmit(index, to, vip, Arp::Question);
                    if known == Some(mac(to)) {
                        self.transmit(index, to, vip, Arp::Question);
                    }
                }
            }
            Act::Report(report) => {
                let wait = self.random.up_to(CHANNEL + KERNEL);
                let at = (self.now + wait).max(self.machines[index].last_report_at);
                self.machines[index].last_report_at = at;
                let guard = self.machines[index].guards.iter().find(|g| g.id == id);
                let leased_until = match &report {
                    Input::Held { vip, .. } => guard.and_then(|guard| guard.leased_until(*vip)),
                    _of_no_hold => None,
                };
                self.at(at, Event::Report { machine: index, guard: id, report, leased_until });
            }
            Act::Resign(vip, term) => {
                let resignation = Resignation { id: 0, vip: vip_id(vip), term, successor: None };
                let said = Rc::new(Said::Guard { id, resignation });
                // Said again, in case the first gets lost.
                for _ in 0..3 {
                    for to in 0..self.machines.len() {
                        self.send(index, to, 0, 0, &said);
                    }
                }
            }
            Act::End => self.machines[index].guards.retain(|g| g.id != id),
        }
    }

    fn arm(&mut self, index: usize, vip: usize, lasting: Duration) {
        let until = self.local(index) + lasting;
        self.machines[index].kernel.arm(vip, until);
        self.look_at_fence(index, until);
    }

    /// An address is removed by a guard, or by somebody else; the other guards are told by the kernel.
    pub(crate) fn remove_address(&mut self, index: usize, vip: usize, by: Option<u64>) {
        if !self.machines[index].kernel.remove(vip, self.now) {
            return;
        }
        self.trace.note(self.now, || format!("n{} kernel: no address of vip{}", index + 1, vip + 1));
        let others = self.machines[index].guards.iter_mut().filter(|g| Some(g.id) != by);
        let ids: Vec<u64> = others
            .map(|guard| {
                guard.hear_removed(vip);
                guard.id
            })
            .collect();
        for guard in ids {
            self.later(CHANNEL, Event::WakeGuard { machine: index, guard });
        }
    }

    /// A daemon is gone, by itself or not: its guard sees the channel close.
    pub(crate) fn end_daemon(&mut self, index: usize) {
        if let Some(guard) = self.machines[index].daemon.take().and_then(|d| d.guard) {
            self.later(CHANNEL, Event::Orphaned { machine: index, guard });
        }
    }
}
