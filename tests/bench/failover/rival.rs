//! A node with keepalived and haproxy, as seen from outside.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use chinthe::lab::{LabError, Machine};
use rustix::process::Signal;

use crate::cost::Cost;
use crate::init::{self, Answer, Order};
use crate::settings::Files;

/// One node.
pub(crate) struct Rival {
    node: String,
    files: Files,
    life: Life,
    keepalived_runs: bool,
    haproxy_runs: bool,
    /// Of the time before the machine was switched on last, when its log was another.
    former_takeovers: u64,
}

const KEEPALIVED: &str = "keepalived";
const HAPROXY: &str = "haproxy";

impl Rival {
    /// Has `machine` run both.
    pub(crate) fn start_on(machine: &Machine, files: Files) -> Result<Self, LabError> {
        let life = Life::begin(machine, &files)?;
        let node = machine.name().to_owned();
        let mut rival =
            Self { node, files, life, keepalived_runs: false, haproxy_runs: false, former_takeovers: 0 };
        rival.start()?;
        Ok(rival)
    }

    /// Starts whichever of the two isn't running.
    pub(crate) fn start(&mut self) -> Result<(), LabError> {
        let arguments = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        if !self.haproxy_runs {
            let arguments = arguments(&["-db", "-f", "/run/haproxy.cfg"]);
            self.order(&Order::Start { program: HAPROXY.into(), arguments })?;
            self.haproxy_runs = true;
        }
        if !self.keepalived_runs {
            let arguments = arguments(&[
                "--dont-fork",
                "--log-console",
                "--log-detail",
                "--use-file",
                "/run/keepalived.conf",
            ]);
            self.order(&Order::Start { program: KEEPALIVED.into(), arguments })?;
            self.keepalived_runs = true;
        }
        Ok(())
    }

    /// Asks keepalived to stop.
    pub(crate) fn terminate(&mut self) -> Result<(), LabError> {
        self.keepalived_runs = false;
        self.signal(KEEPALIVED, Signal::TERM, false)
    }

    /// Kills all processes of keepalived; haproxy runs on.
    pub(crate) fn kill_keepalived(&mut self) -> Result<(), LabError> {
        self.keepalived_runs = false;
        self.signal(KEEPALIVED, Signal::KILL, true)
    }

    /// Kills haproxy; keepalived runs on.
    pub(crate) fn kill_haproxy(&mut self) -> Result<(), LabError> {
        self.haproxy_runs = false;
        self.signal(HAPROXY, Signal::KILL, true)
    }

    /// Freezes keepalived.
    pub(crate) fn stop_keepalived(&mut self) -> Result<(), LabError> {
        self.signal(KEEPALIVED, Signal::STOP, true)
    }

    /// Freezes both.
    pub(crate) fn stop_both(&mut self) -> Result<(), LabError> {
        self.stop_keepalived()?;
        self.signal(HAPROXY, Signal::STOP, true)
    }

    /// Lets both run on.
    pub(crate) fn cont(&mut self) -> Result<(), LabError> {
        self.signal(KEEPALIVED, Signal::CONT, true)?;
        self.signal(HAPROXY, Signal::CONT, true)
    }

    /// Takes the power away.
    pub(crate) fn power_off(&mut self, machine: &Machine) -> Result<(), LabError> {
        machine.remove_interface()?;
        self.life.end();
        (self.keepalived_runs, self.haproxy_runs) = (false, false);
        Ok(())
    }

    /// Gives the power back, and starts both.
    pub(crate) fn power_on(&mut self, machine: &Machine) -> Result<(), LabError> {
        self.former_takeovers = self.takeovers(machine);
        machine.boot()?;
        self.life = Life::begin(machine, &self.files)?;
        self.start()
    }

    /// What both have cost.
    pub(crate) fn cost(&mut self) -> Result<Cost, LabError> {
        match self.order(&Order::Cost { programs: vec![KEEPALIVED.into(), HAPROXY.into()] })? {
            Answer::Cost(cost) => Ok(cost),
            other @ (Answer::Done | Answer::Failed(_)) => Err(self.failed(format!("{other:?}"))),
        }
    }

    /// How often keepalived has become the holder.
    pub(crate) fn takeovers(&self, machine: &Machine) -> u64 {
        let log = fs::read(machine.run_folder().join("keepalived.log")).unwrap_or_default();
        let latest = String::from_utf8_lossy(&log).matches("Entering MASTER STATE").count();
        self.former_takeovers + latest as u64
    }

    fn signal(&mut self, program: &str, signal: Signal, all: bool) -> Result<(), LabError> {
        self.order(&Order::Signal { program: program.into(), signal: signal.as_raw(), all }).map(drop)
    }

    fn order(&mut self, order: &Order) -> Result<Answer, LabError> {
        match self.life.order(order) {
            Ok(Answer::Failed(problem)) => Err(self.failed(problem)),
            Ok(answer @ (Answer::Done | Answer::Cost(_))) => Ok(answer),
            Err(e) => Err(self.failed(format!("its first process: {e}"))),
        }
    }

    fn failed(&self, problem: String) -> LabError {
        LabError::Answer { node: self.node.clone(), problem }
    }
}

/// From one switching on to the next switching off.
struct Life {
    first: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Life {
    fn begin(machine: &Machine, files: &Files) -> Result<Self, LabError> {
        let failed =
            |source| LabError::System { doing: format!("start the programs of {}", machine.name()), source };
        let folder = machine.run_folder();
        fs::write(folder.join("keepalived.conf"), &files.keepalived).map_err(failed)?;
        fs::write(folder.join("haproxy.cfg"), &files.haproxy).map_err(failed)?;
        let program = std::env::current_exe().map_err(failed)?;
        let mut first = machine
            .command("unshare")
            .args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc", "--"])
            .arg(program)
            .arg(init::ARGUMENT)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        match (first.stdin.take(), first.stdout.take()) {
            (Some(orders), Some(answers)) => Ok(Self { first, orders, answers: BufReader::new(answers) }),
            (None, _) | (_, None) => Err(failed(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn order(&mut self, order: &Order) -> io::Result<Answer> {
        writeln!(self.orders, "{}", serde_json::to_string(order)?)?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Ends its first process, and the kernel everything else.
    fn end(&mut self) {
        // An error means that it has ended already.
        let _ = self.first.kill();
        let _ = self.first.wait();
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.end();
    }
}
