//! Events over real sockets: as a list, as a stream, and what a listener can't do.

use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;

use super::*;
use crate::admin::events::Events;
use crate::admin::{fetch_events, follow_events};

/// Three events, a microsecond apart.
pub(super) fn three() -> Vec<Entry> {
    let entry = |microsecond| Entry {
        at: jiff::Timestamp::from_microsecond(microsecond).expect("a moment"),
        document: serde_json::Map::from_iter([("event".to_owned(), "vip.moved".into())]),
    };
    (101..=103).map(entry).collect()
}

fn ids(events: &Events) -> Vec<u64> {
    events.events.iter().map(|event| event.id).collect()
}

/// Asks for the stream, with these headers too: the answer's head, and what follows it.
fn listen(server: &Server, headers: &str) -> (String, BufReader<TcpStream>) {
    let mut stream = server.connect();
    let request = "GET /api/v1/events HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n";
    stream.write_all(format!("{request}{headers}\r\n").as_bytes()).expect("it reads");
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).expect("a head"), 0, "{head}");
    }
    (head, reader)
}

/// The first `many` numbers of a stream.
fn numbers(reader: &mut impl BufRead, many: usize) -> Vec<u64> {
    let lines = reader.lines().map(|line| line.expect("it goes on"));
    lines.filter_map(|line| line.strip_prefix("id: ")?.parse().ok()).take(many).collect()
}

#[test]
fn what_has_happened_is_listed_the_earliest_first() {
    let server = Server::start("events");
    let target = Target::Socket(server.socket.clone());
    let events = fetch_events(&target).expect("an answer");
    assert_eq!((ids(&events), events.dropped, events.node.as_str()), (vec![101, 102, 103], 5, "ha1"));
    let answer = server.get("/api/v1/events?after=102");
    assert_eq!(ids(&serde_json::from_str(body(&answer)).expect("events")), [103]);
    assert_eq!(problem_status(&server.get("/api/v1/events?after=yesterday")), 400);
}

#[test]
fn a_listener_goes_on_where_it_was() {
    let server = Server::start("listen");
    let (head, mut reader) = listen(&server, "");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(head.contains("content-type: text/event-stream\r\n"), "{head}");
    assert_eq!(numbers(&mut reader, 3), [101, 102, 103]);
    let (_, mut reader) = listen(&server, "Last-Event-ID: 101\r\n");
    assert_eq!(numbers(&mut reader, 2), [102, 103]);
    let (head, _) = listen(&server, "Last-Event-ID: the-last\r\n");
    assert!(head.starts_with("HTTP/1.1 400 "), "{head}");
}

#[test]
fn the_client_hears_them_until_it_has_heard_enough() {
    let server = Server::start("follow");
    let target = Target::Tcp("127.0.0.1".to_owned(), server.port);
    let mut heard = Vec::new();
    let outcome = follow_events(&target, 0, |event| {
        heard.push(event.id);
        if heard.len() == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    assert!(outcome.is_ok(), "{outcome:?}");
    assert_eq!(heard, [101, 102, 103]);
}

#[test]
fn a_listener_is_kept_for_as_long_as_it_takes_what_it_is_given() {
    let limits = Limits { patience: Duration::from_millis(60), ..Limits::default() };
    let server = Server::with("patient", limits, String::new);
    let (_, mut reader) = listen(&server, "");
    // Many patiences long; each comment is a sign of life.
    let lines = reader.by_ref().lines().map(|line| line.expect("it goes on"));
    assert_eq!(lines.filter(|line| line == ":").take(20).count(), 20);
}

#[test]
fn only_so_many_listen_and_the_others_are_told() {
    let limits = Limits { connections: 40, ..Limits::default() };
    let server = Server::with("crowded-stream", limits, String::new);
    let all: Vec<_> = (0..33).map(|_| listen(&server, "")).collect();
    let refused = all.iter().filter(|(head, _)| head.starts_with("HTTP/1.1 503 ")).count();
    assert_eq!(refused, 1);
    assert!(server.get("/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
}
