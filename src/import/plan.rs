//! One cluster out of what several nodes' files say.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::config::{is_name, parse_listen};

use super::haproxy::Service;
use super::join::Joining;
use super::keepalived::{Instance, Keepalived, Script, Weight};
use super::words::name;
use super::{Report, Severity};

/// Where our own admin server listens unless told otherwise.
const ADMIN_PORT: u16 = 7781;

/// All that the file will say.
#[derive(Debug)]
pub(super) struct Plan {
    /// The imported files, without their folders.
    pub(super) sources: Vec<String>,
    pub(super) name: String,
    pub(super) seeds: Vec<IpAddr>,
    pub(super) nodes: Vec<(String, IpAddr)>,
    pub(super) checks: Vec<Script>,
    pub(super) vips: Vec<Vip>,
    pub(super) services: Vec<Service>,
}

/// `[[vip]]`.
#[derive(Debug)]
pub(super) struct Vip {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    /// On the nodes that have it.
    pub(super) interface: Vec<(String, String)>,
    /// Whether other nodes have it on the same interface, too.
    pub(super) everywhere: bool,
    pub(super) priority: Vec<(String, u8)>,
    /// The nodes that don't preempt.
    pub(super) patient: Vec<String>,
    pub(super) track: Vec<Track>,
    /// The first node's instance, for what is only shown.
    pub(super) vrrp: Instance,
    pub(super) peers: Vec<IpAddr>,
}

/// An entry of `track`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) what: Tracked,
    pub(super) weight: Weight,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Tracked {
    Service(String),
    Check(String),
}

/// Joins the nodes, whose order is that of the report's first files.
pub(super) fn plan(nodes: &[Keepalived], services: Vec<Service>, report: &mut Report) -> Plan {
    let sources = report.files.iter().map(|file| base_name(file).to_owned()).collect();
    let services = merged_services(services, report);
    let names = node_names(nodes, report);
    let addresses = node_addresses(nodes);
    let mut seeds: Vec<IpAddr> = addresses.iter().flatten().copied().collect();
    for peer in nodes.iter().flat_map(|node| &node.instances).flat_map(|instance| &instance.peers) {
        if !seeds.contains(peer) {
            seeds.push(*peer);
        }
    }
    let mut joining = Joining::new(&names, &services, report);
    let vips = joining.vips(nodes, &seeds);
    let checks = joining.checks();
    if seeds.is_empty() && !(vips.is_empty() && services.is_empty()) {
        let severity = if vips.is_empty() { Severity::Note } else { Severity::LeftOut };
        report.on(0).add(0, severity, "no peers are known: name the other nodes in `seeds`");
    }
    let mut placed: Vec<(String, IpAddr)> = Vec::new();
    for (index, (name, address)) in names.into_iter().zip(addresses).enumerate() {
        let Some(address) = address else { continue };
        if let Some((other, _)) = placed.iter().find(|(_, taken)| *taken == address) {
            report.on(index).left_out(0, format!("node {name} has the address of node {other}: {address}"));
        } else {
            placed.push((name, address));
        }
    }
    let name = services.first().map_or("chinthe".to_owned(), |service| service.name.clone());
    Plan { sources, name, seeds, nodes: placed, checks, vips, services }
}

fn base_name(file: &str) -> &str {
    Path::new(file).file_name().and_then(|name| name.to_str()).unwrap_or(file)
}

/// `router_id`, else the file's name; where two nodes would have the same, the folder's, else a number.
fn node_names(nodes: &[Keepalived], report: &mut Report) -> Vec<String> {
    let router_id = |index: usize| nodes[index].router_id.as_ref().map(|(id, _)| name(id));
    let stem = |index: usize, report: &Report| {
        let file = base_name(&report.files[index]);
        let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
        name(stem.strip_prefix("keepalived-").unwrap_or(stem))
    };
    let folder = |index: usize, report: &Report| {
        let folder = Path::new(&report.files[index]).parent()?.file_name()?.to_str()?;
        is_name(folder).then(|| folder.to_owned())
    };
    let all = |of: &dyn Fn(usize) -> Option<String>| (0..nodes.len()).map(of).collect::<Vec<_>>();
    let files = all(&|index| Some(stem(index, report)));
    let wanted: Vec<String> =
        (0..nodes.len()).filter_map(|index| router_id(index).or_else(|| files[index].clone())).collect();
    let distinct = |names: &[String]| names.iter().collect::<HashSet<_>>().len() == names.len();
    if distinct(&wanted) {
        return wanted;
    }
    let folders = all(&|index| folder(index, report));
    let numbers = all(&|index| Some(format!("node{}", index + 1)));
    let chosen = [files, folders, numbers]
        .into_iter()
        .filter_map(|names| names.into_iter().collect::<Option<Vec<String>>>())
        .find(|names| distinct(names))
        .unwrap_or_default();
    for (index, chosen) in chosen.iter().enumerate() {
        let line = nodes[index].router_id.as_ref().map_or(0, |(_, line)| *line);
        report
            .on(index)
            .repaired(line, format!("several nodes are called `{}`: this one is `{chosen}`", wanted[index]));
    }
    chosen
}

/// Each node's own address; where one alone has none, the one peer that isn't anybody's is its.
fn node_addresses(nodes: &[Keepalived]) -> Vec<Option<IpAddr>> {
    let mut own: Vec<Option<IpAddr>> =
        nodes.iter().map(|node| node.instances.iter().find_map(|instance| instance.source)).collect();
    let peers = nodes.iter().flat_map(|node| &node.instances).flat_map(|instance| &instance.peers);
    let strangers: HashSet<IpAddr> = peers.filter(|peer| !own.contains(&Some(**peer))).copied().collect();
    let mut without = own.iter_mut().filter(|address| address.is_none());
    if let (Some(one), None, 1) = (without.next(), without.next(), strangers.len()) {
        *one = strangers.into_iter().next();
    }
    own
}

/// Services of all files: the same one on several nodes is one.
fn merged_services(services: Vec<Service>, report: &mut Report) -> Vec<Service> {
    let mut merged: Vec<Service> = Vec::new();
    let mut taken: HashSet<String> = HashSet::new();
    for mut service in services {
        let (file, line) = service.place;
        if let Some(known) = merged.iter().find(|known| known.name == service.name) {
            let same =
                Service { place: known.place, listen: known.listen.clone(), ..service.clone() } == *known;
            if !(same && known.place.0 != file) {
                let text = format!("{} is not the first of its name", service.origin);
                report.on(file).left_out(line, text);
            }
            continue;
        }
        service.listen.retain(|at| {
            let admin = parse_listen(at).is_some_and(|at| {
                at.port() == ADMIN_PORT && (at.ip().is_loopback() || at.ip() == Ipv4Addr::UNSPECIFIED)
            });
            let free = !admin && taken.insert(at.clone());
            if !free {
                report
                    .on(file)
                    .left_out(line, format!("{} can't listen on {at}, which is taken", service.origin));
            }
            free
        });
        if service.listen.is_empty() {
            report.on(file).left_out(line, format!("{}: no address is left to listen on", service.origin));
        } else {
            merged.push(service);
        }
    }
    merged
}
