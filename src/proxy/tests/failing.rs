//! Backends that don't answer.

use std::io::Write;
use std::time::Duration;

use super::harness::{
    Backend, Blackhole, LONG, Service, Setup, read_to_end, refusing, reset, to, wait_until,
};
use crate::config::Timeouts;
use crate::proxy::{ConnectFailure, Rejection, Report, Route};

fn impatient(connect: Duration) -> Setup {
    Setup { timeouts: Timeouts { connect, client: LONG, server: LONG }, ..Setup::default() }
}

#[test]
fn a_client_does_not_notice_that_a_backend_refuses() {
    let (dead, _held) = refusing();
    let alive = Backend::named("alive");
    let service = Service::start(&[(dead, 1), (alive.address, 1)]);
    for _ in 0..10 {
        assert_eq!(service.greeting(), "alive");
    }
    assert_eq!(service.shares(), [0, 10]);
    let refused = Report::ConnectFailed { service: 0, backend: 0, reason: ConnectFailure::Refused };
    assert_eq!(service.report(), refused);
    let failures = service.counters().services[0].backends[0].connect_failures;
    assert_eq!(failures[ConnectFailure::Refused as usize], 5);
    assert_eq!(service.counters().services[0].retries, 5);
}

#[test]
fn who_was_passed_over_serves_when_nobody_else_does() {
    let (dead, _held) = refusing();
    let alive = Backend::named("alive");
    let targets = to(&[(dead, 1), (alive.address, 1)]);
    let service = Service::start(&[(dead, 1), (dead, 1)]);
    service.route(Route { targets: vec![targets[0]], reserve: vec![targets[1]] });
    assert_eq!(service.greeting(), "alive");
    service.route(Route { targets: vec![], reserve: vec![targets[1]] });
    assert_eq!(service.greeting(), "alive");
}

#[test]
fn without_a_backend_a_client_sees_an_orderly_end_whatever_it_has_said() {
    let service = Service::start(&[]);
    let mut client = service.connect();
    let _ = client.write_all(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(read_to_end(&mut client), "");
    assert_eq!(service.report(), Report::NoBackend { service: 0 });
    service.wait_for_silence();
    assert_eq!(service.counters().services[0].rejected[Rejection::NoBackend as usize], 1);
}

#[test]
fn when_every_backend_refuses_each_was_tried_once() {
    let (dead, _held) = refusing();
    let service = Service::start(&[(dead, 1), (dead, 1), (dead, 2)]);
    assert_eq!(service.greeting(), "");
    let mut tried: Vec<_> = (0..3)
        .map(|_| match service.report() {
            Report::ConnectFailed { backend, .. } => backend,
            other => panic!("{other:?}"),
        })
        .collect();
    tried.sort_unstable();
    assert_eq!(tried, [0, 1, 2]);
    assert_eq!(service.report(), Report::NoBackend { service: 0 });
}

#[test]
fn a_backend_that_does_not_answer_is_left_for_the_next_before_the_timeout() {
    let (hole, alive) = (Blackhole::new(), Backend::named("alive"));
    let service = Service::start(&[(hole.address, 1), (alive.address, 1)]);
    assert_eq!(service.greeting(), "alive");
    assert_eq!(service.report(), Report::ConnectOverdue { service: 0, backend: 0 });
    let failures = service.counters().services[0].backends[0].connect_failures;
    assert_eq!(failures[ConnectFailure::Overdue as usize], 1);
}

#[test]
fn the_last_backend_gets_the_whole_connect_timeout() {
    let hole = Blackhole::new();
    let service = impatient(Duration::from_secs(1)).start(&[(hole.address, 1)]);
    assert_eq!(service.greeting(), "");
    let timeout = Report::ConnectFailed { service: 0, backend: 0, reason: ConnectFailure::Timeout };
    // A machine that stalls long enough may see the timeout without having seen the delay.
    let first = service.report();
    if first != timeout {
        assert_eq!(first, Report::ConnectOverdue { service: 0, backend: 0 });
        assert_eq!(service.report(), timeout);
    }
    assert_eq!(service.report(), Report::NoBackend { service: 0 });
}

#[test]
fn a_late_backend_is_better_than_none() {
    let mut late = Blackhole::new();
    let (dead, _held) = refusing();
    let service = Service::start(&[(late.address, 1), (dead, 1)]);
    let mut client = service.connect();
    assert_eq!(service.report(), Report::ConnectOverdue { service: 0, backend: 0 });
    let refused = Report::ConnectFailed { service: 0, backend: 1, reason: ConnectFailure::Refused };
    assert_eq!(service.report(), refused);
    late.open().write_all(b"late").unwrap();
    assert_eq!(read_to_end(&mut client), "late");
}

#[test]
fn a_connect_timeout_shorter_than_any_patience_goes_on_to_the_next() {
    let (hole, alive) = (Blackhole::new(), Backend::named("alive"));
    let targets = [(hole.address, 1), (alive.address, 1)];
    let service = impatient(Duration::from_millis(50)).start(&targets);
    assert_eq!(service.greeting(), "alive");
    let timeout = Report::ConnectFailed { service: 0, backend: 0, reason: ConnectFailure::Timeout };
    assert_eq!(service.report(), timeout);
}

#[test]
fn a_client_that_breaks_off_ends_the_search() {
    let hole = Blackhole::new();
    let service = Service::start(&[(hole.address, 1)]);
    let client = service.connect();
    wait_until(|| service.counters().services[0].active == 1);
    reset(client);
    service.wait_for_silence();
    assert_eq!(service.counters().services[0].rejected[Rejection::ClientGone as usize], 1);
}
