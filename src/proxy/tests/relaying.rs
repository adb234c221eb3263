//! Bytes, and the ends of their directions.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::mpsc;
use std::time::Duration;

use socket2::SockRef;

use super::harness::{Backend, LONG, Service, read_to_end};

#[test]
fn a_server_may_speak_first() {
    let backend = Backend::new(|mut stream| {
        stream.write_all(b"220 ready").unwrap();
        let mut answer = [0; 4];
        stream.read_exact(&mut answer).unwrap();
        stream.write_all(&answer).unwrap();
    });
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut banner = [0; 9];
    client.read_exact(&mut banner).unwrap();
    assert_eq!(&banner, b"220 ready");
    client.write_all(b"EHLO").unwrap();
    assert_eq!(read_to_end(&mut client), "EHLO");
}

#[test]
fn a_client_that_has_finished_still_gets_its_answer() {
    let backend = Backend::new(|mut stream| {
        let question = read_to_end(&mut stream);
        stream.write_all(question.to_uppercase().as_bytes()).unwrap();
    });
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    client.write_all(b"question").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), "QUESTION");
}

#[test]
fn a_backend_that_has_finished_still_gets_what_follows() {
    let (hear, heard) = mpsc::sync_channel(1);
    let backend = Backend::new(move |mut stream| {
        stream.write_all(b"that's all").unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        hear.send(read_to_end(&mut stream)).unwrap();
    });
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    assert_eq!(read_to_end(&mut client), "that's all");
    client.write_all(b"thank you").unwrap();
    drop(client);
    assert_eq!(heard.recv_timeout(LONG).unwrap(), "thank you");
    service.wait_for_silence();
}

#[test]
fn much_passes_both_ways_at_once_and_unchanged() {
    const SIZE: usize = 8 << 20;
    let sample = |seed: usize| -> Vec<u8> { (0..SIZE).map(|i| ((i ^ i >> 8) + seed) as u8).collect() };
    let backend = Backend::new(move |mut stream| {
        let mut writer = stream.try_clone().unwrap();
        let sending = std::thread::spawn(move || {
            writer.write_all(&sample(2)).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        let mut received = Vec::new();
        stream.read_to_end(&mut received).unwrap();
        assert!(received == sample(1));
        sending.join().unwrap();
    });
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let mut writer = client.try_clone().unwrap();
    let sending = std::thread::spawn(move || {
        writer.write_all(&sample(1)).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert!(received == sample(2));
    sending.join().unwrap();
    service.wait_for_silence();
    let bytes = service.counters().services[0].bytes;
    assert_eq!((bytes.received, bytes.sent), (SIZE as u64, SIZE as u64));
}

#[test]
fn a_reader_that_stalls_stops_the_writer_and_loses_nothing() {
    // What the kernel's buffers take on either side, at their largest by default, with room to spare.
    const BOUND: usize = 48 << 20;
    let (tell, told) = mpsc::sync_channel(1);
    let backend = Backend::new(move |mut stream| {
        stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let chunk = [7; 16 * 1024];
        let mut total = 0;
        while total < 2 * BOUND {
            match stream.write(&chunk) {
                Ok(count) => total += count,
                Err(_) => break,
            }
        }
        tell.send(total).unwrap();
    });
    let service = Service::start(&[(backend.address, 1)]);
    let mut client = service.connect();
    let sent = told.recv_timeout(LONG).unwrap();
    assert!(sent < BOUND, "{sent} bytes taken for a client that doesn't read");
    let mut received = Vec::new();
    client.read_to_end(&mut received).unwrap();
    assert_eq!(received.len(), sent);
}

#[test]
fn what_follows_urgent_data_is_not_stuck() {
    let echo = Backend::echo();
    let service = Service::start(&[(echo.address, 1)]);
    for _ in 0..20 {
        let mut client = service.connect();
        client.write_all(b"before").unwrap();
        SockRef::from(&client).send_out_of_band(b"!").unwrap();
        client.write_all(b"after").unwrap();
        let mut answer = [0; 11];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"beforeafter");
    }
}
