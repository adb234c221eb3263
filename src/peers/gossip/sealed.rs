//! What chitchat takes for its network: sealed datagrams, which come from the driver and go out by the carrier.
//!
//! One [`Sealed`] outlives every restart of chitchat, and has to: the envelope's counter never goes back, and what
//! peers have proven stays proven.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use chitchat::transport::{RecvOutcome, SendOutcome, Socket, Transport};
use chitchat::{ChitchatEnvelope, ChitchatMessage};
use tokio::sync::{Mutex as AsyncMutex, Notify, mpsc};
use tokio::time::Instant;

use crate::core::Time;
use crate::wire::seal::{Envelope, MAX_DATAGRAM, OVERHEAD, Opened, Reject};

use super::codec::{Codec, CodecError};
use super::format;
use super::supervisor::INTERVAL;
use super::{Carrier, Dropped, News, Tell};

/// A datagram and where it came from.
pub(super) type Datagram = (Vec<u8>, SocketAddr);

/// The sealed way to the other nodes.
pub(super) struct Sealed {
    envelope: Mutex<Envelope>,
    codec: Mutex<Option<Codec>>,
    carrier: Arc<dyn Carrier>,
    tell: Tell,
    /// Of one reader at a time; the next life of chitchat goes on where the last one stopped.
    inbox: AsyncMutex<mpsc::Receiver<Datagram>>,
    /// Where the envelope's clock began.
    started_at: Instant,
    traffic: Traffic,
    /// Something has been taken in: it is worth a look.
    pub(super) stirred: Notify,
    newcomers: Mutex<Vec<SocketAddr>>,
    /// The exchanges that others have begun of late, with nothing new since.
    exchanges: Mutex<BTreeMap<SocketAddr, Exchange>>,
    /// While leaving: how many last words each member has been sent.
    last_words: Mutex<Option<BTreeMap<SocketAddr, u32>>>,
}

/// Counted here, told once a tick.
#[derive(Default)]
struct Traffic {
    received: AtomicU64,
    sent: AtomicU64,
    bytes_received: AtomicU64,
    bytes_sent: AtomicU64,
    large: AtomicU64,
}

/// How many newcomers wait to be greeted: the rest is found by the next tick.
const NEWCOMERS: usize = 64;
/// What another node has begun.
struct Exchange {
    /// When it was answered.
    at: Instant,
    /// When this one or the one before it came to its end: the other node knew all that this one did.
    informed_at: Option<Instant>,
}

/// So many of those that have just begun an exchange aren't asked for another.
const EXCHANGES: usize = 64;
/// For so long: each two nodes exchange what they know once an interval, at the asking of one of them, and not twice.
const UP_TO_DATE: Duration = INTERVAL.saturating_mul(3).checked_div(4).expect("not by zero");
/// By the other one of two it is waited for up to its next turn.
const UP_TO_DATE_BY_ANOTHER: Duration = INTERVAL.saturating_mul(5).checked_div(4).expect("not by zero");

impl Sealed {
    pub(super) fn new(
        envelope: Envelope,
        carrier: Arc<dyn Carrier>,
        tell: Tell,
        inbox: mpsc::Receiver<Datagram>,
    ) -> Self {
        Self {
            envelope: Mutex::new(envelope),
            codec: Mutex::new(None),
            carrier,
            tell,
            inbox: AsyncMutex::new(inbox),
            started_at: Instant::now(),
            traffic: Traffic::default(),
            stirred: Notify::new(),
            newcomers: Mutex::new(Vec::new()),
            exchanges: Mutex::default(),
            last_words: Mutex::new(None),
        }
    }

    /// Sees to it that there is a codec, so that its lack is noticed at the start of a life.
    pub(super) fn ready(&self) -> Result<(), CodecError> {
        let mut codec = lock(&self.codec);
        if codec.is_none() {
            *codec = Some(Codec::start()?);
        }
        Ok(())
    }

    /// Tells what has been counted since the last time.
    pub(super) fn tell_traffic(&self) {
        let take = |count: &AtomicU64| count.swap(0, Ordering::Relaxed);
        let (received, sent) = (take(&self.traffic.received), take(&self.traffic.sent));
        if received + sent > 0 {
            let (bytes_received, bytes_sent) =
                (take(&self.traffic.bytes_received), take(&self.traffic.bytes_sent));
            (self.tell)(News::Counted { received, sent, bytes_received, bytes_sent });
        }
        let large = take(&self.traffic.large);
        if large > 0 {
            (self.tell)(News::Dropped { why: Dropped::Large, count: large });
        }
    }

    /// Who has proven itself since the last time: what it said before was lost.
    pub(super) fn newcomers(&self) -> Vec<SocketAddr> {
        std::mem::take(&mut lock(&self.newcomers))
    }

    /// There is something to tell `to`, whatever it has heard.
    pub(super) fn has_news_for(&self, to: SocketAddr) {
        lock(&self.exchanges).remove(&to);
    }

    /// There is something to tell everybody.
    pub(super) fn has_news(&self) {
        lock(&self.exchanges).clear();
    }

    /// An exchange that `with` had begun is answered.
    fn answers(&self, with: SocketAddr) {
        let mut exchanges = lock(&self.exchanges);
        exchanges.retain(|_, exchange| exchange.at.elapsed() < UP_TO_DATE_BY_ANOTHER);
        if exchanges.len() < EXCHANGES {
            let now = Instant::now();
            exchanges.entry(with).or_insert(Exchange { at: now, informed_at: None }).at = now;
        }
    }

    /// An exchange that `with` had begun is at its end. It counts unless there has been something new since it was answered.
    fn ends(&self, with: SocketAddr) {
        if let Some(exchange) = lock(&self.exchanges).get_mut(&with) {
            exchange.informed_at = Some(Instant::now());
        }
    }

    /// Whether `to` knows all that the node at `me` does, or will have asked for it by that one's next turn. Of two that
    /// have their turns together, the lower address asks.
    fn is_informed(&self, me: SocketAddr, to: SocketAddr) -> bool {
        let lasts = if to < me { UP_TO_DATE_BY_ANOTHER } else { UP_TO_DATE };
        let exchanges = lock(&self.exchanges);
        exchanges.get(&to).and_then(|exchange| exchange.informed_at).is_some_and(|at| at.elapsed() < lasts)
    }

    /// From now on the last words that go to `members` are counted.
    pub(super) fn count_last_words(&self, members: &[SocketAddr]) {
        *lock(&self.last_words) = Some(members.iter().map(|address| (*address, 0)).collect());
    }

    /// Who has been sent fewer than `enough` last words.
    pub(super) fn without_last_words(&self, enough: u32) -> Vec<SocketAddr> {
        let words = lock(&self.last_words);
        let lacking = words.iter().flatten().filter(|(_, sent)| **sent < enough);
        lacking.map(|(address, _)| *address).collect()
    }

    fn now(&self) -> Time {
        // Any beginning will do, but for zero, which leaves no room for earlier moments.
        Time::from_nanos(1 << 50) + self.started_at.elapsed()
    }

    /// Encodes, seals and sends. What can't be sent is dropped: a later round says the same.
    fn send(&self, to: SocketAddr, message: ChitchatEnvelope) -> usize {
        if matches!(message.message, ChitchatMessage::Ack { .. })
            && let Some(sent) = lock(&self.last_words).as_mut().and_then(|words| words.get_mut(&to))
        {
            *sent += 1;
        }
        let encoded = lock(&self.codec).as_mut().map(|codec| codec.encode(message));
        let Some(Ok(bytes)) = encoded else { return 0 };
        if bytes.len() + OVERHEAD > MAX_DATAGRAM {
            self.traffic.large.fetch_add(1, Ordering::Relaxed);
            return 0;
        }
        let datagram = lock(&self.envelope).seal(&bytes);
        self.carrier.send(&datagram, to);
        self.traffic.sent.fetch_add(1, Ordering::Relaxed);
        self.traffic.bytes_sent.fetch_add(datagram.len() as u64, Ordering::Relaxed);
        datagram.len()
    }

    /// Opens and decodes; `None` when there is nothing in it for chitchat.
    fn take_in(&self, datagram: &[u8], from: SocketAddr) -> Option<ChitchatEnvelope> {
        let opened = lock(&self.envelope).open(datagram, self.now());
        match opened {
            Ok(Opened::Data { body, .. }) => {
                let message = self.decode(&body);
                if message.is_none() {
                    (self.tell)(News::Rejected(Reject::Malformed));
                }
                message
            }
            Ok(Opened::Reply(reply)) => {
                self.carrier.send(&reply, from);
                None
            }
            Ok(Opened::Proven(_)) => {
                let mut newcomers = lock(&self.newcomers);
                if newcomers.len() < NEWCOMERS {
                    newcomers.push(from);
                }
                None
            }
            Err(reject) => {
                (self.tell)(News::Rejected(reject));
                None
            }
        }
    }

    fn decode(&self, body: &[u8]) -> Option<ChitchatEnvelope> {
        if !format::is_plausible(body) {
            return None;
        }
        lock(&self.codec).as_mut()?.decode(body).ok()
    }
}

/// Hands chitchat a [`Sealed`] as its socket, at every start anew.
pub(super) struct SealedTransport(pub(super) Arc<Sealed>);

struct SealedSocket {
    sealed: Arc<Sealed>,
    address: SocketAddr,
}

#[async_trait]
impl Transport for SealedTransport {
    async fn open(&self, address: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(SealedSocket { sealed: Arc::clone(&self.0), address }))
    }
}

#[async_trait]
impl Socket for SealedSocket {
    fn local_addr(&self) -> anyhow::Result<SocketAddr> {
        Ok(self.address)
    }

    /// Never fails: chitchat would take it for the end of its network.
    async fn send(&mut self, to: SocketAddr, message: ChitchatEnvelope) -> anyhow::Result<SendOutcome> {
        // Where a former life of this node was, there is now this one: it would take its own word for a replay.
        if to == self.address {
            return Ok(SendOutcome { num_bytes_sent: 0 });
        }
        match message.message {
            ChitchatMessage::Syn { .. } if self.sealed.is_informed(self.address, to) => {
                return Ok(SendOutcome { num_bytes_sent: 0 });
            }
            ChitchatMessage::SynAck { .. } => self.sealed.answers(to),
            ChitchatMessage::Syn { .. } | ChitchatMessage::Ack { .. } | ChitchatMessage::BadCluster => {}
        }
        Ok(SendOutcome { num_bytes_sent: self.sealed.send(to, message) })
    }

    /// Can be given up while it waits: a datagram that has left the queue is dealt with before anything else is
    /// awaited.
    async fn recv(&mut self) -> anyhow::Result<RecvOutcome> {
        // chitchat asks for the next message once it is done with the last.
        self.sealed.stirred.notify_one();
        let mut inbox = self.sealed.inbox.lock().await;
        loop {
            let Some((datagram, from_addr)) = inbox.recv().await else {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            };
            if let Some(envelope) = self.sealed.take_in(&datagram, from_addr) {
                let traffic = &self.sealed.traffic;
                traffic.received.fetch_add(1, Ordering::Relaxed);
                traffic.bytes_received.fetch_add(datagram.len() as u64, Ordering::Relaxed);
                if matches!(envelope.message, ChitchatMessage::Ack { .. }) {
                    self.sealed.ends(from_addr);
                }
                return Ok(RecvOutcome { from_addr, envelope, num_bytes_received: datagram.len() });
            }
            self.sealed.stirred.notify_one();
        }
    }
}

/// A lock whose data are whole between any two statements: a panic elsewhere spoils nothing.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
