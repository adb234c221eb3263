//! The virtual IPs: what one instance on several nodes says, and what its scripts become.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use super::Report;
use super::haproxy::Service;
use super::keepalived::{Instance, Keepalived, Script, watched_proxy};
use super::plan::{Track, Tracked, Vip};
use super::words::name;

/// The clamp of an effective priority.
const HIGHEST_PRIORITY: i32 = 254;

/// What the virtual IPs are joined with.
pub(super) struct Joining<'p> {
    names: &'p [String],
    services: &'p [Service],
    /// Those that a VIP tracks.
    checks: BTreeMap<String, Script>,
    report: &'p mut Report,
}

impl<'p> Joining<'p> {
    pub(super) fn new(names: &'p [String], services: &'p [Service], report: &'p mut Report) -> Self {
        Self { names, services, checks: BTreeMap::new(), report }
    }

    /// The scripts that are tracked as they are.
    pub(super) fn checks(self) -> Vec<Script> {
        self.checks.into_values().collect()
    }

    /// Instances that share an address, or else a name, are one virtual IP on several nodes.
    pub(super) fn vips(&mut self, nodes: &[Keepalived], seeds: &[IpAddr]) -> Vec<Vip> {
        let mut vips: Vec<Vip> = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            self.unused_scripts(index, node);
            // Instances of one node are never joined with each other.
            let earlier = vips.len();
            for instance in &node.instances {
                let track = self.tracks(index, node, instance);
                let same = |vip: &&mut Vip| {
                    shares_an_address(&vip.addresses, &instance.addresses) || vip.vrrp.name == instance.name
                };
                match vips[..earlier].iter_mut().find(same) {
                    Some(vip) => self.join(index, instance, &track, vip),
                    None => vips.extend(self.vip(index, instance, track, &vips, seeds)),
                }
            }
        }
        for vip in &mut vips {
            let first = vip.interface.first().map(|(_, interface)| interface.clone());
            let same = vip.interface.iter().all(|(_, interface)| Some(interface) == first.as_ref());
            vip.everywhere = same && vip.interface.len() == nodes.len();
            self.outweighed(vip);
        }
        vips
    }

    fn vip(
        &mut self,
        index: usize,
        instance: &Instance,
        track: Vec<Track>,
        vips: &[Vip],
        seeds: &[IpAddr],
    ) -> Option<Vip> {
        let mut remarks = self.report.on(index);
        let host = |address: &String| address.split('/').next().unwrap_or_default().to_owned();
        let taken: HashSet<String> = vips.iter().flat_map(|vip| &vip.addresses).map(host).collect();
        let mut addresses = instance.addresses.clone();
        addresses.retain(|address| !taken.contains(&host(address)));
        if addresses.len() < instance.addresses.len() {
            remarks
                .left_out(instance.line, format!("instance {}: another one has its address", instance.name));
        }
        if addresses.is_empty() {
            return None;
        }
        let wanted = name(&instance.name);
        let free = |name: &String| !vips.iter().any(|vip| vip.name == *name);
        let numbered = (2..).map(|n| format!("{}-{n}", wanted.chars().take(50).collect::<String>()));
        let name = std::iter::once(wanted.clone()).chain(numbered).find(free)?;
        if name != instance.name {
            remarks.repaired(instance.line, format!("instance {}: called `{name}`", instance.name));
        }
        let node = self.names[index].clone();
        Some(Vip {
            name,
            addresses,
            interface: vec![(node.clone(), instance.interface.clone()?)],
            everywhere: false,
            priority: vec![(node.clone(), instance.priority)],
            patient: if instance.preempt { Vec::new() } else { vec![node] },
            track,
            vrrp: instance.clone(),
            peers: if instance.peers.is_empty() { Vec::new() } else { seeds.to_vec() },
        })
    }

    /// Adds another node's part.
    fn join(&mut self, index: usize, instance: &Instance, track: &[Track], vip: &mut Vip) {
        let node = self.names[index].clone();
        let mut remarks = self.report.on(index);
        if vip.priority.iter().any(|(known, _)| *known == node) {
            let text = format!("instance {}: the node has a part in `{}` already", instance.name, vip.name);
            remarks.left_out(instance.line, text);
            return;
        }
        if instance.name != vip.vrrp.name {
            remarks.note(
                instance.line,
                format!("instance {}: called `{}`, like the first node's", instance.name, vip.name),
            );
        }
        if sorted(&instance.addresses) != sorted(&vip.addresses) {
            let text =
                format!("instance {}: its addresses differ; the first node's are taken", instance.name);
            remarks.left_out(instance.line, text);
        }
        if *track != vip.track[..] {
            let text = format!(
                "instance {}: it tracks other things or by other weights; the first node's count",
                instance.name
            );
            remarks.left_out(instance.line, text);
        }
        if instance.vrid != vip.vrrp.vrid || instance.password != vip.vrrp.password {
            let text =
                format!("instance {}: id or password differ, so keepalived had two holders", instance.name);
            remarks.repaired(instance.line, text);
        }
        if let Some(interface) = &instance.interface {
            vip.interface.push((node.clone(), interface.clone()));
        }
        vip.priority.push((node.clone(), instance.priority));
        if !instance.preempt {
            vip.patient.push(node);
        }
    }

    fn tracks(&mut self, index: usize, node: &Keepalived, instance: &Instance) -> Vec<Track> {
        let mut track: Vec<Track> = Vec::new();
        for entry in &instance.tracks {
            let Some(script) = node.scripts.iter().find(|script| script.name == entry.script) else {
                let text =
                    format!("there is no script `{}` to track, and keepalived ignores it", entry.script);
                self.report.on(index).left_out(entry.line, text);
                continue;
            };
            let weight = entry.weight.unwrap_or(script.weight);
            if weight.weight == 0 && !self.services.is_empty() && watched_proxy(&script.command).is_some() {
                let text = "weight 0: a node without a backend that is up holds nothing, so with none up anywhere no node does";
                self.report.on(index).note(entry.line, text);
            }
            let found = self.tracked(index, script);
            for what in found {
                if !track.iter().any(|known| known.what == what) {
                    track.push(Track { what, weight });
                }
            }
        }
        track
    }

    /// What takes a script's place.
    fn tracked(&mut self, index: usize, script: &Script) -> Vec<Tracked> {
        let mut remarks = self.report.on(index);
        if let Some(way) = watched_proxy(&script.command)
            && !self.services.is_empty()
        {
            let names = self.services.iter().map(|service| format!("`{}`", service.name)).collect::<Vec<_>>();
            let text = format!(
                "script {}: `{way}` asks whether the proxy is alive; tracking {} tells at once, and whether a backend is up",
                script.name,
                names.join(", ")
            );
            remarks.note(script.line, text);
            return self.services.iter().map(|service| Tracked::Service(service.name.clone())).collect();
        }
        let name = name(&script.name);
        let mut script = Script { name: name.clone(), ..script.clone() };
        script.interval = script.interval.min(Duration::from_secs(3600)).max(Duration::from_millis(10));
        script.timeout = script
            .timeout
            .map(|timeout| timeout.min(Duration::from_secs(3600)).max(Duration::from_millis(10)));
        if script.command.iter().any(|word| word.contains(['|', ';', '&', '`', '$', '<', '>'])) {
            remarks.note(script.line, format!("check {name}: there is no shell, here as with keepalived"));
        }
        match self.checks.get(&name) {
            Some(known)
                if *known != (Script { line: known.line, weight: known.weight, ..script.clone() }) =>
            {
                remarks.left_out(script.line, format!("script {name} differs; the first one counts"));
            }
            Some(_) => {}
            None => {
                self.checks.insert(name.clone(), script);
            }
        }
        vec![Tracked::Check(name)]
    }

    fn unused_scripts(&mut self, index: usize, node: &Keepalived) {
        let used = |script: &&Script| {
            !node
                .instances
                .iter()
                .any(|instance| instance.tracks.iter().any(|entry| entry.script == script.name))
        };
        for script in node.scripts.iter().filter(used) {
            self.report.on(index).note(
                script.line,
                format!("script {} is tracked by no instance that is carried over", script.name),
            );
        }
    }

    /// A weight that counts once for each service could lift all nodes to the highest priority, where they tie;
    /// taken away instead of added it keeps their order.
    fn outweighed(&mut self, vip: &mut Vip) {
        let highest = vip.priority.iter().map(|(_, priority)| i32::from(*priority)).max().unwrap_or_default();
        let added: i32 = vip.track.iter().map(|track| i32::from(track.weight.weight.max(0))).sum();
        if self.services.len() < 2 || highest + added <= HIGHEST_PRIORITY {
            return;
        }
        for track in &mut vip.track {
            if matches!(track.what, Tracked::Service(_)) && track.weight.weight > 0 {
                track.weight.weight = -track.weight.weight;
            }
        }
        let text = format!(
            "instance {}: the weights of all services would add up beyond {HIGHEST_PRIORITY}; they are taken away from a node that fails instead",
            vip.vrrp.name
        );
        self.report.on(0).note(0, text);
    }
}

fn shares_an_address(some: &[String], others: &[String]) -> bool {
    let host = |address: &str| address.split('/').next().unwrap_or_default().to_owned();
    some.iter().any(|one| others.iter().any(|other| host(one) == host(other)))
}

fn sorted(addresses: &[String]) -> Vec<&String> {
    let mut sorted: Vec<&String> = addresses.iter().collect();
    sorted.sort();
    sorted
}
