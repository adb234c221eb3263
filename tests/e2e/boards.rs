//! The boards and rules, asked on a real cluster: a Prometheus that finds it by service discovery looks on while a
//! node dies and comes back and a backend is out, and then every query of every panel and rule has an answer.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox};
use serde_json::Value;

use crate::cluster::file;
use crate::harness::{Outcome, Test};
use crate::prometheus::{ADMIN, Prometheus, QUICK, is_here};
use crate::public_boards;
use crate::scene::{CHINTHE, FAILOVER, PATIENCE, Scene};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("boards::every_query_answers_on_a_cluster_found_by_one_seed_of_two", every_query_answers)
        .within(LONG),
    Test::inside("boards::every_member_names_the_same_targets_and_a_dead_one_with_them", same_targets),
];

/// For a Prometheus that has to have looked several times, and for pictures where they are asked for.
const LONG: Duration = Duration::from_secs(180);
/// Pictures show at least this much.
const SHOWN: Duration = Duration::from_secs(90);

/// One seed that is there, and one that isn't.
const SEEDS: [&str; 2] = ["192.168.56.22", "192.168.56.29"];

/// What boards for other programs ask for as well.
const COMPAT: &str = "\n[metrics]\nhaproxy_compat = true\nkeepalived_compat = true\n";

/// What a board's variables stand for here.
const VARIABLES: [(&str, &str); 9] = [
    ("$__rate_interval", "10s"),
    ("$__range", "3m"),
    ("$job", "chinthe"),
    ("$cluster", "myweb"),
    ("$instance", ".+"),
    ("$service", "myweb"),
    ("$vip", "vi_1"),
    ("${datasource}", "prometheus"),
    ("$datasource", "prometheus"),
];

fn three(sandbox: Sandbox) -> Result<Lab, LabError> {
    let text = file(&SEEDS, "200ms", &format!("{ADMIN}{COMPAT}"));
    Lab::builder(sandbox).program(CHINTHE).nodes(3).config(ConfigSource::Text(text)).start()
}

fn targets(node: &Node) -> Result<Vec<Value>, LabError> {
    let text = node.get("/api/v1/prometheus/targets")?;
    Ok(serde_json::from_str(&text).unwrap_or_default())
}

fn same_targets(sandbox: Sandbox) -> Outcome {
    let scene = Scene::watch(three(sandbox)?)?;
    let nodes = scene.lab.nodes();
    let all_alike = |nodes: &[Node], count: usize| {
        let told: Vec<_> = nodes.iter().map(targets).collect();
        let first = told.first().and_then(|told| told.as_ref().ok());
        first.is_some_and(|first| first.len() == count) && told.iter().all(|told| told.as_ref().ok() == first)
    };
    scene.lab.wait_for("all to name all", PATIENCE, || all_alike(nodes, 3))?;
    let labels: Vec<String> = targets(&nodes[0])?.iter().map(|group| group["labels"].to_string()).collect();
    assert_eq!(labels[0], r#"{"cluster":"myweb","node":"ha1"}"#, "{labels:?}");

    nodes[2].terminate()?;
    scene.lab.wait_for("who has left to be listed no more", PATIENCE, || all_alike(&nodes[..2], 2))?;
    nodes[2].start()?;
    scene.lab.wait_for("ha3 to be listed again", PATIENCE, || all_alike(nodes, 3))?;
    let is =
        |node: &Node, state: &str| node.status().is_ok_and(|status| status["members"][2]["state"] == state);
    // Gossip may have told of it before it was heard: who dies before that isn't known to have lived.
    scene.lab.wait_for("ha3 to be alive", PATIENCE, || nodes[..2].iter().all(|node| is(node, "alive")))?;

    nodes[2].kill9_both()?;
    scene.lab.wait_for("ha3 to be dead", PATIENCE, || nodes[..2].iter().all(|node| is(node, "dead")))?;
    assert!(all_alike(&nodes[..2], 3), "{:?}", targets(&nodes[0]));
    Ok(())
}

fn every_query_answers(sandbox: Sandbox) -> Outcome {
    if !is_here("prometheus")? {
        return Ok(());
    }
    let lab = three(sandbox)?;
    lab.wait_for("ha2 to name all", PATIENCE, || {
        lab.nodes().get(1).is_some_and(|ha2| targets(ha2).is_ok_and(|all| all.len() == 3))
    })?;
    let folder = lab.logs().with_file_name("prometheus");
    let rules = root().join("dashboards/rules.yml");
    let scrape = scrape_configuration(lab.node("ha2")?)?;
    let configuration = format!("{QUICK}rule_files: ['{}']\n{scrape}", rules.display());
    let prometheus = Prometheus::start(&folder, &configuration)?;
    let scene = Scene::watch(lab)?;
    let sees = |what: &str, query: &str, wanted: f64| {
        scene.lab.wait_for(&format!("Prometheus to see {what}"), 2 * PATIENCE, || {
            Prometheus::number(query).is_some_and(|number| (number - wanted).abs() < 0.1)
        })
    };
    sees("three nodes by one seed of two", "count(up{cluster=\"myweb\"} == 1)", 3.0)?;
    let began = Instant::now();
    let pictures = env::var_os("CHINTHE_PICTURES");
    if pictures.is_some() {
        // So that rates have a past to be seen against.
        scene.lab.wait_for("a past", SHOWN, || began.elapsed() > SHOWN / 2)?;
    }

    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    sees("ha1 down", "up{node=\"ha1\"}", 0.0)?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    sees("ha1 up again", "up{node=\"ha1\"}", 1.0)?;
    sees("ha1 holding", "chinthe_vip_active{node=\"ha1\"}", 1.0)?;
    scene.lab.web("web1")?.stop()?;
    sees("web1 down", "max(chinthe_backend_check_up{backend=\"web1\"})", 0.0)?;
    scene.lab.web("web1")?.start()?;
    sees("web1 up again", "min(chinthe_backend_check_up{backend=\"web1\"})", 1.0)?;
    // Ratios of what has just begun would be of two points.
    sees("rules evaluated on it", "count(cluster_service:chinthe_connect_failures:ratio_rate5m)", 1.0)?;

    if let Some(pictures) = pictures {
        scene.lab.wait_for("a present", SHOWN, || began.elapsed() > SHOWN)?;
        draw(&PathBuf::from(pictures), began)?;
    }
    let alerts = || series("ALERTS", true, began).unwrap_or_default();
    let quiet = scene.lab.wait_for("no alert to be left", PATIENCE, || alerts().is_empty());
    quiet.inspect_err(|_| eprintln!("{:?}", alerts()))?;
    let wrong: Vec<String> = boards()?
        .iter()
        .flat_map(|(name, board)| judge(name, board, began))
        .chain(judge_rules()?)
        .chain(public_boards::judge(began)?)
        .collect();
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));

    for histogram in [
        "chinthe_failover_duration_seconds_bucket{phase=\"total\"}",
        "chinthe_service_connect_duration_seconds_bucket",
    ] {
        assert_eq!(exemplar(histogram, began)?.len(), 32, "{histogram}");
    }
    drop(prometheus);
    Ok(())
}

/// The trace of one exemplar that Prometheus has of a histogram.
fn exemplar(histogram: &str, began: Instant) -> Result<String, Box<dyn Error>> {
    let (start, end) = (seconds_ago(began), seconds_ago(Instant::now()));
    let exemplars =
        Prometheus::api("query_exemplars", &[("query", histogram), ("start", &start), ("end", &end)])?;
    Ok(exemplars[0]["exemplars"][0]["labels"]["trace_id"].as_str().unwrap_or_default().to_owned())
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What `chinthe prometheus-config` makes of a node's own configuration.
fn scrape_configuration(node: &Node) -> Result<String, Box<dyn Error>> {
    let output = Command::new(CHINTHE)
        .args(["prometheus-config", "--config"])
        .arg(node.config())
        .stdin(Stdio::null())
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

/// Every board, by its file's name.
fn boards() -> Result<Vec<(String, Value)>, Box<dyn Error>> {
    let mut boards = Vec::new();
    for entry in fs::read_dir(root().join("dashboards"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == "json") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            boards.push((name, serde_json::from_str(&fs::read_to_string(&path)?)?));
        }
    }
    assert!(boards.len() >= 4, "there are {} boards", boards.len());
    Ok(boards)
}

/// A query with the variables' values in their places.
fn filled(query: &str) -> String {
    VARIABLES.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
}

/// A moment as Prometheus' API takes it.
fn seconds_ago(moment: Instant) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{:.3}", since.saturating_sub(moment.elapsed()).as_secs_f64())
}

/// The series that a query has since `began`, or now.
pub(crate) fn series(query: &str, instant: bool, began: Instant) -> Result<Vec<Value>, String> {
    let query = filled(query);
    let (start, end) = (seconds_ago(began), seconds_ago(Instant::now()));
    let answer = if instant {
        Prometheus::api("query", &[("query", &query)])
    } else {
        Prometheus::api("query_range", &[("query", &query), ("start", &start), ("end", &end), ("step", "1")])
    };
    let answer = answer.map_err(|error| format!("{query}: {error}"))?;
    Ok(answer["result"].as_array().cloned().unwrap_or_default())
}

/// Whether a series has a number in it.
pub(crate) fn has_number(series: &Value) -> bool {
    let values = series["values"].as_array().cloned().unwrap_or_else(|| vec![series["value"].clone()]);
    values.iter().any(|value| value[1].as_str().is_some_and(|number| number != "NaN"))
}

/// What is wrong with a board's queries.
fn judge(name: &str, board: &Value, began: Instant) -> Vec<String> {
    let mut wrong = Vec::new();
    let mut queries = 0;
    for panel in board["panels"].as_array().into_iter().flatten() {
        let title = panel["title"].as_str().unwrap_or_default();
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap_or_default();
            queries += 1;
            match series(query, target["instant"] == true, began) {
                Err(error) => wrong.push(format!("{name}: {title}: {error}")),
                Ok(all) if !all.iter().any(has_number) => {
                    wrong.push(format!("{name}: {title}: nothing: {}", filled(query)));
                }
                Ok(all) => {
                    for label in labels(target["legendFormat"].as_str().unwrap_or_default()) {
                        if all.iter().any(|one| one["metric"][&label].is_null()) {
                            wrong
                                .push(format!("{name}: {title}: no label `{label}` on {}", all[0]["metric"]));
                        }
                    }
                }
            }
        }
    }
    for annotation in board["annotations"]["list"].as_array().into_iter().flatten() {
        let Some(query) = annotation["expr"].as_str() else { continue };
        let texts = [&annotation["titleFormat"], &annotation["textFormat"]];
        match series(query, false, began) {
            Err(error) => wrong.push(format!("{name}: {error}")),
            Ok(all) if all.is_empty() => wrong.push(format!("{name}: {}: nothing", annotation["name"])),
            Ok(all) => {
                for label in texts.iter().flat_map(|text| labels(text.as_str().unwrap_or_default())) {
                    if all[0]["metric"][&label].is_null() {
                        wrong.push(format!("{name}: {}: no label `{label}`", annotation["name"]));
                    }
                }
            }
        }
    }
    for variable in board["templating"]["list"].as_array().into_iter().flatten() {
        let Some(query) = variable["query"]["query"].as_str() else { continue };
        let inside = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = inside.and_then(|inside| inside.rsplit_once(", ")).unwrap_or_default();
        match series(&format!("group by ({label}) ({metric})"), true, began) {
            Ok(all) if all.iter().any(|one| !one["metric"][label].is_null()) => {}
            other => wrong.push(format!("{name}: variable {}: {other:?}", variable["name"])),
        }
    }
    eprintln!("{name}: {queries} queries");
    wrong
}

/// The labels that a legend names.
fn labels(legend: &str) -> Vec<String> {
    legend
        .split("{{")
        .skip(1)
        .filter_map(|rest| rest.split("}}").next())
        .map(|name| name.trim().to_owned())
        .collect()
}

/// What is wrong with the rules: that Prometheus can't evaluate one, that a recording rule has no series, or that an
/// alert asks for a metric that isn't there.
fn judge_rules() -> Result<Vec<String>, Box<dyn Error>> {
    let names = names()?;
    let mut wrong = Vec::new();
    let mut count = 0;
    let groups = Prometheus::api("rules", &[])?;
    for rule in
        groups["groups"].as_array().into_iter().flatten().filter_map(|g| g["rules"].as_array()).flatten()
    {
        count += 1;
        let name = rule["name"].as_str().unwrap_or_default();
        if rule["health"] != "ok" {
            wrong.push(format!("{name}: {} {}", rule["health"], rule["lastError"]));
        }
        if rule["type"] == "recording" && !names.contains(name) {
            wrong.push(format!("{name}: no series"));
        }
        let query = rule["query"].as_str().unwrap_or_default();
        let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
        let metrics =
            words.filter(|word| ["chinthe_", "process_", ":chinthe_"].iter().any(|p| word.contains(p)));
        wrong.extend(
            metrics.filter(|metric| !names.contains(*metric)).map(|metric| format!("{name}: no {metric}")),
        );
    }
    assert!(count > 30, "{count} rules");
    Ok(wrong)
}

/// Every metric that Prometheus has.
pub(crate) fn names() -> Result<BTreeSet<String>, Box<dyn Error>> {
    let names = Prometheus::api("label/__name__/values", &[])?;
    Ok(names.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect())
}

/// Draws each board into a PNG, as far as a small page of ours can: with headless Chromium.
fn draw(folder: &Path, began: Instant) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(folder)?;
    let page = fs::read_to_string(root().join("tests/dashboards/picture.html"))?;
    for (name, board) in boards()? {
        let variables: serde_json::Map<String, Value> =
            VARIABLES.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect();
        let data = serde_json::json!({
            "board": board,
            "variables": variables,
            "start": seconds_ago(began).parse::<f64>()?,
            "end": seconds_ago(Instant::now()).parse::<f64>()?,
            "prometheus": "http://127.0.0.1:9090",
        });
        let html = folder.join(format!("{name}.html"));
        // Not closed early by anything in it.
        fs::write(&html, page.replace("/*DATA*/null", &data.to_string().replace("</", "<\\/")))?;
        let rows = board["panels"].as_array().into_iter().flatten();
        let bottom =
            rows.filter_map(|panel| Some(panel["gridPos"]["y"].as_u64()? + panel["gridPos"]["h"].as_u64()?));
        let height = 60 + 30 * bottom.max().unwrap_or(30);
        let status = Command::new("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-quic", "--virtual-time-budget=8000", "--allow-file-access-from-files"])
            .arg(format!("--user-data-dir={}", folder.join("profile").display()))
            .arg(format!("--window-size=1280,{height}"))
            .arg(format!("--screenshot={}", folder.join(format!("{name}.png")).display()))
            .arg(format!("file://{}", html.display()))
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        assert!(status.success(), "chromium: {status}");
    }
    Ok(())
}
