//! What a node stands with for each VIP: weights, other members' views, operators' words.

use std::time::Duration;

use super::Core;
use super::contract::{Output, Tracked};
use super::election::Election;
use super::health::Health;
use super::message::MemberId;
use super::placement::{Placement, Share, place, relieved_by};
use super::priority::{Contribution, Standing, standing};
use super::service::{Administered, Service};
use super::time::Time;
use super::transition::{Verdict, VipState};

/// What gossip takes to bring a view to everybody, loss included.
const HEARSAY: Duration = Duration::from_millis(500);

impl Core {
    /// What each thing that a VIP tracks does to this node's candidacy now, in the file's order.
    pub fn contributions(&self, vip: usize) -> impl Iterator<Item = (Tracked, Contribution)> {
        let track = self.settings.vips.get(vip).map_or(&[][..], |settings| &settings.track);
        track.iter().map(|(tracked, weight)| {
            let well = match tracked {
                Tracked::Service(index) => self.services.get(*index).and_then(Service::well),
                Tracked::Check(index) => match self.checks.get(*index).map(Health::verdict) {
                    None | Some(Verdict::Unknown) => None,
                    Some(Verdict::Up) => Some(true),
                    Some(Verdict::Down) => Some(false),
                },
            };
            (*tracked, weight.contribution(well))
        })
    }

    pub(super) fn standing(&mut self, vip: usize, now: Time) -> Standing {
        let contributions = self.contributions(vip).map(|(_, contribution)| contribution);
        let mut standing = standing(self.settings.vips[vip].base_priority, contributions);
        let better = self.better_peer(vip, now);
        let patience = self.patience(vip);
        self.reach[vip].update(better.is_some(), patience, now);
        if let (true, Some(theirs)) = (self.reach[vip].yields(), better) {
            // Below the peer that reaches more, and no further than that.
            standing.effective = standing.effective.min(theirs.saturating_sub(1).max(1));
        }
        standing
    }

    /// The effective priority of the best peer that could hold the VIP and reaches strictly more of the
    /// backends behind it, if there is one.
    fn better_peer(&self, vip: usize, now: Time) -> Option<u8> {
        let tracked = || self.tracked_services(vip);
        let reached_by = |member| tracked().map(|service| service.reached_by(member)).sum::<usize>();
        let mine = reached_by(self.settings.me);
        if mine == tracked().map(|service| service.backends().len()).sum::<usize>() {
            // Nobody reaches more than all; mostly it ends here, before every member is looked at.
            return None;
        }
        let eligible = self.members.eligible(self.elections[vip].id(), now);
        let better = eligible
            .filter(|(member, _)| tracked().all(|service| service.is_seen_by(*member)))
            .map(|(member, part)| (reached_by(member), part.effective_priority))
            .filter(|(reach, _)| *reach > mine);
        better.max().map(|(_, priority)| priority)
    }

    fn tracked_services(&self, vip: usize) -> impl Iterator<Item = &Service> {
        self.settings.vips[vip].track.iter().filter_map(|(tracked, _)| match tracked {
            Tracked::Service(index) => self.services.get(*index),
            Tracked::Check(_) => None,
        })
    }

    /// Connections of clients to the services behind a VIP.
    pub(super) fn tracked_connections(&self, vip: usize) -> u64 {
        let tracked = self.settings.vips[vip].track.iter().filter_map(|(tracked, _)| match tracked {
            Tracked::Service(index) => self.connections.get(*index),
            Tracked::Check(_) => None,
        });
        tracked.sum()
    }

    /// Who should be handed a VIP of this node's, so that equal nodes hold as many of the spread ones.
    pub(super) fn relief(&self, vip: usize, now: Time) -> Option<MemberId> {
        let spread = |election: &&Election| election.placement() == Placement::Spread;
        let all = || self.elections.iter().filter(spread);
        let election = self.elections.get(vip).filter(spread)?;
        let standing = election.standing();
        let held = all().filter(|e| e.state() == VipState::Active).count();
        // Two of its own at least: mostly it ends here, before every member is looked at. And what went last has to
        // show on the other side.
        let too_soon = self.let_go_at.is_some_and(|at| now.since(at) < self.interval * 2);
        if election.hold_until().is_none() || held < 2 || too_soon {
            return None;
        }
        let mut equals = Vec::new();
        for (id, member, part) in self.members.candidates(election.id(), now) {
            if member.is_fresh(now) && part.effective_priority == standing.effective {
                let holds = |e: &&Election| {
                    member.part(e.id()).is_some_and(|p| p.state == VipState::Active || p.claims)
                };
                equals.push(Share { member: id, held: all().filter(holds).count(), takes: part.preempt });
            }
        }
        let to = relieved_by(Share { member: self.settings.me, held, takes: true }, &equals)?;
        // One at a time, and of all that could go there the one that suits it best.
        let suits = |e: &&Election| place(Placement::Spread, e.id(), to);
        let going = |e: &&Election| e.state() == VipState::Active && e.hold_until().is_none();
        let pinned_here = |e: &&Election| {
            let settings = self.settings.vips.iter().find(|settings| settings.id == e.id());
            settings.is_some_and(|vip| self.administration.pin(&vip.name, now) == Some(self.settings.me))
        };
        let could = |e: &&Election| {
            let part = self.members.get(to).and_then(|member| member.part(e.id()));
            e.hold_until().is_some()
                && !pinned_here(e)
                && part.is_some_and(|p| {
                    p.state == VipState::Backup && p.preempt && p.effective_priority == e.standing().effective
                })
        };
        if all().any(|e| going(&e)) {
            return None;
        }
        let best = all().filter(could).max_by_key(suits)?;
        (best.id() == election.id()).then_some(to)
    }

    /// How long a difference in reach has to last: nodes see the same death up to the time between two results
    /// apart, and hear of it later still.
    pub(super) fn patience(&self, vip: usize) -> Duration {
        let intervals = self.settings.vips[vip].track.iter().filter_map(|(tracked, _)| match tracked {
            Tracked::Service(index) => self.settings.services.get(*index).map(|service| service.interval),
            Tracked::Check(_) => None,
        });
        intervals.max().map_or(Duration::ZERO, |longest| longest * 5 / 4 + HEARSAY)
    }

    pub(super) fn viewed(&mut self, member: MemberId, service: usize, verdicts: &[Verdict]) {
        let Some(known) = self.services.get_mut(service) else { return };
        self.revision += 1;
        // Somebody sees what this node doesn't: look again, rather than wait for the next probe.
        for backend in known.hear_views(member, verdicts) {
            self.outputs.push_back(Output::ProbeBackend { service, backend });
        }
    }

    /// What operators say, as it holds now: words run out.
    pub(super) fn administer(&mut self, now: Time) {
        if self.administer_at.is_none_or(|at| now < at) {
            return;
        }
        self.administer_at = self.administration.deadline(now);
        self.itself = self.administration.node(&self.settings.name, now);
        for (at, settings) in self.settings.services.iter().enumerate() {
            for (backend, name) in settings.backends.iter().enumerate() {
                let (admin, weight) = self.administration.backend(&settings.name, name, now);
                let Some(follows) = self.services[at].administer(backend, admin, weight, self.settings.me)
                else {
                    continue;
                };
                self.outputs.push_back(Output::RoutesChanged);
                let pause = match follows {
                    Administered::Routes => continue,
                    Administered::PauseProbes => true,
                    Administered::ResumeProbes => false,
                };
                self.outputs.push_back(Output::PauseProbes { service: at, backend, pause });
            }
        }
    }
}
