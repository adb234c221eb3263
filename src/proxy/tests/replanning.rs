//! Another plan, while connections are open and come.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::harness::{Backend, LONG, Service, Setup, client_of, read_to_end, wait_until};
use crate::config::Timeouts;
use crate::proxy::{Listeners, Plan, Route, Routes, ServicePlan, Target, listen};

/// A plan with backends of these numbers and addresses.
fn plan(targets: &[(usize, SocketAddr)], timeouts: Timeouts, most: Option<usize>) -> (Plan, Arc<Routes>) {
    let service = ServicePlan {
        number: 0,
        max_connections: most,
        timeouts,
        backends: targets.iter().map(|(number, _)| *number).collect(),
    };
    let target =
        |(backend, address): &(usize, SocketAddr)| Target { backend: *backend, address: *address, weight: 1 };
    let route = Route { targets: targets.iter().map(target).collect(), reserve: Vec::new() };
    (Plan { services: vec![service] }, Arc::new(Routes { services: vec![route] }))
}

const PATIENT: Timeouts = Timeouts { connect: LONG, client: LONG, server: LONG };

impl Service {
    /// Plans anew, and returns when every worker goes by it.
    fn replan(&self, targets: &[(usize, SocketAddr)], timeouts: Timeouts, most: Option<usize>) {
        let before = self.proxy.beats();
        // Two rounds: the one that was under way, and the one that took the order.
        wait_until(|| {
            let (plan, routes) = plan(targets, timeouts, most);
            self.proxy.replan(plan, routes, Listeners::default());
            self.proxy.beats().iter().zip(&before).all(|(now, before)| *now >= before + 2)
        });
    }

    /// Each backend's number, connections and open connections.
    fn backends(&self) -> Vec<(usize, u64, u64)> {
        let counters = self.counters();
        counters.services[0].backends.iter().map(|b| (b.number, b.connections, b.active)).collect()
    }
}

#[test]
fn a_backend_that_stays_goes_on_counting_and_one_that_is_gone_is_not_counted_any_more() {
    let (one, two, three) = (Backend::named("one"), Backend::named("two"), Backend::named("three"));
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(one.address, 1), (two.address, 1)]);
    (0..10).for_each(|_| drop(service.greeting()));
    service.wait_for_silence();
    assert_eq!(service.backends(), [(0, 5, 0), (1, 5, 0)]);
    service.replan(&[(7, three.address), (1, two.address)], PATIENT, None);
    assert_eq!(service.backends(), [(1, 5, 0), (7, 0, 0)]);
    let greetings: Vec<String> = (0..10).map(|_| service.greeting()).collect();
    assert!(!greetings.iter().any(|greeting| greeting == "one"), "{greetings:?}");
    service.wait_for_silence();
    assert_eq!(service.backends(), [(1, 10, 0), (7, 5, 0)]);
    assert_eq!(service.counters().services[0].connections, 20, "the service's own counts know no plans");
}

#[test]
fn an_open_connection_stays_at_a_backend_that_is_gone() {
    let (echo, named) = (Backend::echo(), Backend::named("named"));
    let service = Service::start(&[(echo.address, 1)]);
    let mut open = service.connect();
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();
    service.replan(&[(1, named.address)], PATIENT, None);
    assert_eq!(service.greeting(), "named");
    open.write_all(b"b").unwrap();
    open.read_exact(&mut [0]).unwrap();
    drop(open);
    service.wait_for_silence();
    assert_eq!(service.counters().services[0].bytes.received, 2);
}

#[test]
fn timeouts_are_those_of_the_latest_plan_for_open_connections_too() {
    let (quiet, _connections) = Backend::handing_over();
    let service = Service::start(&[(quiet.address, 1)]);
    let mut open = service.connect();
    wait_until(|| service.backends()[0].2 == 1);
    let short = Duration::from_millis(20);
    service.replan(&[(0, quiet.address)], Timeouts { connect: LONG, client: short, server: short }, None);
    assert_eq!(read_to_end(&mut open), "");
}

#[test]
fn a_limit_is_the_latest_plan_s() {
    let echo = Backend::echo();
    let service = Setup { service_max_connections: Some(1), ..Setup::default() }.start(&[(echo.address, 1)]);
    let _first = service.connect();
    wait_until(|| service.counters().services[0].active == 1);
    let mut second = service.connect();
    second.write_all(b"b").unwrap();
    wait_until(|| service.counters().accept_pauses > 0);
    assert_eq!(service.counters().services[0].active, 1, "it waits");
    service.replan(&[(0, echo.address)], PATIENT, Some(2));
    second.read_exact(&mut [0]).unwrap();
}

#[test]
fn a_hundred_plans_lose_no_client() {
    let (one, two) = (Backend::named("one"), Backend::named("two"));
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(one.address, 1), (two.address, 1)]);
    let (address, done) = (service.address, Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut served = 0;
                while !done.load(Ordering::Relaxed) || served < 10 {
                    let greeting = read_to_end(&mut client_of(address));
                    assert!(["one", "two"].contains(&greeting.as_str()), "{greeting:?}");
                    served += 1;
                }
                served
            })
        })
        .collect();
    for number in 2..102 {
        service.replan(&[(number, one.address), (1, two.address)], PATIENT, None);
    }
    done.store(true, Ordering::Relaxed);
    let served: u64 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    service.wait_for_silence();
    let counters = service.counters();
    assert_eq!(counters.services[0].connections, served);
    assert_eq!(counters.services[0].rejected, [0; 3]);
    assert_eq!(counters.services[0].backends.len(), 2);
}

#[test]
fn a_service_that_comes_is_served_and_one_that_goes_serves_who_has_come() {
    let (echo, named) = (Backend::echo(), Backend::named("named"));
    let service = Service::start(&[(echo.address, 1)]);
    let mut open = service.connect();
    open.write_all(b"a").unwrap();
    open.read_exact(&mut [0]).unwrap();

    let bind = |socket: &socket2::Socket, address: SocketAddr| socket.bind(&address.into());
    let second = listen((Ipv4Addr::LOCALHOST, 0).into(), 16, None, bind).unwrap();
    let address = second.local_addr().unwrap();
    let (mut plan, _) = plan(&[(5, named.address)], PATIENT, None);
    plan.services[0].number = 1;
    let target = Target { backend: 5, address: named.address, weight: 1 };
    let route = Route { targets: vec![target], reserve: Vec::new() };
    let routes = Routes { services: vec![Route::default(), route] };
    let listeners = Listeners { opened: vec![vec![(1, second)]], closed: vec![(0, service.address)] };
    service.proxy.replan(plan, Arc::new(routes), listeners);
    assert_eq!(read_to_end(&mut client_of(address)), "named");
    wait_until(|| TcpStream::connect(service.address).is_err());
    open.write_all(b"b").unwrap();
    open.read_exact(&mut [0]).unwrap();
    drop(open);
    wait_until(|| service.counters().services.iter().all(|service| service.active == 0));
    let counters = service.counters();
    assert_eq!(counters.services[1].connections, 1);
    assert_eq!(counters.services[0].bytes.received, 2, "of the one that is gone");
}
