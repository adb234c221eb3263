//! A daemon and its guard as far as the lab is concerned: for the tests of the lab alone, where it matters that
//! nothing else can be at fault. This test program plays both parts.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::{Command, ExitCode, Stdio};

/// What the guard leaves when it has seen its parent die.
pub(crate) const TESTAMENT: &str = "guard-saw-it";

const RUN: &str = "/run/chinthe";
const GUARD: &str = "--guard-of-stand-in";

/// Which part this process has.
pub(crate) enum Part {
    Daemon { node: String },
    Guard,
}

/// The part that the command line asks for, if it asks for one: `run --config FILE --node NAME` as a daemon's does.
pub(crate) fn part() -> Option<Part> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["run", "--config", _, "--node", node] => Some(Part::Daemon { node: node.into() }),
        [GUARD] => Some(Part::Guard),
        _ => None,
    }
}

impl Part {
    /// Plays it to its end.
    pub(crate) fn play(self) -> ExitCode {
        let outcome = match self {
            Self::Daemon { node } => daemon(&node),
            Self::Guard => guard(),
        };
        match outcome {
            Ok(()) => ExitCode::SUCCESS,
            Err(e) => {
                eprintln!("stand-in: {e}");
                ExitCode::FAILURE
            }
        }
    }
}

fn daemon(node: &str) -> io::Result<()> {
    let _guard = Command::new(env::current_exe()?).arg(GUARD).stdin(Stdio::piped()).spawn()?;
    let socket = format!("{RUN}/admin.sock");
    if fs::exists(&socket)? {
        fs::remove_file(&socket)?;
    }
    let listener = UnixListener::bind(socket)?;
    println!("{node} is ready");
    for stream in listener.incoming() {
        // Whoever asked a frozen daemon is gone when it thaws.
        let _ = answer(stream?, node);
    }
    Ok(())
}

fn answer(mut stream: UnixStream, node: &str) -> io::Result<()> {
    let mut request = [0; 1024];
    let length = stream.read(&mut request)?;
    let body = match request[..length].split(|&byte| byte == b' ').nth(1) {
        Some(b"/api/v1/status") => format!("{{\"node\":\"{node}\"}}"),
        Some(b"/metrics") => "chinthe_ready 1\nchinthe_vip_active{vip=\"vi_1\"} 0\n".into(),
        Some(_) | None => "?".into(),
    };
    write!(stream, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{body}")
}

/// Its standard input ends with its parent.
fn guard() -> io::Result<()> {
    io::stdin().read_to_end(&mut Vec::new())?;
    fs::write(format!("{RUN}/{TESTAMENT}"), "")
}
