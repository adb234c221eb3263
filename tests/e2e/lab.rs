//! The lab itself: that what it does to machines happens, and that its instruments see it.

use std::collections::BTreeSet;
use std::io;
use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use chinthe::lab::{Failure, Lab, LabError, Machine, ProbePlan, Sandbox};

use crate::harness::{Outcome, Test};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("lab::two_machines_reach_each_other", two_machines_reach_each_other),
    Test::inside("lab::an_unplugged_machine_has_no_carrier", an_unplugged_machine_has_no_carrier),
    Test::inside("lab::a_cut_is_silent_and_one_sided", a_cut_is_silent_and_one_sided),
    Test::inside("lab::a_refused_machine_is_unreachable_at_once", a_refused_machine_is_unreachable_at_once),
    Test::inside(
        "lab::isolated_machines_reach_all_but_each_other",
        isolated_machines_reach_all_but_each_other,
    ),
    Test::inside("lab::the_witness_sees_who_answers", the_witness_sees_who_answers),
    Test::inside("lab::the_witness_sees_two_answerers", the_witness_sees_two_answerers),
    Test::inside("lab::the_prober_counts_a_stopped_web_server", the_prober_counts_a_stopped_web_server),
    Test::inside("lab::a_lost_cable_is_a_gap_for_the_prober", a_lost_cable_is_a_gap_for_the_prober),
    Test::inside("lab::a_machine_boots_with_nothing_of_its_former_life", a_machine_boots_with_nothing_left),
    Test::inside("lab::more_machines_than_addresses_are_refused", more_machines_than_addresses_are_refused),
    Test::inside("lab::a_big_lab_comes_up", a_big_lab_comes_up),
];

const PATIENCE: Duration = Duration::from_secs(10);

fn machines_alone(sandbox: Sandbox) -> Result<Lab, LabError> {
    Lab::builder(sandbox).without_daemons().start()
}

/// Tries to connect from one machine to another machine's web server.
fn connect(from: &Machine, to: &Machine) -> io::Result<()> {
    let target = SocketAddr::from((to.address(), 80));
    from.space().within(|| TcpStream::connect_timeout(&target, Duration::from_millis(500)).map(drop))
}

/// Waits until it can: a busy machine may be slow, and a lost ARP request is repeated only a second later.
fn reach(lab: &Lab, from: &Machine, to: &Machine) -> Result<(), LabError> {
    let what = format!("{} to reach {}", from.name(), to.name());
    lab.wait_for(&what, PATIENCE, || connect(from, to).is_ok())
}

fn refusal(from: &Machine, to: &Machine) -> Option<io::ErrorKind> {
    connect(from, to).err().map(|e| e.kind())
}

fn two_machines_reach_each_other(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    reach(&lab, lab.machine("ha1")?, lab.machine("web1")?)?;
    reach(&lab, lab.machine("client")?, lab.machine("web2")?)?;
    // Its kernel has accepted by now; it counts when it has its turn.
    let web1 = lab.web("web1")?;
    lab.wait_for("web1 to count it", PATIENCE, || web1.accepted() >= 1)?;
    Ok(())
}

fn an_unplugged_machine_has_no_carrier(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (ha1, web1) = (lab.machine("ha1")?, lab.machine("web1")?);
    lab.wait_for("a carrier", PATIENCE, || ha1.carrier().is_ok_and(|carrier| carrier))?;
    ha1.unplug()?;
    lab.wait_for("no carrier", PATIENCE, || ha1.carrier().is_ok_and(|carrier| !carrier))?;
    assert!(connect(ha1, web1).is_err());
    ha1.plug()?;
    reach(&lab, ha1, web1)?;
    Ok(())
}

fn a_cut_is_silent_and_one_sided(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (ha1, ha2, web1) = (lab.machine("ha1")?, lab.machine("ha2")?, lab.machine("web1")?);
    reach(&lab, ha1, web1)?;
    lab.cut("ha1", "web1")?;
    assert_eq!(refusal(ha1, web1), Some(io::ErrorKind::TimedOut));
    reach(&lab, ha2, web1)?;
    lab.heal("ha1", "web1")?;
    reach(&lab, ha1, web1)?;
    Ok(())
}

fn a_refused_machine_is_unreachable_at_once(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (ha1, ha2, web1) = (lab.machine("ha1")?, lab.machine("ha2")?, lab.machine("web1")?);
    ha1.refuse(web1)?;
    assert_eq!(refusal(ha1, web1), Some(io::ErrorKind::HostUnreachable));
    reach(&lab, ha2, web1)?;
    ha1.accept(web1)?;
    reach(&lab, ha1, web1)?;
    Ok(())
}

fn isolated_machines_reach_all_but_each_other(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (ha1, web1, web2) = (lab.machine("ha1")?, lab.machine("web1")?, lab.machine("web2")?);
    ha1.isolate(true)?;
    web1.isolate(true)?;
    assert!(connect(ha1, web1).is_err());
    reach(&lab, ha1, web2)?;
    reach(&lab, web2, web1)?;
    ha1.isolate(false)?;
    reach(&lab, ha1, web1)?;
    Ok(())
}

fn the_witness_sees_who_answers(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let vip = *chinthe::lab::TARGET.ip();
    let witness = lab.witness(vip)?;
    let start = Instant::now();
    assert_eq!(witness.holder(), None);
    lab.machine("ha1")?.add_address(vip, 32)?;
    lab.wait_for("ha1 to answer", PATIENCE, || witness.holder().as_deref() == Some("ha1"))?;
    lab.machine("ha1")?.remove_address(vip)?;
    lab.wait_for("nobody to answer", PATIENCE, || witness.holder().is_none())?;
    lab.machine("ha2")?.add_address(vip, 32)?;
    lab.wait_for("ha2 to answer", PATIENCE, || witness.holder().as_deref() == Some("ha2"))?;
    assert_eq!(witness.answerers(start), BTreeSet::from(["ha1".into(), "ha2".into()]));
    assert_eq!(witness.spans().iter().map(|span| &*span.answerer).collect::<Vec<_>>(), ["ha1", "ha2"]);
    assert_eq!(witness.double_answers(), 0);
    Ok(())
}

fn the_witness_sees_two_answerers(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let vip = *chinthe::lab::TARGET.ip();
    let witness = lab.witness(vip)?;
    for name in ["ha1", "ha2"] {
        lab.machine(name)?.add_address(vip, 32)?;
    }
    lab.wait_for("a double answer", PATIENCE, || witness.double_answers() > 0)?;
    let mut both = witness.doubles()[0].answerers.clone();
    both.sort();
    assert_eq!(both, ["ha1", "ha2"]);
    Ok(())
}

fn the_prober_counts_a_stopped_web_server(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (web1, target) = (lab.web("web1")?, SocketAddrV4::new(lab.machine("web1")?.address(), 80));
    let prober = lab.prober(ProbePlan::of(target))?;
    lab.wait_for("answers", PATIENCE, || prober.total().answers.get("web1").is_some_and(|&n| n >= 20))?;
    web1.stop()?;
    let stopped = Instant::now();
    lab.wait_for("refusals", PATIENCE, || {
        prober.tally(stopped).failures.get(&Failure::Refused).is_some_and(|&n| n >= 20)
    })?;
    assert_eq!(prober.tally(stopped).answered(), 0, "a stopped server answers nobody");
    web1.start()?;
    let started = Instant::now();
    lab.wait_for("answers again", PATIENCE, || prober.answered_since(started))?;
    let gap = prober.gap(stopped);
    assert!(gap > Duration::from_millis(4 * 19) && gap < stopped.elapsed() + PATIENCE, "{gap:?}");
    // It counts an answer when it has been sent, which may be after it has come.
    let answered = prober.total().answered();
    lab.wait_for("web1 to count them all", PATIENCE, || web1.answered() >= answered)?;
    Ok(())
}

fn a_lost_cable_is_a_gap_for_the_prober(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (web1, target) = (lab.machine("web1")?, SocketAddrV4::new(lab.machine("web1")?.address(), 80));
    let plan = ProbePlan { timeout: Duration::from_millis(100), ..ProbePlan::of(target) };
    let prober = lab.prober(plan)?;
    lab.wait_for("answers", PATIENCE, || prober.total().answered() >= 20)?;
    web1.unplug()?;
    let unplugged = Instant::now();
    lab.wait_for("failures", PATIENCE, || prober.tally(unplugged).failed() >= 5)?;
    web1.plug()?;
    let plugged = Instant::now();
    lab.wait_for("answers again", PATIENCE, || prober.answered_since(plugged))?;
    assert!(prober.gap(unplugged) >= plugged - unplugged);
    Ok(())
}

fn a_machine_boots_with_nothing_left(sandbox: Sandbox) -> Outcome {
    let lab = machines_alone(sandbox)?;
    let (ha1, vip) = (lab.node("ha1")?, *chinthe::lab::TARGET.ip());
    let witness = lab.witness(vip)?;
    ha1.machine().add_address(vip, 32)?;
    std::fs::write(ha1.machine().run_folder().join("stale"), "")?;
    lab.wait_for("ha1 to answer", PATIENCE, || witness.holder().as_deref() == Some("ha1"))?;
    ha1.power_off()?;
    lab.wait_for("silence", PATIENCE, || witness.holder().is_none())?;
    assert!(ha1.power_off().is_err(), "it is off already");
    ha1.power_on()?;
    reach(&lab, ha1.machine(), lab.machine("web1")?)?;
    let asked = witness.questions();
    lab.wait_for("ten questions", PATIENCE, || witness.questions() > asked + 10)?;
    assert_eq!(witness.holder(), None);
    assert!(!ha1.machine().run_folder().join("stale").exists());
    Ok(())
}

fn more_machines_than_addresses_are_refused(sandbox: Sandbox) -> Outcome {
    match Lab::builder(sandbox).nodes(49).without_daemons().start() {
        Err(LabError::TooMany { nodes: 49, .. }) => Ok(()),
        Err(e) => Err(e.into()),
        Ok(_) => Err("49 nodes have found an address".into()),
    }
}

fn a_big_lab_comes_up(sandbox: Sandbox) -> Outcome {
    let lab = Lab::builder(sandbox).nodes(9).backends(12).without_daemons().start()?;
    reach(&lab, lab.machine("ha9")?, lab.machine("web12")?)?;
    Ok(())
}
