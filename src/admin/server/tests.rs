//! The server over real sockets: what it answers, and what hostile clients can't do.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::thread;
use std::time::Instant as Clock;

use tokio::sync::oneshot;

mod changing;
mod reloading;
mod telling;

use super::*;
use crate::admin::{Target, bind_socket, bind_tcp, fetch_status, status, targets};

/// Long enough for any answer on a busy machine; only a failing test waits for it.
const AT_LAST: Duration = Duration::from_secs(20);

/// A server on a thread of its own, with both listeners.
struct Server {
    port: u16,
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Server {
    fn start(name: &str) -> Self {
        Self::with(name, Limits::default(), || "metric 1\n".to_owned())
    }

    fn with(name: &str, limits: Limits, metrics: fn() -> String) -> Self {
        Self::of(name, limits, move || sources(metrics))
    }

    fn of(name: &str, limits: Limits, sources: impl FnOnce() -> Sources + Send + 'static) -> Self {
        let folder = std::env::temp_dir().join(format!("chinthe-admin-{name}-{}", std::process::id()));
        let socket = folder.join("admin.sock");
        let tcp = bind_tcp("127.0.0.1:0".parse().expect("an address")).expect("any port");
        let port = tcp.local_addr().expect("it has one").port();
        let listeners = Listeners { tcp: Some(tcp), socket: Some(bind_socket(&socket).expect("it is free")) };
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    ended = serve_within(listeners, sources(), limits) => panic!("it ended: {ended:?}"),
                    _ = stopped => {}
                }
            });
        });
        Self { port, socket, stop: Some(stop), thread: Some(thread) }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_read_timeout(Some(AT_LAST)).expect("a valid timeout");
        stream.set_write_timeout(Some(AT_LAST)).expect("a valid timeout");
        stream
    }

    /// What comes back for `request` until the server closes.
    fn ask(&self, request: &str) -> String {
        let mut stream = self.connect();
        stream.write_all(request.as_bytes()).expect("it reads");
        rest(&mut stream)
    }

    fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        let socket_is_gone = !self.socket.exists();
        let _ = std::fs::remove_dir_all(self.socket.parent().expect("it has a folder"));
        if !thread::panicking() {
            assert!(ended.is_some_and(|ended| ended.is_ok()), "the server panicked");
            assert!(socket_is_gone, "the socket is left behind");
        }
    }
}

fn sources(metrics: fn() -> String) -> Sources {
    let status: Arc<Status> = Arc::new(serde_json::from_str(status::tests::SAMPLE).expect("it is a status"));
    let mut standby = Status::clone(&status);
    standby.vips.push(status::Vip {
        name: "vi 2".to_owned(),
        state: status::VipState::Backup,
        ..status.vips[0].clone()
    });
    let standby = Arc::new(standby);
    Sources {
        metrics: Box::new(move |_, _| metrics()),
        targets: Box::new(|| targets::groups("myweb", &[("ha1".into(), "192.0.2.1:7781".into())].into())),
        status: Box::new(move || Arc::clone(&standby)),
        alive: Box::new(|| Err("worker 1 is stuck".to_owned())),
        ready: Box::new(|| vec![("listeners".to_owned(), true), ("probes".to_owned(), false)]),
        words: Box::new(|| changing::words("ha1")),
        change: Box::new(changing::driver),
        reload: Box::new(reloading::driver),
        events: Box::pin(stream::iter(telling::three()).chain(stream::pending())),
        events_dropped: Box::new(|| 5),
        token: None,
    }
}

/// Until the end of the stream; a reset ends it too.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}"),
    }
    String::from_utf8(bytes).expect("text")
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a head").1
}

fn problem_status(answer: &str) -> u64 {
    assert!(answer.contains("content-type: application/problem+json\r\n"), "{answer}");
    let document: serde_json::Value = serde_json::from_str(body(answer)).expect("JSON");
    for member in ["type", "title", "detail"] {
        assert!(document[member].is_string(), "{answer}");
    }
    document["status"].as_u64().expect("a number")
}

#[test]
fn metrics_come_as_text() {
    let server = Server::start("metrics");
    let answer = server.get("/metrics");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"), "{answer}");
    assert_eq!(body(&answer), "metric 1\n");
}

#[test]
fn metrics_come_as_open_metrics_to_those_who_ask_for_it() {
    let server = Server::start("open-metrics");
    let answer = server.ask(
        "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAccept: application/openmetrics-text;version=1.0.0,*/*;q=0.1\r\n\r\n",
    );
    let kind = "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n";
    assert!(answer.contains(kind), "{answer}");
}

#[test]
fn targets_are_the_document_that_prometheus_discovers_by() {
    let server = Server::start("targets");
    let answer = server.get("/api/v1/prometheus/targets");
    assert!(answer.contains("content-type: application/json\r\n"), "{answer}");
    let document = r#"[{"targets":["192.0.2.1:7781"],"labels":{"cluster":"myweb","node":"ha1"}}]"#;
    assert_eq!(body(&answer).trim_end(), document);
}

#[test]
fn the_status_is_the_same_over_tcp_and_the_socket() {
    let server = Server::start("status");
    let (over_socket, status) = fetch_status(&Target::Socket(server.socket.clone())).expect("an answer");
    let (over_tcp, _) = fetch_status(&Target::Tcp("127.0.0.1".to_owned(), server.port)).expect("an answer");
    assert_eq!(over_socket, over_tcp);
    assert_eq!(status.vips[0].holder.as_deref(), Some("ha1"));
}

#[test]
fn a_head_request_is_answered_without_a_body() {
    let server = Server::start("head");
    let answer = server.ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("content-length: 9\r\n"), "{answer}");
    assert_eq!(body(&answer), "");
}

#[test]
fn health_says_what_is_wrong() {
    let server = Server::start("health");
    let alive = server.get("/livez");
    assert_eq!(problem_status(&alive), 503);
    assert!(alive.contains("worker 1 is stuck"), "{alive}");
    let ready = server.get("/readyz");
    assert_eq!(problem_status(&ready), 503);
    assert!(ready.contains("not ready: probes"), "{ready}");
    let verbose = server.get("/readyz?verbose");
    assert!(verbose.starts_with("HTTP/1.1 503 "), "{verbose}");
    assert_eq!(body(&verbose), "[+] listeners: ok\n[-] probes: not yet\nnot ready\n");
}

#[test]
fn active_is_200_on_the_holder_alone() {
    let server = Server::start("active");
    assert!(server.get("/active?vip=vi_1").starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(problem_status(&server.get("/active?vip=vi%202")), 503);
    assert_eq!(problem_status(&server.get("/active?vip=vi_3")), 404);
    assert_eq!(problem_status(&server.get("/active")), 400);
}

#[test]
fn what_isnt_there_or_cant_be_done_is_a_problem_document() {
    let server = Server::start("problems");
    assert_eq!(problem_status(&server.get("/metrics/")), 404);
    let post =
        server.ask("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    assert_eq!(problem_status(&post), 405);
    assert!(post.contains("allow: GET, HEAD\r\n"), "{post}");
    assert_eq!(
        problem_status(&server.ask("GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")),
        400
    );
    let chunked = "GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(problem_status(&server.ask(chunked)), 400);
}

#[test]
fn one_connection_serves_many_requests() {
    let server = Server::start("keepalive");
    let mut stream = UnixStream::connect(&server.socket).expect("it listens");
    stream.set_read_timeout(Some(AT_LAST)).expect("a valid timeout");
    let requests = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n".repeat(2)
        + "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    stream.write_all(requests.as_bytes()).expect("it reads");
    assert_eq!(rest(&mut stream).matches("metric 1\n").count(), 3);
}

#[test]
fn garbage_is_refused_and_the_next_client_is_served() {
    let server = Server::start("garbage");
    for garbage in
        ["\0\u{1}\u{2}\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]
    {
        let answer = server.ask(garbage);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{garbage:?}: {answer}");
    }
    assert!(server.get("/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_huge_head_is_refused() {
    let server = Server::start("huge");
    for head in ["X: y\r\n".repeat(HEADERS + 1), format!("X: {}\r\n", "y".repeat(2 * HEAD_BYTES))] {
        let mut stream = server.connect();
        // The server may answer and close before it has read all of it.
        let _ = stream.write_all(format!("GET /metrics HTTP/1.1\r\n{head}\r\n").as_bytes());
        let answer = rest(&mut stream);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    assert!(server.get("/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn a_client_that_never_finishes_its_head_is_dropped() {
    let limits = Limits { patience: Duration::from_millis(50), ..Limits::default() };
    let server = Server::with("slow", limits, String::new);
    let mut stream = server.connect();
    let started = Clock::now();
    // A byte now and then doesn't count as a request.
    while stream.write_all(b"G").is_ok() {
        assert!(started.elapsed() < AT_LAST, "it is still being listened to");
        thread::yield_now();
    }
}

#[test]
fn a_client_that_doesnt_read_its_answer_is_dropped() {
    let limits = Limits { patience: Duration::from_millis(50), ..Limits::default() };
    // More than the sockets' buffers take.
    let server = Server::with("stuck", limits, || "x".repeat(64 << 20));
    let mut stream = UnixStream::connect(&server.socket).expect("it listens");
    stream.set_read_timeout(Some(AT_LAST)).expect("a valid timeout");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
    // What was sent before the drop arrives, the rest doesn't.
    let mut start = [0; 64];
    stream.read_exact(&mut start).expect("the answer has begun");
    wait_until_closed(&stream);
    assert!(rest(&mut stream).len() < 64 << 20);
}

/// Waits until the other side has closed, without reading what it sent.
fn wait_until_closed(stream: &impl AsFd) {
    use rustix::event::{PollFd, PollFlags, poll};
    let mut fds = [PollFd::new(stream, PollFlags::RDHUP)];
    let timeout = rustix::time::Timespec { tv_sec: 20, tv_nsec: 0 };
    assert_eq!(poll(&mut fds, Some(&timeout)).expect("poll"), 1, "it is still open");
}

#[test]
fn whoever_takes_all_places_makes_room_for_the_next() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let server = Server::with("crowd", limits, || "metric 1\n".to_owned());
    let crowd: Vec<TcpStream> = (0..8).map(|_| server.connect()).collect();
    assert!(server.get("/metrics").starts_with("HTTP/1.1 200 OK\r\n"));
    // The oldest has made room; the socket's places are others.
    wait_until_closed(&crowd[0]);
    assert!(fetch_status(&Target::Socket(server.socket.clone())).is_ok());
}
