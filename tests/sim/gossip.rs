//! Gossip as what it comes to: what nodes publish reaches the others late, out of step, and by way of third nodes.
//!
//! A call names what the caller knows; the answer brings what it lacks, and what the other one lacks follows: so
//! nothing spreads between two of whom one can't hear the other. The driver's part is as in the daemon: what it
//! publishes, what it makes of an entry, and when a starting node knows what there is to know.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use chinthe::core::{Input, MemberId, MemberState, Target, Time, Verdict, Word};

use crate::machine::member;
use crate::world::{Event, World};

/// Whoever hasn't been heard by gossip for so many intervals is called only now and then.
const LIVE: u32 = 8;
/// What encoding, sealing and two threads take, at most.
const THREADS: Duration = Duration::from_millis(10);
/// So many of a thousand messages are much later than that, by up to this.
const LATE: u32 = 30;
const LATER: Duration = Duration::from_millis(800);

/// One daemon's gossip.
#[derive(Debug)]
pub(crate) struct Gossip {
    /// The thread runs.
    alive: bool,
    /// What is known of each machine, its own entry too.
    directory: Vec<Option<Entry>>,
    /// When each was last heard.
    heard_at: Vec<Time>,
    written_at: Time,
    /// A write is on its way.
    writes: bool,
    /// What the core was last told that each machine sees.
    viewed: BTreeMap<usize, Vec<Verdict>>,
    synced: bool,
}

/// What is known of a machine: the latest life's latest entry.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    life: u64,
    version: u64,
    published: Rc<Published>,
}

/// What a node publishes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Published {
    /// It has said that it leaves.
    left: bool,
    config: u64,
    /// Of the service's backends, in the file's order; a witness has none.
    verdicts: Option<Vec<Verdict>>,
    words: Vec<(Target, Word)>,
}

/// What two nodes tell each other.
#[derive(Debug, Clone)]
pub(crate) enum Rumour {
    Call,
    Answer(Rc<[Option<Entry>]>),
    Rest(Rc<[Option<Entry>]>),
}

impl Entry {
    fn is_newer_than(&self, other: Option<&Self>) -> bool {
        other.is_none_or(|other| (self.life, self.version) > (other.life, other.version))
    }
}

impl Gossip {
    /// It knows of nobody.
    pub(crate) fn new(machines: usize, now: Time) -> Self {
        Self {
            alive: true,
            directory: vec![None; machines],
            heard_at: vec![Time::ZERO; machines],
            written_at: now,
            writes: false,
            viewed: BTreeMap::new(),
            synced: false,
        }
    }
}

impl World {
    /// A daemon's gossip begins with its daemon.
    pub(crate) fn start_gossip(&mut self, index: usize) {
        let Some(interval) = self.common.gossip else { return };
        let Some(life) = self.life(index) else { return };
        self.write(index);
        let wait = self.chance.up_to(interval);
        self.later(wait, Event::GossipTick { machine: index, life });
    }

    /// Something that a daemon publishes may have changed.
    pub(crate) fn stir(&mut self, index: usize) {
        let Some(interval) = self.common.gossip else { return };
        let now = self.now;
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        if !std::mem::replace(&mut daemon.gossip.writes, true) {
            let (life, at) = (daemon.life, (daemon.gossip.written_at + interval).max(now));
            let wait = self.chance.up_to(THREADS);
            self.at(at + wait, Event::GossipWrite { machine: index, life });
        }
    }

    /// A daemon's gossip has its turn: it calls one of those that it hears, and one of those that it doesn't.
    pub(crate) fn gossip(&mut self, index: usize, life: u64) {
        let Some(interval) = self.common.gossip.filter(|_| self.lives_on(index, life)) else { return };
        self.later(interval, Event::GossipTick { machine: index, life });
        if !self.gossips(index) {
            return;
        }
        let now = self.now;
        let Some(daemon) = &self.machines[index].daemon else { return };
        let heard_at = &daemon.gossip.heard_at;
        let is_live = |other: &usize| now.since(heard_at[*other]) < interval * LIVE;
        let (heard, silent): (Vec<usize>, Vec<usize>) =
            (0..heard_at.len()).filter(|other| *other != index).partition(is_live);
        for others in [heard, silent].iter().filter(|others| !others.is_empty()) {
            let to = self.chance.pick(others);
            self.tell_rumour(index, to, &Rumour::Call);
        }
    }

    /// Publishes what has changed, and says so to everybody.
    pub(crate) fn publish(&mut self, index: usize, life: u64) {
        if !self.lives_on(index, life) {
            return;
        }
        if !self.gossips(index) {
            // As soon as it can.
            let wait = self.common.gossip.unwrap_or_default();
            return self.later(wait, Event::GossipWrite { machine: index, life });
        }
        if self.write(index) {
            (0..self.machines.len()).for_each(|to| self.tell_rumour(index, to, &Rumour::Call));
        }
    }

    pub(crate) fn hear_rumour(&mut self, index: usize, from: usize, rumour: Rumour) {
        if !self.gossips(index) || !self.machines[index].on_network() {
            return;
        }
        let now = self.now;
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        daemon.gossip.heard_at[from] = now;
        let known = |daemon: &crate::daemon::Daemon| Rc::from(daemon.gossip.directory.as_slice());
        match rumour {
            Rumour::Call => {
                let answer = Rumour::Answer(known(daemon));
                self.tell_rumour(index, from, &answer);
            }
            Rumour::Answer(theirs) => {
                let mut mine = daemon.gossip.directory.iter().zip(theirs.iter());
                let lacks = mine.any(|(mine, theirs)| {
                    mine.as_ref().is_some_and(|mine| mine.is_newer_than(theirs.as_ref()))
                });
                let rest = lacks.then(|| Rumour::Rest(known(daemon)));
                self.learn(index, &theirs);
                if let Some(rest) = rest {
                    self.tell_rumour(index, from, &rest);
                }
            }
            Rumour::Rest(theirs) => self.learn(index, &theirs),
        }
    }

    /// The thread dies, or is there again: what it knew of the others is gone, what its driver made of it isn't.
    pub(crate) fn set_gossip(&mut self, index: usize, alive: bool) {
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        if !std::mem::replace(&mut daemon.gossip.alive, alive) && alive {
            for other in (0..daemon.gossip.directory.len()).filter(|other| *other != index) {
                daemon.gossip.directory[other] = None;
            }
        }
    }

    /// A daemon that stops in order tells everybody who answers, and is given the time for that.
    pub(crate) fn leave_gossip(&mut self, index: usize) {
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        let Some(own) = daemon.gossip.directory[index].clone() else { return };
        let published =
            Rc::new(Published { left: true, ..Published::of(index, daemon, own.published.config) });
        let (life, version) = (own.life, own.version + 1);
        daemon.gossip.directory[index] = Some(Entry { life, version, published });
        let all: Rc<[Option<Entry>]> = Rc::from(daemon.gossip.directory.as_slice());
        if self.gossips(index) {
            for to in 0..self.machines.len() {
                if self.network.joined(index, to) {
                    self.tell_rumour(index, to, &Rumour::Rest(Rc::clone(&all)));
                }
            }
        }
    }

    /// Once everybody who is heard has also said by gossip what there is to know, a starting node may serve.
    pub(crate) fn sync(&mut self, index: usize) {
        if self.common.gossip.is_none() {
            return;
        }
        let local = self.local(index);
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        if daemon.gossip.synced {
            return;
        }
        let members = daemon.core.members().iter();
        let alive = members.filter(|(_, member)| member.state(local) == MemberState::Alive);
        let alive: Vec<MemberId> = alive.map(|(id, _)| id).collect();
        let known = daemon.gossip.directory.iter().enumerate().filter(|(_, entry)| entry.is_some());
        if !alive.is_empty() && alive.iter().all(|id| known.clone().any(|(n, _)| member(n) == *id)) {
            daemon.gossip.synced = true;
            self.handle(index, Input::Synced);
        }
    }

    /// The core has forgotten a member: what it says when it comes back is news.
    pub(crate) fn forget_views(&mut self, index: usize, of: MemberId) {
        if let Some(daemon) = &mut self.machines[index].daemon {
            daemon.gossip.viewed.retain(|other, _| member(*other) != of);
        }
    }

    /// Milliseconds since the epoch, as a machine has them.
    pub(crate) fn wall_clock(&self, index: usize) -> u64 {
        const EPOCH: i64 = 1_700_000_000_000;
        let now = i64::try_from(self.now.as_nanos() / 1_000_000).unwrap_or(i64::MAX / 2);
        (EPOCH + now + self.machines[index].skew).unsigned_abs()
    }

    fn life(&self, index: usize) -> Option<u64> {
        self.machines[index].daemon.as_ref().map(|daemon| daemon.life)
    }

    fn gossips(&self, index: usize) -> bool {
        let machine = &self.machines[index];
        machine.daemon_runs() && machine.daemon.as_ref().is_some_and(|daemon| daemon.gossip.alive)
    }

    /// Whether there was anything new to write.
    fn write(&mut self, index: usize) -> bool {
        let (now, config) = (self.now, self.machines[index].config);
        let Some(daemon) = &mut self.machines[index].daemon else { return false };
        (daemon.gossip.writes, daemon.gossip.written_at) = (false, now);
        let published = Published::of(index, daemon, config);
        let own = daemon.gossip.directory[index].as_ref();
        if own.is_some_and(|own| *own.published == published) {
            return false;
        }
        let (life, version) = (daemon.life, own.map_or(1, |own| own.version + 1));
        daemon.gossip.directory[index] = Some(Entry { life, version, published: Rc::new(published) });
        true
    }

    fn tell_rumour(&mut self, from: usize, to: usize, rumour: &Rumour) {
        if from == to || !self.machines[from].on_network() {
            return;
        }
        for wait in self.network.carry(from, to, &mut self.chance).into_iter().flatten() {
            let late = if self.chance.per_mille(LATE) { LATER } else { THREADS };
            let wait = wait + self.chance.up_to(late);
            self.later(wait, Event::Rumour { to, from, rumour: rumour.clone() });
        }
    }

    /// By another file, what the others say means something else.
    pub(crate) fn learn_again(&mut self, index: usize) {
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        daemon.gossip.viewed.clear();
        let known = daemon.gossip.directory.clone();
        let others = daemon.gossip.directory.iter_mut().enumerate().filter(|(other, _)| *other != index);
        others.for_each(|(_, entry)| *entry = None);
        self.learn(index, &known);
    }

    /// Takes in what another one knows, and tells the core what is new of it.
    fn learn(&mut self, index: usize, theirs: &[Option<Entry>]) {
        let (local, wall) = (self.local(index), self.wall_clock(index));
        let config = self.machines[index].config;
        let Some(daemon) = &mut self.machines[index].daemon else { return };
        let Gossip { directory, viewed, .. } = &mut daemon.gossip;
        let mut inputs = Vec::new();
        for (other, entry) in theirs.iter().enumerate().filter(|(other, _)| *other != index) {
            let Some(entry) = entry.as_ref().filter(|e| e.is_newer_than(directory[other].as_ref())) else {
                continue;
            };
            directory[other] = Some(entry.clone());
            let published = &entry.published;
            for (target, word) in &published.words {
                let left = |at: u64| Duration::from_millis(at.saturating_sub(wall));
                let word = Word { ends: word.expires.map(|at| local + left(at)), ..*word };
                inputs.push(Input::Said { target: target.clone(), word });
            }
            if published.left {
                continue;
            }
            // Whoever has another file says nothing of these backends.
            let verdicts = published.verdicts.clone().filter(|_| published.config == config);
            let retracted = || viewed.get(&other).map(|last| vec![Verdict::Unknown; last.len()]);
            if let Some(told) = verdicts.clone().or_else(retracted)
                && viewed.get(&other) != Some(&told)
            {
                match verdicts {
                    Some(verdicts) => viewed.insert(other, verdicts),
                    None => viewed.remove(&other),
                };
                inputs.push(Input::Viewed { member: member(other), service: 0, verdicts: told });
            }
        }
        if daemon.gossip.synced && inputs.is_empty() {
            return;
        }
        daemon.mail.extend(inputs);
        self.turn_daemon(index);
    }
}

impl Published {
    fn of(index: usize, daemon: &crate::daemon::Daemon, config: u64) -> Self {
        let service = daemon.core.services().first();
        let verdicts = service.map(|s| s.backends().iter().map(|b| b.views().of(member(index))).collect());
        let words = daemon.core.administration().words();
        // How long it lasts is told by the wall clock alone.
        let words = words.map(|(target, word)| (target.clone(), Word { ends: None, ..*word }));
        Self { left: false, config, verdicts, words: words.collect() }
    }
}

#[cfg(test)]
mod tests {
    use chinthe::core::{AdminState, Setting};

    use super::*;
    use crate::faults::Fault;
    use crate::machine::{Common, Node, node_name};
    use crate::operators::Command;
    use crate::settled::converged;
    use crate::trace::Trace;

    fn three() -> World {
        let interval = Duration::from_millis(100);
        let common = Common { gossip: Some(interval), ..Common::plain(interval) };
        let node = |base| Node { base, preempt: true, service: None, checks: vec![] };
        let nodes = [node(102), node(101), node(100)];
        let mut world = World::new(1, &nodes, &common, &[0; 3], Trace::silent());
        (0..3).for_each(|index| world.start(index));
        world.run_to(world.now + Duration::from_secs(8));
        assert_eq!(converged(&world), Ok(vec![Some(0)]));
        world
    }

    fn drain(node: usize, lasting: Option<Duration>) -> Command {
        let target = Target::Node { node: node_name(node) };
        Command { machine: 2, target, setting: Setting::State(AdminState::Drain), lasting }
    }

    #[test]
    fn a_word_reaches_a_node_by_way_of_a_third_one() {
        let mut world = three();
        for (from, to) in [(0, 2), (2, 0)] {
            world.suffer(&Fault::Cut { from, to, cut: true });
        }
        world.command(&drain(0, None));
        world.run_to(world.now + Duration::from_secs(3));
        assert_eq!(converged(&world), Ok(vec![Some(1)]), "the drained holder has handed over");
    }

    #[test]
    fn a_word_outlives_a_restart_of_all_but_one_and_ends_everywhere() {
        let mut world = three();
        world.command(&drain(0, Some(Duration::from_secs(20))));
        for machine in [0, 1] {
            world.suffer_for(&Fault::PowerOff(machine), Duration::from_secs(2));
            world.suffer_for(&Fault::Start(machine), Duration::from_secs(4));
        }
        world.suffer_for(&Fault::Terminate(2), Duration::from_secs(2));
        world.suffer_for(&Fault::Start(2), Duration::from_secs(4));
        assert_eq!(converged(&world), Ok(vec![Some(1)]), "n1 is still drained");
        world.run_to(world.now + Duration::from_secs(8));
        assert_eq!(converged(&world), Ok(vec![Some(0)]), "it is no longer");
    }

    #[test]
    fn a_word_said_to_a_node_that_leaves_at_once_is_kept_by_the_others() {
        let mut world = three();
        world.command(&drain(0, None));
        world.command(&drain(2, None));
        world.suffer_for(&Fault::Terminate(2), Duration::from_secs(2));
        assert_eq!(converged(&world), Ok(vec![Some(1)]));
        world.suffer_for(&Fault::Start(2), Duration::from_secs(4));
        let n3 = world.machines[2].daemon.as_ref().expect("it runs");
        let drained = n3.core.administration().node(&node_name(2), world.local(2));
        assert_eq!(drained, AdminState::Drain, "it has learnt what it was told before");
    }

    #[test]
    fn nothing_spreads_where_packets_pass_one_way_only() {
        let mut world = three();
        for to in [0, 1] {
            world.suffer(&Fault::Cut { from: 2, to, cut: true });
        }
        world.command(&drain(1, None));
        world.run_to(world.now + Duration::from_secs(3));
        assert!(converged(&world).is_err_and(|what| what.contains("know different words")));
    }
}
