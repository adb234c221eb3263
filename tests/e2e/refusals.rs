//! What `chinthe run` won't start on: said clearly, with what to do, and nothing on the host has changed.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use chinthe::lab::{Lab, Sandbox};
use rustix::thread::{CapabilitySet, remove_capability_from_bounding_set};

use crate::harness::{Outcome, Test};
use crate::scene::{self, PATIENCE, POST, has_vip};

pub(crate) const TESTS: &[Test] = &[
    Test::inside("refusals::a_file_that_is_not_there", a_file_that_is_not_there),
    Test::inside("refusals::an_unknown_key", an_unknown_key),
    Test::inside("refusals::a_duplicate_name", a_duplicate_name),
    Test::inside("refusals::a_secret_that_is_not_there_or_others_can_read_or_is_short", a_bad_secret),
    Test::inside("refusals::a_missing_interface", a_missing_interface),
    Test::inside("refusals::an_address_of_another_machine", an_address_of_another_machine),
    Test::inside("refusals::a_port_in_use", a_port_in_use),
    Test::inside("refusals::no_permission_to_change_the_network", no_permission),
    Test::inside("refusals::a_second_daemon_on_one_machine", a_second_daemon),
];

/// The file is refused.
const FILE: i32 = 1;
/// The host won't have it.
const HOST: i32 = 2;

/// A machine on which nothing runs yet.
fn start(sandbox: Sandbox) -> Result<Lab, chinthe::lab::LabError> {
    scene::post(sandbox).nodes(1).without_daemons().start()
}

/// Runs `chinthe run` on ha1 as `arrange` has it: it refuses with `status`, says all of `words` in an error with a
/// hint, and leaves the machine as it was.
fn assert_refused(lab: &Lab, status: i32, words: &[&str], arrange: impl FnOnce(&mut Command)) -> Outcome {
    let ha1 = lab.node("ha1")?;
    let ends = ended(lab)?;
    ha1.start_with(|command| {
        command.args(["run", "--node", "ha1", "--config"]).arg(ha1.config());
        arrange(command);
    })?;
    let exit = ha1.wait_exit(PATIENCE)?;
    // Daemon and guard alike: the log ends when nobody can write to it any more.
    lab.wait_for("all its processes to end", PATIENCE, || ended(lab).is_ok_and(|now| now > ends))?;
    let text = ha1.log_text();
    let said = text.rsplit("--- started\n").next().unwrap_or_default();
    assert_eq!(exit.code(), Some(status), "{said}");
    assert!(said.contains("error: ") && said.contains("hint: "), "{said}");
    for word in words {
        assert!(said.contains(word), "{word:?} is missing in:\n{said}");
    }
    assert!(!said.contains("panicked"), "{said}");
    assert!(!has_vip(ha1.machine()), "{said}");
    assert!(!ha1.machine().run_folder().join("admin.sock").exists(), "{said}");
    Ok(())
}

fn ended(lab: &Lab) -> Result<usize, chinthe::lab::LabError> {
    Ok(lab.node("ha1")?.log_text().matches("--- ended").count())
}

/// Has ha1's configuration differ from the post's.
fn rewrite(lab: &Lab, from: &str, to: &str) -> Outcome {
    assert!(POST.contains(from), "{from}");
    Ok(fs::write(lab.node("ha1")?.config(), POST.replace(from, to))?)
}

fn a_file_that_is_not_there(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    fs::remove_file(lab.node("ha1")?.config())?;
    assert_refused(&lab, FILE, &["ha1.toml", "doesn't exist"], |_| {})
}

fn an_unknown_key(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    rewrite(&lab, "interface = \"eth1\"", "interfaces = \"eth1\"")?;
    assert_refused(&lab, FILE, &["`interfaces`", "did you mean", "`interface`", ":15:"], |_| {})
}

fn a_duplicate_name(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    rewrite(&lab, "name = \"web2\"", "name = \"web1\"")?;
    assert_refused(&lab, FILE, &["web1"], |_| {})
}

fn a_bad_secret(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let folder = lab.node("ha1")?.config().parent().map(Path::to_owned).ok_or("it is in a folder")?;
    let secret = |name: &str, mode: u32, text: &str| -> io::Result<PathBuf> {
        let path = folder.join(name);
        let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(mode).open(&path)?;
        io::Write::write_all(&mut file, text.as_bytes())?;
        Ok(path)
    };
    let directory = folder.join("directory");
    fs::DirBuilder::new().mode(0o700).create(&directory)?;
    let long = "0123456789abcdef0123456789abcdef";
    for (path, words) in [
        (folder.join("nowhere"), &["nowhere", "can't be read"][..]),
        (directory, &["directory", "can't be read"]),
        (secret("open", 0o640, long)?, &["open", "640", "chmod 600"]),
        (secret("short", 0o600, "\n  0123456789abcdef0123456789abcde \n\n")?, &["short", "31 bytes", "32"]),
    ] {
        assert_refused(&lab, HOST, words, |command| {
            command.env("CHINTHE_SECRET_FILE", &path);
        })?;
    }
    Ok(())
}

fn a_missing_interface(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    rewrite(&lab, "interface = \"eth1\"", "interface = \"eth7\"")?;
    assert_refused(&lab, HOST, &["`eth7`", "ip link"], |_| {})?;
    rewrite(&lab, "interface = \"eth1\"", "interface = { ha2 = \"eth1\" }")?;
    assert_refused(&lab, HOST, &["`vi_1` has no interface on node `ha1`"], |_| {})
}

fn an_address_of_another_machine(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    rewrite(&lab, "ha1 = \"192.168.56.21\"", "ha1 = \"192.168.56.99\"")?;
    assert_refused(&lab, HOST, &["192.168.56.99 is not an address of this machine", "--node"], |_| {})
}

fn a_port_in_use(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let machine = lab.machine("ha1")?;
    let tcp = |port| machine.space().within(move || TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)));
    let udp = |port| machine.space().within(move || UdpSocket::bind((Ipv4Addr::UNSPECIFIED, port)));
    {
        let _taken = tcp(80)?;
        assert_refused(&lab, HOST, &["0.0.0.0:80 is in use", "ss -ltnp"], |_| {})?;
    }
    {
        let _taken = tcp(7781)?;
        assert_refused(&lab, HOST, &["port 7781 of 127.0.0.1 is in use", "admin.listen"], |_| {})?;
    }
    for port in [7780, 7781] {
        let _taken = udp(port)?;
        assert_refused(&lab, HOST, &[&format!(":{port}"), "in use"], |_| {})?;
    }
    // With all of them free it runs.
    let ha1 = lab.node("ha1")?;
    ha1.start()?;
    lab.wait_for("an answer", PATIENCE, || ha1.status().is_ok())?;
    Ok(())
}

#[allow(unsafe_code)]
fn no_permission(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    for lost in [CapabilitySet::NET_ADMIN, CapabilitySet::NET_RAW] {
        assert_refused(&lab, HOST, &["permission", "CAP_NET_ADMIN"], |command| {
            // SAFETY: between fork and exec there is one prctl(2) call, and nothing is allocated or locked.
            unsafe { command.pre_exec(move || Ok(remove_capability_from_bounding_set(lost)?)) };
        })?;
    }
    Ok(())
}

fn a_second_daemon(sandbox: Sandbox) -> Outcome {
    let lab = start(sandbox)?;
    let ha1 = lab.node("ha1")?;
    ha1.start()?;
    lab.wait_for("ha1 to hold the VIP", PATIENCE, || has_vip(ha1.machine()))?;
    let output = ha1.command().args(["run", "--node", "ha1", "--config"]).arg(ha1.config()).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(HOST), "{said}");
    assert!(said.contains("in use") && said.contains("hint: "), "{said}");
    assert!(has_vip(ha1.machine()), "the first one's address stays");
    assert_eq!(ha1.get("/active?vip=vi_1")?, "active\n", "and its socket");
    Ok(())
}
