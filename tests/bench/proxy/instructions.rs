//! How many instructions a request and a connection cost, counted by valgrind: the same whoever else uses the
//! machine, and so what tells a slower hot path where times are noise.
//!
//! The proxy runs in this program, started again under valgrind; one client asks it one thing after the other. What
//! a short run and a longer one differ by is what the additional requests cost, without start and end.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chinthe::config::Timeouts;
use chinthe::proxy::{Plan, Proxy, Route, Routes, ServicePlan, Settings, Target, listen};

use crate::contenders::{is_installed, missing};
use crate::load::{ANSWER, REQUEST};

/// The first argument of this program when it is to be the proxy that is counted.
pub(crate) const ROLE: &str = "counted-proxy";

/// What is on record, one figure a line: what it is of, and the instructions.
const RECORD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/proxy/instructions.txt");

/// How far a figure may be from the record: another compiler is worth some percent.
const TOLERANCE: f64 = 0.10;

/// Of requests and of connections: in the short run and in the longer one.
const FEW: usize = 200;
const MANY: usize = 1200;

/// How often each is counted.
const RUNS: usize = 5;

/// Counts, and compares with the record, or writes it.
pub(crate) fn main(record: bool, folder: &Path) -> Result<()> {
    if !is_installed("valgrind") {
        return missing("valgrind");
    }
    let each = |few: u64, many: u64| many.saturating_sub(few) / (MANY - FEW) as u64;
    let least = |requests, connections| {
        // Events that happen to come together are handled together, which costs less: as often as not, once.
        let counts = (0..RUNS).map(|_| count(requests, connections, folder)).collect::<Result<Vec<_>>>()?;
        counts.into_iter().min().context("no run")
    };
    let base = least(FEW, FEW)?;
    let figures = [("request", each(base, least(MANY, FEW)?)), ("connection", each(base, least(FEW, MANY)?))];
    let text = figures.iter().fold(String::new(), |mut all, (name, found)| {
        let _ = writeln!(all, "{name} {found}");
        all
    });
    if record {
        fs::write(RECORD, &text)?;
        println!("recorded:\n{text}");
        return Ok(());
    }
    let recorded = fs::read_to_string(RECORD).context(RECORD)?;
    let mut wrong = Vec::new();
    for (name, found) in figures {
        let line = recorded.lines().find_map(|line| line.strip_prefix(name));
        let expected: u64 = line.with_context(|| format!("no record of `{name}`"))?.trim().parse()?;
        let ratio = found as f64 / expected as f64;
        println!("a {name}: {found} instructions, {ratio:.3} of the {expected} on record");
        if !(1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio) {
            wrong.push(name);
        }
    }
    ensure!(
        wrong.is_empty(),
        "{} changed by more than {:.0} %; if that is meant: cargo bench --bench proxy -- --record-instructions",
        wrong.join(", "),
        TOLERANCE * 100.0
    );
    Ok(())
}

/// The instructions of a proxy's whole life with so many requests on one connection, and so many connections with one
/// request each.
fn count(requests: usize, connections: usize, folder: &Path) -> Result<u64> {
    let backend = backend()?;
    let out = folder.join("callgrind");
    let mut valgrind = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe()?)
        .args([ROLE, &backend.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("valgrind")?;
    let mut address = String::new();
    BufReader::new(valgrind.stdout.take().context("its output")?).read_line(&mut address)?;
    let address: SocketAddr = address.trim().parse().context("the proxy under valgrind didn't start")?;

    let mut client = connect(address)?;
    for _ in 0..requests {
        exchange(&mut client)?;
    }
    drop(client);
    for _ in 0..connections {
        let mut client = connect(address)?;
        exchange(&mut client)?;
        // The backend's end follows ours: one connection after the other, as one request after the other.
        client.shutdown(std::net::Shutdown::Write)?;
        ensure!(client.read(&mut [0])? == 0, "bytes behind the answer");
    }
    // The end of its input is what it waits for.
    drop(valgrind.stdin.take());
    ensure!(valgrind.wait()?.success(), "the proxy under valgrind failed");
    let text = fs::read_to_string(&out)?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals:").or(line.strip_prefix("summary:")));
    Ok(total.context("valgrind counted nothing")?.trim().parse()?)
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_nodelay(true)?;
    client.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(client)
}

fn exchange(client: &mut TcpStream) -> Result<()> {
    client.write_all(&[b'?'; REQUEST])?;
    Ok(client.read_exact(&mut [0; ANSWER])?)
}

/// A backend that answers, for as long as this process lives.
fn backend() -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || {
                let _ = stream.set_nodelay(true);
                while stream.read_exact(&mut [0; REQUEST]).is_ok() {
                    if stream.write_all(&[b'!'; ANSWER]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

/// Is the proxy that is counted: says where it listens, and ends with its input.
pub(crate) fn proxy(arguments: &[String]) -> Result<()> {
    let [backend] = arguments else { bail!("one backend") };
    let bind = |socket: &socket2::Socket, address: SocketAddr| socket.bind(&address.into());
    let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), 64, None, bind)?;
    let address = listener.local_addr()?;
    let minute = Duration::from_secs(60);
    let plan = Plan {
        services: vec![ServicePlan {
            number: 0,
            max_connections: None,
            timeouts: Timeouts { connect: minute, client: minute, server: minute },
            backends: vec![0],
        }],
    };
    let proxy = Proxy::start(plan, vec![vec![(0, listener)]], Settings::default(), |_| {})?;
    let target = Target { backend: 0, address: backend.parse()?, weight: 1 };
    let route = Route { targets: vec![target], reserve: vec![] };
    let before = proxy.beats();
    proxy.route(Arc::new(Routes { services: vec![route] }));
    // Two rounds: the one that was under way, and the one that took the order, or a beat.
    while proxy.beats().iter().zip(&before).any(|(now, before)| *now < before + 2) {
        std::thread::park_timeout(Duration::from_millis(50));
    }
    println!("{address}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    let counters = proxy.stop(Duration::from_secs(5));
    ensure!(counters.services[0].rejected.iter().all(|rejected| *rejected == 0), "clients were rejected");
    Ok(())
}
