//! `chinthe lab`: a cluster to look at and to torment, by hand or by a script.

use std::fs;
use std::io::{self, BufRead};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::config;

use super::LabError;
use super::cluster::{ConfigSource, Lab, show_logs};
use super::door;
use super::sandbox::{Sandbox, enter};
use super::script::{self, Line};
use super::settings;
use super::stage::{Stage, StageError};
use super::wait::holds_within;
use super::witness::Witness;

/// The door's port unless another is asked for.
const USUAL_PORT: u16 = 8080;

/// For a whole cluster to start and its VIP to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long the watch waits for news before it begins to wait anew.
const WATCH: Duration = Duration::from_secs(3600);

/// What `chinthe lab` was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many nodes.
    pub nodes: usize,
    /// How many web servers.
    pub backends: usize,
    /// Configuration files: none for the post's cluster, one for all nodes, or one for each in order.
    pub configs: Vec<PathBuf>,
    /// The VIP and the port on it that the door leads to; `None` for the first of the configuration's.
    pub target: Option<SocketAddr>,
    /// The door's port on 127.0.0.1; `None` for 8080.
    pub port: Option<u16>,
    /// `demo`, or a script's file; `None` to take orders from standard input.
    pub script: Option<String>,
    /// The daemon's program; `None` for the running one.
    pub program: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            nodes: 2,
            backends: 2,
            configs: Vec::new(),
            target: None,
            port: None,
            script: None,
            program: None,
        }
    }
}

/// Why no lab was started. Nothing was changed.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error("`{path}` can't be read: {source}\nhint: {hint}", path = path.display())]
    File { path: PathBuf, source: io::Error, hint: &'static str },
    #[error("{0}")]
    Config(String),
    #[error("{path}: no VIP with a service\nhint: the client needs something to ask", path = .0.display())]
    NoTarget(PathBuf),
    #[error("{}: {}", script, errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Script { script: String, errors: Vec<script::ScriptError> },
    #[error("127.0.0.1:{port} is in use\nhint: another lab may be running; choose another port with --port")]
    PortInUse { port: u16 },
    #[error("listen on 127.0.0.1:{port}: {source}")]
    Listen { port: u16, source: io::Error },
}

/// Runs a lab until its script is over or it is asked to stop. 0 when all went well, else 1.
///
/// Has to be called while the process has one thread.
pub fn run(options: &Options) -> ExitCode {
    let prepared = match prepare(options) {
        Ok(prepared) => prepared,
        // They say of themselves what is an error and what to do.
        Err(StartError::Config(problems)) => {
            eprint!("{problems}");
            return ExitCode::FAILURE;
        }
        Err(e) => return fail(&e),
    };
    let Prepared { config, target, script, door } = prepared;
    enter(door, |sandbox| match live(sandbox, options, config, target, script.as_deref()) {
        Ok(()) => 0,
        Err(e) => {
            // The logs are all that is left to look at; that they can't be printed has no cure.
            let _ = show_logs(&mut io::stderr());
            eprintln!("error: {e}");
            1
        }
    })
    .unwrap_or_else(|e| fail(&e))
}

/// What is read and opened in the host's namespaces.
struct Prepared {
    config: ConfigSource,
    target: SocketAddr,
    script: Option<Vec<Line>>,
    door: Option<TcpListener>,
}

fn prepare(options: &Options) -> Result<Prepared, StartError> {
    let read = |path: &PathBuf, hint| {
        fs::read_to_string(path).map_err(|source| StartError::File { path: path.clone(), source, hint })
    };
    let no_config = "--config takes chinthe's own files; `chinthe import` makes one of others";
    let no_script = "--script takes `demo`, or a file of orders; `help` in a lab lists them";
    let texts = options.configs.iter().map(|path| read(path, no_config)).collect::<Result<Vec<_>, _>>()?;
    let target = match (options.target, options.configs.first().zip(texts.first())) {
        (Some(target), _) => target,
        (None, Some((path, text))) => first_target(path, text)?,
        (None, None) => settings::TARGET.into(),
    };
    let config = if texts.is_empty() { ConfigSource::Post } else { ConfigSource::Texts(texts) };
    let script = match options.script.as_deref() {
        None => None,
        Some("demo") => Some(script::DEMO.to_owned()),
        Some(file) => Some(read(&file.into(), no_script)?),
    };
    let script = script.map(|text| script::parse(&text)).transpose().map_err(|errors| {
        StartError::Script { script: options.script.clone().unwrap_or_default(), errors }
    })?;
    Ok(Prepared { config, target, door: open_door(options.port, script.is_some())?, script })
}

/// The first VIP's first address, and the port of the service that it is for: the one that it tracks, if any.
fn first_target(path: &Path, text: &str) -> Result<SocketAddr, StartError> {
    let (config, _) =
        config::parse(text, &path.display().to_string()).map_err(|e| StartError::Config(e.to_string()))?;
    let of = |vip: &config::Vip| {
        let ip = vip.addresses.first()?.ip;
        let tracked = vip.track.iter().find_map(|track| match track.what {
            config::Tracked::Service(service) => Some(service),
            config::Tracked::Check(_) => None,
        });
        let service = config.services.get(tracked.unwrap_or(0))?;
        Some(SocketAddr::new(ip, service.listen.first()?.port()))
    };
    config.vips.iter().find_map(of).ok_or_else(|| StartError::NoTarget(path.to_owned()))
}

/// Opens the door. A script gets along without one, unless a port was asked for.
fn open_door(port: Option<u16>, scripted: bool) -> Result<Option<TcpListener>, StartError> {
    let number = port.unwrap_or(USUAL_PORT);
    match TcpListener::bind((Ipv4Addr::LOCALHOST, number)) {
        Ok(door) => Ok(Some(door)),
        Err(_) if scripted && port.is_none() => Ok(None),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(StartError::PortInUse { port: number }),
        Err(source) => Err(StartError::Listen { port: number, source }),
    }
}

fn fail(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::FAILURE
}

/// What goes wrong inside.
#[derive(Debug, thiserror::Error)]
enum LiveError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Stage(#[from] StageError),
    #[error("start the attendant: {0}")]
    Attendant(io::Error),
}

/// The lab's life, inside the sandbox.
fn live(
    mut sandbox: Sandbox,
    options: &Options,
    config: ConfigSource,
    target: SocketAddr,
    script: Option<&[Line]>,
) -> Result<(), LiveError> {
    let began = Instant::now();
    let door = sandbox.take_door();
    let url =
        door.as_ref().and_then(|door| door.local_addr().ok()).map(|address| format!("http://{address}"));
    // An interrupted script hasn't shown what it was to show. Ending is all there is to stopping: the sandbox goes
    // with this process, and everything with the sandbox.
    let status = i32::from(script.is_some());
    door::attend(door, target, move || std::process::exit(status)).map_err(LiveError::Attendant)?;

    let mut builder = Lab::builder(sandbox).nodes(options.nodes).backends(options.backends).config(config);
    if let Some(program) = &options.program {
        builder = builder.program(program);
    }
    let lab = builder.start()?;
    let mut stage = Stage::new(lab, target, began)?;
    if let Some(script) = script {
        let summary = stage.play(script)?;
        println!("{}: {summary}", options.script.as_deref().unwrap_or("script"));
        Ok(())
    } else {
        introduce(stage.lab(), target, url.as_deref());
        Ok(take_orders(&mut stage)?)
    }
}

/// Prints what is there and what can be tried.
fn introduce(lab: &Lab, target: SocketAddr, url: Option<&str>) {
    println!("A cluster on one switch, 192.168.56.0/24:");
    for machine in lab.machines() {
        println!("  {:8} {}", machine.name(), machine.address());
    }
    println!("Its VIP is {target}.");
    if let Some(url) = url {
        println!("\nTry:\n  curl {url}");
    }
    println!(
        "\nOrders that it takes here, a line each, such as `kill holder` (Ctrl-C ends it and leaves nothing behind):"
    );
    print!("{}", script::HELP);
    let ways = lab.how_to_enter();
    if !ways.is_empty() {
        println!("\nEnter a machine from another terminal:");
        for (name, way) in ways {
            println!("  {name:8} {way}");
        }
    }
    println!("\nThe daemons' logs, on every machine: {}/ha1.log and so on.\n", lab.logs().display());
}

/// Carries out orders from standard input, and says whenever the VIP moves.
fn take_orders(stage: &mut Stage) -> Result<(), LabError> {
    let witness = stage.witness();
    if holds_within(PATIENCE, || witness.holder().is_some()) {
        println!("{} holds the VIP.", witness.holder().unwrap_or_default());
    } else {
        // Perhaps that is what somebody wants to look into: the lab stays.
        println!("Nobody holds the VIP after {PATIENCE:?}; the logs may say why:");
        let _ = show_logs(&mut io::stdout());
    }
    let quiet = Arc::new(AtomicBool::new(false));
    let watch = watch(witness, Arc::clone(&quiet))?;
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        match script::parse_line(&line) {
            Ok(Some(action)) => {
                // The stage tells more of what follows than the watch could.
                quiet.store(true, Ordering::Relaxed);
                let outcome = stage.order(&action);
                quiet.store(false, Ordering::Relaxed);
                if let Err(e) = outcome {
                    println!("{e}");
                }
            }
            Ok(None) => {}
            Err(_) if line.trim() == "help" => print!("{}", script::HELP),
            Err(problem) => println!("{problem}; `help` tells what there is"),
        }
    }
    // No more orders: it goes on until it is asked to stop. The watch never ends by itself.
    let _ = watch.join();
    Ok(())
}

/// Starts a thread that says whenever the VIP moves, unless it is told to be quiet.
fn watch(witness: Arc<Witness>, quiet: Arc<AtomicBool>) -> Result<JoinHandle<()>, LabError> {
    let mut last = witness.holder();
    let watch = move || {
        loop {
            let mut now = None;
            // Between two holders there may be nobody for a moment; only who comes after is news.
            let moved = holds_within(WATCH, || {
                now = witness.holder();
                now.is_some() && now != last
            });
            if moved {
                last = now;
                if !quiet.load(Ordering::Relaxed) {
                    println!("{} holds the VIP.", last.as_deref().unwrap_or_default());
                }
            }
        }
    };
    thread::Builder::new()
        .name("lab-watch".into())
        .spawn(watch)
        .map_err(|source| LabError::System { doing: "start a thread".into(), source })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Result<SocketAddr, StartError> {
        first_target(Path::new("a.toml"), text)
    }

    #[test]
    fn a_configurations_first_vip_and_the_port_of_what_it_tracks_are_asked() {
        let text = include_str!("../../config/post.toml");
        assert_eq!(target(text).unwrap(), settings::TARGET.into());
        let other = text.replace("192.168.56.69", "192.168.56.70").replace("0.0.0.0:80", "0.0.0.0:8081");
        assert_eq!(target(&other).unwrap(), "192.168.56.70:8081".parse().unwrap());
        let ipv6 = text.replace("192.168.56.69/24", "fd56::69/64").replace("192.168.56.69", "fd56::69");
        assert_eq!(target(&ipv6).unwrap(), "[fd56::69]:80".parse().unwrap());
    }

    #[test]
    fn a_configuration_with_mistakes_or_without_a_vip_starts_nothing() {
        assert!(matches!(target("[cluster]\nnam = \"a\"\n"), Err(StartError::Config(_))));
        assert!(matches!(target("[cluster]\nname = \"a\"\nseeds = []\n"), Err(StartError::NoTarget(_))));
    }
}
