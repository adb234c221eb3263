//! The processes of the sandbox, as `/proc` shows them.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, RawPid};

use super::space::Space;

/// What is started by `parent` and still its child.
///
/// Ids are those of the sandbox, whichever pid namespace's `/proc` is mounted.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    let all = all();
    let Some(parent) = all.iter().find(|process| process.id == parent.as_raw_pid()).map(|p| p.listed_as)
    else {
        return Vec::new();
    };
    all.iter()
        .filter(|process| process.parent == parent)
        .filter_map(|process| Pid::from_raw(process.id))
        .collect()
}

/// Everything that runs in `space`'s network.
pub(super) fn in_network(space: &Space) -> Vec<Pid> {
    // The kernel gives a namespace the same name through every link that leads to it.
    let name = |link: PathBuf| fs::read_link(link).ok();
    let network = name(format!("/proc/self/fd/{}", space.network().as_raw_fd()).into());
    let mut all = all();
    all.retain(|process| name(format!("/proc/{}/ns/net", process.listed_as).into()) == network);
    all.iter().filter_map(|process| Pid::from_raw(process.id)).collect()
}

/// One line of the table.
struct Process {
    /// Its id in the `/proc` that is mounted.
    listed_as: RawPid,
    /// Its parent's id there.
    parent: RawPid,
    /// Its id in its own pid namespace, which is the sandbox's.
    id: RawPid,
}

fn all() -> Vec<Process> {
    let own = fs::read_link("/proc/self/ns/pid").ok();
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter_map(|entry| {
            let folder = entry.path();
            let listed_as = entry.file_name().to_str()?.parse().ok()?;
            if fs::read_link(folder.join("ns/pid")).ok() != own {
                return None;
            }
            read(listed_as, &folder)
        })
        .collect()
}

fn read(listed_as: RawPid, folder: &Path) -> Option<Process> {
    let status = fs::read_to_string(folder.join("status")).ok()?;
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name));
    let parent = field("PPid:")?.trim().parse().ok()?;
    // From the outermost namespace to the innermost.
    let id = field("NSpid:")?.split_whitespace().last()?.parse().ok()?;
    Some(Process { listed_as, parent, id })
}
