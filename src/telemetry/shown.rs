//! This node in our own families: what was counted here, and the [`Sample`] of the moment.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::counts::{BackendCounts, Phase, ServiceCounts, VipCounts};
use super::exposition::Page;
use super::families::{
    self, ANNOUNCEMENT_KINDS, CHECK_RESULTS, CONFLICT_SOURCES, MESSAGE_REJECTIONS, RELOAD_RESULTS,
};
use super::histogram::{Exemplar, Observed};
use super::metrics::{Channel, Direction, Metrics};
use super::process;
use super::sample::{
    BackendSample, CONNECT_BOUNDS, Durations, LASTING_BOUNDS, Sample, ServiceSample, VipSample,
};
use crate::config::Detail;
use crate::core::{AdminState, Cause, MemberState, Verdict, VipState};

/// Puts all of it on the page.
pub(super) fn show(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    node(page, metrics, sample);
    cluster(page, metrics, sample);
    let absent = VipSample::default();
    for (at, (layout, counts)) in metrics.layout.vips.iter().zip(&metrics.vips).enumerate() {
        vip(page, &layout.name, counts, sample.vips.get(at).unwrap_or(&absent));
    }
    page.count(&families::PROXY_LIMIT, &[], sample.proxy.connections_limit);
    page.count(&families::PROXY_PAUSES, &[], sample.proxy.accept_pauses);
    let backends = backends_shown(metrics.layout.options.detail, sample);
    let absent = ServiceSample::default();
    for (at, ((name, names), counts)) in metrics.layout.services.iter().zip(&metrics.services).enumerate() {
        let limit = metrics.layout.limits.get(at).copied().flatten();
        page.count(&families::SERVICE_LIMIT, &[name], limit.unwrap_or(sample.proxy.connections_limit));
        let sample = sample.services.get(at).unwrap_or(&absent);
        service(page, name, names.len(), counts, sample);
        backends_of(page, name, names, counts, sample, backends);
    }
    for (family, value) in process::read() {
        page.add(family, &[], value);
    }
}

/// How much is shown of each backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Backends {
    /// All.
    Whole,
    /// Whether it is used, and what this node's probes say: what views are compared by.
    Verdicts,
    /// Nothing; the service's counts remain.
    None,
}

/// Most series are backends', and all but the holder's stand still: so they may be left to the holder.
fn backends_shown(detail: Detail, sample: &Sample) -> Backends {
    let holds = sample.vips.is_empty() || sample.vips.iter().any(|vip| vip.active);
    match detail {
        Detail::Full => Backends::Whole,
        Detail::Holder if holds => Backends::Whole,
        Detail::Holder => Backends::Verdicts,
        Detail::Aggregate => Backends::None,
    }
}

fn node(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    let layout = &metrics.layout;
    page.count(&families::BUILD_INFO, &[&layout.version, &layout.revision], 1);
    let role = if layout.witness { "witness" } else { "member" };
    page.count(&families::NODE_INFO, &[role], 1);
    page.count(&families::CONFIG_INFO, &[&layout.config_sha256], 1);
    for (result, count) in RELOAD_RESULTS.iter().zip(&metrics.node.reloads) {
        page.count(&families::CONFIG_RELOADS, &[result], count.get());
    }
    page.flag(&families::CONFIG_RELOAD, &[], !metrics.node.reload_failed.load(Ordering::Relaxed));
    page.seconds(&families::CONFIG_LOADED, &[], metrics.node.loaded.get());
    page.flag(&families::READY, &[], sample.ready);
    for state in AdminState::ALL {
        page.flag(&families::NODE_ADMIN, &[state.as_str()], sample.admin == state);
    }
    page.count(&families::LOG_DROPPED, &[], sample.log_lines_dropped);
    page.count(&families::EVENTS_DROPPED, &[], sample.events_dropped);
    for (stage, count) in ["ended", "delivered"].iter().zip(sample.spans) {
        page.count(&families::TRACE_SPANS, &[stage], count);
    }
    for (path, code, count) in &sample.admin_requests {
        page.count(&families::ADMIN_REQUESTS, &[path, &code.to_string()], *count);
    }
    page.count(&families::DRIVER_STALLS, &[], metrics.node.stalls.get());
    page.add_histogram(&families::DRIVER_LATENESS, &[], &metrics.node.lateness.observed());
    for (at, name) in layout.checks.iter().enumerate() {
        let succeeds = sample.checks.get(at).copied().flatten().unwrap_or_default();
        page.flag(&families::CHECK_UP, &[name], succeeds);
    }
}

fn cluster(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    for (at, state) in MemberState::ALL.into_iter().enumerate() {
        page.count(&families::MEMBERS, &[state.as_str()], sample.members[at]);
        page.count(&families::MEMBER_TRANSITIONS, &[state.as_str()], metrics.node.members[at].get());
    }
    for (kind, nodes) in ["expected", "needed", "present"].iter().zip(sample.majority) {
        page.count(&families::QUORUM_NODES, &[kind], nodes);
    }
    page.count(&families::MEMBERS_EXPECTED, &[], sample.members_expected);
    for (member, heard) in &sample.heard {
        page.seconds(&families::MEMBER_HEARD, &[member], *heard);
    }
    for direction in Direction::ALL {
        let bytes = metrics.node.messages.gossip_bytes[direction as usize].get();
        page.count(&families::GOSSIP_BYTES, &[direction.as_str()], bytes);
    }
    page.add_histogram(&families::GOSSIP_CONVERGENCE, &[], &metrics.node.convergence.observed());
    for channel in Channel::ALL {
        let label = channel.as_str();
        for direction in Direction::ALL {
            let count = metrics.node.messages.passed[channel as usize][direction as usize].get();
            page.count(&families::PEER_MESSAGES, &[label, direction.as_str()], count);
        }
        for (reason, count) in
            MESSAGE_REJECTIONS.iter().zip(&metrics.node.messages.rejected[channel as usize])
        {
            page.count(&families::PEER_REJECTED, &[label, reason], count.get());
        }
    }
}

fn vip(page: &mut Page, vip: &str, counts: &VipCounts, sample: &VipSample) {
    page.flag(&families::VIP_ACTIVE, &[vip], sample.active);
    page.flag(&families::VIP_ELIGIBLE, &[vip], sample.eligible);
    page.flag(&families::VIP_PRESENT, &[vip], sample.address_present);
    if let Some(holder) = &sample.holder {
        page.count(&families::VIP_HOLDER, &[vip, holder], 1);
    }
    page.count(&families::VIP_TERM, &[vip], sample.term.into());
    page.seconds(&families::VIP_SINCE, &[vip], sample.since);
    page.count(&families::VIP_PRIORITY, &[vip, "base"], sample.base_priority.into());
    page.count(&families::VIP_PRIORITY, &[vip, "effective"], sample.effective_priority.into());
    for track in &sample.tracks {
        page.add(&families::VIP_TRACK_WEIGHT, &[vip, track.kind, &track.tracked], track.weight.into());
    }
    page.count(&families::VIP_GRANTS, &[vip], sample.grants);
    page.count(&families::VIP_DAMPED, &[vip], sample.damped);
    for to in VipState::ALL {
        for cause in Cause::ALL {
            let count = counts.transitions[to as usize][cause as usize].get();
            page.count(&families::VIP_TRANSITIONS, &[vip, to.as_str(), cause.as_str()], count);
        }
    }
    for (source, count) in CONFLICT_SOURCES.iter().zip(&counts.conflicts) {
        page.count(&families::VIP_CONFLICTS, &[vip, source], count.get());
    }
    for (kind, count) in ANNOUNCEMENT_KINDS.iter().zip(&counts.announcements) {
        page.count(&families::VIP_ANNOUNCEMENTS, &[vip, kind], count.get());
    }
    page.count(&families::VIP_ANNOUNCEMENT_ERRORS, &[vip], counts.announcement_errors.get());
    page.count(&families::VIP_RESTORED, &[vip], counts.restored.get());
    for (phase, histogram) in Phase::ALL.into_iter().zip(&counts.failover) {
        page.add_histogram(&families::FAILOVER, &[vip, phase.as_str()], &histogram.observed());
    }
}

fn service(page: &mut Page, service: &str, backends: usize, counts: &ServiceCounts, sample: &ServiceSample) {
    page.flag(&families::SERVICE_UP, &[service], sample.up);
    let absent = BackendSample::default();
    let states: Vec<&str> =
        (0..backends).map(|at| sample.backends.get(at).unwrap_or(&absent).state()).collect();
    for state in families::BACKEND_STATES {
        let count = states.iter().filter(|is| **is == state).count();
        page.count(&families::SERVICE_BACKENDS, &[service, state], count as u64);
    }
    page.count(&families::SERVICE_CONNECTIONS, &[service], sample.connections_total);
    page.count(&families::SERVICE_ACTIVE, &[service], sample.connections_active);
    for (reason, count) in with_zeros(&families::CONNECTION_REJECTIONS, &sample.rejected) {
        page.count(&families::SERVICE_REJECTED, &[service, reason], count);
    }
    page.count(&families::SERVICE_BYTES, &[service, "in"], sample.bytes_in);
    page.count(&families::SERVICE_BYTES, &[service, "out"], sample.bytes_out);
    page.count(&families::SERVICE_RETRIES, &[service], sample.connect_retries);
    let connects = observed(&sample.connect_durations, CONNECT_BOUNDS, counts.connects.get());
    page.add_histogram(&families::SERVICE_CONNECT, &[service], &connects);
    let lasted = observed(&sample.connection_durations, LASTING_BOUNDS, Vec::new());
    page.add_histogram(&families::SERVICE_LASTING, &[service], &lasted);
}

fn observed(durations: &Durations, bounds: &'static [f64], exemplars: Vec<Option<Exemplar>>) -> Observed {
    Observed { bounds, buckets: durations.buckets.clone(), sum: durations.sum, exemplars }
}

fn backends_of(
    page: &mut Page,
    service: &str,
    names: &[String],
    counts: &ServiceCounts,
    sample: &ServiceSample,
    shown: Backends,
) {
    let absent = BackendSample::default();
    for (at, (name, counts)) in names.iter().zip(&counts.backends).enumerate() {
        let sample = sample.backends.get(at).unwrap_or(&absent);
        match shown {
            Backends::Whole => {
                verdicts(page, service, name, sample);
                backend(page, service, name, counts, sample);
            }
            Backends::Verdicts => verdicts(page, service, name, sample),
            Backends::None => {}
        }
    }
}

fn verdicts(page: &mut Page, service: &str, backend: &str, sample: &BackendSample) {
    let labels = [service, backend];
    page.flag(&families::BACKEND_UP, &labels, sample.up);
    page.flag(&families::BACKEND_CHECK_UP, &labels, sample.verdict == Verdict::Up);
    page.flag(&families::BACKEND_DISAGREEMENT, &labels, sample.disagrees);
}

fn backend(page: &mut Page, service: &str, backend: &str, counts: &BackendCounts, sample: &BackendSample) {
    let labels = [service, backend];
    for state in AdminState::ALL {
        page.flag(&families::BACKEND_ADMIN, &[service, backend, state.as_str()], sample.admin == Some(state));
    }
    page.count(&families::BACKEND_WEIGHT, &labels, sample.weight.into());
    for (at, verdict) in Verdict::ALL.into_iter().enumerate() {
        let labels = [service, backend, verdict.as_str()];
        page.count(&families::BACKEND_VIEWS, &labels, sample.views[at]);
        page.count(&families::BACKEND_TRANSITIONS, &labels, counts.transitions[at].get());
    }
    page.seconds(&families::BACKEND_SINCE, &labels, counts.since.get());
    page.seconds(&families::BACKEND_DOWNTIME, &labels, counts.down.get());
    for (result, count) in CHECK_RESULTS.iter().zip(&counts.checks) {
        page.count(&families::BACKEND_CHECKS, &[service, backend, result], count.get());
    }
    let took = Duration::from_nanos(counts.check_duration.load(Ordering::Relaxed));
    page.seconds(&families::BACKEND_CHECK_DURATION, &labels, took);
    page.count(&families::BACKEND_CONNECTIONS, &labels, sample.connections_total);
    page.count(&families::BACKEND_ACTIVE, &labels, sample.connections_active);
    for (reason, count) in with_zeros(&families::CONNECT_FAILURES, &sample.connect_failures) {
        page.count(&families::BACKEND_FAILURES, &[service, backend, reason], count);
    }
    page.count(&families::BACKEND_BYTES, &[service, backend, "in"], sample.bytes_in);
    page.count(&families::BACKEND_BYTES, &[service, backend, "out"], sample.bytes_out);
}

/// The known reasons, at zero where nothing was counted, then any others.
fn with_zeros(known: &[&'static str], counted: &[(&'static str, u64)]) -> Vec<(&'static str, u64)> {
    let mut all: Vec<_> = known.iter().map(|&reason| (reason, 0)).collect();
    for &(reason, count) in counted {
        match all.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, total)) => *total += count,
            None => all.push((reason, count)),
        }
    }
    all
}
