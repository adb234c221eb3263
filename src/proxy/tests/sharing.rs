//! Who gets which connection, and when.

use std::io::{Read, Write};

use super::harness::{Backend, Service, Setup, client_of, read_to_end, to, wait_until};
use crate::proxy::{Route, Settings};

#[test]
fn a_hundred_connections_over_two_workers_are_fifty_for_each_of_two_backends() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(one.address, 1), (two.address, 1)]);
    let greetings: Vec<String> = (0..100).map(|_| service.greeting()).collect();
    assert_eq!(greetings.iter().filter(|greeting| *greeting == "one").count(), 50);
    assert_eq!(service.shares(), [50, 50]);
    service.wait_for_silence();
    let counters = service.counters();
    assert_eq!(counters.services[0].connections, 100);
    assert_eq!(counters.services[0].bytes.sent, 300);
    assert_eq!(counters.services[0].connect_duration.count(), 100);
    assert_eq!(counters.services[0].lasted.count(), 100);
    assert_eq!(counters.services[0].retries, 0);
}

#[test]
fn shares_are_exact_also_for_clients_that_come_at_once() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(one.address, 1), (two.address, 1)]);
    let mut clients: Vec<_> = (0..100).map(|_| service.connect()).collect();
    for client in &mut clients {
        read_to_end(client);
    }
    assert_eq!(service.shares(), [50, 50]);
}

#[test]
fn weights_are_shares_and_zero_is_none() {
    let backends: Vec<_> = (0..4).map(|_| Backend::named("")).collect();
    let targets: Vec<_> = backends.iter().zip([1, 2, 3, 0]).map(|(b, weight)| (b.address, weight)).collect();
    let service = Service::start(&targets);
    for _ in 0..60 {
        service.greeting();
    }
    assert_eq!(service.shares(), [10, 20, 30, 0]);
}

#[test]
fn new_routes_are_for_new_connections_and_open_ones_stay() {
    let (echo, named) = (Backend::echo(), Backend::named("named"));
    let targets = [(echo.address, 1), (named.address, 1)];
    let service = Service::start(&targets[..1]);
    let mut open = service.connect();
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();

    service.route(Route { targets: to(&targets).split_off(1), reserve: vec![] });
    assert_eq!(service.greeting(), "named");
    open.write_all(b"b").unwrap();
    open.read_exact(&mut [0]).unwrap();
}

#[test]
fn at_the_limit_the_next_client_waits_until_one_has_left() {
    let echo = Backend::echo();
    let settings = Settings { max_connections: Some(1), ..Settings::default() };
    let service = Setup { settings, ..Setup::default() }.start(&[(echo.address, 1)]);
    let mut first = service.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0]).unwrap();

    let mut second = service.connect();
    second.write_all(b"b").unwrap();
    wait_until(|| service.counters().accept_pauses == 1);
    assert_eq!(service.counters().services[0].connections, 1);
    drop(first);
    second.read_exact(&mut [0]).unwrap();
    assert_eq!(service.counters().services[0].connections, 2);
}

#[test]
fn at_its_services_own_limit_the_next_client_waits_too() {
    let echo = Backend::echo();
    let service = Setup { service_max_connections: Some(1), ..Setup::default() }.start(&[(echo.address, 1)]);
    let mut first = service.connect();
    first.write_all(b"a").unwrap();
    first.read_exact(&mut [0]).unwrap();
    let mut second = service.connect();
    second.write_all(b"b").unwrap();
    wait_until(|| service.counters().accept_pauses == 1);
    assert_eq!(service.counters().services[0].active, 1);
    drop(first);
    second.read_exact(&mut [0]).unwrap();
}

#[test]
fn weighted_shares_are_exact_to_the_connection_with_two_workers_and_many_clients() {
    let backends: Vec<_> = (0..3).map(|_| Backend::named("")).collect();
    let targets: Vec<_> = backends.iter().zip([1, 2, 5]).map(|(b, weight)| (b.address, weight)).collect();
    let service = Setup { workers: 2, ..Setup::default() }.start(&targets);
    let address = service.address;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| (0..100).for_each(|_| drop(read_to_end(&mut client_of(address)))));
        }
    });
    assert_eq!(service.shares(), [100, 200, 500]);
}

#[test]
fn two_thousand_short_connections_leave_nothing_open() {
    let backend = Backend::echo();
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(backend.address, 1)]);
    let address = service.address;
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let mut client = client_of(address);
                    client.write_all(b"question").unwrap();
                    client.shutdown(std::net::Shutdown::Write).unwrap();
                    assert_eq!(read_to_end(&mut client), "question");
                }
            });
        }
    });
    service.wait_for_silence();
    let counters = service.counters();
    assert_eq!(counters.services[0].backends[0].connections, 2000);
    assert_eq!(counters.services[0].backends[0].bytes.received, 16_000);
}

#[test]
fn an_idle_worker_beats() {
    let service = Setup { workers: 2, ..Setup::default() }.start(&[]);
    let before = service.proxy.beats();
    assert_eq!(before.len(), 2);
    wait_until(|| service.proxy.beats().iter().zip(&before).all(|(now, before)| now > before));
}
