//! The way into a lab: namespaces of its own for a process and all that it starts, with or without root.
//!
//! ```text
//!   outer    in the host's pid namespace: waits, passes SIGTERM and Ctrl-C on, ends with the lab's status
//!    └ pid 1   the reaper: inherits orphans; when it dies, the kernel kills everything that is left inside
//!       └ pid 2   the lab itself: the closure given to [`enter`]
//! ```
//!
//! Nothing outlives the outer process, however it ends: pid 1 dies with it, and with pid 1 every process, every
//! network namespace and every mount. So there is nothing to clean up, and no code that could forget to.

use std::fs;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use rustix::thread::UnshareFlags;

use super::forbidden::{self, Step};
use super::signals::Signals;

/// Where the sandbox keeps its files: a file system in memory, seen by nobody outside and gone with the sandbox.
pub(super) const ROOM: &str = "/run/lab";

/// As much as a lab may write there: logs and sockets of some dozens of nodes.
const ROOM_OPTIONS: &std::ffi::CStr = c"mode=0755,size=256m";

/// Exit status when the closure panicked, as with every Rust program.
const PANICKED: u8 = 101;

/// Proof that the process is inside: what [`Lab`](super::Lab) is built in. One lab per sandbox.
#[derive(Debug)]
pub struct Sandbox {
    door: Option<TcpListener>,
    host_pid: Option<u32>,
    user_namespace: bool,
}

/// Why there is no way in. The text says what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// The caller has started threads already; only a process with a single one can change its user namespace.
    #[error("the lab has to be entered before the first thread is started")]
    Threads,
    /// The host forbids what the lab is made of.
    #[error("{step}: {source}: {cause}\nhint: {hint}")]
    Forbidden {
        /// What was tried.
        step: Step,
        /// What the kernel said.
        source: io::Error,
        /// What stands in the way on this host.
        cause: &'static str,
        /// The way out.
        hint: &'static str,
    },
    /// Something else failed.
    #[error("{doing}: {source}")]
    System {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Enters a sandbox, runs `inside` in it and returns with the status that `inside` gave.
///
/// Has to be called while the process has one thread; it forks. The calling process is left in the new namespaces
/// as the outer one and should do nothing but end afterwards, on an error as well. `door` is a listener of the
/// host's network that shall be served from inside; no other process keeps it open.
///
/// A killed lab gives the status 128 + signal, as in a shell; a panic inside gives 101.
pub fn enter(door: Option<TcpListener>, inside: impl FnOnce(Sandbox) -> u8) -> Result<ExitCode, EnterError> {
    if fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
        return Err(EnterError::Threads);
    }
    let user_namespace = separate()?;
    furnish()?;

    let system = |doing| move |source: io::Error| EnterError::System { doing, source };
    // Blocked from here on, in all three processes, so that none is lost before somebody waits for it.
    let signals = Signals::block().map_err(system("block signals"))?;
    let (outer_lives, lifeline) = io::pipe().map_err(system("make a pipe"))?;
    let host_proc =
        rustix::fs::open("/proc", rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC, 0.into())
            .map_err(|e| EnterError::System { doing: "open /proc", source: e.into() })?;

    if let Some(first) = fork().map_err(system("fork"))? {
        drop((door, outer_lives));
        let status = signals.tend(first);
        drop(lifeline);
        Ok(ExitCode::from(status_code(status)))
    } else {
        drop(lifeline);
        let status = be_first(&signals, &outer_lives.into(), || {
            let host_pid = rustix::fs::readlinkat(&host_proc, "self", Vec::new());
            let host_pid = host_pid.ok().and_then(|link| link.to_str().ok()?.parse().ok());
            inside(Sandbox { door, host_pid, user_namespace })
        });
        std::process::exit(status.into());
    }
}

impl Sandbox {
    /// The listener of the host's network that [`enter`] was given; once.
    pub fn take_door(&mut self) -> Option<TcpListener> {
        self.door.take()
    }

    /// The lab's process id as the host sees it, where it can be told: what `nsenter -t` needs.
    pub fn host_pid(&self) -> Option<u32> {
        self.host_pid
    }

    /// Whether the sandbox has a user namespace of its own: it has unless root made it.
    pub fn user_namespace(&self) -> bool {
        self.user_namespace
    }

    /// The folder for the lab's files, in memory.
    pub fn room(&self) -> &'static Path {
        Path::new(ROOM)
    }
}

/// The program that is running, for starting it again inside.
///
/// By its own path where that still leads to it, so that processes are listed under its name; else by the kernel's
/// link, which survives a rebuild.
pub(super) fn own_program() -> PathBuf {
    let link = PathBuf::from("/proc/self/exe");
    match fs::read_link(&link) {
        Ok(path) if path.is_file() => path,
        Ok(_) | Err(_) => link,
    }
}

/// Leaves the host's namespaces; says whether that took a user namespace.
fn separate() -> Result<bool, EnterError> {
    let spaces = UnshareFlags::NEWNET | UnshareFlags::NEWNS | UnshareFlags::NEWPID;
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    // Root needs no user namespace, and so gets along where they are forbidden; root in a container may have to.
    if uid.is_root() && unshare(spaces).is_ok() {
        return Ok(false);
    }
    unshare(spaces | UnshareFlags::NEWUSER).map_err(|e| forbidden::explain(Step::Unshare, e))?;
    // The order is the kernel's: without privileges a gid_map may be written only once setgroups is denied.
    fs::write("/proc/self/setgroups", "deny").map_err(|e| forbidden::explain(Step::DenySetgroups, e))?;
    let uids = format!("0 {} 1", uid.as_raw());
    fs::write("/proc/self/uid_map", uids).map_err(|e| forbidden::explain(Step::MapUser, e))?;
    let gids = format!("0 {} 1", gid.as_raw());
    fs::write("/proc/self/gid_map", gids).map_err(|e| forbidden::explain(Step::MapUser, e))?;
    Ok(true)
}

#[allow(unsafe_code)]
fn unshare(spaces: UnshareFlags) -> io::Result<()> {
    // SAFETY: only UnshareFlags::FILES endangers file descriptors that others hold, and it isn't among them.
    unsafe { rustix::thread::unshare_unsafe(spaces) }.map_err(io::Error::from)
}

/// Mounts what the lab writes to over the host's `/run`, which daemons inside must not see anyway.
fn furnish() -> Result<(), EnterError> {
    let failed = |doing| move |e: rustix::io::Errno| EnterError::System { doing, source: e.into() };
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .map_err(failed("make the mounts private"))?;
    mount("lab", "/run", "tmpfs", MountFlags::NOSUID | MountFlags::NODEV, ROOM_OPTIONS)
        .map_err(failed("mount a tmpfs on /run"))?;
    fs::create_dir(ROOM).map_err(|source| EnterError::System { doing: "create the lab's folder", source })
}

#[allow(unsafe_code)]
fn fork() -> io::Result<Option<Pid>> {
    // SAFETY: the process has one thread (`enter` checks it), so the child finds no lock held by another.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        pid => Ok(Pid::from_raw(pid)),
    }
}

/// The life of pid 1: start the lab, reap whatever is orphaned, end with the lab.
fn be_first(signals: &Signals, outer_lives: &OwnedFd, lab: impl FnOnce() -> u8) -> u8 {
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    // The outer process may have died before the signal was asked for.
    if tied.is_err() || is_closed(outer_lives) {
        return 1;
    }
    // Pids of the new namespace, not the host's. A container may forbid it; then readers of /proc have to translate.
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    if let Err(e) = mount("proc", "/proc", "proc", flags, None) {
        tracing::debug!(error = %e, "no fresh /proc in the sandbox");
    }
    match fork() {
        Ok(Some(lab)) => status_code(signals.tend(lab)),
        Ok(None) => {
            signals.restore();
            catch_unwind(AssertUnwindSafe(lab)).unwrap_or(PANICKED)
        }
        Err(e) => {
            eprintln!("error: fork: {e}");
            1
        }
    }
}

/// Whether the writing side of a pipe is gone.
fn is_closed(reader: &OwnedFd) -> bool {
    let mut polled = [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)];
    let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut polled, Some(&at_once)), Ok(0))
}

impl Signals {
    /// Waits until the process `child` ends; meanwhile passes requests to end on to it, and reaps all others.
    fn tend(&self, child: Pid) -> WaitStatus {
        loop {
            // Looked at before waiting: one SIGCHLD may stand for several children.
            while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
                if pid == child {
                    return status;
                }
            }
            if self.wait() == Some(Signal::TERM) {
                // It may have ended meanwhile; the next turn finds out.
                let _ = rustix::process::kill_process(child, Signal::TERM);
            }
        }
    }
}

fn status_code(status: WaitStatus) -> u8 {
    let signalled = status.terminating_signal().map(|signal| 128 + signal);
    status.exit_status().or(signalled).and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}
