//! A [`Sample`] as metric families.

use prometheus::proto;

use super::families::{self, Family, Kind};
use super::metrics::Names;
use super::process;
use super::sample::{BackendSample, CONNECT_BOUNDS, ConnectDurations, Sample, ServiceSample, VipSample};
use crate::core::{AdminState, Verdict};

/// All families that come with a sample; in no order.
pub(super) fn families(names: &Names, sample: &Sample) -> Vec<proto::MetricFamily> {
    let mut all = Gathered::default();
    node(&mut all, names, sample);
    for (index, vip) in names.vips.iter().enumerate() {
        vip_series(&mut all, vip, sample.vips.get(index).copied().unwrap_or_default());
    }
    let absent = ServiceSample::default();
    for (index, (service, backends)) in names.services.iter().enumerate() {
        let sample = sample.services.get(index).unwrap_or(&absent);
        service_series(&mut all, service, sample);
        let absent = BackendSample::default();
        for (index, backend) in backends.iter().enumerate() {
            backend_series(&mut all, service, backend, sample.backends.get(index).unwrap_or(&absent));
        }
    }
    for (family, value) in process::read() {
        all.add(family, &[], value);
    }
    all.families
}

fn node(all: &mut Gathered, names: &Names, sample: &Sample) {
    all.add(&families::BUILD_INFO, &[&names.version, &names.revision], 1.0);
    all.add(&families::CONFIG_INFO, &[&names.config_sha256], 1.0);
    all.add(&families::CONFIG_RELOAD, &[], yes(sample.config_reload_ok));
    all.add(&families::READY, &[], yes(sample.ready));
    all.add(&families::LOG_DROPPED, &[], sample.log_lines_dropped as f64);
    all.add(&families::EVENTS_DROPPED, &[], sample.events_dropped as f64);
    let members = sample.members;
    for (state, count) in [
        ("alive", members.alive),
        ("suspect", members.suspect),
        ("dead", members.dead),
        ("left", members.left),
    ] {
        all.add(&families::MEMBERS, &[state], count as f64);
    }
    for (kind, nodes) in ["expected", "needed", "present"].into_iter().zip(sample.majority) {
        all.add(&families::QUORUM_NODES, &[kind], nodes as f64);
    }
}

fn vip_series(all: &mut Gathered, vip: &str, sample: VipSample) {
    all.add(&families::VIP_ACTIVE, &[vip], yes(sample.active));
    all.add(&families::VIP_PRESENT, &[vip], yes(sample.address_present));
    all.add(&families::VIP_PRIORITY, &[vip, "base"], f64::from(sample.base_priority));
    all.add(&families::VIP_PRIORITY, &[vip, "effective"], f64::from(sample.effective_priority));
    all.add(&families::VIP_GRANTS, &[vip], sample.grants as f64);
}

fn service_series(all: &mut Gathered, service: &str, sample: &ServiceSample) {
    all.add(&families::SERVICE_CONNECTIONS, &[service], sample.connections_total as f64);
    all.add(&families::SERVICE_ACTIVE, &[service], sample.connections_active as f64);
    for (reason, count) in with_zeros(&families::CONNECTION_REJECTIONS, &sample.rejected) {
        all.add(&families::SERVICE_REJECTED, &[service, reason], count as f64);
    }
    all.add(&families::SERVICE_BYTES, &[service, "in"], sample.bytes_in as f64);
    all.add(&families::SERVICE_BYTES, &[service, "out"], sample.bytes_out as f64);
    all.add_histogram(&families::SERVICE_CONNECT, &[service], &sample.connect_durations);
}

fn backend_series(all: &mut Gathered, service: &str, backend: &str, sample: &BackendSample) {
    let labels = [service, backend];
    all.add(&families::BACKEND_UP, &labels, yes(sample.up));
    all.add(&families::BACKEND_CHECK_UP, &labels, yes(sample.check_up));
    for state in AdminState::ALL {
        let is = sample.admin == Some(state);
        all.add(&families::BACKEND_ADMIN, &[service, backend, state.as_str()], yes(is));
    }
    for (verdict, members) in Verdict::ALL.into_iter().zip(sample.views) {
        all.add(&families::BACKEND_VIEWS, &[service, backend, verdict.as_str()], members as f64);
    }
    all.add(&families::BACKEND_DISAGREEMENT, &labels, yes(sample.disagrees));
    all.add(&families::BACKEND_CONNECTIONS, &labels, sample.connections_total as f64);
    all.add(&families::BACKEND_ACTIVE, &labels, sample.connections_active as f64);
    for (reason, count) in with_zeros(&families::CONNECT_FAILURES, &sample.connect_failures) {
        all.add(&families::BACKEND_FAILURES, &[service, backend, reason], count as f64);
    }
    all.add(&families::BACKEND_BYTES, &[service, backend, "in"], sample.bytes_in as f64);
    all.add(&families::BACKEND_BYTES, &[service, backend, "out"], sample.bytes_out as f64);
}

/// Families under way; the series of one may come in any order.
#[derive(Default)]
struct Gathered {
    families: Vec<proto::MetricFamily>,
}

impl Gathered {
    fn add(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        let mut metric = labelled(family, labels);
        match family.kind {
            Kind::Counter => {
                let mut counter = proto::Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            Kind::Gauge => {
                let mut gauge = proto::Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
            Kind::Histogram => unreachable!("`{}` goes through `add_histogram`", family.name),
        }
        self.family(family).mut_metric().push(metric);
    }

    fn add_histogram(&mut self, family: &'static Family, labels: &[&str], durations: &ConnectDurations) {
        let unfilled: Vec<(f64, u64)>;
        let buckets = if durations.buckets.is_empty() {
            unfilled = CONNECT_BOUNDS.iter().map(|&bound| (bound, 0)).collect();
            &unfilled
        } else {
            &durations.buckets
        };
        let buckets = buckets.iter().map(|&(bound, cumulative)| {
            let mut bucket = proto::Bucket::default();
            bucket.set_upper_bound(bound);
            bucket.set_cumulative_count(cumulative);
            bucket
        });
        let mut histogram = proto::Histogram::default();
        histogram.set_bucket(buckets.collect());
        histogram.set_sample_sum(durations.sum);
        histogram.set_sample_count(durations.count);
        let mut metric = labelled(family, labels);
        metric.set_histogram(histogram);
        self.family(family).mut_metric().push(metric);
    }

    fn family(&mut self, family: &'static Family) -> &mut proto::MetricFamily {
        let index = self.families.iter().position(|known| known.name() == family.name);
        let index = index.unwrap_or_else(|| {
            let mut new = proto::MetricFamily::default();
            new.set_name(family.name.to_owned());
            new.set_help(family.help.to_owned());
            new.set_field_type(match family.kind {
                Kind::Counter => proto::MetricType::COUNTER,
                Kind::Gauge => proto::MetricType::GAUGE,
                Kind::Histogram => proto::MetricType::HISTOGRAM,
            });
            self.families.push(new);
            self.families.len() - 1
        });
        &mut self.families[index]
    }
}

fn labelled(family: &Family, values: &[&str]) -> proto::Metric {
    debug_assert_eq!(family.labels.len(), values.len(), "labels of `{}`", family.name);
    let labels = family.labels.iter().zip(values).map(|(&name, &value)| {
        let mut label = proto::LabelPair::default();
        label.set_name(name.to_owned());
        label.set_value(value.to_owned());
        label
    });
    proto::Metric::from_label(labels.collect())
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

fn yes(is: bool) -> f64 {
    f64::from(u8::from(is))
}
