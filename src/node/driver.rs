//! The control loop: feeds the core, carries out what it asks, and waits for whatever comes next.
//!
//! ```text
//!   guard's reports, peers' datagrams, mailbox ──> core.handle ──> poll_output ──> guard, peers, proxy, probes
//!                                                       └─────────> transitions ──> log, metrics, snapshot
//! ```
//!
//! It measures its own lateness: after a late wake-up, by a millisecond, everything that has come is read before any
//! of the core's deadlines counts. Nothing in here waits for anything but the next event or deadline.

mod actions;
mod administration;
mod backends;
mod guarding;
pub(super) mod hearsay;
mod reloading;
mod telling;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::watch;

use crate::config::{Config, Identity};
use crate::core::{Core, Input, MemberState, Output, Time};
use crate::guard::{Guard, clock};
use crate::peers::{self, Peers};
use crate::probe;
use crate::proxy::Proxy;
use crate::telemetry::{self, Channel, Direction, Event as Told, Metrics, Tracing, milliseconds};
use crate::wire::seal;

use self::hearsay::Hearsay;
pub(super) use self::reloading::known_addresses;
use self::telling::{FirstMoments, Story};
use super::mailbox::{Event, Mailbox};
use super::numbers::Numbers;
use super::service::{Prober, Reloads};
use super::snapshot::{self, Basis, Snapshot, VipFacts};
use super::start::Wards;
use super::targets::Targets;
use super::throttle::Throttle;
use super::watchdog::{GuardWatch, WorkerWatch};

/// So many datagrams are handled before other things are looked at.
const PORTION: usize = 256;
/// Later than this, or than half an interval, counts as a stall.
const LATE: Duration = Duration::from_millis(15);
/// What was ready when the wait ended may not be all, so much later: the wait itself looks once more at its end.
const STALE: Duration = Duration::from_millis(1);
/// How often it is looked whether there is anything new to show, besides at each advertisement.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// What the others say in answer to an advertisement is read together, so much later: a local network's round trip takes
/// less.
const GATHERING: Duration = Duration::from_millis(1);
/// Where advertisements are closer together, nothing waits.
const GATHERED: Duration = Duration::from_millis(100);
/// How often the same is shown again: what depends on time alone, in case that the rest has missed anything.
const PUBLISH_AGAIN: Duration = Duration::from_secs(1);
/// How long a stopping node waits for its successors' acknowledgements.
const FAREWELL: Duration = Duration::from_millis(500);

/// The driver, with everything it drives.
pub(super) struct Driver {
    pub(super) core: Core,
    pub(super) peers: Peers,
    /// `None` while it is dead and hasn't been replaced.
    pub(super) guard: Option<Guard>,
    pub(super) guard_again_at: Time,
    /// When the one that there is was started, if it isn't the first.
    pub(super) guard_begun_at: Option<Time>,
    /// Holds that go on up to then without the guard's having been asked, which the core isn't told yet.
    pub(super) goes_on: Vec<(usize, Time)>,
    /// An advertisement has left since it was last looked whether there is anything new to show.
    pub(super) has_advertised: bool,
    /// What the peers say is read no sooner than this, where they are about to answer.
    pub(super) gathers_until: Time,
    /// Which VIPs a guard that is just starting goes on to hold.
    pub(super) inherits: Vec<bool>,
    pub(super) wards: Wards,
    pub(super) proxy: Arc<Proxy>,
    pub(super) prober: Prober,
    /// In which backends are probed.
    pub(super) rhythm: probe::Rhythm,
    pub(super) reloads: Reloads,
    pub(super) mailbox: Mailbox,
    pub(super) config: Arc<Config>,
    pub(super) identity: Arc<Identity>,
    pub(super) digest: String,
    pub(super) metrics: Arc<Metrics>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) snapshots: watch::Sender<Arc<Snapshot>>,
    pub(super) vips: Vec<Vip>,
    /// Where each backend is, as far as its name has been resolved.
    pub(super) addresses: Vec<Vec<Option<SocketAddr>>>,
    /// What was told last of each member.
    pub(super) members: BTreeMap<String, MemberState>,
    /// `None` when nobody wants to hear of failovers' times.
    pub(super) tracing: Option<Tracing>,
    /// After a takeover, for a while.
    pub(super) first_moments: Option<FirstMoments>,
    /// Whether the node was last told to be able to serve.
    pub(super) was_ready: bool,
    pub(super) targets: Targets,
    pub(super) hearsay: Hearsay,
    pub(super) throttle: Throttle,
    pub(super) guard_watch: GuardWatch,
    pub(super) worker_watch: WorkerWatch,
    pub(super) workers_turn: bool,
    pub(super) published_at: Time,
    /// When it was last looked whether there is anything new to show.
    pub(super) looked_at: Time,
    /// The last turn has taken so long that more may have come before what was due.
    pub(super) once_more: bool,
    /// The core's revision that is shown.
    pub(super) shown_revision: u64,
    /// Something has happened that must be shown at once.
    pub(super) news: bool,
    pub(super) leaving_since: Option<Time>,
    /// A stop, from its beginning to the end of this driver.
    pub(super) stop: tracing::Span,
}

/// Where there is something to read.
#[derive(Debug, Clone, Copy)]
struct Ready {
    mailbox: bool,
    guard: bool,
    advertisements: bool,
    beacons: bool,
}

impl Ready {
    const ALL: Self = Self { mailbox: true, guard: true, advertisements: true, beacons: true };
}

/// What the driver knows of a VIP besides the core.
pub(super) struct Vip {
    pub(super) facts: VipFacts,
    pub(super) story: Story,
}

impl Vip {
    pub(super) fn new() -> Self {
        Self {
            facts: VipFacts {
                since: Timestamp::now(),
                address_present: false,
                fence_missing: Some("not put up yet".into()),
                failover: None,
            },
            story: Story::default(),
        }
    }
}

impl Driver {
    /// Drives until the node has handed over and everything is told.
    ///
    /// Where the other one is, if it stopped because another node of its name was there first.
    pub(super) fn run(mut self) -> Option<SocketAddr> {
        self.tell_of_peers();
        self.route();
        // What it said while its first orders were waited for.
        self.read_guard(true);
        loop {
            let deadline = self.deadline();
            let mut ready = self.wait(deadline);
            let now = clock::now();
            if now >= deadline {
                self.metrics.late(now.since(deadline));
            }
            if now.since(deadline) > STALE || (now >= deadline && now < self.gathers_until) {
                // Whatever has come meanwhile, too: silence counts only where there was nothing to be read.
                ready = Ready::ALL;
            }
            if now.since(deadline) > LATE.max(self.core.interval() / 2) {
                Told::NodeLate { late_ms: milliseconds(now.since(deadline)) }.tell();
                self.metrics.stalled();
                self.worker_watch.start_afresh(now);
                self.guard_watch.start_afresh(now);
                self.handle(Input::Stalled);
            }
            // What can wait, the answer to an order, is read with whatever comes first, and before it is asked again.
            if ready.guard || self.guard_watch.deadline().is_some() {
                self.read_guard(ready.guard);
            }
            self.count_connections();
            if ready.advertisements || ready.beacons {
                self.read_peers(ready.beacons);
            }
            self.read_mailbox(ready.mailbox);
            // What has become due since is dealt with next, behind whatever else has come; so is what was due where all
            // this has taken long, but not for ever.
            if now >= deadline && now >= self.core.next_deadline(now) {
                self.once_more = !self.once_more && clock::now().since(now) > STALE;
                if !self.once_more {
                    self.handle(Input::Deadline);
                }
            } else {
                self.once_more = false;
            }
            self.watch_guard();
            self.watch_workers();
            self.revive_guard();
            let now = clock::now();
            // What is due at once, the taking of a VIP, waits for nobody who wants to see it.
            if now < self.core.next_deadline(now) || now.since(self.looked_at) > PUBLISH_AGAIN {
                self.publish();
            }
            if self.is_done() {
                break;
            }
        }
        if let Some(guard) = self.guard.take() {
            guard.stop();
        }
        self.hearsay.name_taken
    }

    fn deadline(&self) -> Time {
        let now = clock::now();
        // A little later than the next advertisement, which has it awake anyway.
        let look_at = self.looked_at + self.core.interval() * 11 / 10;
        let mut deadline = self.core.next_deadline(now).min(look_at);
        if self.guard.is_none() {
            deadline = deadline.min(self.guard_again_at);
        } else if let Some(due) = self.guard_watch.deadline() {
            deadline = deadline.min(due);
        }
        deadline
    }

    fn wait(&self, deadline: Time) -> Ready {
        let now = clock::now();
        let gathers = now < self.gathers_until && self.core.is_answered_soon(now);
        let deadline = if gathers { deadline.min(self.gathers_until) } else { deadline };
        let mut polled = vec![PollFd::new(&self.mailbox, PollFlags::IN)];
        polled.extend(self.guard.iter().flat_map(Guard::polled));
        let peers = polled.len();
        // None of them is waited for while they gather.
        let wanted = if gathers { PollFlags::empty() } else { PollFlags::IN };
        let peer = |socket| PollFd::from_borrowed_fd(socket, wanted);
        polled.push(peer(self.peers.advertisements()));
        polled.extend(self.peers.beacons().map(peer));
        let left = deadline.since(now);
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        if poll(&mut polled, Some(&timeout)).is_err() {
            // An interrupted wait is a short one.
            return Ready::ALL;
        }
        let ready = |some: &[PollFd<'_>]| some.iter().any(|fd| !fd.revents().is_empty());
        let gathered = gathers && clock::now() >= deadline;
        Ready {
            mailbox: ready(&polled[..1]),
            guard: ready(&polled[1..peers]),
            advertisements: gathered || ready(&polled[peers..=peers]),
            beacons: gathered || ready(&polled[peers + 1..]),
        }
    }

    /// Handed over first, then left: a member that is said to have left holds nothing.
    fn is_done(&mut self) -> bool {
        let Some(since) = self.leaving_since else { return false };
        let patience = clock::now().since(since) > FAREWELL;
        patience || (self.core.is_stopped() && self.has_left_gossip())
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, clock::now());
        self.carry_out_all();
    }

    fn carry_out_all(&mut self) {
        loop {
            while let Some(output) = self.core.poll_output() {
                self.carry_out(output);
            }
            if self.goes_on.is_empty() {
                break;
            }
            for (vip, until) in std::mem::take(&mut self.goes_on) {
                self.core.handle(Input::Held { vip, until }, clock::now());
            }
        }
        self.peers.flush();
    }

    /// A worker that is stuck serves nobody whom the kernel hands it: better another node.
    fn watch_workers(&mut self) {
        let turn = self.worker_watch.all_turn(&self.proxy.beats(), clock::now());
        if std::mem::replace(&mut self.workers_turn, turn) != turn {
            if turn {
                Told::WorkerTurns {}.tell();
            } else {
                Told::WorkerStuck {}.tell();
            }
            for service in 0..self.config.services.len() {
                self.handle(Input::Listening { service, listening: turn });
            }
        }
    }

    /// Of their beacons, too, where there may be `beacons`.
    fn read_peers(&mut self, beacons: bool) {
        for _ in 0..PORTION {
            let told = self.peers.told();
            match self.peers.receive(clock::now(), beacons) {
                None => return,
                Some(peers::Received::Inputs(channel, inputs)) => {
                    self.metrics.messages(counted(channel), Direction::In, inputs.len() as u64);
                    // All of a datagram before anything is answered: the answers, too, leave together.
                    for input in inputs {
                        self.news |= self.is_of_a_holder(&input);
                        self.core.handle(input, clock::now());
                    }
                    self.carry_out_all();
                }
                Some(peers::Received::Proven) => self.introduce(),
                Some(peers::Received::Handshake) => {}
                Some(peers::Received::Gossip(datagram, from)) => self.hear_gossip_datagram(datagram, from),
                Some(peers::Received::Rejected(channel, reason)) => self.rejected(channel, reason),
            }
            if self.peers.told() != told {
                self.tell_of_peers();
                // Whoever was mentioned hears of this node at once, not after an interval.
                self.introduce();
            }
        }
    }

    fn introduce(&mut self) {
        let advertisement = self.core.introduce(clock::now());
        self.carry_out(Output::Advertise(advertisement));
    }

    fn rejected(&mut self, channel: seal::Channel, reason: seal::Reject) {
        self.metrics.rejected(counted(channel), reason.as_str(), 1);
        if reason == seal::Reject::Unproven {
            // Every acquaintance begins with it.
            return;
        }
        let (channel, reason) = (channel.as_str(), reason.as_str());
        if let Some(more) = self.throttle.admit((channel, reason), clock::now()) {
            Told::PeerRefused { channel, reason, more }.tell();
        }
    }

    /// What was left there without waking anybody is taken in any case.
    fn read_mailbox(&mut self, woken: bool) {
        let events: Vec<Event> = self.mailbox.take(woken).collect();
        for event in events {
            match event {
                Event::Probed(result) => self.probed(&result),
                Event::Checked(check, success) => {
                    if let Some(check) = self.numbers.check(check) {
                        self.handle(Input::Checked { check, success });
                    }
                }
                Event::Proxy(report) => self.heard_proxy(report),
                Event::Seeds(addresses) => {
                    if self.peers.know_always(addresses) {
                        self.tell_of_peers();
                    }
                }
                Event::Said { change, operator, answer, span } => {
                    let inside = tracing::info_span!(parent: span, "driver.said");
                    inside.in_scope(|| self.said(&change, operator, answer));
                }
                Event::Reload { read, by, cluster, answer } => {
                    let outcome = self.reload(*read, &by, cluster);
                    if let Some(answer) = answer {
                        // Whoever has stopped waiting finds it in the log.
                        let _ = answer.send(outcome);
                    }
                }
                Event::Gossip(news) => self.hear_gossip(news),
                Event::Terminate => self.leave(),
            }
        }
    }

    fn leave(&mut self) {
        if self.leaving_since.is_none() {
            Told::NodeStopping { node: &self.identity.name }.tell();
            self.leaving_since = Some(clock::now());
            self.stop = tracing::info_span!(parent: None, "node.stop");
            self.handle(Input::Shutdown);
        }
    }

    /// Shows the state as it is: at once after a transition, with the next advertisement after anything else, and rarely
    /// when there is nothing new.
    fn publish(&mut self) {
        let now = clock::now();
        let advertised = std::mem::take(&mut self.has_advertised);
        if !self.news && !advertised && now.since(self.looked_at) < LOOK_AGAIN.min(self.core.interval()) {
            return;
        }
        self.looked_at = now;
        self.sync();
        self.tell_of_holders(now);
        self.tell_of_readiness();
        self.tell_of_first_connections(now);
        self.tell_of_first_connects(now);
        let same = !self.tell_of_members(now) && self.core.revision() == self.shown_revision;
        if !std::mem::take(&mut self.news) && same && now.since(self.published_at) < PUBLISH_AGAIN {
            return;
        }
        self.shown_revision = self.core.revision();
        for vip in 0..self.vips.len() {
            self.vips[vip].facts.failover = self.latest_failover(vip, now);
        }
        let facts: Vec<VipFacts> = self.vips.iter().map(|vip| vip.facts.clone()).collect();
        let basis = Basis {
            config: Arc::clone(&self.config),
            numbers: Arc::clone(&self.numbers),
            metrics: Arc::clone(&self.metrics),
        };
        let snapshot =
            snapshot::take(&self.core, basis, &self.identity, &self.digest, &facts, &self.addresses, now);
        self.gossip();
        let snapshot = Snapshot { targets: self.targets.addresses(), ..snapshot };
        self.snapshots.send_replace(Arc::new(snapshot));
        self.published_at = now;
    }

    fn name(&self, vip: usize) -> &str {
        &self.config.vips[vip].name
    }

    fn names(&self, service: usize, backend: usize) -> (&str, &str) {
        let service = &self.config.services[service];
        (&service.name, &service.backends[backend].name)
    }
}

/// A guard speaks on its daemon's channel, as far as counters go.
fn counted(channel: seal::Channel) -> Channel {
    match channel {
        seal::Channel::Advertisement | seal::Channel::Guard => telemetry::Channel::Advertisement,
        seal::Channel::Beacon => telemetry::Channel::Beacon,
        seal::Channel::Gossip => telemetry::Channel::Gossip,
    }
}
