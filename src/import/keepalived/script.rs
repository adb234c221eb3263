//! `vrrp_script`, and the one script that nearly everybody has: is haproxy alive?

use std::time::Duration;

use super::super::Remarks;
use super::super::words::{Word, shown};
use super::syntax::Statement;
use super::{Script, Weight, seconds, weight};

/// keepalived's default.
const INTERVAL: Duration = Duration::from_secs(1);

/// Reads one script; nothing if it runs nothing.
pub(super) fn read(statement: &Statement, remarks: &mut Remarks<'_>) -> Option<Script> {
    let mut script = Script {
        name: statement.argument().to_owned(),
        line: statement.line,
        command: Vec::new(),
        interval: INTERVAL,
        timeout: None,
        rise: 1,
        fall: 1,
        weight: Weight::default(),
    };
    for inner in statement.inner() {
        let mut wrong =
            || remarks.left_out(inner.line, format!("{} has no value that counts", shown(&inner.words)));
        match inner.keyword() {
            "script" => script.command = command(&inner.words[1..]),
            "interval" => match seconds(inner.argument()).filter(|interval| !interval.is_zero()) {
                Some(interval) => script.interval = interval,
                None => wrong(),
            },
            "timeout" => match seconds(inner.argument()).filter(|timeout| !timeout.is_zero()) {
                Some(timeout) => script.timeout = Some(timeout),
                None => wrong(),
            },
            "weight" => match weight(&inner.words[1..]) {
                Some(weight) => script.weight = weight,
                None => wrong(),
            },
            "rise" => match count(inner.argument()) {
                Some(rise) => script.rise = rise,
                None => wrong(),
            },
            "fall" => match count(inner.argument()) {
                Some(fall) => script.fall = fall,
                None => wrong(),
            },
            "user" => remarks.note(inner.line, "`user`: checks run as chinthe's own user"),
            "init_fail" => {
                remarks.note(inner.line, "`init_fail`: a check without a result adds nothing anyway");
            }
            _ => remarks.left_out(inner.line, format!("{} is not known", shown(&inner.words))),
        }
    }
    if script.name.is_empty() || script.command.is_empty() {
        remarks.left_out(statement.line, format!("{} runs nothing", shown(&statement.words)));
        return None;
    }
    Some(script)
}

fn count(text: &str) -> Option<u32> {
    text.parse().ok().filter(|count| (1..=1000).contains(count))
}

/// A quoted command is one word; keepalived takes it apart without a shell.
fn command(words: &[Word]) -> Vec<String> {
    words.iter().flat_map(|word| word.text.split_whitespace()).map(|word| word.replace('\0', "")).collect()
}

/// The way in which a command asks whether haproxy runs: `killall -0 haproxy` and its kin.
pub(in super::super) fn watched_proxy(command: &[String]) -> Option<&'static str> {
    // `/bin/sh -c "…"` and the like: look at what the shell is given.
    let mut words =
        command.iter().flat_map(|word| word.split(|c: char| c.is_whitespace() || "`$();&|\"'".contains(c)));
    let words: Vec<&str> = words.by_ref().filter(|word| !word.is_empty()).collect();
    let proxy = words.iter().any(|word| {
        let name = base_name(word);
        matches!(name, "haproxy" | "haproxy.pid" | "haproxy.service")
    });
    let way = words.iter().find_map(|word| {
        ["killall", "pkill", "pidof", "pgrep", "kill", "systemctl"]
            .into_iter()
            .find(|way| base_name(word) == *way)
    })?;
    let asks = match way {
        // Without signal 0 it would end the proxy.
        "killall" | "pkill" | "kill" => words
            .iter()
            .enumerate()
            .any(|(at, word)| *word == "-0" || (*word == "-s" && words.get(at + 1) == Some(&"0"))),
        "systemctl" => words.contains(&"is-active") || words.contains(&"status"),
        _ => true,
    };
    // What does more than to ask isn't replaced.
    let more = words
        .iter()
        .any(|word| matches!(base_name(word), "curl" | "nc" | "wget" | "restart" | "start" | "stop"));
    (proxy && asks && !more).then_some(way)
}

fn base_name(word: &str) -> &str {
    word.rsplit('/').next().unwrap_or(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ways_to_ask_whether_haproxy_runs_are_known() {
        for text in [
            "killall -0 haproxy",
            "/usr/bin/killall -0 haproxy",
            "killall -s 0 haproxy",
            "pidof haproxy",
            "/bin/pidof /usr/sbin/haproxy",
            "pgrep -x haproxy",
            "pkill -0 haproxy",
            "kill -0 `cat /var/run/haproxy.pid`",
            "kill -0 $(cat /run/haproxy.pid)",
            "/bin/sh -c 'pidof haproxy'",
            "systemctl is-active --quiet haproxy.service",
        ] {
            let command: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            assert!(watched_proxy(&command).is_some(), "{text}");
        }
    }

    #[test]
    fn other_commands_stay_checks() {
        for text in [
            "killall haproxy",
            "pidof nginx",
            "/usr/local/bin/check_haproxy.sh",
            "curl -f http://127.0.0.1/haproxy",
            "pidof haproxy || systemctl restart haproxy",
            "",
        ] {
            let command: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            assert_eq!(watched_proxy(&command), None, "{text}");
        }
    }
}
