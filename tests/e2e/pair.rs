//! The pair when nothing happens: who holds the VIP, what it says of itself, and how it shares its clients out.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use chinthe::lab::{ConfigSource, Lab, Sandbox, TARGET};

use crate::harness::{Outcome, Test};
use crate::scene::{self, PATIENCE, VIP, backend, has_vip, holder, is_ready};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("pair::the_first_node_holds_the_vip_at_priority_103", the_first_node_holds_it_at_103),
    Test::inside("pair::a_hundred_requests_are_fifty_for_each_backend", a_hundred_requests_are_fifty_each),
    Test::inside("pair::both_nodes_tell_the_same_story", both_nodes_tell_the_same_story),
    Test::inside("pair::the_admin_server_answers_on_every_path", the_admin_server_answers_on_every_path),
    Test::inside("pair::every_metric_is_there_from_the_start", every_metric_is_there_from_the_start),
    Test::inside("pair::status_prints_a_table_and_0_when_all_is_well", status_prints_a_table),
    Test::inside("pair::daemon_and_guard_are_called_chinthe", daemon_and_guard_are_called_chinthe),
    Test::inside("pair::the_holder_alone_has_the_address_and_announces_it", only_the_holder_has_the_address),
];

fn the_first_node_holds_it_at_103(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let (ha1, ha2) = (scene.node("ha1")?, scene.node("ha2")?);
    let vip = &ha1.status()?["vips"][0];
    assert_eq!((&vip["state"], &vip["holder"]), (&"active".into(), &"ha1".into()), "{vip}");
    assert_eq!((&vip["base_priority"], &vip["effective_priority"]), (&101.into(), &103.into()), "{vip}");
    let series = |kind: &str| format!("chinthe_vip_priority{{vip=\"vi_1\",kind=\"{kind}\"}}");
    assert_eq!(ha1.metric(&series("base"))?, Some(101.0));
    assert_eq!(ha1.metric(&series("effective"))?, Some(103.0));
    assert_eq!(ha2.metric(&series("effective"))?, Some(102.0));
    let weights = ha1.metrics()?;
    let weights: Vec<&str> = weights.lines().filter(|l| l.starts_with("chinthe_vip_track_weight{")).collect();
    assert!(weights.len() == 1 && weights[0].ends_with(" 2"), "{weights:?}");
    for (node, active) in [(ha1, 1.0), (ha2, 0.0)] {
        assert_eq!(node.metric("chinthe_vip_active{vip=\"vi_1\"}")?, Some(active), "{}", node.name());
        assert_eq!(
            node.metric("chinthe_vip_address_present{vip=\"vi_1\"}")?,
            Some(active),
            "{}",
            node.name()
        );
    }
    scene.assert_one_answerer();
    Ok(())
}

fn only_the_holder_has_the_address(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    assert!(has_vip(scene.lab.machine("ha1")?));
    assert!(!has_vip(scene.lab.machine("ha2")?));
    assert!(scene.witness.announcements("ha1") > 0);
    assert_eq!(scene.witness.announcements("ha2"), 0);
    Ok(())
}

fn a_hundred_requests_are_fifty_each(sandbox: Sandbox) -> Outcome {
    // Without the scene's client: every request counts.
    let lab = scene::post(sandbox).start()?;
    let witness = lab.witness(VIP)?;
    let ha1 = lab.node("ha1")?;
    lab.wait_for("ha1 to hold the VIP", PATIENCE, || witness.holder().as_deref() == Some("ha1"))?;
    for name in ["web1", "web2"] {
        lab.wait_for("the backends to be up", PATIENCE, || {
            backend(ha1, name).is_ok_and(|b| b["health"] == "up")
        })?;
    }
    let mut answers: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..100 {
        *answers.entry(ask(&lab)?).or_default() += 1;
    }
    assert_eq!(answers, BTreeMap::from([("web1".into(), 50), ("web2".into(), 50)]));
    lab.wait_for("the counters to say so", PATIENCE, || {
        ["web1", "web2"].into_iter().all(|name| {
            let series = format!("chinthe_backend_connections_total{{service=\"myweb\",backend=\"{name}\"}}");
            ha1.metric(&series).is_ok_and(|value| value == Some(50.0))
        })
    })?;
    Ok(())
}

/// One request of the client's by way of the VIP: who answered.
fn ask(lab: &Lab) -> Result<String, Box<dyn std::error::Error>> {
    let answer = lab.machine("client")?.space().within(|| {
        let mut stream = TcpStream::connect(TARGET)?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.trim().to_owned());
    Ok(body.ok_or_else(|| io::Error::other(answer))?)
}

fn both_nodes_tell_the_same_story(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    // A node is a candidate once it has caught up with the others, whoever holds the VIP until then.
    let seen_ready = |status: &serde_json::Value| {
        let candidates = status["vips"][0]["candidates"].as_array().cloned().unwrap_or_default();
        candidates.len() == 2 && candidates.iter().all(|candidate| candidate["eligible"] == true)
    };
    for node in scene.lab.nodes() {
        let name = node.name();
        scene.lab.wait_for(&format!("{name} to see both nodes ready"), PATIENCE, || {
            node.status().is_ok_and(|status| seen_ready(&status))
        })?;
        scene.lab.wait_for(&format!("{name} to see both members alive"), PATIENCE, || {
            node.status().is_ok_and(|status| {
                let members = status["members"].as_array().cloned().unwrap_or_default();
                members.len() == 2 && members.iter().all(|member| member["state"] == "alive")
            })
        })?;
        assert_eq!(node.metric("chinthe_cluster_members{state=\"alive\"}")?, Some(2.0), "{name}");
        assert_eq!(holder(node).as_deref(), Some("ha1"), "{name}");
        let status = node.status()?;
        assert_eq!((&status["cluster"], &status["node"]), (&"myweb".into(), &name.into()));
        let [one, other] = [0, 1].map(|member| status["members"][member]["config"].clone());
        assert!(one.is_string() && one == other, "{status}");
        assert!(seen_ready(&status), "{status}");
        for web in ["web1", "web2"] {
            let backend = backend(node, web)?;
            assert_eq!((&backend["health"], &backend["admin"]), (&"up".into(), &"ready".into()), "{backend}");
        }
    }
    let terms: Vec<_> = scene
        .lab
        .nodes()
        .iter()
        .map(|node| Ok(node.status()?["vips"][0]["term"].clone()))
        .collect::<Result<_, chinthe::lab::LabError>>()?;
    assert_eq!(terms[0], terms[1]);
    Ok(())
}

fn the_admin_server_answers_on_every_path(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let (ha1, ha2) = (scene.node("ha1")?, scene.node("ha2")?);
    for node in [ha1, ha2] {
        scene.lab.wait_for("the node to be ready", PATIENCE, || is_ready(node))?;
        for path in ["/livez", "/readyz"] {
            assert_eq!(node.get(path)?, "ok\n");
        }
        let verbose = node.get("/readyz?verbose")?;
        assert!(verbose.ends_with("ready\n") && !verbose.contains("not yet"), "{verbose}");
        assert_eq!(node.metric("chinthe_ready")?, Some(1.0));
    }
    assert_eq!(ha1.get("/active?vip=vi_1")?, "active\n");
    let refused = ha2.get("/active?vip=vi_1").err().map(|e| e.to_string()).unwrap_or_default();
    assert!(refused.contains("status 503") && refused.contains("backup"), "{refused}");
    Ok(())
}

fn every_metric_is_there_from_the_start(sandbox: Sandbox) -> Outcome {
    let lab = scene::post(sandbox).without_daemons().start()?;
    let ha1 = lab.node("ha1")?;
    ha1.start()?;
    let mut text = String::new();
    lab.wait_for("an answer", PATIENCE, || {
        text = ha1.metrics().unwrap_or_default();
        !text.is_empty()
    })?;
    for series in [
        "chinthe_build_info{",
        "chinthe_config_info{",
        "chinthe_config_last_reload_successful 1",
        "chinthe_ready ",
        "chinthe_cluster_members{state=\"suspect\"} 0",
        "chinthe_vip_active{vip=\"vi_1\"} ",
        "chinthe_vip_address_present{vip=\"vi_1\"} ",
        "chinthe_vip_priority{vip=\"vi_1\",kind=\"effective\"} ",
        "chinthe_vip_transitions_total{vip=\"vi_1\",to=\"active\",cause=\"holder_silent\"} 0",
        "chinthe_vip_conflicts_total{vip=\"vi_1\",source=\"arp\"} 0",
        "chinthe_vip_announcements_total{vip=\"vi_1\",kind=\"garp\"} ",
        "chinthe_failover_duration_seconds_count{vip=\"vi_1\",phase=\"total\"} ",
        "chinthe_backend_up{service=\"myweb\",backend=\"web1\"} ",
        "chinthe_backend_check_up{service=\"myweb\",backend=\"web2\"} ",
        "chinthe_backend_views{service=\"myweb\",backend=\"web1\",verdict=\"up\"} ",
        "chinthe_backend_connections_total{service=\"myweb\",backend=\"web1\"} 0",
        "chinthe_backend_connections_active{service=\"myweb\",backend=\"web1\"} 0",
        "chinthe_backend_connect_failures_total{service=\"myweb\",backend=\"web1\",reason=\"refused\"} 0",
        "chinthe_backend_bytes_total{service=\"myweb\",backend=\"web1\",direction=\"in\"} 0",
        "chinthe_service_connections_total{service=\"myweb\"} 0",
        "chinthe_service_connections_active{service=\"myweb\"} 0",
        "chinthe_service_connections_rejected_total{service=\"myweb\",reason=\"no_backend\"} 0",
        "chinthe_service_bytes_total{service=\"myweb\",direction=\"out\"} 0",
        "chinthe_service_connect_duration_seconds_count{service=\"myweb\"} 0",
        "chinthe_peer_messages_total{channel=\"advertisement\",direction=\"in\"} 0",
        "chinthe_peer_messages_rejected_total{channel=\"advertisement\",reason=\"key\"} 0",
        "process_resident_memory_bytes ",
    ] {
        assert!(text.lines().any(|line| shows(line, series)), "{series} is missing in:\n{text}");
    }
    Ok(())
}

/// Whether a line of the text has all that `series` has, its labels in whatever order.
fn shows(line: &str, series: &str) -> bool {
    let parts = |text: &str| -> Vec<String> { text.split(['{', ',', '}']).map(str::to_owned).collect() };
    let (has, wanted) = (parts(line), parts(series));
    line.starts_with(&wanted[0]) && wanted.iter().all(|part| has.iter().any(|one| one.starts_with(part)))
}

fn status_prints_a_table(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let ha2 = scene.node("ha2")?;
    let mut said = String::new();
    scene.lab.wait_for("status 0", PATIENCE, || {
        let Ok(output) = ha2.command().arg("status").output() else { return false };
        said = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.code() == Some(0)
    })?;
    for word in ["vi_1", "ha1", "ha2", "myweb", "web1", "web2", "192.168.56.69", "103"] {
        assert!(said.contains(word), "{word} is missing in:\n{said}");
    }
    let json = ha2.command().args(["status", "--json"]).output()?;
    let json: serde_json::Value = serde_json::from_slice(&json.stdout)?;
    assert_eq!(json["vips"][0]["holder"], "ha1");
    scene.node("ha1")?.power_off()?;
    scene.lab.wait_for("status 3 of a cluster that misses a node", PATIENCE, || {
        ha2.command().arg("status").output().is_ok_and(|output| output.status.code() == Some(3))
    })?;
    Ok(())
}

fn daemon_and_guard_are_called_chinthe(sandbox: Sandbox) -> Outcome {
    let lab = scene::post(sandbox).config(ConfigSource::Post).start()?;
    let ha1 = lab.node("ha1")?;
    lab.wait_for("both names", PATIENCE, || ha1.is_named().unwrap_or(false))?;
    Ok(())
}
