//! Six VIPs on three equal nodes: two each, and as few moves as possible when a node goes and comes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use chinthe::lab::{ConfigSource, Lab, LabError, Node, Sandbox};

use crate::cluster::{SEED, file};
use crate::harness::{Outcome, Test};
use crate::scene::{self, PATIENCE};

pub(crate) const TESTS: &[Test] =
    &[Test::inside("spread::six_vips_are_two_for_each_of_three_nodes_and_few_of_them_move", six_vips)];

const VIPS: usize = 6;

/// Six VIPs, one of them of two addresses, on equal nodes.
fn text() -> String {
    let post = file(&[SEED, "192.168.56.22", "192.168.56.23"], "500ms", "");
    let (head, rest) = post.split_once("[[vip]]").expect("it has one");
    let (_, services) = rest.split_once("[[service]]").expect("it has one");
    let mut text = head.to_owned();
    for number in 1..=VIPS {
        let more = if number == 1 { ", \"192.168.56.80\"" } else { "" };
        let _ = write!(
            text,
            "[[vip]]\nname = \"vi_{number}\"\naddresses = [\"192.168.56.{}\"{more}]\ninterface = \"eth1\"\n\
             placement = \"spread\"\ntrack = [{{ service = \"myweb\", weight = 2 }}]\n\n",
            80 + number
        );
    }
    text + "[[service]]" + services
}

/// Who holds each VIP, as `node` says.
fn holders(node: &Node) -> BTreeMap<String, String> {
    let Ok(status) = node.status() else { return BTreeMap::new() };
    let vips = status["vips"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("nobody").to_owned();
    vips.iter().map(|vip| (text(&vip["name"]), text(&vip["holder"]))).collect()
}

/// Waits until these nodes, and nobody else, hold so many each, and all of them say the same.
fn await_shares(lab: &Lab, wanted: &[(&str, usize)]) -> Result<BTreeMap<String, String>, LabError> {
    let nodes: Vec<&Node> = lab.nodes().iter().filter(|node| node.daemon().is_ok()).collect();
    let mut seen = BTreeMap::new();
    lab.wait_for(&format!("shares of {wanted:?}"), PATIENCE, || {
        let all: Vec<_> = nodes.iter().map(|node| holders(node)).collect();
        seen = all[0].clone();
        all.iter().all(|one| *one == seen)
            && seen.len() == VIPS
            && wanted.iter().all(|(name, share)| seen.values().filter(|h| h == name).count() == *share)
    })
    .inspect_err(|_| eprintln!("{seen:?}"))?;
    Ok(seen)
}

fn moved(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    before
        .iter()
        .filter(|(vip, holder)| after.get(*vip) != Some(holder))
        .map(|(vip, _)| vip.clone())
        .collect()
}

fn six_vips(sandbox: Sandbox) -> Outcome {
    let lab = scene::post(sandbox).nodes(3).config(ConfigSource::Text(text())).start()?;
    let thirds = [("ha1", 2), ("ha2", 2), ("ha3", 2)];
    let before = await_shares(&lab, &thirds)?;
    let ha1 = lab.node("ha1")?;
    // What belongs to one VIP is on one node.
    let first = lab.witness(Ipv4Addr::new(192, 168, 56, 80))?;
    let second = lab.witness(Ipv4Addr::new(192, 168, 56, 81))?;
    let together = || {
        let holder = first.holder();
        holder.is_some() && holder == second.holder() && holder == holders(ha1).remove("vi_1")
    };
    lab.wait_for("both addresses of vi_1 to be answered for by its holder", PATIENCE, together)?;

    lab.node("ha3")?.power_off()?;
    let without = await_shares(&lab, &[("ha1", 3), ("ha2", 3)])?;
    let of_ha3 = before.values().filter(|holder| *holder == "ha3").count();
    // Its own, and one more at the most, where both had gone to the same node.
    assert!(moved(&before, &without).len() <= of_ha3 + 1, "{before:?}, then {without:?}");

    lab.node("ha3")?.power_on()?;
    let again = await_shares(&lab, &thirds)?;
    let back = moved(&without, &again);
    assert_eq!(back.len(), 2, "{without:?}, then {again:?}");
    assert!(back.iter().all(|vip| again[vip] == "ha3"));
    lab.wait_for("both addresses of vi_1 to be answered for by its holder", PATIENCE, together)?;
    assert_eq!(first.double_answers() + second.double_answers(), 0);
    Ok(())
}
