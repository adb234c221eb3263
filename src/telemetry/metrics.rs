//! The counters of this node, and everything that a scrape shows.
//!
//! What happens rarely (transitions, takeovers, probes, messages between nodes) is counted here. What happens for
//! every connection is counted where it happens and arrives with the [`Sample`] of a scrape.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counts::{BackendCounts, Count, NodeCounts, Phase, ServiceCounts, VipCounts};
use super::exposition::{Exposition, Page};
use super::families::{ANNOUNCEMENT_KINDS, CHECK_RESULTS, CONFLICT_SOURCES, MESSAGE_REJECTIONS};
use super::histogram::Exemplars;
use super::sample::{CONNECT_BOUNDS, Sample};
use super::trace_id::FailoverTrace;
use super::{haproxy, keepalived, shown};
use crate::config;
use crate::core::{MemberState, Transition, Verdict, VipState};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The source revision that this program was built from, where the build was told (`CHINTHE_REVISION`).
pub const REVISION: &str = match option_env!("CHINTHE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// What the series are named after; fixed for the life of a [`Metrics`], which another one may follow.
#[derive(Debug, Clone, Default)]
pub struct Layout {
    /// The program's version.
    pub version: String,
    /// The source revision it was built from.
    pub revision: String,
    /// The configuration's digest, 64 hexadecimal digits.
    pub config_sha256: String,
    /// The cluster's name, which traces are named after.
    pub cluster: String,
    /// This node only votes.
    pub witness: bool,
    /// How much is shown, and for whose boards besides our own.
    pub options: config::Metrics,
    /// The VIPs, in the configuration's order.
    pub vips: Vec<VipLayout>,
    /// The services' names, each with its backends' names, in the configuration's order.
    pub services: Vec<(String, Vec<String>)>,
    /// How many connections each service may have, in the same order; `None` where there is no limit of its own.
    pub limits: Vec<Option<u64>>,
    /// The checks' names, in the configuration's order.
    pub checks: Vec<String>,
}

/// One VIP of a [`Layout`].
#[derive(Debug, Clone, Default)]
pub struct VipLayout {
    /// Its name.
    pub name: String,
    /// The interface that carries it on this node.
    pub interface: String,
    /// Its addresses, without their prefixes.
    pub addresses: Vec<String>,
}

/// A way that messages between nodes take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Channel {
    /// From every node to every member it knows, each interval.
    Advertisement,
    /// From a holder, by multicast on the VIP's interface.
    Beacon,
    /// Membership and views.
    Gossip,
}

impl Channel {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Advertisement, Self::Beacon, Self::Gossip];

    /// As in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advertisement => "advertisement",
            Self::Beacon => "beacon",
            Self::Gossip => "gossip",
        }
    }
}

/// Which way a message goes, as this node sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Received.
    In,
    /// Sent.
    Out,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::In, Self::Out];

    /// As in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
        }
    }
}

/// The metrics of this node.
#[derive(Debug)]
pub struct Metrics {
    pub(super) layout: Layout,
    pub(super) node: Arc<NodeCounts>,
    pub(super) vips: Vec<Arc<VipCounts>>,
    pub(super) services: Vec<ServiceCounts>,
}

impl Metrics {
    /// All families with all of their series, at zero.
    pub fn new(layout: Layout) -> Self {
        let nothing = Self {
            layout: Layout::default(),
            node: Arc::new(NodeCounts::new()),
            vips: vec![],
            services: vec![],
        };
        nothing.relaid(layout)
    }

    /// The metrics of the same node by another configuration: what keeps its name goes on counting, in both; what is
    /// new begins at zero.
    #[must_use]
    pub fn relaid(&self, layout: Layout) -> Self {
        let vip = |vip: &VipLayout| {
            let known = self.layout.vips.iter().position(|known| known.name == vip.name);
            known.map_or_else(|| Arc::new(VipCounts::new()), |at| Arc::clone(&self.vips[at]))
        };
        let service = |(name, backends): &(String, Vec<String>)| {
            let known = self.layout.services.iter().position(|(known, _)| known == name);
            let known = known.map(|at| (&self.layout.services[at].1, &self.services[at]));
            let backend = |name: &String| {
                let counts = known.and_then(|(names, counts)| {
                    counts.backends.get(names.iter().position(|known| known == name)?)
                });
                counts.map_or_else(|| Arc::new(BackendCounts::new()), Arc::clone)
            };
            ServiceCounts {
                backends: backends.iter().map(backend).collect(),
                connects: known.map_or_else(
                    || Arc::new(Exemplars::new(CONNECT_BOUNDS)),
                    |(_, counts)| Arc::clone(&counts.connects),
                ),
            }
        };
        Self {
            node: Arc::clone(&self.node),
            vips: layout.vips.iter().map(vip).collect(),
            services: layout.services.iter().map(service).collect(),
            layout,
        }
    }

    /// Counts an attempt to load the configuration again.
    pub fn reloaded(&self, succeeded: bool) {
        self.node.reloads[usize::from(!succeeded)].add(1);
        self.node.reload_failed.store(!succeeded, Ordering::Relaxed);
        if succeeded {
            self.node.loaded.is_now();
        }
    }

    /// Counts a transition and, where it has them, the phases of the takeover.
    pub fn transition(&self, transition: &Transition) {
        let Some(vip) = self.vips.get(transition.vip) else { return };
        vip.transitions[transition.to as usize][transition.cause as usize].add(1);
        if transition.from == VipState::Active {
            vip.released.add(1);
        }
        if let Some(phases) = transition.phases {
            vip.term.store(transition.term, Ordering::Relaxed);
            for (phase, duration) in
                [(Phase::Detect, phases.detect), (Phase::Elect, phases.elect), (Phase::Assign, phases.assign)]
            {
                self.observe(transition.vip, phase, duration);
            }
        }
    }

    /// Counts another holder of VIP number `vip`; `source` is `arp` or `advertisement`.
    pub fn conflict(&self, vip: usize, source: &'static str) {
        let Some(vip) = self.vips.get(vip) else { return };
        add(&vip.conflicts, &CONFLICT_SOURCES, source, 1);
    }

    /// Counts `n` announcements of VIP number `vip`; `kind` is `garp` or `na`.
    pub fn announcement(&self, vip: usize, kind: &'static str, n: u64) {
        let Some(vip) = self.vips.get(vip) else { return };
        add(&vip.announcements, &ANNOUNCEMENT_KINDS, kind, n);
    }

    /// Counts `n` announcements of VIP number `vip` that couldn't be sent.
    pub fn announcement_failed(&self, vip: usize, n: u64) {
        let Some(vip) = self.vips.get(vip) else { return };
        vip.announcement_errors.add(n);
    }

    /// Counts an address of VIP number `vip` that somebody else removed and that was added again.
    pub fn address_restored(&self, vip: usize) {
        let Some(vip) = self.vips.get(vip) else { return };
        vip.restored.add(1);
    }

    /// Counts the end of a takeover of VIP number `vip`: `announce` from the kernel's acknowledgement of the
    /// address to the first announcement on the wire, `total` from the old holder's last word to there.
    pub fn failover_announced(&self, vip: usize, announce: Duration, total: Duration) {
        self.observe(vip, Phase::Announce, announce);
        self.observe(vip, Phase::Total, total);
    }

    /// Names a failover for a connect to a backend of service number `service`, which the proxy has counted: this
    /// node had just taken VIP number `vip`.
    pub fn connected_after_failover(&self, service: usize, vip: usize, after: Duration) {
        let (Some(service), Some(trace)) = (self.services.get(service), self.latest_failover(vip)) else {
            return;
        };
        service.connects.put(after, trace);
    }

    /// Counts a change of another member's state.
    pub fn member(&self, to: MemberState) {
        self.node.members[to as usize].add(1);
    }

    /// Counts a change of this node's verdict on a backend.
    pub fn backend(&self, service: usize, backend: usize, to: Verdict) {
        let Some(backend) = self.backend_counts(service, backend) else { return };
        backend.transitions[to as usize].add(1);
        backend.since.is_now();
        backend.down.set(to == Verdict::Down);
    }

    /// Counts a probe of a backend: how long the answer took, or why there was none, which is one of `refused`,
    /// `timeout`, `unreachable`, `resolve` and `other`.
    pub fn probed(&self, service: usize, backend: usize, outcome: Result<Duration, &'static str>) {
        let Some(backend) = self.backend_counts(service, backend) else { return };
        if let Ok(duration) = outcome {
            let nanoseconds = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
            backend.check_duration.store(nanoseconds, Ordering::Relaxed);
        }
        add(&backend.checks, &CHECK_RESULTS, outcome.map_or_else(|reason| reason, |_| "success"), 1);
    }

    /// Counts a wake-up of the control loop, so much later than its deadline.
    pub fn late(&self, by: Duration) {
        self.node.lateness.observe(by, None);
    }

    /// Counts a wake-up that was so late that it is a stall.
    pub fn stalled(&self) {
        self.node.stalls.add(1);
    }

    /// Counts a message sent, or received and accepted.
    pub fn message(&self, channel: Channel, direction: Direction) {
        self.messages(channel, direction, 1);
    }

    /// Counts several messages.
    pub fn messages(&self, channel: Channel, direction: Direction, count: u64) {
        self.node.messages.passed[channel as usize][direction as usize].add(count);
    }

    /// Counts bytes of gossip, sealed.
    pub fn gossip_bytes(&self, direction: Direction, count: u64) {
        self.node.messages.gossip_bytes[direction as usize].add(count);
    }

    /// Counts an operator's word from another node, so long after it was said.
    pub fn converged(&self, after: Duration) {
        self.node.convergence.observe(after, None);
    }

    /// Counts messages dropped. `reason` is one of the envelope's, as in `wire::seal::Reject`, or for gossip
    /// `busy`, `large` or `foreign`.
    pub fn rejected(&self, channel: Channel, reason: &'static str, count: u64) {
        add(&self.node.messages.rejected[channel as usize], &MESSAGE_REJECTIONS, reason, count);
    }

    /// Everything, families in the order of their names.
    pub fn render(&self, format: Exposition, sample: &Sample) -> String {
        let mut page = Page::new(format);
        shown::show(&mut page, self, sample);
        if self.layout.options.haproxy_compat {
            haproxy::show(&mut page, self, sample);
        }
        if self.layout.options.keepalived_compat {
            keepalived::show(&mut page, self, sample);
        }
        page.finish()
    }

    fn backend_counts(&self, service: usize, backend: usize) -> Option<&BackendCounts> {
        self.services.get(service)?.backends.get(backend).map(AsRef::as_ref)
    }

    /// The failover that it belongs to is the histogram's exemplar.
    fn observe(&self, vip: usize, phase: Phase, duration: Duration) {
        let Some(counts) = self.vips.get(vip) else { return };
        counts.failover[phase as usize].observe(duration, self.latest_failover(vip));
    }

    /// The trace of the latest takeover of VIP number `vip` by this node.
    fn latest_failover(&self, vip: usize) -> Option<FailoverTrace> {
        let term = self.vips.get(vip)?.term.load(Ordering::Relaxed);
        Some(FailoverTrace::of(&self.layout.cluster, &self.layout.vips.get(vip)?.name, term))
    }
}

/// Counts under the label's value.
fn add<const N: usize>(counts: &[Count; N], values: &[&'static str; N], value: &'static str, amount: u64) {
    let at = values.iter().position(|known| *known == value);
    debug_assert!(at.is_some(), "`{value}` is in no list of families.rs");
    if let Some(at) = at {
        counts[at].add(amount);
    }
}

#[cfg(test)]
mod tests;
