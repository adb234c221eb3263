//! The sealed envelope that every datagram between nodes travels in.
//!
//! ```text
//!  0         1        2         3      4         8        16       32        40
//!  | version | key id | channel | kind | cluster | sender | boot   | counter | XChaCha20-Poly1305(body) + tag 16
//! ```
//!
//! * The header is authenticated; nothing behind it is looked at before it has been opened.
//! * The nonce is `boot ‖ counter`: a boot id is drawn at random at every start and the counter only rises,
//!   so none is ever used twice. Each (secret, cluster, channel, sender) has a key of its own.
//! * A boot id counts only once its owner has answered a random challenge. Whatever was recorded earlier
//!   can't be played back, not even to a receiver that has just started.
//! * Within a boot, a window of 128 counters refuses what was seen before.
//! * Senders are bounded; somebody who doesn't have the secret can't occupy any place.
//!
//! No sockets and no clock in here. A guard is a sender of its own: it is handed its own sealing key and
//! never sees the secret, and its boot id is vouched for by its daemon's advertisements.

use std::collections::HashMap;
use std::time::Duration;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use crate::core::{Boot, MemberId, Time};

/// The envelope's version.
pub const VERSION: u8 = 1;
/// What an envelope adds to its body.
pub const OVERHEAD: usize = HEADER + 16;
/// Datagrams larger than this are nobody's.
pub const MAX_DATAGRAM: usize = 65_507;

const HEADER: usize = 40;
/// How many senders are remembered.
const SENDERS: usize = 64;
/// A sender silent for this long makes room for a new one.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);
/// A challenge is repeated no sooner than this, so that traffic makes no traffic.
const CHALLENGE_AGAIN: Duration = Duration::from_millis(50);
const WINDOW: u64 = 128;

/// What a datagram is part of; one key each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Channel {
    /// Unicast between daemons.
    Advertisement,
    /// Multicast by holders.
    Beacon,
    /// A guard that speaks for its dead daemon.
    Guard,
    /// Membership and slow state, by unicast between daemons.
    Gossip,
}

impl Channel {
    /// All of them, in order.
    pub const ALL: [Self; 4] = [Self::Advertisement, Self::Beacon, Self::Guard, Self::Gossip];

    /// As in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advertisement => "advertisement",
            Self::Beacon => "beacon",
            Self::Guard => "guard",
            Self::Gossip => "gossip",
        }
    }

    /// As in the envelope's third byte.
    pub const fn code(self) -> u8 {
        match self {
            Self::Advertisement => 1,
            Self::Beacon => 2,
            Self::Guard => 3,
            Self::Gossip => 4,
        }
    }
}

/// Why a datagram was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reject {
    /// Too short to be an envelope.
    Short,
    /// Another version's.
    Version,
    /// Another channel's.
    Channel,
    /// Another cluster's.
    Cluster,
    /// Sealed with a secret that isn't ours.
    Key,
    /// It claims our secret, and doesn't open.
    Forged,
    /// It has this node's own name.
    Own,
    /// All places are taken.
    Full,
    /// Seen before, or too old.
    Replayed,
    /// Its sender has yet to answer the challenge.
    Unproven,
    /// It opened, and isn't a message.
    Malformed,
    /// The name inside isn't the sender's.
    Name,
}

impl Reject {
    /// All of them, in order.
    pub const ALL: [Self; 12] = [
        Self::Short,
        Self::Version,
        Self::Channel,
        Self::Cluster,
        Self::Key,
        Self::Forged,
        Self::Own,
        Self::Full,
        Self::Replayed,
        Self::Unproven,
        Self::Malformed,
        Self::Name,
    ];

    /// As in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Short => "short",
            Self::Version => "version",
            Self::Channel => "channel",
            Self::Cluster => "cluster",
            Self::Key => "key",
            Self::Forged => "forged",
            Self::Own => "own",
            Self::Full => "full",
            Self::Replayed => "replayed",
            Self::Unproven => "unproven",
            Self::Malformed => "malformed",
            Self::Name => "name",
        }
    }
}

/// What an envelope turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// A message.
    Data {
        /// Its sender, proven.
        sender: MemberId,
        /// Which of the sender's lives.
        boot: Boot,
        /// What it says.
        body: Vec<u8>,
    },
    /// Nothing for us, but this goes back to where it came from.
    Reply(Vec<u8>),
    /// The sender has just proven its boot id: what it says counts from now on.
    Proven(MemberId),
}

/// A secret with its key id, from which all keys derive.
#[derive(Clone)]
pub struct Keyring {
    secret: [u8; 32],
    key_id: u8,
    cluster: [u8; 4],
    cluster_name: String,
}

/// Seals what one sender says on one channel. All that a guard gets.
#[derive(Clone)]
pub struct Sealer {
    key: [u8; 32],
    key_id: u8,
    channel: Channel,
    cluster: [u8; 4],
    sender: MemberId,
    boot: Boot,
    counter: u64,
}

/// Seals and opens one channel.
pub struct Envelope {
    keyring: Keyring,
    sealer: Sealer,
    /// Random: what makes challenges unforeseeable. They aren't stored, so that nobody can push one out.
    cookies: [u8; 32],
    senders: HashMap<MemberId, Sender>,
}

struct Sender {
    cipher: XChaCha20Poly1305,
    boot: Option<Boot>,
    highest: u64,
    seen: u128,
    /// How many boots it has proven: an answer to an earlier challenge no longer fits.
    proofs: u64,
    challenged: Option<(Boot, Time)>,
    heard_at: Time,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Data = 0,
    /// Body: a cookie, and the boot id that is to answer it.
    Challenge = 1,
    /// Body: the cookie.
    Proof = 2,
}

impl Keyring {
    /// All keys of `cluster` that derive from `secret`, whatever its length.
    pub fn new(secret: &[u8], cluster: &str) -> Self {
        let hash = blake3::derive_key("chinthe 2026-11-22 key id", secret);
        let cluster_hash = blake3::hash(cluster.as_bytes());
        let mut tag = [0; 4];
        tag.copy_from_slice(&cluster_hash.as_bytes()[..4]);
        Self {
            secret: blake3::derive_key("chinthe 2026-11-22 cluster secret", secret),
            key_id: hash[0],
            cluster: tag,
            cluster_name: cluster.into(),
        }
    }

    /// The sealing half for one sender on one channel.
    pub fn sealer(&self, channel: Channel, sender: MemberId, boot: Boot) -> Sealer {
        Sealer {
            key: self.key(channel, sender),
            key_id: self.key_id,
            channel,
            cluster: self.cluster,
            sender,
            boot,
            counter: 0,
        }
    }

    fn key(&self, channel: Channel, sender: MemberId) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_derive_key("chinthe 2026-11-22 sender key");
        hasher.update(&self.secret).update(&[channel.code()]).update(&sender.0.to_be_bytes());
        hasher.update(self.cluster_name.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

impl Sealer {
    /// The sealing half in parts, to be handed to another process: key, key id, cluster tag.
    pub fn parts(&self) -> ([u8; 32], u8, [u8; 4]) {
        (self.key, self.key_id, self.cluster)
    }

    /// The sealing half from its parts.
    pub fn from_parts(
        parts: ([u8; 32], u8, [u8; 4]),
        channel: Channel,
        sender: MemberId,
        boot: Boot,
    ) -> Self {
        let (key, key_id, cluster) = parts;
        Self { key, key_id, channel, cluster, sender, boot, counter: 0 }
    }

    /// Seals a message.
    pub fn seal(&mut self, body: &[u8]) -> Vec<u8> {
        self.seal_as(Kind::Data, body)
    }

    fn seal_as(&mut self, kind: Kind, body: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let mut out = Vec::with_capacity(OVERHEAD + body.len());
        out.extend([VERSION, self.key_id, self.channel.code(), kind as u8]);
        out.extend(self.cluster);
        out.extend(self.sender.0.to_be_bytes());
        out.extend(self.boot.0);
        out.extend(self.counter.to_be_bytes());
        let sealed = XChaCha20Poly1305::new(&self.key.into())
            .encrypt(&nonce(&out), Payload { msg: body, aad: &out })
            .expect("a datagram is far below the cipher's limit of 256 GiB");
        out.extend(sealed);
        out
    }
}

impl Envelope {
    /// One node's envelope on one channel. `boot` and `cookies` are random, and new at every start.
    pub fn new(keyring: Keyring, channel: Channel, me: MemberId, boot: Boot, cookies: [u8; 32]) -> Self {
        let sealer = keyring.sealer(channel, me, boot);
        Self { keyring, sealer, cookies, senders: HashMap::new() }
    }

    /// Seals a message.
    pub fn seal(&mut self, body: &[u8]) -> Vec<u8> {
        self.sealer.seal(body)
    }

    /// Believes a boot id that its owner has proven elsewhere: on another channel, or by its daemon's word.
    pub fn vouch(&mut self, sender: MemberId, boot: Boot, now: Time) {
        if self.senders.get(&sender).is_some_and(|s| s.boot == Some(boot)) || sender == self.sealer.sender {
            return;
        }
        if let Ok(known) = self.place_for(sender, now) {
            known.boot = Some(boot);
            known.highest = 0;
            known.seen = 0;
            known.proofs += 1;
        }
    }

    /// Opens a datagram.
    pub fn open(&mut self, datagram: &[u8], now: Time) -> Result<Opened, Reject> {
        let header: &[u8; HEADER] = datagram.first_chunk().ok_or(Reject::Short)?;
        if datagram.len() < OVERHEAD {
            return Err(Reject::Short);
        }
        if header[0] != VERSION {
            return Err(Reject::Version);
        }
        if header[4..8] != self.keyring.cluster {
            return Err(Reject::Cluster);
        }
        if header[1] != self.keyring.key_id {
            return Err(Reject::Key);
        }
        if header[2] != self.sealer.channel.code() {
            return Err(Reject::Channel);
        }
        let kind = match header[3] {
            0 => Kind::Data,
            1 => Kind::Challenge,
            2 => Kind::Proof,
            _other => return Err(Reject::Version),
        };
        let sender = MemberId(u64::from_be_bytes(eight(header, 8)));
        let boot = Boot(std::array::from_fn(|i| header[16 + i]));
        let counter = u64::from_be_bytes(eight(header, 32));
        if sender == self.sealer.sender {
            return Err(if boot == self.sealer.boot { Reject::Replayed } else { Reject::Own });
        }
        let payload = Payload { msg: &datagram[HEADER..], aad: header };
        let known = self.senders.get(&sender);
        let body = match known {
            Some(known) => known.cipher.decrypt(&nonce(header), payload),
            None => XChaCha20Poly1305::new(&self.keyring.key(self.sealer.channel, sender).into())
                .decrypt(&nonce(header), payload),
        }
        .map_err(|_| Reject::Forged)?;
        // From here on the sender has the secret; whether it speaks now is still open.
        match kind {
            Kind::Challenge => self.answer(&body),
            Kind::Proof => self.proven(sender, boot, counter, &body, now),
            Kind::Data => self.data(sender, boot, counter, body, now),
        }
    }

    fn answer(&mut self, body: &[u8]) -> Result<Opened, Reject> {
        match body.split_first_chunk::<16>() {
            Some((cookie, mine)) if mine == self.sealer.boot.0 => {
                Ok(Opened::Reply(self.sealer.seal_as(Kind::Proof, cookie)))
            }
            Some(_) | None => Err(Reject::Replayed),
        }
    }

    fn proven(
        &mut self,
        sender: MemberId,
        boot: Boot,
        counter: u64,
        cookie: &[u8],
        now: Time,
    ) -> Result<Opened, Reject> {
        let cookies = self.cookies;
        let known = self.senders.get_mut(&sender).ok_or(Reject::Replayed)?;
        if known.boot == Some(boot) || cookie != self::cookie(&cookies, sender, boot, known.proofs) {
            return Err(Reject::Replayed);
        }
        known.boot = Some(boot);
        known.highest = counter;
        known.seen = 1;
        known.proofs += 1;
        known.heard_at = now;
        Ok(Opened::Proven(sender))
    }

    fn data(
        &mut self,
        sender: MemberId,
        boot: Boot,
        counter: u64,
        body: Vec<u8>,
        now: Time,
    ) -> Result<Opened, Reject> {
        let cookies = self.cookies;
        let known = self.place_for(sender, now)?;
        if known.boot != Some(boot) {
            if known.challenged.is_some_and(|(asked, at)| asked == boot && now.since(at) < CHALLENGE_AGAIN) {
                return Err(Reject::Unproven);
            }
            known.challenged = Some((boot, now));
            let cookie = cookie(&cookies, sender, boot, known.proofs);
            return Ok(Opened::Reply(self.sealer.seal_as(Kind::Challenge, &[cookie, boot.0].concat())));
        }
        if !known.is_new(counter) {
            return Err(Reject::Replayed);
        }
        known.heard_at = now;
        Ok(Opened::Data { sender, boot, body })
    }

    fn place_for(&mut self, sender: MemberId, now: Time) -> Result<&mut Sender, Reject> {
        if !self.senders.contains_key(&sender) && self.senders.len() >= SENDERS {
            let oldest =
                self.senders.iter().min_by_key(|(id, s)| (s.heard_at, **id)).map(|(id, s)| (*id, s.heard_at));
            match oldest {
                Some((id, at)) if now.since(at) > FORGOTTEN_AFTER => self.senders.remove(&id),
                Some(_) | None => return Err(Reject::Full),
            };
        }
        Ok(self.senders.entry(sender).or_insert_with(|| Sender {
            cipher: XChaCha20Poly1305::new(&self.keyring.key(self.sealer.channel, sender).into()),
            boot: None,
            highest: 0,
            seen: 0,
            proofs: 0,
            challenged: None,
            heard_at: now,
        }))
    }
}

impl Sender {
    /// Whether `counter` hasn't been seen and isn't too old to tell; remembers it.
    fn is_new(&mut self, counter: u64) -> bool {
        if counter > self.highest {
            let ahead = counter - self.highest;
            self.seen = if ahead < WINDOW { self.seen << ahead | 1 } else { 1 };
            self.highest = counter;
            return true;
        }
        let behind = self.highest - counter;
        if behind >= WINDOW || self.seen >> behind & 1 == 1 {
            return false;
        }
        self.seen |= 1 << behind;
        true
    }
}

/// What `boot` of `sender` has to repeat: nobody else can know it, and no earlier answer fits.
fn cookie(key: &[u8; 32], sender: MemberId, boot: Boot, proofs: u64) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(&sender.0.to_be_bytes()).update(&boot.0).update(&proofs.to_be_bytes());
    let hash = hasher.finalize();
    std::array::from_fn(|i| hash.as_bytes()[i])
}

fn nonce(header: &[u8]) -> XNonce {
    XNonce::from(std::array::from_fn::<u8, 24, _>(|i| header[16 + i]))
}

fn eight(header: &[u8; HEADER], at: usize) -> [u8; 8] {
    std::array::from_fn(|i| header[at + i])
}

#[cfg(test)]
mod tests;
