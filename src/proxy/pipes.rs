//! The pipes that bulk goes through, kept for whoever needs one next.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};

/// One worker's pipes: some lie ready, the others hold what a target wouldn't take yet.
#[derive(Debug)]
pub(super) struct Pipes {
    ready: Vec<Pipe>,
    /// Every pipe has a clone, so that this counts them, wherever they end.
    places: Arc<()>,
    most: usize,
}

/// Kernel memory that bytes are moved into and out of without being copied.
#[derive(Debug)]
pub(super) struct Pipe {
    pub(super) exit: OwnedFd,
    pub(super) entrance: OwnedFd,
    _place: Arc<()>,
}

impl Pipes {
    /// At most so many, each of which takes two descriptors and up to [`PIPE`] bytes.
    pub(super) fn new(most: usize) -> Self {
        Self { ready: Vec::new(), places: Arc::new(()), most }
    }

    /// An empty pipe; `None` when all are in use or the host has no more.
    pub(super) fn take(&mut self) -> Option<Pipe> {
        if let Some(pipe) = self.ready.pop() {
            return Some(pipe);
        }
        if Arc::strong_count(&self.places) > self.most {
            return None;
        }
        let (exit, entrance) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC).ok()?;
        // Refused to ordinary users who have many: a small one is better than none.
        let _ = fcntl_setpipe_size(&entrance, PIPE);
        Some(Pipe { exit, entrance, _place: Arc::clone(&self.places) })
    }

    /// Takes back a pipe that is empty. One that isn't can only be dropped.
    pub(super) fn give_back(&mut self, pipe: Pipe) {
        self.ready.push(pipe);
    }
}

/// What one pipe holds, and so the most that one direction of a connection keeps in bulk, in bytes.
///
/// The most that the kernel lets ordinary users have, unless `fs.pipe-max-size` says otherwise.
pub(super) const PIPE: usize = 1024 * 1024;

/// How many pipes a worker may have. Who finds none is served by copying.
pub(super) const PIPES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pipes_are_used_again_and_never_more_than_allowed() {
        let mut pipes = Pipes::new(2);
        let (first, second) = (pipes.take().unwrap(), pipes.take().unwrap());
        assert!(pipes.take().is_none());
        drop(first);
        let third = pipes.take().unwrap();
        assert!(pipes.take().is_none());
        pipes.give_back(second);
        assert!(pipes.take().is_some());
        drop(third);
    }

    #[test]
    fn none_are_made_where_none_are_allowed() {
        assert!(Pipes::new(0).take().is_none());
    }
}
