//! Web servers that die, vanish and come back, while clients ask.

use std::time::Instant;

use chinthe::lab::{Failure, Sandbox};

use crate::harness::{Outcome, Test};
use crate::scene::{self, PATIENCE, Scene, backend, sum};
use crate::sniffer::Sniffer;

pub(crate) const TESTS: &[Test] = &[
    Test::inside(
        "backends::a_stopped_web_server_is_out_after_three_probes_and_back_after_two",
        out_after_three_back_after_two,
    ),
    Test::inside(
        "backends::no_request_fails_when_a_web_server_stops_and_comes_back",
        no_request_fails_when_a_web_server_stops,
    ),
    Test::inside(
        "backends::no_request_fails_when_a_web_server_loses_its_cable",
        no_request_fails_when_a_web_server_loses_its_cable,
    ),
    Test::inside("backends::without_any_backend_a_client_is_accepted_and_closed", without_any_backend),
];

fn is(scene: &Scene, node: &str, web: &str, health: &str) -> bool {
    scene.node(node).and_then(|node| backend(node, web)).is_ok_and(|backend| backend["health"] == health)
}

/// Seen at the web server, from the node that has no clients: each connection that it asks for is a probe.
fn out_after_three_back_after_two(sandbox: Sandbox) -> Outcome {
    let scene = scene::start(sandbox)?;
    let web = scene.lab.machine("web1")?;
    let ha2 = scene.lab.machine("ha2")?.address();
    let mut sniffer = Sniffer::at(web)?;
    let mut probes = || sniffer.heard().iter().filter(|p| p.opens() && p.from == ha2 && p.port == 80).count();

    // Right after a probe, so that none is under way when the server stops.
    let mut seen = 0;
    scene.lab.wait_for("a probe", PATIENCE, || {
        seen = probes();
        seen > 0
    })?;
    scene.lab.web("web1")?.stop()?;
    let mut failed = 0;
    scene.lab.wait_for("web1 to be down", PATIENCE, || {
        failed += probes();
        is(&scene, "ha2", "web1", "down")
    })?;
    // The last one may have come after it was looked for.
    failed += probes();
    assert_eq!(failed, 3, "probes until it was out");

    scene.lab.web("web1")?.start()?;
    let mut good = 0;
    scene.lab.wait_for("web1 to be up", PATIENCE, || {
        good += probes();
        is(&scene, "ha2", "web1", "up")
    })?;
    good += probes();
    assert_eq!(good, 2, "probes until it was back");
    let downtime = || -> Result<f64, Box<dyn std::error::Error>> {
        let text = scene.node("ha2")?.metrics()?;
        let series = |line: &&str| {
            line.starts_with("chinthe_backend_downtime_seconds_total{") && line.contains("backend=\"web1\"")
        };
        Ok(text.lines().find(series).and_then(|line| line.rsplit(' ').next()).ok_or("no series")?.parse()?)
    };
    let down = downtime()?;
    assert!(down > 0.0, "{down}");
    assert_eq!(downtime()?.to_bits(), down.to_bits(), "it ended with the second good probe");
    Ok(())
}

fn no_request_fails_when_a_web_server_stops(sandbox: Sandbox) -> Outcome {
    let mut scene = scene::start(sandbox)?;
    scene.lab.web("web1")?.stop()?;
    // Its own connections died with it; whatever is begun from here on finds another one.
    let stopped = Instant::now();
    scene.lab.wait_for("web1 to be down", PATIENCE, || is(&scene, "ha1", "web1", "down"))?;
    let down = Instant::now();
    scene.lab.web("web1")?.start()?;
    scene.lab.wait_for("web1 to be up", PATIENCE, || is(&scene, "ha1", "web1", "up"))?;
    let back = Instant::now();
    scene.lab.wait_for("web1 to answer clients", PATIENCE, || {
        scene.prober.tally(back).answers.contains_key("web1")
    })?;
    scene.prober.finish();
    let tally = scene.prober.tally(stopped);
    assert_eq!(tally.failed(), 0, "{tally:?}");
    assert!(tally.answered() > 100, "{tally:?}");
    let early = scene
        .prober
        .exchanges(stopped)
        .into_iter()
        .filter(|e| e.ended < down)
        .find(|exchange| exchange.outcome.as_deref() == Ok("web1"));
    assert!(early.is_none(), "a stopped server can't have answered: {early:?}");
    scene.assert_one_answerer();
    assert!(sum(scene.node("ha1")?, "chinthe_service_connections_rejected_total", &[])? < 0.5);
    assert!(
        sum(
            scene.node("ha1")?,
            "chinthe_backend_connect_failures_total",
            &["backend=\"web1\"", "reason=\"refused\""]
        )? > 0.0
    );
    Ok(())
}

fn no_request_fails_when_a_web_server_loses_its_cable(sandbox: Sandbox) -> Outcome {
    let mut scene = scene::start(sandbox)?;
    scene.lab.machine("web2")?.unplug()?;
    let unplugged = Instant::now();
    scene.lab.wait_for("web2 to be down", PATIENCE, || is(&scene, "ha1", "web2", "down"))?;
    scene.lab.machine("web2")?.plug()?;
    scene.lab.wait_for("web2 to be up", PATIENCE, || is(&scene, "ha1", "web2", "up"))?;
    let back = Instant::now();
    scene.lab.wait_for("web2 to answer clients", PATIENCE, || {
        scene.prober.tally(back).answers.contains_key("web2")
    })?;
    scene.prober.finish();
    let tally = scene.prober.tally(unplugged);
    assert_eq!(tally.failed(), 0, "{tally:?}");
    scene.assert_one_answerer();
    Ok(())
}

fn without_any_backend(sandbox: Sandbox) -> Outcome {
    let mut scene = scene::start(sandbox)?;
    for web in ["web1", "web2"] {
        scene.lab.web(web)?.stop()?;
    }
    for node in ["ha1", "ha2"] {
        for web in ["web1", "web2"] {
            scene.lab.wait_for("both backends to be down", PATIENCE, || is(&scene, node, web, "down"))?;
        }
    }
    let down = Instant::now();
    scene.lab.wait_for("clients to be turned away", PATIENCE, || scene.prober.tally(down).failed() > 20)?;
    scene.prober.finish();
    let tally = scene.prober.tally(down);
    let closed = |kind: &Failure| matches!(kind, Failure::Empty | Failure::Reset);
    assert!(tally.answered() == 0 && tally.failures.keys().all(closed), "{tally:?}");
    let holder = scene.lab.nodes().iter().find(|node| scene.witness.holder().as_deref() == Some(node.name()));
    let holder = holder.ok_or("nobody holds the VIP")?;
    assert!(sum(holder, "chinthe_service_connections_rejected_total", &["reason=\"no_backend\""])? >= 20.0);
    let log = holder.log_text();
    assert!(log.contains("service.no_backend service=\"myweb\""), "{log}");
    assert!(log.matches("no backend").count() < 50, "a flood of clients is no flood of lines");
    for node in scene.lab.nodes() {
        assert_eq!(node.get("/livez")?, "ok\n");
    }
    scene.assert_one_answerer();
    Ok(())
}
