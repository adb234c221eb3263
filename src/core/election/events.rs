//! What follows from what guard and peers report, state by state.

use std::time::Duration;

use super::{Claimant, Election, Event, Hold, Orders, State, Surroundings, Watch};
use crate::core::contract::Output;
use crate::core::transition::{Cause, VipState};

/// A holder defends its address at once, and then at most this often: the announcements that follow a defence
/// go on for longer, and two holders that answered each other's would fill the network.
const DEFENCE: Duration = Duration::from_secs(1);

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
                self.state = State::Active(Hold::Holding { until });
                self.tell(VipState::Backup, cause, Some(phases), now, out);
                return;
            }
            // A claim withdrawn in the meantime.
            (
                watch @ (Watch::Following { .. } | Watch::Suspecting(_) | Watch::Vacated { .. }),
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
                suspicion.confirmed(now);
                Watch::Suspecting(suspicion)
            }
            (Watch::Suspecting(mut suspicion), Event::AddressAnswered { mac, by_ip }) => {
                if suspicion.answered(around.members.owns_mac(self.id, mac), by_ip, now) {
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
            (
                Watch::Following { .. } | Watch::Suspecting(_),
                Event::Resigned { successor, known_holder: true },
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
            (watch @ Watch::Vacated { .. }, Event::LetGo { .. } | Event::Stalled) => watch,
        };
        self.state = State::Backup(watch);
    }

    fn active(&mut self, hold: Hold, event: Event, around: &Surroundings<'_>, out: &mut Orders) {
        self.state = State::Active(match (hold, event) {
            (Hold::Holding { until }, Event::Held { until: later }) => {
                Hold::Holding { until: until.max(later) }
            }
            (Hold::Holding { until }, Event::AddressAnswered { mac, by_ip: _ }) => {
                out.push(Output::Conflict { vip: self.index, by: Claimant::Address(mac) });
                if self.defended_at.is_none_or(|at| around.now.since(at) >= DEFENCE) {
                    self.defended_at = Some(around.now);
                    out.push(Output::Announce { vip: self.index });
                }
                Hold::Holding { until }
            }
            // Whoever resigns what this node holds has yielded: the clients may still remember it.
            (Hold::Holding { until }, Event::Resigned { .. }) => {
                out.push(Output::Announce { vip: self.index });
                Hold::Holding { until }
            }
            (Hold::Holding { .. }, Event::LetGo { cause }) => {
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
