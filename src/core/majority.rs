//! Between the elections and the majority that has to agree: what is asked for, and what may be done with it.

use super::Core;
use super::contract::Output;
use super::election::Election;
use super::member::MemberState;
use super::message::{Message, Request};
use super::quorum::{Grants, Quorum};
use super::time::Time;

impl Core {
    /// What a majority has to agree on; `None` where nobody has to.
    pub fn quorum(&self) -> Option<&Quorum> {
        self.quorum.as_ref()
    }

    /// Whether this node's beacons may leave now: it holds something, and no grant ends before what a beacon feeds.
    pub fn may_beacon(&self, now: Time) -> bool {
        // What a guard that hangs has been asked to let go isn't kept alive.
        let held = |election: &&Election| election.hold_until().is_some();
        let mut held = self.elections.iter().enumerate().filter(|(_, e)| held(e)).peekable();
        held.peek().is_some() && held.all(|(vip, _)| self.grants(vip, now).suffice(now))
    }

    pub(super) fn grants(&self, vip: usize, now: Time) -> Grants {
        self.quorum.as_ref().map_or(Grants::Unneeded, |quorum| quorum.grants(vip, now))
    }

    /// Asks for the grants that are needed now, right before an advertisement that is due.
    pub(super) fn canvass(&mut self, now: Time) {
        let advertises = self.advertise_now || now >= self.advertise_at;
        let Some(quorum) = &mut self.quorum else { return };
        for (vip, election) in self.elections.iter().enumerate() {
            quorum.want(vip, election.want(), election.wanted_term(), now);
        }
        let Some(request) = quorum.ask(now, advertises) else { return };
        for (to, member) in self.members.iter().filter(|(_, m)| m.state(now) <= MemberState::Suspect) {
            let request = Request { echo: member.latest().sequence, ..request.clone() };
            self.outputs.push_back(Output::Send { to, message: Message::Request(request) });
        }
    }
}
