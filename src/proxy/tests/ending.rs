//! Silence, resets and stops.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use super::harness::{Backend, LONG, Service, Setup, read_to_end, reset, wait_until};
use crate::config::Timeouts;

fn with_timeouts(client: Duration, server: Duration) -> Setup {
    Setup { timeouts: Timeouts { connect: LONG, client, server }, ..Setup::default() }
}

const SHORT: Duration = Duration::from_millis(150);

#[test]
fn silence_ends_in_an_orderly_end_on_both_sides() {
    let (backend, connections) = Backend::handing_over();
    let service = with_timeouts(SHORT, SHORT).start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    assert_eq!(read_to_end(&mut client), "");
    assert_eq!(read_to_end(&mut server), "");
    service.wait_for_silence();
}

#[test]
fn a_silent_client_has_finished_and_the_backend_may_still_answer() {
    let backend = Backend::new(|mut stream| {
        read_to_end(&mut stream);
        stream.write_all(b"still here?").unwrap();
    });
    let service = with_timeouts(SHORT, LONG).start(&[(backend.address, 1)]);
    assert_eq!(service.greeting(), "still here?");
}

#[test]
fn a_backend_that_has_finished_leaves_only_the_clients_silence() {
    let (backend, connections) = Backend::handing_over();
    let service = with_timeouts(SHORT, LONG).start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    server.shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut server), "");
    assert_eq!(read_to_end(&mut client), "");
    service.wait_for_silence();
}

#[test]
fn bytes_in_one_direction_keep_both_alive() {
    let (backend, connections) = Backend::handing_over();
    let limit = Duration::from_secs(2);
    let service = with_timeouts(limit, limit).start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    // Together far longer than the limit, each far shorter.
    for _ in 0..30 {
        client.write_all(b".").unwrap();
        server.read_exact(&mut [0]).unwrap();
        std::thread::park_timeout(Duration::from_millis(100));
    }
    server.write_all(b"done").unwrap();
    drop(server);
    assert_eq!(read_to_end(&mut client), "done");
}

fn end_of(stream: &mut TcpStream) -> Option<ErrorKind> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).err().map(|error| error.kind())
}

#[test]
fn a_reset_by_the_backend_reaches_the_client() {
    let (backend, connections) = Backend::handing_over();
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    // The proxy has seen by then that they are connected.
    client.write_all(b"a").unwrap();
    server.read_exact(&mut [0]).unwrap();
    reset(server);
    assert_eq!(end_of(&mut client), Some(ErrorKind::ConnectionReset));
    service.wait_for_silence();
}

#[test]
fn a_reset_by_the_client_reaches_the_backend() {
    let (backend, connections) = Backend::handing_over();
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    client.write_all(b"a").unwrap();
    server.read_exact(&mut [0]).unwrap();
    reset(client);
    assert_eq!(end_of(&mut server), Some(ErrorKind::ConnectionReset));
    service.wait_for_silence();
}

#[test]
fn what_was_said_before_a_reset_arrives() {
    for _ in 0..50 {
        let backend = Backend::new(|mut stream| {
            stream.write_all(&[7; 10_000]).unwrap();
            reset(stream);
        });
        let service = Service::start(&[(backend.address, 1)]);
        let mut client = service.connect();
        let mut received = [0; 10_000];
        client.read_exact(&mut received).unwrap();
    }
}

#[test]
fn a_reset_ends_a_connection_whose_other_side_stalls() {
    let (backend, connections) = Backend::handing_over();
    let service = Service::start(&[(backend.address, 1)]);
    let client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    // The client doesn't read, until nothing more can be written.
    server.set_write_timeout(Some(Duration::from_millis(300))).unwrap();
    while server.write(&[0; 16 * 1024]).is_ok() {}
    reset(client);
    service.wait_for_silence();
}

#[test]
fn a_stop_lets_an_open_connection_end() {
    let echo = Backend::echo();
    let service = Service::start(&[(echo.address, 1)]);
    let mut client = service.connect();
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let address = service.address;
    let (tell, told) = mpsc::sync_channel(1);
    let stopping = std::thread::spawn(move || tell.send(service.proxy.stop(LONG)).unwrap());
    wait_until(|| TcpStream::connect(address).is_err());
    client.write_all(b"b").unwrap();
    client.read_exact(&mut [0]).unwrap();
    assert!(told.try_recv().is_err());
    drop(client);
    let counters = told.recv_timeout(LONG).unwrap();
    assert_eq!((counters.cut, counters.services[0].active), (0, 0));
    stopping.join().unwrap();
}

#[test]
fn a_stop_cuts_what_does_not_end_in_time() {
    let echo = Backend::echo();
    let service = Service::start(&[(echo.address, 1)]);
    let mut client = service.connect();
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
    let counters = service.proxy.stop(Duration::ZERO);
    assert_eq!((counters.cut, counters.services[0].active), (1, 0));
    assert_eq!(read_to_end(&mut client), "");
}

#[test]
fn closed_listeners_refuse_and_open_connections_go_on() {
    let echo = Backend::echo();
    let service = Service::start(&[(echo.address, 1)]);
    let mut client = service.connect();
    service.proxy.close_listeners();
    wait_until(|| TcpStream::connect(service.address).is_err());
    client.write_all(b"a").unwrap();
    client.read_exact(&mut [0]).unwrap();
}

#[test]
fn connections_to_an_address_that_has_moved_are_cut_and_no_others() {
    let (backend, connections) = Backend::handing_over();
    let service = Setup::default().start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    let elsewhere = std::net::IpAddr::from([192, 0, 2, 69]);
    service.proxy.forsake(&[elsewhere]);
    client.write_all(b"?").unwrap();
    server.read_exact(&mut [0]).unwrap();
    service.proxy.forsake(&[elsewhere, client.peer_addr().unwrap().ip()]);
    assert_eq!(read_to_end(&mut client), "");
    assert_eq!(read_to_end(&mut server), "");
    service.wait_for_silence();
    assert_eq!(service.counters().cut, 1);
}
