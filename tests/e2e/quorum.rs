//! Three nodes of which two have to agree: never two holders, and none without a majority.

use std::time::Duration;

use chinthe::lab::{ConfigSource, Lab, LabError, Sandbox};

use crate::cluster::{SEED, file};
use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, LEASE, PATIENCE, Scene, has_vip, holder};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("quorum::each_failure_of_the_holder_moves_the_vip_once", each_failure_moves_it),
    Test::inside("quorum::a_holder_cut_off_lets_go_before_another_takes_over", a_holder_cut_off),
    Test::inside("quorum::without_a_majority_nobody_holds_it_and_status_says_so", without_a_majority),
    Test::inside("quorum::a_witness_votes_and_holds_nothing", a_witness_votes),
    Test::inside("quorum::a_daemon_killed_with_its_guard_is_waited_for", killed_with_its_guard),
];

/// Two of three have to agree.
const MAJORITY: &str = "quorum = \"majority\"\nexpected_nodes = 3\n";

fn start(sandbox: Sandbox, more: &str) -> Result<Scene, LabError> {
    let seeds = [SEED, "192.168.56.22", "192.168.56.23"];
    let text = file(&seeds, "500ms", &format!("{MAJORITY}{more}"));
    Scene::of(scene::post(sandbox).nodes(3).config(ConfigSource::Text(text)))
}

/// Nothing that ha1 says to the other nodes' addresses arrives, nor the other way round; or all of it again.
fn cut_ha1_off(lab: &Lab, cut: bool) -> Result<(), LabError> {
    for other in ["ha2", "ha3"] {
        for (from, to) in [("ha1", other), (other, "ha1")] {
            if cut { lab.cut(from, to)? } else { lab.heal(from, to)? }
        }
    }
    Ok(())
}

fn each_failure_moves_it(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, "")?;
    let status = scene.node("ha1")?.status()?;
    assert_eq!(status["quorum"], "majority", "{status}");
    assert_eq!(status["majority"]["needed"], 2, "{status}");
    let granted = status["vips"][0]["grants"]["granted_by"].as_array().map_or(0, Vec::len);
    assert!(granted >= 2, "{status}");
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.terminate())?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    scene.await_home()?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    scene.await_home()?;
    scene.moves_to("ha2", PATIENCE, |lab| lab.node("ha1")?.power_off())?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_holder_cut_off(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, "")?;
    let ha1 = scene.node("ha1")?;
    scene.moves_to("ha2", PATIENCE, |lab| cut_ha1_off(lab, true))?;
    assert!(!has_vip(ha1.machine()));
    scene.lab.wait_for("ha1 to say why", PATIENCE, || {
        ha1.log_text().contains("from=\"active\" to=\"backup\" cause=\"no_majority\"")
    })?;
    // Beacons still arrive, so that it sees who holds the VIP; a grant of the others' doesn't.
    scene.lab.wait_for("ha1 to say that it doesn't hold it", PATIENCE, || {
        holder(ha1).is_none_or(|name| name != "ha1")
            && ha1.metric("chinthe_vip_grants{vip=\"vi_1\"}").is_ok_and(|grants| grants < Some(2.0))
    })?;
    scene.moves_to("ha1", PATIENCE, |lab| cut_ha1_off(lab, false))?;
    scene.assert_one_answerer();
    Ok(())
}

fn without_a_majority(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, "")?;
    let ha1 = scene.node("ha1")?;
    scene.node("ha2")?.power_off()?;
    scene.await_holder("ha1", PATIENCE)?;
    scene.node("ha3")?.power_off()?;
    scene.lab.wait_for("the last node to let go", PATIENCE, || !has_vip(ha1.machine()))?;
    scene.lab.wait_for("status to say so", PATIENCE, || {
        let output = ha1.command().arg("status").output();
        output.is_ok_and(|output| {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            output.status.code() == Some(3)
                && text.contains("degraded: no majority: 1 of 3 nodes are here, it takes 2 to hold a VIP")
                && text.contains("degraded: nobody holds `vi_1`")
        })
    })?;
    assert_eq!(ha1.metric("chinthe_quorum_nodes{kind=\"present\"}")?, Some(1.0));
    assert_eq!(ha1.metric("chinthe_quorum_nodes{kind=\"needed\"}")?, Some(2.0));
    assert!(!has_vip(ha1.machine()), "it stays so");
    scene.node("ha3")?.power_on()?;
    scene.await_holder("ha1", PATIENCE)?;
    assert_eq!(ha1.metric("chinthe_vip_grants{vip=\"vi_1\"}")?, Some(2.0));
    scene.assert_one_answerer();
    Ok(())
}

fn a_witness_votes(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, "witness = [\"ha3\"]\n")?;
    let (ha1, ha3) = (scene.node("ha1")?, scene.node("ha3")?);
    let status = ha3.status()?;
    assert_eq!(status["vips"][0]["state"], "initialize", "{status}");
    assert_eq!(status["services"], serde_json::json!([]), "{status}");
    assert_eq!(status["members"][2]["witness"], true, "{status}");
    scene.moves_to("ha2", PATIENCE, |lab| lab.node("ha1")?.power_off())?;
    let ha2 = scene.node("ha2")?;
    let status = ha2.status()?;
    assert_eq!(status["vips"][0]["grants"]["granted_by"], serde_json::json!(["ha2", "ha3"]), "{status}");
    ha2.power_off()?;
    scene.lab.wait_for("the witness to be alone", PATIENCE, || {
        ha3.status().is_ok_and(|status| status["majority"]["present"] == 1)
    })?;
    assert!(!has_vip(ha3.machine()));
    ha1.power_on()?;
    scene.await_holder("ha1", PATIENCE)?;
    scene.assert_one_answerer();
    Ok(())
}

fn killed_with_its_guard(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox, "")?;
    scene.moves_to("ha2", LEASE + Duration::from_secs(1), |lab| lab.node("ha1")?.kill9_both())?;
    scene.assert_one_answerer();
    Ok(())
}
