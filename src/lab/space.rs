//! A machine's namespaces: its network, and its view of the file system. Held as descriptors, without a process.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::thread;

use rustix::mount::{MountFlags, mount, mount_bind};
use rustix::thread::{LinkNameSpaceType, UnshareFlags, move_into_link_name_space};

/// Where a daemon keeps what dies with the machine; every machine sees a folder of its own there.
pub(super) const RUN: &str = "/run/chinthe";

/// A network and a mount namespace.
#[derive(Debug)]
pub struct Space {
    network: OwnedFd,
    mounts: OwnedFd,
}

impl Space {
    /// The one that the caller is in.
    pub(super) fn current() -> io::Result<Self> {
        // `thread-self`, since namespaces belong to threads.
        let open = |kind: &str| File::open(format!("/proc/thread-self/ns/{kind}")).map(OwnedFd::from);
        Ok(Self { network: open("net")?, mounts: open("mnt")? })
    }

    /// A new one, in which the folder `run` is seen as [`RUN`].
    pub(super) fn create(run: &Path) -> io::Result<Self> {
        in_own_thread(|| {
            unshare()?;
            mount_bind(run, RUN)?;
            // So that /sys/class/net shows this machine's links. Where the host's is masked the kernel refuses a
            // fresh one; then only readers of /sys are misled, and the lab has none.
            if let Err(e) = mount("sysfs", "/sys", "sysfs", MountFlags::NOSUID | MountFlags::NOEXEC, None) {
                tracing::debug!(error = %e, "no fresh /sys for a machine");
            }
            for (setting, value) in SETTINGS {
                if let Err(e) = fs::write(format!("/proc/sys/{setting}"), value) {
                    tracing::debug!(setting, error = %e, "not set");
                }
            }
            Self::current()
        })
    }

    /// Runs `inside` on a thread of its own in this network: sockets made there stay there, wherever they are used.
    pub fn within<T: Send>(&self, inside: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
        in_own_thread(|| {
            self.enter_network()?;
            inside()
        })
    }

    /// Moves the calling thread into this network, for good.
    pub(super) fn enter_network(&self) -> io::Result<()> {
        Ok(move_into_link_name_space(self.network.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Moves the calling process into this network and this view of the files. System calls only, so that it may
    /// be called between fork and exec.
    pub(super) fn enter(&self) -> io::Result<()> {
        self.enter_network()?;
        Ok(move_into_link_name_space(self.mounts.as_fd(), Some(LinkNameSpaceType::Mount))?)
    }

    /// The network's descriptor, for netlink messages that name it.
    pub(super) fn network(&self) -> BorrowedFd<'_> {
        self.network.as_fd()
    }

    /// The view of the files, for telling how to enter it.
    pub(super) fn mounts(&self) -> BorrowedFd<'_> {
        self.mounts.as_fd()
    }
}

/// What differs from a new network's defaults: no wait for duplicate address detection, which a lab's addresses
/// don't need, and low ports for everybody, for daemons that give up their privileges.
const SETTINGS: [(&str, &str); 2] =
    [("net/ipv6/conf/default/accept_dad", "0"), ("net/ipv4/ip_unprivileged_port_start", "0")];

#[allow(unsafe_code)]
fn unshare() -> io::Result<()> {
    // SAFETY: only UnshareFlags::FILES endangers file descriptors that others hold, and it isn't among them.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET | UnshareFlags::NEWNS) }
        .map_err(io::Error::from)
}

/// A thread that ends after the call needs no way back into the namespace it came from.
fn in_own_thread<T: Send>(work: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("lab-space".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
