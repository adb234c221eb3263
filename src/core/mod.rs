//! What decides: pure, deterministic, std alone.

pub mod balance;
pub mod time;
pub mod transition;

pub use time::Time;
pub use transition::{Cause, Phases, Transition, Verdict, VipState};
