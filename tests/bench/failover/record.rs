//! What was measured, as it is passed on and written.

use serde::{Deserialize, Serialize};

use crate::contender::Quorum;

/// Everything that a call of the benchmark found out.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    /// What it ran on.
    pub(crate) host: Host,
    /// How long it took, in seconds.
    pub(crate) took_s: f64,
    /// Contenders and faults that couldn't be tried here, and why.
    pub(crate) left_out: Vec<LeftOut>,
    /// What the table is made of.
    pub(crate) rows: Vec<Summary>,
    pub(crate) runs: Vec<Run>,
    /// Runs that came to nothing.
    pub(crate) broken: Vec<Broken>,
}

/// The machine and the rivals' versions.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Host {
    pub(crate) kernel: String,
    pub(crate) cores: usize,
    /// Whether chinthe was built without optimisation, which no figure should be quoted of.
    pub(crate) debug_build: bool,
    pub(crate) keepalived: String,
    pub(crate) haproxy: String,
}

/// All runs of one fault, or of its end, on one contender.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// The fault's name, or what undoes it.
    pub(crate) what: String,
    pub(crate) fault: String,
    pub(crate) contender: String,
    pub(crate) quorum: Quorum,
    /// From one advertisement to the next.
    pub(crate) interval_ms: f64,
    pub(crate) runs: usize,
    /// Runs after which the cluster wasn't well for as long as it was watched.
    pub(crate) unsettled: usize,
    pub(crate) noise_ms: Spread,
    pub(crate) gap_ms: Spread,
    pub(crate) client_late_ms: Spread,
    pub(crate) failed: Spread,
    pub(crate) two_answerers_s: Spread,
    pub(crate) takeovers: Spread,
    /// What it has to keep to, besides one answerer at a time; keepalived has no limits.
    pub(crate) limit: Option<String>,
    /// What it doesn't keep to.
    pub(crate) breaches: Vec<String>,
}

/// Middle and worst of some values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) most: f64,
}

#[derive(Debug, Serialize)]
pub(crate) struct LeftOut {
    pub(crate) what: String,
    pub(crate) why: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Broken {
    pub(crate) fault: String,
    pub(crate) contender: String,
    pub(crate) run: usize,
    pub(crate) error: String,
}

/// One fault, done to one contender once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) fault: String,
    pub(crate) contender: String,
    pub(crate) quorum: Quorum,
    /// From one advertisement to the next.
    pub(crate) interval_ms: f64,
    /// 0, 1, …
    pub(crate) number: usize,
    /// The longest time without an answer in the moments before the fault.
    pub(crate) noise_ms: f64,
    /// Processes that wanted to run, on average of the minute before.
    pub(crate) load: f64,
    /// Whether the holder was fenced, as it says; `None` when it doesn't.
    pub(crate) fence: Option<String>,
    /// From the fault until it was got over.
    pub(crate) fault_phase: Option<Phase>,
    /// From its end until the VIP was home.
    pub(crate) end_phase: Option<Phase>,
    /// What doing nothing costs each node, the holder first.
    pub(crate) idle: Vec<Idle>,
}

/// What was seen in a span of time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Phase {
    /// Until another holder (at the fault), or `ha1` (at its end), had answered alone and served for 400 ms.
    pub(crate) settled_ms: Option<f64>,
    /// The longest time from one answer to the next.
    pub(crate) gap_ms: f64,
    /// How long after the fault, or its end, it began.
    pub(crate) gap_after_ms: f64,
    /// The longest time in which the client, kept waiting by a busy machine, asked nothing: of a gap that isn't longer
    /// the cluster may know nothing.
    pub(crate) client_late_ms: f64,
    /// Exchanges that ended.
    pub(crate) requests: usize,
    /// Those among them that failed.
    pub(crate) failed: usize,
    /// From the end of the first that failed to the begin of the last: 0 when all were in flight at one moment.
    pub(crate) failed_for_ms: f64,
    /// Seconds in which two machines answered the same ARP question for the VIP.
    pub(crate) two_answerers_s: f64,
    /// How often a node became the holder, as the nodes say.
    pub(crate) takeovers: u64,
    pub(crate) lasted_s: f64,
}

/// What one node's programs take when nobody asks them anything.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Idle {
    pub(crate) cpu_percent: f64,
    pub(crate) rss_mib: f64,
    /// Memory that its processes share counted once.
    pub(crate) pss_mib: f64,
}
