//! The guard's process: the only one that needs `CAP_NET_ADMIN` and `CAP_NET_RAW`.
//!
//! One loop: read every order, read every answer from the network, look at the clock, and only then refresh
//! or announce. A hold past its end is let go before anything else is done with it. When the daemon's end of
//! the channel closes, the guard is the undertaker: it removes the addresses, waits for the kernel's word,
//! resigns in the daemon's name and ends.

mod leases;
mod prepare;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::task::Poll;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use tokio::io::unix::AsyncFd;

use crate::core::{Boot, Mac, MemberId, Message, Resignation, Time, VipId};
use crate::wire::arp::Packet;
use crate::wire::message;
use crate::wire::seal::{Channel as SealChannel, Sealer};

use super::address::{Change, Kernel};
use super::announce::Announcements;
use super::channel::{Channel, Received, awaitable};
use super::clock::now;
use super::echo::{self};
use super::held::{Hold, Interface, REFRESH, Vip};

use super::protocol::{Order, Report, Start};
use super::scheduling;

use self::leases::Refreshing;
use self::prepare::prepare;

/// The dead daemon's peers are told this often, this far apart.
const LAST_WORDS: u32 = 3;
const BETWEEN_LAST_WORDS: Duration = Duration::from_millis(4);
/// So many packets of the network's are read before orders are looked at again.
const PORTION: usize = 256;

struct Guard {
    channel: AsyncFd<Channel>,
    kernel: Kernel,
    interfaces: Vec<Interface>,
    vips: Vec<Vip>,
    refresh_at: Time,
    refreshing: Option<Refreshing>,
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
    let Some(start) = first_order(&mut channel).await? else { return Ok(()) };
    let (kernel, changes) = Kernel::open()?;
    let sending = |report: &Report| channel.get_ref().send(report, None);
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
    let refresh_at = now() + REFRESH;
    let guard = Guard {
        channel,
        kernel,
        interfaces,
        vips,
        refresh_at,
        refreshing: None,
        voice,
        mouth,
        peers: vec![],
    };
    guard.report(&Report::Started);
    for interface in 0..guard.interfaces.len() {
        guard.report_link(interface);
    }
    guard.work(changes).await
}

async fn first_order(channel: &mut AsyncFd<Channel>) -> io::Result<Option<Start>> {
    loop {
        match channel.get_mut().receive()? {
            Received::Message(Order::Start(start), _) => return Ok(Some(start)),
            Received::Message(_, _) => return Err(io::Error::other("the first order isn't `Start`")),
            Received::Nothing => channel.readable().await?.clear_ready(),
            Received::Closed => return Ok(None),
        }
    }
}

impl Guard {
    async fn work(mut self, mut changes: impl Stream<Item = Change> + Unpin) -> io::Result<()> {
        loop {
            if !self.read_orders().await? {
                self.bury().await;
                return Ok(());
            }
            let more = self.read_answers();
            self.expire().await;
            self.refresh();
            self.announce();
            let deadline = if more { Duration::ZERO } else { self.deadline().since(now()) };
            tokio::select! {
                biased;
                ready = self.channel.readable() => { ready?.clear_ready(); }
                outcomes = leases::some(&mut self.refreshing) => self.refreshed(outcomes),
                () = any_readable(&self.interfaces) => {}
                change = changes.next() => match change {
                    Some(change) => self.changed(change).await,
                    None => return Err(io::Error::other("the kernel's stream of changes has ended")),
                },
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
                self.hold(vip, Time::from_nanos(until), term).await;
            }
            Order::Release { vip } if vip < self.vips.len() => {
                if self.let_go(vip).await {
                    self.report(&Report::Released { vip });
                }
            }
            Order::Announce { vip } if vip < self.vips.len() => {
                if let Some(hold) = &mut self.vips[vip].hold {
                    hold.announcements.again(now());
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

    async fn hold(&mut self, vip: usize, until: Time, term: u32) {
        if let Some(hold) = &mut self.vips[vip].hold {
            // An order that was late itself doesn't extend what has ended.
            if now() < hold.until {
                hold.until = hold.until.max(until);
                hold.term = term;
                self.report(&Report::Held { vip, until: until.as_nanos() });
            }
            return;
        }
        if now() >= until {
            self.report(&Report::Expired { vip });
            return;
        }
        let interface = self.interfaces[self.vips[vip].interface].index;
        for at in 0..self.vips[vip].addresses.len() {
            let address = self.vips[vip].addresses[at];
            if let Err(error) = self.kernel.add(interface, address).await {
                self.trouble(&format!("{address} can't be added: {error}"));
                self.let_go(vip).await;
                self.report(&Report::Expired { vip });
                return;
            }
        }
        self.vips[vip].hold = Some(Hold { until, term, announcements: Announcements::start(now()) });
        self.report(&Report::Held { vip, until: until.as_nanos() });
        self.announce();
    }

    /// Removes a VIP's addresses; false when the kernel refused, and they may still be there.
    async fn let_go(&mut self, vip: usize) -> bool {
        self.vips[vip].hold = None;
        let interface = self.interfaces[self.vips[vip].interface].index;
        let mut gone = true;
        for at in 0..self.vips[vip].addresses.len() {
            let address = self.vips[vip].addresses[at];
            if let Err(error) = self.kernel.remove(interface, address).await {
                // The lease will end it.
                self.trouble(&format!("{address} can't be removed: {error}"));
                gone = false;
            }
        }
        gone
    }

    /// Lets go of what nobody has fed: the daemon hangs, or is too late to be believed.
    async fn expire(&mut self) {
        let now = now();
        for vip in 0..self.vips.len() {
            if self.vips[vip].hold.as_ref().is_some_and(|hold| now >= hold.until)
                && let Some(word) = self.last_word(vip).await
            {
                self.report(&Report::Expired { vip });
                self.tell_peers(&word);
            }
        }
    }

    fn announce(&mut self) {
        for vip in 0..self.vips.len() {
            let now = now();
            let Some(hold) = &mut self.vips[vip].hold else { continue };
            if now < hold.announcements.next_at() || now >= hold.until {
                continue;
            }
            let first = hold.announcements.made(now);
            self.say_where(vip);
            self.report(&Report::Announced { vip, first });
        }
    }

    fn say_where(&self, vip: usize) {
        let interface = &self.interfaces[self.vips[vip].interface];
        for address in &self.vips[vip].addresses {
            let packet = Packet::announcement(*address, interface.mac);
            if let Err(error) = interface.arp.get_ref().send(&packet, None) {
                self.trouble(&format!("{address} can't be announced: {error}"));
            }
        }
    }

    fn probe(&mut self, vip: usize, mac: Option<Mac>) {
        // All answers first, so that the report behind them says: nothing more has come.
        self.read_answers();
        let now = now();
        let known = &mut self.vips[vip];
        let interface = &self.interfaces[known.interface];
        if known.asked_by_ip.is_none_or(|at| now.since(at) >= echo::INTERVAL) {
            known.asked_by_ip = Some(now);
            known.addresses.iter().for_each(|address| interface.echo.ask(*address));
        }
        for address in &known.addresses {
            let question = Packet::request(*address, interface.own_address, interface.mac);
            for to in [None, mac].into_iter().take(1 + usize::from(mac.is_some())) {
                // A link that is down can't be asked by; the daemon knows about links.
                let _ = interface.arp.get_ref().send(&question, to);
            }
        }
        self.report(&Report::Probed { vip });
    }

    /// Reads what the network says about the VIPs; each claimant is reported once a round.
    /// True when there may be more.
    fn read_answers(&mut self) -> bool {
        let now = now();
        for (index, interface) in self.interfaces.iter().enumerate() {
            for address in std::iter::from_fn(|| interface.echo.answer()).take(PORTION) {
                let vips = self.vips.iter_mut().filter(|v| v.interface == index);
                vips.filter(|v| v.addresses.contains(&address)).for_each(|v| v.answered_by_ip = Some(now));
            }
        }
        let mut more = false;
        let mut seen: Vec<(usize, Mac)> = Vec::new();
        for (index, interface) in self.interfaces.iter().enumerate() {
            // A flood is read in portions: orders come first.
            let packets = std::iter::from_fn(|| interface.arp.get_ref().receive()).take(PORTION);
            for (read, packet) in packets.enumerate() {
                more |= read + 1 == PORTION;
                if packet.sender_mac == interface.mac {
                    continue;
                }
                for (vip, known) in self.vips.iter().enumerate() {
                    let claimed =
                        known.interface == index && known.addresses.iter().any(|a| packet.claims(*a));
                    if claimed && !seen.contains(&(vip, packet.sender_mac)) && seen.len() < PORTION {
                        seen.push((vip, packet.sender_mac));
                    }
                }
            }
        }
        for (vip, mac) in seen {
            let by_ip = self.vips[vip].answered_by_ip.is_some_and(|at| now.since(at) < echo::COUNTS);
            self.report(&Report::Answered { vip, mac: mac.0, by_ip });
        }
        more
    }

    async fn changed(&mut self, change: Change) {
        match change {
            Change::AddressRemoved { interface, address } => self.address_removed(interface, address).await,
            Change::Link(link) => {
                let Some(at) = self.interfaces.iter().position(|i| i.index == link.index) else { return };
                let known = &mut self.interfaces[at];
                if (known.up, known.mac) != (link.up, link.mac) {
                    (known.up, known.mac) = (link.up, link.mac);
                    self.report_link(at);
                }
            }
            Change::LinkRemoved { interface } => {
                if let Some(at) = self.interfaces.iter().position(|i| i.index == interface) {
                    self.interfaces[at].up = false;
                    self.report_link(at);
                }
            }
        }
    }

    async fn address_removed(&mut self, interface: u32, address: Ipv4Addr) {
        let now = now();
        let ours =
            |v: &Vip| self.interfaces[v.interface].index == interface && v.addresses.contains(&address);
        let Some(vip) = self.vips.iter().position(|v| v.hold.is_some() && ours(v)) else { return };
        // The message may be about an address that is there again: ask the kernel.
        if self.kernel.addresses(interface).await.is_ok_and(|all| all.contains(&address)) {
            return;
        }
        if self.vips[vip].removed_too_often(now) {
            self.let_go(vip).await;
            self.report(&Report::Removed { vip });
        } else {
            match self.kernel.add(interface, address).await {
                Ok(()) => {
                    self.say_where(vip);
                    self.report(&Report::Restored { vip });
                }
                Err(error) => {
                    self.trouble(&format!("{address} was removed and can't be added again: {error}"));
                    self.let_go(vip).await;
                    self.report(&Report::Removed { vip });
                }
            }
        }
    }

    /// The daemon is dead: nothing it held may outlive it.
    async fn bury(mut self) {
        let mut words = Vec::new();
        for vip in 0..self.vips.len() {
            words.extend(self.last_word(vip).await);
        }
        for round in 0..LAST_WORDS {
            if round > 0 {
                tokio::time::sleep(BETWEEN_LAST_WORDS * round).await;
            }
            for word in &words {
                self.tell_peers(word);
            }
        }
    }

    /// Lets go of a VIP that is held, and returns the resignation from it. `None` when it isn't held, and when
    /// the kernel may still have it: then the lease ends it, and peers see that it answers until then.
    async fn last_word(&mut self, vip: usize) -> Option<Vec<u8>> {
        let term = self.vips[vip].hold.as_ref()?.term;
        let resignation = Resignation { id: 0, vip: VipId(self.vips[vip].id), term, successor: None };
        self.let_go(vip).await.then(|| message::encode(&Message::Resignation(resignation)))
    }

    fn tell_peers(&mut self, word: &[u8]) {
        let sealed = self.voice.seal(word);
        for peer in &self.peers {
            let _ = self.mouth.send_to(&sealed, peer);
        }
    }

    fn deadline(&self) -> Time {
        let holds = self.vips.iter().filter_map(Vip::deadline).min();
        // A refresh under way is awaited; the next one isn't due before it is done.
        let refresh = self.refreshing.is_none().then_some(self.refresh_at);
        match (holds, refresh) {
            (None, _) => now() + Duration::from_secs(60),
            (Some(hold), None) => hold,
            (Some(hold), Some(refresh)) => hold.min(refresh),
        }
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
        // A daemon that doesn't read is hung or dead; what it can't know it can't act on, and the hold's
        // own end takes care of the rest.
        let _ = self.channel.get_ref().send(report, None);
    }
}

async fn any_readable(interfaces: &[Interface]) {
    poll_fn(|context| {
        for interface in interfaces {
            if let Poll::Ready(ready) = interface.arp.poll_read_ready(context) {
                // Whatever has come is read next.
                if let Ok(mut ready) = ready {
                    ready.clear_ready();
                }
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}

#[allow(unsafe_code)]
fn ignore_signals() {
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGPIPE] {
        // SAFETY: ignoring a signal touches nothing of this program's.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
}
