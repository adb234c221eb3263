//! Gossip, as the driver uses it: members to talk to, what they see of the backends, what operators have said.
//!
//! Nothing of it moves a VIP by itself, and everything goes on without it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Driver;
use crate::core::{Input, MemberId, MemberState, Verdict, Word};
use crate::guard::clock;
use crate::node::directory::{self, Clocks, Failover};
use crate::node::targets;
use crate::peers::gossip::{Directory, Gossip, LEFT, News, STATE};
use crate::telemetry::{self, Channel, Direction, Event};
use crate::wire::member_id;

/// How long a leave may take to reach everybody.
const LEAVE: Duration = Duration::from_millis(300);

/// A word to read the file that is older than this, or so much ahead of this node's clock, isn't meant for now.
const FRESH: Duration = Duration::from_secs(60);

/// What the driver remembers of gossip.
#[derive(Default)]
pub(in crate::node) struct Hearsay {
    /// `None` only when no thread could be had.
    pub(in crate::node) gossip: Option<Gossip>,
    /// What was published last.
    told: BTreeMap<String, String>,
    /// What each member was last heard to see of each service.
    viewed: BTreeMap<(MemberId, usize), Vec<Verdict>>,
    /// What gossip said last.
    directory: Directory,
    /// What each member says of its latest takeover of each VIP.
    failovers: BTreeMap<(MemberId, usize), Failover>,
    /// When this node last had everybody read their files, in milliseconds since the epoch.
    reload_word: Option<u64>,
    /// When each member last did.
    reloads_asked: BTreeMap<MemberId, u64>,
    /// Whom gossip has been told of.
    met: BTreeSet<SocketAddr>,
    /// Who has said by gossip what there is to know.
    known: BTreeSet<MemberId>,
    synced: bool,
    leaving: bool,
    /// Another node of this one's name was there first.
    pub(in crate::node) name_taken: Option<SocketAddr>,
}

impl Hearsay {
    pub(in crate::node) fn new(gossip: Gossip) -> Self {
        Self { gossip: Some(gossip), ..Self::default() }
    }

    /// Has gossip talk to those of `peers` that it hasn't been told of.
    pub(super) fn meet(&mut self, peers: &[SocketAddr]) {
        let peers = peers.iter().copied().collect();
        let met = std::mem::replace(&mut self.met, peers);
        if let Some(gossip) = &self.gossip {
            gossip.meet(self.met.difference(&met).copied());
        }
    }

    /// Nothing is known any more of what others see.
    pub(super) fn forget_views(&mut self) {
        self.viewed.clear();
    }

    /// A member's latest takeover of a VIP, by its own word.
    pub(super) fn failover(&self, member: MemberId, vip: usize) -> Option<Failover> {
        self.failovers.get(&(member, vip)).copied()
    }
}

impl Driver {
    pub(super) fn hear_gossip_datagram(&self, datagram: Vec<u8>, from: SocketAddr) {
        if let Some(gossip) = &self.hearsay.gossip {
            gossip.datagram(datagram, from);
        }
    }

    pub(super) fn hear_gossip(&mut self, news: News) {
        match news {
            News::Directory(directory) => {
                self.hear_directory(&directory);
                self.hearsay.directory = directory;
            }
            News::NameTaken { address, younger } => {
                let node = &self.identity.name;
                Event::PeerNameTaken { node, address: &address.to_string(), younger }.tell();
                if younger {
                    self.hearsay.name_taken = Some(address);
                    self.leave();
                }
            }
            News::Counted { received, sent, bytes_received, bytes_sent } => {
                self.metrics.messages(Channel::Gossip, Direction::In, received);
                self.metrics.messages(Channel::Gossip, Direction::Out, sent);
                self.metrics.gossip_bytes(Direction::In, bytes_received);
                self.metrics.gossip_bytes(Direction::Out, bytes_sent);
            }
            News::Rejected(reason) => self.rejected(crate::wire::seal::Channel::Gossip, reason),
            News::Dropped { why, count } => {
                self.metrics.rejected(Channel::Gossip, why.as_str(), count);
                tracing::debug!(reason = why.as_str(), count, "gossip left something out");
            }
            News::Died { restarts } => Event::GossipDied { restarts }.tell(),
        }
    }

    /// What the others say means something else by another configuration.
    pub(super) fn hear_directory_again(&mut self) {
        let directory = std::mem::take(&mut self.hearsay.directory);
        self.hear_directory(&directory);
        self.hearsay.directory = directory;
    }

    /// An operator's word is new here. What a starting node is told may have been said long ago.
    pub(super) fn count_convergence(&self, word: Word) {
        if word.stamp.writer != member_id(&self.identity.name) && self.core.is_ready() {
            let age = wall_clock().saturating_sub(word.stamp.milliseconds);
            self.metrics.converged(Duration::from_millis(age));
        }
    }

    fn hear_directory(&mut self, directory: &Directory) {
        self.news |= self.targets.hear(directory, clock::now());
        let clocks = Clocks { wall: wall_clock(), now: clock::now() };
        for (name, entry) in &directory.members {
            let id = member_id(name);
            // Whoever leaves passes on what it was told last with its leave.
            for (key, value) in
                entry.values.range("adm/".to_owned()..).take_while(|(key, _)| key.starts_with("adm/"))
            {
                match directory::word(value, clocks) {
                    Some((target, word)) => self.handle(Input::Said { target, word }),
                    None => tracing::debug!(member = name, key, "a word that can't be read"),
                }
            }
            if entry.values.get(STATE).is_some_and(|state| state == LEFT) {
                self.peers.forget(entry.address.ip());
                continue;
            }
            if entry.live && self.peers.know([entry.address]) {
                self.tell_of_peers();
            }
            if let Some(at) = directory::reload_asked(&entry.values) {
                self.hear_reload(id, name, at, clocks.wall);
            }
            let views = directory::views(&entry.values, &self.config, &self.digest);
            self.retract_views(id, &views);
            for (service, verdicts) in views {
                if self.hearsay.viewed.get(&(id, service)) != Some(&verdicts) {
                    self.hearsay.viewed.insert((id, service), verdicts.clone());
                    self.handle(Input::Viewed { member: id, service, verdicts });
                }
            }
        }
        let told = directory.members.iter().flat_map(|(name, entry)| {
            let of = member_id(name);
            directory::failovers(&entry.values, &self.config).map(move |(vip, told)| ((of, vip), told))
        });
        let failovers = told.collect();
        self.news |= self.hearsay.failovers != failovers;
        self.hearsay.failovers = failovers;
        let there: BTreeSet<MemberId> = directory.members.keys().map(|name| member_id(name)).collect();
        self.hearsay.viewed.retain(|(id, _), _| there.contains(id));
        self.hearsay.reloads_asked.retain(|id, _| there.contains(id));
        let told = directory.members.iter().filter(|(_, entry)| entry.values.contains_key(STATE));
        self.hearsay.known = told.map(|(name, _)| member_id(name)).collect();
        self.sync();
    }

    /// Has every other node read its file, as this one has.
    pub(super) fn tell_all_to_reload(&mut self) {
        let now = wall_clock();
        self.hearsay.reload_word = Some(self.hearsay.reload_word.map_or(now, |before| now.max(before + 1)));
    }

    /// A member has everybody read their files: once for each time, and not for what was said long ago.
    fn hear_reload(&mut self, id: MemberId, name: &str, at: u64, wall: u64) {
        let before = self.hearsay.reloads_asked.insert(id, at);
        if before != Some(at) && at.abs_diff(wall) < FRESH.as_millis() as u64 {
            self.reloads.ask(format!("operator on {name}"), false, None);
        }
    }

    /// A member that has come back with another file says nothing of these backends any more.
    fn retract_views(&mut self, member: MemberId, views: &[(usize, Vec<Verdict>)]) {
        for service in 0..self.config.services.len() {
            let says = views.iter().any(|(at, _)| *at == service);
            if !says && let Some(last) = self.hearsay.viewed.remove(&(member, service)) {
                let verdicts = vec![Verdict::Unknown; last.len()];
                self.handle(Input::Viewed { member, service, verdicts });
            }
        }
    }

    /// The core has forgotten a member: what it says when it comes back is news.
    pub(super) fn forget_views(&mut self, member: MemberId) {
        self.hearsay.viewed.retain(|(id, _), _| *id != member);
    }

    /// Once everybody who is heard has also said by gossip what there is to know, this node may serve.
    ///
    /// Either may come first: the advertisement or the gossip.
    pub(super) fn sync(&mut self) {
        if self.hearsay.synced {
            return;
        }
        let now = clock::now();
        let members = self.core.members().iter();
        let alive: Vec<_> = members.filter(|(_, member)| member.state(now) == MemberState::Alive).collect();
        if !alive.is_empty() && alive.iter().all(|(id, _)| self.hearsay.known.contains(id)) {
            self.hearsay.synced = true;
            self.handle(Input::Synced);
        }
    }

    /// Publishes what has changed.
    pub(super) fn gossip(&mut self) {
        let Some(gossip) = &self.hearsay.gossip else { return };
        let me = member_id(&self.identity.name);
        let admin = targets::reachable(self.config.admin.listen, self.identity.address);
        let mut own = directory::own(&self.core, &self.config, me, &self.digest, telemetry::VERSION, admin);
        own.extend(self.vips.iter().enumerate().filter_map(|(at, vip)| {
            let term = vip.story.taken_over?;
            let told = Failover { term, trace: self.trace(at, term) };
            Some(directory::failover(&self.config.vips[at].name, told))
        }));
        own.extend(self.hearsay.reload_word.map(directory::reload));
        for (key, value) in &own {
            if self.hearsay.told.get(key) != Some(value) {
                gossip.publish(key.clone(), value.clone());
            }
        }
        self.hearsay.told = own;
    }

    /// Says goodbye, and is told again and again until that has reached everybody.
    pub(super) fn has_left_gossip(&mut self) -> bool {
        let Some(gossip) = &self.hearsay.gossip else { return true };
        if !std::mem::replace(&mut self.hearsay.leaving, true) {
            gossip.leave(LEAVE);
        }
        gossip.has_left()
    }
}

fn wall_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
