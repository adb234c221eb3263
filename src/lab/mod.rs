//! A whole cluster on one machine, without root: nodes, web servers and a client, each in a network namespace of
//! its own on one switch. Behind `chinthe lab`, and what the end-to-end tests are written on.
//!
//! ```text
//!   192.168.56.0/24      .21     .22        .11      .12        .100      .101
//!                        ha1     ha2   …    web1     web2  …    client    witness
//!                         └───────┴──────────┴────────┴───────────┴──────────┘
//!                                        switch, hub .1 ── the door ── 127.0.0.1:8080 of the host
//! ```
//!
//! [`enter`] makes the sandbox, [`Lab`] the cluster in it. A [`Node`] runs the real daemon as a process and has it
//! suffer whatever machines suffer; a [`Prober`] sees it as clients do, a [`Witness`] as the switch does. Nothing is
//! left behind, however the lab ends: everything lives in namespaces that end with it.

mod arp;
mod cluster;
mod command;
mod discovery;
mod door;
mod forbidden;
mod http;
mod logs;
mod machine;
mod net;
mod node;
mod prober;
mod processes;
mod sandbox;
mod script;
mod settings;
mod signals;
mod space;
mod stage;
mod wait;
mod web;
mod witness;

use std::io;
use std::time::Duration;

pub use cluster::{Builder, ConfigSource, Lab, MOST_BACKENDS, MOST_NODES, show_logs};
pub use command::{Options, run};
pub use forbidden::Step;
pub use machine::{INTERFACE, Machine};
pub use net::Mac;
pub use node::Node;
pub use prober::{Exchange, Failure, ProbePlan, Prober, Tally};
pub use sandbox::{EnterError, Sandbox, enter};
pub use script::ScriptError;
pub use settings::TARGET;
pub use space::Space;
pub use wait::holds_within;
pub use web::Web;
pub use witness::{DoubleAnswer, Span, Witness};

/// What can go wrong in a lab. The lab is left as far as it got, and goes with its sandbox.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// There is no such thing in this lab.
    #[error("there is no {what} called `{name}`")]
    Unknown {
        /// What was looked for.
        what: &'static str,
        /// By this name.
        name: String,
    },
    /// A script's `holder` or `victim` when there is none.
    #[error("{0}")]
    Nobody(&'static str),
    /// More machines than the network has addresses for.
    #[error(
        "{nodes} nodes and {backends} backends: at most {MOST_NODES} and {MOST_BACKENDS} find an address"
    )]
    TooMany {
        /// Nodes asked for.
        nodes: usize,
        /// Backends asked for.
        backends: usize,
    },
    /// A system call failed, or the kernel refused a change of the network.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The daemon is running already.
    #[error("{node} is running already")]
    Running {
        /// Whose daemon.
        node: String,
    },
    /// There is no such process.
    #[error("{what} isn't running")]
    NotRunning {
        /// Which process.
        what: String,
    },
    /// The daemon gave no or no good answer.
    #[error("{node}: {problem}")]
    Answer {
        /// Whose daemon.
        node: String,
        /// What was wrong with it.
        problem: String,
    },
    /// Something that was waited for didn't happen.
    #[error("waited {after:?} for {what}")]
    TimedOut {
        /// For what.
        what: String,
        /// For how long.
        after: Duration,
    },
}
