//! Failovers as a real OpenTelemetry collector sees them, and as they go on when it doesn't answer.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::error::Error;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox, holds_within};
use chinthe::telemetry::FailoverTrace;
use serde_json::Value;

use crate::cluster::{SEED, file};
use crate::harness::{self, Outcome, Test};
use crate::scene::{CHINTHE, FAILOVER, PATIENCE, Scene};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("traces::every_node_names_the_latest_failover_s_trace", every_node_names_it),
    Test::inside("traces::a_failover_is_one_trace_of_all_nodes", one_trace_of_all_nodes).within(LONG),
    Test::inside("traces::a_collector_that_never_answers_costs_nothing", a_silent_collector)
        .within(Duration::from_secs(900)),
];

const LONG: Duration = Duration::from_secs(120);

/// Where the collector listens, in the hub.
const PORT: u16 = 4318;

/// How it is called, and the package that has it.
const COLLECTOR: &str = "rotel-agent";

/// How often the VIP moves while nobody takes the spans; more where that is asked for.
const MOVES: &str = "CHINTHE_TRACED_MOVES";

/// A collector that prints what it gets; it ends with this.
struct Collector {
    process: Child,
    output: PathBuf,
}

impl Collector {
    /// Starts it in the lab's hub, with `folder` for all that it writes; `None` where it isn't installed and isn't
    /// required either.
    fn start(folder: &Path) -> Result<Option<Self>, Box<dyn Error>> {
        fs::create_dir(folder)?;
        let output = folder.join("log");
        let log = fs::File::create(&output)?;
        let started = Command::new(COLLECTOR)
            .arg("start")
            .args([
                "--otlp-http-endpoint",
                &format!("0.0.0.0:{PORT}"),
                "--otlp-grpc-endpoint",
                "127.0.0.1:4317",
            ])
            .args(["--exporter", "blackhole", "--debug-log", "traces", "--debug-log-verbosity", "detailed"])
            .arg("--pid-file")
            .arg(folder.join("pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        match started {
            Ok(process) => {
                let collector = Self { process, output };
                // What comes before is lost, as with any collector.
                if holds_within(PATIENCE, || TcpStream::connect((Ipv4Addr::LOCALHOST, PORT)).is_ok()) {
                    Ok(Some(collector))
                } else {
                    Err(format!("{COLLECTOR} doesn't listen").into())
                }
            }
            Err(e) if harness::peers_are_required() => Err(format!("{COLLECTOR}: {e}").into()),
            Err(e) => {
                println!("skipped: {COLLECTOR}: {e}; `pip install rotel` has it");
                Ok(None)
            }
        }
    }

    /// The spans that it has got so far.
    fn spans(&self) -> Vec<BTreeMap<String, String>> {
        read(&fs::read_to_string(&self.output).unwrap_or_default())
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Each span that the collector has printed, as names and values: `Trace ID`, `Name`, `chinthe.node`.
fn read(output: &str) -> Vec<BTreeMap<String, String>> {
    let mut spans: Vec<BTreeMap<String, String>> = Vec::new();
    for line in output.lines().map(str::trim) {
        if line.starts_with("Span #") {
            spans.push(BTreeMap::new());
        } else if line.starts_with("ResourceSpans #") {
            // What follows is of all spans together.
            spans.push(BTreeMap::new());
        } else if let (Some(span), Some((name, value))) = (spans.last_mut(), line.split_once(':')) {
            let name = name.trim_start_matches("-> ").trim();
            // `Str(ha2)`
            let value = value.trim().trim_start_matches("Str(").trim_end_matches(')');
            // What is said of a span's events comes after what is said of itself.
            span.entry(name.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    spans.retain(|span| span.contains_key("Trace ID"));
    spans
}

/// Over how many minutes these moves are spread; else one follows the other.
const MINUTES: &str = "CHINTHE_TRACED_MINUTES";

/// A cluster that tells the hub's collector of its failovers, soon.
const UNDAMPED: &str = "[[vip]]\npreempt_damping = false\n";

fn traced(sandbox: Sandbox, nodes: usize) -> Result<Lab, LabError> {
    Lab::builder(sandbox)
        .program(CHINTHE)
        .nodes(nodes)
        // It moves far more often than a VIP is handed back at once.
        .config(ConfigSource::Text(file(&[SEED], "2s", "").replacen("[[vip]]\n", UNDAMPED, 1)))
        .environment("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://192.168.56.1:{PORT}"))
        .environment("OTEL_BSP_SCHEDULE_DELAY", "100")
        .start()
}

/// Waits until the trace of `term` has spans of these names from these nodes, each under one and the same root.
fn await_trace(lab: &Lab, collector: &Collector, term: u32, wanted: &[(&str, &str)]) -> Outcome {
    let ids = FailoverTrace::of("myweb", "vi_1", term);
    let (trace, root) = (ids.trace.to_string(), ids.root.to_string());
    let spans = || -> Vec<_> {
        collector.spans().into_iter().filter(|span| span.get("Trace ID") == Some(&trace)).collect()
    };
    let told = |spans: &[BTreeMap<String, String>]| -> BTreeSet<(String, String)> {
        let of = |span: &BTreeMap<String, String>| {
            Some((span.get("Name")?.clone(), span.get("chinthe.node")?.clone()))
        };
        spans.iter().filter_map(of).collect()
    };
    let wanted: BTreeSet<(String, String)> =
        wanted.iter().map(|(name, node)| ((*name).to_owned(), (*node).to_owned())).collect();
    let complete = lab.wait_for("the whole trace", PATIENCE, || told(&spans()).is_superset(&wanted));
    let spans = spans();
    eprintln!("the trace of term {term}: {:?}", told(&spans));
    complete?;
    let (roots, children): (Vec<_>, Vec<_>) = spans.iter().partition(|span| span["Name"] == "failover");
    assert_eq!(roots.len(), 1, "{roots:#?}");
    assert_eq!((&roots[0]["ID"], &roots[0]["Parent ID"]), (&root, &String::new()));
    assert!(children.iter().all(|span| span["Parent ID"] == root), "{children:#?}");
    Ok(())
}

/// Without a collector, by status and events.
fn every_node_names_it(sandbox: Sandbox) -> Outcome {
    let text = file(&[SEED], "2s", "");
    let lab = Lab::builder(sandbox).program(CHINTHE).nodes(3).config(ConfigSource::Text(text)).start()?;
    let scene = Scene::watch(lab)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    let trace = FailoverTrace::of("myweb", "vi_1", 2);
    for name in ["ha2", "ha3"] {
        let node = scene.node(name)?;
        let vip = || node.status().map(|status| status["vips"][0].clone()).unwrap_or_default();
        scene.lab.wait_for(&format!("{name} to name the trace"), PATIENCE, || {
            vip()["traceparent"] == trace.traceparent() && vip()["term"] == 2
        })?;
        let events: Value = serde_json::from_str(&node.get("/api/v1/events")?)?;
        let told =
            events["events"].as_array().and_then(|all| all.iter().rfind(|e| e["event"] == "vip.moved"));
        assert_eq!(told.ok_or("it hasn't told")?["trace_id"], trace.trace.to_string(), "{events}");
    }
    Ok(())
}

/// One of four dies, so that three are left to tell of it.
fn one_trace_of_all_nodes(sandbox: Sandbox) -> Outcome {
    let lab = traced(sandbox, 4)?;
    let Some(collector) = Collector::start(&lab.logs().with_file_name("collector"))? else { return Ok(()) };
    let scene = Scene::watch(lab)?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    let phases = ["failover", "detect", "elect", "assign", "announce", "first_connection"];
    let of_ha2 = phases.map(|name| (name, "ha2"));
    let crash = [&of_ha2[..], &[("observe", "ha3"), ("observe", "ha4")]].concat();
    await_trace(&scene.lab, &collector, 2, &crash)?;

    // What an operator says is a span of the node that was told, and what the driver made of it is one within.
    let drain = scene.node("ha4")?.command().args(["drain", "myweb/web1"]).output()?;
    assert!(drain.status.success(), "{drain:?}");
    let seen = scene.lab.wait_for("the operator's span", PATIENCE, || {
        let spans = collector.spans();
        let of = |name: &str| spans.iter().find(|span| span.get("Name").is_some_and(|it| it == name));
        let told = of("admin.change").zip(of("driver.said"));
        told.is_some_and(|(outer, inner)| {
            inner["Parent ID"] == outer["ID"] && inner["Trace ID"] == outer["Trace ID"]
        })
    });
    seen.inspect_err(|_| eprintln!("{:#?}", collector.spans()))?;

    // A planned move is told of by the old holder, too; the flush at its end loses nothing.
    scene.moves_to("ha4", FAILOVER, |lab| lab.node("ha2")?.terminate())?;
    let of_ha4 = phases.map(|name| (name, "ha4"));
    let planned = [&of_ha4[..], &[("release", "ha2"), ("observe", "ha3")]].concat();
    await_trace(&scene.lab, &collector, 3, &planned)?;
    let counted = |stage: &str| {
        let series = format!("chinthe_trace_spans_total{{stage=\"{stage}\"}}");
        scene.node("ha4").and_then(|node| node.metric(&series)).ok().flatten().unwrap_or_default()
    };
    scene.lab.wait_for("every span to be delivered", PATIENCE, || {
        counted("ended") > 5.0 && (counted("ended") - counted("delivered")).abs() < 0.5
    })?;
    scene.lab.wait_for("the stop's span", PATIENCE, || {
        collector.spans().iter().any(|span| span.get("Name").is_some_and(|name| name == "node.stop"))
    })?;
    Ok(())
}

/// A listener that never takes what the kernel has taken for it.
fn a_silent_collector(sandbox: Sandbox) -> Outcome {
    let asked = |variable: &str| env::var(variable).ok().and_then(|n| n.parse::<u32>().ok());
    let (moves, minutes) = (asked(MOVES).unwrap_or(10), asked(MINUTES).unwrap_or(0));
    let (began, whole) = (Instant::now(), Duration::from_secs(60) * minutes);
    let silent = TcpListener::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
    let scene = Scene::watch(traced(sandbox, 2)?)?;
    let say = |word: &'static str| {
        move |lab: &Lab| {
            let output = lab.node("ha1")?.command().args([word, "--node", "ha1"]).output();
            output.map(drop).map_err(|source| LabError::System { doing: word.into(), source })
        }
    };
    let memory = |node: &Node| node.metric("process_resident_memory_bytes").map(Option::unwrap_or_default);
    let (mut longest, mut before) = (Duration::ZERO, [0.0; 2]);
    for round in 0..moves / 2 {
        let (_, away) = scene.moves_to("ha2", FAILOVER, say("drain"))?;
        let (_, home) = scene.moves_to("ha1", FAILOVER, say("ready"))?;
        scene.await_home()?;
        longest = longest.max(away).max(home);
        let turn = began + whole * (round + 1) / (moves / 2).max(1);
        scene.lab.wait_for("the next move's turn", whole + PATIENCE, || Instant::now() >= turn)?;
        if round == moves / 10 {
            before = [memory(scene.node("ha1")?)?, memory(scene.node("ha2")?)?];
        }
    }
    let after = [memory(scene.node("ha1")?)?, memory(scene.node("ha2")?)?];
    eprintln!(
        "{moves} moves in {:?}, the longest {longest:?}; resident bytes {before:?}, then {after:?}",
        began.elapsed()
    );
    for (before, after) in before.into_iter().zip(after) {
        assert!(after - before < SPANS_BYTES, "{before} bytes, then {after}");
    }
    scene.node("ha1")?.terminate()?;
    let stopped = scene.node("ha1")?.wait_exit(PATIENCE)?;
    assert!(stopped.success(), "{stopped:?}");
    drop(silent);
    Ok(())
}

/// The spans that may wait, with what belongs to them; and some room for what isn't given back to the system.
const SPANS_BYTES: f64 = 6.0 * 1024.0 * 1024.0;
