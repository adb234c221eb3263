//! Changes over real sockets: who may, and what is said to whoever may not.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::admin::administration::{Setting, Subject, Word};
use crate::admin::{Refusal, client, read_token};
use crate::core::{self, AdminState, Target as Of};

const PATH: &str = "/api/v1/administration";
pub(super) const TOKEN: &str = "a-token-of-the-tests-0123456789";
const DRAIN: &str = r#"{"target":{"node":"ha1"},"state":"drain","for":"30m"}"#;

/// That somebody drained `node`.
pub(super) fn words(node: &str) -> Words {
    Words {
        words: vec![Word {
            target: Subject::Node(node.to_owned()),
            setting: Setting::State(status::AdminState::Drain),
            since: "2026-11-22T10:00:00Z".parse().expect("a moment"),
            expires: None,
            by: "ha1".to_owned(),
        }],
    }
}

/// A driver that knows `ha1`, loses what is said of `lost`, and never comes to what is said of `busy`.
#[allow(clippy::needless_pass_by_value, reason = "as the server hands it over")]
pub(super) fn driver(change: Change, _operator: Operator, answer: Answer) {
    let Of::Node { node } = &change.target else { panic!("the tests speak of nodes") };
    let _ = match node.as_str() {
        "ha1" => answer.send(Ok(words(node))),
        "full" => answer.send(Err(Refusal::Full)),
        "lost" => return,
        "busy" => return std::mem::forget(answer),
        other => answer.send(Err(Refusal::Unknown(format!("there is no node called `{other}`")))),
    };
}

pub(super) fn with_token(name: &str) -> Server {
    let path = std::env::temp_dir().join(format!("chinthe-admin-token-{name}-{}", std::process::id()));
    fs::write(&path, format!("{TOKEN}\n")).expect("it can be written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
    let token = read_token(&path).expect("it can be used");
    fs::remove_file(&path).expect("it is there");
    Server::of(name, Limits::default(), move || Sources { token: Some(token), ..sources(String::new) })
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

impl Server {
    fn ask_by_socket(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(AT_LAST)).expect("a valid timeout");
        // The server may answer and close before it has read all of it.
        let _ = stream.write_all(request.as_bytes());
        rest(&mut stream)
    }
}

#[test]
fn a_change_by_the_socket_needs_no_token_and_is_answered_with_what_holds() {
    let server = Server::start("change");
    let answer = server.ask_by_socket(&post("", DRAIN));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(serde_json::from_str::<Words>(body(&answer)).expect("words"), words("ha1"));
}

#[test]
fn what_was_said_can_be_read_by_everybody() {
    let server = Server::start("words");
    let answer = server.get(PATH);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(serde_json::from_str::<Words>(body(&answer)).expect("words"), words("ha1"));
    let put = server.ask(&post("", DRAIN).replacen("POST", "PUT", 1));
    assert_eq!(problem_status(&put), 405);
    assert!(put.contains("allow: GET, HEAD, POST\r\n"), "{put}");
}

#[test]
fn without_a_token_nothing_changes_over_tcp() {
    let server = Server::start("tokenless");
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    for headers in ["", &bearer, "Authorization: Bearer \r\n"] {
        let answer = server.ask(&post(headers, DRAIN));
        assert_eq!(problem_status(&answer), 403, "{answer}");
        assert!(answer.contains("admin.token_file"), "{answer}");
    }
}

#[test]
fn over_tcp_the_right_token_alone_opens() {
    let server = with_token("token");
    let answer = server.ask(&post(&format!("Authorization: Bearer {TOKEN}\r\n"), DRAIN));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    let half = &TOKEN[..20];
    for headers in [
        String::new(),
        format!("Authorization: {TOKEN}\r\n"),
        format!("Authorization: Basic {TOKEN}\r\n"),
        format!("Authorization: Bearer {half}\r\n"),
        format!("Authorization: Bearer {TOKEN}x\r\n"),
        "Authorization: Bearer\r\n".to_owned(),
        "Authorization: Bearer \u{ff}\r\n".to_owned(),
    ] {
        let answer = server.ask(&post(&headers, DRAIN));
        assert_eq!(problem_status(&answer), 401, "{headers:?}: {answer}");
        assert!(answer.contains("www-authenticate: Bearer\r\n"), "{answer}");
    }
    // The socket's own mode protects it.
    assert!(server.ask_by_socket(&post("", DRAIN)).starts_with("HTTP/1.1 200 OK\r\n"));
}

#[test]
fn the_nodes_own_page_may_with_the_token() {
    let server = with_token("own-origin");
    let own = format!("Authorization: Bearer {TOKEN}\r\nOrigin: http://x\r\n");
    assert!(server.ask(&post(&own, DRAIN)).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(problem_status(&server.ask(&post("Origin: http://x\r\n", DRAIN))), 401);
    // By way of the socket there is no telling whose page it is that somebody looks at.
    assert_eq!(problem_status(&server.ask_by_socket(&post(&own, DRAIN))), 403);
    assert_eq!(problem_status(&server.ask(&post(&own.replace("http://x", "https://x"), DRAIN))), 403);
}

#[test]
fn no_other_web_page_changes_anything() {
    let server = with_token("origin");
    let headers = format!("Authorization: Bearer {TOKEN}\r\nOrigin: http://127.0.0.1:7781\r\n");
    assert_eq!(problem_status(&server.ask(&post(&headers, DRAIN))), 403);
    assert_eq!(problem_status(&server.ask_by_socket(&post("Origin: null\r\n", DRAIN))), 403);
    // What a form can send without asking first.
    let plain = post("", DRAIN).replace("application/json", "text/plain");
    assert_eq!(problem_status(&server.ask_by_socket(&plain)), 415);
}

#[test]
fn what_cant_be_done_is_a_problem_document() {
    let server = Server::start("badchange");
    let of = |node: &str| DRAIN.replace("ha1", node);
    for (text, code, detail) in [
        (String::new(), 400, "EOF"),
        ("{".to_owned(), 400, "EOF"),
        ("\u{0}\u{ff}".to_owned(), 400, "expected value"),
        ("[".repeat(4000), 400, ""),
        (r#"{"target":{"node":"ha1"}}"#.to_owned(), 400, "say a `state`"),
        (of("ha9"), 404, "there is no node called `ha9`"),
        (of("full"), 503, "remembers"),
        (of("lost"), 503, "try again"),
        (" ".repeat(4097), 413, "4096"),
        (" ".repeat(1 << 20), 413, "4096"),
    ] {
        let answer = server.ask_by_socket(&post("", &text));
        assert_eq!(problem_status(&answer), code, "{answer}");
        assert!(answer.contains(detail), "{answer}");
    }
}

#[test]
fn a_body_without_a_length_is_cut_off_too() {
    let server = Server::start("chunks");
    let head = post("", "").replace("Content-Length: 0", "Transfer-Encoding: chunked");
    let chunk = format!("1000\r\n{}\r\n", " ".repeat(4096));
    let answer = server.ask_by_socket(&format!("{head}{}0\r\n\r\n", chunk.repeat(3)));
    assert_eq!(problem_status(&answer), 413, "{answer}");
    let length = DRAIN.len();
    let answer = server.ask_by_socket(&format!("{head}{length:x}\r\n{DRAIN}\r\n0\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[test]
fn a_driver_that_doesnt_answer_isnt_waited_for_for_ever() {
    let server = Server::start("busy");
    let answer = server.ask_by_socket(&post("", &DRAIN.replace("ha1", "busy")));
    assert_eq!(problem_status(&answer), 503, "{answer}");
}

#[test]
fn a_client_that_never_finishes_its_body_is_dropped() {
    let limits = Limits { patience: Duration::from_millis(50), ..Limits::default() };
    let server = Server::with("body", limits, String::new);
    let mut stream = UnixStream::connect(&server.socket).expect("it listens");
    stream.set_read_timeout(Some(AT_LAST)).expect("a valid timeout");
    stream.write_all(&post("", DRAIN).as_bytes()[..150]).expect("it reads");
    assert_eq!(rest(&mut stream), "");
}

#[test]
fn the_client_brings_its_token_and_hears_what_the_node_says() {
    let server = with_token("client");
    let change = |node: &str| Change {
        target: Of::Node { node: node.to_owned() },
        settings: vec![core::Setting::State(AdminState::Drain)],
        holder: None,
        lasting: None,
    };
    let socket = Target::Socket(server.socket.clone());
    let tcp = Target::Tcp("127.0.0.1".to_owned(), server.port);
    assert_eq!(client::change(&socket, None, &change("ha1")).expect("an answer"), words("ha1"));
    assert_eq!(client::change(&tcp, Some(TOKEN), &change("ha1")).expect("an answer"), words("ha1"));
    let refused = client::change(&tcp, None, &change("ha1")).expect_err("it has no token");
    assert!(refused.to_string().contains("refuses: this needs"), "{refused}");
    assert!(refused.hint().contains("--token-file"), "{}", refused.hint());
    let unknown = client::change(&socket, None, &change("ha9")).expect_err("nobody is called so");
    assert!(unknown.to_string().ends_with("refuses: there is no node called `ha9`"), "{unknown}");
}
