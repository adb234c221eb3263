//! What decides: pure, deterministic, std alone.
//!
//! No clock, socket, task, randomness or logging in here. The driver says what happened and when
//! ([`Core::handle`]), carries out what is asked ([`Core::poll_output`]) and wakes it again at
//! [`Core::next_deadline`]. The same inputs give the same outputs, so that a simulation can run thousands
//! of clusters a second on it.
//!
//! `Core` is a composition of small machines, none of which knows the others: `health` (rise and fall),
//! `service` (which backends may be used), `priority` (weights), `member` with `loss` (who has been heard, and how
//! well), `readiness` (may this node hold anything yet), `reach` (do others reach more backends), `administration`
//! (what operators say), `placement` (who stands first among equals), `damping` (hand-backs that repeat), `quorum`
//! (a majority's grants), `election` with `suspicion` (one per VIP) and `outbox` (what must arrive). `advertising`,
//! `hearing`, `standing`, `majority` and `reconfigure` are the parts of `Core` itself that bring them together.

mod administration;
mod advertising;
pub mod balance;
mod contract;
mod damping;
mod election;
mod health;
mod hearing;
mod loss;
mod majority;
mod member;
mod message;
mod outbox;
mod placement;
pub mod priority;
mod quorum;
mod reach;
mod readiness;
mod reconfigure;
mod service;
mod standing;
mod suspicion;
mod time;
mod transition;
mod view;

use std::collections::VecDeque;
use std::time::Duration;

pub use self::administration::{AdminState, Administration, Aspect, Full, Setting, Stamp, Target, Word};
pub use self::contract::{CheckSettings, Input, Output, Proof, Settings, Tracked, VipSettings};
pub use self::damping::Damping;
pub use self::election::{Claimant, Election, Terms};
pub use self::health::Health;
pub use self::member::{Member, MemberState, Members};
pub use self::message::{
    Advertisement, Boot, Grant, Heard, Holder, Mac, MemberId, Message, Request, Resignation,
    VipAdvertisement, VipId, Wanted,
};
pub use self::placement::Placement;
pub use self::quorum::Quorum;
pub use self::service::{Administered, Backend, Change, Service, ServiceSettings};
pub use self::time::Time;
pub use self::transition::{Cause, Phases, Transition, Verdict, VipState};
pub use self::view::Views;

use self::election::{Event, Orders, Surroundings, fence_time, hold_time};
use self::outbox::Outbox;
use self::reach::Reach;
use self::readiness::Readiness;

/// Holds are asked for anew at least this often, however seldom the node advertises.
const FEED: Duration = Duration::from_millis(400);
/// No guard is silent for longer than this: its answers take microseconds.
const GUARD_SILENCE: Duration = Duration::from_millis(200);
/// How often nodes without any VIP tell the others that they are there.
const INTERVAL_WITHOUT_VIPS: Duration = Duration::from_secs(1);

/// One node's decisions.
#[derive(Debug)]
pub struct Core {
    settings: Settings,
    interval: Duration,
    /// How long after its last regular word this node speaks again, as it has told the others.
    cadence: Duration,
    members: Members,
    elections: Vec<Election>,
    /// Where a majority has to agree.
    quorum: Option<Quorum>,
    /// One for each election.
    reach: Vec<Reach>,
    administration: Administration,
    /// When something follows from what operators say: at once when they have spoken, or when a word runs out.
    administer_at: Option<Time>,
    /// What they say of this node itself.
    itself: AdminState,
    services: Vec<Service>,
    checks: Vec<Health>,
    readiness: Readiness,
    links: Vec<bool>,
    /// When this node last released a VIP.
    let_go_at: Option<Time>,
    /// Clients' connections, one for each service.
    connections: Vec<u64>,
    outbox: Outbox,
    outputs: VecDeque<Output>,
    guard: Boot,
    sequence: u64,
    revision: u64,
    /// Advertisements to everybody.
    beats: u64,
    resignations: u32,
    advertise_at: Time,
    /// When a member last said that it holds anything.
    holder_heard_at: Option<Time>,
    /// When the holds are asked for anew.
    feed_at: Time,
    /// When a beacon, or a guard that has just taken a VIP, last kept the fence open.
    fence_fed_at: Time,
    advertise_now: bool,
    /// Nothing that has come is unread.
    caught_up: bool,
    leaving: bool,
}

impl Core {
    /// A node that has just started, and knows nothing.
    pub fn new(settings: Settings, now: Time) -> Self {
        let interval = settings.vips.iter().map(|v| v.advertisement_interval).min();
        let interval = interval.unwrap_or(INTERVAL_WITHOUT_VIPS);
        let elections = settings.vips.iter().enumerate().map(|(i, v)| Election::new(i, v));
        let services: Vec<Service> = settings.services.iter().map(Service::new).collect();
        Self {
            interval,
            cadence: interval,
            members: Members::default(),
            elections: elections.collect(),
            quorum: settings.majority_of.map(|nodes| {
                Quorum::new(settings.me, nodes, settings.vips.iter().map(|v| v.id), interval, now)
            }),
            reach: vec![Reach::default(); settings.vips.len()],
            administration: Administration::default(),
            administer_at: None,
            itself: AdminState::Ready,
            readiness: Readiness::new(settings.expected_peers, interval, settings.sync_patience, now),
            services,
            checks: settings.checks.iter().map(|check| Health::new(check.rise, check.fall)).collect(),
            links: vec![false; settings.vips.len()],
            let_go_at: None,
            connections: vec![0; settings.services.len()],
            outbox: Outbox::default(),
            outputs: VecDeque::new(),
            guard: Boot::default(),
            sequence: 0,
            revision: 0,
            beats: 0,
            resignations: 0,
            advertise_at: now,
            holder_heard_at: None,
            feed_at: now,
            fence_fed_at: now,
            advertise_now: false,
            caught_up: false,
            leaving: false,
            settings,
        }
    }

    /// The guard that may resign in this node's name.
    pub fn set_guard(&mut self, guard: Boot) {
        self.guard = guard;
        self.advertise_now = true;
    }

    /// Takes in what happened. `now` never goes back.
    pub fn handle(&mut self, input: Input, now: Time) {
        self.caught_up = matches!(input, Input::Deadline);
        match input {
            Input::Heard { from, address, boot, message } => self.heard(from, address, boot, message, now),
            Input::GuardResigned { of, resignation } => {
                self.members.bury(of);
                self.resigned(of, resignation, now);
            }
            Input::Probed { service, backend, success } => self.probed(service, backend, success),
            Input::Checked { check, success } => {
                if let Some(check) = self.checks.get_mut(check) {
                    check.record(success);
                }
            }
            Input::Viewed { member, service, verdicts } => self.viewed(member, service, &verdicts),
            Input::Said { target, word } => {
                if self.administration.hear(target.clone(), word) == Ok(true) {
                    self.administer_at = Some(now);
                    self.outputs.push_back(Output::AdministrationChanged { target, word });
                }
            }
            Input::Synced => self.readiness.synced(),
            Input::ConnectFailed { service, backend } => {
                if self.services.get_mut(service).is_some_and(|s| s.pass_over(backend)) {
                    self.outputs.push_back(Output::RoutesChanged);
                    self.outputs.push_back(Output::ProbeBackend { service, backend });
                }
            }
            Input::Listening { service, listening } => {
                self.revision += 1;
                if let Some(service) = self.services.get_mut(service) {
                    service.set_listening(listening);
                }
            }
            Input::Connections { service, active } => {
                if let Some(known) = self.connections.get_mut(service) {
                    *known = active;
                }
            }
            Input::Held { vip, until } => self.tell(vip, Event::Held { until }, now),
            Input::Released { vip } => self.tell(vip, Event::Released, now),
            Input::LetGo { vip, cause } => self.tell(vip, Event::LetGo { cause }, now),
            Input::AddressProbed { vip } => self.tell(vip, Event::AddressProbed, now),
            Input::AddressAnswered { vip, mac, by_ip } => {
                self.tell(vip, Event::AddressAnswered { mac, by_ip }, now);
            }
            Input::Link { vip, up, mac } => self.link(vip, up, mac),
            Input::Stalled => {
                for vip in 0..self.elections.len() {
                    self.tell(vip, Event::Stalled, now);
                }
            }
            Input::Shutdown => self.leaving = true,
            Input::Deadline => {}
        }
        self.settle(now);
    }

    /// What is to be done next, in order; `None` when there is nothing.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Input::Deadline`] is due at the latest. May change with every input.
    pub fn next_deadline(&self, now: Time) -> Time {
        let mut deadline = self.advertise_at.min(self.feed_at);
        for (vip, election) in self.elections.iter().enumerate() {
            deadline =
                election.deadline(&self.surroundings(vip, now)).map_or(deadline, |at| at.min(deadline));
        }
        for (vip, reach) in self.reach.iter().enumerate() {
            deadline = reach.deadline(self.patience(vip)).map_or(deadline, |at| at.min(deadline));
        }
        let others = [
            self.outbox.deadline(),
            self.readiness.deadline(),
            self.administer_at,
            self.quorum.as_ref().and_then(|quorum| quorum.due(now)),
        ];
        others.into_iter().flatten().fold(deadline, Time::min)
    }

    /// Everything is handed over and acknowledged: nothing keeps the process.
    pub fn is_stopped(&self) -> bool {
        self.leaving && self.elections.iter().all(|e| e.state() != VipState::Active) && self.outbox.is_empty()
    }

    /// The other nodes.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The VIPs, in the file's order.
    pub fn elections(&self) -> &[Election] {
        &self.elections
    }

    /// The checks, in the file's order.
    pub fn checks(&self) -> &[Health] {
        &self.checks
    }

    /// The services, in the file's order.
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// What operators have said.
    pub fn administration(&self) -> &Administration {
        &self.administration
    }

    /// Rises whenever there is something else to show, but for what follows from the mere passing of time: how a
    /// silent member is doing.
    pub fn revision(&self) -> u64 {
        self.revision + self.members.revision()
    }

    /// The nodes' time between two advertisements.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How long a guard may owe an answer: given up then, its successor has the rest of the hold to go on with it.
    pub fn guard_patience(&self) -> Duration {
        let left = hold_time(self.interval).saturating_sub(FEED.min(self.interval));
        (left * 3 / 4).min(GUARD_SILENCE)
    }

    /// For how long one of the holder's beacons keeps its VIPs from being fenced.
    pub fn fence_time(&self) -> Duration {
        fence_time(self.interval)
    }

    /// Proxy listening, a full round of probes done, membership settled.
    pub fn is_ready(&self) -> bool {
        self.readiness.obstacle().is_none() && !self.leaving
    }

    /// Who holds a VIP, as far as this node knows.
    pub fn holder(&self, vip: usize, now: Time) -> Option<MemberId> {
        let election = self.elections.get(vip)?;
        if election.state() == VipState::Active {
            return Some(self.settings.me);
        }
        self.members
            .holder(election.id(), now)
            .filter(|id| self.members.get(*id).is_some_and(|m| m.state(now) <= MemberState::Suspect))
    }

    fn probed(&mut self, service: usize, backend: usize, success: bool) {
        let Some(change) =
            self.services.get_mut(service).and_then(|s| s.probed(backend, success, self.settings.me))
        else {
            return;
        };
        self.outputs.push_back(Output::RoutesChanged);
        if change.from != change.to {
            self.outputs.push_back(Output::BackendChanged { service, backend, change });
        }
    }

    fn link(&mut self, vip: usize, up: bool, mac: Mac) {
        let Some(link) = self.links.get_mut(vip) else { return };
        self.revision += 1;
        if std::mem::replace(link, up) != up {
            // What was probed before says nothing about the network that comes back, nor do tries without one.
            self.start_round();
        }
        self.elections[vip].set_mac(mac);
        self.advertise_now = true;
    }

    fn start_round(&mut self) {
        for (index, service) in self.services.iter_mut().enumerate() {
            service.start_round();
            for backend in 0..service.backends().len() {
                self.outputs.push_back(Output::ProbeBackend { service: index, backend });
            }
        }
    }

    /// Everything that follows from what is known now.
    fn settle(&mut self, now: Time) {
        self.administer(now);
        for (member, address) in self.members.forget_gone(now) {
            self.services.iter_mut().for_each(|service| service.forget(member));
            self.outputs.push_back(Output::Forgotten { member, address });
        }
        let backends = || self.services.iter().flat_map(Service::backends);
        let facts = readiness::Facts {
            listening: self.services.iter().all(Service::listening),
            round_complete: self.services.iter().all(Service::round_complete),
            peers_heard: self.members.iter().count(),
            peers_gone: self.members.all_gone(now),
            peers_lost: self.members.all_lost(now),
            backends_reached: backends().next().is_none() || backends().any(Backend::is_reached),
            backends_failed: backends().any(Backend::has_failed),
        };
        let was_ready = self.is_ready();
        if self.readiness.update(&facts, now) == readiness::Verdict::Isolated {
            self.start_round();
        }
        self.revision += u64::from(was_ready != self.is_ready());
        for vip in 0..self.elections.len() {
            let standing = self.standing(vip, now);
            self.with_election(vip, now, |election, around, orders| {
                election.set_standing(standing);
                election.step(around, orders);
            });
        }
        self.canvass(now);
        self.repeat_resignations(now);
        self.advertise_if_due(now);
    }

    fn surroundings(&self, vip: usize, now: Time) -> Surroundings<'_> {
        let obstacle = if self.settings.witness {
            Some(Cause::Ineligible)
        } else if self.leaving {
            Some(Cause::Shutdown)
        } else if self.itself != AdminState::Ready {
            Some(Cause::Drain)
        } else if !self.links[vip] {
            Some(Cause::LinkDown)
        } else {
            self.readiness.obstacle()
        };
        Surroundings {
            now,
            me: self.settings.me,
            address: self.settings.address,
            caught_up: self.caught_up,
            interval: self.interval,
            sequence: self.sequence,
            members: &self.members,
            crowd: self.settings.crowd,
            obstacle,
            grants: self.grants(vip, now),
            pin: self.administration.pin(&self.settings.vips[vip].name, now),
            relief: None,
            connections: self.tracked_connections(vip),
            silenced: now >= self.fence_fed_at + self.fence_time(),
            missing: self.members.fresh(now).count() < self.settings.expected_peers,
            young: self.readiness.is_young(now),
        }
    }

    fn tell(&mut self, vip: usize, event: Event, now: Time) {
        self.with_election(vip, now, |election, around, orders| election.handle(event, around, orders));
    }

    /// Lets one election act, then carries out what it orders.
    fn with_election(
        &mut self,
        vip: usize,
        now: Time,
        act: impl FnOnce(&mut Election, &Surroundings<'_>, &mut Orders),
    ) {
        let relief = self.relief(vip, now);
        // Taken out meanwhile, so that it can look at everything else.
        let mut elections = std::mem::take(&mut self.elections);
        let mut orders = Orders::default();
        if let Some(election) = elections.get_mut(vip) {
            let (before, held) = (election.news(), election.hold_until().is_some());
            act(election, &Surroundings { relief, ..self.surroundings(vip, now) }, &mut orders);
            let news = before != election.news();
            self.revision += u64::from(news);
            self.advertise_now |= news;
            if !orders.resignations.is_empty() {
                self.let_go_at = Some(now);
            }
            if !held && election.hold_until().is_some() {
                self.fence_fed_at = now;
            }
            for (term, successor) in orders.resignations {
                self.resign(election.id(), term, successor, now);
            }
        }
        self.outputs.extend(orders.outputs);
        self.elections = elections;
    }
}
