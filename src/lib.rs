//! chinthe: one daemon in place of the keepalived and haproxy pair, for any number of nodes.
//!
//! The map of the modules; imports point upwards only (`tests/architecture.rs` holds it):
//!
//! ```text
//!   main ── cli ──┬── node ──┬── peers probe guard proxy admin telemetry ──┬── config ──┬── core ── std
//!                 ├── lab    │        (sense, act, move bytes, tell)       └── wire   ──┘
//!                 └── import ┘
//! ```
//!
//! A fact becomes a failover in six steps: *sense* (a packet, a probe, a lost link becomes a `core::Input`),
//! *decide* (`Core::handle`), *ask* (`Core::poll_output`), *act* (guard, routes), *tell* (one `Transition`
//! becomes log line, counter and status), *wait* for `Core::next_deadline`.

pub mod admin;
pub mod cli;
pub mod config;
pub mod core;
pub mod guard;
pub mod import;
pub mod lab;
pub mod node;
pub mod peers;
pub mod probe;
pub mod proxy;
pub mod telemetry;
pub mod wire;
