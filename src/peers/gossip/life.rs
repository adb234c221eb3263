//! One life of chitchat, from its start under a new generation to its end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chitchat::{
    ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig, Heartbeat, ProtocolVersion,
    spawn_chitchat,
};
use tokio::sync::watch;
use tokio::time::Instant;

use super::directory::{Directory, Entry, MEMBERS, collapse};
use super::sealed::{SealedTransport, lock};
use super::sight::{self, Namesake, Own, Sight};
use super::supervisor::Node;
use super::{Dropped, LEFT, News, Order, STATE};

/// Why a life is over.
pub(super) enum End {
    /// As ordered.
    Stopped,
    /// An earlier life of this node has this higher generation, and hides this one.
    Outranked(u64),
    /// chitchat died, or had to be given up.
    Failed(String),
}

/// How often the directory is looked at while there is traffic.
const LOOK: Duration = Duration::from_millis(20);
/// After a pause so many looks may follow each other at once: for each datagram of an exchange, while it is awake.
const LOOKS: u32 = 4;
/// How often what is to be published is written, at most.
const WRITE: Duration = Duration::from_millis(100);
/// How many members are told at once. With more, their answers would get in each other's way.
const PUSHED: usize = 30;
/// How often they are told what is new: twice, so that one of the datagrams that it takes may be lost.
const PUSHES: u32 = 2;
/// How far apart.
const PUSH_AGAIN: Duration = Duration::from_millis(100);
/// How many of those that don't answer are called each interval, by a node that hears nobody.
const CALLS: usize = 3;
/// How often a leaving member says so.
const LEAVE_AGAIN: Duration = Duration::from_millis(30);
/// How many of a leaving node's last words each member is sent: two, so that one may be lost.
const LAST_WORDS: u32 = 2;
/// After this many intervals everything has spread to everybody, loss included: whose heartbeat still rises is alive.
const SETTLED: u32 = 8;
/// So many more the younger of two nodes of one name waits before it says so and gives up: the elder is to notice, too.
const DEFERENCE: u32 = 2;
/// How many other lives of this node's name are watched.
const NAMESAKES: usize = 16;

struct Life {
    node: Arc<Node>,
    chitchat: Running,
    generation: u64,
    begun_at: Instant,
    written: BTreeMap<String, String>,
    /// No sooner than this is anything written again.
    write_after: Instant,
    /// How often what was written last has been pushed, and when it is again.
    pushes: u32,
    push_at: Option<Instant>,
    /// The latest looks, the earliest of them first.
    looked_at: VecDeque<Instant>,
    /// When it last did what it does once an interval.
    ticked_at: Option<Instant>,
    fingerprint: Option<u64>,
    live: Vec<SocketAddr>,
    /// Whom to call next of those that don't answer.
    calls: VecDeque<SocketAddr>,
    namesakes: BTreeMap<ChitchatId, Watched>,
    /// How much of the others' stays outside the directory.
    outside: u64,
}

/// Another life of this node's name.
struct Watched {
    since: Instant,
    /// Its heartbeat once it had settled: a living one's rises from there.
    settled: Option<Heartbeat>,
    told: bool,
}

/// chitchat's task, which ends with this.
struct Running(ChitchatHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Lives until something ends it.
pub(super) async fn live(node: Arc<Node>, generation: u64, mut orders: watch::Receiver<Order>) -> End {
    match Life::begin(node, generation).await {
        Ok(mut life) => life.run(&mut orders).await,
        Err(why) => End::Failed(why),
    }
}

impl Life {
    async fn begin(node: Arc<Node>, generation: u64) -> Result<Self, String> {
        node.sealed.ready().map_err(|error| error.to_string())?;
        let written = lock(&node.desk.own).clone();
        let transport = SealedTransport(Arc::clone(&node.sealed));
        let own = written.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        let chitchat = spawn_chitchat(settings(&node, generation), own, &transport)
            .await
            .map_err(|error| error.to_string())?;
        node.desk.alive.store(true, Ordering::Relaxed);
        let now = Instant::now();
        Ok(Self {
            node,
            chitchat: Running(chitchat),
            generation,
            begun_at: now,
            written,
            write_after: now,
            pushes: 0,
            push_at: None,
            looked_at: VecDeque::new(),
            ticked_at: None,
            fingerprint: None,
            live: Vec::new(),
            calls: VecDeque::new(),
            namesakes: BTreeMap::new(),
            outside: 0,
        })
    }

    async fn run(&mut self, orders: &mut watch::Receiver<Order>) -> End {
        let node = Arc::clone(&self.node);
        let died = self.chitchat.0.termination_watcher();
        tokio::pin!(died);
        let (mut look_at, mut write_at) = (None, None);
        loop {
            let outcome = tokio::select! {
                ended = &mut died => Err(End::Failed(match ended {
                    Ok(()) => "chitchat stopped by itself".into(),
                    Err(error) => error.to_string(),
                })),
                ordered = orders.changed() => {
                    let order = *orders.borrow_and_update();
                    match (ordered, order) {
                        (Ok(()), Order::Run) => Ok(()),
                        (Ok(()), Order::Leave { within }) => {
                            self.leave(Instant::now() + within).await;
                            Err(End::Stopped)
                        }
                        (Err(_handle_dropped), Order::Run | Order::Leave { .. }) => Err(End::Stopped),
                    }
                }
                () = tokio::time::sleep_until(self.next_tick()) => self.tick().await,
                () = node.sealed.stirred.notified() => {
                    self.greet();
                    match self.next_look() {
                        // Here and now: a timer would have it awake once more, a millisecond later.
                        at if at <= Instant::now() => self.see(&mut look_at).await,
                        at => {
                            look_at.get_or_insert(at);
                            Ok(())
                        }
                    }
                }
                () = node.desk.heard_somebody.notified() => {
                    self.meet();
                    Ok(())
                }
                () = node.desk.changed.notified() => {
                    write_at.get_or_insert(self.write_after);
                    Ok(())
                }
                () = reached(look_at) => self.see(&mut look_at).await,
                () = reached(write_at) => {
                    write_at = None;
                    self.write().await
                }
                () = reached(self.push_at) => {
                    self.push();
                    Ok(())
                }
            };
            if let Err(end) = outcome {
                return end;
            }
        }
    }

    /// Once an interval; half of one later where there is somebody whose words will have it awake before.
    fn next_tick(&self) -> Instant {
        let slack = if self.live.is_empty() { Duration::ZERO } else { self.node.interval / 2 };
        self.ticked_at.map_or_else(Instant::now, |at| at + self.node.interval + slack)
    }

    /// The look that was due at `look_at`, or is out of turn; along with a tick that isn't far, so that it takes one
    /// wake-up for both.
    async fn see(&mut self, look_at: &mut Option<Instant>) -> Result<(), End> {
        *look_at = None;
        let due = self.ticked_at.is_none_or(|at| at.elapsed() >= self.node.interval * 3 / 4);
        if due { self.tick().await } else { self.look().await }
    }

    async fn tick(&mut self) -> Result<(), End> {
        self.ticked_at = Some(Instant::now());
        self.node.sealed.tell_traffic();
        self.node.tell_dropped();
        self.look().await?;
        self.call();
        Ok(())
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        match (self.looked_at.front(), self.looked_at.back()) {
            (Some(earliest), Some(last))
                if self.looked_at.len() >= LOOKS as usize && *earliest + LOOK * LOOKS > now =>
            {
                *last + LOOK
            }
            _ => now,
        }
    }

    /// Looks at what chitchat knows, and tells what is new.
    async fn look(&mut self) -> Result<(), End> {
        self.looked_at.push_back(Instant::now());
        while self.looked_at.len() > LOOKS as usize {
            self.looked_at.pop_front();
        }
        let sight = self.chitchat.0.with_chitchat(|chitchat| Sight::of(chitchat, &self.written)).await;
        if sight.overgrown {
            return Err(End::Failed("somebody fills the directory".into()));
        }
        match sight.own {
            Own::Intact => {}
            Own::Overwritten => self.write().await?,
            Own::Spoilt => return Err(End::Failed("somebody spoke in this node's name".into())),
        }
        self.live = sight.live;
        self.watch(sight.namesakes)?;
        let remembering = self.age() <= SETTLED;
        if remembering || self.fingerprint != Some(sight.fingerprint) {
            // Once more when the time of remembering is over.
            self.fingerprint = (!remembering).then_some(sight.fingerprint);
            self.tell_directory(remembering).await;
        }
        Ok(())
    }

    async fn tell_directory(&mut self, remembering: bool) {
        // Whoever told this node may not have told the others.
        self.node.sealed.has_news();
        let before = self.node.directory();
        let (mut directory, outside) =
            self.chitchat.0.with_chitchat(|chitchat| collapse(chitchat, &before)).await;
        if outside > self.outside {
            (self.node.tell)(News::Dropped { why: Dropped::Foreign, count: outside - self.outside });
        }
        self.outside = outside;
        let (left, live): (Vec<_>, Vec<_>) = directory
            .members
            .values()
            .filter(|entry| entry.live)
            .partition(|entry| entry.values.get(STATE).is_some_and(|state| state == LEFT));
        let addresses = |entries: Vec<&Entry>| entries.iter().map(|e| e.address).collect::<Vec<_>>();
        self.node.meet(&addresses(live), &addresses(left));
        if remembering {
            remember(&mut directory, before);
        }
        self.node.tell_directory(directory);
    }

    /// Looks for nodes of the same name.
    fn watch(&mut self, namesakes: Vec<Namesake>) -> Result<(), End> {
        for Namesake { id, heartbeat, live } in namesakes {
            let (address, outranks) = (id.gossip_advertise_addr, id.generation_id > self.generation);
            if address == self.node.address {
                // An earlier life of this very node.
                if outranks {
                    return Err(End::Outranked(id.generation_id));
                }
                continue;
            }
            if !self.namesakes.contains_key(&id) && self.namesakes.len() >= NAMESAKES {
                continue;
            }
            let now = Instant::now();
            let younger = id.generation_id < self.generation;
            let watched = self.namesakes.entry(id.clone()).or_insert(Watched {
                since: now,
                settled: None,
                told: false,
            });
            let settled = SETTLED + if younger { DEFERENCE } else { 0 };
            if now - watched.since < self.node.interval * settled {
                // This node may have moved: its last life at the old address takes a while to be seen as dead.
                continue;
            }
            if !live {
                if outranks {
                    return Err(End::Outranked(id.generation_id));
                }
            } else if heartbeat > *watched.settled.get_or_insert(heartbeat) && !watched.told {
                watched.told = true;
                (self.node.tell)(News::NameTaken { address, younger });
            }
        }
        Ok(())
    }

    /// Publishes what is to be published, to everybody at once.
    async fn write(&mut self) -> Result<(), End> {
        let values = lock(&self.node.desk.own).clone();
        if !self.chitchat.0.with_chitchat(|chitchat| sight::write(chitchat, &values)).await {
            return Err(End::Failed("somebody spoke in this node's name".into()));
        }
        self.written = values;
        self.node.sealed.has_news();
        self.write_after = Instant::now() + WRITE;
        self.pushes = 0;
        self.push();
        Ok(())
    }

    /// Tells everybody what was written last, and sees to it that they are told again.
    fn push(&mut self) {
        let listeners = self.listeners();
        if listeners.len() <= PUSHED {
            for address in listeners {
                self.say(address);
            }
        }
        self.pushes += 1;
        self.push_at = (self.pushes < PUSHES).then(|| Instant::now() + PUSH_AGAIN);
    }

    /// Answers those who have just proven themselves: what they said before that was lost.
    fn greet(&self) {
        for address in self.node.sealed.newcomers() {
            self.say(address);
        }
    }

    /// Talks to those who were heard otherwise.
    fn meet(&self) {
        for address in std::mem::take(&mut *lock(&self.node.desk.heard)) {
            self.say(address);
        }
    }

    /// Calls the next of those that don't answer, so that whoever was cut off is found again, however long it took.
    ///
    /// At first it is everybody this node has heard of: chitchat picks whom it talks to at random, and once somebody
    /// is live hardly any of the others, who may then wait seconds for their turn.
    fn call(&mut self) {
        if self.age() <= SETTLED {
            let mut silent = self.listeners();
            silent.retain(|address| !self.live.contains(address));
            // Others each time, where they are many.
            let skipped = self.age() as usize * PUSHED % silent.len().max(1);
            for address in silent.iter().cycle().skip(skipped).take(PUSHED.min(silent.len())) {
                self.say(*address);
            }
        }
        if self.calls.is_empty() {
            self.calls.extend(self.node.contacts());
        }
        let calls = if self.live.is_empty() { CALLS } else { 1 };
        let mut called = 0;
        while called < calls
            && let Some(address) = self.calls.pop_front()
        {
            if !self.live.contains(&address) {
                self.say(address);
                called += 1;
            }
        }
    }

    /// Says that this node leaves, until every member has been told often enough.
    async fn leave(&mut self, until: Instant) {
        lock(&self.node.desk.own).insert(STATE.into(), LEFT.into());
        self.node.sealed.count_last_words(&self.listeners());
        if self.write().await.is_err() {
            return;
        }
        loop {
            let lacking = self.node.sealed.without_last_words(LAST_WORDS);
            if lacking.is_empty() {
                return;
            }
            for address in lacking {
                self.say(address);
            }
            let again = Instant::now() + LEAVE_AGAIN;
            tokio::time::sleep_until(again.min(until)).await;
            if again >= until {
                return;
            }
        }
    }

    /// Who has to be told what is new, and that this node leaves: the live members.
    ///
    /// Who is live shows only after a while. Before that it is everybody this node has heard of: they know it too, and
    /// wait for what it has to say.
    fn listeners(&self) -> Vec<SocketAddr> {
        if self.age() > SETTLED {
            return self.live.clone();
        }
        let directory = self.node.directory();
        let there = |entry: &&Entry| entry.values.get(STATE).is_none_or(|state| state != LEFT);
        let heard_of = directory.members.values().filter(there).map(|entry| entry.address);
        let all: BTreeSet<SocketAddr> = heard_of.chain(self.live.iter().copied()).collect();
        all.into_iter().collect()
    }

    fn say(&self, to: SocketAddr) {
        self.node.sealed.has_news_for(to);
        // It fails only when chitchat is dead, which is noticed elsewhere.
        let _ = self.chitchat.0.gossip(to);
    }

    /// In intervals.
    fn age(&self) -> u32 {
        let intervals = self.begun_at.elapsed().as_nanos() / self.node.interval.as_nanos();
        u32::try_from(intervals).unwrap_or(u32::MAX)
    }
}

/// Fills in, from before chitchat was started again, whom and what it hasn't heard of yet.
fn remember(directory: &mut Directory, before: Directory) {
    for (name, entry) in before.members {
        let full = directory.members.len() >= MEMBERS;
        match directory.members.get_mut(&name) {
            // The same life, whose values come after its first signs.
            Some(now) if now.generation == entry.generation => {
                now.live |= entry.live;
                now.fill_in(entry.values);
            }
            Some(now) if now.live || now.generation > entry.generation => {}
            Some(now) => *now = entry,
            None if full => {}
            None => {
                directory.members.insert(name, entry);
            }
        }
    }
}

async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn settings(node: &Node, generation: u64) -> ChitchatConfig {
    ChitchatConfig {
        chitchat_id: ChitchatId::new(node.name.as_str(), generation, node.address),
        cluster_id: node.cluster.clone(),
        gossip_interval: node.interval,
        listen_addr: node.address,
        // They are called from here, names and all: chitchat would ask for names once a minute.
        seed_nodes: Vec::new(),
        failure_detector_config: FailureDetectorConfig {
            // Eight mean intervals of silence: no false alarm at 40 % loss.
            phi_threshold: 8.0,
            sampling_window_size: 200,
            // The default of 5 s would weigh on every mean for ever.
            initial_interval: node.interval,
            max_interval: node.interval * 10,
            dead_node_grace_period: Duration::from_secs(600),
        },
        marked_for_deletion_grace_period: Duration::from_secs(900),
        catchup_callback: None,
        extra_liveness_predicate: None,
        protocol_version: ProtocolVersion::V1,
    }
}
