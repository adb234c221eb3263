//! The load: clients and backends in one thread and one event loop, which does next to nothing per event, so that
//! whatever stands between the two is the limit.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketFlags};
use socket2::{Domain, Socket, Type};

/// What a client says.
pub(crate) const REQUEST: usize = 128;
/// What a backend says to it.
pub(crate) const ANSWER: usize = 512;

/// What the clients do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// A request on an open connection, its answer, the next.
    Requests,
    /// A connection, a request, its answer, which the backend ends with; the next.
    Connections,
    /// Backends send as fast as they can.
    Down,
    /// Clients send as fast as they can.
    Up,
    /// Open connections on which nothing is said after the first answer.
    Idle,
}

/// How long a [`Load::run`] goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Until {
    Over(Duration),
    /// So many exchanges have ended.
    Count(u64),
}

/// What a [`Load::run`] saw.
#[derive(Debug, Clone, Default)]
pub(crate) struct Seen {
    /// Exchanges that ended.
    pub(crate) count: u64,
    /// Bytes that arrived in bulk.
    pub(crate) bytes: u64,
    pub(crate) elapsed: Duration,
    /// The load's own CPU time: at `elapsed`, the load itself is the limit.
    pub(crate) load_cpu: Duration,
    /// Nanoseconds of each exchange, in ascending order.
    pub(crate) latencies: Vec<u32>,
}

impl Seen {
    /// The latency that this share of the exchanges doesn't exceed.
    pub(crate) fn quantile(&self, share: f64) -> Duration {
        let last = self.latencies.len().saturating_sub(1);
        let index = (last as f64 * share).round() as usize;
        Duration::from_nanos(self.latencies.get(index).copied().unwrap_or_default().into())
    }
}

/// Clients, backends and their loop.
pub(crate) struct Load {
    poll: Poll,
    events: Option<Events>,
    backends: Vec<TcpListener>,
    ends: Vec<Option<End>>,
    free: Vec<usize>,
    /// Closed in this round of the loop: an event of theirs may still follow.
    closed: Vec<usize>,
    job: Job,
    target: SocketAddr,
    clients: usize,
    /// Clients that have had their first answer.
    warm: usize,
    running: bool,
    failure: Option<String>,
    seen: Seen,
    buffer: Vec<u8>,
    discarded: Vec<u8>,
}

/// One end of a connection.
struct End {
    socket: TcpStream,
    client: bool,
    /// Bytes of the message that is arriving.
    received: usize,
    started: Instant,
    /// A client's: the request is still to be sent.
    unsent: bool,
    warm: bool,
}

impl Load {
    /// With so many backends, which listen on the loopback.
    pub(crate) fn new(backends: usize) -> Result<Self> {
        let poll = Poll::new()?;
        let mut listeners = Vec::new();
        for index in 0..backends {
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
            socket.set_reuse_address(true)?;
            socket.set_tcp_nodelay(true)?;
            socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into())?;
            socket.listen(BACKLOG)?;
            poll.registry().register(
                &mut SourceFd(&socket.as_raw_fd()),
                Token(BACKENDS + index),
                Interest::READABLE,
            )?;
            listeners.push(TcpListener::from(socket));
        }
        Ok(Self {
            poll,
            events: Some(Events::with_capacity(1024)),
            backends: listeners,
            ends: Vec::new(),
            free: Vec::new(),
            closed: Vec::new(),
            job: Job::Requests,
            target: (Ipv4Addr::LOCALHOST, 0).into(),
            clients: 0,
            warm: 0,
            running: false,
            failure: None,
            seen: Seen::default(),
            buffer: vec![b'.'; BUFFER],
            discarded: vec![0; DISCARDED],
        })
    }

    /// Where the backends listen.
    pub(crate) fn backends(&self) -> Result<Vec<SocketAddr>> {
        self.backends.iter().map(|backend| Ok(backend.local_addr()?)).collect()
    }

    /// Opens so many connections to `target` for `job`, and returns when each has had its first answer (in bulk: is
    /// open). Connections that the job opens itself wait for [`run`](Self::run).
    pub(crate) fn open(&mut self, job: Job, target: SocketAddr, clients: usize) -> Result<()> {
        self.job = job;
        self.target = target;
        self.clients = clients;
        self.warm = 0;
        self.failure = None;
        if job == Job::Connections {
            return Ok(());
        }
        let mut opened = 0;
        let deadline = Instant::now() + PATIENCE;
        while self.warm < clients {
            // Not more at once than a listener's queue takes.
            while opened < clients && opened < self.warm + 64 {
                self.connect()?;
                opened += 1;
            }
            self.turn(Duration::from_millis(100))?;
            ensure!(Instant::now() < deadline, "{} of {clients} connections opened", self.warm);
        }
        Ok(())
    }

    /// Does the job.
    pub(crate) fn run(&mut self, until: Until) -> Result<Seen> {
        self.seen = Seen::default();
        self.running = true;
        match self.job {
            Job::Connections => {
                for _ in self.ends.iter().flatten().filter(|end| end.client).count()..self.clients {
                    self.connect()?;
                }
            }
            Job::Requests => {
                for index in 0..self.ends.len() {
                    if self.ends[index].as_ref().is_some_and(|end| end.client && end.unsent) {
                        self.ask(index)?;
                    }
                }
            }
            Job::Down | Job::Up | Job::Idle => {}
        }
        let cpu = own_cpu();
        let began = Instant::now();
        let deadline = match until {
            Until::Over(time) => began + time,
            Until::Count(_) => began + PATIENCE,
        };
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let enough = matches!(until, Until::Count(count) if self.seen.count >= count);
            if left.is_zero() || enough {
                break;
            }
            self.turn(left)?;
        }
        self.running = false;
        if let Some(failure) = self.failure.take() {
            bail!("{failure}");
        }
        let mut seen = std::mem::take(&mut self.seen);
        if let Until::Count(count) = until {
            ensure!(seen.count >= count, "only {} of {count} exchanges ended", seen.count);
        }
        seen.elapsed = began.elapsed();
        seen.load_cpu = own_cpu().saturating_sub(cpu);
        seen.latencies.sort_unstable();
        Ok(seen)
    }

    /// Lets the backends answer whoever is there.
    pub(crate) fn idle(&mut self) -> Result<()> {
        self.turn(Duration::from_millis(1))
    }

    /// Ends all connections, the backends first, so that no port that a client could want waits in `TIME_WAIT`.
    pub(crate) fn close(&mut self) -> Result<()> {
        self.running = false;
        for index in 0..self.ends.len() {
            if self.ends[index].as_ref().is_some_and(|end| !end.client) {
                self.drop_end(index);
            }
        }
        let deadline = Instant::now() + Duration::from_secs(2);
        while self.ends.iter().any(Option::is_some) && Instant::now() < deadline {
            self.turn(Duration::from_millis(20))?;
        }
        for index in 0..self.ends.len() {
            self.drop_end(index);
        }
        self.turn(Duration::ZERO)?;
        self.ends.clear();
        self.free.clear();
        self.closed.clear();
        self.failure = None;
        Ok(())
    }

    fn turn(&mut self, patience: Duration) -> Result<()> {
        let mut events = self.events.take().context("one turn at a time")?;
        let polled = self.poll.poll(&mut events, Some(patience));
        for event in &events {
            let Token(token) = event.token();
            if token >= BACKENDS {
                self.accept(token - BACKENDS)?;
            } else {
                self.react(token, event)?;
            }
        }
        self.events = Some(events);
        self.free.append(&mut self.closed);
        match polled {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error.into()),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn accept(&mut self, backend: usize) -> Result<()> {
        loop {
            let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
            match rustix::net::accept_with(&self.backends[backend], flags) {
                Ok(socket) => {
                    let index = self.add(socket.into(), false)?;
                    if self.job == Job::Down {
                        self.pump(index);
                    }
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error)).context("accept"),
            }
        }
    }

    fn connect(&mut self) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        socket.set_tcp_nodelay(true)?;
        match socket.connect(&self.target.into()) {
            Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => {
                return Err(error).context("connect");
            }
            Ok(()) | Err(_) => {}
        }
        let index = self.add(socket.into(), true)?;
        self.ask(index)
    }

    fn add(&mut self, socket: TcpStream, client: bool) -> Result<usize> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.ends.push(None);
            self.ends.len() - 1
        });
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut SourceFd(&socket.as_raw_fd()), Token(index), interest)?;
        let started = Instant::now();
        self.ends[index] = Some(End { socket, client, received: 0, started, unsent: client, warm: false });
        Ok(index)
    }

    fn drop_end(&mut self, index: usize) {
        if self.ends[index].take().is_some() {
            self.closed.push(index);
        }
    }

    /// Sends a client's next request, or waits until it can.
    fn ask(&mut self, index: usize) -> Result<()> {
        let Some(end) = &mut self.ends[index] else { return Ok(()) };
        match rustix::net::send(&end.socket, &self.buffer[..REQUEST], SendFlags::NOSIGNAL) {
            Ok(REQUEST) => {
                end.unsent = false;
                if self.job != Job::Connections {
                    end.started = Instant::now();
                }
                // Nobody answers an upload: it begins behind its request.
                if self.job == Job::Up && !end.warm {
                    end.warm = true;
                    self.warm += 1;
                }
                Ok(())
            }
            // Not connected yet.
            Err(Errno::AGAIN | Errno::NOTCONN) => Ok(()),
            outcome => bail!("a request couldn't be sent: {outcome:?}"),
        }
    }

    fn react(&mut self, index: usize, event: &Event) -> Result<()> {
        let Some(end) = &mut self.ends[index] else { return Ok(()) };
        let client = end.client;
        if event.is_writable() {
            if client && end.unsent && (self.running || !end.warm) {
                self.ask(index)?;
            }
            match self.job {
                Job::Down if !client => self.pump(index),
                Job::Up if client && self.ends[index].as_ref().is_some_and(|end| end.warm) => {
                    self.pump(index);
                }
                Job::Down | Job::Up | Job::Requests | Job::Connections | Job::Idle => {}
            }
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            let ends = event.is_read_closed() || event.is_error();
            match (self.job, client) {
                (Job::Down, true) | (Job::Up, false) => self.discard(index, ends),
                (_, false) => self.answer(index, ends),
                (_, true) => self.take_answer(index, ends)?,
            }
        }
        Ok(())
    }

    /// A backend's turn: reads a request and answers it.
    fn answer(&mut self, index: usize, ends: bool) {
        let Some(end) = &mut self.ends[index] else { return };
        match rustix::net::recv(&end.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((_, count)) if count > 0 => {
                end.received += count;
                if end.received >= REQUEST {
                    end.received -= REQUEST;
                    let sent = rustix::net::send(&end.socket, &self.buffer[..ANSWER], SendFlags::NOSIGNAL);
                    if sent != Ok(ANSWER) && self.running {
                        self.failure = Some(format!("an answer couldn't be sent: {sent:?}"));
                    }
                    if self.job == Job::Connections || ends {
                        self.drop_end(index);
                    }
                }
            }
            Err(Errno::AGAIN) => {}
            Ok(_) | Err(_) => self.drop_end(index),
        }
    }

    /// A client's turn: reads the answer and asks again.
    fn take_answer(&mut self, index: usize, ends: bool) -> Result<()> {
        let Some(end) = &mut self.ends[index] else { return Ok(()) };
        match rustix::net::recv(&end.socket, &mut self.buffer[..], RecvFlags::empty()) {
            Ok((_, count)) if count > 0 => end.received += count,
            Err(Errno::AGAIN) => return Ok(()),
            Ok(_) => return self.ended(index),
            Err(error) => {
                let text = format!("a connection broke: {error}");
                if self.running {
                    self.failure = Some(text);
                }
                self.drop_end(index);
                return Ok(());
            }
        }
        match self.job {
            // Its end came with its last answer, and is told once.
            _ if ends && !self.running => self.ended(index),
            Job::Connections if ends => self.ended(index),
            Job::Connections => Ok(()),
            _ if end.received < ANSWER => Ok(()),
            _ => {
                end.received -= ANSWER;
                end.unsent = true;
                let took = end.started.elapsed();
                if !end.warm {
                    end.warm = true;
                    self.warm += 1;
                } else if self.running {
                    self.note(took);
                }
                if self.running && self.job == Job::Requests { self.ask(index) } else { Ok(()) }
            }
        }
    }

    /// The backend has ended the connection.
    fn ended(&mut self, index: usize) -> Result<()> {
        let Some(end) = &self.ends[index] else { return Ok(()) };
        if self.running && self.job == Job::Connections {
            let (took, received) = (end.started.elapsed(), end.received);
            self.drop_end(index);
            if received == ANSWER {
                self.note(took);
            } else {
                self.failure = Some(format!("a connection ended after {received} of {ANSWER} bytes"));
            }
            return self.connect();
        }
        if self.running {
            self.failure = Some("a connection was ended".into());
        }
        self.drop_end(index);
        Ok(())
    }

    fn note(&mut self, took: Duration) {
        self.seen.count += 1;
        self.seen.latencies.push(u32::try_from(took.as_nanos()).unwrap_or(u32::MAX));
    }

    /// Sends until the socket is full.
    fn pump(&mut self, index: usize) {
        let Some(end) = &self.ends[index] else { return };
        while let Ok(sent) = rustix::net::send(&end.socket, &self.buffer, SendFlags::NOSIGNAL) {
            if sent < self.buffer.len() {
                return;
            }
        }
    }

    /// Reads without copying until the socket is empty; its end is told once.
    fn discard(&mut self, index: usize, ends: bool) {
        let Some(end) = &mut self.ends[index] else { return };
        if end.client && !end.warm {
            end.warm = true;
            self.warm += 1;
        }
        loop {
            match rustix::net::recv(&end.socket, &mut self.discarded[..], RecvFlags::TRUNC) {
                Ok((_, count)) if count > 0 => {
                    self.seen.bytes += count as u64;
                    if count < DISCARDED && !ends {
                        return;
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => return,
                Ok(_) | Err(_) => return self.drop_end(index),
            }
        }
    }
}

fn own_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}

/// Tokens from here on are listeners'.
const BACKENDS: usize = 1 << 32;
const BACKLOG: i32 = 4096;
/// Sent at once in bulk; it stays in the cache.
const BUFFER: usize = 128 * 1024;
const DISCARDED: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);
