//! What public boards ask of haproxy's own exporter and of the usual one beside keepalived, asked of a cluster that has
//! both compatibility options on: what has a true number here has an answer, under the labels that the boards group
//! and name by; what has none is listed in dashboards/README.md, and isn't there.

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::path::Path;
use std::time::Instant;

use crate::boards::{has_number, names, series};

/// What Grafana's board 12693 lets its reader choose, and what a reader of this cluster would.
const CHOSEN: [(&str, &str); 5] = [
    ("$host", "192.168.56.22:7781"),
    ("$frontend", "(myweb)"),
    ("$backend", "(myweb)"),
    ("$server", "(web1|web2)"),
    ("$interval", "30s"),
];

/// Where that choice comes from: a family, and the label whose values are offered.
const CHOICES: [(&str, &str); 5] = [
    ("haproxy_process_nbproc", "instance"),
    ("haproxy_frontend_status{instance=\"$host\"}", "proxy"),
    ("haproxy_backend_status{instance=\"$host\"}", "proxy"),
    ("haproxy_server_status{instance=\"$host\"}", "server"),
    ("keepalived_vrrp_state", "instance"),
];

/// What is asked of one family of haproxy's: its kind of thing, its name after that, and what is done with it.
struct Asked {
    of: Thing,
    what: &'static [&'static str],
}

#[derive(Clone, Copy)]
enum Thing {
    Process,
    Frontend,
    Backend,
    Server,
}

impl Thing {
    /// What its families' names begin with, how its series are chosen, and by which labels they are told apart.
    fn asks(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Process => ("haproxy_process_", "instance=\"$host\"", &["instance"]),
            Self::Frontend => {
                ("haproxy_frontend_", "proxy=~\"$frontend\",instance=\"$host\"", &["instance", "proxy"])
            }
            Self::Backend => {
                ("haproxy_backend_", "proxy=~\"$backend\",instance=\"$host\"", &["instance", "proxy"])
            }
            Self::Server => (
                "haproxy_server_",
                "proxy=~\"$backend\",server=~\"$server\",instance=\"$host\"",
                &["instance", "proxy", "server"],
            ),
        }
    }
}

/// Of a proxy in TCP mode.
const HAPROXY: [Asked; 4] = [
    Asked {
        of: Thing::Process,
        what: &[
            "bytes_out_total",
            "connections_total",
            "current_connections",
            "dropped_logs_total",
            "hard_max_connections",
            "max_connections",
            "max_fds",
            "nbproc",
            "nbthread",
            "requests_total",
            "start_time_seconds",
            "uptime_seconds",
        ],
    },
    Asked {
        of: Thing::Frontend,
        what: &[
            "bytes_in_total",
            "bytes_out_total",
            "connections_total",
            "current_sessions",
            "denied_connections_total",
            "denied_sessions_total",
            "internal_errors_total",
            "limit_sessions",
            "sessions_total",
            "status",
        ],
    },
    Asked {
        of: Thing::Backend,
        what: &[
            "active_servers",
            "backup_servers",
            "bytes_in_total",
            "bytes_out_total",
            "check_up_down_total",
            "client_aborts_total",
            "connect_time_average_seconds",
            "connection_attempts_total",
            "connection_errors_total",
            "current_queue",
            "current_sessions",
            "internal_errors_total",
            "limit_sessions",
            "loadbalanced_total",
            "redispatch_warnings_total",
            "retry_warnings_total",
            "sessions_total",
            "status",
            "uweight",
            "weight",
        ],
    },
    Asked {
        of: Thing::Server,
        what: &[
            "bytes_in_total",
            "bytes_out_total",
            "check_duration_seconds",
            "check_failures_total",
            "check_last_change_seconds",
            "check_up_down_total",
            "connection_attempts_total",
            "connection_errors_total",
            "current_queue",
            "current_sessions",
            "loadbalanced_total",
            "sessions_total",
            "status",
            "used_connections_current",
            "uweight",
            "weight",
        ],
    },
];

/// What the boards make of several families, or with numbers of their own; alerts do so as well.
const COMBINED: [&str; 12] = [
    "time() - haproxy_process_start_time_seconds{instance=\"$host\"}",
    "haproxy_process_current_connections{instance=\"$host\"} / haproxy_process_max_connections{instance=\"$host\"}",
    "sum(haproxy_frontend_current_sessions{proxy=~\"$frontend\",instance=\"$host\"}) / \
     sum(haproxy_frontend_limit_sessions{proxy=~\"$frontend\",instance=\"$host\"})",
    "sum(irate(haproxy_frontend_bytes_in_total{proxy=~\"$frontend\",instance=\"$host\"}[$interval]) * 8) by (instance)",
    "sum(irate(haproxy_backend_bytes_out_total{proxy=~\"$backend\",instance=\"$host\"}[$interval]) * 8) by (instance)",
    "count(haproxy_server_status{state=\"UP\",proxy=~\"$backend\",instance=\"$host\"} == 1) by (proxy)",
    "sum(haproxy_server_status{state=\"DOWN\",instance=\"$host\"})",
    "max_over_time(haproxy_server_status{state=\"DOWN\",server=\"web1\"}[10m]) == 1",
    "sum(keepalived_vrrp_state == 2) by (iname)",
    "count(keepalived_vrrp_state{vrid=\"0\"} == 1) by (iname)",
    "changes(keepalived_vrrp_state{instance=~\".+\"}[10m])",
    "sum(increase(keepalived_become_master_total[10m])) by (iname, intf)",
];

/// Of the usual exporter beside keepalived; every family but the first has `iname`, `intf` and `vrid`.
const KEEPALIVED: [&str; 8] = [
    "keepalived_up",
    "keepalived_vrrp_state",
    "keepalived_advertisements_received_total",
    "keepalived_advertisements_sent_total",
    "keepalived_authentication_failure_total",
    "keepalived_become_master_total",
    "keepalived_packet_length_errors_total",
    "keepalived_release_master_total",
];

/// What is wrong with the answers, on a cluster that has been watched since `began`.
pub(crate) fn judge(began: Instant) -> Result<Vec<String>, Box<dyn Error>> {
    let mut queries: Vec<(String, &[&str])> = Vec::new();
    for Asked { of, what } in &HAPROXY {
        let (prefix, chosen, labels) = of.asks();
        for name in *what {
            let name = format!("{prefix}{name}");
            if name.ends_with("_status") {
                queries.push((format!("{name}{{{chosen},state=\"UP\"}}"), labels));
            } else {
                queries.extend(forms(&name, chosen, labels));
            }
        }
    }
    for name in KEEPALIVED {
        let labels: &[&str] =
            if name == "keepalived_up" { &["instance"] } else { &["instance", "iname", "intf", "vrid"] };
        queries.extend(forms(name, "instance=~\".+\"", labels));
    }
    queries.extend(COMBINED.iter().map(|query| ((*query).to_owned(), &[][..])));

    let mut wrong = Vec::new();
    for (query, labels) in &queries {
        match series(&filled(query), false, began) {
            Err(error) => wrong.push(error),
            Ok(all) if !all.iter().any(has_number) => wrong.push(format!("nothing: {}", filled(query))),
            Ok(all) => {
                let missing =
                    labels.iter().filter(|label| all.iter().any(|one| one["metric"][label].is_null()));
                wrong.extend(missing.map(|label| format!("no label `{label}`: {query}")));
            }
        }
    }
    eprintln!("public boards: {} queries", queries.len());
    for (family, label) in CHOICES {
        let offered = series(&filled(&format!("group by ({label}) ({family})")), true, began)?;
        if offered.is_empty() || offered.iter().any(|one| one["metric"][label].is_null()) {
            wrong.push(format!("nothing to choose: {family}, {label}"));
        }
    }
    let there = names()?;
    let unanswered = unanswered()?;
    wrong.extend(unanswered.intersection(&there).map(|name| format!("{name} is listed as not being there")));
    eprintln!("public boards: {} families without a true number", unanswered.len());
    assert!(unanswered.len() > 40, "{unanswered:?}");
    Ok(wrong)
}

/// A gauge as it is, a counter as rates of two kinds, each by its labels.
fn forms(
    name: &str,
    chosen: &str,
    labels: &'static [&'static str],
) -> Vec<(String, &'static [&'static str])> {
    if !name.ends_with("_total") {
        return vec![(format!("{name}{{{chosen}}}"), labels)];
    }
    let by = labels.join(", ");
    ["rate", "irate"]
        .map(|rate| (format!("sum({rate}({name}{{{chosen}}}[$interval])) by ({by})"), labels))
        .into()
}

fn filled(query: &str) -> String {
    CHOSEN.iter().fold(query.to_owned(), |query, (name, value)| query.replace(name, value))
}

/// The families that dashboards/README.md says have no true number here: in its blocks of text, what names begin with
/// and then how they go on.
fn unanswered() -> Result<BTreeSet<String>, Box<dyn Error>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboards/README.md");
    let text = fs::read_to_string(path)?;
    let blocks = text.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut names = BTreeSet::new();
    let mut prefix = "";
    for word in blocks.flat_map(str::split_whitespace) {
        if word.ends_with('_') {
            prefix = word;
        } else {
            names.insert(format!("{prefix}{word}"));
        }
    }
    Ok(names)
}
