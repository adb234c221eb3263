//! The counters of this node, and their rendering in Prometheus' text format (0.0.4).
//!
//! What happens rarely (transitions, takeovers, messages between nodes) is counted here. What happens for
//! every connection is counted where it happens and arrives with the [`Sample`] of a scrape.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

use super::families::{self, Family, phase};
use super::sample::Sample;
use super::sampled;
use crate::core::{Cause, Transition, VipState};

/// The version of this program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The source revision that this program was built from, where the build was told (`CHINTHE_REVISION`).
pub const REVISION: &str = match option_env!("CHINTHE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// What the series are named after; fixed for the life of a [`Metrics`].
#[derive(Debug, Clone, Default)]
pub struct Layout<'a> {
    /// The program's version.
    pub version: &'a str,
    /// The source revision it was built from.
    pub revision: &'a str,
    /// The configuration's digest, 64 hexadecimal digits.
    pub config_sha256: &'a str,
    /// The VIPs' names, in the configuration's order.
    pub vips: Vec<String>,
    /// The services' names, each with its backends' names, in the configuration's order.
    pub services: Vec<(String, Vec<String>)>,
}

/// [`Layout`], kept.
#[derive(Debug)]
pub(super) struct Names {
    pub(super) version: String,
    pub(super) revision: String,
    pub(super) config_sha256: String,
    pub(super) vips: Vec<String>,
    pub(super) services: Vec<(String, Vec<String>)>,
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
    names: Names,
    registry: Registry,
    transitions: IntCounterVec,
    conflicts: IntCounterVec,
    announcements: IntCounterVec,
    restored: IntCounterVec,
    failover: HistogramVec,
    messages: IntCounterVec,
    rejections: IntCounterVec,
}

/// Metrics could not be set up: two of them would have had the same series.
#[derive(Debug, thiserror::Error)]
#[error("the metrics can't be registered: {0}")]
pub struct MetricsError(#[from] prometheus::Error);

impl Metrics {
    /// All families with all of their series, at zero.
    pub fn new(layout: &Layout<'_>) -> Result<Self, MetricsError> {
        let registry = Registry::new();
        let metrics = Self {
            names: Names {
                version: layout.version.to_owned(),
                revision: layout.revision.to_owned(),
                config_sha256: layout.config_sha256.to_owned(),
                vips: layout.vips.clone(),
                services: layout.services.clone(),
            },
            transitions: counter(&registry, &families::VIP_TRANSITIONS)?,
            conflicts: counter(&registry, &families::VIP_CONFLICTS)?,
            announcements: counter(&registry, &families::VIP_ANNOUNCEMENTS)?,
            restored: counter(&registry, &families::VIP_RESTORED)?,
            failover: histogram(&registry, &families::FAILOVER, &families::FAILOVER_BOUNDS)?,
            messages: counter(&registry, &families::PEER_MESSAGES)?,
            rejections: counter(&registry, &families::PEER_REJECTED)?,
            registry,
        };
        metrics.create_series();
        Ok(metrics)
    }

    /// Counts a transition and, where it has them, the phases of the takeover.
    pub fn transition(&self, transition: &Transition) {
        let Some(vip) = self.names.vips.get(transition.vip) else { return };
        self.transitions
            .with_label_values(&[vip.as_str(), transition.to.as_str(), transition.cause.as_str()])
            .inc();
        if let Some(phases) = transition.phases {
            self.observe(vip, phase::DETECT, phases.detect);
            self.observe(vip, phase::ELECT, phases.elect);
            self.observe(vip, phase::ASSIGN, phases.assign);
        }
    }

    /// Counts another holder of VIP number `vip`; `source` is `arp` or `advertisement`.
    pub fn conflict(&self, vip: usize, source: &'static str) {
        let Some(vip) = self.names.vips.get(vip) else { return };
        self.conflicts.with_label_values(&[vip.as_str(), source]).inc();
    }

    /// Counts `n` announcements of VIP number `vip`; `kind` is `garp` or `na`.
    pub fn announcement(&self, vip: usize, kind: &'static str, n: u64) {
        let Some(vip) = self.names.vips.get(vip) else { return };
        self.announcements.with_label_values(&[vip.as_str(), kind]).inc_by(n);
    }

    /// Counts an address of VIP number `vip` that somebody else removed and that was added again.
    pub fn address_restored(&self, vip: usize) {
        let Some(vip) = self.names.vips.get(vip) else { return };
        self.restored.with_label_values(&[vip.as_str()]).inc();
    }

    /// Counts the end of a takeover of VIP number `vip`: `announce` from the kernel's acknowledgement of the
    /// address to the first announcement on the wire, `total` from the old holder's last word to there.
    pub fn failover_announced(&self, vip: usize, announce: Duration, total: Duration) {
        let Some(vip) = self.names.vips.get(vip) else { return };
        self.observe(vip, phase::ANNOUNCE, announce);
        self.observe(vip, phase::TOTAL, total);
    }

    /// Counts a message sent, or received and accepted.
    pub fn message(&self, channel: Channel, direction: Direction) {
        self.messages.with_label_values(&[channel.as_str(), direction.as_str()]).inc();
    }

    /// Counts several messages.
    pub fn messages(&self, channel: Channel, direction: Direction, count: u64) {
        self.messages.with_label_values(&[channel.as_str(), direction.as_str()]).inc_by(count);
    }

    /// Counts a message dropped. `reason` is one of `short`, `version`, `channel`, `cluster`, `key`,
    /// `forged`, `own`, `full`, `replayed`, `unproven`, `malformed` and `name`.
    pub fn rejected(&self, channel: Channel, reason: &'static str) {
        self.rejections.with_label_values(&[channel.as_str(), reason]).inc();
    }

    /// Everything, in text format 0.0.4, families in the order of their names.
    pub fn render(&self, sample: &Sample) -> String {
        let mut gathered = self.registry.gather();
        gathered.extend(sampled::families(&self.names, sample));
        gathered.sort_by(|a, b| a.name().cmp(b.name()));
        let mut text = String::new();
        for family in gathered {
            // A family without series (no VIP, no service) has nothing to show, and the encoder refuses it.
            if !family.get_metric().is_empty() {
                TextEncoder::new()
                    .encode_utf8(&[family], &mut text)
                    .expect("it has a name and series, and a String takes all");
            }
        }
        text
    }

    fn observe(&self, vip: &str, phase: &'static str, duration: Duration) {
        self.failover.with_label_values(&[vip, phase]).observe(duration.as_secs_f64());
    }

    /// A series that appears with its first event hides that event from `increase()`.
    fn create_series(&self) {
        for vip in self.names.vips.iter().map(String::as_str) {
            for (to, cause) in each(VipState::ALL, Cause::ALL) {
                self.transitions.with_label_values(&[vip, to.as_str(), cause.as_str()]);
            }
            self.restored.with_label_values(&[vip]);
            for source in families::CONFLICT_SOURCES {
                self.conflicts.with_label_values(&[vip, source]);
            }
            for kind in families::ANNOUNCEMENT_KINDS {
                self.announcements.with_label_values(&[vip, kind]);
            }
            for phase in phase::ALL {
                self.failover.with_label_values(&[vip, phase]);
            }
        }
        for (channel, direction) in each(Channel::ALL, Direction::ALL) {
            self.messages.with_label_values(&[channel.as_str(), direction.as_str()]);
        }
        for (channel, reason) in each(Channel::ALL, families::MESSAGE_REJECTIONS) {
            self.rejections.with_label_values(&[channel.as_str(), reason]);
        }
    }
}

/// Every pair of the two.
fn each<A: Copy, B: Copy, const N: usize, const M: usize>(
    a: [A; N],
    b: [B; M],
) -> impl Iterator<Item = (A, B)> {
    a.into_iter().flat_map(move |a| b.into_iter().map(move |b| (a, b)))
}

fn counter(registry: &Registry, family: &Family) -> Result<IntCounterVec, MetricsError> {
    let counter = IntCounterVec::new(Opts::new(family.name, family.help), family.labels)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn histogram(registry: &Registry, family: &Family, bounds: &[f64]) -> Result<HistogramVec, MetricsError> {
    let options = HistogramOpts::new(family.name, family.help).buckets(bounds.to_vec());
    let histogram = HistogramVec::new(options, family.labels)?;
    registry.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

#[cfg(test)]
mod tests;
