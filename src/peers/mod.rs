//! What senses and tells the other nodes: sealed datagrams, by unicast to every known member, by multicast on
//! the VIPs' interfaces while this node holds any.
//!
//! ```text
//!   7780/udp  advertisements, probes, resignations    one socket on the node's own address
//!   7781/udp  beacons: the holder's advertisements    one socket an interface, group 239.255.77.81
//! ```
//!
//! Two paths for the same message: a node that is deaf on one hears the holder on the other. All sockets are
//! non-blocking, and used by the driver's thread alone.

mod advertisements;
mod beacons;
pub mod gossip;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use crate::core::{Advertisement, Boot, Heard, Input, MemberId, Message, Time};
use crate::wire::seal::{Channel, Envelope, Keyring, Opened, Reject};
use crate::wire::{bundle, message};

use self::advertisements::Advertisements;
use self::beacons::Beacons;

/// Where nodes listen for each other.
pub const PORT: u16 = 7780;

/// This node's mouth and ears among the nodes.
pub struct Peers {
    advertisements: Advertisements,
    beacons: Beacons,
    envelope: Envelope,
    beacon_envelope: Envelope,
    guard_envelope: Envelope,
    /// Who is told everything: the seeds, the named nodes, and everybody who has proven itself.
    known: BTreeSet<SocketAddr>,
    /// Those of them that the configuration names: they may come back at any time.
    named: BTreeSet<SocketAddr>,
    /// Whom others hear and this node doesn't, and until when they are told everything as well: by then they have
    /// proven themselves, or somebody has mentioned them again.
    introduced: BTreeMap<SocketAddr, Time>,
    /// What waits to leave together, encoded.
    posted: BTreeMap<SocketAddr, Vec<Vec<u8>>>,
    me: IpAddr,
}

/// What came in.
#[derive(Debug)]
pub enum Received {
    /// Something for the core: all that one datagram holds.
    Inputs(Channel, Vec<Input>),
    /// A newcomer has proven itself: it should be told who is here.
    Proven,
    /// A part of the handshake: answered, or of no further meaning.
    Handshake,
    /// A datagram that was refused.
    Rejected(Channel, Reject),
    /// Gossip's, still sealed: it opens its own.
    Gossip(Vec<u8>, SocketAddr),
}

/// Who this node is among the nodes.
pub struct Identity {
    /// As members know it.
    pub id: MemberId,
    /// Where it is reached.
    pub address: IpAddr,
    /// Random, and new at every start.
    pub boot: Boot,
    /// Random, and new at every start.
    pub cookies: [u8; 32],
}

/// Why the sockets can't be had.
#[derive(Debug, thiserror::Error)]
pub enum PeersError {
    /// Another program, or another chinthe, has the port.
    #[error("{0} is in use")]
    InUse(SocketAddr),
    /// The node's address isn't this machine's.
    #[error("{0} is not an address of this machine")]
    NotHere(IpAddr),
    /// Something else.
    #[error("{what}: {source}")]
    Other {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl Peers {
    /// Opens the sockets; `interfaces` carry VIPs.
    pub fn open(identity: &Identity, keyring: &Keyring, interfaces: &[String]) -> Result<Self, PeersError> {
        let envelope =
            |channel| Envelope::new(keyring.clone(), channel, identity.id, identity.boot, identity.cookies);
        Ok(Self {
            advertisements: Advertisements::open(identity.address)?,
            beacons: Beacons::open(interfaces)?,
            envelope: envelope(Channel::Advertisement),
            beacon_envelope: envelope(Channel::Beacon),
            guard_envelope: envelope(Channel::Guard),
            known: BTreeSet::new(),
            named: BTreeSet::new(),
            introduced: BTreeMap::new(),
            posted: BTreeMap::new(),
            me: identity.address,
        })
    }

    /// Adds addresses that everything is told to. The node's own is left out; true when there are new ones.
    pub fn know(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> bool {
        let before = self.known.len();
        let me = SocketAddr::new(self.me, PORT);
        self.known.extend(addresses.into_iter().filter(|address| *address != me).take(KNOWN));
        while self.known.len() > KNOWN {
            self.known.pop_last();
        }
        self.known.len() != before
    }

    /// Adds addresses that the configuration names.
    pub fn know_always(&mut self, addresses: impl IntoIterator<Item = SocketAddr>) -> bool {
        let addresses: Vec<_> = addresses.into_iter().collect();
        self.named.extend(addresses.iter().copied());
        self.know(addresses)
    }

    /// Tells a member nothing any more that is gone for good, unless the configuration names it.
    pub fn forget(&mut self, address: IpAddr) {
        let address = SocketAddr::new(address, PORT);
        if !self.named.contains(&address) {
            self.known.remove(&address);
        }
    }

    /// Everybody who is told.
    pub fn known(&self) -> Vec<SocketAddr> {
        self.known.iter().chain(self.introduced.keys()).copied().collect()
    }

    /// How many are told.
    pub fn told(&self) -> usize {
        self.known.len() + self.introduced.len()
    }

    /// Takes in whom a member hears: nodes that start together meet by it within a round trip, whatever becomes of
    /// gossip.
    fn introduce(&mut self, heard: &[Heard], now: Time) {
        self.introduced.retain(|address, until| now < *until && !self.known.contains(address));
        for heard in heard.iter().filter(|heard| heard.age < MENTIONED && heard.address != self.me) {
            let address = SocketAddr::new(heard.address, PORT);
            if !self.known.contains(&address) && self.known.len() + self.introduced.len() < KNOWN {
                self.introduced.insert(address, now + INTRODUCED);
            }
        }
    }

    /// Tells everybody, together with what has been posted; over the VIPs' interfaces too when this node holds any.
    /// How many that were, by channel.
    pub fn advertise(&mut self, advertisement: Advertisement, holder: bool) -> (u64, u64) {
        // The beacon goes first: it is what a holder's own kernel, too, takes for a sign of life. And it wakes the others,
        // who find the rest there by then.
        let beacons = if holder {
            let beacon = Advertisement { beat: None, ..advertisement.clone() };
            let body = message::encode(&Message::Advertisement(beacon));
            self.beacons.send(&self.beacon_envelope.seal(&body))
        } else {
            0
        };
        let body = message::encode(&Message::Advertisement(advertisement));
        // The same for all that are told nothing else.
        let sealed = self.envelope.seal(&body);
        for address in self.known.iter().chain(self.introduced.keys()) {
            match self.posted.get_mut(address) {
                Some(posted) => posted.push(body.clone()),
                None => self.advertisements.send(&sealed, *address),
            }
        }
        self.flush();
        (self.told() as u64, beacons)
    }

    /// Tells one member, with the next advertisement or [`flush`](Self::flush).
    pub fn post(&mut self, to: IpAddr, message: &Message) {
        self.posted.entry(SocketAddr::new(to, PORT)).or_default().push(message::encode(message));
    }

    /// Sends what has been posted: all for one member in as few datagrams as it fits into.
    pub fn flush(&mut self) {
        while let Some((address, posted)) = self.posted.pop_first() {
            for body in bundle::pack(&posted) {
                self.advertisements.send(&self.envelope.seal(&body), address);
            }
        }
    }

    /// The next thing that came in; `None` when there is nothing for now. By multicast only where there may be `beacons`.
    pub fn receive(&mut self, now: Time, beacons: bool) -> Option<Received> {
        if let Some((datagram, from)) = self.advertisements.receive() {
            if datagram.get(2) == Some(&Channel::Gossip.code()) {
                return Some(Received::Gossip(datagram.to_vec(), from));
            }
            // A guard speaks from its daemon's address, on the same port, in its own envelope.
            let channel = if datagram.get(2) == Some(&Channel::Guard.code()) {
                Channel::Guard
            } else {
                Channel::Advertisement
            };
            let envelope =
                if channel == Channel::Guard { &mut self.guard_envelope } else { &mut self.envelope };
            let opened = envelope.open(datagram, now);
            return Some(self.opened(channel, opened, from, now));
        }
        let (datagram, from) = if beacons { self.beacons.receive()? } else { return None };
        let opened = self.beacon_envelope.open(datagram, now);
        Some(match opened {
            // A boot id is proven by unicast, and holds for both.
            Ok(Opened::Reply(_)) => Received::Rejected(Channel::Beacon, Reject::Unproven),
            opened => self.opened(Channel::Beacon, opened, from, now),
        })
    }

    /// A second handle on the unicast socket, for gossip to send by.
    pub fn mouth(&self) -> io::Result<UdpSocket> {
        self.advertisements.try_clone()
    }

    /// What to wait for, by unicast.
    pub fn advertisements(&self) -> BorrowedFd<'_> {
        self.advertisements.socket()
    }

    /// And by multicast.
    pub fn beacons(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.beacons.sockets()
    }

    fn opened(
        &mut self,
        channel: Channel,
        opened: Result<Opened, Reject>,
        from: SocketAddr,
        now: Time,
    ) -> Received {
        match opened {
            Ok(Opened::Data { sender, boot, body }) => {
                // Whoever has proven itself is told everything, wherever the seeds say it is.
                if channel == Channel::Advertisement {
                    self.know([SocketAddr::new(from.ip(), PORT)]);
                }
                match self.inputs(channel, sender, boot, from, &body, now) {
                    Ok(inputs) => Received::Inputs(channel, inputs),
                    Err(reject) => Received::Rejected(channel, reject),
                }
            }
            Ok(Opened::Reply(reply)) => {
                self.advertisements.send(&reply, from);
                Received::Handshake
            }
            Ok(Opened::Proven(_)) => {
                self.know([SocketAddr::new(from.ip(), PORT)]);
                Received::Proven
            }
            Err(reject) => Received::Rejected(channel, reject),
        }
    }

    fn inputs(
        &mut self,
        channel: Channel,
        sender: MemberId,
        boot: Boot,
        from: SocketAddr,
        body: &[u8],
        now: Time,
    ) -> Result<Vec<Input>, Reject> {
        let messages = bundle::unpack(body).map_err(|_| Reject::Malformed)?;
        messages.into_iter().map(|message| self.input(channel, sender, boot, from, message, now)).collect()
    }

    fn input(
        &mut self,
        channel: Channel,
        sender: MemberId,
        boot: Boot,
        from: SocketAddr,
        message: Message,
        now: Time,
    ) -> Result<Input, Reject> {
        if channel == Channel::Guard {
            return match message {
                Message::Resignation(resignation) => Ok(Input::GuardResigned { of: sender, resignation }),
                // A guard has one word only.
                Message::Advertisement(_)
                | Message::Probe
                | Message::Acknowledgement(_)
                | Message::Request(_)
                | Message::Grant(_) => Err(Reject::Malformed),
            };
        }
        if let Message::Advertisement(advertisement) = &message {
            if crate::wire::member_id(&advertisement.name) != sender {
                return Err(Reject::Name);
            }
            self.beacon_envelope.vouch(sender, boot, now);
            self.guard_envelope.vouch(sender, advertisement.guard, now);
            self.introduce(&advertisement.heard, now);
        }
        Ok(Input::Heard { from: sender, address: from.ip(), boot, message })
    }
}

/// Nobody makes this node talk to more addresses than this.
const KNOWN: usize = 128;
/// Whoever was heard by another less than this ago is there.
const MENTIONED: Duration = Duration::from_secs(1);
/// For how long somebody who was mentioned is told everything without an answer.
const INTRODUCED: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
