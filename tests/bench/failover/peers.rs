//! What a run needs of this machine: the rivals' programs, nft(8), and a daemon that takes the configuration.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cluster::CHINTHE;
use crate::contender::{Contender, Kind};
use crate::fault::Fault;
use crate::record::Host;
use crate::settings;
use crate::sweep::PROBE;

/// Where programs are that are meant for root; an ordinary user's PATH leaves them out.
const FOR_ROOT: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// PATH with those as well.
pub(crate) fn path() -> OsString {
    let usual = env::var_os("PATH").unwrap_or_default();
    let all: Vec<PathBuf> = env::split_paths(&usual).chain(FOR_ROOT.map(PathBuf::from)).collect();
    // A folder whose name has a colon in it can't have been in PATH.
    env::join_paths(all).unwrap_or(usual)
}

/// Why no sandbox can be entered here, and so nobody tried; `None` when one can.
pub(crate) fn missing_for_all() -> Option<String> {
    let tried = || Command::new(env::current_exe()?).arg(PROBE).stdin(Stdio::null()).output();
    match tried() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(e) => Some(e.to_string()),
    }
}

/// Why `contender` can't be tried here; `None` when it can.
pub(crate) fn missing_for(contender: &Contender) -> Option<String> {
    let programs: &[(&str, &str)] = match contender.kind {
        Kind::Chinthe { .. } => return refused(contender),
        Kind::Post => &[KEEPALIVED, HAPROXY, UNSHARE, ("killall", "psmisc")],
        Kind::Expert => &[KEEPALIVED, HAPROXY, UNSHARE],
    };
    if !rustix::process::geteuid().is_root() {
        return Some("keepalived and haproxy need root, even in namespaces: haproxy changes its user".into());
    }
    programs.iter().find_map(|(program, package)| missing(program, package))
}

/// What is missing for `fault`; `None` when nothing is.
pub(crate) fn missing_for_fault(fault: Fault) -> Option<String> {
    fault.needs_nft().then(|| missing("nft", "nftables"))?
}

/// What the figures are of.
pub(crate) fn host() -> Host {
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    Host {
        kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().into(),
        cores,
        debug_build: cfg!(debug_assertions),
        keepalived: version("keepalived", "--version"),
        haproxy: version("haproxy", "-v"),
    }
}

const KEEPALIVED: (&str, &str) = ("keepalived", "keepalived");
const HAPROXY: (&str, &str) = ("haproxy", "haproxy");
const UNSHARE: (&str, &str) = ("unshare", "util-linux");

fn missing(program: &str, package: &str) -> Option<String> {
    let found = env::split_paths(&path()).any(|folder| folder.join(program).is_file());
    (!found).then(|| format!("there is no {program} here: apt-get install {package}"))
}

/// What the daemon says against the contender's configuration: an option that this version doesn't have.
fn refused(contender: &Contender) -> Option<String> {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("failover-{}.toml", contender.name));
    let checked = || -> io::Result<_> {
        fs::write(&file, settings::chinthe(contender))?;
        Command::new(CHINTHE).arg("check").arg(&file).stdin(Stdio::null()).output()
    };
    let outcome = match checked() {
        Ok(output) if output.status.success() => None,
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Some(said.lines().next().unwrap_or("its configuration is refused").to_owned())
        }
        Err(e) => Some(format!("{CHINTHE} check: {e}")),
    };
    // What is left is overwritten by the next call.
    let _ = fs::remove_file(&file);
    outcome
}

/// The first line that a program says of its version; nothing when it isn't there.
fn version(program: &str, argument: &str) -> String {
    let output = Command::new(program).env("PATH", path()).arg(argument).stdin(Stdio::null()).output();
    let Ok(output) = output else { return String::new() };
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&said).lines().next().unwrap_or_default().into()
}
