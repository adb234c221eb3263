//! What the driver tells of beside the core's transitions: what it sees by comparing.

use super::Driver;
use crate::core::{Change, MemberId, MemberState, Time, Verdict};
use crate::guard::clock;
use crate::telemetry::{Event, FailoverTrace, tell_failover};
use crate::wire::member_id;

impl Driver {
    /// The guard has told the network where a VIP is; the first time, that is the end of a takeover.
    pub(super) fn announced(&mut self, vip: usize, first: bool) {
        self.metrics.announcement(vip, "garp", 1);
        if let (true, Some((taken, held_at))) = (first, self.vips[vip].taken.take())
            && let Some(phases) = taken.phases
        {
            let announce = clock::now().since(held_at);
            let total = phases.detect + phases.elect + phases.assign + announce;
            self.metrics.failover_announced(vip, announce, total);
            let trace = FailoverTrace::of(&self.config.cluster.name, self.name(vip), taken.term).trace;
            tell_failover(self.name(vip), &taken, announce, &trace.to_string());
        }
    }

    pub(super) fn tell_of_members(&mut self, now: Time) {
        for (_, member) in self.core.members().iter() {
            let (name, state) = (member.name(), member.state(now));
            let Some((_, known)) = self.members.iter_mut().find(|(known, _)| known == name) else {
                let address = &member.address().to_string();
                Event::MemberJoined { member: name, address, state: state.as_str() }.tell();
                self.members.push((name.to_owned(), state));
                continue;
            };
            let from = std::mem::replace(known, state);
            match (from, state) {
                (MemberState::Alive, MemberState::Alive)
                | (MemberState::Suspect, MemberState::Suspect)
                | (MemberState::Dead, MemberState::Dead)
                | (MemberState::Left, MemberState::Left) => {}
                // Doubt comes and goes; what it comes to is told.
                (_, MemberState::Suspect) | (MemberState::Suspect, MemberState::Alive) => {}
                (MemberState::Dead | MemberState::Left, MemberState::Alive) => {
                    Event::MemberReturned { member: name, from: from.as_str() }.tell();
                }
                (_, MemberState::Dead) => Event::MemberDead { member: name }.tell(),
                (_, MemberState::Left) => Event::MemberLeft { member: name }.tell(),
            }
        }
    }

    /// Every node says when it sees a VIP with another node than before. That nobody holds one is no news yet:
    /// between two holders there is a moment.
    pub(super) fn tell_of_holders(&mut self, now: Time) {
        for vip in 0..self.vips.len() {
            let Some(holder) = self.core.holder(vip, now) else { continue };
            let Some(before) = self.vips[vip]
                .holder
                .replace(holder)
                .map_or(Some(None), |before| (before != holder).then_some(Some(before)))
            else {
                continue;
            };
            let (from, to) = (before.map(|id| self.member_name(id)), self.member_name(holder));
            let term = self.core.elections()[vip].term();
            Event::VipMoved { vip: self.name(vip), from: from.as_deref(), to: &to, term }.tell();
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
