//! The first process of a rival's node: starts keepalived and haproxy, signals them, tells what they cost.
//!
//! It has a pid namespace of its own, since `killall -0 haproxy` must see this node's haproxy alone; and a `/run`,
//! where both keep their sockets and pid files. Orders come as lines of JSON on its input, each is answered by one
//! on its output; when the input ends so does it, and with it everything on the node.

use std::collections::BTreeMap;
use std::error::Error;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead};
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use rustix::mount::mount_bind;
use rustix::process::{Pid, Signal, WaitOptions, kill_process, wait};
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use crate::cost::Cost;

/// The argument that makes the program this process.
pub(crate) const ARGUMENT: &str = "--init";

/// What can be asked for.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Start a program, once no process of that name is left.
    Start { program: String, arguments: Vec<String> },
    /// Send a signal to the process that was started under this name, or to all that have it.
    Signal { program: String, signal: i32, all: bool },
    /// Tell what all processes of these names have cost.
    Cost { programs: Vec<String> },
}

/// What comes back.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Answer {
    Done,
    Cost(Cost),
    Failed(String),
}

/// For a program that was told to end, before it is started again.
const ENDED: Duration = Duration::from_secs(5);

/// The whole life of the process.
pub(crate) fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(live())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: the first process of a node: {e}");
            ExitCode::FAILURE
        }
    }
}

async fn live() -> Result<(), Box<dyn Error>> {
    // The machine's own folder, so that its logs can be read from outside.
    mount_bind("/run/chinthe", "/run")?;
    fs::create_dir_all("/run/haproxy")?;
    let mut children = signal(SignalKind::child())?;
    let (sender, mut orders) = mpsc::channel(1);
    thread::Builder::new().name("orders".into()).spawn(move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    })?;
    let mut init = Init { started: BTreeMap::new() };
    loop {
        tokio::select! {
            _ = children.recv() => init.reap(),
            order = orders.recv() => {
                let Some(order) = order else { return Ok(()) };
                let answer = match serde_json::from_str(&order) {
                    Ok(order) => init.carry_out(order).await,
                    Err(e) => Answer::Failed(e.to_string()),
                };
                println!("{}", serde_json::to_string(&answer)?);
            }
        }
    }
}

struct Init {
    /// The processes that it started, and under which name.
    started: BTreeMap<i32, String>,
}

impl Init {
    async fn carry_out(&mut self, order: Order) -> Answer {
        let done = |outcome: io::Result<()>| match outcome {
            Ok(()) => Answer::Done,
            Err(e) => Answer::Failed(e.to_string()),
        };
        match order {
            Order::Start { program, arguments } => done(self.start(&program, &arguments).await),
            Order::Signal { program, signal, all } => done(self.signal(&program, signal, all)),
            Order::Cost { programs } => {
                let pids = programs.iter().flat_map(|program| processes(program));
                match pids.map(|pid| Cost::of(pid.as_raw_pid())).collect::<io::Result<Vec<_>>>() {
                    Ok(costs) => {
                        Answer::Cost(costs.into_iter().fold(Cost::default(), |sum, cost| sum + cost))
                    }
                    Err(e) => Answer::Failed(e.to_string()),
                }
            }
        }
    }

    async fn start(&mut self, program: &str, arguments: &[String]) -> io::Result<()> {
        let deadline = Instant::now() + ENDED;
        self.reap();
        while !processes(program).is_empty() {
            if Instant::now() >= deadline {
                return Err(io::Error::other(format!("{program} is still running")));
            }
            sleep(Duration::from_millis(1)).await;
            self.reap();
        }
        let log = OpenOptions::new().create(true).append(true).open(format!("/run/{program}.log"))?;
        write_down(program, 0)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.started.insert(Pid::from_child(&child).as_raw_pid(), program.into());
        Ok(())
    }

    fn signal(&self, program: &str, signal: i32, all: bool) -> io::Result<()> {
        let signal = Signal::from_named_raw(signal).ok_or(io::ErrorKind::InvalidInput)?;
        let mut targets = processes(program);
        if !all {
            targets.retain(|pid| self.started.contains_key(&pid.as_raw_pid()));
        }
        if targets.is_empty() {
            return Err(io::Error::other(format!("{program} isn't running")));
        }
        // Stopped first: none may see another die and do something about it.
        let first = (signal == Signal::KILL).then_some(Signal::STOP);
        for signal in first.into_iter().chain([signal]) {
            for &target in &targets {
                kill_process(target, signal)?;
            }
        }
        Ok(())
    }

    /// Takes note of whatever has ended, orphans included.
    fn reap(&mut self) {
        while let Ok(Some((pid, _))) = wait(WaitOptions::NOHANG) {
            if let Some(program) = self.started.remove(&pid.as_raw_pid()) {
                // Whoever looks at the file is misled if that fails, and the run shows it.
                let _ = write_down(&program, 1);
            }
        }
    }
}

/// Says in a file whether a program is down (1) or not (0): for keepalived's `track_file`.
///
/// As a supervisor would; `track_process` hears of processes by a connector that exists outside namespaces alone.
fn write_down(program: &str, down: u8) -> io::Result<()> {
    fs::write(format!("/run/{program}.down"), format!("{down}\n"))
}

/// The processes of this name, as this pid namespace has them.
fn processes(program: &str) -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| fs::read_to_string(format!("/proc/{id}/comm")).is_ok_and(|name| name.trim() == program))
        .filter_map(Pid::from_raw)
        .collect()
}
