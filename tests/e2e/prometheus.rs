//! A real Prometheus looks at the cluster, and its own tool at what the nodes tell it.

use std::env;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use chinthe::lab::{ConfigSource, Lab, LabError, Sandbox};
use serde_json::Value;

use crate::cluster::{SEED, file};
use crate::harness::{self, Outcome, Test};
use crate::scene::{CHINTHE, FAILOVER, PATIENCE, Scene};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("prometheus::one_active_node_of_five_before_and_after_a_failover", one_active_node_of_five),
    Test::inside("prometheus::promtool_finds_nothing_to_complain_about", promtool_is_content),
    Test::outside("prometheus::the_rules_pass_their_own_tests", rules_pass),
];

/// Where Prometheus answers, on the hub's loopback.
const PORT: u16 = 9090;

/// A Prometheus that looks more often than people would have it.
pub(crate) const QUICK: &str =
    "global:\n  scrape_interval: 1s\n  scrape_timeout: 1s\n  evaluation_interval: 1s\n";

/// The nodes' admin servers, reachable from the hub.
pub(crate) const ADMIN: &str = "\n[admin]\nlisten = \"0.0.0.0:7781\"\n";

/// A Prometheus, which ends with this.
pub(crate) struct Prometheus(Child);

impl Prometheus {
    /// Starts it in the lab's hub with this configuration, and `folder` for all that it writes.
    pub(crate) fn start(folder: &Path, configuration: &str) -> Result<Self, Box<dyn std::error::Error>> {
        fs::create_dir(folder)?;
        let config = folder.join("prometheus.yml");
        fs::write(&config, configuration)?;
        let log = fs::File::create(folder.join("log"))?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{PORT}"))
            .arg("--enable-feature=exemplar-storage")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(Self(child))
    }

    /// What it answers to a query that comes to one number.
    pub(crate) fn number(query: &str) -> Option<f64> {
        let answer = Self::api("query", &[("query", query)]).ok()?;
        answer["result"][0]["value"][1].as_str()?.parse().ok()
    }

    /// What `/api/v1/…` answers to these parameters; what it says is wrong with them is an error.
    pub(crate) fn api(path: &str, parameters: &[(&str, &str)]) -> io::Result<Value> {
        let parameters: Vec<String> =
            parameters.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
        let answer = ask(&format!("/api/v1/{path}?{}", parameters.join("&")))?;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
        let mut answer: Value = serde_json::from_str(body)?;
        match answer["status"].as_str() {
            Some("success") => Ok(answer["data"].take()),
            _ => Err(io::Error::other(format!("{path}: {answer}"))),
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What Prometheus answers to a request, head and body.
fn ask(path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    // 1.0, so that the answer ends with the connection and comes in one piece.
    stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// A query as it goes into a path.
fn encoded(query: &str) -> String {
    query
        .bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
            other => format!("%{other:02X}"),
        })
        .collect()
}

/// Whether a program of Prometheus is here; where it isn't, the test is passed over, unless everything is required.
pub(crate) fn is_here(program: &str) -> Result<bool, LabError> {
    let found = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    match found {
        Ok(_) => Ok(true),
        Err(source) if harness::peers_are_required() => {
            Err(LabError::System { doing: format!("start {program}"), source })
        }
        Err(e) => {
            println!("skipped: {program}: {e}; to install it: sudo apt-get install prometheus");
            Ok(false)
        }
    }
}

fn one_active_node_of_five(sandbox: Sandbox) -> Outcome {
    if !is_here("prometheus")? {
        return Ok(());
    }
    let text = file(&[SEED], "2s", ADMIN);
    let lab = Lab::builder(sandbox).program(CHINTHE).nodes(5).config(ConfigSource::Text(text)).start()?;
    let folder = lab.logs().with_file_name("prometheus");
    let targets: Vec<String> =
        lab.nodes().iter().map(|node| format!("'{}:7781'", node.machine().address())).collect();
    let prometheus = Prometheus::start(
        &folder,
        &format!(
            "{QUICK}scrape_configs:\n- job_name: chinthe\n  static_configs:\n  - targets: [{}]\n",
            targets.join(", ")
        ),
    )?;
    let scene = Scene::watch(lab)?;
    let sees = |what: &str, query: &str, wanted: f64| {
        let mut last = None;
        let seen = scene.lab.wait_for(&format!("Prometheus to see {what}"), 2 * PATIENCE, || {
            last = Prometheus::number(query);
            last.is_some_and(|number| (number - wanted).abs() < 0.1)
        });
        if seen.is_err() {
            eprintln!("{query}: {last:?}\n{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
        }
        seen
    };
    sees("all five nodes", "count(up == 1)", 5.0)?;
    sees("one active node", "sum(chinthe_vip_active)", 1.0)?;
    sees("ha1 active", "sum(chinthe_vip_active{instance=\"192.168.56.21:7781\"})", 1.0)?;
    sees("five members on each node", "min(chinthe_cluster_members{state=\"alive\"})", 5.0)?;

    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    sees("ha2 active", "sum(chinthe_vip_active{instance=\"192.168.56.22:7781\"})", 1.0)?;
    sees("four nodes", "count(up == 1)", 4.0)?;
    sees("one active node", "sum(chinthe_vip_active)", 1.0)?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    sees("all five nodes again", "count(up == 1)", 5.0)?;
    sees("ha1 active again", "sum(chinthe_vip_active{instance=\"192.168.56.21:7781\"})", 1.0)?;
    sees("one active node", "sum(chinthe_vip_active)", 1.0)?;
    drop(prometheus);
    Ok(())
}

fn promtool_is_content(sandbox: Sandbox) -> Outcome {
    if !is_here("promtool")? {
        return Ok(());
    }
    let scene = crate::scene::start(sandbox)?;
    for node in scene.lab.nodes() {
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut input = promtool.stdin.take().ok_or_else(|| io::Error::other("no way in"))?;
        input.write_all(node.metrics()?.as_bytes())?;
        drop(input);
        let output = promtool.wait_with_output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.trim().is_empty(), "{}:\n{said}", node.name());
    }
    Ok(())
}

fn rules_pass() -> Outcome {
    if !is_here("promtool")? {
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards");
    for arguments in [["check", "rules", "rules.yml"], ["test", "rules", "rules-test.yml"]] {
        let output = Command::new("promtool").args(arguments).current_dir(&folder).output()?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}:\n{said}");
    }
    Ok(())
}
