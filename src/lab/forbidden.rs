//! Why a host allows no lab, told from what its kernel says and how it is configured.

use std::fmt;
use std::fs;
use std::io;

use super::sandbox::EnterError;

/// What [`enter`](super::enter) was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Leaving the host's namespaces.
    Unshare,
    /// Giving up `setgroups(2)`, which has to precede the group map.
    DenySetgroups,
    /// Becoming root inside.
    MapUser,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unshare => "unshare",
            Self::DenySetgroups => "write /proc/self/setgroups",
            Self::MapUser => "write /proc/self/uid_map",
        })
    }
}

/// Finds the cause and the way out.
pub(super) fn explain(step: Step, source: io::Error) -> EnterError {
    let setting = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let host = Host {
        most_namespaces: setting("user/max_user_namespaces"),
        clone_allowed: setting("kernel/unprivileged_userns_clone"),
        apparmor_restricts: setting("kernel/apparmor_restrict_unprivileged_userns"),
    };
    let (cause, hint) = host.judge(step, source.raw_os_error());
    EnterError::Forbidden { step, source, cause, hint }
}

/// The settings that can forbid user namespaces; `None` where the kernel doesn't have them.
#[derive(Default)]
struct Host {
    most_namespaces: Option<u64>,
    clone_allowed: Option<u64>,
    apparmor_restricts: Option<u64>,
}

impl Host {
    fn judge(&self, step: Step, error: Option<i32>) -> (&'static str, &'static str) {
        let none_left = step == Step::Unshare && matches!(error, Some(libc::ENOSPC | libc::EUSERS));
        if none_left || self.most_namespaces == Some(0) {
            return (
                "no more user namespaces are allowed on this host",
                "raise `sysctl user.max_user_namespaces`, or run the lab with sudo",
            );
        }
        if self.clone_allowed == Some(0) {
            return (
                "this host keeps user namespaces for root",
                "run the lab with sudo, or `sudo sysctl kernel.unprivileged_userns_clone=1`",
            );
        }
        if self.apparmor_restricts == Some(1) {
            return (
                "AppArmor restricts user namespaces on this host, as Ubuntu does since 23.10",
                "run the lab with sudo, or `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`",
            );
        }
        (
            "user namespaces are forbidden here: by a container's seccomp profile, a chroot or a security module",
            "run the lab outside the container or chroot, or give the container `--privileged`",
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_forbidding_names_its_cause_and_a_way_out() {
        let plain = Host::default();
        let table = [
            (&plain, Step::Unshare, libc::ENOSPC, "no more", "max_user_namespaces"),
            (&plain, Step::Unshare, libc::EPERM, "seccomp", "--privileged"),
            (
                &Host { most_namespaces: Some(0), ..Host::default() },
                Step::Unshare,
                libc::EPERM,
                "no more",
                "max_user_namespaces",
            ),
            (
                &Host { clone_allowed: Some(0), ..Host::default() },
                Step::Unshare,
                libc::EPERM,
                "root",
                "unprivileged_userns_clone=1",
            ),
            (
                &Host { apparmor_restricts: Some(1), ..Host::default() },
                Step::DenySetgroups,
                libc::EACCES,
                "AppArmor",
                "sudo",
            ),
            (
                &Host { apparmor_restricts: Some(1), ..Host::default() },
                Step::MapUser,
                libc::EPERM,
                "AppArmor",
                "sudo",
            ),
        ];
        for (host, step, error, cause, hint) in table {
            let said = host.judge(step, Some(error));
            assert!(said.0.contains(cause) && said.1.contains(hint), "{step:?} {error}: {said:?}");
        }
    }
}
