//! VIPs of IPv6, seen by a client that speaks it and by a witness of neighbour discovery.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Instant;

use chinthe::lab::{ConfigSource, Lab, LabError, ProbePlan, Sandbox};

use crate::harness::{Outcome, Test};
use crate::scene::{self, FAILOVER, PATIENCE, POST, Scene, has_address, sum};

pub(crate) const TESTS: &[Test] = &[
    Test::inside(
        "ipv6::a_vip_moves_whatever_happens_to_its_holder_and_comes_home",
        a_vip_moves_and_comes_home,
    ),
    Test::inside("ipv6::a_node_that_hangs_as_a_whole_is_fenced", a_hanging_node_is_fenced),
    Test::inside("ipv6::two_addresses_of_one_vip_move_together", two_addresses_move_together),
    Test::inside("ipv6::an_address_that_is_in_use_elsewhere_is_left_alone", an_address_in_use),
    Test::inside("ipv6::another_interface_never_says_that_the_vip_is_there", another_interface),
];

const VIP: Ipv6Addr = Ipv6Addr::new(0xfd56, 0, 0, 0, 0, 0, 0, 0x69);

fn target() -> SocketAddr {
    SocketAddr::from((VIP, 80))
}

/// The post's configuration with these addresses for its VIP.
fn with_addresses(addresses: &str) -> ConfigSource {
    let text = POST
        .replace("address = \"192.168.56.69\"", &format!("addresses = [{addresses}]"))
        .replace("listen = [\"0.0.0.0:80\"]", "listen = [\"0.0.0.0:80\", \"[::]:80\"]");
    assert!(text.contains(addresses) && text.contains("[::]:80"), "{text}");
    ConfigSource::Text(text)
}

fn start(sandbox: Sandbox) -> Result<Scene, LabError> {
    let lab = scene::post(sandbox).config(with_addresses("\"fd56::69/64\"")).start()?;
    Scene::watch_at(lab, target())
}

fn comes_home(scene: &Scene, bring_back: impl FnOnce(&Lab) -> Result<(), LabError>) -> Outcome {
    scene.moves_to("ha1", FAILOVER, bring_back)?;
    scene.await_home()?;
    let ha2 = scene.lab.machine("ha2")?;
    assert!(!has_address(ha2, VIP.into()));
    Ok(())
}

fn a_vip_moves_and_comes_home(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox)?;
    let ha1 = scene.lab.machine("ha1")?;
    assert!(has_address(ha1, VIP.into()) && scene.witness.announcements("ha1") > 0);
    assert!(sum(scene.node("ha1")?, "chinthe_vip_announcements_total", &["kind=\"na\""])? > 0.0);

    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.terminate())?;
    comes_home(&scene, |lab| lab.node("ha1")?.start())?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    comes_home(&scene, |lab| lab.node("ha1")?.start())?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.machine("ha1")?.unplug())?;
    comes_home(&scene, |lab| lab.machine("ha1")?.plug())?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.power_off())?;
    comes_home(&scene, |lab| lab.node("ha1")?.power_on())?;
    scene.assert_one_answerer();
    Ok(())
}

fn a_hanging_node_is_fenced(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox)?;
    let ha1 = scene.lab.machine("ha1")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_both())?;
    assert!(has_address(ha1, VIP.into()), "its kernel has the address still, and says nothing");
    scene.lab.wait_for("its lease to end", PATIENCE, || !has_address(ha1, VIP.into()))?;
    comes_home(&scene, |lab| lab.node("ha1")?.cont())?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_both())?;
    comes_home(&scene, |lab| lab.node("ha1")?.start())?;
    scene.assert_one_answerer();
    Ok(())
}

fn two_addresses_move_together(sandbox: Sandbox) -> Outcome {
    let config = with_addresses("\"192.168.56.69/24\", \"fd56::69/64\"");
    let lab = scene::post(sandbox).config(config).start()?;
    let other = (lab.witness(VIP)?, lab.prober(ProbePlan::of(target()))?);
    let scene = Scene::watch(lab)?;
    let follows = |to: &str| -> Outcome {
        scene
            .lab
            .wait_for("the other address to follow", PATIENCE, || other.0.holder().as_deref() == Some(to))?;
        let since = Instant::now();
        scene.lab.wait_for("its client to be served", PATIENCE, || other.1.answered_since(since))?;
        Ok(())
    };
    follows("ha1")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.kill9_daemon())?;
    follows("ha2")?;
    scene.moves_to("ha1", FAILOVER, |lab| lab.node("ha1")?.start())?;
    follows("ha1")?;
    scene.moves_to("ha2", FAILOVER, |lab| lab.node("ha1")?.stop_both())?;
    follows("ha2")?;
    scene.assert_one_answerer();
    assert_eq!(other.0.double_answers(), 0, "{:?}", other.0.doubles());
    Ok(())
}

fn an_address_in_use(sandbox: Sandbox) -> Outcome {
    let builder = scene::post(sandbox).config(with_addresses("\"fd56::69/64\"")).without_daemons();
    let lab = builder.start()?;
    lab.machine("web1")?.add_address(VIP, 128)?;
    let witness = lab.witness(VIP)?;
    for node in lab.nodes() {
        node.start()?;
    }
    // It asks by neighbour discovery, and web1 answers by IP, too.
    let noticed = |name: &str| {
        sum(lab.node(name)?, "chinthe_vip_conflicts_total", &["vip=\"vi_1\""]).map(|count| count > 0.0)
    };
    lab.wait_for("the conflict to be counted", PATIENCE, || noticed("ha1").unwrap_or(false))?;
    let asked = witness.questions();
    // Longer than any leftover lasts.
    lab.wait_for("four seconds of questions", PATIENCE, || witness.questions() >= asked + 200)?;
    let answerers: Vec<String> = witness.spans().into_iter().map(|span| span.answerer).collect();
    assert_eq!(answerers, ["web1"]);
    lab.machine("web1")?.remove_address(VIP)?;
    lab.wait_for("ha1 to take it", PATIENCE, || witness.holder().as_deref() == Some("ha1"))?;
    Ok(())
}

fn another_interface(sandbox: Sandbox) -> Outcome {
    let scene = start(sandbox)?;
    scene.lab.machine("ha1")?.add_interface("eth2")?;
    let asked = scene.witness.questions();
    scene.lab.wait_for("fifty more questions", PATIENCE, || scene.witness.questions() >= asked + 50)?;
    let since = Instant::now();
    scene.lab.wait_for("fifty more questions", PATIENCE, || scene.witness.questions() >= asked + 100)?;
    let answerers = scene.witness.answerers(since);
    assert_eq!(answerers.into_iter().collect::<Vec<_>>(), ["ha1"]);
    scene.assert_one_answerer();
    Ok(())
}
