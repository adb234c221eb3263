//! A node: a machine on which a chinthe daemon runs, and what can happen to it.

use std::cell::{Cell, RefCell};
use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::LabError;
use super::http;
use super::logs::Log;
use super::machine::Machine;
use super::processes;
use super::wait::holds_within;

/// The daemon's Unix socket in its machine's run folder, as contract and sample file have it.
const SOCKET: &str = "admin.sock";

/// The name of the daemon's process and of its guard's.
const PROCESS_NAME: &str = "chinthe";

/// For a daemon that was asked to stop: it lets open connections end before it does.
const DRAINED: Duration = Duration::from_secs(15);

/// How a daemon is started.
#[derive(Debug, Clone)]
pub(super) struct Launch {
    /// The daemon's program.
    pub(super) program: PathBuf,
    /// Its configuration.
    pub(super) config: PathBuf,
    /// The cluster's secret, wherever the configuration says that it is.
    pub(super) secret: PathBuf,
    /// What else its environment gets.
    pub(super) environment: Vec<(String, String)>,
}

/// One node.
#[derive(Debug)]
pub struct Node {
    machine: Machine,
    launch: Launch,
    log: Log,
    process: RefCell<Option<Child>>,
    /// It was asked to stop, and may still be draining.
    stopping: Cell<bool>,
}

impl Node {
    pub(super) fn new(machine: Machine, launch: Launch, log: Log) -> Self {
        Self { machine, launch, log, process: RefCell::new(None), stopping: Cell::new(false) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.machine.name()
    }

    /// The machine that it runs on.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// The configuration that its daemon is started with, for tests that rewrite it before a reload.
    pub fn config(&self) -> &Path {
        &self.launch.config
    }

    /// Where the secret is that its daemon is started with.
    pub fn secret(&self) -> &Path {
        &self.launch.secret
    }

    /// The daemon's program, to be run on this machine in the daemon's environment; it has no arguments yet.
    pub fn command(&self) -> Command {
        let mut command = self.machine.command(&self.launch.program);
        command
            .env("CHINTHE_SECRET_FILE", &self.launch.secret)
            .envs(self.launch.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts the daemon: `chinthe run --config FILE --node NAME`. An error when it runs already; one that was
    /// asked to stop is waited for.
    pub fn start(&self) -> Result<(), LabError> {
        self.start_with(|command| {
            command
                .args(["run".as_ref(), "--config".as_ref(), self.launch.config.as_os_str()])
                .args(["--node", self.name()]);
        })
    }

    /// Starts the daemon as `arrange` has it: with arguments, and whatever else differs from [`command`]'s.
    ///
    /// [`command`]: Self::command
    pub fn start_with(&self, arrange: impl FnOnce(&mut Command)) -> Result<(), LabError> {
        if self.stopping.replace(false) {
            self.wait_exit(DRAINED)?;
        }
        if self.daemon().is_ok() {
            return Err(LabError::Running { node: self.name().into() });
        }
        let failed = |source: io::Error| LabError::System { doing: format!("start {}", self.name()), source };
        let (said, speak) = io::pipe().map_err(failed)?;
        let mut command = self.command();
        command
            .stdout(speak.try_clone().map_err(failed)?)
            .stderr(speak)
            // A terminal's Ctrl-C is for the lab, which ends its daemons by itself.
            .process_group(0);
        arrange(&mut command);
        self.log.note("started");
        let child = command.spawn().map_err(failed)?;
        // The command holds the pipe's other end; with it gone the log ends when the daemon and its guard do.
        drop(command);
        self.log.keep(said)?;
        *self.process.borrow_mut() = Some(child);
        Ok(())
    }

    /// The daemon's process id in the sandbox. An error when it doesn't run.
    pub fn daemon(&self) -> Result<Pid, LabError> {
        let mut process = self.process.borrow_mut();
        match process.as_mut().map(|child| (child.try_wait(), Pid::from_child(child))) {
            Some((Ok(None), pid)) => Ok(pid),
            Some((Ok(Some(_)) | Err(_), _)) | None => Err(self.not_running()),
        }
    }

    /// The guard's process id. An error when there is none.
    pub fn guard(&self) -> Result<Pid, LabError> {
        let found = processes::children(self.daemon()?).into_iter().next();
        found.ok_or_else(|| LabError::NotRunning { what: format!("the guard of {}", self.name()) })
    }

    /// Asks the daemon to stop (`SIGTERM`).
    pub fn terminate(&self) -> Result<(), LabError> {
        self.signal(self.daemon()?, Signal::TERM)?;
        self.stopping.set(true);
        Ok(())
    }

    /// Asks the daemon to read its configuration again (`SIGHUP`).
    pub fn reload(&self) -> Result<(), LabError> {
        self.signal(self.daemon()?, Signal::HUP)
    }

    /// Kills the daemon alone; its guard is left to clear up.
    pub fn kill9_daemon(&self) -> Result<(), LabError> {
        self.signal(self.daemon()?, Signal::KILL)?;
        self.wait_exit(Duration::from_secs(5)).map(drop)
    }

    /// Kills the guard alone.
    pub fn kill9_guard(&self) -> Result<(), LabError> {
        self.signal(self.guard()?, Signal::KILL)
    }

    /// Kills daemon and guard so that neither sees the other die.
    pub fn kill9_both(&self) -> Result<(), LabError> {
        let (daemon, guard) = (self.daemon()?, self.guard()?);
        // Stopped first: a stopped process doesn't run again before its own SIGKILL takes effect.
        for signal in [Signal::STOP, Signal::KILL] {
            self.signal(guard, signal)?;
            self.signal(daemon, signal)?;
        }
        self.wait_exit(Duration::from_secs(5)).map(drop)
    }

    /// Freezes the daemon alone, as a hang does.
    pub fn stop_daemon(&self) -> Result<(), LabError> {
        self.signal(self.daemon()?, Signal::STOP)
    }

    /// Freezes daemon and guard, as a paused machine does.
    pub fn stop_both(&self) -> Result<(), LabError> {
        let (daemon, guard) = (self.daemon()?, self.guard()?);
        self.signal(guard, Signal::STOP)?;
        self.signal(daemon, Signal::STOP)
    }

    /// Lets what was frozen run on.
    pub fn cont(&self) -> Result<(), LabError> {
        let daemon = self.daemon()?;
        for process in processes::children(daemon).into_iter().chain([daemon]) {
            self.signal(process, Signal::CONT)?;
        }
        Ok(())
    }

    /// Waits until the daemon has ended, and says how.
    pub fn wait_exit(&self, timeout: Duration) -> Result<ExitStatus, LabError> {
        let mut process = self.process.borrow_mut();
        let child = process.as_mut().ok_or_else(|| self.not_running())?;
        let mut status = None;
        holds_within(timeout, || {
            status = child.try_wait().ok().flatten();
            status.is_some()
        });
        status.ok_or_else(|| LabError::TimedOut { what: format!("{} to end", self.name()), after: timeout })
    }

    /// Whether the process list shows the daemon and its guard by their name.
    pub fn is_named(&self) -> Result<bool, LabError> {
        let name = |pid: Pid| fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let pids = [self.daemon()?, self.guard()?];
        Ok(pids.into_iter().all(|pid| name(pid).trim_end() == PROCESS_NAME))
    }

    /// `GET /api/v1/status` of the daemon. An error while it doesn't answer.
    pub fn status(&self) -> Result<serde_json::Value, LabError> {
        let body = self.get("/api/v1/status")?;
        serde_json::from_str(&body).map_err(|e| LabError::Answer {
            node: self.name().into(),
            problem: format!("status is no JSON: {e}"),
        })
    }

    /// `GET /metrics` of the daemon.
    pub fn metrics(&self) -> Result<String, LabError> {
        self.get("/metrics")
    }

    /// The value of one series of the daemon's metrics, written as in the text: `chinthe_vip_active{vip="vi_1"}`.
    /// `None` when it isn't there.
    pub fn metric(&self, series: &str) -> Result<Option<f64>, LabError> {
        let text = self.metrics()?;
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        Ok(value.and_then(|value| value.trim().parse().ok()))
    }

    /// The body of whatever the daemon serves at `path`. An error when it doesn't answer 200.
    pub fn get(&self, path: &str) -> Result<String, LabError> {
        let refused = |problem| LabError::Answer { node: self.name().into(), problem };
        let answer = http::get(&self.machine.run_folder().join(SOCKET), path)
            .map_err(|e| refused(format!("GET {path}: {e}")))?;
        if answer.status == 200 {
            Ok(answer.body)
        } else {
            Err(refused(format!("GET {path}: status {}: {}", answer.status, answer.body)))
        }
    }

    /// Takes the power away: its link is gone and every process dead at once. An error when it is off already.
    pub fn power_off(&self) -> Result<(), LabError> {
        self.machine.remove_interface()?;
        for process in processes::in_network(&self.machine.space()) {
            // Whatever died by itself meanwhile is as dead.
            let _ = kill_process(process, Signal::KILL);
        }
        self.log.note("power off");
        let started = self.process.borrow().is_some();
        if started { self.wait_exit(Duration::from_secs(5)).map(drop) } else { Ok(()) }
    }

    /// Gives the power back: the machine boots with nothing left of its former life, and the daemon starts.
    pub fn power_on(&self) -> Result<(), LabError> {
        self.machine.boot()?;
        self.start()
    }

    /// Where its log is, in the sandbox.
    pub fn log(&self) -> &Path {
        self.log.path()
    }

    /// What its log says so far; its older half may have been dropped.
    pub fn log_text(&self) -> String {
        fs::read(self.log.path()).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
    }

    fn signal(&self, process: Pid, signal: Signal) -> Result<(), LabError> {
        kill_process(process, signal).map_err(|e| LabError::System {
            doing: format!("send {signal:?} to {} ({process})", self.name()),
            source: e.into(),
        })
    }

    fn not_running(&self) -> LabError {
        LabError::NotRunning { what: self.name().into() }
    }
}
