//! One worker: a thread, its event loop, its listeners and its connections.

use std::collections::VecDeque;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, TryLockError};
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Waker};
use rustix::io::Errno;
use rustix::net::SocketFlags;

use super::books::Planned;
use super::connection::{Connection, Fate};
use super::spin::{Round, Spin};
use super::surroundings::Surroundings;
use super::table::{Subject, Table};
use super::timers::Timers;
use super::{Common, Desk};

/// What a worker's thread owns.
pub(super) struct Worker {
    poll: Poll,
    listeners: Vec<Listener>,
    /// How many listeners there have been.
    opened: usize,
    table: Table,
    timers: Timers,
    /// Slots of connections that used up their turn and have more to do.
    more: VecDeque<usize>,
    around: Surroundings,
    /// How many connections it may have.
    limit: usize,
    /// How many workers share a service's limit.
    workers: usize,
    /// Out of descriptors or memory: no accepting until then.
    paused_until: Option<Instant>,
    /// Stopping; what is open then is cut.
    stop_at: Option<Instant>,
    spin: Spin,
}

struct Listener {
    /// What its events say.
    number: usize,
    service: usize,
    socket: TcpListener,
    /// Somebody may be waiting: an edge came, and accepting has not yet said that nobody is left.
    ready: bool,
    /// How many connections the service may have on this worker.
    limit: usize,
    /// Somebody may be waiting while the worker or the service is at its limit, and it was counted.
    full: bool,
}

impl Worker {
    /// Registers everything, so that the thread itself can't fail to start; the waker makes it look at its desk.
    pub(super) fn new(
        common: Arc<Common>,
        desk: Arc<Desk>,
        planned: Planned,
        listeners: Vec<(usize, TcpListener)>,
        workers: usize,
        limit: usize,
    ) -> io::Result<(Self, Waker)> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Subject::Orders.token())?;
        if listeners.iter().any(|(service, _)| *service >= planned.services.len()) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a listener of an unknown service"));
        }
        let spin = common.settings.spin;
        let around = Surroundings::new(poll.registry().try_clone()?, common, desk, planned, BUFFER);
        let mut worker = Self {
            poll,
            listeners: Vec::with_capacity(listeners.len()),
            opened: 0,
            table: Table::new(limit),
            timers: Timers::new(),
            more: VecDeque::new(),
            around,
            limit,
            workers,
            paused_until: None,
            stop_at: None,
            spin: Spin::new(spin),
        };
        for (service, socket) in listeners {
            worker.open(service, socket)?;
        }
        worker.share_limits();
        Ok((worker, waker))
    }

    fn open(&mut self, service: usize, socket: TcpListener) -> io::Result<()> {
        let number = self.opened;
        let token = Subject::Listener(number).token();
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), token, Interest::READABLE)?;
        self.opened += 1;
        let limit = self.limit;
        self.listeners.push(Listener { number, service, socket, ready: false, limit, full: false });
        Ok(())
    }

    /// Accepts who has come to these listeners, then closes them.
    fn close(&mut self, chosen: impl Fn(&Listener) -> bool) {
        // Closing a listener resets who waits there: whoever has come so far is still served.
        for listener in self.listeners.iter_mut().filter(|listener| chosen(listener)) {
            listener.ready = true;
        }
        for _ in 0..LAST_TURNS {
            let now = self.around.now;
            if !self.listeners.iter().any(|listener| chosen(listener) && self.may_accept(listener, now)) {
                break;
            }
            self.accept();
        }
        self.listeners.retain(|listener| !chosen(listener));
    }

    /// Gives every listener its share of its service's limit.
    fn share_limits(&mut self) {
        for listener in &mut self.listeners {
            let most = self.around.max_connections(listener.service);
            listener.limit = most.map_or(self.limit, |most| most.div_ceil(self.workers).max(1));
        }
    }

    /// Works until it is told to stop and everything has ended or been cut.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        loop {
            match self.wait(&mut events) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    // Its beat stops, which the driver sees.
                    tracing::error!(%error, "a proxy worker can't wait for events any more");
                    return;
                }
            }
            self.around.read_clock();
            self.around.desk.beat.fetch_add(1, Ordering::Relaxed);
            let mut orders = events.is_empty();
            for event in &events {
                match Subject::of(event.token()) {
                    Subject::Orders => orders = true,
                    Subject::Listener(number) => {
                        let found = self.listeners.iter_mut().find(|listener| listener.number == number);
                        if let Some(listener) = found {
                            listener.ready = true;
                        }
                    }
                    Subject::Connection { slot, tag } => {
                        // A socket closed earlier in this batch has no say any more.
                        if self.table.get_mut(slot).is_some_and(|connection| connection.note(tag, event)) {
                            self.drive(slot);
                        }
                    }
                }
            }
            if orders {
                self.take_orders();
            }
            for _ in 0..self.more.len() {
                if let Some(slot) = self.more.pop_front() {
                    self.go_on(slot);
                }
            }
            self.expire();
            self.accept();
            if self.has_ended() {
                return;
            }
        }
    }

    /// Waits for events, the first moment without sleeping where that promises something.
    fn wait(&mut self, events: &mut Events) -> io::Result<()> {
        let patience = self.patience();
        if patience.is_zero() {
            return self.poll.poll(events, Some(patience));
        }
        let round = Round {
            events: events.iter().count(),
            connections: self.table.len(),
            bulk: std::mem::take(&mut self.around.means.spliced),
        };
        let spin = self.spin.before_sleep(round).min(patience);
        if !spin.is_zero() {
            let end = Instant::now() + spin;
            while Instant::now() < end {
                self.poll.poll(events, Some(Duration::ZERO))?;
                if !events.is_empty() {
                    self.spin.looked(true);
                    return Ok(());
                }
            }
            self.spin.looked(false);
        }
        self.spin.sleeps();
        self.poll.poll(events, Some(patience))
    }

    /// How long to wait for events, from the beginning of this round on.
    fn patience(&self) -> Duration {
        let now = self.around.now;
        if !self.more.is_empty() || self.listeners.iter().any(|listener| self.may_accept(listener, now)) {
            return Duration::ZERO;
        }
        let timer = self.timers.next().map(|at| Duration::from_nanos(at.saturating_sub(self.around.age)));
        let mut patience = timer.map_or(BEAT, |timer| timer.min(BEAT));
        for at in [self.paused_until, self.stop_at].into_iter().flatten() {
            patience = patience.min(at.saturating_duration_since(now));
        }
        patience
    }

    fn may_accept(&self, listener: &Listener, now: Instant) -> bool {
        listener.ready && !self.is_full(listener) && self.paused_until.is_none_or(|until| until <= now)
    }

    /// Whether no client of this listener may be let in.
    fn is_full(&self, listener: &Listener) -> bool {
        let active = self.around.tally(listener.service).active.get();
        self.table.len() >= self.limit || active >= listener.limit as u64
    }

    fn take_orders(&mut self) {
        let desk = Arc::clone(&self.around.desk);
        let mut orders = match desk.orders.try_lock() {
            Ok(orders) => orders,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            // Whoever writes there now will wake us when done.
            Err(TryLockError::WouldBlock) => return,
        };
        self.stop_at = orders.stop_at;
        let (snapshot, planned) = (orders.snapshot.take(), orders.planned.take());
        let (opened, closed) = (std::mem::take(&mut orders.opened), std::mem::take(&mut orders.closed));
        let forsaken = std::mem::take(&mut orders.forsaken);
        let close = orders.close_listeners || self.stop_at.is_some();
        drop(orders);
        if !closed.is_empty() {
            // By the routes so far, so that whoever has come still finds a backend.
            let goes =
                |it: &Listener| it.socket.local_addr().is_ok_and(|at| closed.contains(&(it.service, at)));
            self.close(goes);
        }
        if let Some(snapshot) = snapshot {
            self.around.snapshot = snapshot;
        }
        if let Some(planned) = planned {
            self.around.replan(planned);
            for (service, socket) in opened {
                if let Err(error) = self.open(service, socket) {
                    // The other workers may have more luck; whoever came here is told that nobody listens.
                    tracing::error!(%error, "a proxy worker can't watch a listener");
                }
            }
            self.share_limits();
            // A timeout that has become shorter may be over already.
            for slot in 0..self.table.slots() {
                self.settle(slot, Fate::Open);
            }
        }
        if !forsaken.is_empty() {
            self.cut(|connection| connection.came_by(&forsaken));
        }
        if close {
            self.close(|_| true);
        }
    }

    /// Lets the connection in `slot` do what it can.
    fn drive(&mut self, slot: usize) {
        if let Some(connection) = self.table.get_mut(slot) {
            let fate = connection.drive(slot, &mut self.around);
            self.settle(slot, fate);
        }
    }

    /// Gives a connection its next turn.
    fn go_on(&mut self, slot: usize) {
        if let Some(connection) = self.table.get_mut(slot)
            && connection.queued
        {
            connection.queued = false;
            self.drive(slot);
        }
    }

    fn expire(&mut self) {
        while let Some(slot) = self.timers.due(self.around.age) {
            if let Some(connection) = self.table.get_mut(slot) {
                let fate = connection.expire(slot, &mut self.around);
                self.settle(slot, fate);
            }
        }
    }

    /// Carries out what a turn led to, and sees to it that the timer isn't later than the deadline.
    fn settle(&mut self, slot: usize, fate: Fate) {
        let Some(connection) = self.table.get_mut(slot) else { return };
        match fate {
            Fate::Open | Fate::More => {
                if let Some(deadline) = connection.deadline(&self.around) {
                    self.timers.file(slot, deadline);
                }
                if fate == Fate::More && !connection.queued {
                    connection.queued = true;
                    self.more.push_back(slot);
                }
            }
            Fate::Over => {
                self.timers.remove(slot);
                if let Some(connection) = self.table.remove(slot) {
                    connection.close(&self.around);
                }
            }
        }
    }

    /// Accepts from every listener that may have somebody, up to a share each.
    fn accept(&mut self) {
        let now = self.around.now;
        if self.around.exhausted {
            self.around.exhausted = false;
            self.pause_accepting();
        }
        if self.paused_until.is_some_and(|until| until <= now) {
            self.paused_until = None;
        }
        for index in 0..self.listeners.len() {
            for _ in 0..ACCEPTS_A_TURN {
                if self.paused_until.is_some() || !self.listeners[index].ready {
                    break;
                }
                let full = self.is_full(&self.listeners[index]);
                let was_full = std::mem::replace(&mut self.listeners[index].full, full);
                if full {
                    if !was_full {
                        self.around.desk.tally.accept_pauses.add(1);
                    }
                    break;
                }
                self.accept_one(index);
            }
        }
    }

    fn accept_one(&mut self, index: usize) {
        let listener = &mut self.listeners[index];
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        match rustix::net::accept_with(&listener.socket, flags) {
            Ok(client) => {
                let (service, slot) = (listener.service, self.table.vacant());
                let client = TcpStream::from(client);
                let connection = Connection::accept(client, service, slot, &mut self.around);
                self.table.put(slot, connection);
                self.settle(slot, Fate::Open);
            }
            Err(Errno::AGAIN) => listener.ready = false,
            Err(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => self.pause_accepting(),
            // That one client's trouble: accept(2) hands out what its connection met before it was accepted.
            Err(
                Errno::INTR
                | Errno::CONNABORTED
                | Errno::PROTO
                | Errno::PERM
                | Errno::NETDOWN
                | Errno::NETUNREACH
                | Errno::HOSTDOWN
                | Errno::HOSTUNREACH
                | Errno::OPNOTSUPP
                | Errno::NOPROTOOPT
                | Errno::NONET
                | Errno::TIMEDOUT,
            ) => {}
            Err(error) => {
                tracing::warn!(error = %io::Error::from(error), "a client could not be accepted");
                self.pause_accepting();
            }
        }
    }

    fn pause_accepting(&mut self) {
        self.paused_until = Some(self.around.now + PAUSE);
        self.around.desk.tally.accept_pauses.add(1);
    }

    /// Whether it is time to end; whoever is still connected then is cut.
    fn has_ended(&mut self) -> bool {
        let Some(stop_at) = self.stop_at else { return false };
        if self.table.len() == 0 {
            return true;
        }
        if self.around.now < stop_at {
            return false;
        }
        self.cut(|_| true);
        true
    }

    /// Ends the connections that are `chosen`.
    fn cut(&mut self, chosen: impl Fn(&Connection) -> bool) {
        for slot in 0..self.table.slots() {
            if self.table.get_mut(slot).is_some_and(|connection| chosen(connection))
                && let Some(connection) = self.table.remove(slot)
            {
                self.timers.remove(slot);
                self.around.desk.tally.cut.add(1);
                connection.close(&self.around);
            }
        }
    }
}

/// A worker's buffer, and so the most that one read gives and that one direction keeps.
const BUFFER: usize = 64 * 1024;

/// Events taken from the kernel at once.
const EVENTS: usize = 1024;

/// Clients accepted from one listener before the connections have their turn.
const ACCEPTS_A_TURN: usize = 64;

/// Turns of accepting before a listener is closed: enough to empty its queue, and an end for who keeps filling it.
const LAST_TURNS: usize = 64;

/// How long not to accept when there is no descriptor left: others have to close theirs first.
const PAUSE: Duration = Duration::from_millis(100);

/// A worker wakes at least so often, to show that it isn't stuck.
const BEAT: Duration = Duration::from_secs(1);
