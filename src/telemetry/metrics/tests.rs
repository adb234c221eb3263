//! What a scrape shows, read by a small parser of the text format.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::*;
use crate::config::Detail;
use crate::core::{AdminState, Cause, Phases, Time};
use crate::telemetry::{BackendSample, Durations, ProxySample, ServiceSample, TrackSample, VipSample};

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

fn layout() -> Layout {
    let vip = |name: &str| VipLayout {
        name: name.to_owned(),
        interface: "eth1".to_owned(),
        addresses: vec!["192.0.2.69".to_owned()],
    };
    Layout {
        version: "0.1.0".to_owned(),
        revision: "abc".to_owned(),
        config_sha256: "5f2c".to_owned(),
        cluster: "myweb".to_owned(),
        witness: false,
        options: config::Metrics::default(),
        vips: vec![vip("vi_1"), vip("vi_2")],
        services: vec![("myweb".to_owned(), vec!["web1".to_owned(), "web2".to_owned()])],
        limits: vec![None],
        checks: vec!["chk_disk".to_owned()],
    }
}

fn metrics() -> Metrics {
    Metrics::new(layout())
}

fn with(options: config::Metrics) -> Metrics {
    Metrics::new(Layout { options, ..layout() })
}

fn scrape(metrics: &Metrics, sample: &Sample) -> Scrape {
    Scrape::parse(&metrics.render(Exposition::Text, sample))
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
    let scrape = scrape(&metrics(), &Sample::default());
    let expected = [
        ("chinthe_build_info", "gauge"),
        ("chinthe_config_info", "gauge"),
        ("chinthe_config_reloads_total", "counter"),
        ("chinthe_config_last_reload_successful", "gauge"),
        ("chinthe_config_last_reload_success_timestamp_seconds", "gauge"),
        ("chinthe_ready", "gauge"),
        ("chinthe_node_admin_state", "gauge"),
        ("chinthe_driver_stalls_total", "counter"),
        ("chinthe_driver_lateness_seconds", "histogram"),
        ("chinthe_check_up", "gauge"),
        ("chinthe_log_lines_dropped_total", "counter"),
        ("chinthe_events_dropped_total", "counter"),
        ("chinthe_trace_spans_total", "counter"),
        ("chinthe_node_info", "gauge"),
        ("chinthe_cluster_members", "gauge"),
        ("chinthe_vip_damped_members", "gauge"),
        ("chinthe_cluster_expected_members", "gauge"),
        ("chinthe_member_transitions_total", "counter"),
        ("chinthe_vip_active", "gauge"),
        ("chinthe_vip_eligible", "gauge"),
        ("chinthe_vip_term", "gauge"),
        ("chinthe_vip_grants", "gauge"),
        ("chinthe_quorum_nodes", "gauge"),
        ("chinthe_vip_last_transition_timestamp_seconds", "gauge"),
        ("chinthe_vip_address_present", "gauge"),
        ("chinthe_vip_priority", "gauge"),
        ("chinthe_vip_transitions_total", "counter"),
        ("chinthe_vip_conflicts_total", "counter"),
        ("chinthe_vip_announcements_total", "counter"),
        ("chinthe_vip_announcement_errors_total", "counter"),
        ("chinthe_vip_addresses_restored_total", "counter"),
        ("chinthe_failover_duration_seconds", "histogram"),
        ("chinthe_backend_up", "gauge"),
        ("chinthe_backend_check_up", "gauge"),
        ("chinthe_backend_admin_state", "gauge"),
        ("chinthe_backend_views", "gauge"),
        ("chinthe_backend_disagreement", "gauge"),
        ("chinthe_backend_weight", "gauge"),
        ("chinthe_backend_transitions_total", "counter"),
        ("chinthe_backend_last_transition_timestamp_seconds", "gauge"),
        ("chinthe_backend_downtime_seconds_total", "counter"),
        ("chinthe_backend_checks_total", "counter"),
        ("chinthe_backend_check_duration_seconds", "gauge"),
        ("chinthe_backend_connections_total", "counter"),
        ("chinthe_backend_connections_active", "gauge"),
        ("chinthe_backend_connect_failures_total", "counter"),
        ("chinthe_backend_bytes_total", "counter"),
        ("chinthe_service_up", "gauge"),
        ("chinthe_service_backends", "gauge"),
        ("chinthe_proxy_connections_limit", "gauge"),
        ("chinthe_proxy_accept_pauses_total", "counter"),
        ("chinthe_service_connections_total", "counter"),
        ("chinthe_service_connections_active", "gauge"),
        ("chinthe_service_connections_limit", "gauge"),
        ("chinthe_service_connections_rejected_total", "counter"),
        ("chinthe_service_bytes_total", "counter"),
        ("chinthe_service_connect_duration_seconds", "histogram"),
        ("chinthe_service_connect_retries_total", "counter"),
        ("chinthe_service_connection_duration_seconds", "histogram"),
        ("chinthe_gossip_bytes_total", "counter"),
        ("chinthe_gossip_convergence_seconds", "histogram"),
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
    let scrape = scrape(&metrics(), &Sample::default());
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
        ("chinthe_peer_messages_rejected_total", 3 * 15),
        ("chinthe_member_transitions_total", 4),
        ("chinthe_node_admin_state", 3),
        ("chinthe_service_backends", 5),
        ("chinthe_backend_transitions_total", 2 * 3),
        ("chinthe_backend_checks_total", 2 * 6),
        ("chinthe_config_reloads_total", 2),
    ] {
        assert_eq!(scrape.of(name).len(), series, "{name}");
    }
    // Nobody has said anything, so the node is ready and the backends are unknown; a change has its time, and the
    // configuration was loaded when the node started.
    let already = [
        "chinthe_build_info",
        "chinthe_node_info{role=\"member\"}",
        "chinthe_config_info",
        "chinthe_config_last_reload_success",
        "chinthe_node_admin_state{state=\"ready\"}",
        "chinthe_service_backends{service=\"myweb\",state=\"unknown\"}",
        "chinthe_backend_last_transition_timestamp_seconds",
    ];
    for (series, value) in &scrape.series {
        let expected = already.iter().any(|already| series.starts_with(already));
        if series.starts_with("chinthe_") {
            assert_eq!(*value > 0.0, expected, "{series} {value}");
        }
    }
    assert!(
        (scrape.value("chinthe_build_info{version=\"0.1.0\",revision=\"abc\"}") - 1.0).abs() < f64::EPSILON
    );
}

#[test]
fn a_cluster_without_vips_and_services_renders_what_is_left() {
    let metrics = Metrics::new(Layout::default());
    let scrape = scrape(&metrics, &Sample::default());
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
    metrics.announcement_failed(1, 2);
    metrics.gossip_bytes(Direction::In, 1500);
    metrics.converged(ms(20));
    metrics.message(Channel::Advertisement, Direction::Out);
    metrics.rejected(Channel::Beacon, "forged", 1);
    metrics.rejected(Channel::Gossip, "busy", 2000);
    metrics.member(MemberState::Dead);
    metrics.backend(0, 1, Verdict::Down);
    metrics.probed(0, 1, Ok(ms(3)));
    metrics.probed(0, 1, Err("timeout"));
    metrics.late(ms(20));
    metrics.stalled();
    let scrape = scrape(&metrics, &Sample::default());
    let is = |series: &str, value: f64| assert_eq!(scrape.value(series), value, "{series}");
    is(r#"chinthe_vip_transitions_total{vip="vi_2",to="active",cause="holder_silent"}"#, 1.0);
    is(r#"chinthe_failover_duration_seconds_bucket{vip="vi_2",phase="detect",le="0.1"}"#, 0.0);
    is(r#"chinthe_failover_duration_seconds_bucket{vip="vi_2",phase="detect",le="0.2"}"#, 1.0);
    is(r#"chinthe_failover_duration_seconds_sum{vip="vi_2",phase="total"}"#, 0.178);
    is(r#"chinthe_failover_duration_seconds_count{vip="vi_1",phase="announce"}"#, 0.0);
    is(r#"chinthe_vip_conflicts_total{vip="vi_1",source="arp"}"#, 1.0);
    is(r#"chinthe_vip_announcements_total{vip="vi_2",kind="garp"}"#, 5.0);
    is(r#"chinthe_vip_announcement_errors_total{vip="vi_2"}"#, 2.0);
    is(r#"chinthe_gossip_bytes_total{direction="in"}"#, 1500.0);
    is(r#"chinthe_gossip_convergence_seconds_bucket{le="0.01"}"#, 0.0);
    is(r#"chinthe_gossip_convergence_seconds_bucket{le="0.025"}"#, 1.0);
    is(r#"chinthe_peer_messages_total{channel="advertisement",direction="out"}"#, 1.0);
    is(r#"chinthe_peer_messages_rejected_total{channel="beacon",reason="forged"}"#, 1.0);
    is(r#"chinthe_peer_messages_rejected_total{channel="gossip",reason="busy"}"#, 2000.0);
    is(r#"chinthe_member_transitions_total{to="dead"}"#, 1.0);
    is(r#"chinthe_backend_transitions_total{service="myweb",backend="web2",to="down"}"#, 1.0);
    is(r#"chinthe_backend_check_duration_seconds{service="myweb",backend="web2"}"#, 0.003);
    is(r#"chinthe_backend_checks_total{service="myweb",backend="web2",result="success"}"#, 1.0);
    is(r#"chinthe_backend_checks_total{service="myweb",backend="web2",result="timeout"}"#, 1.0);
    is(r#"chinthe_driver_lateness_seconds_bucket{le="0.015"}"#, 0.0);
    is(r#"chinthe_driver_lateness_seconds_bucket{le="0.05"}"#, 1.0);
    is("chinthe_driver_stalls_total", 1.0);
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
fn a_service_without_a_limit_of_its_own_shares_the_proxys() {
    let proxy = ProxySample { connections_limit: 9744, ..ProxySample::default() };
    let sample = Sample { proxy, ..Sample::default() };
    for (limits, shown) in [(vec![Some(100)], 100.0), (vec![None], 9744.0), (vec![], 9744.0)] {
        let metrics = Metrics::new(Layout { limits, ..layout() });
        let limit = scrape(&metrics, &sample).value("chinthe_service_connections_limit{service=\"myweb\"}");
        assert_eq!(limit, shown);
    }
}

#[test]
fn a_witness_is_told_from_a_member() {
    let witness = Metrics::new(Layout { witness: true, ..layout() });
    assert_eq!(
        scrape(&witness, &Sample::default()).of("chinthe_node_info"),
        ["chinthe_node_info{role=\"witness\"}"]
    );
}

#[test]
fn a_vip_that_the_layout_doesnt_have_is_ignored() {
    let metrics = metrics();
    metrics.transition(&Transition { vip: 2, ..transition(None) });
    metrics.conflict(2, "arp");
    metrics.announcement(2, "garp", 1);
    metrics.failover_announced(2, Duration::ZERO, Duration::ZERO);
    let scrape = scrape(&metrics, &Sample::default());
    assert_eq!(scrape.of("chinthe_vip_transitions_total").len(), 2 * 3 * Cause::ALL.len());
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
fn a_sample_is_shown_as_it_is() {
    let sample = Sample {
        ready: true,
        admin_requests: vec![("/metrics", 200, 9)],
        spans: [8, 7],
        log_lines_dropped: 7,
        events_dropped: 3,
        majority: [3, 2, 3],
        members: [2, 0, 1, 0],
        heard: vec![("ha2".to_owned(), Duration::from_millis(1_700_000_000_250))],
        vips: vec![VipSample {
            active: true,
            eligible: true,
            address_present: true,
            holder: Some("ha1".to_owned()),
            term: 4,
            base_priority: 101,
            effective_priority: 103,
            tracks: vec![TrackSample { kind: "check", tracked: "haproxy".to_owned(), weight: -2 }],
            grants: 2,
            damped: 1,
            ..VipSample::default()
        }],
        services: vec![ServiceSample {
            connections_total: 100,
            rejected: vec![("no_backend", 3), ("moon", 1)],
            bytes_out: 9_007_199_254_740_991,
            connect_durations: Durations {
                buckets: vec![0, 0, 90, 0, 0, 0, 0, 0, 0, 9, 0, 0, 1],
                sum: Duration::from_millis(1500),
            },
            connect_retries: 4,
            connection_durations: Durations {
                buckets: vec![5, 0, 0, 0, 0, 0, 0, 1],
                sum: Duration::from_secs(7200),
            },
            backends: vec![BackendSample {
                up: true,
                admin: Some(AdminState::Drain),
                views: [0, 2, 1],
                ..BackendSample::default()
            }],
            ..ServiceSample::default()
        }],
        ..Sample::default()
    };
    let scrape = scrape(&metrics(), &sample);
    let is = |series: &str, value: f64| assert_eq!(scrape.value(series), value, "{series}");
    is("chinthe_ready", 1.0);
    is("chinthe_log_lines_dropped_total", 7.0);
    is("chinthe_events_dropped_total", 3.0);
    is(r#"chinthe_cluster_members{state="alive"}"#, 2.0);
    is(r#"chinthe_cluster_members{state="suspect"}"#, 0.0);
    is(r#"chinthe_vip_priority{vip="vi_1",kind="effective"}"#, 103.0);
    is(r#"chinthe_vip_track_weight{vip="vi_1",kind="check",tracked="haproxy"}"#, -2.0);
    is(r#"chinthe_vip_active{vip="vi_2"}"#, 0.0);
    is(r#"chinthe_vip_holder_info{vip="vi_1",holder="ha1"}"#, 1.0);
    is(r#"chinthe_member_last_heard_timestamp_seconds{member="ha2"}"#, 1_700_000_000.25);
    is(r#"chinthe_service_backends{service="myweb",state="drain"}"#, 1.0);
    is(r#"chinthe_service_backends{service="myweb",state="unknown"}"#, 1.0);
    is(r#"chinthe_vip_grants{vip="vi_1"}"#, 2.0);
    is(r#"chinthe_quorum_nodes{kind="needed"}"#, 2.0);
    is(r#"chinthe_service_connections_rejected_total{service="myweb",reason="no_backend"}"#, 3.0);
    is(r#"chinthe_service_connections_rejected_total{service="myweb",reason="resources"}"#, 0.0);
    is(r#"chinthe_service_connections_rejected_total{service="myweb",reason="moon"}"#, 1.0);
    is(r#"chinthe_service_bytes_total{service="myweb",direction="out"}"#, 9_007_199_254_740_991.0);
    is(r#"chinthe_service_connect_duration_seconds_bucket{service="myweb",le="1.0"}"#, 99.0);
    is(r#"chinthe_service_connect_duration_seconds_bucket{service="myweb",le="+Inf"}"#, 100.0);
    is(r#"chinthe_service_connect_retries_total{service="myweb"}"#, 4.0);
    is(r#"chinthe_service_connection_duration_seconds_bucket{service="myweb",le="3600.0"}"#, 5.0);
    is(r#"chinthe_service_connection_duration_seconds_count{service="myweb"}"#, 6.0);
    is(r#"chinthe_service_connection_duration_seconds_sum{service="myweb"}"#, 7200.0);
    is(r#"chinthe_admin_requests_total{path="/metrics",code="200"}"#, 9.0);
    is(r#"chinthe_trace_spans_total{stage="ended"}"#, 8.0);
    is(r#"chinthe_trace_spans_total{stage="delivered"}"#, 7.0);
    is(r#"chinthe_backend_admin_state{service="myweb",backend="web1",state="drain"}"#, 1.0);
    is(r#"chinthe_backend_admin_state{service="myweb",backend="web1",state="ready"}"#, 0.0);
    is(r#"chinthe_backend_views{service="myweb",backend="web1",verdict="up"}"#, 2.0);
    is(r#"chinthe_backend_up{service="myweb",backend="web2"}"#, 0.0);
}

/// How many series of backends there are, by family.
fn backend_families(scrape: &Scrape) -> BTreeSet<&str> {
    let families = scrape.series.keys().filter_map(|series| series.split('{').next());
    families.filter(|family| family.starts_with("chinthe_backend_")).collect()
}

#[test]
fn detail_leaves_the_backends_to_the_holder_or_to_nobody() {
    let detail = |detail| with(config::Metrics { detail, ..config::Metrics::default() });
    let backup = Sample { vips: vec![VipSample::default(); 2], ..Sample::default() };
    let mut holder = backup.clone();
    holder.vips[1].active = true;

    let full = scrape(&detail(Detail::Full), &backup);
    assert!(backend_families(&full).len() > 10);
    let all = scrape(&detail(Detail::Holder), &holder);
    assert_eq!(backend_families(&all), backend_families(&full));
    let verdicts = scrape(&detail(Detail::Holder), &backup);
    assert_eq!(
        backend_families(&verdicts),
        BTreeSet::from(["chinthe_backend_check_up", "chinthe_backend_disagreement", "chinthe_backend_up"])
    );
    let none = scrape(&detail(Detail::Aggregate), &holder);
    assert!(backend_families(&none).is_empty());
    for some in [&verdicts, &none] {
        assert_eq!(some.of("chinthe_service_backends").len(), 5);
        assert_eq!(some.of("chinthe_vip_active").len(), 2);
    }
}

#[test]
fn a_takeover_is_an_exemplar_with_the_trace_that_every_node_derives() {
    let metrics = metrics();
    let ms = Duration::from_millis;
    metrics.transition(&transition(Some(Phases { detect: ms(150), elect: ms(25), assign: ms(2) })));
    metrics.failover_announced(1, ms(1), ms(178));
    let trace = FailoverTrace::of("myweb", "vi_2", 4).trace.to_string();
    let text = metrics.render(Exposition::OpenMetrics, &Sample::default());
    let with: Vec<&str> = text.lines().filter(|line| line.contains(&trace)).collect();
    assert_eq!(with.len(), 5, "{with:?}");
    assert!(
        with[4].starts_with(
            r#"chinthe_failover_duration_seconds_bucket{vip="vi_2",phase="total",le="0.2"} 1 # {trace_id=""#
        ),
        "{}",
        with[4]
    );
    assert!(text.ends_with("# EOF\n"));
    assert!(!metrics.render(Exposition::Text, &Sample::default()).contains(&trace));
}

#[test]
fn a_connect_after_a_takeover_is_an_exemplar_with_the_takeovers_trace() {
    let metrics = metrics();
    let ms = Duration::from_millis;
    metrics.transition(&transition(Some(Phases { detect: ms(150), elect: ms(25), assign: ms(2) })));
    metrics.connected_after_failover(0, 1, Duration::from_micros(300));
    // Nobody's: there is no such service, nor such a VIP.
    metrics.connected_after_failover(7, 1, ms(5));
    metrics.connected_after_failover(0, 7, ms(5));
    let counted = ServiceSample {
        connect_durations: Durations { buckets: vec![0, 1], sum: Duration::from_micros(300) },
        ..ServiceSample::default()
    };
    let sample = Sample { services: vec![counted], ..Sample::default() };
    let text = metrics.render(Exposition::OpenMetrics, &sample);
    let trace = FailoverTrace::of("myweb", "vi_2", 4);
    let wanted = format!(
        "chinthe_service_connect_duration_seconds_bucket{{service=\"myweb\",le=\"0.0005\"}} 1 \
         # {{trace_id=\"{}\",span_id=\"{}\"}} 0.0003 ",
        trace.trace, trace.root
    );
    let with: Vec<&str> =
        text.lines().filter(|line| line.contains("_connect_") && line.contains(" # ")).collect();
    assert!(with.len() == 1 && with[0].starts_with(&wanted), "{with:?}");
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
fn boards_for_haproxy_and_keepalived_find_their_families_where_that_is_asked_for() {
    let options =
        config::Metrics { haproxy_compat: true, keepalived_compat: true, ..config::Metrics::default() };
    let metrics = with(options);
    metrics.transition(&transition(None));
    metrics.probed(0, 0, Err("refused"));
    let service = ServiceSample {
        up: true,
        connections_total: 7,
        connect_retries: 2,
        backends: vec![BackendSample {
            up: true,
            weight: 3,
            connect_failures: vec![("refused", 2)],
            ..BackendSample::default()
        }],
        ..ServiceSample::default()
    };
    let vips = vec![VipSample::default(), VipSample { active: true, eligible: true, ..VipSample::default() }];
    let scrape =
        scrape(&metrics, &Sample { ready: true, vips, services: vec![service], ..Sample::default() });
    for family in haproxy::ALL.iter().chain(keepalived::ALL) {
        assert!(!scrape.of(family.name).is_empty(), "{}", family.name);
    }
    let is = |series: &str, value: f64| assert_eq!(scrape.value(series), value, "{series}");
    is(r#"haproxy_frontend_sessions_total{proxy="myweb"}"#, 7.0);
    is(r#"haproxy_backend_connection_errors_total{proxy="myweb"}"#, 2.0);
    is(r#"haproxy_server_status{proxy="myweb",server="web1",state="UP"}"#, 1.0);
    is(r#"haproxy_server_status{proxy="myweb",server="web2",state="UP"}"#, 0.0);
    is(r#"haproxy_server_status{proxy="myweb",server="web2",state="DOWN"}"#, 1.0);
    is(r#"haproxy_server_check_failures_total{proxy="myweb",server="web1"}"#, 1.0);
    is(r#"haproxy_backend_redispatch_warnings_total{proxy="myweb"}"#, 2.0);
    is(r#"haproxy_backend_weight{proxy="myweb"}"#, 3.0);
    let vip = |name: &str| format!(r#"{{iname="{name}",intf="eth1",vrid="0",ip_address="192.0.2.69"}}"#);
    is(&format!("keepalived_vrrp_state{}", vip("vi_1")), 3.0);
    is(&format!("keepalived_vrrp_state{}", vip("vi_2")), 2.0);
    is(r#"keepalived_become_master_total{iname="vi_2",intf="eth1",vrid="0"}"#, 1.0);
}

/// The envelope's reader and this list name the same reasons.
#[test]
fn every_reason_for_a_refusal_has_its_series() {
    for reason in crate::wire::seal::Reject::ALL {
        assert!(MESSAGE_REJECTIONS.contains(&reason.as_str()), "{}", reason.as_str());
    }
}

/// A large cluster, of which a scrape must stay small and quick: 100 members, 20 services, 200 backends, 10 VIPs.
#[test]
fn a_scrape_of_a_large_cluster_stays_below_a_megabyte() {
    let (members, services, backends, vips) = (100, 20, 10, 10);
    let named = |prefix: &str, count: usize| (0..count).map(|n| format!("{prefix}{n}")).collect::<Vec<_>>();
    let metrics = Metrics::new(Layout {
        options: config::Metrics { detail: Detail::Holder, ..config::Metrics::default() },
        vips: named("vip-", vips)
            .into_iter()
            .map(|name| VipLayout { name, ..VipLayout::default() })
            .collect(),
        services: named("service-", services)
            .into_iter()
            .map(|name| (name, named("backend-", backends)))
            .collect(),
        ..layout()
    });
    let sample = Sample {
        heard: named("node-", members)
            .into_iter()
            .map(|name| (name, Duration::from_secs(1_700_000_000)))
            .collect(),
        vips: vec![VipSample { active: true, ..VipSample::default() }; vips],
        ..Sample::default()
    };
    let began = std::time::Instant::now();
    let text = metrics.render(Exposition::OpenMetrics, &sample);
    eprintln!(
        "{} series, {} bytes in {:?}",
        text.lines().filter(|line| !line.starts_with('#')).count(),
        text.len(),
        began.elapsed()
    );
    assert!(text.len() < 1_000_000, "{} bytes", text.len());
    let backup = Sample { vips: vec![VipSample::default(); vips], ..sample };
    assert!(metrics.render(Exposition::OpenMetrics, &backup).len() < text.len() / 2);
}

#[test]
#[expect(clippy::float_cmp, reason = "small whole numbers are exact")]
fn counts_outlive_another_configuration_with_their_names() {
    let before = metrics();
    before.stalled();
    before.transition(&transition(None));
    before.probed(0, 1, Err("refused"));
    let services = vec![("myweb".to_owned(), vec!["web2".to_owned(), "web3".to_owned()])];
    let after = before.relaid(Layout { services, config_sha256: "07".to_owned(), ..layout() });
    // What was under way still counts.
    before.probed(0, 1, Err("refused"));
    before.probed(0, 0, Err("refused"));
    after.reloaded(true);
    after.reloaded(false);
    let scrape = scrape(&after, &Sample::default());
    assert_eq!(scrape.value("chinthe_driver_stalls_total"), 1.0);
    assert_eq!(
        scrape.value(r#"chinthe_vip_transitions_total{vip="vi_2",to="active",cause="holder_silent"}"#),
        1.0
    );
    let refused = |backend: &str| {
        let labels = format!(r#"service="myweb",backend="{backend}",result="refused""#);
        scrape.series.get(&format!("chinthe_backend_checks_total{{{labels}}}")).copied()
    };
    assert_eq!((refused("web1"), refused("web2"), refused("web3")), (None, Some(2.0), Some(0.0)));
    assert_eq!(scrape.of("chinthe_config_info"), [r#"chinthe_config_info{sha256="07"}"#]);
    let reloads =
        |result: &str| scrape.value(&format!("chinthe_config_reloads_total{{result=\"{result}\"}}"));
    assert_eq!((reloads("success"), reloads("failure")), (1.0, 1.0));
    assert_eq!(scrape.value("chinthe_config_last_reload_successful"), 0.0);
}
