//! The program as a process: what it prints where, and its exit status.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::thread;

use chinthe::admin::administration::{Setting as Said, Subject, Word};
use chinthe::admin::{
    Change, Listeners, NotReloaded, Refusal, Reloaded, Sources, Status, Words, bind_socket, serve, status,
};
use chinthe::core::Target;
use futures_util::stream;
use tokio::sync::oneshot;

fn chinthe(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinthe"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    chinthe(arguments).output().expect("the program can be started")
}

fn exit_status(output: &Output) -> i32 {
    output.status.code().expect("it ended by itself")
}

/// A node's admin server on a Unix socket, which answers what it is told to.
struct Node {
    socket: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Node {
    fn start(name: &str, ready: bool) -> Self {
        let folder = std::env::temp_dir().join(format!("chinthe-cli-{name}-{}", std::process::id()));
        let socket = folder.join("admin.sock");
        let listener = bind_socket(&socket).expect("it is free");
        let (stop, stopped) = oneshot::channel();
        let thread = thread::spawn(move || {
            let status = Arc::new(status(ready));
            let sources = Sources {
                metrics: Box::new(|_, _| String::new()),
                targets: Box::new(Vec::new),
                status: Box::new(move || Arc::clone(&status)),
                alive: Box::new(|| Ok(())),
                ready: Box::new(Vec::new),
                words: Box::new(Words::default),
                change: Box::new(|change, _, answer| {
                    let _ = answer.send(taken_in(&change));
                }),
                reload: Box::new(move |_, _, answer| {
                    let _ = answer.send(if ready {
                        Ok(Reloaded {
                            config: "5f2c00ab12345678".into(),
                            changed: Vec::new(),
                            asked: Vec::new(),
                        })
                    } else {
                        Err(NotReloaded {
                            report: "error: a.toml:1:2: what is this?\nhint: leave it out".into(),
                        })
                    });
                }),
                events: Box::pin(stream::pending()),
                events_dropped: Box::new(|| 0),
                token: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                tokio::select! {
                    ended = serve(Listeners { tcp: None, socket: Some(listener) }, sources) => {
                        panic!("it ended: {ended:?}")
                    }
                    _ = stopped => {}
                }
            });
        });
        Self { socket, stop: Some(stop), thread: Some(thread) }
    }

    fn path(&self) -> &str {
        self.socket.to_str().expect("a plain path")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(thread::JoinHandle::join);
        let _ = std::fs::remove_dir_all(self.socket.parent().unwrap_or(Path::new("/nonexistent")));
        assert!(thread::panicking() || ended.is_some_and(|ended| ended.is_ok()), "the server panicked");
    }
}

/// A node that knows `myweb/web1` alone.
fn taken_in(change: &Change) -> Result<Words, Refusal> {
    let known = Target::Backend { service: "myweb".into(), backend: "web1".into() };
    if change.target != known {
        return Err(Refusal::Unknown("there is no such backend: did you mean `web1`?".into()));
    }
    let said = |setting: &chinthe::core::Setting| Word {
        target: Subject::from(&change.target),
        setting: Said::new(*setting, |id| format!("{id:?}")),
        since: "2026-11-22T10:00:00Z".parse().expect("a moment"),
        expires: change.lasting.map(|_| "2026-11-22T10:30:00Z".parse().expect("a moment")),
        by: "ha1".into(),
    };
    Ok(Words { words: change.settings.iter().map(said).collect() })
}

fn status(ready: bool) -> Status {
    Status {
        cluster: "myweb".to_owned(),
        node: "ha1".to_owned(),
        ready,
        quorum: "none".to_owned(),
        majority: None,
        members: vec![status::Member {
            name: "ha1".to_owned(),
            address: "192.0.2.1".to_owned(),
            state: status::MemberState::Alive,
            version: "0.1.0".to_owned(),
            config: "5f2c".to_owned(),
            own: true,
            witness: false,
            admin: None,
        }],
        vips: Vec::new(),
        services: Vec::new(),
    }
}

#[test]
fn a_healthy_cluster_is_shown_with_exit_status_0() {
    let node = Node::start("healthy", true);
    let output = run(&["status", "--socket", node.path()]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(exit_status(&output), 0, "{output:?}");
    assert!(text.starts_with("cluster myweb, seen from ha1 (ready), quorum none\n"), "{text}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_degraded_cluster_is_shown_with_exit_status_3() {
    let node = Node::start("degraded", false);
    let output = run(&["status", "--socket", node.path()]);
    assert_eq!(exit_status(&output), 3, "{output:?}");
    assert!(
        String::from_utf8_lossy(&output.stdout).ends_with("degraded: `ha1` is not ready\n"),
        "{output:?}"
    );
    let output = run(&["status", "--json", "--socket", node.path()]);
    assert_eq!(exit_status(&output), 3, "{output:?}");
    assert!(serde_json::from_slice::<Status>(&output.stdout).is_ok(), "{output:?}");
}

#[test]
fn what_was_said_is_told_in_one_line_with_exit_status_0() {
    let node = Node::start("said", true);
    for (arguments, line) in [
        (&["drain", "myweb/web1", "--for", "30m"][..], "myweb/web1: drain until 2026-11-22T10:30:00Z\n"),
        (&["maint", "myweb/web1"], "myweb/web1: maint\n"),
        (&["ready", "myweb/web1"], "myweb/web1: ready\n"),
        (&["weight", "myweb/web1", "5"], "myweb/web1: weight 5\n"),
        (&["weight", "myweb/web1", "default"], "myweb/web1: weight as configured\n"),
    ] {
        let output = run(&[arguments, &["--socket", node.path()]].concat());
        assert_eq!(exit_status(&output), 0, "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), line);
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn what_cant_be_said_is_an_error_with_a_hint() {
    let node = Node::start("unsaid", true);
    for (arguments, words) in [
        (&["drain", "myweb/web9"][..], "did you mean `web1`?"),
        (&["drain", "web1"], "`SERVICE/BACKEND`"),
        (&["drain", "--node", "a b"], "no node can have that name"),
        (&["maint", "myweb/web1", "--for", "soon"], "`soon` is no duration"),
        (&["ready", "myweb/web1", "--token-file", "/nonexistent"], "can't be read"),
    ] {
        let output = run(&[arguments, &["--socket", node.path()]].concat());
        assert_eq!(exit_status(&output), 1, "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("error: ") && text.contains(words) && text.contains("\nhint: "), "{text}");
        assert!(output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn nobody_to_ask_is_an_error_with_a_hint() {
    let output = run(&["status", "--socket", "/nonexistent/admin.sock"]);
    assert_eq!(exit_status(&output), 1, "{output:?}");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.starts_with("error: no node can be asked at `/nonexistent/admin.sock`: "), "{text}");
    assert!(text.contains("\nhint: "), "{text}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn a_missing_file_is_an_error_with_a_hint() {
    for (arguments, expected) in [
        (["check", "/nonexistent/chinthe.toml"].as_slice(), 1),
        (&["import", "--keepalived", "/nonexistent/keepalived.conf"], 2),
    ] {
        let output = run(arguments);
        assert_eq!(exit_status(&output), expected, "{output:?}");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(text.starts_with("error: `/nonexistent/") && text.contains("\nhint: "), "{text}");
    }
}

#[test]
fn a_usage_error_is_exit_status_2() {
    for arguments in [
        [].as_slice(),
        &["fly"],
        &["check"],
        &["import"],
        &["run", "--log", "xml"],
        &["drain"],
        &["weight", "a/b"],
    ] {
        let output = run(arguments);
        assert_eq!(exit_status(&output), 2, "{output:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let node = Node::start("pipe", true);
    for arguments in [["--help"].as_slice(), &["status", "--socket", node.path()]] {
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        let child = chinthe(arguments).stdout(writer).stderr(Stdio::piped()).spawn();
        let output = child.expect("the program can be started").wait_with_output().expect("it ends");
        assert_eq!(exit_status(&output), 0, "{output:?}");
        assert!(output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
fn what_starts_itself_is_not_advertised() {
    let output = run(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("  status ") && !text.contains("guard") && !text.contains("lab-machine"), "{text}");
}

#[test]
fn a_reload_says_what_has_changed_or_repeats_the_node_s_report() {
    let (good, bad) = (Node::start("reload", true), Node::start("no-reload", false));
    let output = run(&["reload", "--socket", good.path()]);
    assert_eq!(exit_status(&output), 0);
    assert_eq!(String::from_utf8_lossy(&output.stdout), "reloaded: nothing has changed (config 5f2c00ab)\n");
    let output = run(&["reload", "--socket", bad.path()]);
    assert_eq!(exit_status(&output), 1);
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "error: a.toml:1:2: what is this?\nhint: leave it out\n"
    );
    let output = run(&["reload", "--socket", "/nonexistent"]);
    assert_eq!(exit_status(&output), 1);
}
