//! The judge of the file: what is accepted, and the message and hint for each kind of mistake.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use chinthe::config::options::{Absent, Kind, SETTINGS, Setting};
use chinthe::config::{
    self, Balance, Config, Detail, Endpoint, LARGEST_FILE, PerNode, Quorum, Track, Tracked, example, parse,
    warnings,
};
use proptest::prelude::*;

/// A whole cluster in a few lines; the tables of mistakes replace one piece of it.
const GOOD: &str = r#"[cluster]
name = "myweb"
seeds = ["192.168.56.21", "192.168.56.22"]

[cluster.nodes]
ha1 = "192.168.56.21"
ha2 = "192.168.56.22"

[[check]]
name = "chk_disk"
command = ["/bin/true"]

[[vip]]
name = "vi_1"
address = "192.168.56.69/24"
interface = "eth1"
priority = { ha1 = 101, ha2 = 100 }
track = [{ service = "myweb", weight = 2 }, { check = "chk_disk", weight = -10 }]

[[service]]
name = "myweb"
listen = ["0.0.0.0:80"]

[[service.backend]]
name = "web1"
address = "192.168.56.11:80"

[[service.backend]]
name = "web2"
address = "web2.example.net:80"
"#;

fn good() -> Config {
    right(GOOD)
}

fn right(text: &str) -> Config {
    match parse(text, "test.toml") {
        Ok((config, _)) => config,
        Err(problems) => panic!("refused:\n{problems}\n{text}"),
    }
}

fn refused(text: &str) -> String {
    match parse(text, "F").map(|(_, lints)| lints) {
        Ok(lints) => panic!("accepted with {lints:?}:\n{text}"),
        Err(problems) => problems.to_string(),
    }
}

fn lints(text: &str) -> String {
    let (_, lints) = parse(text, "F").unwrap_or_else(|problems| panic!("refused:\n{problems}\n{text}"));
    warnings("F", &lints)
}

/// `GOOD` with one piece replaced.
fn with(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "nothing to replace: {from}");
    GOOD.replacen(from, to, 1)
}

#[test]
fn a_good_file_has_neither_problems_nor_lints() {
    assert_eq!(lints(GOOD), "");
}

#[test]
fn the_example_is_what_the_table_of_options_says() {
    let committed = include_str!("../config/example.toml");
    if committed != example() {
        let fresh = std::env::temp_dir().join("chinthe-example.toml");
        std::fs::write(&fresh, example()).expect("the temp folder takes a file");
        panic!("config/example.toml is out of date; {} is fresh", fresh.display());
    }
    assert_eq!(lints(committed), "");
}

#[test]
fn every_line_of_the_example_with_a_default_can_be_left_out() {
    let whole = right(&example());
    let mut without = example();
    for setting in SETTINGS {
        if let Absent::Default(text) = setting.absent {
            without = without.replace(&format!("\n{} = {text}\n", setting.key()), "\n");
        }
    }
    assert!(without.len() < example().len());
    assert_eq!(right(&without), whole);
    let inline = without
        .replace("timeout = { connect = \"5s\", client = \"50s\", server = \"50s\" }\n", "")
        .replace("check = { type = \"tcp\", interval = \"2s\", fall = 3, rise = 2 }\n", "");
    assert!(inline.len() + 100 < without.len());
    assert_eq!(right(&inline), whole);
}

#[test]
fn every_option_but_those_yet_to_come_is_in_the_example() {
    for setting in SETTINGS {
        let there = matches!(setting.kind, Kind::Later(_)) || example().contains(setting.key());
        assert!(there, "{}", setting.path);
        assert!(setting.meaning.ends_with('.'), "{}", setting.path);
        let parent = setting.path.rsplit_once('.').map_or("", |(parent, _)| parent);
        assert!(Setting::below(parent).any(|s| s.path == setting.path), "{}", setting.path);
    }
}

#[test]
fn defaults_are_those_of_the_reference() {
    let config = right(
        "[cluster]\nname = \"c\"\nseeds = []\n[[check]]\nname = \"k\"\ncommand = [\"x\"]\n\
         [[vip]]\nname = \"v\"\naddress = \"10.0.0.1\"\ninterface = \"e\"\n\
         [[service]]\nname = \"s\"\nlisten = [\"*:80\"]\n[[service.backend]]\nname = \"b\"\naddress = \"h:1\"\n",
    );
    let Config { cluster, admin, metrics, proxy, checks, vips, services } = config;
    assert_eq!(cluster.secret_file.to_str(), Some("/etc/chinthe/secret"));
    assert_eq!(cluster.quorum, Quorum::None);
    assert!(cluster.nodes.is_empty());
    assert_eq!(admin.listen.map(|at| at.to_string()).as_deref(), Some("127.0.0.1:7781"));
    assert_eq!(admin.socket.as_deref().and_then(|p| p.to_str()), Some("/run/chinthe/admin.sock"));
    assert_eq!(admin.token_file, None);
    let shown = (metrics.detail, metrics.haproxy_compat, metrics.keepalived_compat);
    assert_eq!(shown, (Detail::Full, false, false));
    assert_eq!((proxy.workers, proxy.max_connections, proxy.congestion_control), (None, None, None));
    assert_eq!((proxy.backlog, proxy.splice, proxy.spin), (4096, true, Duration::ZERO));
    let seconds = Duration::from_secs;
    assert_eq!((checks[0].interval, checks[0].timeout), (seconds(2), seconds(2)));
    assert_eq!((checks[0].fall, checks[0].rise), (3, 2));
    assert_eq!(vips[0].priority, PerNode::all(100));
    assert_eq!(vips[0].preempt, PerNode::all(true));
    assert_eq!(vips[0].advertisement_interval, Duration::from_millis(100));
    assert_eq!((vips[0].addresses[0].prefix, vips[0].track.len()), (None, 0));
    let service = &services[0];
    assert_eq!(service.balance, Balance::RoundRobin);
    assert_eq!(service.listen[0].to_string(), "0.0.0.0:80");
    assert_eq!(service.max_connections, None);
    let timeout = service.timeout;
    assert_eq!((timeout.connect, timeout.client, timeout.server), (seconds(5), seconds(50), seconds(50)));
    assert_eq!((service.check.interval, service.check.timeout), (seconds(2), seconds(2)));
    assert_eq!((service.check.fall, service.check.rise), (3, 2));
    assert_eq!(service.backends[0].weight, 1);
    assert_eq!(service.backends[0].address, Endpoint::Name("h".into(), 1));
}

#[test]
fn a_check_may_take_as_long_as_its_interval_unless_said() {
    let text = with("command = [\"/bin/true\"]", "command = [\"/bin/true\"]\ninterval = \"7s\"");
    assert_eq!(right(&text).checks[0].timeout, Duration::from_secs(7));
    let text = with("[[service.backend]]", "check.interval = \"1500ms\"\n\n[[service.backend]]");
    assert_eq!(right(&text).services[0].check.timeout, Duration::from_millis(1500));
    let text =
        with("[[service.backend]]", "check = { interval = \"2s\", timeout = \"1s\" }\n\n[[service.backend]]");
    assert_eq!(right(&text).services[0].check.timeout, Duration::from_secs(1));
}

#[test]
fn what_differs_by_node_leaves_the_default_to_the_others() {
    let vip = &good().vips[0];
    assert_eq!(vip.priority.on("ha1"), Some(&101));
    assert_eq!(vip.priority.on("ha9"), Some(&100));
    let text = with(
        "interface = \"eth1\"",
        "interface = { ha1 = \"eth1\", ha3 = \"ens3\" }\npreempt = { ha2 = false }",
    );
    let vip = &right(&text).vips[0];
    assert_eq!(vip.interface.on("ha3").map(String::as_str), Some("ens3"));
    assert_eq!(vip.interface.on("ha2"), None);
    assert_eq!((vip.preempt.on("ha1"), vip.preempt.on("ha2")), (Some(&true), Some(&false)));
}

#[test]
fn tracks_refer_to_services_and_checks() {
    let track = &good().vips[0].track;
    assert_eq!(track[0], Track { what: Tracked::Service(0), weight: 2, reverse: false });
    assert_eq!(track[1], Track { what: Tracked::Check(0), weight: -10, reverse: false });
}

#[test]
fn seeds_and_backends_take_addresses_and_names_with_and_without_port() {
    let seeds = r#"["10.0.0.1", "10.0.0.2:7000", "ha3", "ha4.example.net:7001", "2001:db8::1", "[2001:db8::2]:7002", "[2001:db8::3]"]"#;
    let text = with(r#"["192.168.56.21", "192.168.56.22"]"#, seeds);
    let address = |text: &str| Endpoint::Address(text.parse().expect("an address"));
    assert_eq!(
        right(&text).cluster.seeds,
        [
            address("10.0.0.1:7780"),
            address("10.0.0.2:7000"),
            Endpoint::Name("ha3".into(), 7780),
            Endpoint::Name("ha4.example.net".into(), 7001),
            address("[2001:db8::1]:7780"),
            address("[2001:db8::2]:7002"),
            address("[2001:db8::3]:7780"),
        ]
    );
}

#[test]
fn empty_text_turns_the_admin_addresses_off() {
    let text = format!("[admin]\nlisten = \"\"\nsocket = \"\"\n{GOOD}");
    let admin = right(&text).admin;
    assert_eq!((admin.listen, admin.socket), (None, None));
}

#[test]
fn several_addresses_move_together() {
    let text =
        with("address = \"192.168.56.69/24\"", "addresses = [\"192.168.56.69\", \"192.168.56.70/32\"]");
    let addresses = &right(&text).vips[0].addresses;
    let ips: Vec<IpAddr> = addresses.iter().map(|address| address.ip).collect();
    assert_eq!(ips, ["192.168.56.69".parse::<IpAddr>().expect("one"), "192.168.56.70".parse().expect("one")]);
    assert_eq!((addresses[0].prefix, addresses[1].prefix), (None, Some(32)));
}

#[test]
fn each_mistake_has_its_message_and_hint() {
    // What is replaced, by what, and all that is said.
    let table = include_str!("config/mistakes.txt");
    let mut wrong = String::new();
    let mut count = 0;
    for case in table.split("\n====\n").map(str::trim).filter(|case| !case.is_empty()) {
        let [from, to, expected] = case.split("\n--\n").collect::<Vec<_>>()[..] else {
            panic!("a case has three parts:\n{case}");
        };
        count += 1;
        let found = refused(&with(&from.replace("\\n", "\n"), &to.replace("\\n", "\n")));
        if found.trim() != expected.trim() {
            let _ = writeln!(wrong, "{from}\n--\n{to}\n--\n{}\n====", found.trim());
        }
    }
    assert!(count > 60, "{count}");
    assert!(wrong.is_empty(), "found instead:\n{wrong}");
}

#[test]
fn each_oddity_has_its_warning_and_hint() {
    let table = include_str!("config/oddities.txt");
    let mut wrong = String::new();
    for case in table.split("\n====\n").map(str::trim).filter(|case| !case.is_empty()) {
        let [from, to, expected] = case.split("\n--\n").collect::<Vec<_>>()[..] else {
            panic!("a case has three parts:\n{case}");
        };
        let found = lints(&with(&from.replace("\\n", "\n"), &to.replace("\\n", "\n")));
        if found.trim() != expected.trim() {
            let _ = writeln!(wrong, "{from}\n--\n{to}\n--\n{}\n====", found.trim());
        }
    }
    assert!(wrong.is_empty(), "found instead:\n{wrong}");
}

#[test]
fn every_mistake_is_told_at_once_in_the_files_order() {
    let text = with("name = \"myweb\"", "nmae = \"myweb\"")
        .replace("weight = 2", "weight = 300")
        .replace("192.168.56.11:80", "192.168.56.11")
        .replace("interface = \"eth1\"", "interface = 1")
        .replace("listen = [\"0.0.0.0:80\"]", "listen = []");
    let problems = parse(&text, "F").expect_err("five mistakes");
    let lines: Vec<usize> = problems.list.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 2, 16, 18, 22, 26]);
    assert!(problems.list.iter().all(|problem| problem.hint.is_some()), "{problems}");
}

#[test]
fn beside_a_syntax_error_other_mistakes_are_told_and_none_is_made_up() {
    let text =
        with("name = \"myweb\"", "name = myweb").replace("interface = \"eth1\"", "interfaze = \"eth1\"");
    assert_eq!(
        refused(&text),
        "error: F:2:8: string values must be quoted\n\
         hint: put it in quotes: `name = \"myweb\"`\n\
         error: F:16:1: unknown key `interfaze` in `vip`\n\
         hint: did you mean `interface`?\n"
    );
}

#[test]
fn a_file_beyond_all_measure_is_refused_unread() {
    let text = format!("{GOOD}#{}", "x".repeat(LARGEST_FILE));
    let said = refused(&text);
    assert!(said.starts_with("error: F:1:1: the file has more than 1048576 bytes"), "{said}");
}

#[test]
fn a_large_file_of_mistakes_is_judged_without_delay() {
    let mut text = GOOD.to_owned();
    while text.len() < 200_000 {
        text.push_str(
            "[[vip]]\nname = \"v\"\ntrack = [{ service = \"mywep\" }, { check = \"no\" }]\nx = 1\n",
        );
    }
    assert!(refused(&text).len() > 100_000);
    let deep = "a.".repeat(100_000) + "a = 1";
    refused(&deep);
    refused(&format!("a = {}", "[".repeat(100_000)));
}

#[test]
fn the_digest_is_public() {
    let digest = config::digest(&good());
    assert_eq!(config::short_hex(&digest).len(), 8);
}

proptest! {
    #[test]
    fn any_text_is_judged_without_a_panic(text in ".{0,400}") {
        let _ = parse(&text, "F").map_err(|problems| problems.to_string());
    }

    #[test]
    fn a_mutated_file_is_judged_without_a_panic(
        at in 0..GOOD.len(), cut in 0_usize..40, insert in "[\\[\\]{}=\"'a-z0-9.:/#\n é-]{0,12}"
    ) {
        let end = (at + cut).min(GOOD.len());
        let text = format!("{}{insert}{}", &GOOD[..at], &GOOD[end..]);
        if let Err(problems) = parse(&text, "F") {
            prop_assert!(!problems.list.is_empty());
            for problem in &problems.list {
                prop_assert!(problem.line >= 1 && problem.column >= 1);
            }
            prop_assert!(problems.to_string().starts_with("error: F:"));
        }
    }
}
