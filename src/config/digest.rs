//! The digest by which nodes see whether they run the same configuration.
//!
//! It covers what a node does for its clients, and not how it reaches its peers and operators. The rendering is
//! part of what nodes of different versions agree on: a new option joins it only where it isn't at its default.

use std::fmt::{Display, Write as _};
use std::net::IpAddr;

use sha2::{Digest, Sha256};

use super::{
    Backend, Balance, Check, Cluster, Config, Detail, Endpoint, HealthCheck, Metrics, PerNode, Placement,
    ProbeKind, Proxy, Quorum, Service, Timeouts, Track, Tracked, Vip, VipAddress, VipProbe, duration_text,
};

/// How many digits stand for a digest where people read it.
const SHORT: usize = 8;

/// SHA-256 over a canonical rendering of all but `seeds`, `secret_file` and `[admin]`.
pub fn digest(config: &Config) -> [u8; 32] {
    Sha256::digest(canonical(config)).into()
}

/// A digest, whole or its beginning, in hexadecimal.
pub fn hex(digest: &[u8]) -> String {
    digest.iter().fold(String::with_capacity(digest.len() * 2), |mut out, byte| {
        write!(out, "{byte:02x}").expect("writing to a String doesn't fail");
        out
    })
}

/// The digest's first digits, for tables and logs.
pub fn short_hex(digest: &[u8; 32]) -> String {
    let mut text = hex(digest);
    text.truncate(SHORT);
    text
}

/// One `place = value` a line. Text is escaped, so that no value can pass for another line.
fn canonical(config: &Config) -> String {
    let mut out = Lines(String::new());
    // Taken apart by name, so that a new field doesn't compile until its place here is decided.
    let Config { cluster, admin: _, metrics, proxy: data_plane, checks, vips, services } = config;
    let Cluster { name, seeds: _, secret_file: _, quorum, witness, nodes } = cluster;
    out.text("cluster.name", name);
    out.word("cluster.quorum", quorum.as_str());
    if let Quorum::Majority { of } = quorum {
        out.word("cluster.expected_nodes", of);
    }
    for node in witness {
        out.text("cluster.witness", node);
    }
    for (node, address) in nodes {
        out.text("cluster.nodes", node);
        out.word("cluster.nodes", address);
    }
    shown(&mut out, *metrics);
    proxy(&mut out, data_plane);
    for one in checks {
        check(&mut out, one);
    }
    for one in vips {
        vip(&mut out, one, config);
    }
    for one in services {
        service(&mut out, one);
    }
    out.0
}

fn shown(out: &mut Lines, metrics: Metrics) {
    let Metrics { detail, haproxy_compat, keepalived_compat } = metrics;
    match detail {
        Detail::Full => {}
        Detail::Holder => out.word("metrics.detail", "holder"),
        Detail::Aggregate => out.word("metrics.detail", "aggregate"),
    }
    if haproxy_compat {
        out.word("metrics.haproxy_compat", true);
    }
    if keepalived_compat {
        out.word("metrics.keepalived_compat", true);
    }
}

fn proxy(out: &mut Lines, proxy: &Proxy) {
    let Proxy { workers, max_connections, backlog, splice, spin, congestion_control } = proxy;
    out.option("proxy.workers", workers.as_ref());
    out.option("proxy.max_connections", max_connections.as_ref());
    out.option("proxy.backlog", Some(backlog).filter(|backlog| **backlog != 4096));
    out.option("proxy.splice", Some(splice).filter(|splice| !**splice));
    out.option("proxy.spin", Some(duration_text(*spin)).filter(|_| !spin.is_zero()).as_ref());
    if let Some(name) = congestion_control {
        out.text("proxy.congestion_control", name);
    }
}

fn check(out: &mut Lines, check: &Check) {
    let Check { name, command, interval, timeout, rise, fall } = check;
    out.text("check", name);
    for word in command {
        out.text("check.command", word);
    }
    out.word("check.interval", duration_text(*interval));
    out.word("check.timeout", duration_text(*timeout));
    out.word("check.rise", rise);
    out.word("check.fall", fall);
}

fn vip(out: &mut Lines, vip: &Vip, config: &Config) {
    let Vip {
        name,
        addresses,
        interface,
        priority,
        advertisement_interval,
        preempt,
        preempt_delay,
        preempt_damping,
        preempt_when_connections_below,
        placement,
        probe,
        track,
    } = vip;
    out.text("vip", name);
    for VipAddress { ip, prefix } in addresses {
        let ip: &IpAddr = ip;
        match prefix {
            Some(prefix) => out.word("vip.address", format!("{ip}/{prefix}")),
            None => out.word("vip.address", ip),
        }
    }
    out.per_node("vip.interface", interface);
    out.per_node("vip.priority", priority);
    out.word("vip.advertisement_interval", duration_text(*advertisement_interval));
    out.per_node("vip.preempt", preempt);
    out.per_node("vip.preempt_delay", &preempt_delay.map(|delay| duration_text(*delay)));
    if !preempt_damping {
        out.word("vip.preempt_damping", preempt_damping);
    }
    if let Some(limit) = preempt_when_connections_below {
        out.word("vip.preempt_when_connections_below", limit);
    }
    match placement {
        Placement::Address => {}
        Placement::Spread => out.word("vip.placement", "spread"),
    }
    if *probe != VipProbe::Address {
        out.word("vip.probe", probe.as_str());
    }
    for Track { what, weight, reverse } in track {
        match what {
            Tracked::Service(index) => out.text("vip.track.service", &config.services[*index].name),
            Tracked::Check(index) => out.text("vip.track.check", &config.checks[*index].name),
        }
        out.word("vip.track.weight", weight);
        out.word("vip.track.reverse", reverse);
    }
}

fn service(out: &mut Lines, service: &Service) {
    let Service { name, listen, balance, max_connections, timeout, check, backends } = service;
    let Timeouts { connect, client, server } = timeout;
    let HealthCheck { kind, interval, timeout, rise, fall } = check;
    out.text("service", name);
    for listen in listen {
        out.word("service.listen", listen);
    }
    out.word(
        "service.balance",
        match balance {
            Balance::RoundRobin => "roundrobin",
        },
    );
    out.option("service.max_connections", max_connections.as_ref());
    out.word("service.timeout.connect", duration_text(*connect));
    out.word("service.timeout.client", duration_text(*client));
    out.word("service.timeout.server", duration_text(*server));
    out.word(
        "service.check.type",
        match kind {
            ProbeKind::Tcp => "tcp",
        },
    );
    out.word("service.check.interval", duration_text(*interval));
    out.word("service.check.timeout", duration_text(*timeout));
    out.word("service.check.rise", rise);
    out.word("service.check.fall", fall);
    for Backend { name, address, weight } in backends {
        out.text("service.backend", name);
        match address {
            Endpoint::Address(address) => out.word("service.backend.address", address),
            Endpoint::Name(host, port) => out.text("service.backend.address", &format!("{host}:{port}")),
        }
        out.word("service.backend.weight", weight);
    }
}

struct Lines(String);

impl Lines {
    /// What can't contain a line's end.
    fn word(&mut self, place: &str, value: impl Display) {
        writeln!(self.0, "{place} = {value}").expect("writing to a String doesn't fail");
    }

    /// What has joined after the first version: nothing where it is at its default.
    fn option(&mut self, place: &str, value: Option<&impl Display>) {
        if let Some(value) = value {
            self.word(place, value);
        }
    }

    /// What the operator wrote.
    fn text(&mut self, place: &str, value: &str) {
        let mut escaped = String::with_capacity(value.len() + 2);
        for c in value.chars() {
            match c {
                '"' | '\\' => escaped.extend(['\\', c]),
                '\n' => escaped.push_str("\\n"),
                _ => escaped.push(c),
            }
        }
        self.word(place, format!("\"{escaped}\""));
    }

    fn per_node<T: Display>(&mut self, place: &str, value: &PerNode<T>) {
        if let Some(default) = &value.default {
            self.text(place, &default.to_string());
        }
        for (node, value) in &value.nodes {
            self.text(place, &format!("{node} {value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{example, parse};

    fn of(text: &str) -> [u8; 32] {
        digest(&parse(text, "test.toml").expect("the text is right").0)
    }

    #[test]
    fn seeds_secret_and_admin_do_not_count() {
        let text = example();
        let other = text
            .replace("seeds = [\"192.168.56.21\", \"192.168.56.22\"]", "seeds = [\"ha1\"]")
            .replace("/etc/chinthe/secret\"", "/tmp/secret\"")
            .replace("127.0.0.1:7781", "127.0.0.1:7791")
            .replace("/run/chinthe/admin.sock", "");
        assert_ne!(text, other);
        assert_eq!(of(&text), of(&other));
    }

    #[test]
    fn what_clients_notice_counts() {
        let text = example();
        for (from, to) in [
            ("weight = 1", "weight = 2"),
            ("192.168.56.69/24", "192.168.56.70/24"),
            ("fall = 3", "fall = 4"),
            ("ha1 = \"192.168.56.21\"", "ha1 = \"192.168.56.23\""),
            ("0.0.0.0:80", "0.0.0.0:81"),
            ("client = \"50s\"", "client = \"51s\""),
            ("detail = \"full\"", "detail = \"holder\""),
            ("haproxy_compat = false", "haproxy_compat = true"),
            ("spin = \"0us\"", "spin = \"50us\""),
            ("splice = true", "splice = false"),
            ("backlog = 4096", "backlog = 4095"),
            ("# max_connections", "max_connections"),
        ] {
            assert_ne!(of(&text), of(&text.replace(from, to)), "{from} -> {to}");
        }
    }

    #[test]
    fn the_order_of_keys_and_the_spelling_of_values_do_not_count() {
        assert_eq!(
            of("[cluster]\nname = \"a\"\nseeds = []\n[[service]]\nname = \"s\"\nlisten = [\"*:80\"]\n"),
            of(
                "[[service]]\nlisten = ['0.0.0.0:80']\nname = 's'\ntimeout.client = '50000ms'\n[cluster]\nseeds = []\nname = 'a'\n"
            ),
        );
    }

    #[test]
    fn short_hex_is_the_first_eight_digits() {
        let mut digest = [0; 32];
        digest[..4].copy_from_slice(&[0x5f, 0x2c, 0x00, 0xab]);
        assert_eq!(short_hex(&digest), "5f2c00ab");
        assert_eq!(hex(&digest), format!("5f2c00ab{:056}", 0));
    }
}
