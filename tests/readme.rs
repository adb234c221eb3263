//! What the README says: its commands, its configuration, its metrics and its files are there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chinthe::config;
use chinthe::core::Cause;
use chinthe::telemetry::{
    Exposition, Layout, Metrics, Sample, TrackSample, VOCABULARY, VipLayout, VipSample,
};

const README: &str = include_str!("../README.md");

/// What is written between "```LANGUAGE" and "```".
fn blocks(language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut lines = README.lines();
    while let Some(line) = lines.next() {
        if let Some(found) = line.strip_prefix("```") {
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            if found == language {
                blocks.push(block.join("\n"));
            }
        }
    }
    blocks
}

/// The rows of the table whose header begins so; the cells of each.
fn table(header: &str) -> Vec<Vec<&'static str>> {
    let cells = |line: &'static str| line.trim_matches('|').split('|').map(str::trim).collect();
    let mut rows = README.lines().skip_while(|line| !line.starts_with(header)).skip(2);
    let rows = rows.by_ref().take_while(|line| line.starts_with('|')).map(cells).collect::<Vec<_>>();
    assert!(!rows.is_empty(), "there is no table `{header}`");
    rows
}

fn unquoted(cell: &str) -> String {
    cell.replace('`', "")
}

fn help(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_chinthe"))
        .args(arguments)
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .expect("the program can be started");
    assert!(output.status.success(), "`chinthe {}` doesn't exist", arguments.join(" "));
    String::from_utf8(output.stdout).expect("help is text")
}

#[test]
fn the_two_commands_for_a_fresh_machine_stand_on_the_first_screen() {
    let first: Vec<&str> = README.lines().take(60).collect();
    for command in ["cargo run --release -- lab --script demo", "tests/run"] {
        assert!(first.iter().any(|line| line.starts_with(command)), "`{command}`");
    }
}

#[test]
fn every_command_shown_exists_with_its_options() {
    let commands = blocks("sh");
    let commands = commands.iter().flat_map(|block| block.lines());
    let ours = commands.filter_map(|line| {
        line.strip_prefix("chinthe ").or_else(|| line.strip_prefix("cargo run --release -- "))
    });
    let mut seen = 0;
    for command in ours {
        let words: Vec<&str> = command.split_whitespace().take_while(|word| *word != "#").collect();
        let help = help(&words[..1]);
        for option in words.iter().filter(|word| word.starts_with("--")) {
            assert!(help.contains(option), "`chinthe {command}`: no `{option}`");
        }
        seen += 1;
    }
    assert!(seen >= 3, "only {seen} found");
}

#[test]
fn the_table_of_commands_names_them_all() {
    let told: BTreeSet<String> = table("| command | exit status")
        .iter()
        .map(|row| unquoted(row[0]).trim_start_matches("chinthe ").to_owned())
        .collect();
    let help = help(&[]);
    let listed = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let there: BTreeSet<String> = listed
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next().map(str::to_owned))
        .collect();
    assert_eq!(told, there);
}

#[test]
fn the_configuration_shown_is_the_one_that_the_import_writes() {
    let [shown] = &blocks("toml")[..] else { panic!("one configuration is shown") };
    let digest = |text: &str| {
        let (config, _) = config::parse(text, "it").expect("it is valid");
        config::digest(&config)
    };
    assert_eq!(digest(shown), digest(include_str!("../config/post.toml")));
}

#[test]
fn the_table_of_metrics_is_what_a_scrape_shows() {
    let layout = Layout {
        vips: vec![VipLayout { name: "a".to_owned(), ..VipLayout::default() }],
        services: vec![("b".to_owned(), vec!["c".to_owned()])],
        checks: vec!["d".to_owned()],
        ..Layout::default()
    };
    // What only exists while there is somebody to name.
    let tracks = vec![TrackSample::default()];
    let vip = VipSample { holder: Some("e".to_owned()), tracks, ..VipSample::default() };
    let heard = vec![("f".to_owned(), Duration::ZERO)];
    let admin_requests = vec![("/", 200, 0)];
    let sample = Sample { vips: vec![vip], heard, admin_requests, ..Sample::default() };
    let scrape = Metrics::new(layout).render(Exposition::Text, &sample);
    let mut there: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut family = String::new();
    for line in scrape.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            rest.split(' ').next().expect("a name").clone_into(&mut family);
            there.insert(family.clone(), BTreeSet::new());
        } else if let Some((_, labels)) = line.split_once('{') {
            let names = labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
            let names = names.filter(|name| *name != "le").map(str::to_owned);
            there.get_mut(&family).expect("its family is named above").extend(names);
        }
    }
    let told: BTreeMap<String, BTreeSet<String>> = table("| name | labels | meaning")
        .iter()
        .map(|row| {
            let labels = row[1].split(", ").filter(|label| !label.is_empty()).map(str::to_owned);
            (unquoted(row[0]), labels.collect())
        })
        .collect();
    assert_eq!(told, there);
}

#[test]
fn the_table_of_causes_names_them_all() {
    let told: BTreeSet<String> = table("| cause |").iter().map(|row| unquoted(row[0])).collect();
    let there: BTreeSet<String> = Cause::ALL.iter().map(|cause| cause.as_str().to_owned()).collect();
    assert_eq!(told, there);
}

#[test]
fn the_table_of_events_is_the_vocabulary() {
    let told: Vec<Vec<String>> = table("| event | level")
        .iter()
        .map(|row| row[..3].iter().map(|cell| unquoted(cell)).collect())
        .collect();
    let there: Vec<Vec<String>> = VOCABULARY
        .iter()
        .map(|kind| vec![kind.name.to_owned(), kind.level.as_str().to_lowercase(), kind.fields.join(", ")])
        .collect();
    assert_eq!(told, there);
}

#[test]
fn every_file_linked_to_is_there() {
    let links = README.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    for link in links.filter(|link| !link.starts_with("http")) {
        assert!(Path::new(env!("CARGO_MANIFEST_DIR")).join(link).exists(), "{link}");
    }
}
