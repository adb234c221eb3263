//! The thread that probes: one loop for all targets, which sleeps until the next of them has something to do.
//!
//! A loop of its own rather than tasks of the service thread: a probe costs little more than its connection, and waits
//! neither for a scrape nor for an operator, but where a name has to be looked up. Each turn goes through all targets,
//! which is made for hundreds of them.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use tokio::runtime::Handle;

use super::pace::{Pace, Rhythm};
use super::probing::Probing;
use super::{Reporter, Target};

/// Between the first tries of two targets.
const SPREAD: Duration = Duration::from_micros(250);
/// So many targets are tried together; in the first round they are spread out, and those that follow start over.
const TOGETHER: u32 = 16;
/// How long after them the next so many are.
const APART: Duration = Duration::from_millis(1);
/// Until the next attempt where the kernel can't say what is ready.
const BREATH: Timespec = Timespec { tv_sec: 0, tv_nsec: 10_000_000 };

/// A target's service and its own number.
pub(super) type Key = (usize, usize);

/// What the thread is asked to do, or told.
pub(super) enum Order {
    Replace(Vec<Target>),
    Now(Key),
    Pause(Key, bool),
    /// What became of a lookup, by the number of whoever asked: no address where there is none.
    Found(u64, Vec<SocketAddr>),
    End,
}

/// Where orders are given.
#[derive(Clone)]
pub(super) struct Orders {
    queue: Sender<Order>,
    bell: Arc<OwnedFd>,
}

impl Orders {
    /// Never waits. Once the thread has ended, orders come to nothing.
    pub(super) fn give(&self, order: Order) {
        if self.queue.send(order).is_ok() {
            // It fails only where it has been rung very often.
            let _ = rustix::io::write(&*self.bell, &1u64.to_ne_bytes());
        }
    }
}

/// Has names looked up, on a runtime.
pub(super) struct Lookups {
    runtime: Handle,
    orders: Orders,
}

impl Lookups {
    /// Asks for the addresses of `name`, which will be [`Order::Found`].
    pub(super) fn ask(&self, name: String, port: u16, number: u64) {
        let mut answer = Answer { number, found: Vec::new(), orders: self.orders.clone() };
        self.runtime.spawn(async move {
            if let Ok(found) = tokio::net::lookup_host((name, port)).await {
                answer.found.extend(found);
            }
        });
    }
}

/// What a lookup has found: given when this is dropped, so that there is an answer whatever becomes of the lookup.
struct Answer {
    number: u64,
    found: Vec<SocketAddr>,
    orders: Orders,
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.orders.give(Order::Found(self.number, std::mem::take(&mut self.found)));
    }
}

struct Prober {
    report: Reporter,
    orders: Receiver<Order>,
    bell: Arc<OwnedFd>,
    lookups: Lookups,
    rhythm: Rhythm,
    /// The number of the latest that was begun.
    latest: u64,
    running: BTreeMap<Key, Probing>,
}

/// Starts the thread. Must be called within a tokio runtime.
pub(super) fn start(rhythm: Rhythm, report: Reporter) -> io::Result<(Orders, JoinHandle<()>)> {
    let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
    let (queue, taken) = channel();
    let orders = Orders { queue, bell: Arc::clone(&bell) };
    let prober = Prober {
        report,
        orders: taken,
        bell,
        lookups: Lookups { runtime: Handle::current(), orders: orders.clone() },
        rhythm,
        latest: 0,
        running: BTreeMap::new(),
    };
    let thread = std::thread::Builder::new().name("probes".into()).spawn(move || prober.run())?;
    Ok((orders, thread))
}

impl Prober {
    fn run(mut self) {
        loop {
            let (ordered, answered) = self.wait();
            let now = Instant::now();
            // Before anything is too late: this thread itself may be.
            for key in answered {
                self.with(key, |probing, _| probing.answered(now));
            }
            if ordered {
                let _ = rustix::io::read(&*self.bell, &mut [0; 8]);
                while let Ok(order) = self.orders.try_recv() {
                    match order {
                        Order::Replace(targets) => self.replace(targets, now),
                        Order::Now(key) => {
                            if let Some(probing) = self.running.get_mut(&key) {
                                probing.ask(now);
                            }
                        }
                        Order::Pause(key, pause) => {
                            if let Some(probing) = self.running.get_mut(&key) {
                                probing.pause(pause, now);
                            }
                        }
                        Order::Found(number, addresses) => self.found(number, addresses, now),
                        Order::End => return,
                    }
                }
            }
            let due = |(key, probing): (&Key, &Probing)| {
                probing.deadline().is_some_and(|at| at <= now).then_some(*key)
            };
            let due: Vec<Key> = self.running.iter().filter_map(due).collect();
            for key in due {
                self.with(key, |probing, lookups| probing.due(now, lookups));
            }
        }
    }

    /// Whether there are orders, and whose connections have come to something.
    fn wait(&self) -> (bool, Vec<Key>) {
        let connecting = self.running.iter().filter_map(|(key, probing)| Some((*key, probing.connecting()?)));
        let (keys, sockets): (Vec<_>, Vec<_>) = connecting.unzip();
        let mut polled = vec![PollFd::new(&*self.bell, PollFlags::IN)];
        polled.extend(sockets.into_iter().map(|socket| PollFd::from_borrowed_fd(socket, PollFlags::OUT)));
        let left = self.running.values().filter_map(Probing::deadline).min().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        match poll(&mut polled, left.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return (false, Vec::new()),
            Err(_out_of_memory) => {
                // For none at all it needs none.
                let _ = poll(&mut [], Some(&BREATH));
                return (true, Vec::new());
            }
        }
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let ordered = ready.next().unwrap_or(false);
        (ordered, keys.into_iter().zip(ready).filter_map(|(key, ready)| ready.then_some(key)).collect())
    }

    /// Has one go on, and reports what it came to.
    fn with(&mut self, key: Key, go_on: impl FnOnce(&mut Probing, &Lookups) -> Option<super::ProbeResult>) {
        if let Some(probing) = self.running.get_mut(&key)
            && let Some(result) = go_on(probing, &self.lookups)
        {
            (self.report)(result);
        }
    }

    fn found(&mut self, number: u64, addresses: Vec<SocketAddr>, now: Instant) {
        let asked = self.running.iter().find(|(_, probing)| probing.number() == number);
        if let Some(key) = asked.map(|(key, _)| *key) {
            self.with(key, |probing, lookups| probing.found(addresses, now, lookups));
        }
    }

    fn replace(&mut self, targets: Vec<Target>, now: Instant) {
        let mut before = std::mem::take(&mut self.running);
        let mut begins = 0;
        for (target, at) in targets.into_iter().zip(0..) {
            let key = (target.service, target.backend);
            let probing = match before.remove(&key) {
                Some(probing) if *probing.target() == target => probing,
                _ => {
                    // A wave, not a wall: the first verdicts are awaited by all, so that it must be a short one.
                    let first = now + SPREAD * (begins % TOGETHER);
                    begins += 1;
                    self.latest += 1;
                    let pace = Pace::new(self.rhythm.clone(), APART * (at / TOGETHER), target.check.interval);
                    Probing::new(self.latest, target, pace, first)
                }
            };
            self.running.insert(key, probing);
        }
    }
}
