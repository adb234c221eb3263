//! What this node tells the others, and when.

use super::contract::Output;
use super::election::hold_time;
use super::message::Advertisement;
use super::time::Time;
use super::transition::VipState;
use super::{Core, FEED};

impl Core {
    /// Something to tell a newcomer, out of turn.
    pub fn introduce(&mut self, now: Time) -> Advertisement {
        self.beat(now)
    }

    pub(super) fn advertise_if_due(&mut self, now: Time) {
        if now >= self.advertise_at {
            self.advertise_now = true;
        }
        // With every beacon, so that the hold ends before the fence that the beacon keeps open.
        if self.advertise_now || now >= self.feed_at {
            self.feed_at = now + FEED;
            for (vip, election) in self.elections.iter().enumerate() {
                if election.hold_until().is_some() {
                    let until = self.grants(vip, now).bound(now + hold_time(self.interval));
                    self.outputs.push_back(Output::Hold { vip, until, term: election.term() });
                }
            }
        }
        if std::mem::take(&mut self.advertise_now) {
            if self.may_beacon(now) {
                self.fence_fed_at = now;
            }
            let advertisement = self.beat(now);
            self.outputs.push_back(Output::Advertise(advertisement));
            // A regular beat, whatever is said in between; a late one isn't made up for.
            while self.advertise_at <= now {
                self.advertise_at = (self.advertise_at + self.interval).max(now + self.interval / 2);
            }
        }
    }

    /// What is told to everybody.
    fn beat(&mut self, now: Time) -> Advertisement {
        self.beats += 1;
        Advertisement { beat: Some(self.beats), ..self.advertisement(now) }
    }

    pub(super) fn advertisement(&mut self, now: Time) -> Advertisement {
        self.sequence += 1;
        if let Some(quorum) = &mut self.quorum {
            quorum.advertised(self.sequence, now);
        }
        let vips = (0..self.elections.len())
            .map(|vip| self.elections[vip].advertisement(&self.surroundings(vip, now)));
        Advertisement {
            sequence: self.sequence,
            beat: None,
            name: self.settings.name.clone(),
            version: self.settings.version.clone(),
            config: self.settings.config,
            interval: self.interval,
            leaving: self.leaving && self.elections.iter().all(|e| e.state() != VipState::Active),
            guard: self.guard,
            vips: vips.collect(),
            heard: self.members.heard(now),
        }
    }
}
