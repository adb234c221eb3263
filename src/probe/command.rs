//! The commands of `[[check]]`: run again and again, for their exit status.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, Command};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::config::Check;

/// How a run of a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CheckFailure {
    /// It ended with this status, which isn't zero.
    #[error("exit status {0}")]
    Status(i32),
    /// It ended by this signal, which wasn't ours.
    #[error("ended by signal {0}")]
    Signal(i32),
    /// It had not ended in time, and was ended.
    #[error("not done in time")]
    Timeout,
    /// It could not be started.
    #[error("can't be run: {0}")]
    Start(io::ErrorKind),
}

impl CheckFailure {
    /// As in metrics, where numbers would be too many labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Status(_) => "status",
            Self::Signal(_) => "signal",
            Self::Timeout => "timeout",
            Self::Start(_) => "start",
        }
    }
}

/// Who is told a check's number and what its run gave. Called on the runtime: it must not wait for anything.
pub type CheckReporter = Arc<dyn Fn(usize, Result<(), CheckFailure>) + Send + Sync>;

/// The checks under way. Dropping it ends them, and the commands that are running.
pub struct Checks {
    report: CheckReporter,
    /// By number.
    running: BTreeMap<usize, (Check, AbortHandle)>,
    tasks: JoinSet<()>,
}

/// Runs every check's command, now and then an interval after the end of each run; each has a number.
///
/// A command is executed as it stands, without a shell, in a process group of its own; it reads nothing, and what
/// it writes is thrown away. One that isn't done within its timeout has failed: its group is asked to end
/// (`SIGTERM`), and made to after two seconds. Must be called within a tokio runtime with time and I/O.
pub fn start_checks(checks: Vec<(usize, Check)>, report: CheckReporter) -> Checks {
    let mut all = Checks { report, running: BTreeMap::new(), tasks: JoinSet::new() };
    all.replace(checks);
    all
}

impl Checks {
    /// Goes on with these checks: what hasn't changed as if nothing had happened, what is new or otherwise at once.
    ///
    /// Must be called within the runtime.
    pub fn replace(&mut self, checks: Vec<(usize, Check)>) {
        let mut before = std::mem::take(&mut self.running);
        for (number, check) in checks {
            let running = match before.remove(&number) {
                Some((known, task)) if known == check => (known, task),
                other => {
                    other.inspect(|(_, task)| task.abort());
                    let task = self.tasks.spawn(watch(number, check.clone(), Arc::clone(&self.report)));
                    (check, task)
                }
            };
            self.running.insert(number, running);
        }
        for (_, gone) in before.into_values() {
            gone.abort();
        }
        // Those that were ended before.
        while self.tasks.try_join_next().is_some() {}
    }
}

impl std::fmt::Debug for Checks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checks").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

async fn watch(number: usize, check: Check, report: CheckReporter) {
    loop {
        report(number, run(&check.command, check.timeout).await);
        sleep(check.interval).await;
    }
}

async fn run(command: &[String], limit: Duration) -> Result<(), CheckFailure> {
    let mut run = Run::start(command).map_err(|error| CheckFailure::Start(error.kind()))?;
    match timeout(limit, run.child.wait()).await {
        Ok(Ok(status)) => judge(status),
        Ok(Err(error)) => Err(CheckFailure::Start(error.kind())),
        Err(_) => {
            let group = run.group();
            signal(group, Signal::TERM);
            let _ = timeout(GRACE, run.child.wait()).await;
            // The rest of the group too, whose id isn't given to anybody else as long as it has members.
            signal(group, Signal::KILL);
            Err(CheckFailure::Timeout)
        }
    }
}

fn signal(group: Option<Pid>, signal: Signal) {
    if let Some(group) = group {
        // Fails when everybody in it has ended meanwhile.
        let _ = kill_process_group(group, signal);
    }
}

fn judge(status: ExitStatus) -> Result<(), CheckFailure> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(()),
        (Some(code), _) => Err(CheckFailure::Status(code)),
        (None, signal) => Err(CheckFailure::Signal(signal.unwrap_or(0))),
    }
}

/// A command that has been started, with its process group. Dropped before its end, the group is killed.
struct Run {
    child: Child,
}

impl Run {
    fn start(command: &[String]) -> io::Result<Self> {
        let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            // Together with the group: this also has the zombie reaped.
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self { child })
    }

    /// Its process group, which has its id; `None` once it has ended, so that nobody else is hit.
    fn group(&self) -> Option<Pid> {
        Pid::from_raw(self.child.id()?.cast_signed())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        signal(self.group(), Signal::KILL);
    }
}

/// From `SIGTERM` to `SIGKILL`.
const GRACE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use tokio::sync::mpsc;
    use tokio::time::Instant;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    fn command(words: &[&str]) -> Vec<String> {
        words.iter().map(ToString::to_string).collect()
    }

    fn shell(script: &str) -> Vec<String> {
        command(&["/bin/sh", "-c", script])
    }

    #[tokio::test]
    async fn the_exit_status_is_the_verdict() {
        assert_eq!(run(&command(&["true"]), LONG).await, Ok(()));
        assert_eq!(run(&shell("exit 3"), LONG).await, Err(CheckFailure::Status(3)));
        assert_eq!(run(&shell("kill -9 $$"), LONG).await, Err(CheckFailure::Signal(9)));
        let missing = run(&command(&["/nonexistent/program"]), LONG).await;
        assert_eq!(missing, Err(CheckFailure::Start(io::ErrorKind::NotFound)));
        assert_eq!(run(&[], LONG).await, Err(CheckFailure::Start(io::ErrorKind::InvalidInput)));
    }

    #[tokio::test]
    async fn words_reach_the_program_as_they_stand() {
        assert_eq!(run(&command(&["test", "$HOME; exit 1", "=", "$HOME; exit 1"]), LONG).await, Ok(()));
    }

    #[tokio::test]
    async fn much_output_stops_nobody() {
        assert_eq!(
            run(&shell("head -c 4000000 /dev/zero; head -c 4000000 /dev/zero >&2"), LONG).await,
            Ok(())
        );
    }

    /// A file that only this test knows, gone with it.
    struct Mark(PathBuf);

    impl Mark {
        fn new(name: &str) -> Self {
            Self(std::env::temp_dir().join(format!("chinthe-check-{}-{name}", std::process::id())))
        }

        fn path(&self) -> &Path {
            &self.0
        }

        async fn contents(&self) -> String {
            let deadline = Instant::now() + LONG;
            loop {
                match std::fs::read_to_string(self.path()) {
                    Ok(text) if text.ends_with('\n') => return text.trim().to_owned(),
                    Ok(_) | Err(_) => {
                        assert!(Instant::now() < deadline, "waited in vain");
                        sleep(Duration::from_millis(1)).await;
                    }
                }
            }
        }
    }

    impl Drop for Mark {
        fn drop(&mut self) {
            let _ = std::fs::remove_file(&self.0);
        }
    }

    async fn gone(pid: &str) {
        let deadline = Instant::now() + LONG;
        let stat = PathBuf::from(format!("/proc/{pid}/stat"));
        // A zombie is gone too: whoever adopted it may take its time.
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z ")) {
            assert!(Instant::now() < deadline, "still there");
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn a_command_that_takes_too_long_is_ended_with_all_its_children() {
        let mark = Mark::new("children");
        let script = format!("sleep 1000 & echo $! > {}; wait", mark.path().display());
        assert_eq!(run(&shell(&script), Duration::from_millis(300)).await, Err(CheckFailure::Timeout));
        gone(&mark.contents().await).await;
    }

    #[tokio::test]
    async fn a_command_that_ignores_being_asked_is_killed() {
        let mark = Mark::new("deaf");
        let script = format!("trap '' TERM; echo $$ > {}; while :; do sleep 1; done", mark.path().display());
        assert_eq!(run(&shell(&script), Duration::from_millis(300)).await, Err(CheckFailure::Timeout));
        gone(&mark.contents().await).await;
    }

    #[tokio::test]
    async fn checks_run_again_and_again_until_dropped_and_their_command_ends_then() {
        let mark = Mark::new("dropped");
        let check = |words: Vec<String>| Check {
            name: "disk".into(),
            command: words,
            interval: Duration::from_millis(1),
            timeout: LONG,
            rise: 1,
            fall: 1,
        };
        let endless = shell(&format!("echo $$ > {}; exec sleep 1000", mark.path().display()));
        let (tell, mut told) = mpsc::channel(100);
        let report: CheckReporter = Arc::new(move |index, outcome| {
            let _ = tell.try_send((index, outcome));
        });
        let checks = start_checks(vec![(0, check(endless)), (1, check(command(&["true"])))], report);
        for _ in 0..3 {
            assert_eq!(told.recv().await, Some((1, Ok(()))));
        }
        let pid = mark.contents().await;
        drop(checks);
        gone(&pid).await;
    }
}
