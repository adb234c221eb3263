//! Probing against listeners on the loopback.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;

use tokio::sync::mpsc::{self, Receiver};
use tokio::time::timeout;

use super::probing::CLOSEST;
use super::*;
use crate::config::ProbeKind;

/// A target that listens, with so long between two tries.
fn target(backend: usize, endpoint: Endpoint, interval: Duration) -> Target {
    let limit = Duration::from_secs(10);
    let check = HealthCheck { kind: ProbeKind::Tcp, interval, timeout: limit, rise: 2, fall: 3 };
    Target { service: 0, backend, endpoint, check }
}

fn listener() -> (TcpListener, Endpoint) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, Endpoint::Address(address))
}

fn started(targets: Vec<Target>) -> (Probes, Receiver<ProbeResult>) {
    let (tell, told) = mpsc::channel(1000);
    let report: Reporter = Arc::new(move |result| {
        let _ = tell.try_send(result);
    });
    (start(targets, Rhythm::new(HOUR), report).unwrap(), told)
}

async fn next(told: &mut Receiver<ProbeResult>) -> ProbeResult {
    timeout(Duration::from_secs(20), told.recv()).await.unwrap().unwrap()
}

const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn every_backend_is_probed_at_once() {
    let (alive, endpoint) = listener();
    // Bound, so that nobody else comes to listen there.
    let closed = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    closed.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    let dead = Endpoint::Address(closed.local_addr().unwrap().as_socket().unwrap());
    let (_probes, mut told) = started(vec![target(0, endpoint, HOUR), target(1, dead, HOUR)]);
    let mut results = [next(&mut told).await, next(&mut told).await];
    results.sort_by_key(|result| result.backend);
    assert!(results[0].outcome.is_ok());
    assert_eq!(results[0].address, Some(alive.local_addr().unwrap()));
    assert_eq!(results[1].outcome, Err(ProbeFailure::Refused));
}

#[tokio::test]
async fn a_result_is_routine_once_as_many_as_count_were_like_it_and_nobody_asked() {
    let (alive, endpoint) = listener();
    let (probes, mut told) = started(vec![target(0, endpoint, Duration::from_millis(5))]);
    let mut routine = Vec::new();
    for _ in 0..5 {
        routine.push(next(&mut told).await.routine);
    }
    assert_eq!(routine, [false, false, false, true, true]);
    probes.now(0, 0);
    while next(&mut told).await.routine {}
    drop(alive);
    while next(&mut told).await.outcome.is_ok() {}
    assert!(!next(&mut told).await.routine, "the second failure of three");
}

#[tokio::test]
async fn a_probe_follows_the_one_before_by_itself() {
    let (_alive, endpoint) = listener();
    let (_probes, mut told) = started(vec![target(0, endpoint, Duration::from_millis(5))]);
    for _ in 0..5 {
        assert!(next(&mut told).await.outcome.is_ok());
    }
}

#[tokio::test]
async fn asked_for_a_probe_comes_before_its_time() {
    let (_alive, endpoint) = listener();
    let (probes, mut told) = started(vec![target(3, endpoint, HOUR)]);
    next(&mut told).await;
    probes.now(0, 3);
    assert_eq!(next(&mut told).await.backend, 3);
    probes.now(0, 99);
}

#[tokio::test]
async fn asked_for_often_a_backend_is_not_probed_often() {
    let (_alive, endpoint) = listener();
    let (probes, mut told) = started(vec![target(0, endpoint, HOUR)]);
    next(&mut told).await;
    let start = Instant::now();
    for _ in 0..5 {
        for _ in 0..100 {
            probes.now(0, 0);
        }
        next(&mut told).await;
    }
    // The first may follow at once; each later one starts this long after the one before it.
    assert!(start.elapsed() >= CLOSEST * 4);
}

#[tokio::test]
async fn a_name_that_nobody_knows_is_a_failed_probe_with_its_reason() {
    let nobody = Endpoint::Name("x".repeat(300), 80);
    let (_probes, mut told) = started(vec![target(0, nobody, HOUR)]);
    let result = next(&mut told).await;
    assert_eq!((result.address, result.outcome), (None, Err(ProbeFailure::Resolve)));
}

#[tokio::test]
async fn a_name_is_looked_up_before_each_try() {
    let here = Endpoint::Name("localhost".into(), 80);
    let (_probes, mut told) = started(vec![target(0, here, Duration::from_millis(5))]);
    for _ in 0..3 {
        assert!(next(&mut told).await.address.is_some_and(|address| address.ip().is_loopback()));
    }
}

#[test]
fn a_name_without_anybody_to_ask_is_a_failed_probe_each_time() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let report: Reporter = Arc::new(move |result| tell.send(result).unwrap());
    let here = Endpoint::Name("localhost".into(), 80);
    let probes = {
        let _inside = runtime.enter();
        start(vec![target(0, here, Duration::from_millis(5))], Rhythm::new(HOUR), report).unwrap()
    };
    drop(runtime);
    for _ in 0..3 {
        // A lookup that is never answered would take a try all its time, which is ten seconds.
        let result = told.recv_timeout(Duration::from_secs(5)).unwrap();
        assert_eq!((result.address, result.outcome), (None, Err(ProbeFailure::Resolve)));
    }
    drop(probes);
}

#[tokio::test]
async fn paused_a_backend_is_left_alone_and_then_probed_at_once() {
    let ((_one, one), (_other, other)) = (listener(), listener());
    let (probes, mut told) =
        started(vec![target(0, one, Duration::from_millis(1)), target(1, other, Duration::from_millis(1))]);
    probes.pause(0, 0, true);
    // What it had come to before may still be on its way.
    probes.now(0, 0);
    let mut since = 0;
    while since < 20 {
        since = if next(&mut told).await.backend == 0 { 0 } else { since + 1 };
    }
    probes.pause(0, 0, false);
    let result = loop {
        let result = next(&mut told).await;
        if result.backend == 0 {
            break result;
        }
    };
    assert!(!result.routine, "nothing before it counts");
}

#[tokio::test]
async fn silence_is_a_timeout() {
    let silent = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
    silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap().as_socket().unwrap();
    // A full queue answers nothing.
    let mut waiting = Vec::new();
    while let Ok(client) = std::net::TcpStream::connect_timeout(&address, Duration::from_millis(300)) {
        waiting.push(client);
    }
    let mut target = target(0, Endpoint::Address(address), HOUR);
    target.check.timeout = Duration::from_millis(100);
    let (_probes, mut told) = started(vec![target]);
    assert_eq!(next(&mut told).await.outcome, Err(ProbeFailure::Timeout));
}

#[tokio::test]
async fn dropped_it_ends() {
    let (_alive, endpoint) = listener();
    let (probes, mut told) = started(vec![target(0, endpoint, Duration::from_millis(1))]);
    next(&mut told).await;
    drop(probes);
    // The reporter goes with the thread.
    while timeout(Duration::from_secs(20), told.recv()).await.unwrap().is_some() {}
}

#[tokio::test]
async fn other_targets_begin_at_once_and_those_that_stay_go_on() {
    let ((_kept, kept), (_gone, gone), (_new, new)) = (listener(), listener(), listener());
    let (probes, mut told) =
        started(vec![target(0, kept.clone(), HOUR), target(1, gone, Duration::from_millis(1))]);
    for _ in 0..5 {
        next(&mut told).await;
    }
    probes.replace(vec![target(2, new, HOUR), target(0, kept, HOUR)]);
    // What had come before.
    while next(&mut told).await.backend != 2 {}
    // The one that stays is in the middle of its hour, and the one that is gone would have been heard meanwhile.
    probes.now(0, 0);
    assert_eq!(next(&mut told).await.backend, 0);
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn a_target_that_is_probed_otherwise_begins_anew() {
    let (_alive, endpoint) = listener();
    let (probes, mut told) = started(vec![target(0, endpoint.clone(), HOUR)]);
    next(&mut told).await;
    probes.replace(vec![target(0, endpoint, HOUR / 2)]);
    assert_eq!(next(&mut told).await.backend, 0);
}
