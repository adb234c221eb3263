//! Many bytes, many connections: everything arrives, and nothing stays behind.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::harness::{
    Backend, LONG, Service, Setup, client_of, in_a_process_of_its_own, read_to_end, wait_until,
};
use crate::proxy::Settings;
use crate::proxy::pipes::PIPE;

/// Bytes that a piece out of place doesn't resemble.
fn pattern(length: usize) -> Arc<[u8]> {
    let mut state = 1_u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..length).map(next).collect()
}

/// Reads to the end and compares.
fn assert_receives(stream: &mut TcpStream, expected: &[u8]) {
    let mut buffer = vec![0; 128 * 1024];
    let mut position = 0;
    loop {
        let count = stream.read(&mut buffer).unwrap();
        if count == 0 {
            break;
        }
        assert!(expected[position..].starts_with(&buffer[..count]), "other bytes after {position}");
        position += count;
    }
    assert_eq!(position, expected.len());
}

/// Does `deed` so many times, by several threads.
fn often(times: usize, deed: impl Fn() + Sync) {
    let begun = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while begun.fetch_add(1, Ordering::Relaxed) < times {
                    deed();
                }
            });
        }
    });
}

#[test]
fn a_thousand_downloads_with_the_end_right_behind_them_arrive_whole() {
    let bytes = pattern(3_000_000);
    let sent = Arc::clone(&bytes);
    let backend = Backend::new(move |mut stream| stream.write_all(&sent).unwrap());
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(backend.address, 1)]);
    let address = service.address;
    often(1000, || assert_receives(&mut client_of(address), &bytes));
    service.wait_for_silence();
    assert_eq!(service.counters().services[0].bytes.sent, 3_000_000_000);
}

#[test]
fn a_thousand_half_closed_uploads_are_answered() {
    let bytes = pattern(500_000);
    let expected = Arc::clone(&bytes);
    let backend = Backend::new(move |mut stream| {
        assert_receives(&mut stream, &expected);
        stream.write_all(b"got it").unwrap();
    });
    let service = Setup { workers: 2, ..Setup::default() }.start(&[(backend.address, 1)]);
    let address = service.address;
    often(1000, || {
        let mut client = client_of(address);
        client.write_all(&bytes).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), "got it");
    });
    service.wait_for_silence();
}

#[test]
fn both_ways_at_once_in_bulk_and_in_drops_arrive_whole() {
    for settings in [
        Settings::default(),
        Settings { splice: false, ..Settings::default() },
        Settings { spin: Duration::from_micros(100), ..Settings::default() },
        Settings { congestion_control: Some("reno".into()), ..Settings::default() },
    ] {
        both_ways_arrive_whole(settings);
    }
}

fn both_ways_arrive_whole(settings: Settings) {
    let bytes = pattern(20_000_000);
    let expected = Arc::clone(&bytes);
    let backend = Backend::new(move |mut stream| {
        let (mut sender, sent) = (stream.try_clone().unwrap(), Arc::clone(&expected));
        let sending = std::thread::spawn(move || {
            // Bulk, then drops, then bulk: every pace and back.
            let (bulk, rest) = sent.split_at(8_000_000);
            sender.write_all(bulk).unwrap();
            let (drops, rest) = rest.split_at(100_000);
            for drop in drops.chunks(500) {
                sender.write_all(drop).unwrap();
                std::thread::park_timeout(Duration::from_micros(100));
            }
            sender.write_all(rest).unwrap();
            sender.shutdown(Shutdown::Write).unwrap();
        });
        assert_receives(&mut stream, &expected);
        sending.join().unwrap();
    });
    let service = Setup { settings, ..Setup::default() }.start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let (mut sender, sent) = (client.try_clone().unwrap(), Arc::clone(&bytes));
    let sending = std::thread::spawn(move || {
        sender.write_all(&sent).unwrap();
        sender.shutdown(Shutdown::Write).unwrap();
    });
    assert_receives(&mut client, &bytes);
    sending.join().unwrap();
    service.wait_for_silence();
}

#[test]
fn urgent_data_does_not_stop_bulk() {
    let bytes = pattern(30_000_000);
    let sent = Arc::clone(&bytes);
    let backend = Backend::new(move |mut stream| {
        let (before, after) = sent.split_at(15_000_000);
        stream.write_all(before).unwrap();
        // One byte out of band: it isn't part of the stream, and its mark lies within it.
        rustix::net::send(&stream, b"!", rustix::net::SendFlags::OOB).unwrap();
        stream.write_all(after).unwrap();
    });
    let service = Service::start(&[(backend.address, 1)]);
    assert_receives(&mut service.connect(), &bytes);
}

#[test]
fn a_reader_that_stalls_stalls_the_sender_and_gets_everything_later() {
    let (backend, connections) = Backend::handing_over();
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut server = connections.recv_timeout(LONG).unwrap();
    server.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
    let chunk = vec![7; 64 * 1024];
    let mut pushed = 0;
    while let Ok(count) = server.write(&chunk) {
        pushed += count;
    }
    // Two connections' buffers, and one pipe between them.
    let most = 2 * (kernel_buffer("tcp_rmem") + kernel_buffer("tcp_wmem")) + PIPE;
    assert!(pushed <= most, "{pushed} bytes in flight, more than {most}");
    assert!(pushed > PIPE, "only {pushed} bytes: the direction never was bulk");
    drop(server);
    let mut received = 0;
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match client.read(&mut buffer).unwrap() {
            0 => break,
            count => received += count,
        }
    }
    assert_eq!(received, pushed);
}

/// The most bytes that the kernel lets a socket's buffer grow to.
fn kernel_buffer(name: &str) -> usize {
    let text = std::fs::read_to_string(format!("/proc/sys/net/ipv4/{name}")).unwrap();
    text.split_whitespace().last().unwrap().parse().unwrap()
}

/// More stalled readers than a worker has pipes: who finds none is copied for.
#[test]
fn more_stalled_readers_than_pipes_are_all_served_in_the_end() {
    let bytes = pattern(3_000_000);
    let sent = Arc::clone(&bytes);
    let backend = Backend::new(move |mut stream| {
        let _ = stream.write_all(&sent);
    });
    let service = Service::start(&[(backend.address, 1)]);
    let mut clients: Vec<TcpStream> = (0..100).map(|_| stalling_client(service.address)).collect();
    wait_until(|| service.counters().services[0].backends[0].connections == 100);
    for client in &mut clients {
        assert_receives(client, &bytes);
    }
    // Each could go on speaking until its timeout.
    drop(clients);
    service.wait_for_silence();
}

/// A client whose buffer is so small that the proxy can't hand everything to the kernel.
fn stalling_client(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.into()
}

/// Twice fifty thousand: what the first half needed is enough for the second. In a process of its own, since both
/// are a whole process's.
#[test]
fn a_hundred_thousand_connections_leave_neither_descriptors_nor_memory_behind() {
    in_a_process_of_its_own(
        "proxy::tests::bulk::a_hundred_thousand_connections_leave_neither_descriptors_nor_memory_behind",
        || {
            const HALF: usize = 50_000;
            // Many of both, since between any two there are ports for only so many that have just ended.
            let targets: Vec<_> = (0..4).map(|_| (answering(), 1)).collect();
            let service = Setup { workers: 2, ..Setup::default() }.start(&targets);
            let (address, number) = (service.address, AtomicUsize::new(0));
            let exchange = || {
                let source = 1 + number.fetch_add(1, Ordering::Relaxed) % 8;
                let mut client = client_from([127, 9, 0, source as u8].into(), address);
                client.write_all(b"?").unwrap();
                assert_eq!(read_to_end(&mut client), "!");
            };
            often(HALF, exchange);
            service.wait_for_silence();
            let before = (descriptors(), resident());
            often(HALF, exchange);
            service.wait_for_silence();
            let after = (descriptors(), resident());
            assert_eq!(service.shares(), [25_000; 4]);
            assert_eq!(after.0, before.0, "descriptors");
            assert!(after.1 <= before.1 + (1 << 20), "bytes of memory: {} after {}", after.1, before.1);
        },
    );
}

/// A backend that answers one connection after the other, as long as the process lives.
fn answering() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            stream.read_exact(&mut [0]).unwrap();
            stream.write_all(b"!").unwrap();
        }
    });
    address
}

fn client_from(source: Ipv4Addr, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.into()
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// Memory that this process occupies, in bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    1024 * line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
}
