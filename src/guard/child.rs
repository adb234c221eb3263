//! The guard's process: the only one that needs `CAP_NET_ADMIN` and `CAP_NET_RAW`.
//!
//! One loop: read every order, read every answer that the network has given, look at the clock, and only then
//! refresh or announce. A hold past its end is let go before anything else is done with it. When the daemon's end of
//! the channel closes, the guard is the undertaker: it removes the addresses, waits for the kernel's word,
//! resigns in the daemon's name and ends.

mod fencing;
mod holding;
mod leases;
mod network;
mod prepare;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::io::unix::AsyncFd;

use crate::core::{Boot, Mac, MemberId, Time};
use crate::wire::seal::{Channel as SealChannel, Sealer};

use super::address::{Change, Kernel};
use super::bell::Bell;
use super::channel::{Channel, Received, awaitable};
use super::clock::now;
use super::fence::Fence;
use super::held::{Interface, REFRESH, Vip};
use super::protocol::{Order, Report, Start};
use super::scheduling;

use self::leases::Refreshing;
use self::prepare::prepare;

/// A guard that holds nothing wakes this seldom by itself.
const IDLE: Duration = Duration::from_secs(60);

struct Guard {
    channel: AsyncFd<Channel>,
    bell: Bell,
    kernel: Kernel,
    interfaces: Vec<Interface>,
    vips: Vec<Vip>,
    refresh_at: Time,
    refreshing: Option<Refreshing>,
    /// `None` where the kernel has nothing to make one of.
    fence: Option<Fence>,
    /// What the daemon was told last: what it is missing, if anything.
    fence_told: Option<String>,
    voice: Sealer,
    mouth: UdpSocket,
    peers: Vec<SocketAddr>,
}

/// Runs the guard on `socket` until the daemon's end closes.
pub(super) fn main(socket: OwnedFd) -> ExitCode {
    ignore_signals();
    // Both are welcome, and neither is needed.
    let _ = scheduling::raise(scheduling::GUARD);
    let _ = scheduling::lock_memory();
    scheduling::keep_freed_memory();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(run(Channel::new(socket))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &io::Error) -> ExitCode {
    eprintln!("error: the guard ends: {error}");
    ExitCode::FAILURE
}

async fn run(channel: Channel) -> io::Result<()> {
    let mut channel = awaitable(channel)?;
    let Some((start, bell)) = first_order(&mut channel).await? else { return Ok(()) };
    let (kernel, changes) = Kernel::open()?;
    let sending = |report: &Report| {
        let sent = channel.get_ref().send(report, None);
        bell.ring();
        sent
    };
    let (interfaces, vips) = match prepare(&kernel, &start).await {
        Ok(prepared) => prepared,
        Err((error, hint)) => return sending(&Report::Refused { error, hint }),
    };
    let mouth =
        UdpSocket::bind((start.address, 0)).or_else(|_| UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)))?;
    mouth.set_nonblocking(true)?;
    let voice = &start.voice;
    let parts = (voice.key, voice.key_id, voice.cluster);
    let voice = Sealer::from_parts(parts, SealChannel::Guard, MemberId(voice.sender), Boot(voice.boot));
    let (fence, no_fence) = match Fence::open(start.fence, now()) {
        Ok(fence) => (Some(fence), None),
        Err(error) => (None, Some(format!("no way to nf_tables: {error}"))),
    };
    let mut guard = Guard {
        channel,
        bell,
        kernel,
        interfaces,
        vips,
        refresh_at: now() + REFRESH,
        refreshing: None,
        fence,
        // Whatever there is to tell is something else.
        fence_told: Some(String::new()),
        voice,
        mouth,
        peers: vec![],
    };
    for (vip, (until, term)) in
        start.vips.iter().enumerate().filter_map(|(at, vip)| Some((at, vip.inherited?)))
    {
        guard.inherit(vip, Time::from_nanos(until), term).await;
    }
    guard.report(&Report::Started);
    for interface in 0..guard.interfaces.len() {
        guard.report_link(interface);
    }
    match no_fence {
        Some(missing) => guard.report(&Report::Fence { missing: Some(missing) }),
        None => guard.put_fence_up(None).await,
    }
    guard.work(changes).await
}

async fn first_order(channel: &mut AsyncFd<Channel>) -> io::Result<Option<(Start, Bell)>> {
    loop {
        match channel.get_mut().receive()? {
            Received::Message(Order::Start(start), bell) => {
                let bell = bell.ok_or_else(|| io::Error::other("no bell beside `Start`"))?;
                return Ok(Some((start, Bell::from_other_end(bell))));
            }
            Received::Message(_, _) => return Err(io::Error::other("the first order isn't `Start`")),
            Received::Nothing => channel.readable().await?.clear_ready(),
            Received::Closed => return Ok(None),
        }
    }
}

/// Who has said something that hasn't been read.
struct Heard {
    /// The network, of VIPs.
    network: bool,
    /// The kernel, of changes to its rules.
    rules: bool,
}

impl Guard {
    async fn work(mut self, mut changes: impl Stream<Item = Change> + Unpin) -> io::Result<()> {
        let mut heard = Heard { network: true, rules: true };
        loop {
            if !self.read_orders().await? {
                self.bury().await;
                return Ok(());
            }
            let more = heard.network && self.read_answers();
            self.expire().await;
            self.mend_fence(heard.rules).await;
            self.refresh();
            self.announce();
            let deadline = if more { Duration::ZERO } else { self.deadline().since(now()) };
            heard = Heard { network: more, rules: false };
            tokio::select! {
                biased;
                ready = self.channel.readable() => { ready?.clear_ready(); }
                outcomes = leases::some(&mut self.refreshing) => self.refreshed(&outcomes),
                () = holding::any_end(&self.vips) => {}
                () = network::any_readable(&self.interfaces) => heard.network = true,
                change = changes.next() => match change {
                    Some(change) => self.changed(change).await,
                    None => return Err(io::Error::other("the kernel's stream of changes has ended")),
                },
                () = fencing::news(self.fence.as_ref()) => heard.rules = true,
                () = tokio::time::sleep(deadline) => {}
            }
        }
    }

    /// Carries out all orders that have come; false when the daemon is gone.
    async fn read_orders(&mut self) -> io::Result<bool> {
        loop {
            match self.channel.get_mut().receive()? {
                Received::Message(order, beside) => self.carry_out(order, beside).await,
                Received::Nothing => return Ok(true),
                Received::Closed => return Ok(false),
            }
        }
    }

    async fn carry_out(&mut self, order: Order, beside: Option<OwnedFd>) {
        match order {
            Order::Start(_) => self.trouble("a second `Start`"),
            Order::Peers(peers) => self.peers = peers,
            Order::Hold { vip, until, term } if vip < self.vips.len() => {
                self.hold(vip, Time::from_nanos(until), term, beside).await;
            }
            Order::Release { vip } if vip < self.vips.len() => {
                if self.let_go(vip).await {
                    self.report(&Report::Released { vip });
                }
            }
            Order::Announce { vip, anew } if vip < self.vips.len() => {
                if let Some(hold) = &mut self.vips[vip].hold {
                    hold.announcements.again(anew, now());
                }
            }
            Order::Probe { vip, mac } if vip < self.vips.len() => self.probe(vip, mac.map(Mac)),
            Order::Bind { address } => {
                let bound = beside
                    .ok_or(rustix::io::Errno::BADF)
                    .and_then(|socket| rustix::net::bind(&socket, &address));
                self.report(&Report::Bound { error: bound.err().map(rustix::io::Errno::raw_os_error) });
            }
            Order::Hold { .. } | Order::Release { .. } | Order::Announce { .. } | Order::Probe { .. } => {
                self.trouble("an order for a VIP that isn't there");
            }
        }
    }

    async fn changed(&mut self, change: Change) {
        match change {
            Change::AddressRemoved { interface, address } => self.address_removed(interface, address).await,
            Change::Link(link) => {
                if self.fence.as_ref().is_some_and(|fence| fence.is_outgrown_by(&link)) {
                    self.put_fence_up(None).await;
                }
                let Some(at) = self.interfaces.iter().position(|i| i.index == link.index) else { return };
                let known = &mut self.interfaces[at];
                if (known.up, known.mac) != (link.up, link.mac) {
                    let moved = known.mac != link.mac;
                    let back = link.up && !known.up;
                    (known.up, known.mac) = (link.up, link.mac);
                    known.neighbours.set_mac(link.mac);
                    if back
                        && let Err(error) = self.patiently(self.kernel.forget_unresolved(link.index)).await
                    {
                        // They will answer in a second.
                        self.trouble(&format!("unresolved neighbours can't be forgotten: {error}"));
                    }
                    self.report_link(at);
                    if moved {
                        self.put_fence_up(None).await;
                    }
                }
            }
            Change::LinkRemoved { interface } => {
                if let Some(fence) = &mut self.fence {
                    fence.forget_interface(interface);
                }
                if let Some(at) = self.interfaces.iter().position(|i| i.index == interface) {
                    self.interfaces[at].up = false;
                    self.report_link(at);
                }
            }
        }
    }

    fn deadline(&self) -> Time {
        let holds = self.vips.iter().filter_map(Vip::deadline).min();
        // A refresh under way is awaited; the next one isn't due before it is done.
        let refresh = self.refreshing.is_none().then_some(self.refresh_at);
        let idle = now() + IDLE;
        let held = holds.map_or(idle, |hold| refresh.map_or(hold, |refresh| hold.min(refresh)));
        self.fence_deadline().map_or(held, |at| held.min(at))
    }

    fn report_link(&self, interface: usize) {
        let link = &self.interfaces[interface];
        for (vip, known) in self.vips.iter().enumerate() {
            if known.interface == interface {
                self.report(&Report::Link { vip, up: link.up, mac: link.mac.0 });
            }
        }
    }

    fn trouble(&self, text: &str) {
        self.report(&Report::Trouble { text: text.to_owned() });
    }

    fn report(&self, report: &Report) {
        self.report_in_time(report);
        self.bell.ring();
    }

    /// Reports what the daemon needn't be woken for.
    fn report_in_time(&self, report: &Report) {
        // A daemon that doesn't read is hung or dead; what it can't know it can't act on, and the hold's
        // own end takes care of the rest.
        let _ = self.channel.get_ref().send(report, None);
    }
}

#[allow(unsafe_code)]
fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: ignoring a signal touches nothing of this program's.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
