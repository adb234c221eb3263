//! What the driver tells of: the core's transitions, and what it sees by comparing.

use std::time::Duration;

use super::Driver;
use crate::core::{Change, Input, MemberId, MemberState, Message, Time, Transition, Verdict, VipState};
use crate::guard::clock;
use crate::node::directory::Failover;
use crate::proxy::ConnectWatch;
use crate::telemetry::{Event, FailoverTrace, Part, tell_failover, tell_transition};
use crate::wire::member_id;

/// A new holder that nobody connects to in this time has no first connection worth telling of.
const FIRST_CONNECTION: Duration = Duration::from_secs(60);

/// For so long after a takeover connects are named after it: clients that sent into the gap repeat that after 1 and
/// 3 s.
const FIRST_MOMENTS: Duration = Duration::from_secs(5);

/// This node has just taken a VIP.
pub(in crate::node) struct FirstMoments {
    vip: usize,
    until: Time,
    connects: ConnectWatch,
}

/// What is remembered of a VIP until it can be told.
#[derive(Default)]
pub(in crate::node) struct Story {
    /// Who was last seen to hold it.
    holder: Option<MemberId>,
    /// Since when nobody is seen to.
    nobody_since: Option<Time>,
    /// A takeover whose first announcement is awaited: from whom, and when the kernel had the address.
    taken: Option<(Transition, Option<MemberId>, Time)>,
    /// When the guard was asked to let go.
    letting_go: Option<Time>,
    /// The term of this node's latest takeover, once the network has been told.
    pub(super) taken_over: Option<u32>,
    /// This node has taken it, and awaits its first client: the term, since when, and how many it had before.
    awaiting: Option<(u32, Time, u64)>,
}

impl Story {
    /// The guard is asked to remove the address.
    pub(super) fn letting_go(&mut self, now: Time) {
        self.letting_go.get_or_insert(now);
    }
}

impl Driver {
    pub(super) fn tell_of_transition(&mut self, transition: Transition) {
        let now = clock::now();
        let vip = transition.vip;
        tell_transition(self.name(vip), &transition);
        let story = &mut self.vips[vip].story;
        let letting_go = story.letting_go.take();
        if transition.to == VipState::Active {
            story.taken = Some((transition, story.holder, now));
        } else if transition.from == VipState::Active {
            (story.taken, story.awaiting) = (None, None);
            if let Some(tracing) = &self.tracing {
                // Whoever takes it next does so by the next election.
                let term = transition.term.saturating_add(1);
                let part = Part { vip: self.name(vip), term, from: Some(&self.identity.name), to: None };
                tracing.release(&part, &transition, letting_go.map_or(Duration::ZERO, |at| now.since(at)));
            }
        }
    }

    /// The guard has told the network where a VIP is; the first time, that is the end of a takeover.
    pub(super) fn announced(&mut self, vip: usize, failed: [u32; 2], first: bool) {
        let addresses = &self.config.vips[vip].addresses;
        let ipv6 = addresses.iter().filter(|address| address.ip.is_ipv6()).count() as u64;
        for (kind, all, failed) in
            [("garp", addresses.len() as u64 - ipv6, failed[0]), ("na", ipv6, failed[1])]
        {
            self.metrics.announcement(vip, kind, all.saturating_sub(failed.into()));
            self.metrics.announcement_failed(vip, failed.into());
        }
        if !first {
            return;
        }
        let Some((taken, from, held_at)) = self.vips[vip].story.taken.take() else { return };
        let Some(phases) = taken.phases else { return };
        let now = clock::now();
        let announce = now.since(held_at);
        let total = phases.detect + phases.elect + phases.assign + announce;
        self.metrics.failover_announced(vip, announce, total);
        let connects = ConnectWatch::new(&self.proxy);
        self.first_moments = Some(FirstMoments { vip, until: now + FIRST_MOMENTS, connects });
        self.vips[vip].story.taken_over = Some(taken.term);
        self.news = true;
        tell_failover(self.name(vip), &taken, announce, &self.trace(vip, taken.term).trace.to_string());
        if let Some(tracing) = &self.tracing {
            let from = from.map(|id| self.member_name(id));
            let (from, to) = (from.as_deref(), Some(self.identity.name.as_str()));
            tracing.failover(&Part { vip: self.name(vip), term: taken.term, from, to }, &taken, announce);
            self.vips[vip].story.awaiting = Some((taken.term, now, self.connections()));
        }
    }

    /// A new holder says when it has its first client, as far as its looks every few milliseconds can tell.
    pub(super) fn tell_of_first_connections(&mut self, now: Time) {
        for vip in 0..self.vips.len() {
            let Some((term, since, before)) = self.vips[vip].story.awaiting else { continue };
            let came = self.connections() > before;
            if came && let Some(tracing) = &self.tracing {
                let to = Some(self.identity.name.as_str());
                let part = Part { vip: self.name(vip), term, from: None, to };
                tracing.first_connection(&part, now.since(since));
            }
            if came || now.since(since) > FIRST_CONNECTION {
                self.vips[vip].story.awaiting = None;
            }
        }
    }

    /// Names the first connects after a takeover after it.
    pub(super) fn tell_of_first_connects(&mut self, now: Time) {
        let Some(first) = &mut self.first_moments else { return };
        for (number, after) in first.connects.look(&self.proxy) {
            if let Some(service) = self.numbers.service(number) {
                self.metrics.connected_after_failover(service, first.vip, after);
            }
        }
        if now > first.until {
            self.first_moments = None;
        }
    }

    /// How many clients this node has accepted.
    fn connections(&self) -> u64 {
        self.proxy.counters().services.iter().map(|service| service.connections).sum()
    }

    /// Tells what has become of members. True when there was anything.
    pub(super) fn tell_of_members(&mut self, now: Time) -> bool {
        let mut changed = false;
        for (_, member) in self.core.members().iter() {
            let (name, state) = (member.name(), member.state(now));
            let Some(known) = self.members.get_mut(name) else {
                let address = &member.address().to_string();
                Event::MemberJoined { member: name, address, state: state.as_str() }.tell();
                self.metrics.member(state);
                self.members.insert(name.to_owned(), state);
                changed = true;
                continue;
            };
            let from = std::mem::replace(known, state);
            changed |= from != state;
            match (from, state) {
                (MemberState::Alive, MemberState::Alive)
                | (MemberState::Suspect, MemberState::Suspect)
                | (MemberState::Dead, MemberState::Dead)
                | (MemberState::Left, MemberState::Left) => {}
                // Doubt comes and goes; what it comes to is told.
                (_, MemberState::Suspect) | (MemberState::Suspect, MemberState::Alive) => {}
                (MemberState::Dead | MemberState::Left, MemberState::Alive) => {
                    self.metrics.member(state);
                    Event::MemberReturned { member: name, from: from.as_str() }.tell();
                }
                (_, MemberState::Dead) => {
                    self.metrics.member(state);
                    Event::MemberDead { member: name }.tell();
                }
                (_, MemberState::Left) => {
                    self.metrics.member(state);
                    Event::MemberLeft { member: name }.tell();
                }
            }
        }
        changed
    }

    /// Every node says when it sees a VIP with another node than before. That nobody holds one is no news yet:
    /// between two holders there is a moment.
    pub(super) fn tell_of_holders(&mut self, now: Time) {
        for vip in 0..self.vips.len() {
            let story = &mut self.vips[vip].story;
            let Some(holder) = self.core.holder(vip, now) else {
                story.nobody_since.get_or_insert(now);
                continue;
            };
            let (before, nobody_since) = (story.holder.replace(holder), story.nobody_since.take());
            if before == Some(holder) {
                continue;
            }
            let (from, to) = (before.map(|id| self.member_name(id)), self.member_name(holder));
            let (from, term) = (from.as_deref(), self.core.elections()[vip].term());
            let trace_id = &self.trace(vip, term).trace.to_string();
            Event::VipMoved { vip: self.name(vip), from, to: &to, term, trace_id }.tell();
            let me = member_id(&self.identity.name);
            if holder != me
                && before.is_some_and(|before| before != me)
                && let Some(tracing) = &self.tracing
            {
                let since = before.map_or(now, |before| self.last_word(before, nobody_since, now));
                let part = Part { vip: self.name(vip), term, from, to: Some(&to) };
                tracing.observe(&part, now.since(since));
            }
        }
    }

    /// Whether a word says that a VIP has moved, or is about to: that is to be shown at once.
    pub(super) fn is_of_a_holder(&self, input: &Input) -> bool {
        let Input::Heard { from, message, .. } = input else {
            return matches!(input, Input::GuardResigned { .. });
        };
        let Message::Advertisement(advertisement) = message else {
            return matches!(message, Message::Resignation(_));
        };
        advertisement.vips.iter().filter(|part| part.state == VipState::Active).any(|part| {
            let known = self.core.elections().iter().position(|election| election.id() == part.vip);
            known.is_some_and(|vip| self.vips[vip].story.holder != Some(*from))
        })
    }

    /// When a holder was last heard, if it has fallen silent; else when it was seen to hold no more.
    fn last_word(&self, of: MemberId, nobody_since: Option<Time>, now: Time) -> Time {
        match self.core.members().get(of) {
            Some(member) if member.state(now) > MemberState::Alive => member.heard_at(),
            Some(_) | None => nobody_since.unwrap_or(now),
        }
    }

    pub(super) fn tell_of_readiness(&mut self) {
        let ready = self.core.is_ready();
        if std::mem::replace(&mut self.was_ready, ready) == ready {
            return;
        }
        let node = &self.identity.name;
        match (ready, self.leaving_since) {
            (true, _) => Event::NodeReady { node }.tell(),
            (false, None) => Event::NodeNotReady { node }.tell(),
            // Told as stopping.
            (false, Some(_)) => {}
        }
    }

    /// The trace of the failover that came with an election.
    pub(super) fn trace(&self, vip: usize, term: u32) -> FailoverTrace {
        FailoverTrace::of(&self.config.cluster.name, self.name(vip), term)
    }

    /// The trace of the latest failover of a VIP, by the word of who holds it: none, while that one hasn't said so or
    /// speaks of an earlier one.
    pub(super) fn latest_failover(&self, vip: usize, now: Time) -> Option<FailoverTrace> {
        let holder = self.core.holder(vip, now)?;
        let told = if holder == member_id(&self.identity.name) {
            let term = self.vips[vip].story.taken_over?;
            Failover { term, trace: self.trace(vip, term) }
        } else {
            self.hearsay.failover(holder, vip)?
        };
        (told.term == self.core.elections()[vip].term()).then_some(told.trace)
    }

    fn member_name(&self, id: MemberId) -> String {
        if id == member_id(&self.identity.name) {
            return self.identity.name.clone();
        }
        let known = self.core.members().get(id).map(|member| member.name().to_owned());
        known.unwrap_or_else(|| format!("{:016x}", id.0))
    }
}

/// A backend's verdict has changed.
pub(super) fn tell_of_backend(service: &str, backend: &str, change: Change) {
    let from = change.from.as_str();
    match change.to {
        Verdict::Up => Event::BackendUp { service, backend, from }.tell(),
        Verdict::Down => Event::BackendDown { service, backend, from }.tell(),
        Verdict::Unknown => Event::BackendUnknown { service, backend, from }.tell(),
    }
}
