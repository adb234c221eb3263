//! All runs, each in a process of its own that enters a sandbox.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chinthe::lab::{Sandbox, enter, holds_within, show_logs};
use rustix::process::{Signal, set_parent_process_death_signal};

use crate::options::Options;
use crate::plan::{self, Batch};
use crate::record::{Broken, LeftOut, Phase, Report, Run};
use crate::stage::pause;
use crate::trial::{APART, Trial};
use crate::{peers, run, table};

/// The argument that makes the program one run; the words of a [`Trial`] follow.
pub(crate) const ARGUMENT: &str = "--run";

/// The argument that makes it only try whether a sandbox can be entered.
pub(crate) const PROBE: &str = "--probe";

/// Output that is kept of a run that broke.
const MOST_OUTPUT: u64 = 4 * 1024 * 1024;

/// Runs everything that `options` ask for and that this machine has.
pub(crate) fn sweep(options: &Options) -> Report {
    let mut report = Report { host: peers::host(), ..Report::default() };
    let batches = batches(options, &mut report.left_out);
    for LeftOut { what, why } in &report.left_out {
        println!("left out: {what}: {why}");
    }
    let trials = batches.iter().map(|batch| batch.trials.len()).sum();
    println!("{trials} runs, about {:.0} minutes", (plan::estimate(&batches).as_secs_f64() / 60.0).ceil());
    if options.longest < Duration::MAX {
        println!("no fault lasts longer than {} s", options.longest.as_secs());
    }
    let mut course = Course { options, began: Instant::now(), trials, made: 0, report };
    for batch in &batches {
        course = course.make(batch);
    }
    course.report
}

/// All runs, so far.
struct Course<'a> {
    options: &'a Options,
    began: Instant,
    /// How many there will be, and how many have been made.
    trials: usize,
    made: usize,
    report: Report,
}

impl Course<'_> {
    /// Makes those of one batch.
    fn make(self, batch: &Batch) -> Self {
        let logs = self.options.logs.as_deref();
        let (queue, shared) = (Mutex::new(batch.trials.iter()), Mutex::new(self));
        // A function, so that the queue isn't locked for as long as a `while let` looks at what it found.
        let next = || locked(&queue).next();
        thread::scope(|scope| {
            for place in 0..batch.at_a_time.min(batch.trials.len()) {
                let (next, shared) = (&next, &shared);
                scope.spawn(move || {
                    pause(APART * place as u32);
                    while let Some(trial) = next() {
                        let outcome = perform(trial, logs);
                        locked(shared).note(trial, outcome);
                    }
                });
            }
        });
        shared.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&mut self, trial: &Trial, outcome: Result<Run, String>) {
        self.made += 1;
        print!("[{:4}/{}] ", self.made, self.trials);
        note(&mut self.report, trial, outcome);
        self.report.rows = table::summaries(&self.report.runs);
        self.report.took_s = self.began.elapsed().as_secs_f64();
        // Whatever ends the benchmark early, what was measured until then is there.
        if let Err(e) = write(&self.report, &self.options.output) {
            eprintln!("error: {}: {e}", self.options.output.display());
        }
    }
}

/// What the process does that tries.
pub(crate) fn probe() -> ExitCode {
    enter(None, |_| 0).unwrap_or_else(|e| {
        eprintln!("{e}");
        ExitCode::FAILURE
    })
}

/// What one run's process does.
pub(crate) fn one(words: [&str; 6]) -> ExitCode {
    // Whoever kills the benchmark kills its runs; each lab follows its run by itself.
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return ExitCode::FAILURE;
    }
    let Some(trial) = Trial::read(words) else {
        eprintln!("error: there is no run `{}`", words.join(" "));
        return ExitCode::FAILURE;
    };
    let inside = |sandbox: Sandbox| {
        let outcome = run::run(sandbox, &trial)
            .and_then(|run| serde_json::to_string(&run).map_err(Into::into))
            .map(|line| println!("{line}"));
        let Err(e) = outcome else { return 0 };
        eprintln!("error: {e}");
        // Best effort: a run that failed before there was a lab has no logs.
        let _ = show_logs(&mut io::stderr());
        1
    };
    enter(None, inside).unwrap_or_else(|e| {
        eprintln!("{e}");
        ExitCode::FAILURE
    })
}

fn write(report: &Report, to: &Path) -> io::Result<()> {
    let mut file = fs::File::create(to)?;
    serde_json::to_writer_pretty(&mut file, report)?;
    writeln!(file)
}

/// What can be tried on this machine of what was asked for.
fn batches(options: &Options, left_out: &mut Vec<LeftOut>) -> Vec<Batch> {
    if let Some(why) = peers::missing_for_all() {
        left_out.extend(
            options
                .contenders
                .iter()
                .map(|contender| LeftOut { what: contender.name.into(), why: why.clone() }),
        );
        return Vec::new();
    }
    let mut contenders = Vec::new();
    for contender in &options.contenders {
        match peers::missing_for(contender) {
            Some(why) => left_out.push(LeftOut { what: contender.name.into(), why }),
            None => contenders.push(*contender),
        }
    }
    let mut faults = Vec::new();
    for fault in &options.faults {
        match peers::missing_for_fault(*fault) {
            Some(why) => left_out.push(LeftOut { what: fault.name().into(), why }),
            None => faults.push(*fault),
        }
    }
    plan::plan(options, &faults, &contenders)
}

fn note(report: &mut Report, trial: &Trial, outcome: Result<Run, String>) {
    let name = format!("{} {}", trial.fault.name(), trial.contender.name);
    match outcome {
        Ok(run) => {
            let phase = |phase: &Phase| {
                let late = if phase.settled_ms.is_none() { ", unsettled" } else { "" };
                format!(
                    "{:.0} ms, {} failed, two for {:.2} s{late}",
                    phase.gap_ms, phase.failed, phase.two_answerers_s
                )
            };
            let phases: Vec<String> = run.fault_phase.iter().chain(&run.end_phase).map(phase).collect();
            let idle: Vec<String> = run
                .idle
                .iter()
                .map(|node| format!("{:.2} %, {:.0} MiB", node.cpu_percent, node.rss_mib))
                .collect();
            println!("{name}: {}", [phases, idle].concat().join("; then "));
            report.runs.push(run);
        }
        Err(error) => {
            println!("{name}: broken: {error}");
            let (fault, contender) = (trial.fault.name().into(), trial.contender.name.into());
            report.broken.push(Broken { fault, contender, run: trial.number, error });
        }
    }
}

fn perform(trial: &Trial, logs: Option<&Path>) -> Result<Run, String> {
    let (heard, speak) = io::pipe().map_err(|e| e.to_string())?;
    let mut command = Command::new(env::current_exe().map_err(|e| e.to_string())?);
    command
        .arg(ARGUMENT)
        .args(trial.words())
        .envs(logs.map(|logs| (run::LOGS, logs)))
        .env("PATH", peers::path())
        .stdin(Stdio::null())
        .stdout(speak.try_clone().map_err(|e| e.to_string())?)
        .stderr(speak);
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    drop(command);
    let listener = thread::spawn(move || {
        let (mut output, mut heard) = (Vec::new(), heard);
        // Past the limit it is read on, and dropped: a full pipe would stop the run.
        let _ = heard.by_ref().take(MOST_OUTPUT).read_to_end(&mut output);
        let _ = io::copy(&mut heard, &mut io::sink());
        String::from_utf8_lossy(&output).into_owned()
    });
    let ended = finish(&mut child, trial.deadline());
    let output = listener.join().unwrap_or_default();
    if !ended {
        return Err(format!("{output}\nkilled, since it didn't end"));
    }
    let run = output.lines().find_map(|line| serde_json::from_str(line).ok());
    run.ok_or(output)
}

/// Whether it ended by itself.
fn finish(child: &mut Child, timeout: Duration) -> bool {
    let ended = holds_within(timeout, || child.try_wait().is_ok_and(|status| status.is_some()));
    if !ended {
        // An error means that it ended just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    ended
}

/// Prints what came out, and where it is written.
pub(crate) fn print(report: &Report, options: &Options) {
    let host = &report.host;
    println!("{}", table::table(&report.runs));
    println!("Two figures are the median and the maximum; a limit below the noise is read as that noise.");
    println!("{} cores, Linux {}, {}, {}", host.cores, host.kernel, host.keepalived, host.haproxy);
    if host.debug_build {
        println!("chinthe was built without optimisation: no figures to quote");
    }
    println!("{} runs in {:.1} min: {}", report.runs.len(), report.took_s / 60.0, options.output.display());
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
