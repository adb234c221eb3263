//! Runs tests, each in a process of its own and most of them in a sandbox.

use std::env;
use std::error::Error;
use std::io::{self, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use chinthe::lab::{Sandbox, enter, holds_within, show_logs};
use rustix::process::{Signal, set_parent_process_death_signal};

/// What a test comes to: an error fails it, as a panic does.
pub(crate) type Outcome = Result<(), Box<dyn Error>>;

/// One test. Its name is the sentence that it proves.
#[derive(Clone, Copy)]
pub(crate) struct Test {
    name: &'static str,
    body: Body,
    timeout: Duration,
    alone: bool,
}

#[derive(Clone, Copy)]
enum Body {
    Inside(fn(Sandbox) -> Outcome),
    Outside(fn() -> Outcome),
}

impl Test {
    /// A test in a sandbox of its own.
    pub(crate) const fn inside(name: &'static str, body: fn(Sandbox) -> Outcome) -> Self {
        Self { name, body: Body::Inside(body), timeout: USUAL_TIMEOUT, alone: false }
    }

    /// A test that watches labs from the host's side.
    pub(crate) const fn outside(name: &'static str, body: fn() -> Outcome) -> Self {
        Self { name, body: Body::Outside(body), timeout: USUAL_TIMEOUT, alone: false }
    }

    /// Gives it more time, or less.
    #[allow(dead_code, reason = "for tests that wait for a lease or a script to run out")]
    pub(crate) const fn within(self, timeout: Duration) -> Self {
        Self { timeout, ..self }
    }

    /// Runs it after all others, and beside none: it keeps every core busy, and would make holders of other labs late.
    pub(crate) const fn alone(self) -> Self {
        Self { alone: true, ..self }
    }
}

/// A test that takes longer is killed, with all that it started.
const USUAL_TIMEOUT: Duration = Duration::from_secs(60);

/// The processes of a test get this argument first, then the test's name.
const RUN_ONE: &str = "--run-one";

/// In place of a test's name: only try whether a sandbox can be entered.
const PROBE: &str = "--probe";

/// When set to 1 a missing prerequisite fails the tests instead of skipping them.
const REQUIRE: &str = "CHINTHE_REQUIRE_PEERS";

/// Output that is kept of a test; the rest is dropped, so that a babbling one doesn't fill the memory.
const MOST_OUTPUT: u64 = 4 * 1024 * 1024;

/// What the command line asks for.
struct Options {
    filters: Vec<String>,
    list: bool,
    show_output: bool,
    jobs: usize,
}

/// Whether what a test misses fails it, instead of having it skipped.
pub(crate) fn peers_are_required() -> bool {
    env::var(REQUIRE).is_ok_and(|value| value == "1")
}

/// The test program.
pub(crate) fn main(tests: &[Test]) -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [first, name] = &arguments[..]
        && first == RUN_ONE
    {
        return run_one(tests, name);
    }
    let options = Options::read(arguments);
    let chosen: Vec<Test> = tests.iter().filter(|test| options.chooses(test.name)).copied().collect();
    if options.list {
        for test in &chosen {
            println!("{}: test", test.name);
        }
        return ExitCode::SUCCESS;
    }
    if let Err(reason) = sandboxes_work() {
        println!("{reason}");
        let required = peers_are_required();
        println!("\n0 passed, {} {}", chosen.len(), if required { "failed" } else { "skipped" });
        return if required { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    run_all(&chosen, tests.len(), &options)
}

impl Options {
    fn read(arguments: Vec<String>) -> Self {
        let mut options = Self { filters: Vec::new(), list: false, show_output: false, jobs: 2 };
        let mut arguments = arguments.into_iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => options.list = true,
                "--nocapture" | "--no-capture" => options.show_output = true,
                "--jobs" | "--test-threads" => {
                    options.jobs = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(1).max(1);
                }
                // What `cargo test -- …` means for the usual harness reaches this one as well.
                flag if flag.starts_with('-') => {}
                _ => options.filters.push(argument),
            }
        }
        if options.show_output {
            options.jobs = 1;
        }
        options
    }

    fn chooses(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter.as_str()))
    }
}

/// What a test's process does.
fn run_one(tests: &[Test], name: &str) -> ExitCode {
    // Whoever kills the test program kills its tests; each lab inside follows its test by itself.
    if set_parent_process_death_signal(Some(Signal::KILL)).is_err() {
        return ExitCode::FAILURE;
    }
    let body = if name == PROBE {
        Body::Inside(|_| Ok(()))
    } else if let Some(test) = tests.iter().find(|test| test.name == name) {
        test.body
    } else {
        eprintln!("there is no test called {name}");
        return ExitCode::FAILURE;
    };
    match body {
        Body::Outside(body) => verdict(body),
        Body::Inside(body) => {
            let inside = |sandbox| {
                let status = verdict(|| body(sandbox));
                if status == ExitCode::SUCCESS {
                    return 0;
                }
                // Best effort: a test that failed before there was a lab has no logs.
                let _ = show_logs(&mut io::stderr());
                1
            };
            enter(None, inside).unwrap_or_else(|e| {
                eprintln!("{e}");
                ExitCode::FAILURE
            })
        }
    }
}

fn verdict(body: impl FnOnce() -> Outcome) -> ExitCode {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(e)) => {
            eprintln!("error: {e}");
            ExitCode::FAILURE
        }
        // The panic's hook has printed it.
        Err(_) => ExitCode::FAILURE,
    }
}

/// Whether this host allows what the tests are made of; else why not.
fn sandboxes_work() -> Result<(), String> {
    let output = Command::new(own_program()).args([RUN_ONE, PROBE]).output().map_err(|e| e.to_string())?;
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

fn run_all(chosen: &[Test], all: usize, options: &Options) -> ExitCode {
    println!("running {} end-to-end tests, {} at a time", chosen.len(), options.jobs);
    let began = Instant::now();
    let results = Mutex::new((0, Vec::new()));
    let (alone, together): (Vec<&Test>, Vec<&Test>) = chosen.iter().partition(|test| test.alone);
    for (tests, jobs) in [(together, options.jobs), (alone, 1)] {
        run_beside(&tests, jobs, options.show_output, &results);
    }
    let (passed, failed) = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    for (name, output) in &failed {
        println!("\n---- {name} ----\n{output}");
    }
    if !failed.is_empty() {
        println!("\nfailed:");
        for (name, _) in &failed {
            println!("    {name}");
        }
    }
    let (filtered, time) = (all - chosen.len(), began.elapsed().as_secs_f32());
    println!("\n{passed} passed, {} failed, {filtered} filtered out, in {time:.1} s", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs tests, so many at a time; counts those that pass, and keeps what the others said.
fn run_beside(
    tests: &[&Test],
    jobs: usize,
    show_output: bool,
    results: &Mutex<(usize, Vec<(&'static str, String)>)>,
) {
    let left = Mutex::new(tests.iter());
    // A function, so that the lock isn't held for as long as a `while let` looks at what it found.
    let next = || locked(&left).next();
    thread::scope(|scope| {
        for _ in 0..jobs {
            // Each waits for the tests that it starts, and so outlives them: their death signal is tied to it.
            scope.spawn(|| {
                while let Some(test) = next() {
                    let began = Instant::now();
                    let outcome = run_process(test, show_output);
                    let time = began.elapsed().as_secs_f32();
                    let mut results = locked(results);
                    match outcome {
                        Ok(()) => {
                            results.0 += 1;
                            println!("test {} ... ok ({time:.1} s)", test.name);
                        }
                        Err(output) => {
                            println!("test {} ... FAILED ({time:.1} s)", test.name);
                            results.1.push((test.name, output));
                        }
                    }
                }
            });
        }
    });
}

/// Runs one test's process to its end, or kills it when it takes too long. The error is what it said.
fn run_process(test: &Test, show_output: bool) -> Result<(), String> {
    let (heard, speak) = io::pipe().map_err(|e| e.to_string())?;
    let mut command = Command::new(own_program());
    command.args([RUN_ONE, test.name]).stdin(Stdio::null());
    if show_output {
        // Nobody speaks into it, and whoever listens is told so.
        drop(speak);
    } else {
        command.stdout(speak.try_clone().map_err(|e| e.to_string())?).stderr(speak);
    }
    let mut child = command.spawn().map_err(|e| e.to_string())?;
    drop(command);
    let listener = thread::spawn(move || {
        let mut output = Vec::new();
        let mut heard = heard;
        // Past the limit it is read on, and dropped: a full pipe would stop the test.
        let _ = heard.by_ref().take(MOST_OUTPUT).read_to_end(&mut output);
        let _ = io::copy(&mut heard, &mut io::sink());
        String::from_utf8_lossy(&output).into_owned()
    });
    let passed = finish(&mut child, test.timeout);
    let output = listener.join().unwrap_or_default();
    match passed {
        Some(true) => Ok(()),
        Some(false) => Err(output),
        None => Err(format!("{output}\nkilled after {:?}", test.timeout)),
    }
}

/// Whether it ended well; `None` when it had to be killed.
fn finish(child: &mut Child, timeout: Duration) -> Option<bool> {
    let mut passed = None;
    holds_within(timeout, || {
        passed = child.try_wait().ok().flatten().map(|status| status.success());
        passed.is_some()
    });
    if passed.is_none() {
        // An error means that it ended just now.
        let _ = child.kill();
        let _ = child.wait();
    }
    passed
}

fn own_program() -> std::path::PathBuf {
    env::current_exe().expect("the kernel tells every process its program")
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Whatever panicked meanwhile, the counters are right.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
