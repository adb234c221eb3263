//! What can be told of boards and rules without running anything: dashboard-linter's rules, and that whatever they
//! refer to is there. What their queries answer is tried in `tests/e2e/boards.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const RULES: &str = include_str!("../dashboards/rules.yml");
const RULE_TESTS: &str = include_str!("../dashboards/rules-test.yml");
const RUNBOOK: &str = include_str!("../dashboards/RUNBOOK.md");
const EXCEPTIONS: &str = include_str!("../dashboards/.lint");

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards")
}

/// Every board, by the name of its file.
fn boards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(folder()).expect("the folder is there").flatten().map(|entry| entry.path());
    let boards = files.filter(|path| path.extension().is_some_and(|ending| ending == "json")).map(|path| {
        let text = fs::read_to_string(&path).expect("it can be read");
        let name = path.file_stem().expect("it has a name").to_string_lossy().into_owned();
        (name, serde_json::from_str(&text).expect("it is JSON"))
    });
    boards.collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// The panels that show something.
fn panels(board: &Value) -> impl Iterator<Item = &Value> {
    list(&board["panels"]).filter(|panel| panel["type"] != "row")
}

/// Whether `.lint` says why a panel needn't obey a rule.
fn is_excepted(rule: &str, panel: &str) -> bool {
    let after = EXCEPTIONS.split(&format!("\n  {rule}:\n")).nth(1).unwrap_or_default();
    let section = after.lines().take_while(|line| line.starts_with("    ")).collect::<Vec<_>>();
    let has_reason = section.iter().any(|line| line.trim().starts_with("reason: "));
    has_reason && section.iter().any(|line| line.trim() == format!("panel: {panel}"))
}

#[test]
fn there_are_four_boards_with_names_that_links_can_rely_on() {
    let ids: BTreeMap<String, String> =
        boards().iter().map(|(file, board)| (file.clone(), text(&board["uid"]).to_owned())).collect();
    for name in ["cluster", "service", "node", "failover"] {
        assert_eq!(ids.get(name), Some(&format!("chinthe-{name}")));
    }
    for (file, board) in boards() {
        assert_eq!((&board["schemaVersion"], &board["editable"]), (&42.into(), &false.into()), "{file}");
        assert!(list(&board["tags"]).any(|tag| tag == "chinthe"), "{file}");
        let links: BTreeSet<&str> = list(&board["links"]).map(|link| text(&link["type"])).collect();
        assert_eq!(links, BTreeSet::from(["dashboards"]), "{file}");
        let document = board.to_string();
        for target in document.split("/d/").skip(1) {
            let id: String = target.chars().take_while(|c| c.is_alphanumeric() || *c == '-').collect();
            assert!(ids.values().any(|known| *known == id), "{file}: no board is called {id}");
        }
    }
}

#[test]
fn variables_are_those_that_the_linter_wants() {
    for (file, board) in boards() {
        let variables: BTreeMap<&str, &Value> =
            list(&board["templating"]["list"]).map(|v| (text(&v["name"]), v)).collect();
        let source = variables["datasource"];
        assert_eq!(
            (&source["query"], &source["label"]),
            (&"prometheus".into(), &"Data source".into()),
            "{file}"
        );
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let variable = variables[name];
            let is = (&variable["type"], &variable["label"], &variable["multi"], &variable["allValue"]);
            assert_eq!(is, (&"query".into(), &label.into(), &true.into(), &".+".into()), "{file}: {name}");
        }
        for (name, variable) in variables.iter().filter(|(_, variable)| variable["type"] == "query") {
            assert_eq!(variable["datasource"]["uid"], "${datasource}", "{file}: {name}");
            // 2 is: when the time range changes, so that what came later can be chosen.
            assert_eq!(variable["refresh"], 2, "{file}: {name}");
            assert_eq!(variable["definition"], variable["query"]["query"], "{file}: {name}");
        }
    }
}

#[test]
fn every_panel_says_what_it_shows_and_where_from() {
    for (file, board) in boards() {
        let mut numbers = BTreeSet::new();
        for panel in panels(&board) {
            let title = format!("{file}: {}", panel["title"]);
            assert!(numbers.insert(panel["id"].to_string()), "{title}: its number is another's");
            assert!(
                !text(&panel["title"]).is_empty() && text(&panel["description"]).ends_with('.'),
                "{title}"
            );
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
            assert!(!text(&panel["fieldConfig"]["defaults"]["unit"]).is_empty(), "{title}: no unit");
            assert!(list(&panel["fieldConfig"]["defaults"]["thresholds"]["steps"]).count() > 0, "{title}");
            assert!(list(&panel["targets"]).count() > 0, "{title}: no query");
            let width = panel["gridPos"]["x"].as_u64().zip(panel["gridPos"]["w"].as_u64());
            assert!(width.is_some_and(|(x, w)| x + w <= 24), "{title}: it hangs over the edge");
        }
    }
}

#[test]
fn every_query_chooses_job_and_instance_and_counts_over_the_interval_shown() {
    for (file, board) in boards() {
        for panel in panels(&board) {
            for target in list(&panel["targets"]) {
                let (title, query) = (text(&panel["title"]), text(&target["expr"]));
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
                let selectors = query.split('{').skip(1).filter_map(|rest| rest.split('}').next());
                for selector in selectors {
                    for matcher in ["job=~\"$job\"", "cluster=~\"$cluster\"", "instance=~\"$instance\""] {
                        assert!(selector.contains(matcher), "{file}: {title}: no {matcher} in {query}");
                    }
                }
                let ranges = query.split('[').skip(1).filter_map(|rest| rest.split(']').next());
                for range in ranges.filter(|range| *range != "$__rate_interval") {
                    let excepted = is_excepted("target-rate-interval-rule", title);
                    assert!(range == "$__range" && excepted, "{file}: {title}: {range}");
                }
                // A counter by itself says nothing.
                for (at, _) in query.match_indices("_total{") {
                    let start = query[..at].rfind(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(0);
                    let before = &query[..=start];
                    let counts = ["rate(", "increase(", "changes("].iter().any(|f| before.ends_with(f));
                    assert!(counts, "{file}: {title}: a bare counter in {query}");
                }
            }
        }
    }
}

#[test]
fn every_exception_from_the_linter_is_one_and_has_its_reason() {
    let boards = boards();
    let titles: BTreeSet<&str> =
        boards.values().flat_map(panels).map(|panel| text(&panel["title"])).collect();
    let excepted = EXCEPTIONS.lines().filter_map(|line| line.trim().strip_prefix("panel: "));
    let excepted: Vec<&str> = excepted.collect();
    assert!(!excepted.is_empty());
    for panel in excepted {
        assert!(titles.contains(panel), "no panel is called {panel}");
    }
    let rules = EXCEPTIONS.lines().filter(|line| line.starts_with("  ") && line.ends_with("-rule:")).count();
    assert_eq!(EXCEPTIONS.matches("reason: ").count(), rules);
}

/// An alert's block in rules.yml, by its name.
fn alerts() -> BTreeMap<&'static str, &'static str> {
    let blocks = RULES.split("- alert: ").skip(1).map(|block| {
        let (name, rest) = block.split_once('\n').expect("a block has more than a line");
        (name, rest)
    });
    blocks.collect()
}

#[test]
fn every_alert_says_what_is_wrong_and_what_to_do() {
    let anchors: BTreeSet<String> = RUNBOOK
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
        .map(|heading| heading.to_lowercase().replace(' ', "-"))
        .collect();
    let mut used = BTreeSet::new();
    for (alert, block) in alerts() {
        for key in ["severity: ", "summary: ", "description: ", "dashboard_url: /d/chinthe-"] {
            assert!(block.contains(key), "{alert}: no `{key}`");
        }
        let link = block.lines().find_map(|line| line.trim().strip_prefix("runbook_url: RUNBOOK.md#"));
        let link = link.unwrap_or_else(|| panic!("{alert}: no paragraph"));
        assert!(anchors.contains(link), "{alert}: RUNBOOK.md has no paragraph for it");
        used.insert(link.to_owned());
    }
    assert_eq!(used, anchors, "a paragraph for an alert that isn't there");
    assert!(alerts().len() >= 25);
}

#[test]
fn every_alert_is_tried_firing_and_not_firing() {
    for alert in alerts().keys() {
        let tests: Vec<&str> = RULE_TESTS.split(&format!("alertname: {alert}\n")).skip(1).collect();
        let quiet = |rest: &&str| rest.trim_start().starts_with("exp_alerts: []");
        assert!(tests.iter().any(quiet) && !tests.iter().all(quiet), "{alert}");
    }
}
