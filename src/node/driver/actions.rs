//! What the core asks for, carried out.

use std::sync::Arc;

use jiff::Timestamp;

use super::telling::tell_of_backend;
use super::{Driver, GATHERED, GATHERING};
use crate::core::{Claimant, Mac, Member, MemberId, Message, Output, Time};
use crate::guard::{Guard, GuardError, clock};
use crate::proxy::{Route, Routes, Target};
use crate::telemetry::{Channel, Direction, Event};

impl Driver {
    pub(super) fn carry_out(&mut self, output: Output) {
        match output {
            Output::Advertise(advertisement) => {
                let beacon = self.core.may_beacon(clock::now());
                let (sent, beacons) = self.peers.advertise(advertisement, beacon);
                self.rhythm.beat();
                self.has_advertised = true;
                self.gather();
                self.metrics.messages(Channel::Advertisement, Direction::Out, sent);
                self.metrics.messages(Channel::Beacon, Direction::Out, beacons);
            }
            Output::Reply { to, advertisement } => self.send(to, &Message::Advertisement(advertisement)),
            Output::Probe { to } => self.send(to, &Message::Probe),
            Output::Send { to, message } => self.send(to, &message),
            Output::Hold { vip, until, term } => self.hold(vip, until, term),
            Output::Release { vip } => {
                self.vips[vip].story.letting_go(clock::now());
                self.ask(|guard| guard.release(vip));
            }
            Output::Announce { vip, anew } => self.order(|guard| guard.announce(vip, anew)),
            Output::ProbeAddress { vip, mac } => self.ask(|guard| guard.probe(vip, mac)),
            Output::RoutesChanged => {
                self.news = true;
                self.route();
            }
            Output::BackendChanged { service, backend, change } => {
                self.news = true;
                if change.from != change.to {
                    self.metrics.backend(service, backend, change.to);
                }
                let (service, backend) = self.names(service, backend);
                tell_of_backend(service, backend, change);
            }
            Output::ProbeBackend { service, backend } => {
                let (service, backend) = self.numbered(service, backend);
                self.prober.probe(service, backend);
            }
            Output::PauseProbes { service, backend, pause } => {
                let (service, backend) = self.numbered(service, backend);
                self.prober.pause(service, backend, pause);
            }
            Output::AdministrationChanged { word, .. } => {
                self.news = true;
                self.count_convergence(word);
            }
            Output::Forgotten { member, address } => {
                self.forget_views(member);
                self.peers.forget(address);
            }
            Output::Conflict { vip, by } => self.conflict(vip, by),
            Output::Transition(transition) => {
                self.metrics.transition(&transition);
                self.news = true;
                self.vips[transition.vip].facts.since = Timestamp::now();
                self.tell_of_transition(transition);
            }
        }
    }

    fn send(&mut self, to: MemberId, message: &Message) {
        if let Some(address) = self.core.members().get(to).map(Member::address) {
            self.peers.post(address, message);
            if matches!(message, Message::Resignation(_)) {
                // The beacon isn't to overtake it.
                self.peers.flush();
            }
            self.metrics.message(Channel::Advertisement, Direction::Out);
        }
    }

    /// Lets the others' answers to an advertisement gather.
    fn gather(&mut self) {
        if self.core.interval() >= GATHERED {
            self.gathers_until = clock::now() + GATHERING;
        }
    }

    /// What goes on to be held without an order is told to the core as soon as all else is carried out.
    fn hold(&mut self, vip: usize, until: Time, term: u32) {
        let Some(guard) = &mut self.guard else { return };
        match guard.hold(vip, until, term) {
            Ok(true) => self.goes_on.push((vip, until)),
            Ok(false) => self.guard_watch.asked(clock::now()),
            Err(error) => self.lost_guard(&error),
        }
    }

    /// An order that is answered.
    fn ask(&mut self, order: impl FnOnce(&mut Guard) -> Result<(), GuardError>) {
        self.guard_watch.asked(clock::now());
        self.order(order);
    }

    fn order(&mut self, order: impl FnOnce(&mut Guard) -> Result<(), GuardError>) {
        if let Some(guard) = &mut self.guard
            && let Err(error) = order(guard)
        {
            self.lost_guard(&error);
        }
    }

    fn conflict(&mut self, vip: usize, by: Claimant) {
        let (source, who) = match by {
            Claimant::Address(Mac(mac)) => {
                ("arp", mac.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
            }
            Claimant::Member(id) => {
                let name = self.core.members().get(id).map(|m| m.name().to_owned());
                ("advertisement", name.unwrap_or_default())
            }
        };
        self.metrics.conflict(vip, source);
        if let Some(more) = self.throttle.admit(("conflict", source), clock::now()) {
            Event::VipConflict { vip: self.name(vip), source, by: &who, more }.tell();
        }
    }

    /// Tells the workers which backends may be used.
    pub(super) fn route(&self) {
        self.proxy.route(Arc::new(self.routes()));
    }

    /// A backend's numbers: its service's, and its own.
    pub(super) fn numbered(&self, service: usize, backend: usize) -> (usize, usize) {
        (self.numbers.services()[service], self.numbers.backends()[service][backend])
    }

    /// Which backends may be used.
    pub(super) fn routes(&self) -> Routes {
        let most = self.numbers.services().iter().max().map_or(0, |most| most + 1);
        let mut routes = Routes { services: vec![Route::default(); most] };
        for (service, known) in self.core.services().iter().enumerate() {
            let mut route = Route { targets: Vec::new(), reserve: Vec::new() };
            for (backend, state) in known.backends().iter().enumerate() {
                let Some(address) = self.addresses[service][backend] else { continue };
                let weight = state.weight().unwrap_or(self.config.services[service].backends[backend].weight);
                let number = self.numbers.backends()[service][backend];
                let target = Target { backend: number, address, weight };
                if state.usable() {
                    route.targets.push(target);
                } else if state.in_reserve() {
                    route.reserve.push(target);
                }
            }
            routes.services[self.numbers.services()[service]] = route;
        }
        routes
    }

    pub(super) fn tell_of_peers(&mut self) {
        let peers = self.peers.known();
        self.hearsay.meet(&peers);
        self.order(|guard| guard.set_peers(peers));
    }
}
