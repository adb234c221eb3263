//! That nothing outlives a lab, however it ends: seen from the host, by a mark in the environment of its processes.

use std::fs;
use std::io::{self, BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use chinthe::lab::{EnterError, enter, holds_within};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, set_parent_process_death_signal};

use crate::harness::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    Test::outside("left_behind::ctrl_c_ends_a_lab_with_success", ctrl_c_ends_a_lab_with_success),
    Test::outside("left_behind::no_lab_is_entered_with_threads", no_lab_is_entered_with_threads),
    Test::outside("left_behind::sigterm_ends_a_lab_with_success", sigterm_ends_a_lab_with_success),
    Test::outside(
        "left_behind::a_killed_outer_process_leaves_nothing",
        a_killed_outer_process_leaves_nothing,
    ),
    Test::outside("left_behind::a_killed_reaper_leaves_nothing", a_killed_reaper_leaves_nothing),
    Test::outside("left_behind::a_killed_lab_leaves_nothing", a_killed_lab_leaves_nothing),
    Test::outside("left_behind::two_labs_run_side_by_side", two_labs_run_side_by_side),
    Test::outside(
        "left_behind::a_port_in_use_is_an_error_with_a_hint",
        a_port_in_use_is_an_error_with_a_hint,
    ),
    Test::outside("left_behind::a_wrong_script_is_told_by_its_line", a_wrong_script_is_told_by_its_line),
];

const PATIENCE: Duration = Duration::from_secs(10);

/// In the environment of every process of one lab, and of no other.
const MARK: &str = "CHINTHE_TEST_MARK";

/// A running `chinthe lab`.
struct Running {
    outer: Child,
    mark: String,
    port: u16,
}

impl Running {
    /// Starts one, and waits until it says what its VIP is: by then all its machines are up.
    fn start() -> io::Result<Self> {
        let port = free_port()?;
        let mark = format!("{}-{port}", std::process::id());
        let mut outer = command(&["lab", "--port", &port.to_string()])
            .env(MARK, &mark)
            // As a shell starts it: the leader of a group of its own.
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = outer.stdout.take().map(BufReader::new).into_iter().flat_map(BufRead::lines);
        if lines.map_while(Result::ok).any(|line| line.contains("VIP is")) {
            Ok(Self { outer, mark, port })
        } else {
            Err(io::Error::other("the lab ended before it had begun"))
        }
    }

    /// Its processes, the outer one first: children have greater ids, unless those have come round.
    fn processes(&self) -> Vec<Pid> {
        let mark = format!("{MARK}={}", self.mark).into_bytes();
        let mut found: Vec<i32> = fs::read_dir("/proc")
            .into_iter()
            .flatten()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| {
                let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
                environment.split(|&byte| byte == 0).any(|variable| variable == mark)
            })
            .collect();
        found.sort_unstable();
        found.into_iter().filter_map(Pid::from_raw).collect()
    }

    /// The child of `parent` among its processes.
    fn child_of(&self, parent: Pid) -> Result<Pid, io::Error> {
        let is_child = |pid: &Pid| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            status
                .lines()
                .any(|line| line.strip_prefix("PPid:").is_some_and(|id| id.trim() == parent.to_string()))
        };
        self.processes().into_iter().find(is_child).ok_or_else(|| io::Error::other("it has no child"))
    }

    fn outer_pid(&self) -> Pid {
        Pid::from_child(&self.outer)
    }

    fn assert_success(mut self) -> Outcome {
        let mut status = None;
        holds_within(PATIENCE, || {
            status = self.outer.try_wait().ok().flatten();
            status.is_some()
        });
        let status = status.ok_or("it goes on")?;
        assert_eq!(status.code(), Some(0));
        self.assert_gone();
        Ok(())
    }

    fn assert_gone(mut self) {
        let reaped = holds_within(PATIENCE, || self.outer.try_wait().is_ok_and(|status| status.is_some()));
        assert!(reaped, "the outer process goes on");
        assert!(holds_within(PATIENCE, || self.processes().is_empty()), "{:?} are left", self.processes());
        assert!(holds_within(PATIENCE, || listen(self.port).is_ok()), "its port is still taken");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failure as well nothing is left to the tests that follow. An error means that it has ended.
        let _ = self.outer.kill();
        let _ = self.outer.wait();
    }
}

/// The program with these arguments; it dies with the test, even one that is killed for taking too long.
#[allow(unsafe_code)]
fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chinthe"));
    command.args(arguments);
    // SAFETY: between fork and exec there is one prctl(2) call, and nothing is allocated or locked.
    unsafe { command.pre_exec(|| Ok(set_parent_process_death_signal(Some(Signal::KILL))?)) };
    command
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

fn free_port() -> io::Result<u16> {
    Ok(listen(0)?.local_addr()?.port())
}

fn sigterm_ends_a_lab_with_success() -> Outcome {
    let lab = Running::start()?;
    kill_process(lab.outer_pid(), Signal::TERM)?;
    lab.assert_success()
}

/// A terminal sends it to all processes of the foreground group.
fn ctrl_c_ends_a_lab_with_success() -> Outcome {
    let lab = Running::start()?;
    kill_process_group(lab.outer_pid(), Signal::INT)?;
    lab.assert_success()
}

fn no_lab_is_entered_with_threads() -> Outcome {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let second = std::thread::spawn(move || ended.recv());
    let outcome = enter(None, |_| 0);
    drop(end);
    assert!(second.join().is_ok());
    match outcome {
        Err(EnterError::Threads) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn a_killed_outer_process_leaves_nothing() -> Outcome {
    let lab = Running::start()?;
    assert!(lab.processes().len() >= 3, "the mark doesn't reach the lab's processes");
    kill_process(lab.outer_pid(), Signal::KILL)?;
    lab.assert_gone();
    Ok(())
}

fn a_killed_reaper_leaves_nothing() -> Outcome {
    let lab = Running::start()?;
    kill_process(lab.child_of(lab.outer_pid())?, Signal::KILL)?;
    lab.assert_gone();
    Ok(())
}

fn a_killed_lab_leaves_nothing() -> Outcome {
    let lab = Running::start()?;
    let reaper = lab.child_of(lab.outer_pid())?;
    kill_process(lab.child_of(reaper)?, Signal::KILL)?;
    lab.assert_gone();
    Ok(())
}

fn two_labs_run_side_by_side() -> Outcome {
    let (one, other) = (Running::start()?, Running::start()?);
    kill_process(one.outer_pid(), Signal::TERM)?;
    one.assert_gone();
    assert!(other.processes().len() >= 3, "the other lab went too");
    Ok(())
}

fn a_port_in_use_is_an_error_with_a_hint() -> Outcome {
    let taken = listen(0)?;
    let port = taken.local_addr()?.port().to_string();
    let output = command(&["lab", "--port", &port]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
    Ok(())
}

fn a_wrong_script_is_told_by_its_line() -> Outcome {
    let output = command(&["lab", "--script", "/proc/self/cmdline"]).output()?;
    let said = String::from_utf8(output.stderr)?;
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("line 1: there is no action"), "{said}");
    Ok(())
}
