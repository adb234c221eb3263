//! From the file's shape to the resolved [`Config`]: names become references, and what must differ does.
//!
//! Where the shape lacks a value its mistake is already noted, and the configuration is refused; what stands in
//! for the value here is never seen by anybody.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use super::file::{At, FromScalar, Section};
use super::report::{Findings, did_you_mean, shown};
use super::{
    Admin, Backend, Balance, Check, Cluster, Config, Detail, Endpoint, HealthCheck, Metrics, PerNode,
    Placement, ProbeKind, Proxy, Quorum, Service, Timeouts, Track, Tracked, Vip, VipAddress, VipProbe,
};

/// Makes the configuration, noting what can't be.
pub(super) fn resolve(file: &Section, findings: &mut Findings<'_>) -> Config {
    let absent = Section::default();
    let part = |key| file.section(key).unwrap_or(&absent);
    let admin = admin(part("admin"));
    let checks: Vec<Check> = file.sections("check").iter().map(check).collect();
    let services: Vec<Service> = file.sections("service").iter().map(|s| service(s, findings)).collect();
    let known = Known::new(file);
    let vips = file.sections("vip").iter().map(|section| vip(section, &known, findings)).collect();
    no_vrrp_by_majority(file, findings);
    unique_names(file, findings);
    unique_vip_addresses(file, findings);
    unique_listeners(file, &admin, findings);
    let metrics = metrics(part("metrics"));
    let proxy = proxy(part("proxy"));
    Config { cluster: cluster(part("cluster"), findings), admin, metrics, proxy, checks, vips, services }
}

fn cluster(section: &Section, findings: &mut Findings<'_>) -> Cluster {
    let (_, nodes) = section.nodes::<IpAddr>("nodes");
    let mut by_address = Unique::new("node address");
    for (_, address) in &nodes {
        by_address.see(address.value.to_string(), &address.span, findings);
    }
    Cluster {
        name: section.get("name").unwrap_or_default(),
        seeds: section.list::<Endpoint>("seeds").into_iter().map(|at| at.value).collect(),
        secret_file: section.get::<String>("secret_file").unwrap_or_default().into(),
        quorum: quorum(section, nodes.len(), findings),
        witness: section.list("witness").into_iter().map(|at| at.value).collect(),
        nodes: nodes.into_iter().map(|(name, address)| (name.value, address.value)).collect(),
    }
}

fn quorum(section: &Section, named: usize, findings: &mut Findings<'_>) -> Quorum {
    let expected = section.get_at::<i64>("expected_nodes");
    if !wants_majority(section) {
        return Quorum::None;
    }
    if !section.mentions("expected_nodes") {
        let hint = format!("for example `expected_nodes = {}`", named.max(3));
        findings.absence(
            &section.span_of("quorum"),
            "`cluster.quorum`: a majority of how many nodes?".into(),
            hint,
        );
    }
    if let Some(expected) = expected.as_ref().filter(|expected| expected.value < named as i64) {
        // Two majorities of too small a number could be there side by side.
        let message = format!(
            "`cluster.expected_nodes`: {} is fewer than the {named} nodes of `[cluster.nodes]`",
            expected.value
        );
        findings.problem(&expected.span, message, format!("use {named} or more"));
    }
    Quorum::Majority { of: expected.and_then(|at| u16::try_from(at.value).ok()).unwrap_or(u16::MAX) }
}

fn wants_majority(cluster: &Section) -> bool {
    cluster.get::<String>("quorum").is_some_and(|word| word == "majority")
}

fn admin(section: &Section) -> Admin {
    let path = |key| section.get::<String>(key).filter(|path| !path.is_empty()).map(PathBuf::from);
    Admin {
        listen: section.get::<Option<SocketAddr>>("listen").flatten(),
        socket: path("socket"),
        token_file: path("token_file"),
    }
}

fn metrics(section: &Section) -> Metrics {
    Metrics {
        detail: match section.get::<String>("detail").as_deref() {
            Some("holder") => Detail::Holder,
            Some("aggregate") => Detail::Aggregate,
            // What else it may be the table of options says.
            Some(_) | None => Detail::Full,
        },
        haproxy_compat: section.get("haproxy_compat").unwrap_or_default(),
        keepalived_compat: section.get("keepalived_compat").unwrap_or_default(),
    }
}

fn proxy(section: &Section) -> Proxy {
    Proxy {
        workers: size(section, "workers"),
        max_connections: size(section, "max_connections"),
        backlog: section.get::<i64>("backlog").and_then(|b| u16::try_from(b).ok()).unwrap_or_default(),
        splice: section.get("splice").unwrap_or_default(),
        spin: section.get("spin").unwrap_or_default(),
        congestion_control: section.get("congestion_control"),
    }
}

fn check(section: &Section) -> Check {
    let interval = section.get("interval").unwrap_or_default();
    Check {
        name: section.get("name").unwrap_or_default(),
        command: section.list("command").into_iter().map(|at| at.value).collect(),
        interval,
        timeout: section.get("timeout").unwrap_or(interval),
        rise: count(section, "rise"),
        fall: count(section, "fall"),
    }
}

fn vip(section: &Section, known: &Known, findings: &mut Findings<'_>) -> Vip {
    Vip {
        name: section.get("name").unwrap_or_default(),
        addresses: vip_addresses(section, findings),
        interface: per_node(section, "interface"),
        priority: narrow(per_node(section, "priority")),
        advertisement_interval: section.get("advertisement_interval").unwrap_or_default(),
        preempt: per_node(section, "preempt"),
        preempt_delay: per_node(section, "preempt_delay"),
        preempt_damping: section.get("preempt_damping").unwrap_or(true),
        preempt_when_connections_below: section
            .get::<i64>("preempt_when_connections_below")
            .and_then(|number| u64::try_from(number).ok()),
        placement: match section.get::<String>("placement").as_deref() {
            Some("spread") => Placement::Spread,
            Some(_) | None => Placement::Address,
        },
        probe: match section.get::<String>("probe").as_deref() {
            Some("none") => VipProbe::None,
            Some(_) | None => VipProbe::Address,
        },
        track: tracks(section, known, findings),
    }
}

fn vip_addresses(section: &Section, findings: &mut Findings<'_>) -> Vec<VipAddress> {
    let one = section.get::<VipAddress>("address");
    let many = section.list::<VipAddress>("addresses");
    if section.has("address") && section.has("addresses") {
        let hint = "keep `addresses`, with all of them".to_owned();
        let span = section.span_of("address");
        findings.problem(&span, "`address` and `addresses` stand in each other's place".into(), hint);
    }
    if !section.mentions("address") && !section.mentions("addresses") {
        let hint = "for example `address = \"192.168.56.69/24\"`".to_owned();
        findings.absence(&section.span, "missing `address` in `vip`".into(), hint);
    }
    one.into_iter().chain(many.into_iter().map(|at| at.value)).collect()
}

fn tracks(section: &Section, known: &Known, findings: &mut Findings<'_>) -> Vec<Track> {
    let mut seen = Unique::new("entry of `track`");
    let mut tracks = Vec::new();
    for row in section.sections("track") {
        let service = row.get_at::<String>("service");
        let check = row.get_at::<String>("check");
        if !row.mentions("service") && !row.mentions("check") {
            let hint = "for example `{ service = \"myweb\", weight = 2 }`".to_owned();
            findings.absence(&row.span, "`vip.track`: tracks neither `service` nor `check`".into(), hint);
        }
        if let (Some(_), Some(check)) = (&service, &check) {
            let hint = "make it two entries".to_owned();
            findings.problem(&check.span, "`vip.track`: one entry tracks one thing".into(), hint);
        }
        let service = service.and_then(|name| {
            seen.see(format!("service {}", name.value), &name.span, findings);
            known.find(&name, &known.services, "service", findings).map(Tracked::Service)
        });
        let check = check.and_then(|name| {
            seen.see(format!("check {}", name.value), &name.span, findings);
            known.find(&name, &known.checks, "check", findings).map(Tracked::Check)
        });
        if let Some(what) = service.or(check) {
            tracks.push(Track {
                what,
                weight: row.get::<i64>("weight").and_then(|w| i16::try_from(w).ok()).unwrap_or_default(),
                reverse: row.get("reverse").unwrap_or_default(),
            });
        }
    }
    tracks
}

fn service(section: &Section, findings: &mut Findings<'_>) -> Service {
    let absent = Section::default();
    let timeout = section.section("timeout").unwrap_or(&absent);
    let check = section.section("check").unwrap_or(&absent);
    let interval = check.get("interval").unwrap_or_default();
    let mut backends = Unique::new("backend");
    for backend in section.sections("backend") {
        if let Some(name) = backend.get_at::<String>("name") {
            backends.see(name.value, &name.span, findings);
        }
    }
    Service {
        name: section.get("name").unwrap_or_default(),
        listen: listeners(section).map(|at| at.value).collect(),
        balance: Balance::RoundRobin,
        max_connections: size(section, "max_connections"),
        timeout: Timeouts {
            connect: timeout.get("connect").unwrap_or_default(),
            client: timeout.get("client").unwrap_or_default(),
            server: timeout.get("server").unwrap_or_default(),
        },
        check: HealthCheck {
            kind: ProbeKind::Tcp,
            interval,
            timeout: check.get("timeout").unwrap_or(interval),
            rise: count(check, "rise"),
            fall: count(check, "fall"),
        },
        backends: section.sections("backend").iter().map(backend).collect(),
    }
}

fn backend(section: &Section) -> Backend {
    let nowhere = Endpoint::Address(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
    Backend {
        name: section.get("name").unwrap_or_default(),
        address: section.get("address").unwrap_or(nowhere),
        weight: section.get::<i64>("weight").and_then(|w| u16::try_from(w).ok()).unwrap_or_default(),
    }
}

fn listeners(section: &Section) -> impl Iterator<Item = At<SocketAddr>> {
    section
        .list::<Option<SocketAddr>>("listen")
        .into_iter()
        .filter_map(|at| Some(At { value: at.value?, span: at.span }))
}

fn size(section: &Section, key: &str) -> Option<usize> {
    section.get::<i64>(key).and_then(|size| usize::try_from(size).ok())
}

fn count(section: &Section, key: &str) -> u32 {
    section.get::<i64>(key).and_then(|count| u32::try_from(count).ok()).unwrap_or_default()
}

fn per_node<T: FromScalar>(section: &Section, key: &str) -> PerNode<T> {
    let (default, nodes) = section.nodes(key);
    PerNode { default, nodes: nodes.into_iter().map(|(name, at)| (name.value, at.value)).collect() }
}

/// The table of options keeps a priority within a byte.
fn narrow(priority: PerNode<i64>) -> PerNode<u8> {
    let byte = |priority: i64| u8::try_from(priority).unwrap_or_default();
    PerNode {
        default: priority.default.map(byte),
        nodes: priority.nodes.into_iter().map(|(name, priority)| (name, byte(priority))).collect(),
    }
}

/// What `track` can name.
struct Known {
    services: BTreeMap<String, usize>,
    checks: BTreeMap<String, usize>,
}

impl Known {
    fn new(file: &Section) -> Self {
        let names = |key| {
            let named = file.sections(key).iter().enumerate();
            named.filter_map(|(index, section)| Some((section.get::<String>("name")?, index))).collect()
        };
        Self { services: names("service"), checks: names("check") }
    }

    fn find(
        &self,
        name: &At<String>,
        among: &BTreeMap<String, usize>,
        what: &str,
        findings: &mut Findings<'_>,
    ) -> Option<usize> {
        let found = among.get(&name.value).copied();
        if found.is_none() {
            let hint = match did_you_mean(&name.value, among.keys().map(String::as_str)) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None if self.services.contains_key(&name.value) => "that is a service: `service = …`".into(),
                None if self.checks.contains_key(&name.value) => "that is a check: `check = …`".into(),
                None => format!("add a `[[{what}]]` of that name"),
            };
            findings.absence(&name.span, format!("there is no {what} {}", shown(&name.value)), hint);
        }
        found
    }
}

/// Notes what comes a second time.
struct Unique {
    what: &'static str,
    seen: HashMap<String, Range<usize>>,
}

impl Unique {
    fn new(what: &'static str) -> Self {
        Self { what, seen: HashMap::new() }
    }

    fn see(&mut self, value: String, span: &Range<usize>, findings: &mut Findings<'_>) {
        if let Some(first) = self.seen.get(&value) {
            // TOML's tables come sorted by key, so the first one seen may be the second in the file.
            let (first, second) = if first.start <= span.start { (first, span) } else { (span, first) };
            let line = findings.line(first.start);
            let message = format!("duplicate {}: {}", self.what, shown(&value));
            findings.problem(second, message, format!("line {line} has it already"));
        } else {
            self.seen.insert(value, span.clone());
        }
    }
}

/// A VRRP neighbour holds without anybody's grant.
fn no_vrrp_by_majority(file: &Section, findings: &mut Findings<'_>) {
    if !file.section("cluster").is_some_and(wants_majority) {
        return;
    }
    for vip in file.sections("vip").iter().filter(|vip| vip.mentions("vrrp")) {
        let message = "`vip.vrrp` and `quorum = \"majority\"` don't go together".to_owned();
        let hint = "a VRRP neighbour holds without anybody's grant: use `quorum = \"none\"`".to_owned();
        findings.problem(&vip.span_of("vrrp"), message, hint);
    }
}

fn unique_names(file: &Section, findings: &mut Findings<'_>) {
    for key in ["check", "vip", "service"] {
        let mut names = Unique::new(key);
        for section in file.sections(key) {
            if let Some(name) = section.get_at::<String>("name") {
                names.see(name.value, &name.span, findings);
            }
        }
    }
}

fn unique_vip_addresses(file: &Section, findings: &mut Findings<'_>) {
    let mut addresses = Unique::new("virtual address");
    for vip in file.sections("vip") {
        let one = vip.get_at::<VipAddress>("address");
        for address in one.into_iter().chain(vip.list("addresses")) {
            addresses.see(address.value.ip.to_string(), &address.span, findings);
        }
    }
}

fn unique_listeners(file: &Section, admin: &Admin, findings: &mut Findings<'_>) {
    let mut listening = Unique::new("listening address");
    for service in file.sections("service") {
        for at in listeners(service) {
            listening.see(at.value.to_string(), &at.span, findings);
            if admin.listen.is_some_and(|admin| overlap(admin, at.value)) {
                let message =
                    format!("`service.listen`: {} is taken by `admin.listen`", shown(&at.value.to_string()));
                findings.problem(&at.span, message, "move one of them to another port".to_owned());
            }
        }
    }
}

fn overlap(a: SocketAddr, b: SocketAddr) -> bool {
    let any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && a.is_ipv4() == b.is_ipv4() && (any || a.ip() == b.ip())
}
