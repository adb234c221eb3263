//! The log line of a transition: the operator's story of a VIP, one line a step.

use std::time::Duration;

use crate::core::Transition;

/// Writes the one line of `transition`: its VIP by name, the states, why, and where the time went, in
/// milliseconds, when this node took the VIP over.
pub fn log_transition(vip: &str, transition: &Transition) {
    let phases = transition.phases;
    tracing::info!(
        vip,
        from = transition.from.as_str(),
        to = transition.to.as_str(),
        cause = transition.cause.as_str(),
        priority = transition.priority,
        term = transition.term,
        detect_ms = phases.map(|phases| milliseconds(phases.detect)),
        elect_ms = phases.map(|phases| milliseconds(phases.elect)),
        assign_ms = phases.map(|phases| milliseconds(phases.assign)),
        "transition"
    );
}

/// To the microsecond: a planned move takes few milliseconds.
fn milliseconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1000.0
}
