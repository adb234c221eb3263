//! What a scrape shows of the node: the driver's snapshot and the proxy's counters, named as telemetry names them.

use std::time::Duration;

use jiff::Timestamp;

use super::snapshot::Snapshot;
use crate::admin::{RequestCounts, status};
use crate::config::Config;
use crate::core::priority::Contribution;
use crate::core::{self, Core, MemberState, Tracked};
use crate::proxy::{self, BackendCounters, ConnectFailure, Counters, Rejection, ServiceCounters};
use crate::telemetry::{self, BackendSample, ProxySample, Sample, ServiceSample, TrackSample, VipSample};

/// What a scrape shows that neither the core nor the proxy knows.
#[derive(Debug, Clone)]
pub(super) struct NodeFacts {
    /// What the admin server has answered, by path and status code.
    pub(super) admin_requests: RequestCounts,
    /// Spans that have ended, and how many of these a collector has taken.
    pub(super) spans: [u64; 2],
    pub(super) log_lines_dropped: u64,
    pub(super) events_dropped: u64,
}

/// What a scrape shows besides the counters that are kept as metrics.
pub(super) fn sample(snapshot: &Snapshot, counters: &Counters, facts: NodeFacts) -> Sample {
    let mut members = [0; MemberState::ALL.len()];
    for member in &snapshot.members {
        let state = match member.state {
            status::MemberState::Alive => MemberState::Alive,
            status::MemberState::Suspect => MemberState::Suspect,
            status::MemberState::Dead => MemberState::Dead,
            status::MemberState::Left => MemberState::Left,
        };
        members[state as usize] += 1;
    }
    let vips = snapshot.vips.iter().map(|vip| VipSample {
        active: vip.shown.state == status::VipState::Active,
        eligible: vip.shown.state != status::VipState::Initialize,
        holder: vip.shown.holder.clone(),
        term: vip.shown.term,
        since: since_epoch(vip.shown.since),
        address_present: vip.address_present,
        base_priority: vip.shown.base_priority,
        effective_priority: vip.shown.effective_priority,
        tracks: vip.tracks.clone(),
        grants: vip.shown.grants.as_ref().map_or(0, |grants| grants.granted_by.len() as u64),
        damped: vip.shown.damped.len() as u64,
    });
    let known = snapshot.services.iter().zip(&snapshot.well).zip(snapshot.basis.numbers.all());
    let no_service = ServiceCounters::default();
    let services = known.map(|((backends, well), (number, numbers))| {
        let counted = counters.services.get(number).unwrap_or(&no_service);
        let nothing = BackendCounters::default();
        let counts = numbers.iter().map(|number| counted.backend(*number).unwrap_or(&nothing));
        let backends = counts.zip(backends).map(|(counted, known)| BackendSample {
            up: known.usable,
            verdict: known.verdict,
            admin: Some(known.admin),
            weight: known.weight,
            views: known.counts,
            disagrees: known.verdict != known.agreed
                && known.verdict != core::Verdict::Unknown
                && known.agreed != core::Verdict::Unknown,
            connections_total: counted.connections,
            connections_active: counted.active,
            connect_failures: ConnectFailure::ALL
                .iter()
                .map(|f| f.as_str())
                .zip(counted.connect_failures)
                .collect(),
            bytes_in: counted.bytes.received,
            bytes_out: counted.bytes.sent,
        });
        ServiceSample {
            up: *well,
            connections_total: counted.connections,
            connections_active: counted.active,
            rejected: Rejection::ALL.iter().map(|r| r.as_str()).zip(counted.rejected).collect(),
            bytes_in: counted.bytes.received,
            bytes_out: counted.bytes.sent,
            connect_retries: counted.retries,
            connect_durations: durations(&counted.connect_duration),
            connection_durations: durations(&counted.lasted),
            backends: backends.collect(),
        }
    });
    let cluster = &snapshot.basis.config.cluster;
    let named = cluster.nodes.len().max(cluster.seeds.len());
    let members_expected = cluster.quorum.majority_of().map_or(named, usize::from) as u64;
    Sample {
        ready: snapshot.ready,
        admin: snapshot.admin,
        admin_requests: facts.admin_requests,
        spans: facts.spans,
        log_lines_dropped: facts.log_lines_dropped,
        events_dropped: facts.events_dropped,
        majority: snapshot.majority.as_ref().map_or([0; 3], |majority| {
            [majority.expected_nodes, majority.needed, majority.present].map(u64::from)
        }),
        members,
        members_expected,
        heard: snapshot.heard.clone(),
        checks: snapshot.checks.clone(),
        proxy: ProxySample {
            workers: counters.workers,
            connections_limit: counters.connections_limit,
            accept_pauses: counters.accept_pauses,
        },
        vips: vips.collect(),
        services: services.collect(),
    }
}

fn durations(histogram: &proxy::Histogram) -> telemetry::Durations {
    telemetry::Durations { buckets: histogram.buckets.clone(), sum: histogram.sum }
}

/// Since the epoch; what was before it is 0.
fn since_epoch(moment: Timestamp) -> Duration {
    Duration::from_millis(u64::try_from(moment.as_millisecond()).unwrap_or_default())
}

/// What each thing that a VIP tracks adds to this node's priority now, in the file's order.
pub(super) fn tracks(core: &Core, vip: usize, config: &Config) -> Vec<TrackSample> {
    let tracks = core.contributions(vip).map(|(tracked, contribution)| {
        let (kind, tracked) = match tracked {
            Tracked::Service(at) => ("service", config.services[at].name.clone()),
            Tracked::Check(at) => ("check", config.checks[at].name.clone()),
        };
        let weight = match contribution {
            Contribution::Points(points) => points,
            Contribution::Ineligible => 0,
        };
        TrackSample { kind, tracked, weight }
    });
    tracks.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_counts_durations_by_the_bounds_that_a_scrape_names() {
        let seconds = |bounds: &[Duration]| bounds.iter().map(Duration::as_secs_f64).collect::<Vec<f64>>();
        assert_eq!(seconds(&proxy::CONNECT_BOUNDS), telemetry::sample::CONNECT_BOUNDS);
        assert_eq!(seconds(&proxy::LASTING_BOUNDS), telemetry::sample::LASTING_BOUNDS);
    }
}
