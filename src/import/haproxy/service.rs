//! Frontends and their backends, and listens, become services.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use crate::config::parse_listen;

use super::super::Remarks;
use super::super::words::name;
use super::server::{self, FALL, INTERVAL, Probing, RISE};
use super::syntax::Line;
use super::{Backend, Check, Proxy, Service};

/// Our own defaults: haproxy waits for ever where a timeout isn't set, and warns about it.
const CONNECT: Duration = Duration::from_secs(5);
const IDLE: Duration = Duration::from_secs(50);

/// `bind *:8000-8010` means that many addresses; more than these are hardly meant.
const MOST_PORTS: u16 = 64;

/// Parameters of `bind` that are followed by a value.
const BIND_WITH_VALUE: &[&str] = &[
    "alpn",
    "backlog",
    "ca-file",
    "ciphers",
    "ciphersuites",
    "crl-file",
    "crt",
    "crt-list",
    "curves",
    "gid",
    "group",
    "id",
    "interface",
    "level",
    "maxconn",
    "mode",
    "mss",
    "name",
    "namespace",
    "nice",
    "process",
    "proto",
    "severity-output",
    "shards",
    "ssl-max-ver",
    "ssl-min-ver",
    "tcp-md5sig",
    "tcp-ut",
    "thread",
    "uid",
    "user",
    "verify",
];

/// Those of them, and of the others, that make no difference here.
const BIND_NOT_NEEDED: &[&str] = &[
    "backlog",
    "crt",
    "defer-accept",
    "id",
    "name",
    "nice",
    "process",
    "shards",
    "tfo",
    "thread",
    "transparent",
    "v4v6",
    "v6only",
];

/// Adds what the sections make together.
pub(super) fn services(proxies: &[Proxy<'_>], services: &mut Vec<Service>, remarks: &mut Remarks<'_>) {
    // The first of a name is used, as haproxy refuses a second.
    let mut backends: HashMap<&str, &Proxy<'_>> = HashMap::new();
    for proxy in proxies.iter().filter(|proxy| proxy.kind() != "frontend") {
        backends.entry(proxy.name()).or_insert(proxy);
    }
    let mut used = HashSet::new();
    for front in proxies.iter().filter(|proxy| proxy.kind() != "backend") {
        let what = format!("{} {}", front.kind(), front.name());
        let back =
            if front.kind() == "listen" && front.section.lines.iter().any(|line| line.word(0) == "server") {
                front
            } else {
                let Some((name, line)) = &front.settings.default_backend else {
                    remarks.left_out(front.line(), format!("{what} has no server and no `default_backend`"));
                    continue;
                };
                let Some(back) = backends.get(name.as_str()) else {
                    remarks.left_out(*line, format!("{what}: there is no backend `{name}`"));
                    continue;
                };
                used.insert(name.as_str());
                *back
            };
        services.extend(service(front, back, remarks));
    }
    for proxy in proxies.iter().filter(|proxy| proxy.kind() == "backend" && !used.contains(proxy.name())) {
        remarks.left_out(
            proxy.line(),
            format!("no frontend leads to backend {} by `default_backend`", proxy.name()),
        );
    }
}

fn service(front: &Proxy<'_>, back: &Proxy<'_>, remarks: &mut Remarks<'_>) -> Option<Service> {
    let listed = std::ptr::eq(front, back);
    let origin = if listed {
        format!("listen {}", front.name())
    } else {
        format!("{} {}, backend {}", front.kind(), front.name(), back.name())
    };
    let addresses = listeners(front, remarks);
    if addresses.is_empty() {
        remarks.left_out(front.line(), format!("{origin}: no address is left to listen on"));
        return None;
    }
    let ports: HashSet<u16> = addresses.iter().filter_map(|at| Some(parse_listen(at)?.port())).collect();
    let port = if ports.len() == 1 { ports.into_iter().next() } else { None };
    let (backends, check) = pool(back, port, remarks);
    if backends.is_empty() {
        remarks.left_out(front.line(), format!("{origin}: no server is left"));
        return None;
    }
    if [front, back].iter().any(|proxy| proxy.settings.mode.as_deref() == Some("http")) {
        let text =
            format!("{origin}: `mode http` is carried as TCP: nothing inside HTTP is looked at or changed");
        remarks.left_out(front.line(), text);
    }
    if let Some((algorithm, line)) = &back.settings.balance
        && !matches!(algorithm.as_str(), "roundrobin" | "static-rr")
    {
        remarks.left_out(*line, format!("`balance {algorithm}`: connections are spread in turn"));
    }
    let mut timeout = |proxy: &Proxy<'_>, which: &str, otherwise: Duration| {
        let timeouts = &proxy.settings.timeouts;
        // Once both sides have spoken, haproxy's tunnel timeout is the one that counts.
        let tunnel = timeouts.get("tunnel").filter(|_| which != "connect");
        tunnel.or_else(|| timeouts.get(which)).copied().unwrap_or_else(|| {
            let text =
                format!("no `timeout {which}` for {origin}: {}", crate::config::duration_text(otherwise));
            remarks.note(proxy.line(), text);
            otherwise
        })
    };
    Some(Service {
        name: name(front.name()),
        connect: timeout(back, "connect", CONNECT),
        client: timeout(front, "client", IDLE),
        server: timeout(back, "server", IDLE),
        place: (remarks.file, front.line()),
        origin,
        listen: addresses,
        check,
        backends,
    })
}

fn pool(back: &Proxy<'_>, port: Option<u16>, remarks: &mut Remarks<'_>) -> (Vec<Backend>, Check) {
    let mut backends: Vec<Backend> = Vec::new();
    let mut common: Option<Probing> = None;
    for line in back.section.lines.iter().filter(|line| line.word(0) == "server") {
        let Some((mut backend, probing)) = server::read(line, &back.settings.default_server, port, remarks)
        else {
            continue;
        };
        if !probing.checked {
            remarks.note(
                line.number,
                format!("server {} has no `check`: it is probed all the same", backend.name),
            );
        }
        let first = *common.get_or_insert(probing);
        if (first.interval, first.fall, first.rise) != (probing.interval, probing.fall, probing.rise) {
            let text =
                format!("server {} is checked like the first: a service has one `check`", backend.name);
            remarks.left_out(line.number, text);
        }
        if backends.iter().any(|known| known.name == backend.name) {
            let free = |name: &String| !backends.iter().any(|known| known.name == *name);
            let stem: String = backend.name.chars().take(50).collect();
            let fresh =
                (2..=backends.len() + 2).map(|n| format!("{stem}-{n}")).find(free).unwrap_or_default();
            remarks.repaired(line.number, format!("a second server {}: called {fresh}", backend.name));
            backend.name = fresh;
        }
        backends.push(backend);
    }
    let probing = common.unwrap_or(Probing { checked: false, interval: INTERVAL, fall: FALL, rise: RISE });
    let longest = Duration::from_secs(3600);
    let check = Check {
        interval: probing.interval,
        timeout: back
            .settings
            .timeouts
            .get("check")
            .copied()
            .filter(|t| *t <= longest && t.as_millis() >= 10),
        fall: probing.fall,
        rise: probing.rise,
    };
    (backends, check)
}

fn listeners(front: &Proxy<'_>, remarks: &mut Remarks<'_>) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let header = &front.section.header;
    // `listen web 0.0.0.0:80` is the old form.
    let old = (header.words.len() > 2 && header.word(2) != "from").then_some(header);
    let binds = front.section.lines.iter().filter(|line| line.word(0) == "bind").map(|line| (line, 1));
    for (line, at) in old.map(|line| (line, 2)).into_iter().chain(binds) {
        let usable = bind_parameters(line, at, remarks);
        for written in line.word(at).split(',').filter(|written| usable && !written.is_empty()) {
            match addresses(written) {
                Some(addresses) => {
                    for address in addresses {
                        if !found.contains(&address) {
                            found.push(address);
                        }
                    }
                }
                None => {
                    remarks.left_out(line.number, format!("`{written}` is no address to listen on by TCP"));
                }
            }
        }
    }
    found
}

/// Whether the address can be carried over with what stands behind it.
fn bind_parameters(line: &Line, at: usize, remarks: &mut Remarks<'_>) -> bool {
    let parameters = line.after(at + 1);
    let address = line.word(at);
    if let Some(why) =
        parameters.iter().find(|p| matches!(**p, "ssl" | "accept-proxy" | "accept-netscaler-cip"))
    {
        remarks.left_out(line.number, format!("`{why}` has no counterpart, so {address} is not listened on"));
        return false;
    }
    let mut parameters = parameters.into_iter();
    while let Some(parameter) = parameters.next() {
        let value = if BIND_WITH_VALUE.contains(&parameter) { parameters.next() } else { None };
        let text = value.map_or_else(|| parameter.to_owned(), |value| format!("{parameter} {value}"));
        if BIND_NOT_NEEDED.contains(&parameter) {
            remarks.note(line.number, format!("`{text}` of `bind {address}` isn't needed"));
        } else {
            remarks.left_out(line.number, format!("`{text}` of `bind {address}` has no counterpart"));
        }
    }
    true
}

/// haproxy's forms of an address to listen on, in ours.
fn addresses(written: &str) -> Option<Vec<String>> {
    let written = ["ipv4@", "ipv6@"].iter().find_map(|lead| written.strip_prefix(lead)).unwrap_or(written);
    let (host, ports) = written.rsplit_once(':')?;
    let host = match host {
        "" | "*" => "0.0.0.0".to_owned(),
        // `:::80` is every IPv6 address.
        host if host.contains(':') && !host.starts_with('[') => format!("[{host}]"),
        host => host.to_owned(),
    };
    let (first, last) = match ports.split_once('-') {
        Some((first, last)) => (first.parse::<u16>().ok()?, last.parse::<u16>().ok()?),
        None => (ports.parse::<u16>().ok()?, ports.parse::<u16>().ok()?),
    };
    if first > last || last - first >= MOST_PORTS {
        return None;
    }
    (first..=last).map(|port| parse_listen(&format!("{host}:{port}")).map(|at| at.to_string())).collect()
}
