//! The plan as text: one `key = value` a line, in the order of the reference.

use std::fmt::Write as _;
use std::time::Duration;

use crate::config::duration_text;

use super::haproxy::Service;
use super::keepalived::Script;
use super::plan::{Plan, Track, Tracked, Vip};

/// The file.
pub(super) fn emit(plan: &Plan) -> String {
    let mut out = Lines(String::new());
    let sources: Vec<String> = plan.sources.iter().map(|source| printable(source)).collect();
    out.line(format!("# Imported by `chinthe import` from {}.", sources.join(", ")));
    out.line("# The same file serves every node; `chinthe check` judges it.");
    out.line("[cluster]");
    out.line(format!("name = {}", quoted(&plan.name)));
    out.line(format!("seeds = {}", list(plan.seeds.iter().map(ToString::to_string))));
    out.line("secret_file = \"/etc/chinthe/secret\"");
    if !plan.nodes.is_empty() {
        out.header("", "[cluster.nodes]");
        for (name, address) in &plan.nodes {
            out.line(format!("{} = {}", key(name), quoted(&address.to_string())));
        }
    }
    for script in &plan.checks {
        check(&mut out, script);
    }
    for one in &plan.vips {
        vip(&mut out, one);
    }
    for one in &plan.services {
        service(&mut out, one);
    }
    out.0
}

fn check(out: &mut Lines, script: &Script) {
    out.header("", "[[check]]");
    out.line(format!("name = {}", quoted(&script.name)));
    out.line(format!("command = {}", list(script.command.iter().cloned())));
    out.line(format!("interval = {}", duration(script.interval)));
    if let Some(timeout) = script.timeout {
        out.line(format!("timeout = {}", duration(timeout)));
    }
    out.line(format!("fall = {}", script.fall));
    out.line(format!("rise = {}", script.rise));
}

fn vip(out: &mut Lines, vip: &Vip) {
    out.header("", "[[vip]]");
    out.line(format!("name = {}", quoted(&vip.name)));
    match &vip.addresses[..] {
        [address] => out.line(format!("address = {}", quoted(address))),
        addresses => out.line(format!("addresses = {}", list(addresses.iter().cloned()))),
    }
    match &vip.interface[..] {
        [(_, interface), ..] if vip.everywhere => out.line(format!("interface = {}", quoted(interface))),
        by_node => out.line(format!("interface = {}", table(by_node.iter().map(|(n, i)| (n, quoted(i)))))),
    }
    out.line(format!("priority = {}", table(vip.priority.iter().map(|(n, p)| (n, p.to_string())))));
    // keepalived's interval is in the `vrrp` line: it counts between keepalived and us, not among us.
    out.line("advertisement_interval = \"100ms\"");
    if !vip.patient.is_empty() {
        out.line(format!("preempt = {}", table(vip.patient.iter().map(|n| (n, "false".to_owned())))));
    }
    if !vip.track.is_empty() {
        let entries: Vec<String> = vip.track.iter().map(track).collect();
        out.line(format!("track = [{}]", entries.join(", ")));
    }
    if let Some(vrrp) = vrrp(vip) {
        out.line(format!("# vrrp = {{ {vrrp} }}"));
    }
}

fn track(track: &Track) -> String {
    let what = match &track.what {
        Tracked::Service(name) => format!("service = {}", quoted(name)),
        Tracked::Check(name) => format!("check = {}", quoted(name)),
    };
    let reverse = if track.weight.reverse { ", reverse = true" } else { "" };
    format!("{{ {what}, weight = {}{reverse} }}", track.weight.weight)
}

/// What VRRP on the wire would take.
fn vrrp(vip: &Vip) -> Option<String> {
    let instance = &vip.vrrp;
    let mut cells = vec![format!("vrid = {}", instance.vrid?), format!("version = {}", instance.version)];
    cells.extend(instance.password.as_ref().map(|password| format!("auth_pass = {}", quoted(password))));
    if vip.peers.is_empty() {
        cells.push("mode = \"multicast\"".to_owned());
    } else {
        cells.push("mode = \"unicast\"".to_owned());
        cells.push(format!("peers = {}", list(vip.peers.iter().map(ToString::to_string))));
    }
    let interval = instance.advertisement_interval.unwrap_or(Duration::from_secs(1));
    cells.push(format!("advertisement_interval = {}", duration(interval)));
    Some(cells.join(", "))
}

fn service(out: &mut Lines, service: &Service) {
    out.header(&service.origin, "[[service]]");
    out.line(format!("name = {}", quoted(&service.name)));
    out.line(format!("listen = {}", list(service.listen.iter().cloned())));
    out.line("balance = \"roundrobin\"");
    out.line(format!(
        "timeout = {{ connect = {}, client = {}, server = {} }}",
        duration(service.connect),
        duration(service.client),
        duration(service.server)
    ));
    let check = &service.check;
    let timeout =
        check.timeout.map_or_else(String::new, |timeout| format!(", timeout = {}", duration(timeout)));
    out.line(format!(
        "check = {{ type = \"tcp\", interval = {}{timeout}, fall = {}, rise = {} }}",
        duration(check.interval),
        check.fall,
        check.rise
    ));
    for backend in &service.backends {
        out.header("", "[[service.backend]]");
        out.line(format!("name = {}", quoted(&backend.name)));
        out.line(format!("address = {}", quoted(&backend.address)));
        if let Some(weight) = backend.weight {
            out.line(format!("weight = {weight}"));
        }
    }
}

struct Lines(String);

impl Lines {
    fn line(&mut self, text: impl AsRef<str>) {
        writeln!(self.0, "{}", text.as_ref()).expect("writing to a String doesn't fail");
    }

    fn header(&mut self, comment: &str, header: &str) {
        self.line("");
        if !comment.is_empty() {
            self.line(format!("# {}", printable(comment)));
        }
        self.line(header);
    }
}

fn duration(duration: Duration) -> String {
    quoted(&duration_text(duration))
}

fn list(items: impl Iterator<Item = String>) -> String {
    format!("[{}]", items.map(|item| quoted(&item)).collect::<Vec<_>>().join(", "))
}

fn table<'n>(cells: impl Iterator<Item = (&'n String, String)>) -> String {
    let cells: Vec<String> = cells.map(|(name, value)| format!("{} = {value}", key(name))).collect();
    format!("{{ {} }}", cells.join(", "))
}

/// A name as a key: a dot would make two of it.
fn key(name: &str) -> String {
    if name.contains('.') { quoted(name) } else { name.to_owned() }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                write!(out, "\\u{:04X}", u32::from(c)).expect("writing to a String doesn't fail");
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Inside a comment a control character would be an error, and a line's end the end of the comment.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
