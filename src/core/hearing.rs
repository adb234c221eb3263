//! What other members say: taken in, answered, and told to the elections it is about.

use std::net::IpAddr;

use super::Core;
use super::contract::Output;
use super::election::{Claimant, Event};
use super::member::{Member, MemberState};
use super::message::{Boot, MemberId, Message, Request, Resignation, VipId};
use super::time::Time;
use super::transition::VipState;

impl Core {
    pub(super) fn heard(&mut self, from: MemberId, address: IpAddr, boot: Boot, message: Message, now: Time) {
        match message {
            Message::Advertisement(advertisement) => {
                let claims: Vec<VipId> = advertisement
                    .vips
                    .iter()
                    .filter(|part| part.state == VipState::Active)
                    .map(|part| part.vip)
                    .collect();
                let asks = advertisement.vips.iter().any(|part| part.claims);
                let unknown = self.members.get(from).is_none();
                let back = self.members.get(from).is_some_and(|member| member.has_been_away(now));
                if self.members.hear(from, address, boot, advertisement, now) {
                    self.count_conflicts(from, &claims, now);
                    self.announce_after_doubt(from, back);
                    if !claims.is_empty() {
                        self.follow(now);
                    }
                    if asks {
                        // Who claims a VIP waits for everybody's word.
                        let advertisement = self.advertisement(now);
                        self.outputs.push_back(Output::Reply { to: from, advertisement });
                    }
                }
                // A newcomer learns at once what it would otherwise wait an interval for.
                self.advertise_now |= unknown;
            }
            Message::Probe => {
                let advertisement = self.advertisement(now);
                self.outputs.push_back(Output::Reply { to: from, advertisement });
            }
            Message::Resignation(resignation) => {
                let message = Message::Acknowledgement(resignation.id);
                self.outputs.push_back(Output::Send { to: from, message });
                self.resigned(from, resignation, now);
            }
            Message::Acknowledgement(id) => self.outbox.acknowledged(from, id),
            Message::Request(request) => self.requested(from, boot, request, now),
            Message::Grant(grant) => {
                let fed = self.may_beacon(now);
                if let Some(quorum) = &mut self.quorum {
                    quorum.granted(from, &grant, now);
                }
                // A beacon that was held back is made up for at once: the fence waits for it.
                self.advertise_now |= !fed && self.may_beacon(now);
            }
        }
    }

    fn requested(&mut self, from: MemberId, boot: Boot, mut request: Request, now: Time) {
        let Some(quorum) = &mut self.quorum else { return };
        // What comes after its own resignation was overtaken by it.
        request.wants.retain(|wanted| !self.members.has_resigned(from, wanted.vip, wanted.term));
        if let Some(grant) = quorum.answer(from, boot, &request, now) {
            self.outputs.push_back(Output::Send { to: from, message: Message::Grant(grant) });
        }
    }

    fn count_conflicts(&mut self, from: MemberId, claims: &[VipId], now: Time) {
        for vip in 0..self.elections.len() {
            let election = &self.elections[vip];
            if election.hold_until().is_some()
                && claims.contains(&election.id())
                && self
                    .members
                    .get(from)
                    .and_then(|m| m.part(election.id()))
                    .is_some_and(|p| p.state == VipState::Active)
            {
                self.outputs.push_back(Output::Conflict { vip, by: Claimant::Member(from) });
                if election.outranks(from, &self.surroundings(vip, now)) {
                    self.outputs.push_back(Output::Announce { vip, anew: false });
                }
            }
        }
    }

    /// Clients may believe something else where others did: a member that was cut off, or one that hears two holders.
    fn announce_after_doubt(&mut self, from: MemberId, back: bool) {
        let Some(member) = self.members.get(from) else { return };
        for (vip, election) in self.elections.iter().enumerate() {
            let disputed = member.part(election.id()).is_some_and(|part| part.disputed);
            if election.hold_until().is_some() && (back || disputed) {
                self.outputs.push_back(Output::Announce { vip, anew: false });
            }
        }
    }

    pub(super) fn resigned(&mut self, from: MemberId, resignation: Resignation, now: Time) {
        let Resignation { vip: id, term, successor, .. } = resignation;
        let Some(vip) = self.elections.iter().position(|e| e.id() == id) else { return };
        if let Some(quorum) = &mut self.quorum {
            quorum.resigned(from, id, term);
        }
        // Said again for want of an acknowledgement, it is nothing new.
        let news = !self.members.has_resigned(from, id, term);
        let member = self.members.get(from);
        let part = member.and_then(|m| m.part(id));
        // From somebody silent it may be an old one, said again: what answers there may have it anew.
        let heard = member.is_some_and(|m| now < m.suspect_at());
        let mac = part.filter(|_| heard).map(|part| part.mac);
        let known_holder = part.is_some_and(|part| match part.state {
            VipState::Active => part.term <= term,
            // Its next advertisement may have overtaken the resignation.
            VipState::Backup | VipState::Initialize => part.term == term && news,
        });
        if self.members.resign(from, id, term) && news {
            self.tell(vip, Event::Resigned { successor, known_holder, mac }, now);
        }
    }

    /// Tells everybody that this node has released a VIP, and whom it is left to even if that one is silent: it may
    /// hold it behind a cut that has just healed, and be heard by others alone.
    pub(super) fn resign(&mut self, vip: VipId, term: u32, successor: Option<MemberId>, now: Time) {
        if let Some(quorum) = &mut self.quorum {
            quorum.resigned(self.settings.me, vip, term);
        }
        self.resignations = self.resignations.wrapping_add(1);
        let resignation = Resignation { id: self.resignations, vip, term, successor };
        let told = |id, member: &Member| member.state(now) <= MemberState::Suspect || successor == Some(id);
        for (to, _) in self.members.iter().filter(|(id, member)| told(*id, member)) {
            self.outbox.push(to, resignation, now);
        }
    }

    /// Sends what hasn't been acknowledged, once more. A successor whom this node has waited for in vain, so that it
    /// takes the VIP itself, isn't named any more: it would take it at once, and without asking.
    pub(super) fn repeat_resignations(&mut self, now: Time) {
        for (to, mut resignation) in self.outbox.due(now) {
            let election = self.elections.iter().find(|election| election.id() == resignation.vip);
            if election.is_some_and(|election| election.claims() || election.state() == VipState::Active) {
                resignation.successor = None;
            }
            self.outputs.push_back(Output::Send { to, message: Message::Resignation(resignation) });
        }
    }
}
