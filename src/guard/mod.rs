//! What acts on the network: a child process that holds addresses, and the daemon's end of it.
//!
//! The guard does what needs privilege and no more: hold a VIP (address and announcements), release it, ask
//! the network who answers for it, bind a socket to a low port. Every hold has an absolute end, so that a
//! daemon that hangs loses its VIPs by itself; when the daemon dies the guard removes them at once and
//! resigns in its name; and when both die the kernel's lease runs out.
//!
//! ```text
//!   daemon ── orders (Hold, Release, Probe, …) ──>  guard ── rtnetlink ──> kernel
//!          <── reports (Held, Answered, Link, …) ──       ── ARP ───────> network
//!          <── bell, for what can't wait ──
//!          ── ends of holds, put off ──>  kernel ── when one has come ──> guard
//! ```

mod address;
mod announce;
mod bell;
mod channel;
mod child;
pub mod clock;
mod echo;
mod end;
mod fence;
mod filter;
mod held;
mod neighbours;
mod protocol;
pub mod scheduling;

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::core::{Boot, Mac, MemberId, Time, VipId};
use crate::wire::seal::Sealer;

use self::bell::Bell;
use self::channel::{Channel, Received};
use self::end::{End, Shared};
use self::protocol::{Order, Start, StartVip, Voice};

pub use self::protocol::Report;

/// How long the guard may take for what the daemon waits for, at its start.
const PATIENCE: Duration = Duration::from_secs(5);

/// The guard's process: what `chinthe guard` runs, on the channel that is its standard input.
pub fn main() -> ExitCode {
    match io::stdin().as_fd().try_clone_to_owned() {
        Ok(socket) => child::main(socket),
        Err(error) => {
            eprintln!("error: no channel to a daemon: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The daemon's end.
pub struct Guard {
    child: Child,
    channel: Channel,
    bell: Bell,
    /// By VIP, while it is held.
    holds: Vec<Option<Shared>>,
    /// What came while something else was waited for.
    early: VecDeque<Report>,
}

/// What a guard is to guard.
pub struct Ward {
    /// In the configuration's order.
    pub vips: Vec<WardVip>,
    /// The node's own address.
    pub address: IpAddr,
    /// For how long one of the holder's beacons keeps its VIPs from being fenced.
    pub fence: Duration,
    /// Its own sealing half.
    pub sealer: Sealer,
    /// The node it speaks for.
    pub sender: MemberId,
    /// Its own boot id.
    pub boot: Boot,
}

/// One VIP of a [`Ward`].
pub struct WardVip {
    /// Which, as members know it.
    pub id: VipId,
    /// What is held, together.
    pub addresses: Vec<IpAddr>,
    /// Where.
    pub interface: String,
    /// What a guard before this one held and has left behind, to be held on.
    pub inherited: Option<Inherited>,
}

/// A hold that outlives the guard that had it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inherited {
    /// The new guard lets go then, unless it is told again.
    pub until: Time,
    /// The election that it belongs to.
    pub term: u32,
}

/// Why there is no guard, or no longer one.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The host won't have it. Nothing was changed.
    #[error("{error}")]
    Refused {
        /// Why.
        error: String,
        /// What to do.
        hint: String,
    },
    /// It ended.
    #[error("the guard has ended")]
    Ended,
    /// It doesn't answer.
    #[error("the guard doesn't answer")]
    Hung,
    /// It couldn't be started or talked to.
    #[error("the guard can't be reached: {0}")]
    Unreachable(#[from] io::Error),
}

impl Guard {
    /// Starts a guard, and waits until it has removed what an earlier life left.
    pub fn start(ward: &Ward) -> Result<Self, GuardError> {
        let mut guard = Self::begin(ward)?;
        match guard.wait()? {
            Report::Started => Ok(guard),
            Report::Refused { error, hint } => Err(GuardError::Refused { error, hint }),
            other => Err(io::Error::other(format!("unexpected first report {other:?}")).into()),
        }
    }

    /// Starts a guard without waiting for it: it takes orders from now on, and says [`Report::Started`] or
    /// [`Report::Refused`] first.
    pub fn begin(ward: &Ward) -> Result<Self, GuardError> {
        let (channel, theirs) = Channel::pair()?;
        let bell = Bell::new()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("guard").stdin(Stdio::from(theirs));
        let child = command.spawn()?;
        drop(command);
        let holds = ward.vips.iter().map(|_| None).collect();
        let guard = Self { child, channel, bell, holds, early: VecDeque::new() };
        let (key, key_id, cluster) = ward.sealer.parts();
        let voice = Voice { key, key_id, cluster, sender: ward.sender.0, boot: ward.boot.0 };
        let vips = ward.vips.iter().map(|vip| StartVip {
            id: vip.id.0,
            addresses: vip.addresses.clone(),
            interface: vip.interface.clone(),
            inherited: vip.inherited.map(|hold| (hold.until.as_nanos(), hold.term)),
        });
        let start = Start { vips: vips.collect(), address: ward.address, fence: ward.fence, voice };
        Self::send(&guard.channel, &Order::Start(start), Some(guard.bell.as_fd()))?;
        Ok(guard)
    }

    /// Tells the guard whom to tell when the daemon is dead.
    pub fn set_peers(&self, peers: Vec<SocketAddr>) -> Result<(), GuardError> {
        self.order(&Order::Peers(peers))
    }

    /// Has a VIP held up to `until`. True when it goes on to be held, without a word to the guard; otherwise that is
    /// asked, and answers with [`Report::Held`].
    pub fn hold(&mut self, vip: usize, until: Time, term: u32) -> Result<bool, GuardError> {
        let now = clock::now();
        let order = Order::Hold { vip, until: until.as_nanos(), term };
        match self.holds.get_mut(vip) {
            Some(Some(shared)) => {
                if shared.goes_on(until, term, now) {
                    return Ok(true);
                }
                shared.asked(term, now);
                self.order(&order)?;
            }
            // Without a timer it is asked each time.
            Some(hold @ None) => match End::new() {
                Ok(end) => {
                    let end = hold.insert(Shared::new(end, term, now)).end.as_fd();
                    Self::send(&self.channel, &order, Some(end))?;
                }
                Err(_too_many) => self.order(&order)?,
            },
            None => self.order(&order)?,
        }
        Ok(false)
    }

    /// Up to when the kernel is known to keep a VIP that is held, whatever becomes of the guard.
    pub fn leased_until(&self, vip: usize) -> Option<Time> {
        self.holds.get(vip)?.as_ref()?.leased_until()
    }

    /// Has a VIP removed; answered by [`Report::Released`].
    pub fn release(&mut self, vip: usize) -> Result<(), GuardError> {
        self.forget_hold(vip);
        self.order(&Order::Release { vip })
    }

    /// Has the network told again where a VIP is; `anew`, even if it has just been told.
    pub fn announce(&self, vip: usize, anew: bool) -> Result<(), GuardError> {
        self.order(&Order::Announce { vip, anew })
    }

    /// Has the network asked who answers for a VIP; answered by [`Report::Probed`].
    pub fn probe(&self, vip: usize, mac: Option<Mac>) -> Result<(), GuardError> {
        self.order(&Order::Probe { vip, mac: mac.map(|mac| mac.0) })
    }

    /// Has a socket bound to an address that the daemon has no permission for. Waits for it: for the start only.
    pub fn bind(&mut self, socket: BorrowedFd<'_>, address: SocketAddr) -> Result<(), GuardError> {
        self.channel.send(&Order::Bind { address }, Some(socket))?;
        loop {
            match self.wait()? {
                Report::Bound { error: None } => return Ok(()),
                Report::Bound { error: Some(code) } => return Err(io::Error::from_raw_os_error(code).into()),
                // Links and the like: said again to whoever asks later.
                other => self.early.push_back(other),
            }
        }
    }

    /// What to poll for: the guard has something to say that can't wait, or has ended.
    pub fn polled(&self) -> [PollFd<'_>; 2] {
        [PollFd::new(&self.bell, PollFlags::IN), PollFd::new(&self.channel, PollFlags::empty())]
    }

    /// The next report, if one has come, whether it can wait or not; `rung` says whether what is polled was ready.
    pub fn receive(&mut self, rung: bool) -> Result<Option<Report>, GuardError> {
        if let Some(report) = self.early.pop_front() {
            return Ok(Some(report));
        }
        loop {
            match self.channel.receive()? {
                Received::Message(mut report, _) => {
                    self.heard(&mut report);
                    return Ok(Some(report));
                }
                // It is silent once there is nothing left, but for what may have come just before.
                Received::Nothing if rung && self.bell.silence() => {}
                Received::Nothing => return Ok(None),
                Received::Closed => return Err(GuardError::Ended),
            }
        }
    }

    /// Ends a guard that is of no use any more; what it held is left to the next one, or to the lease.
    ///
    /// It does nothing of its own any more from here on, but is gone only when the kernel lets it: nobody waits for
    /// that.
    pub fn kill(self) {
        let Self { mut child, channel: _, bell: _, holds: _, early: _ } = self;
        let _ = child.kill();
        // Without a thread to be had it stays a zombie, which harms nobody.
        let _ = std::thread::Builder::new().name("reaper".into()).spawn(move || child.wait());
    }

    /// Closes the channel and waits until the guard has released everything and ended.
    pub fn stop(self) {
        let Self { mut child, channel, bell: _, holds: _, early: _ } = self;
        drop(channel);
        let _ = child.wait();
    }

    /// What it says of holds decides what may be done about them without it; how long one lasts, both may have changed
    /// since.
    fn heard(&mut self, report: &mut Report) {
        match report {
            Report::Held { vip, term, until, leased_until } => {
                if let Some(Some(shared)) = self.holds.get_mut(*vip) {
                    shared.answered(*term, Time::from_nanos(*leased_until));
                    *until = shared.until(*term, Time::from_nanos(*until), clock::now()).as_nanos();
                }
            }
            Report::Released { vip } | Report::Expired { vip } | Report::Removed { vip } => {
                self.forget_hold(*vip);
            }
            Report::Started
            | Report::Refused { .. }
            | Report::Link { .. }
            | Report::Restored { .. }
            | Report::Probed { .. }
            | Report::Answered { .. }
            | Report::Announced { .. }
            | Report::Fence { .. }
            | Report::Bound { .. }
            | Report::Waiting
            | Report::Trouble { .. } => {}
        }
    }

    fn forget_hold(&mut self, vip: usize) {
        if let Some(hold) = self.holds.get_mut(vip) {
            *hold = None;
        }
    }

    fn wait(&mut self) -> Result<Report, GuardError> {
        let deadline = clock::now() + PATIENCE;
        loop {
            match self.channel.receive()? {
                Received::Message(report, _) => return Ok(report),
                Received::Closed => return Err(GuardError::Ended),
                Received::Nothing => {}
            }
            let left = deadline.since(clock::now());
            if left.is_zero() {
                return Err(io::Error::from(io::ErrorKind::TimedOut).into());
            }
            let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
            let mut ready = [PollFd::new(&self.channel, PollFlags::IN)];
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(io::Error::from(error).into()),
            }
        }
    }

    fn order(&self, order: &Order) -> Result<(), GuardError> {
        Self::send(&self.channel, order, None)
    }

    fn send(channel: &Channel, order: &Order, beside: Option<BorrowedFd<'_>>) -> Result<(), GuardError> {
        match channel.send(order, beside) {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) =>
            {
                Err(GuardError::Ended)
            }
            Err(error) => Err(error.into()),
        }
    }
}
