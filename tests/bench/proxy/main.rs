//! The data plane beside haproxy, nginx and a plain tokio proxy, in one run: `cargo bench --bench proxy`.
//!
//! All of them run all the time, idle but for the one whose turn it is; rounds go from one to the next, so that a
//! machine that drifts drifts for all, and every ratio is one of two figures of the same round. Clients and
//! backends are one thread of this program. Pinned, the proxy has core 0 and the load core 1; free, everybody has
//! all cores and every proxy two threads.
//!
//! What is stable on a machine that others use too is CPU time: it is read from the processes' own clocks.

mod contenders;
mod copy;
mod instructions;
mod load;
mod picture;
mod process;
mod report;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use contenders::{Contender, Running, wait_until_up};
use load::{Job, Load, Until};
use report::{Placement, Report, Sample};

/// What is measured, in the order of the table.
const MODES: [Mode; 7] = [
    Mode { name: "requests-64", job: Job::Requests, clients: 64 },
    Mode { name: "requests-8", job: Job::Requests, clients: 8 },
    Mode { name: "connections", job: Job::Connections, clients: 64 },
    Mode { name: "down", job: Job::Down, clients: 4 },
    Mode { name: "up", job: Job::Up, clients: 4 },
    Mode { name: "ping", job: Job::Requests, clients: 1 },
    Mode { name: "idle", job: Job::Idle, clients: 9_500 },
];

/// One way to load a proxy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pub(crate) job: Job,
    pub(crate) clients: usize,
}

/// Measures chinthe beside haproxy, nginx and a plain tokio proxy.
#[derive(Debug, Parser)]
struct Options {
    /// How often everybody has their turn.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement lasts.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Only these modes: requests-64, requests-8, connections, down, up, ping, idle.
    #[arg(long = "mode", value_delimiter = ',')]
    modes: Vec<String>,
    /// Only these contenders: direct, haproxy, haproxy-splice, nginx, tokio, chinthe, chinthe-cubic, chinthe-spin.
    #[arg(long = "contender", value_delimiter = ',')]
    contenders: Vec<String>,
    /// Only with the proxy on core 0 and the load on core 1.
    #[arg(long)]
    pinned: bool,
    /// Only with everybody on all cores.
    #[arg(long, conflicts_with = "pinned")]
    free: bool,
    /// Everything once, in seconds, to see that it works.
    #[arg(long)]
    smoke: bool,
    /// Nothing but the instructions of a request and of a connection, compared with those on record.
    #[arg(long)]
    instructions: bool,
    /// Records them.
    #[arg(long)]
    record_instructions: bool,
    /// Where the figures go as JSON.
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/proxy.json"))]
    json: PathBuf,
    /// Where the picture goes.
    #[arg(long)]
    picture: Option<PathBuf>,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == copy::ROLE) {
        return copy::main(&arguments[1..]);
    }
    if arguments.first().is_some_and(|first| first == instructions::ROLE) {
        return instructions::proxy(&arguments[1..]);
    }
    let options = Options::parse();
    if options.instructions || options.record_instructions {
        return instructions::main(options.record_instructions, tempdir::Folder::new()?.path());
    }
    let modes = MODES.iter().filter(|mode| chosen(&options.modes, mode.name)).copied().collect::<Vec<_>>();
    let mut contenders = Vec::new();
    for contender in Contender::ALL.into_iter().filter(|one| chosen(&options.contenders, one.name())) {
        if contender.is_here() {
            contenders.push(contender);
        } else {
            contenders::missing(contender.name())?;
        }
    }
    ensure!(!modes.is_empty(), "there is no such mode; see --help");
    ensure!(!contenders.is_empty(), "there is no such contender; see --help");
    let descriptors = raise_limit();

    let mut report = Report::default();
    let placements = match (options.pinned, options.free, options.smoke) {
        (true, _, _) => vec![Placement::Pinned],
        (_, true, _) | (_, _, true) => vec![Placement::Free],
        _ => vec![Placement::Pinned, Placement::Free],
    };
    for placement in placements {
        let mut bench = Bench::start(placement, &contenders, &options, descriptors)?;
        bench.measure(&modes, &mut report)?;
    }
    print!("{}", report.table());
    let json = serde_json::to_string_pretty(&report.json())?;
    std::fs::write(&options.json, json).with_context(|| options.json.display().to_string())?;
    println!("figures: {}", options.json.display());
    if let Some(path) = &options.picture {
        std::fs::write(path, picture::draw(&report)).with_context(|| path.display().to_string())?;
        println!("picture: {}", path.display());
    }
    Ok(())
}

fn chosen(words: &[String], name: &str) -> bool {
    words.is_empty() || words.iter().any(|word| word == name)
}

/// How many descriptors this program may have, from now on.
fn raise_limit() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let count = if setrlimit(Resource::Nofile, raised).is_ok() { limit.maximum } else { limit.current };
    count.map_or(usize::MAX, |count| count as usize)
}

/// The contenders that run in one placement, and the load.
struct Bench<'a> {
    placement: Placement,
    options: &'a Options,
    // Before the load, whose backends they are connected to.
    running: Vec<Running>,
    load: Load,
    descriptors: usize,
    folder: tempdir::Folder,
}

impl<'a> Bench<'a> {
    fn start(
        placement: Placement,
        contenders: &[Contender],
        options: &'a Options,
        descriptors: usize,
    ) -> Result<Self> {
        let folder = tempdir::Folder::new()?;
        let mut load = Load::new(BACKENDS)?;
        let backends = load.backends()?;
        process::pin(placement.proxy_core()).context("pinning needs two cores")?;
        let mut running = Vec::new();
        for contender in contenders {
            running.push(Running::start(*contender, placement.threads(), &backends, folder.path())?);
        }
        process::pin(placement.load_core()).context("pinning needs two cores")?;
        wait_until_up(&mut running, || load.idle(), folder.path())?;
        load.close()?;
        Ok(Self { placement, options, running, load, descriptors, folder })
    }

    fn measure(&mut self, modes: &[Mode], report: &mut Report) -> Result<()> {
        let (rounds, window) = if self.options.smoke {
            (1, Duration::from_millis(200))
        } else {
            (self.options.rounds, Duration::from_secs_f64(self.options.seconds))
        };
        for round in 0..rounds {
            for mode in modes.iter().filter(|mode| mode.job != Job::Idle || round == 0) {
                // Nobody is always the first.
                for turn in 0..self.running.len() {
                    let index = (round + turn) % self.running.len();
                    let contender = self.running[index].contender;
                    if !contender.is_for(mode.job, mode.clients) {
                        continue;
                    }
                    let sample = self
                        .sample(index, *mode, window)
                        .with_context(|| format!("{} of {}", mode.name, contender.name()))?;
                    report.add(self.placement, *mode, contender, round, sample);
                }
            }
            eprintln!("{}: round {} of {rounds}", self.placement.name(), round + 1);
        }
        self.count_system_calls(modes, report)
    }

    fn sample(&mut self, index: usize, mode: Mode, window: Duration) -> Result<Sample> {
        let Running { address, .. } = self.running[index];
        let family = self.running[index].family();
        let memory = || family.as_ref().map_or(Ok(0), process::Family::memory);
        let cpu = || family.as_ref().map_or(Ok(Duration::ZERO), process::Family::cpu);
        let clients = match mode.job {
            // Both ends are this program's.
            Job::Idle if self.options.smoke => 500,
            Job::Idle => mode.clients.min(self.descriptors.saturating_sub(200) / 2),
            _ => mode.clients,
        };
        let before = memory()?;
        self.load.open(mode.job, address, clients)?;
        self.load.run(Until::Over(window / 4))?;
        let cpu_before = cpu()?;
        let seen = self.load.run(Until::Over(window))?;
        let cpu = cpu()?.saturating_sub(cpu_before);
        let grown = memory()?.saturating_sub(before);
        self.load.close()?;
        match mode.job {
            Job::Requests | Job::Connections => ensure!(seen.count > 0, "nothing was answered"),
            Job::Down | Job::Up => ensure!(seen.bytes > 0, "nothing arrived"),
            Job::Idle => {}
        }
        Ok(Sample::new(mode.job, clients, &seen, cpu, grown))
    }

    fn count_system_calls(&mut self, modes: &[Mode], report: &mut Report) -> Result<()> {
        if self.placement == Placement::Free && !self.options.smoke {
            return Ok(());
        }
        if !contenders::is_installed("strace") {
            return contenders::missing("strace");
        }
        for mode in modes.iter().filter(|mode| matches!(mode.job, Job::Requests | Job::Connections)) {
            for index in 0..self.running.len() {
                let Running { contender, address, .. } = self.running[index];
                let Some(family) = self.running[index].family() else { continue };
                if !contender.is_for(mode.job, mode.clients) {
                    continue;
                }
                self.load.open(mode.job, address, mode.clients)?;
                let exchanges = if self.options.smoke { COUNTED / 10 } else { COUNTED };
                let deed = || self.load.run(Until::Count(exchanges)).map(drop);
                let counted = family.system_calls(self.folder.path(), deed);
                self.load.close()?;
                match counted {
                    Ok(counted) => report.add_system_calls(*mode, contender, exchanges, &counted),
                    Err(error) => {
                        eprintln!("system calls aren't counted: {error:#}");
                        return Ok(());
                    }
                }
            }
        }
        Ok(())
    }
}

/// A folder for the contenders' files.
mod tempdir {
    use std::io;
    use std::path::{Path, PathBuf};

    /// Removed when dropped.
    pub(crate) struct Folder(PathBuf);

    impl Folder {
        pub(crate) fn new() -> io::Result<Self> {
            let path = std::env::temp_dir().join(format!("chinthe-bench-{}", std::process::id()));
            std::fs::create_dir_all(&path)?;
            Ok(Self(path))
        }

        pub(crate) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// How many backends there are.
const BACKENDS: usize = 2;
/// Exchanges during which system calls are counted.
const COUNTED: u64 = 2_000;
