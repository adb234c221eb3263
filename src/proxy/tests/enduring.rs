//! Disorder and shortage.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, setrlimit};

use super::harness::{Backend, LONG, Setup, client_of, in_a_process_of_its_own, reset, wait_until};

/// Does a few things to `stream` that peers do to each other, chosen by `seed`, and leaves.
fn misbehave(mut stream: TcpStream, seed: usize) {
    let mut buffer = [0; 1000];
    for step in 0..3 {
        // Failures are part of it: the other side misbehaves too.
        match (seed >> (3 * step)) % 8 {
            0 | 1 => drop(stream.write_all(&vec![7; 100_000])),
            2 | 3 => drop(stream.write_all(b"hello")),
            4 => drop(stream.shutdown(Shutdown::Write)),
            5 => {
                stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
                let _ = stream.read(&mut buffer);
                stream.set_read_timeout(Some(LONG)).unwrap();
            }
            6 => return reset(stream),
            _ => return,
        }
    }
    // To the end, unless the other side waits for ours: leaving breaks that up.
    let _ = stream.shutdown(Shutdown::Write);
    while stream.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

#[test]
fn whatever_both_sides_do_nothing_is_left_in_the_end() {
    const CLIENTS: usize = 1024;
    let number = AtomicUsize::new(0);
    let backend = Backend::new(move |stream| {
        misbehave(stream, number.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9E37_79B9) >> 3);
    });
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(backend.address, 1)]);
    let address = service.address;
    std::thread::scope(|scope| {
        for first in (0..CLIENTS).step_by(32) {
            let crowd: Vec<_> = (first..first + 32)
                .map(|number| scope.spawn(move || misbehave(client_of(address), number * 7 % 512)))
                .collect();
            for client in crowd {
                client.join().unwrap();
            }
        }
    });
    // A client that left before its backend answered has had none.
    wait_until(|| service.shares()[0] + rejected(&service.counters()) == CLIENTS as u64);
    service.wait_for_silence();
}

fn rejected(counters: &crate::proxy::Counters) -> u64 {
    counters.services[0].rejected.iter().sum()
}

/// The limit is a whole process's, so that this test runs in one of its own.
#[test]
fn without_descriptors_clients_wait_and_no_worker_spins() {
    let this = "proxy::tests::enduring::without_descriptors_clients_wait_and_no_worker_spins";
    in_a_process_of_its_own(this, starve);
}

fn starve() {
    setrlimit(Resource::Nofile, Rlimit { current: Some(64), maximum: Some(64) }).unwrap();
    let echo = Backend::echo();
    let service = Setup::default().start(&[(echo.address, 1)]);

    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    hoard.pop();
    let mut client = service.connect();
    client.write_all(b"a").unwrap();
    wait_until(|| service.counters().accept_pauses >= 1);
    let (beats, pauses) = (service.proxy.beats()[0], service.counters().accept_pauses);
    wait_until(|| service.counters().accept_pauses >= pauses + 3);
    let (beats, pauses) = (service.proxy.beats()[0] - beats, service.counters().accept_pauses - pauses);
    assert!(beats <= 4 * pauses, "{beats} rounds for {pauses} pauses");

    // One for the accepted client, none for its backend: this one is lost, but said to be.
    hoard.pop();
    client.read_exact(&mut [0]).unwrap_err();
    assert_eq!(rejected(&service.counters()), 1);

    hoard.clear();
    let mut client = service.connect();
    client.write_all(b"b").unwrap();
    client.read_exact(&mut [0]).unwrap();
}
