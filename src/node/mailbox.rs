//! What other threads tell the driver: a bounded queue, and a descriptor that wakes it.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use rustix::event::{EventfdFlags, eventfd};

use crate::admin::{Answer, Change, Operator, ReloadAnswer};
use crate::config::Config;
use crate::peers::gossip;
use crate::{probe, proxy};

/// More than the driver handles in many milliseconds; what doesn't fit is given up, and comes again.
const DEPTH: usize = 4096;
/// So many events may wait for the driver to come by: the queue is mostly for those that wake it.
const WAITING: usize = 256;

/// What happened elsewhere.
#[derive(Debug)]
pub(super) enum Event {
    /// A backend was probed.
    Probed(probe::ProbeResult),
    /// A command was run: number of the check, and whether it succeeded.
    Checked(usize, bool),
    /// A worker noticed something.
    Proxy(proxy::Report),
    /// Seeds that are names have been resolved.
    Seeds(Vec<SocketAddr>),
    /// An operator wants something changed, and to know what came of it. At most as many as there can be
    /// connections to the admin server.
    Said {
        /// What.
        change: Change,
        /// Who.
        operator: Operator,
        /// For what then holds of the change's target; dropped when the mailbox is full.
        answer: Answer,
        /// What it is done within.
        span: tracing::Span,
    },
    /// The file was read again: whoever asked wants to know what came of it.
    Reload {
        /// What it says, or what is wrong with it, as operators read that.
        read: Box<Result<Config, String>>,
        /// Who asked.
        by: String,
        /// Whether all other nodes are to do the same, if it comes to anything.
        cluster: bool,
        /// For what came of it; dropped when the mailbox is full.
        answer: Option<ReloadAnswer>,
    },
    /// Gossip has something to say.
    Gossip(gossip::News),
    /// SIGTERM or SIGINT.
    Terminate,
}

impl Event {
    /// Whether it will do within an advertisement interval: waking the driver costs more than most of what it is told.
    fn can_wait(&self) -> bool {
        match self {
            Self::Probed(result) => result.routine,
            Self::Gossip(news) => matches!(news, gossip::News::Counted { .. }),
            Self::Checked(..)
            | Self::Proxy(_)
            | Self::Seeds(_)
            | Self::Said { .. }
            | Self::Reload { .. }
            | Self::Terminate => false,
        }
    }
}

/// The sending end; any thread may have one.
#[derive(Clone)]
pub(super) struct Sender {
    queue: SyncSender<Event>,
    wake: Arc<OwnedFd>,
    /// How many events have come to wait since the driver last came by.
    waiting: Arc<AtomicUsize>,
}

/// The driver's end.
pub(super) struct Mailbox {
    queue: Receiver<Event>,
    wake: Arc<OwnedFd>,
    waiting: Arc<AtomicUsize>,
}

/// An empty mailbox.
pub(super) fn mailbox() -> io::Result<(Sender, Mailbox)> {
    let wake = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (sender, queue) = sync_channel(DEPTH);
    let waiting = Arc::default();
    Ok((
        Sender { queue: sender, wake: Arc::clone(&wake), waiting: Arc::clone(&waiting) },
        Mailbox { queue, wake, waiting },
    ))
}

impl Sender {
    /// Tells the driver, or gives up at once: no worker and no probe ever waits for it. What can wait is found when the
    /// driver next has something to do.
    pub(super) fn tell(&self, event: Event) {
        let waits = event.can_wait();
        match self.queue.try_send(event) {
            Ok(()) if waits && self.waiting.fetch_add(1, Ordering::Relaxed) < WAITING => {}
            Ok(()) => self.wake(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {}
        }
    }

    fn wake(&self) {
        let _ = rustix::io::write(&*self.wake, &1u64.to_ne_bytes());
    }
}

impl Mailbox {
    /// Everything that has come, a portion at a time; `woken` says whether its descriptor was ready.
    pub(super) fn take(&self, woken: bool) -> impl Iterator<Item = Event> + '_ {
        if woken {
            let _ = rustix::io::read(&*self.wake, &mut [0; 8]);
        }
        self.waiting.store(0, Ordering::Relaxed);
        self.queue.try_iter().take(DEPTH)
    }
}

impl AsFd for Mailbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn what_does_not_fit_is_given_up_and_nobody_waits() {
        let (sender, mailbox) = mailbox().unwrap();
        for check in 0..DEPTH + 10 {
            sender.tell(Event::Checked(check, true));
        }
        assert_eq!(mailbox.take(true).count(), DEPTH);
        assert_eq!(mailbox.take(true).count(), 0);
        sender.tell(Event::Terminate);
        assert!(matches!(mailbox.take(true).next(), Some(Event::Terminate)));
    }

    #[test]
    fn what_can_wait_wakes_nobody_until_there_is_much_of_it() {
        let (sender, mailbox) = mailbox().unwrap();
        let counted = || {
            Event::Gossip(gossip::News::Counted { received: 1, sent: 1, bytes_received: 1, bytes_sent: 1 })
        };
        let woken = || rustix::io::read(&*mailbox.wake, &mut [0; 8]).is_ok();
        for _ in 0..WAITING {
            sender.tell(counted());
        }
        assert!(!woken());
        sender.tell(counted());
        assert!(woken());
        assert_eq!(mailbox.take(true).count(), WAITING + 1);
        sender.tell(counted());
        assert!(!woken(), "the driver has come by");
        sender.tell(Event::Terminate);
        assert!(woken());
        assert_eq!(mailbox.take(true).count(), 2);
    }

    #[test]
    fn whoever_asks_for_a_change_learns_that_it_did_not_fit() {
        let (sender, mailbox) = mailbox().unwrap();
        let ask = || {
            let target = crate::core::Target::Node { node: "ha1".into() };
            let change = Change { target, settings: Vec::new(), holder: None, lasting: None };
            let (answer, answered) = oneshot::channel();
            let span = tracing::Span::none();
            sender.tell(Event::Said { change, operator: Operator::Socket { uid: None }, answer, span });
            answered
        };
        let mut first = ask();
        for check in 0..DEPTH {
            sender.tell(Event::Checked(check, true));
        }
        let mut last = ask();
        assert_eq!(first.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert_eq!(last.try_recv(), Err(oneshot::error::TryRecvError::Closed));
        drop(mailbox);
    }
}
