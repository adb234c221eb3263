//! What a scrape shows, read by a small parser of the text format.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::core::{AdminState, Phases, Time};
use crate::telemetry::{BackendSample, ConnectDurations, MemberCounts, ServiceSample, VipSample};

/// A scrape, taken apart.
#[derive(Default)]
struct Scrape {
    kinds: BTreeMap<String, String>,
    helps: BTreeSet<String>,
    series: BTreeMap<String, f64>,
}

impl Scrape {
    /// Fails on what Prometheus or `promtool check metrics` would refuse.
    fn parse(text: &str) -> Self {
        let mut scrape = Self::default();
        let mut family = String::new();
        assert!(text.ends_with('\n'), "the last line has no end");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, sentence) = help.split_once(' ').expect("a help text");
                assert!(sentence.ends_with('.'), "no sentence: {line}");
                assert!(scrape.helps.insert(name.to_owned()), "twice: {line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(scrape.helps.contains(name), "no help before {line}");
                assert_eq!(name.ends_with("_total"), kind == "counter", "{line}");
                assert!(scrape.kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
                name.clone_into(&mut family);
            } else {
                let (series, value) = line.rsplit_once(' ').expect("a value");
                let name = series.split('{').next().expect("a name");
                let own = match scrape.kinds[&family].as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{family}{end}")).to_vec(),
                    _ => vec![family.clone()],
                };
                assert!(own.iter().any(|own| own == name), "`{name}` stands under `{family}`");
                let value = value.parse().expect("a number");
                assert!(scrape.series.insert(series.to_owned(), value).is_none(), "twice: {series}");
            }
        }
        scrape
    }

    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("no {series}"))
    }

    fn of(&self, name: &str) -> Vec<&str> {
        let with_labels = format!("{name}{{");
        self.series.keys().map(String::as_str).filter(|s| s.starts_with(&with_labels) || *s == name).collect()
    }
}

fn metrics() -> Metrics {
    Metrics::new(&Layout {
        version: "0.1.0",
        revision: "abc",
        config_sha256: "5f2c",
        vips: vec!["vi_1".to_owned(), "vi_2".to_owned()],
        services: vec![("myweb".to_owned(), vec!["web1".to_owned(), "web2".to_owned()])],
    })
    .expect("nothing is registered twice")
}

fn transition(phases: Option<Phases>) -> Transition {
    Transition {
        vip: 1,
        from: VipState::Backup,
        to: VipState::Active,
        cause: Cause::HolderSilent,
        at: Time::ZERO,
        priority: 102,
        term: 4,
        phases,
    }
}

#[test]
fn every_family_of_the_contract_is_there_with_its_kind() {
    let scrape = Scrape::parse(&metrics().render(&Sample::default()));
    let expected = [
        ("chinthe_build_info", "gauge"),
        ("chinthe_config_info", "gauge"),
        ("chinthe_config_last_reload_successful", "gauge"),
        ("chinthe_ready", "gauge"),
        ("chinthe_log_lines_dropped_total", "counter"),
        ("chinthe_events_dropped_total", "counter"),
        ("chinthe_cluster_members", "gauge"),
        ("chinthe_quorum_nodes", "gauge"),
        ("chinthe_vip_active", "gauge"),
        ("chinthe_vip_address_present", "gauge"),
        ("chinthe_vip_priority", "gauge"),
        ("chinthe_vip_transitions_total", "counter"),
        ("chinthe_vip_conflicts_total", "counter"),
        ("chinthe_vip_announcements_total", "counter"),
        ("chinthe_vip_grants", "gauge"),
        ("chinthe_vip_addresses_restored_total", "counter"),
        ("chinthe_failover_duration_seconds", "histogram"),
        ("chinthe_backend_up", "gauge"),
        ("chinthe_backend_check_up", "gauge"),
        ("chinthe_backend_admin_state", "gauge"),
        ("chinthe_backend_views", "gauge"),
        ("chinthe_backend_disagreement", "gauge"),
        ("chinthe_backend_connections_total", "counter"),
        ("chinthe_backend_connections_active", "gauge"),
        ("chinthe_backend_connect_failures_total", "counter"),
        ("chinthe_backend_bytes_total", "counter"),
        ("chinthe_service_connections_total", "counter"),
        ("chinthe_service_connections_active", "gauge"),
        ("chinthe_service_connections_rejected_total", "counter"),
        ("chinthe_service_bytes_total", "counter"),
        ("chinthe_service_connect_duration_seconds", "histogram"),
        ("chinthe_peer_messages_total", "counter"),
        ("chinthe_peer_messages_rejected_total", "counter"),
    ];
    for (name, kind) in expected {
        assert_eq!(scrape.kinds.get(name).map(String::as_str), Some(kind), "{name}");
    }
    let others = scrape.kinds.keys().filter(|name| !expected.iter().any(|(known, _)| known == name));
    assert!(others.clone().all(|name| name.starts_with("process_")), "{:?}", others.collect::<Vec<_>>());
}

#[test]
fn every_series_is_there_from_the_start_at_zero() {
    let scrape = Scrape::parse(&metrics().render(&Sample::default()));
    for (name, series) in [
        ("chinthe_vip_transitions_total", 2 * 3 * Cause::ALL.len()),
        ("chinthe_vip_conflicts_total", 2 * 2),
        ("chinthe_vip_announcements_total", 2 * 2),
        ("chinthe_failover_duration_seconds_count", 2 * 5),
        ("chinthe_vip_priority", 2 * 2),
        ("chinthe_cluster_members", 4),
        ("chinthe_backend_admin_state", 2 * 3),
        ("chinthe_backend_views", 2 * 3),
        ("chinthe_backend_disagreement", 2),
        ("chinthe_backend_connect_failures_total", 2 * 5),
        ("chinthe_backend_bytes_total", 2 * 2),
        ("chinthe_service_connections_rejected_total", 3),
        ("chinthe_service_connect_duration_seconds_bucket", 12 + 1),
        ("chinthe_peer_messages_total", 3 * 2),
        ("chinthe_peer_messages_rejected_total", 3 * 12),
    ] {
        assert_eq!(scrape.of(name).len(), series, "{name}");
    }
    for (series, value) in &scrape.series {
        let always_one =
            series.starts_with("chinthe_build_info") || series.starts_with("chinthe_config_info");
        if series.starts_with("chinthe_") {
            assert!((value - f64::from(u8::from(always_one))).abs() < f64::EPSILON, "{series} {value}");
        }
    }
    assert!(
        (scrape.value("chinthe_build_info{version=\"0.1.0\",revision=\"abc\"}") - 1.0).abs() < f64::EPSILON
    );
}

#[test]
fn a_cluster_without_vips_and_services_renders_what_is_left() {
    let metrics = Metrics::new(&Layout::default()).expect("nothing is registered twice");
    let scrape = Scrape::parse(&metrics.render(&Sample::default()));
    assert!(scrape.kinds.contains_key("chinthe_ready"));
    assert!(!scrape.kinds.contains_key("chinthe_vip_active"));
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
fn what_is_reported_is_counted() {
    let metrics = metrics();
    let ms = Duration::from_millis;
    metrics.transition(&transition(Some(Phases { detect: ms(150), elect: ms(25), assign: ms(2) })));
    metrics.failover_announced(1, ms(1), ms(178));
    metrics.conflict(0, "arp");
    metrics.announcement(1, "garp", 5);
    metrics.message(Channel::Advertisement, Direction::Out);
    metrics.rejected(Channel::Beacon, "forged");
    let scrape = Scrape::parse(&metrics.render(&Sample::default()));
    let is = |series: &str, value: f64| assert_eq!(scrape.value(series), value, "{series}");
    is(r#"chinthe_vip_transitions_total{cause="holder_silent",to="active",vip="vi_2"}"#, 1.0);
    is(r#"chinthe_failover_duration_seconds_bucket{phase="detect",vip="vi_2",le="0.1"}"#, 0.0);
    is(r#"chinthe_failover_duration_seconds_bucket{phase="detect",vip="vi_2",le="0.2"}"#, 1.0);
    is(r#"chinthe_failover_duration_seconds_sum{phase="total",vip="vi_2"}"#, 0.178);
    is(r#"chinthe_failover_duration_seconds_count{phase="announce",vip="vi_1"}"#, 0.0);
    is(r#"chinthe_vip_conflicts_total{source="arp",vip="vi_1"}"#, 1.0);
    is(r#"chinthe_vip_announcements_total{kind="garp",vip="vi_2"}"#, 5.0);
    is(r#"chinthe_peer_messages_total{channel="advertisement",direction="out"}"#, 1.0);
    is(r#"chinthe_peer_messages_rejected_total{channel="beacon",reason="forged"}"#, 1.0);
}

#[test]
fn a_vip_that_the_layout_doesnt_have_is_ignored() {
    let metrics = metrics();
    metrics.transition(&Transition { vip: 2, ..transition(None) });
    metrics.conflict(2, "arp");
    metrics.announcement(2, "garp", 1);
    metrics.failover_announced(2, Duration::ZERO, Duration::ZERO);
    let scrape = Scrape::parse(&metrics.render(&Sample::default()));
    assert_eq!(scrape.of("chinthe_vip_transitions_total").len(), 2 * 3 * Cause::ALL.len());
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
fn a_sample_is_shown_as_it_is() {
    let sample = Sample {
        ready: true,
        config_reload_ok: true,
        log_lines_dropped: 7,
        events_dropped: 3,
        majority: [3, 2, 3],
        members: MemberCounts { alive: 2, dead: 1, ..MemberCounts::default() },
        vips: vec![VipSample {
            active: true,
            address_present: true,
            base_priority: 101,
            effective_priority: 103,
            grants: 2,
        }],
        services: vec![ServiceSample {
            connections_total: 100,
            rejected: vec![("no_backend", 3), ("moon", 1)],
            bytes_out: 9_007_199_254_740_991,
            connect_durations: ConnectDurations {
                buckets: vec![(0.001, 90), (1.0, 99)],
                sum: 1.5,
                count: 100,
            },
            backends: vec![BackendSample {
                up: true,
                admin: Some(AdminState::Drain),
                views: [0, 2, 1],
                ..BackendSample::default()
            }],
            ..ServiceSample::default()
        }],
    };
    let scrape = Scrape::parse(&metrics().render(&sample));
    let is = |series: &str, value: f64| assert_eq!(scrape.value(series), value, "{series}");
    is("chinthe_ready", 1.0);
    is("chinthe_log_lines_dropped_total", 7.0);
    is("chinthe_events_dropped_total", 3.0);
    is(r#"chinthe_cluster_members{state="alive"}"#, 2.0);
    is(r#"chinthe_cluster_members{state="suspect"}"#, 0.0);
    is(r#"chinthe_vip_priority{vip="vi_1",kind="effective"}"#, 103.0);
    is(r#"chinthe_vip_active{vip="vi_2"}"#, 0.0);
    is(r#"chinthe_vip_grants{vip="vi_1"}"#, 2.0);
    is(r#"chinthe_quorum_nodes{kind="needed"}"#, 2.0);
    is(r#"chinthe_service_connections_rejected_total{service="myweb",reason="no_backend"}"#, 3.0);
    is(r#"chinthe_service_connections_rejected_total{service="myweb",reason="resources"}"#, 0.0);
    is(r#"chinthe_service_connections_rejected_total{service="myweb",reason="moon"}"#, 1.0);
    is(r#"chinthe_service_bytes_total{service="myweb",direction="out"}"#, 9_007_199_254_740_991.0);
    is(r#"chinthe_service_connect_duration_seconds_bucket{service="myweb",le="1"}"#, 99.0);
    is(r#"chinthe_service_connect_duration_seconds_bucket{service="myweb",le="+Inf"}"#, 100.0);
    is(r#"chinthe_backend_admin_state{service="myweb",backend="web1",state="drain"}"#, 1.0);
    is(r#"chinthe_backend_admin_state{service="myweb",backend="web1",state="ready"}"#, 0.0);
    is(r#"chinthe_backend_views{service="myweb",backend="web1",verdict="up"}"#, 2.0);
    is(r#"chinthe_backend_up{service="myweb",backend="web2"}"#, 0.0);
}
