//! What follows from what guard and peers report, state by state.

use std::time::Duration;

use super::{Claimant, Election, Event, Hold, Orders, SUCCESSION, State, Surroundings, Turn, Watch};
use crate::core::contract::Output;
use crate::core::transition::{Cause, VipState};

/// A node on which somebody removes the address again and again is no candidate for so long: it would only lose it
/// again.
const BARRED: Duration = Duration::from_secs(30);

impl Election {
    /// Takes in an event. [`Election::step`] follows it.
    pub(in crate::core) fn handle(&mut self, event: Event, around: &Surroundings<'_>, out: &mut Orders) {
        if event == Event::Stalled {
            self.late_at = Some(around.now);
        }
        match std::mem::replace(&mut self.state, State::Initialize) {
            State::Initialize => self.initialize(event, out),
            State::Backup(watch) => self.backup(watch, event, around, out),
            State::Active(hold) => self.active(hold, event, around, out),
        }
    }

    fn initialize(&mut self, event: Event, out: &mut Orders) {
        self.state = State::Initialize;
        match event {
            // A claim of an earlier candidacy, acknowledged too late.
            Event::Held { .. } => out.push(Output::Release { vip: self.index }),
            Event::Released
            | Event::LetGo { .. }
            | Event::AddressProbed
            | Event::AddressAnswered { .. }
            | Event::Resigned { .. }
            | Event::Stalled => {}
        }
    }

    fn backup(&mut self, watch: Watch, event: Event, around: &Surroundings<'_>, out: &mut Orders) {
        let now = around.now;
        let watch = match (watch, event) {
            (Watch::Claiming { cause, mut phases, decided_at, .. }, Event::Held { until }) => {
                phases.assign = now.since(decided_at);
                self.peak = self.standing.effective;
                self.state = State::Active(Hold::Holding { until, told_after: around.sequence });
                self.tell(VipState::Backup, cause, Some(phases), now, out);
                return;
            }
            // A claim withdrawn in the meantime.
            (
                watch @ (Watch::Following { .. }
                | Watch::Suspecting(_)
                | Watch::Vacated { .. }
                | Watch::Asking(_)),
                Event::Held { .. },
            ) => {
                out.push(Output::Release { vip: self.index });
                watch
            }
            (Watch::Claiming { .. }, Event::LetGo { .. } | Event::Stalled) => {
                out.push(Output::Release { vip: self.index });
                self.look_again(None, around)
            }
            (Watch::Suspecting(mut suspicion), Event::AddressProbed) => {
                suspicion.confirmed(self.patience(around), now);
                Watch::Suspecting(suspicion)
            }
            (Watch::Suspecting(mut suspicion), Event::AddressAnswered { mac, by_ip }) => {
                if suspicion.answered(mac, around.members.owns_mac(self.id, mac), by_ip, now) {
                    out.push(Output::Conflict { vip: self.index, by: Claimant::Address(mac) });
                }
                Watch::Suspecting(suspicion)
            }
            (Watch::Suspecting(mut suspicion), Event::Stalled) => {
                suspicion.start_afresh(now);
                Watch::Suspecting(suspicion)
            }
            (Watch::Following { holder, .. }, Event::Stalled) => {
                Watch::Following { holder, suspect_at: now + around.interval * 3 / 2 }
            }
            // What answers isn't what was released: whoever released it hadn't heard the suspect's kernel. What it has
            // itself announced or answered just before is no such answer.
            (Watch::Suspecting(suspicion), Event::Resigned { known_holder: true, mac, .. })
                if suspicion.is_answered_but_by(mac, self.patience(around)) =>
            {
                Watch::Suspecting(suspicion)
            }
            (
                Watch::Following { .. } | Watch::Suspecting(_),
                Event::Resigned { successor, known_holder: true, .. },
            ) => self.succeed(successor, around),
            (
                watch @ (Watch::Following { .. } | Watch::Suspecting(_)),
                Event::Resigned { known_holder: false, .. } | Event::Released | Event::LetGo { .. },
            ) => watch,
            (watch @ Watch::Following { .. }, Event::AddressProbed | Event::AddressAnswered { .. }) => watch,
            (
                watch @ (Watch::Vacated { .. } | Watch::Claiming { .. }),
                Event::Released
                | Event::AddressProbed
                | Event::AddressAnswered { .. }
                | Event::Resigned { .. },
            ) => watch,
            // An answer to the last probe, which came late.
            (Watch::Asking(mut asking), Event::AddressAnswered { mac, by_ip }) => {
                let known = around.members.owns_mac(self.id, mac);
                match asking.suspicion_mut().map(|suspicion| suspicion.answered(mac, known, by_ip, now)) {
                    Some(false) => self.withdraw(asking, around),
                    Some(true) | None => Watch::Asking(asking),
                }
            }
            (watch @ Watch::Asking(_), Event::Released | Event::AddressProbed | Event::Resigned { .. }) => {
                watch
            }
            (watch @ (Watch::Vacated { .. } | Watch::Asking(_)), Event::LetGo { .. }) => watch,
            // Whoever's turn it was as well has taken it meanwhile.
            (Watch::Vacated { since, turn, .. }, Event::Stalled) => {
                let turn = if turn == Turn::Named { Turn::First } else { turn };
                let claim_at = now + SUCCESSION * self.rank(around).max(1);
                Watch::Vacated { since, claim_at, turn }
            }
            // What it was about to take may have been taken meanwhile.
            (Watch::Asking(asking), Event::Stalled) => self.withdraw(asking, around),
        };
        self.state = State::Backup(watch);
    }

    fn active(&mut self, hold: Hold, event: Event, around: &Surroundings<'_>, out: &mut Orders) {
        self.state = State::Active(match (hold, event) {
            (Hold::Holding { told_after, .. }, Event::Held { until }) => {
                // Sooner, too: while there was no guard it was said to last until there would be one.
                Hold::Holding { until, told_after }
            }
            (hold @ Hold::Holding { .. }, Event::AddressAnswered { mac, by_ip: _ }) => {
                out.push(Output::Conflict { vip: self.index, by: Claimant::Address(mac) });
                out.push(Output::Announce { vip: self.index, anew: false });
                hold
            }
            // Whoever resigns what this node holds has yielded: the clients may still remember it.
            (hold @ Hold::Holding { .. }, Event::Resigned { .. }) => {
                out.push(Output::Announce { vip: self.index, anew: true });
                hold
            }
            (Hold::Holding { .. }, Event::LetGo { cause }) => {
                if cause == Cause::AddressRemoved {
                    self.barred_until = Some(around.now + BARRED);
                }
                self.released(None, cause, around, out);
                return;
            }
            (Hold::Releasing { successor, cause, .. }, Event::Released | Event::LetGo { .. }) => {
                self.released(successor, cause, around, out);
                return;
            }
            // Not asked for: the guard knows better what the kernel has.
            (Hold::Holding { .. }, Event::Released) => {
                self.released(None, Cause::GuardLost, around, out);
                return;
            }
            // Lateness of a holder shows in its hold's end, which `step` looks at.
            (hold @ Hold::Holding { .. }, Event::AddressProbed | Event::Stalled) => hold,
            (
                hold @ Hold::Releasing { .. },
                Event::Held { .. }
                | Event::AddressProbed
                | Event::AddressAnswered { .. }
                | Event::Resigned { .. }
                | Event::Stalled,
            ) => hold,
        });
    }
}
