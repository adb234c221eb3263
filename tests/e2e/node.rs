//! What the lab does to a daemon: shown on a stand-in, which has nothing to hide behind.

use std::env;
use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use chinthe::lab::{Lab, LabError, Node, Sandbox};

use crate::harness::{Outcome, Test};
use crate::stand_in::TESTAMENT;

pub(crate) const TESTS: &[Test] = &[
    Test::inside("node::each_node_answers_on_a_socket_of_its_own", each_node_answers_on_a_socket_of_its_own),
    Test::inside("node::a_running_daemon_is_not_started_twice", a_running_daemon_is_not_started_twice),
    Test::inside("node::a_terminated_daemon_ends_by_sigterm", a_terminated_daemon_ends_by_sigterm),
    Test::inside("node::a_killed_daemon_is_mourned_by_its_guard", a_killed_daemon_is_mourned_by_its_guard),
    Test::inside(
        "node::killed_together_neither_sees_the_other_die",
        killed_together_neither_sees_the_other_die,
    ),
    Test::inside(
        "node::a_frozen_daemon_answers_again_once_thawed",
        a_frozen_daemon_answers_again_once_thawed,
    ),
    Test::inside("node::no_process_survives_a_power_off", no_process_survives_a_power_off),
    Test::inside("node::a_log_goes_on_through_restarts", a_log_goes_on_through_restarts),
];

const PATIENCE: Duration = Duration::from_secs(10);

fn start(sandbox: Sandbox) -> Result<Lab, Box<dyn std::error::Error>> {
    let lab = Lab::builder(sandbox).program(env::current_exe()?).start()?;
    for node in lab.nodes() {
        await_answer(&lab, node)?;
    }
    Ok(lab)
}

fn await_answer(lab: &Lab, node: &Node) -> Result<(), LabError> {
    lab.wait_for(&format!("{} to answer", node.name()), PATIENCE, || node.status().is_ok())
}

fn mourned(node: &Node) -> bool {
    node.machine().run_folder().join(TESTAMENT).exists()
}

fn each_node_answers_on_a_socket_of_its_own(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    for node in lab.nodes() {
        assert_eq!(node.status()?["node"], node.name());
    }
    let ha1 = lab.node("ha1")?;
    assert_eq!(ha1.metric("chinthe_ready")?, Some(1.0));
    assert_eq!(ha1.metric("chinthe_vip_active{vip=\"vi_1\"}")?, Some(0.0));
    assert_eq!(ha1.metric("chinthe_vip")?, None, "a name's beginning is another name");
    Ok(())
}

fn a_running_daemon_is_not_started_twice(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    match lab.node("ha1")?.start() {
        Err(LabError::Running { .. }) => Ok(()),
        other => Err(format!("{other:?}").into()),
    }
}

fn a_terminated_daemon_ends_by_sigterm(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    ha1.terminate()?;
    assert_eq!(ha1.wait_exit(PATIENCE)?.signal(), Some(15));
    assert!(ha1.status().is_err() && ha1.daemon().is_err());
    assert!(lab.node("ha2")?.status().is_ok(), "the other node goes on");
    Ok(())
}

fn a_killed_daemon_is_mourned_by_its_guard(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    ha1.kill9_daemon()?;
    lab.wait_for("the guard to see it", PATIENCE, || mourned(ha1))?;
    ha1.start()?;
    await_answer(&lab, ha1)?;
    Ok(())
}

fn killed_together_neither_sees_the_other_die(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    let guard = ha1.guard()?;
    ha1.kill9_both()?;
    lab.wait_for("the guard to be gone", PATIENCE, || rustix::process::test_kill_process(guard).is_err())?;
    assert!(!mourned(ha1));
    Ok(())
}

fn a_frozen_daemon_answers_again_once_thawed(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    ha1.stop_both()?;
    assert!(ha1.status().is_err());
    ha1.cont()?;
    await_answer(&lab, ha1)?;
    Ok(())
}

fn no_process_survives_a_power_off(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    let guard = ha1.guard()?;
    ha1.power_off()?;
    lab.wait_for("the guard to be gone", PATIENCE, || rustix::process::test_kill_process(guard).is_err())?;
    assert!(ha1.daemon().is_err());
    ha1.power_on()?;
    await_answer(&lab, ha1)?;
    assert!(!mourned(ha1), "a machine boots with nothing of its former life");
    Ok(())
}

fn a_log_goes_on_through_restarts(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    ha1.kill9_daemon()?;
    ha1.start()?;
    lab.wait_for("both lives in the log", PATIENCE, || ha1.log_text().matches("ha1 is ready").count() == 2)?;
    Ok(())
}
