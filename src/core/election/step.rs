//! What follows from the members' advertisements and from the passing of time, state by state.

use std::time::Duration;

use super::{AHEAD, Canvass, Election, Hold, Orders, SUCCESSION, State, Surroundings, Turn, Watch};
use crate::core::contract::{Output, Proof};
use crate::core::member::Member;
use crate::core::message::Mac;
use crate::core::quorum::{Grants, Want};
use crate::core::suspicion::{Step, Suspicion};
use crate::core::time::Time;
use crate::core::transition::{Cause, VipState};

/// So many of the best candidates ask the others while they suspect.
const ASKING_RANKS: u32 = 3;

impl Election {
    /// Looks at what the members say and at what is due. To be called after everything that happened.
    pub(in crate::core) fn step(&mut self, around: &Surroundings<'_>, out: &mut Orders) {
        if self.want() != Want::Holder {
            // A hold keeps the name that it was won by.
            self.term = self.term.max(around.members.highest_term(self.id));
        }
        // Every pass either settles or leaves the state it began with, and no state is entered twice.
        for _ in 0..4 {
            let settled = match std::mem::replace(&mut self.state, State::Initialize) {
                State::Initialize => self.step_initialize(around, out),
                State::Backup(watch) => self.step_backup(watch, around, out),
                State::Active(hold) => self.step_active(hold, around, out),
            };
            if settled {
                return;
            }
        }
    }

    fn step_initialize(&mut self, around: &Surroundings<'_>, out: &mut Orders) -> bool {
        if self.obstacle(around).is_some() {
            return true;
        }
        self.candidate_since = around.now;
        self.state = State::Backup(self.look_again(None, around));
        self.tell(VipState::Initialize, Cause::Ready, None, around.now, out);
        false
    }

    fn step_backup(&mut self, watch: Watch, around: &Surroundings<'_>, out: &mut Orders) -> bool {
        if let Some(cause) = self.obstacle(around) {
            self.canvass = None;
            if let Watch::Claiming { .. } = watch {
                out.push(Output::Release { vip: self.index });
            }
            self.tell(VipState::Backup, cause, None, around.now, out);
            return true;
        }
        let now = around.now;
        let heard = self.heard_holder(around);
        if let Some(holder) = heard {
            self.damping.holds(holder, now);
            self.canvass = None;
        }
        let watch = match (watch, heard) {
            (Watch::Asking(_), Some(holder)) => Self::follow(holder, around),
            (Watch::Asking(asking), None) => self.go_on(asking, around, out),
            // A claim goes on against a lower holder, which will yield to it, and ends before a higher one,
            // or when the guard doesn't answer.
            (claim @ Watch::Claiming { until, .. }, Some(holder))
                if now < until && self.outranks(holder, around) =>
            {
                claim
            }
            (Watch::Claiming { .. }, Some(holder)) => {
                out.push(Output::Release { vip: self.index });
                Self::follow(holder, around)
            }
            (Watch::Claiming { cause, phases, decided_at, until }, None) => {
                if now >= until {
                    // The guard didn't answer in time.
                    out.push(Output::Release { vip: self.index });
                    self.look_again(None, around)
                } else {
                    Watch::Claiming { cause, phases, decided_at, until }
                }
            }
            (Watch::Following { .. } | Watch::Suspecting(_) | Watch::Vacated { .. }, Some(holder)) => {
                Self::follow(holder, around)
            }
            (Watch::Following { holder, suspect_at }, None) => {
                let claims = around
                    .members
                    .get(holder)
                    .and_then(|m| m.part(self.id))
                    .is_some_and(|part| part.state == VipState::Active);
                if claims && now < suspect_at {
                    Watch::Following { holder, suspect_at }
                } else {
                    self.look_again(claims.then_some(holder), around)
                }
            }
            (Watch::Suspecting(suspicion), None) => self.suspect(suspicion, around, out),
            (Watch::Vacated { since, claim_at, turn }, None) => {
                let asked = self.canvass.is_some();
                let mine = turn != Turn::Later;
                // Behind the resignation may stand the word of who has taken the VIP since.
                let sure = around.caught_up || !around.grants.are_unneeded();
                if mine && !asked && now >= claim_at && !sure {
                    Watch::Vacated { since, claim_at, turn }
                } else if mine && (asked || now >= claim_at) && self.may_hold(around) {
                    self.take_released(since, turn, around, out)
                } else if now < claim_at {
                    Watch::Vacated { since, claim_at, turn }
                } else if mine && !asked {
                    // The members know of the resignation, too, or will in a moment.
                    Watch::Vacated { since, claim_at: now + SUCCESSION * 5, turn }
                } else {
                    // Whoever should have taken it may have done so unheard: ask the address itself.
                    self.look_again(None, around)
                }
            }
        };
        self.state = State::Backup(watch);
        true
    }

    /// This node's turn has come to take what was released.
    fn take_released(
        &mut self,
        since: Time,
        turn: Turn,
        around: &Surroundings<'_>,
        out: &mut Orders,
    ) -> Watch {
        if self.is_claimed(around) {
            // Who claims it takes it, or gives up soon.
            self.canvass = None;
            return Watch::Vacated { since, claim_at: around.now + SUCCESSION, turn };
        }
        match turn {
            Turn::Named => {
                let elect = around.now.since(since);
                self.claim(Cause::Resignation, Duration::ZERO, elect, around, out)
            }
            Turn::First | Turn::Later => self.ask_released(since, around, out),
        }
    }

    fn suspect(&mut self, mut suspicion: Suspicion, around: &Surroundings<'_>, out: &mut Orders) -> Watch {
        let (now, patience) = (around.now, self.patience(around));
        match suspicion.step(patience, now) {
            Step::Wait => {}
            Step::Probe => self.probe(&suspicion, around, out),
            Step::Take => {
                let yields = suspicion.holder().is_none() && self.gives_way(around);
                if self.contradicted(around) {
                    self.canvass = None;
                    suspicion.start_afresh(now);
                } else if yields || self.is_claimed(around) {
                    self.canvass = None;
                    suspicion.prove_again(now);
                } else if !self.may_hold(around) {
                    suspicion.prove_again(now);
                } else {
                    let silent = suspicion.holder().and_then(|id| around.members.get(id));
                    let cause = if silent.is_some() { Cause::HolderSilent } else { Cause::Vacant };
                    let last_word = silent.map_or(suspicion.since(), Member::heard_at);
                    let detect = suspicion.since().since(last_word);
                    return self.ask_after(suspicion, cause, detect, around, out);
                }
            }
        }
        Watch::Suspecting(suspicion)
    }

    fn probe(&self, suspicion: &Suspicion, around: &Surroundings<'_>, out: &mut Orders) {
        let holder = suspicion.holder();
        if self.proof == Proof::Answers {
            let mac = holder.and_then(|id| around.members.get(id)?.part(self.id)).map(|part| part.mac);
            out.push(Output::ProbeAddress { vip: self.index, mac: mac.filter(|m| *m != Mac::default()) });
        }
        out.outputs.extend(holder.map(|to| Output::Probe { to }));
        // Whoever comes later has heard the others' regular word by then.
        if suspicion.asked() % 4 == 1 && self.rank(around) < ASKING_RANKS {
            let others = Self::awaited(suspicion.silent_since(), around).filter(|id| Some(*id) != holder);
            out.outputs.extend(others.map(|to| Output::Probe { to }));
        }
    }

    /// Whether a majority grants it, where that is needed; else it is asked to, from now on.
    fn may_hold(&mut self, around: &Surroundings<'_>) -> bool {
        let now = around.now;
        let Grants::Needed { lasts, .. } = around.grants else { return true };
        if around.grants.suffice(now) {
            return true;
        }
        let since = self.canvass.map_or(now, |canvass| canvass.since);
        // Within this time every promise to somebody else has run out.
        let (patience, pause) = (lasts * 2, lasts);
        self.canvass = Some(if now.since(since) < patience + pause {
            Canvass { since, pausing: now.since(since) >= patience }
        } else {
            Canvass { since: now, pausing: false }
        });
        false
    }

    fn step_active(&mut self, hold: Hold, around: &Surroundings<'_>, out: &mut Orders) -> bool {
        let now = around.now;
        self.state = State::Active(match hold {
            hold @ Hold::Holding { until, told_after } => {
                self.peak = self.peak.max(self.standing.effective);
                if let Some(cause) = self.obstacle(around) {
                    self.release(self.successor(around), cause, now, out)
                } else if around.grants.are_over(now + AHEAD) || around.silenced {
                    let alone = around.grants.are_unneeded();
                    let cause = if alone { Cause::HoldExpired } else { Cause::NoMajority };
                    self.release(None, cause, now, out)
                } else if now >= until {
                    self.release(None, Cause::HoldExpired, now, out)
                } else if let Some(other) = self.heard_holder(around) {
                    if self.outranks(other, around) {
                        // Said once for each of the other's advertisements, by the core.
                        hold
                    } else {
                        self.release(Some(other), Cause::Conflict, now, out)
                    }
                } else if let Some(other) = self.overruled(told_after, around) {
                    self.release(Some(other), Cause::Conflict, now, out)
                } else if let Some(better) = self.challenger(around) {
                    let moved = around.pin == Some(better);
                    let cause = if moved { Cause::Moved } else { Cause::Priority };
                    self.release(Some(better), cause, now, out)
                } else {
                    hold
                }
            }
            Hold::Releasing { successor, cause, ask_again_at } if now >= ask_again_at => {
                self.release(successor, cause, now, out)
            }
            Hold::Releasing { successor, cause, ask_again_at } => {
                Hold::Releasing { successor, cause, ask_again_at }
            }
        });
        true
    }
}
