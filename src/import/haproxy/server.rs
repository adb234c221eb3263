//! `server` lines: address, checks and weight; and what keeps a server from being carried over.

use std::time::Duration;

use crate::config::parse_endpoint;

use super::super::Remarks;
use super::super::words::name;
use super::syntax::Line;
use super::{Backend, time};

/// haproxy's defaults for checks.
pub(super) const INTERVAL: Duration = Duration::from_secs(2);
pub(super) const FALL: u32 = 3;
pub(super) const RISE: u32 = 2;

/// What our file takes as an interval.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(10);
const LONGEST_INTERVAL: Duration = Duration::from_secs(3600);

/// Parameters that are followed by a value.
const WITH_VALUE: &[&str] = &[
    "addr",
    "agent-addr",
    "agent-inter",
    "agent-port",
    "agent-send",
    "alpn",
    "ca-file",
    "check-alpn",
    "check-proto",
    "check-sni",
    "ciphers",
    "ciphersuites",
    "cookie",
    "crl-file",
    "crt",
    "curves",
    "downinter",
    "error-limit",
    "fastinter",
    "guid",
    "hash-key",
    "id",
    "init-addr",
    "init-state",
    "log-proto",
    "max-reuse",
    "maxconn",
    "maxqueue",
    "minconn",
    "namespace",
    "npn",
    "observe",
    "on-error",
    "on-marked-down",
    "on-marked-up",
    "pool-low-conn",
    "pool-max-conn",
    "pool-purge-delay",
    "port",
    "proto",
    "redir",
    "resolve-net",
    "resolve-opts",
    "resolve-prefer",
    "resolvers",
    "slowstart",
    "sni",
    "socks4",
    "source",
    "ssl-max-ver",
    "ssl-min-ver",
    "tcp-ut",
    "track",
    "usesrc",
    "verify",
    "verifyhost",
    "ws",
];

/// What a server line says about checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probing {
    pub(super) checked: bool,
    pub(super) interval: Duration,
    pub(super) fall: u32,
    pub(super) rise: u32,
}

/// Reads a server; nothing if it can't be carried over. `port` is the listener's, for a server without one.
pub(super) fn read(
    line: &Line,
    defaults: &[String],
    port: Option<u16>,
    remarks: &mut Remarks<'_>,
) -> Option<(Backend, Probing)> {
    let mut probing = Probing { checked: false, interval: INTERVAL, fall: FALL, rise: RISE };
    let mut weight = None;
    let mut refused = None;
    let own = line.after(3);
    let mut words = defaults.iter().map(String::as_str).chain(own);
    while let Some(word) = words.next() {
        let mut count =
            |most: u32| words.next().and_then(|text| text.parse::<u32>().ok()).filter(|n| *n <= most);
        match word {
            "check" => probing.checked = true,
            "no-check" => probing.checked = false,
            "fall" => probing.fall = count(1000).filter(|n| *n > 0).unwrap_or(FALL),
            "rise" => probing.rise = count(1000).filter(|n| *n > 0).unwrap_or(RISE),
            "weight" => weight = count(256).and_then(|n| u16::try_from(n).ok()),
            "inter" => {
                let text = words.next().unwrap_or_default();
                match time(text).filter(|inter| (SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(inter)) {
                    Some(inter) => probing.interval = inter,
                    None => remarks
                        .left_out(line.number, format!("`inter {text}` is no interval from 10ms to 1h")),
                }
            }
            "backup"
            | "disabled"
            | "ssl"
            | "send-proxy"
            | "send-proxy-v2"
            | "send-proxy-v2-ssl"
            | "send-proxy-v2-ssl-cn"
            | "redir" => {
                refused = refused.or(Some(word));
                if word == "redir" {
                    words.next();
                }
            }
            "no-ssl" | "no-backup" | "enabled" | "no-send-proxy" | "no-verifyhost" | "allow-0rtt" => {}
            "resolvers" | "init-addr" | "resolve-prefer" | "id" | "guid" | "resolve-opts" => {
                let value = words.next().unwrap_or_default();
                remarks.note(
                    line.number,
                    format!("`{word} {value}` isn't needed: names are resolved again and again"),
                );
            }
            _ => {
                let value = if WITH_VALUE.contains(&word) { words.next() } else { None };
                let text = value.map_or_else(|| word.to_owned(), |value| format!("{word} {value}"));
                remarks
                    .left_out(line.number, format!("`{text}` of server {} has no counterpart", line.word(1)));
            }
        }
    }
    if let Some(why) = refused {
        remarks.left_out(
            line.number,
            format!("server {}: `{why}` has no counterpart, so it gets no connections", line.word(1)),
        );
        return None;
    }
    let Some(address) = address(line.word(2), port) else {
        remarks.left_out(
            line.number,
            format!("server {}: `{}` is no address that can be reached by TCP", line.word(1), line.word(2)),
        );
        return None;
    };
    Some((Backend { name: name(line.word(1)), address, weight }, probing))
}

/// haproxy's forms of an address, in ours.
fn address(text: &str, port: Option<u16>) -> Option<String> {
    let text = ["ipv4@", "ipv6@", "tcp@", "tcp4@", "tcp6@"]
        .iter()
        .find_map(|lead| text.strip_prefix(lead))
        .unwrap_or(text);
    let written = match text.rsplit_once(':') {
        // In `2001:db8::11:80` the last colon is the port's.
        Some((host, port)) if host.contains(':') && !host.starts_with('[') => format!("[{host}]:{port}"),
        Some(_) => text.to_owned(),
        None => format!("{text}:{}", port?),
    };
    parse_endpoint(&written, None).map(|_| written)
}
