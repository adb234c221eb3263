//! What is allowed and most likely not meant. Each lint names the trap that it keeps people out of.

use std::collections::BTreeSet;

use super::file::Section;
use super::report::{Findings, did_you_mean, shown};
use super::{Config, Endpoint, Quorum, Track, Tracked, Vip};

/// How many things a VIP may track, and how many nodes may be named, for the weights to be judged: the judgement
/// tries all combinations of well and not well.
const MOST_TRACKED: usize = 5;
const MOST_NODES: usize = 8;

/// The priority that nothing moves: the address owner's.
const OWNER: u8 = 255;

/// Notes what is odd about a configuration that is right.
pub(super) fn lint(file: &Section, config: &Config, findings: &mut Findings<'_>) {
    let cluster = file.section("cluster");
    if config.cluster.seeds.is_empty() && config.cluster.nodes.len() < 2 && !config.vips.is_empty() {
        let span = cluster.map_or(0..0, |cluster| cluster.span_of("seeds"));
        let hint = "name the other nodes in `seeds`".to_owned();
        findings.lint(&span, "no other node is named: nobody can take over".into(), hint);
    }
    if let Some(cluster) = cluster {
        lint_quorum(cluster, config, findings);
    }
    for (vip, section) in config.vips.iter().zip(file.sections("vip")) {
        lint_vip(vip, section, config, findings);
    }
    for (service, section) in config.services.iter().zip(file.sections("service")) {
        if service.backends.is_empty() {
            let message = format!(
                "service {} has no backends: its connections are closed at once",
                shown(&service.name)
            );
            findings.lint(&section.span, message, "add a `[[service.backend]]`".to_owned());
        }
        for (backend, place) in service.backends.iter().zip(section.sections("backend")) {
            let Endpoint::Address(to) = backend.address else { continue };
            let held = config.vips.iter().flat_map(|vip| &vip.addresses).any(|address| address.ip == to.ip());
            if held && service.listen.iter().any(|listen| listen.port() == to.port()) {
                let message =
                    format!("backend {} is this service itself, by its virtual IP", shown(&backend.name));
                findings.lint(&place.span_of("address"), message, "name the machine that serves".to_owned());
            }
        }
    }
    for (index, section) in file.sections("check").iter().enumerate() {
        let tracked = |vip: &Vip| vip.track.iter().any(|track| track.what == Tracked::Check(index));
        if !config.vips.iter().any(tracked) {
            let message = format!("check {} is tracked by no vip", shown(&config.checks[index].name));
            findings.lint(&section.span, message, "add it to a `track`, or remove it".to_owned());
        }
    }
}

fn lint_quorum(cluster: &Section, config: &Config, findings: &mut Findings<'_>) {
    let nodes = &config.cluster.nodes;
    let Quorum::Majority { of } = config.cluster.quorum else {
        for key in ["expected_nodes", "witness"].into_iter().filter(|key| cluster.mentions(key)) {
            let message = format!("`{key}` counts with `quorum = \"majority\"` only");
            findings.lint(&cluster.span_of(key), message, "leave it out, or ask for a majority".to_owned());
        }
        return;
    };
    let span = cluster.span_of("expected_nodes");
    if of == 2 {
        let message = "a majority of 2 is both: when either dies, nobody holds a virtual IP".to_owned();
        let hint = "add a third node, which may be a `witness`, or use `quorum = \"none\"`".to_owned();
        findings.lint(&span, message, hint);
    } else if of.is_multiple_of(2) {
        let message = format!("{of} nodes survive the death of no more than {} would", of - 1);
        findings.lint(&span, message, "an odd number is enough; one may be a `witness`".to_owned());
    }
    let witnesses = cluster.list::<String>("witness");
    for witness in witnesses.iter().filter(|witness| !nodes.contains_key(&witness.value)) {
        if let Some(meant) = did_you_mean(&witness.value, nodes.keys().map(String::as_str)) {
            let message = format!("`[cluster.nodes]` has no {}", shown(&witness.value));
            findings.lint(&witness.span, message, format!("did you mean `{meant}`?"));
        }
    }
    if witnesses.len() >= usize::from(of) {
        let message = "all nodes are witnesses: nobody can hold a virtual IP".to_owned();
        findings.lint(&cluster.span_of("witness"), message, "let most of them hold".to_owned());
    }
}

fn lint_vip(vip: &Vip, section: &Section, config: &Config, findings: &mut Findings<'_>) {
    if vip.track.is_empty() && !config.services.is_empty() {
        let message = format!("vip {} tracks nothing: it stays on a node that can't serve", shown(&vip.name));
        let hint =
            format!("for example `track = [{{ service = \"{}\", weight = 2 }}]`", config.services[0].name);
        findings.lint(&section.span, message, hint);
    }
    if vip.priority.nodes.values().filter(|priority| **priority == OWNER).count() > 1
        || vip.priority.default == Some(OWNER)
    {
        let message = "priority 255 on several nodes: only one can be the address's owner".to_owned();
        findings.lint(&section.span_of("priority"), message, "use 1 to 254".to_owned());
    }
    near_misses(section, config, findings);
    for (index, row) in section.sections("track").iter().enumerate() {
        if vip.track.len() == section.sections("track").len() && useless(vip, index, config) {
            let weight = vip.track[index].weight;
            let message = format!("weight {weight} can never change the holder");
            findings.lint(&row.span_of("weight"), message, useful(vip, index, config));
        }
    }
}

/// Names of nodes that look like slips of those in `[cluster.nodes]`; other names may be of nodes that join.
fn near_misses(section: &Section, config: &Config, findings: &mut Findings<'_>) {
    let known = &config.cluster.nodes;
    let names = section.nodes::<String>("interface").1.into_iter().map(|(name, _)| name);
    let names = names.chain(section.nodes::<i64>("priority").1.into_iter().map(|(name, _)| name));
    let names = names.chain(section.nodes::<bool>("preempt").1.into_iter().map(|(name, _)| name));
    for name in names.filter(|name| !known.contains_key(&name.value)) {
        if let Some(meant) = did_you_mean(&name.value, known.keys().map(String::as_str)) {
            let message = format!("`[cluster.nodes]` has no {}", shown(&name.value));
            findings.lint(&name.span, message, format!("did you mean `{meant}`?"));
        }
    }
}

/// A node as far as the election of one VIP sees it.
#[derive(Clone, Copy)]
struct Candidate {
    base: u8,
    preempt: bool,
}

/// The nodes that are named anywhere, and one that isn't where others may join.
fn candidates(vip: &Vip, config: &Config) -> Vec<Candidate> {
    let mut names: BTreeSet<&str> = config.cluster.nodes.keys().map(String::as_str).collect();
    names.extend(vip.priority.nodes.keys().map(String::as_str));
    let mut all: Vec<Candidate> = names
        .into_iter()
        .filter_map(|name| Some(Candidate { base: *vip.priority.on(name)?, preempt: *vip.preempt.on(name)? }))
        .collect();
    if let (true, Some(base), Some(preempt)) =
        (config.cluster.nodes.is_empty(), vip.priority.default, vip.preempt.default)
    {
        all.push(Candidate { base, preempt });
    }
    all
}

/// Whether the tracked thing at `index` can't ever decide between two nodes, whatever else is well or not.
fn useless(vip: &Vip, index: usize, config: &Config) -> bool {
    let nodes = candidates(vip, config);
    // Weight 0 doesn't add up with anything: not well is not eligible.
    let weighs = vip.track[index].weight != 0;
    if !weighs || nodes.len() < 2 || nodes.len() > MOST_NODES || vip.track.len() > MOST_TRACKED {
        return false;
    }
    let pairs = || {
        nodes.iter().enumerate().flat_map(|(i, a)| nodes.iter().enumerate().map(move |(j, b)| (i, a, j, b)))
    };
    !pairs().filter(|(i, _, j, _)| i != j).any(|(_, holder, _, challenger)| {
        challenger.preempt && decides(*holder, *challenger, &vip.track, index)
    })
}

/// Whether there are states in which the tracked thing, changing on either node, lets the challenger take over.
fn decides(holder: Candidate, challenger: Candidate, track: &[Track], index: usize) -> bool {
    let bit = 1_u32 << index;
    let states = 0..1_u32 << track.len();
    let beats =
        |mine: u32, theirs: u32| effective(challenger, track, theirs) > effective(holder, track, mine);
    states.clone().any(|mine| {
        states.clone().any(|theirs| {
            beats(mine, theirs) != beats(mine ^ bit, theirs)
                || beats(mine, theirs) != beats(mine, theirs ^ bit)
        })
    })
}

/// VRRP's sum: base and weights, held to 1..=254; the owner's priority stands still. A bit set is a thing well.
fn effective(node: Candidate, track: &[Track], well: u32) -> i32 {
    if node.base == OWNER {
        return i32::from(OWNER);
    }
    let contribution = |(index, track): (usize, &Track)| {
        let weight = i32::from(track.weight);
        let well = well & (1 << index) != 0;
        match (weight > 0, well, track.reverse) {
            (true, true, false) | (false, false, false) => weight,
            (true, true, true) | (false, false, true) => -weight,
            (true, false, _) | (false, true, _) => 0,
        }
    };
    (i32::from(node.base) + track.iter().enumerate().map(contribution).sum::<i32>()).clamp(1, 254)
}

/// What would make the weight count.
fn useful(vip: &Vip, index: usize, config: &Config) -> String {
    let nodes = candidates(vip, config);
    if nodes.iter().all(|node| !node.preempt) {
        return "with `preempt = false` everywhere only weight 0 makes a node let go".into();
    }
    let mut bases: Vec<i32> =
        nodes.iter().map(|node| i32::from(node.base)).filter(|base| *base != i32::from(OWNER)).collect();
    bases.sort_unstable();
    let gap = bases.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 0).min();
    match gap {
        Some(gap) if bases.len() == nodes.len() => {
            let enough = if vip.track[index].weight < 0 { -gap - 1 } else { gap + 1 };
            format!(
                "the closest priorities are {gap} apart: {enough} would do; 0 makes a node let go in any case"
            )
        }
        _ => "use weight 0: a node where it is not well holds nothing".into(),
    }
}
