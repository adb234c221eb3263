//! The fence: the kernel drops what comes from a held VIP, or goes to it, unless the holder's beacons leave.
//!
//! A daemon that hangs, or dies together with its guard, sends no beacons; a few tenths of a second later its VIPs are
//! silent, whatever the kernel's addresses say. One `nf_tables` table does it, written over netlink without
//! nft(8). Where the kernel lacks the hooks the guard and the lease remain.
//!
//! Requests are carried out on a thread of their own: the kernel makes whoever asks wait for others' changes to its
//! rules, and holds have to be fed meanwhile.

mod expression;
mod message;
mod socket;
mod table;

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use crate::core::Time;

use self::message::Batch;
use self::socket::{News, Requests};
use super::address::Link;
use super::channel::awaitable;
use super::scheduling;

pub(super) use self::table::Fenced;

/// Changes under way; the guard waits for most of them, one after the other.
const DEPTH: usize = 64;
/// A fence that couldn't be put up is tried again after this.
const AGAIN: Duration = Duration::from_secs(10);
/// Lost so often within the time, it is left to whoever takes it away.
const LOSSES: usize = 3;
const LOSSES_WITHIN: Duration = Duration::from_secs(10);

/// The guard's end.
pub(super) struct Fence {
    /// For how long a beacon keeps a VIP alive.
    timeout: Duration,
    requests: SyncSender<Job>,
    /// The thread's netlink port.
    port: u32,
    news: AsyncFd<News>,
    /// The thread couldn't carry something out, or has found the fence shut.
    refused: Arc<Notify>,
    /// The interfaces that it is on, by their index.
    covered: BTreeMap<u32, String>,
    state: State,
    losses: Vec<Time>,
    /// What was asked about held addresses, and isn't known yet.
    looks: Vec<(IpAddr, Answer)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// The kernel has the table.
    On,
    /// It hasn't, or not for sure.
    Off { reason: String, again_at: Option<Time> },
}

/// What comes of a request.
type Answer = oneshot::Receiver<io::Result<()>>;

struct Job {
    request: Vec<u8>,
    done: oneshot::Sender<io::Result<()>>,
}

impl Fence {
    /// Opens the way to the kernel; nothing is changed yet. Needs a tokio runtime.
    ///
    /// `timeout` is for how long a beacon keeps a VIP alive.
    pub(super) fn open(timeout: Duration, now: Time) -> io::Result<Self> {
        let socket = Requests::open()?;
        let port = socket.port();
        let (requests, jobs) = sync_channel(DEPTH);
        let refused = Arc::new(Notify::new());
        let bell = Arc::clone(&refused);
        let work = move || carry_out(&socket, &jobs, &bell);
        std::thread::Builder::new().name("fence".into()).spawn(work)?;
        let news = awaitable(News::open()?)?;
        let state = State::Off { reason: "not put up yet".into(), again_at: Some(now) };
        Ok(Self {
            timeout,
            requests,
            port,
            news,
            refused,
            covered: BTreeMap::new(),
            state,
            losses: Vec::new(),
            looks: Vec::new(),
        })
    }

    /// For how long a beacon keeps a VIP alive.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Why there is none; `None` when there is.
    pub(super) fn missing(&self) -> Option<&str> {
        match &self.state {
            State::On => None,
            State::Off { reason, .. } => Some(reason),
        }
    }

    /// When it should be put up again.
    pub(super) fn again_at(&self) -> Option<Time> {
        match self.state {
            State::On => None,
            State::Off { again_at, .. } => again_at,
        }
    }

    /// Whether an interface has come, gone or changed its name so that the fence has to be put up anew.
    pub(super) fn is_outgrown_by(&self, link: &Link) -> bool {
        let covered = self.covered.get(&link.index);
        if link.speaks { covered != Some(&link.name) } else { covered.is_some() }
    }

    /// An interface is gone, and the kernel has taken the fence off it.
    pub(super) fn forget_interface(&mut self, index: u32) {
        self.covered.remove(&index);
    }

    /// Puts the whole fence up, in place of whatever there is: around `vips`, on `links`.
    pub(super) async fn put_up(&mut self, vips: &[Fenced], links: &[Link], now: Time) {
        let speaking = links.iter().filter(|link| link.speaks);
        self.covered = speaking.map(|link| (link.index, link.name.clone())).collect();
        let names: Vec<String> = self.covered.values().cloned().collect();
        self.state = match self.ask(table::install(vips, &names, self.timeout)).await {
            Ok(()) => State::On,
            Err(error) => State::Off { reason: explain(&error), again_at: Some(now + AGAIN) },
        };
    }

    /// Opens it for VIPs that this node takes. An error when the kernel has no such fence.
    pub(super) async fn let_speak(&self, addresses: &[IpAddr]) -> io::Result<()> {
        self.ask(table::open(addresses, self.timeout)).await
    }

    /// Shuts it: nothing comes from these addresses any more, nor goes to them.
    pub(super) async fn silence(&self, addresses: &[IpAddr]) -> io::Result<()> {
        self.ask(table::shut(addresses)).await
    }

    /// Takes it away from around addresses that this node no longer has. Nobody waits for it.
    pub(super) fn leave(&mut self, addresses: &[IpAddr]) {
        self.looks.retain(|(address, _)| !addresses.contains(address));
        self.tell(table::forget(addresses));
    }

    /// Keeps it around addresses that are held. Nobody waits for it.
    pub(super) fn refresh(&self, addresses: &[IpAddr]) {
        if !addresses.is_empty() {
            self.tell(table::refresh(addresses));
        }
    }

    /// Asks whether an address may speak; what was found out is there by the next time that it is looked for.
    pub(super) fn look_at(&mut self, address: IpAddr) {
        if let Some(answer) = self.request(table::may_speak(address)) {
            self.looks.push((address, answer));
        }
    }

    /// What has been found out: which addresses may speak, and which may not.
    pub(super) fn found(&mut self) -> Vec<(IpAddr, bool)> {
        let mut found = Vec::new();
        self.looks.retain_mut(|(address, answer)| match answer.try_recv() {
            Err(oneshot::error::TryRecvError::Empty) => true,
            Ok(Ok(())) => {
                found.push((*address, true));
                false
            }
            Ok(Err(error)) if error.raw_os_error() == Some(libc::ENOENT) => {
                found.push((*address, false));
                false
            }
            // There is no telling.
            Ok(Err(_)) | Err(oneshot::error::TryRecvError::Closed) => false,
        });
        found
    }

    /// Whether it was taken down for good.
    pub(super) fn is_given_up(&self) -> bool {
        matches!(self.state, State::Off { again_at: None, .. })
    }

    /// Takes it down for good: with it nobody would reach what this node holds.
    pub(super) async fn give_up(&mut self, reason: String) {
        // If it can't be taken down it is in nobody's way a few seconds later.
        let _ = self.take_down().await;
        self.state = State::Off { reason, again_at: None };
    }

    /// Takes it down.
    pub(super) async fn take_down(&self) -> io::Result<()> {
        self.ask(table::remove()).await
    }

    /// Waits until others have changed something of the kernel's rules, or something has been refused, or was found shut:
    /// that it is open is told by whatever comes next.
    pub(super) async fn news(&self) {
        tokio::select! {
            ready = self.news.readable() => {
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
            }
            () = self.refused.notified() => {}
        }
    }

    /// Reads what others did: whether the fence has to be put up again because of it. Whoever takes it away again and
    /// again has his way.
    pub(super) fn is_lost(&mut self, now: Time) -> bool {
        if !self.news.get_ref().tells_of_a_loss(self.port) || self.state != State::On {
            return false;
        }
        self.losses.retain(|at| now.since(*at) <= LOSSES_WITHIN);
        self.losses.push(now);
        if self.losses.len() < LOSSES {
            return true;
        }
        let reason = "another program removes the table again and again".into();
        self.state = State::Off { reason, again_at: Some(now + AGAIN) };
        false
    }

    async fn ask(&self, batch: Batch) -> io::Result<()> {
        let answer = self.tell(batch).ok_or_else(|| io::Error::other("the fence's thread is busy"))?;
        answer.await.unwrap_or_else(|_| Err(io::Error::other("the fence's thread has ended")))
    }

    fn tell(&self, batch: Batch) -> Option<Answer> {
        self.request(batch.finish())
    }

    fn request(&self, request: Vec<u8>) -> Option<Answer> {
        let (done, answer) = oneshot::channel();
        self.requests.try_send(Job { request, done }).ok().map(|()| answer)
    }
}

/// The thread that carries changes out, until nobody can ask for any.
fn carry_out(socket: &Requests, jobs: &Receiver<Job>, refused: &Notify) {
    // Like the guard itself: a VIP is silent until the fence is open.
    let _ = scheduling::raise(scheduling::GUARD);
    while let Ok(Job { request, done }) = jobs.recv() {
        let result = socket.carry_out(&request);
        let failed = result.is_err();
        // Whoever doesn't wait isn't told.
        let _ = done.send(result);
        if failed {
            refused.notify_one();
        }
    }
}

fn explain(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::EOPNOTSUPP | libc::ENOENT | libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => {
            format!("the kernel lacks nf_tables' egress hook (Linux 5.16, CONFIG_NETFILTER_EGRESS): {error}")
        }
        _ => format!("nf_tables refused it: {error}"),
    }
}
