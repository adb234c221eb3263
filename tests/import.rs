//! Importing keepalived and haproxy files: the post's three, byte for byte, and constructs found in the wild.

use std::fmt::Write as _;

use chinthe::config::{self, Config, Tracked};
use chinthe::import::{ImportError, Imported, Severity, import};
use proptest::prelude::*;

const HAPROXY: &str = include_str!("fixtures/post/haproxy.cfg");
const HA1: &str = include_str!("fixtures/post/keepalived-ha1.conf");
const HA2: &str = include_str!("fixtures/post/keepalived-ha2.conf");

fn files(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn the_post() -> Imported {
    let keepalived = files(&[("keepalived-ha1.conf", HA1), ("keepalived-ha2.conf", HA2)]);
    import(&keepalived, &files(&[("haproxy.cfg", HAPROXY)])).expect("the post's files make a cluster")
}

/// Imports one file of each kind; an empty text is no file.
fn both(keepalived: &str, haproxy: &str) -> Result<Imported, ImportError> {
    let some = |name, text: &str| if text.is_empty() { Vec::new() } else { files(&[(name, text)]) };
    import(&some("keepalived-n1.conf", keepalived), &some("haproxy.cfg", haproxy))
}

fn config(imported: &Imported) -> Config {
    config::parse(&imported.toml, "imported")
        .unwrap_or_else(|problems| panic!("{problems}\n{}", imported.toml))
        .0
}

fn said(imported: &Imported, severity: Severity) -> Vec<String> {
    imported.report.iter().filter(|line| line.severity == severity).map(ToString::to_string).collect()
}

#[track_caller]
fn assert_said(imported: &Imported, line: &str) {
    let all: Vec<String> = imported.report.iter().map(ToString::to_string).collect();
    assert!(all.iter().any(|said| said == line), "not said: {line}\n{}", all.join("\n"));
}

#[test]
fn the_posts_files_make_the_committed_cluster() {
    let imported = the_post();
    if imported.toml != include_str!("../config/post.toml") {
        let fresh = std::env::temp_dir().join("chinthe-post.toml");
        std::fs::write(&fresh, &imported.toml).expect("the temp folder takes a file");
        panic!("config/post.toml is out of date; {} is fresh", fresh.display());
    }
    let (_, lints) = config::parse(&imported.toml, "post.toml").expect("it passes");
    assert_eq!(lints, []);
}

#[test]
fn the_posts_files_are_carried_over_whole() {
    let imported = the_post();
    assert_eq!(said(&imported, Severity::LeftOut), Vec::<String>::new());
    assert_eq!(imported.status(), 0);
}

#[test]
fn what_is_broken_in_the_post_is_repaired_and_said() {
    let repaired = said(&the_post(), Severity::Repaired);
    let expected = |file: &str, state: &str| {
        [
            format!(
                "repaired: {file}:3: the quotes around `killall -0 haproxy` are typographic ones, which keepalived takes for letters: made straight"
            ),
            format!(
                "repaired: {file}:11: `state {state}`: keepalived knows {} only and ignores this; the priorities decide",
                state.to_uppercase()
            ),
            format!(
                "repaired: {file}:22: the password has 14 characters, and keepalived uses the first 8: cut"
            ),
        ]
    };
    let both =
        [expected("keepalived-ha1.conf", "master"), expected("keepalived-ha2.conf", "backup")].concat();
    assert_eq!(repaired, both);
}

#[test]
fn what_the_post_does_in_another_way_is_said() {
    let imported = the_post();
    for line in [
        "note: keepalived-ha1.conf:2: script chk_haproxy: `killall` asks whether the proxy is alive; tracking `myweb` tells at once, and whether a backend is up",
        "note: keepalived-ha1.conf:13: `advert_int 2`: chinthe nodes tell each other every 100ms; kept as a comment",
        "note: keepalived-ha1.conf:14: `virtual_router_id 101`: between chinthe nodes it isn't needed; kept as a comment",
        "note: haproxy.cfg:4: `chroot /var/lib/haproxy` is about haproxy's own process",
        "note: haproxy.cfg:23: `option httplog` isn't needed",
        "note: haproxy.cfg:39: `mode tcp` overrides `mode http` of the defaults for frontend myweb",
        "note: haproxy.cfg:43: `mode tcp` overrides `mode http` of the defaults for backend web-servers",
    ] {
        assert_said(&imported, line);
    }
}

#[test]
fn the_posts_priorities_are_those_of_its_nodes() {
    let config = config(&the_post());
    let vip = &config.vips[0];
    assert_eq!((vip.priority.on("ha1"), vip.priority.on("ha2")), (Some(&101), Some(&100)));
    assert_eq!((vip.track[0].what, vip.track[0].weight), (Tracked::Service(0), 2));
}

#[test]
fn one_nodes_file_alone_makes_a_cluster_with_its_peers_as_seeds() {
    let imported =
        import(&files(&[("/etc/keepalived/keepalived-ha1.conf", HA1)]), &[]).expect("it holds a VIP");
    let config = config(&imported);
    assert_eq!(config.cluster.seeds.len(), 2);
    assert_eq!(config.cluster.nodes.keys().collect::<Vec<_>>(), ["ha1"]);
    // Without haproxy's file the script is a check like any other.
    assert_eq!(config.checks[0].command, ["killall", "-0", "haproxy"]);
    assert_eq!(imported.status(), 0);
}

#[test]
fn haproxys_file_alone_makes_services_without_peers() {
    let imported = both("", HAPROXY).expect("it holds a service");
    assert_said(&imported, "note: haproxy.cfg: no peers are known: name the other nodes in `seeds`");
    let config = config(&imported);
    assert!(config.vips.is_empty() && config.cluster.seeds.is_empty());
    assert_eq!(config.services[0].backends.len(), 2);
}

#[test]
fn router_id_names_a_node_unless_two_have_the_same() {
    let with_id = |id: &str, text: &str| format!("global_defs {{\n  router_id {id}\n}}\n{text}");
    let with_ids = |ids: [&str; 2]| {
        let nodes = [with_id(ids[0], HA1), with_id(ids[1], HA2)];
        let imported =
            import(&files(&[("a/keepalived.conf", &nodes[0]), ("b/keepalived.conf", &nodes[1])]), &[]);
        let imported = imported.expect("a VIP is there");
        (config(&imported).cluster.nodes.into_keys().collect::<Vec<_>>(), said(&imported, Severity::Repaired))
    };
    assert_eq!(with_ids(["lb-1", "lb-2"]).0, ["lb-1", "lb-2"]);
    let (names, repaired) = with_ids(["LVS_DEVEL", "LVS_DEVEL"]);
    assert_eq!(names, ["a", "b"]);
    assert!(repaired.contains(
        &"repaired: b/keepalived.conf:2: several nodes are called `LVS_DEVEL`: this one is `b`".to_owned()
    ));
}

const INSTANCE: &str = "vrrp_instance VI_1 {\n  interface eth0\n  priority 150\n  unicast_src_ip 10.0.0.1\n  unicast_peer {\n    10.0.0.2\n  }\n  virtual_ipaddress { 10.0.0.9/24 dev eth0 }\n";

#[test]
fn other_scripts_become_checks_with_their_weight() {
    let text = format!(
        "vrrp_script apiserver {{\n script \"/usr/local/bin/check arg\"\n interval 3\n weight -20\n fall 10\n rise 2\n timeout 2\n}}\n{INSTANCE}  track_script {{\n    apiserver\n    missing\n  }}\n}}\n"
    );
    let imported = both(&text, "").expect("a VIP is there");
    let config = config(&imported);
    let check = &config.checks[0];
    assert_eq!(check.command, ["/usr/local/bin/check", "arg"]);
    assert_eq!((check.interval.as_secs(), check.timeout.as_secs(), check.fall, check.rise), (3, 2, 10, 2));
    assert_eq!((config.vips[0].track[0].what, config.vips[0].track[0].weight), (Tracked::Check(0), -20));
    assert_said(
        &imported,
        "left out: keepalived-n1.conf:19: there is no script `missing` to track, and keepalived ignores it",
    );
    assert_eq!(imported.status(), 1);
}

#[test]
fn nothing_unknown_is_dropped_in_silence() {
    let keepalived = format!(
        "{INSTANCE}  frobnicate 1\n  notify /bin/x\n  track_interface {{ eth1 }}\n}}\nvirtual_server 10.0.0.9 80 {{\n}}\nblah\n"
    );
    let haproxy = "orphan\nglobal\n  magic 1\nfrontend f\n  bind *:80 interface eth0\n  acl a path /\n  wizardry\n  default_backend b\nbackend b\n  balance source\n  option httpchk GET /\n  server s1 10.0.0.3:80 check maxconn 5\n  server s2 10.0.0.4:80 check inter 5s\n  server s3 10.0.0.5:80 backup\npeers p\n";
    let imported = both(&keepalived, haproxy).expect("a VIP and a service are there");
    let expected = [
        "left out: keepalived-n1.conf:9: `frobnicate 1` is not known",
        "left out: keepalived-n1.conf:10: `notify /bin/x`: nothing is run or sent at a transition",
        "left out: keepalived-n1.conf:11: `track_interface` has no counterpart",
        "left out: keepalived-n1.conf:13: `virtual_server 10.0.0.9 80` has no counterpart",
        "left out: keepalived-n1.conf:15: `blah` is not known",
        "left out: haproxy.cfg:1: `orphan` stands before the first section",
        "left out: haproxy.cfg:3: `magic 1` is not known",
        "left out: haproxy.cfg:5: `interface eth0` of `bind *:80` has no counterpart",
        "left out: haproxy.cfg:6: `acl a path /` has no counterpart",
        "left out: haproxy.cfg:7: `wizardry` is not known",
        "left out: haproxy.cfg:10: `balance source`: connections are spread in turn",
        "left out: haproxy.cfg:11: `option httpchk GET /`: a check opens a connection, and that is all",
        "left out: haproxy.cfg:12: `maxconn 5` of server s1 has no counterpart",
        "left out: haproxy.cfg:13: server s2 is checked like the first: a service has one `check`",
        "left out: haproxy.cfg:14: server s3: `backup` has no counterpart, so it gets no connections",
        "left out: haproxy.cfg:15: `peers p` has no counterpart",
    ];
    assert_eq!(said(&imported, Severity::LeftOut), expected);
}

#[test]
fn sections_inherit_from_the_defaults_before_them_or_by_name() {
    let text = "defaults slow\n timeout server 1h\n timeout client 2m\n timeout connect 1500\ndefaults\n timeout connect 3s\n default-server inter 5s fall 4 rise 1\nlisten one\n bind :::80\n bind *:81,10.0.0.1:82\n server a 10.0.0.3 check weight 7\n server a web.example.net:80 check\nlisten two from slow\n bind :90\n server b ipv4@10.0.0.3:80 check\n";
    let imported = both("", text).expect("two services are there");
    let config = config(&imported);
    let [one, two] = &config.services[..] else { panic!("two services: {}", imported.toml) };
    assert_eq!((one.timeout.connect.as_secs(), one.timeout.client.as_secs()), (3, 50));
    assert_eq!((one.check.interval.as_secs(), one.check.fall, one.check.rise), (5, 4, 1));
    assert_eq!(
        one.listen.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["[::]:80", "0.0.0.0:81", "10.0.0.1:82"]
    );
    assert_eq!((two.timeout.connect.as_millis(), two.timeout.server.as_secs()), (1500, 3600));
    assert_eq!((two.check.interval.as_secs(), two.check.fall, two.check.rise), (2, 3, 2));
    // Without a port of its own and with several to listen on, there is none to take.
    assert_said(
        &imported,
        "left out: haproxy.cfg:11: server a: `10.0.0.3` is no address that can be reached by TCP",
    );
}

#[test]
fn http_is_carried_as_tcp_and_said_to_be() {
    let text = "defaults\n mode http\n timeout connect 1s\n timeout client 1s\n timeout server 1s\nfrontend f\n bind *:80\n http-request set-header A b\n default_backend b\nbackend b\n server s 10.0.0.3:80 check\nlisten stats\n bind *:8404\n stats enable\nfrontend tls\n bind *:443 ssl crt /x.pem\n default_backend b\n";
    let imported = both("", text).expect("a service is there");
    let expected = [
        "left out: haproxy.cfg:6: frontend f, backend b: `mode http` is carried as TCP: nothing inside HTTP is looked at or changed",
        "left out: haproxy.cfg:8: `http-request set-header A b`: connections are carried, nothing inside HTTP is looked at",
        "left out: haproxy.cfg:15: frontend tls, backend b: no address is left to listen on",
        "left out: haproxy.cfg:16: `ssl` has no counterpart, so *:443 is not listened on",
    ];
    assert_eq!(said(&imported, Severity::LeftOut), expected);
    assert_said(
        &imported,
        "note: haproxy.cfg:12: `listen stats`: status and metrics are at chinthe's own admin address",
    );
    assert_eq!(config(&imported).services.len(), 1);
}

#[test]
fn a_nodes_own_interface_and_patience_are_kept() {
    let other = HA2.replace("eth1", "ens3").replace("state backup", "nopreempt");
    let imported = import(&files(&[("ha1.conf", HA1), ("ha2.conf", &other)]), &[]).expect("a VIP is there");
    let vip = &config(&imported).vips[0];
    assert_eq!(vip.interface.on("ha1").map(String::as_str), Some("eth1"));
    assert_eq!(vip.interface.on("ha2").map(String::as_str), Some("ens3"));
    assert_eq!((vip.preempt.on("ha1"), vip.preempt.on("ha2")), (Some(&true), Some(&false)));
}

#[test]
fn the_same_haproxy_file_of_two_nodes_counts_once() {
    let keepalived = files(&[("keepalived-ha1.conf", HA1), ("keepalived-ha2.conf", HA2)]);
    let haproxy = files(&[("ha1/haproxy.cfg", HAPROXY), ("ha2/haproxy.cfg", HAPROXY)]);
    let imported = import(&keepalived, &haproxy).expect("the post's files make a cluster");
    assert_eq!(imported.status(), 0);
    assert_eq!(config(&imported).services.len(), 1);
}

#[test]
fn weights_of_many_services_do_not_add_up_to_a_tie() {
    let haproxy = "listen a\n bind *:80\n server s 10.0.0.3:80 check\nlisten b\n bind *:81\n server s 10.0.0.3:81 check\n";
    let keepalived = format!(
        "vrrp_script c {{\n script 'pidof haproxy'\n weight 60\n}}\n{INSTANCE} track_script {{\n c\n }}\n}}\n"
    );
    let imported = both(&keepalived, haproxy).expect("a VIP and services are there");
    let weights: Vec<i16> = config(&imported).vips[0].track.iter().map(|track| track.weight).collect();
    assert_eq!(weights, [-60, -60]);
}

#[test]
fn files_that_hold_nothing_are_refused_with_what_was_found() {
    let error = both("vrrp_instance x {\n}\n", "global\n daemon\n").expect_err("nothing is there");
    assert!(matches!(error, ImportError::Nothing { .. }));
    assert_eq!(error.report().len(), 2);
    assert!(matches!(import(&[], &[]), Err(ImportError::NoFile)));
    let large = "#".repeat(config::LARGEST_FILE + 1);
    assert!(matches!(both(&large, ""), Err(ImportError::TooLarge { .. })));
}

/// Whatever comes in, the result is accepted by our own judge or refused for holding nothing.
fn never_refused(keepalived: &str, haproxy: &str) -> Result<(), TestCaseError> {
    match both(keepalived, haproxy) {
        Ok(_) | Err(ImportError::Nothing { .. } | ImportError::NoFile | ImportError::TooLarge { .. }) => {
            Ok(())
        }
        Err(error @ ImportError::Refused { .. }) => Err(TestCaseError::fail(error.to_string())),
    }
}

fn mutated(text: &str, at: usize, cut: usize, insert: &str) -> String {
    let boundary = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = boundary(at % text.len());
    let end = boundary((start + cut).min(text.len())).max(start);
    format!("{}{insert}{}", &text[..start], &text[end..])
}

proptest! {
    #[test]
    fn any_text_is_imported_or_refused_without_a_panic(keepalived in ".{0,200}", haproxy in ".{0,200}") {
        let _ = both(&keepalived, &haproxy);
    }

    #[test]
    fn a_mutated_file_never_makes_a_wrong_one(
        at in any::<usize>(), cut in 0_usize..60, insert in "[a-z0-9{}#!\"'“ \n./:-]{0,16}"
    ) {
        never_refused(&mutated(HA1, at, cut, &insert), HAPROXY)?;
        never_refused(HA1, &mutated(HAPROXY, at, cut, &insert))?;
    }

    #[test]
    fn two_nodes_with_any_instances_make_a_right_file(
        choices in proptest::collection::vec((0_usize..2, 0..3_u8, 1..4_u8, 1..4_u8, 0..3_i16, any::<bool>()), 1..6)
    ) {
        let scripts = "vrrp_script s0 {\n script x\n}\nvrrp_script s1 {\n script \"pidof haproxy\"\n}\n";
        let mut texts = [scripts.to_owned(), scripts.to_owned()];
        for (node, name, address, source, weight, patient) in choices {
            let patience = if patient { "nopreempt" } else { "preempt" };
            let _ = write!(
                texts[node],
                "vrrp_instance v{name} {{\n interface e{source}\n priority 25{name}\n {patience}\n unicast_src_ip 10.0.1.{source}\n virtual_ipaddress {{\n 10.0.0.{address}\n 10.0.0.{}/8\n}}\n track_script {{\n s{} weight {weight}\n}}\n}}\n",
                address + 1,
                name % 2
            );
        }
        let nodes = files(&[("n1.conf", &texts[0]), ("n2.conf", &texts[1])]);
        let imported = import(&nodes, &files(&[("haproxy.cfg", HAPROXY)])).expect("there is a service at least");
        prop_assert!(config(&imported).vips.len() <= 6);
    }

    #[test]
    fn known_words_in_any_order_never_make_a_wrong_file(
        keepalived in proptest::collection::vec(proptest::sample::select(vec![
            "vrrp_instance", "a", "b.c", "é é", "{", "}", "\n", "\n", "virtual_ipaddress", "10.0.0.1/24", "127.0.0.1", "fe80::1",
            "priority", "255", "interface", "eth0", "track_script", "weight", "-3", "vrrp_script", "script", "\"x y\"", "unicast_peer",
            "unicast_src_ip", "router_id", "global_defs", "advert_int", "0.01", "virtual_router_id", "7", "nopreempt",
        ]), 0..80),
        haproxy in proptest::collection::vec(proptest::sample::select(vec![
            "listen", "frontend", "backend", "defaults", "x", "y.z", "\n", "\n", "\n", "bind", "*:80", ":::80", "10.0.0.1:7781", "*:1-9",
            "server", "10.0.0.2:80", "host", "[::1]:9", "check", "inter", "1", "5s", "999h", "fall", "0", "rise", "weight", "300",
            "default_backend", "timeout", "client", "connect", "tunnel", "mode", "http", "tcp", "balance", "from", "ssl", "backup",
        ]), 0..80),
    ) {
        never_refused(&keepalived.join(" "), &haproxy.join(" "))?;
        // As several nodes, which share whatever the halves have in common.
        let (first, second) = keepalived.split_at(keepalived.len() / 2);
        let nodes = files(&[("a.conf", &second.join(" ")), ("b.conf", &keepalived.join(" ")), ("c.conf", &first.join(" "))]);
        if let Err(error @ ImportError::Refused { .. }) = import(&nodes, &[]) {
            return Err(TestCaseError::fail(error.to_string()));
        }
    }
}
