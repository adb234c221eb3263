//! How the guard wakes its daemon: a descriptor that it rings for what can't wait.
//!
//! The channel alone would wake the daemon for every answer, and most are what it has just ordered: they are read when
//! it has something else to do, an advertisement later at most.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// Either end of it.
pub(super) struct Bell(OwnedFd);

impl Bell {
    /// A silent one.
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    /// The end that a descriptor is, which travelled from the other one.
    pub(super) fn from_other_end(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// Makes the other end readable.
    pub(super) fn ring(&self) {
        // What has been rung that often is rung already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Silences it; whether it was rung.
    pub(super) fn silence(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_silent_until_it_is_rung_and_again_once_it_was_heard() {
        let daemon = Bell::new().expect("a descriptor");
        let guard = Bell::from_other_end(daemon.as_fd().try_clone_to_owned().expect("another one"));
        assert!(!daemon.silence());
        guard.ring();
        guard.ring();
        assert!(daemon.silence());
        assert!(!daemon.silence());
    }
}
