//! Reloads over real sockets.

use super::*;
use crate::admin::{ClientError, NotReloaded, ReloadAnswer, Reloaded, client};

const PATH: &str = "/api/v1/reload";

/// A driver whose file has a mistake for everybody but the first user.
#[allow(clippy::needless_pass_by_value, reason = "as the server hands it over")]
pub(super) fn driver(operator: Operator, cluster: bool, answer: ReloadAnswer) {
    let _ = answer.send(match operator {
        Operator::Socket { .. } if cluster => Ok(reloaded()),
        Operator::Socket { .. } => Ok(Reloaded { asked: Vec::new(), ..reloaded() }),
        Operator::Token { .. } => Err(NotReloaded { report: REPORT.into() }),
    });
}

const REPORT: &str = "error: a.toml:1:2: what is this?\nhint: leave it out\n";

fn reloaded() -> Reloaded {
    Reloaded {
        config: "5f2c00ab12345678".into(),
        changed: vec!["myweb/web1: weight".into()],
        asked: vec!["ha2".into()],
    }
}

fn post(headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
}

#[test]
fn a_reload_by_the_socket_needs_no_token_and_is_answered_with_what_has_changed() {
    let server = Server::start("reload");
    let target = client::Target::Socket(server.socket.clone());
    assert_eq!(client::reload(&target, None, true).expect("it is reloaded"), reloaded());
    assert!(client::reload(&target, None, false).expect("it is reloaded").asked.is_empty());
}

#[test]
fn a_file_that_is_refused_is_reported_with_all_its_lines() {
    let server = changing::with_token("reload-refused");
    let target = client::Target::Tcp("127.0.0.1".into(), server.port);
    match client::reload(&target, Some(changing::TOKEN), false) {
        Err(ClientError::NotReloaded { report }) => assert_eq!(report, REPORT.trim_end()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn over_tcp_a_reload_needs_the_token() {
    let server = changing::with_token("reload-token");
    assert_eq!(problem_status(&server.ask(&post("", ""))), 401);
    assert_eq!(problem_status(&Server::start("reload-tokenless").ask(&post("", ""))), 403);
    let bearer = format!("Authorization: Bearer {}\r\n", changing::TOKEN);
    assert_eq!(problem_status(&server.ask(&post(&bearer, ""))), 422);
    assert_eq!(problem_status(&server.ask(&post(&bearer, "the file"))), 400, "a node reads its own file");
    assert_eq!(problem_status(&server.ask(&post(&format!("{bearer}Origin: http://elsewhere\r\n"), ""))), 403);
}

#[test]
fn there_is_nothing_to_read_where_a_reload_is_asked_for() {
    let server = Server::start("reload-get");
    let answer = server.get(PATH);
    assert_eq!(problem_status(&answer), 405);
    assert!(answer.contains("allow: POST\r\n"), "{answer}");
}
