//! The core's record of a transition, in the operator's words: the story of a VIP, one event a step.

use std::time::Duration;

use super::event::Event;
use crate::core::{Phases, Transition, VipState};

/// Tells of `transition`: its VIP by name, the states, why, and where the time went, in milliseconds, when this
/// node took the VIP over.
pub fn tell_transition(vip: &str, transition: &Transition) {
    let Transition { priority, term, phases, .. } = *transition;
    let (from, to, cause) = (transition.from.as_str(), transition.to.as_str(), transition.cause.as_str());
    let event = match (transition.from, transition.to) {
        (_, VipState::Active) => {
            let ms = |phase: fn(&Phases) -> Duration| phases.as_ref().map(|all| milliseconds(phase(all)));
            let detect_ms = ms(|phases| phases.detect);
            let (elect_ms, assign_ms) = (ms(|phases| phases.elect), ms(|phases| phases.assign));
            Event::VipAcquired { vip, from, to, cause, priority, term, detect_ms, elect_ms, assign_ms }
        }
        (VipState::Active, VipState::Initialize | VipState::Backup) => {
            Event::VipReleased { vip, from, to, cause, priority, term }
        }
        (VipState::Initialize | VipState::Backup, VipState::Backup) => {
            Event::VipCandidate { vip, from, to, cause, priority, term }
        }
        (VipState::Initialize | VipState::Backup, VipState::Initialize) => {
            Event::VipWithdrawn { vip, from, to, cause, priority, term }
        }
    };
    event.tell();
}

/// Tells that a takeover is over: `announce` from the kernel's acknowledgement to the first announcement.
pub fn tell_failover(vip: &str, transition: &Transition, announce: Duration, trace_id: &str) {
    let Some(phases) = transition.phases else { return };
    let total = phases.detect + phases.elect + phases.assign + announce;
    Event::FailoverComplete {
        vip,
        cause: transition.cause.as_str(),
        term: transition.term,
        detect_ms: milliseconds(phases.detect),
        elect_ms: milliseconds(phases.elect),
        assign_ms: milliseconds(phases.assign),
        announce_ms: milliseconds(announce),
        total_ms: milliseconds(total),
        trace_id,
    }
    .tell();
}

/// To the microsecond: a planned move takes few milliseconds.
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
