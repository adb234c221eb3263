//! chitchat's socket on the loopback interface, across from a plain one of ours.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::{Duration, Instant};

use chitchat::transport::{RecvOutcome, Socket, UdpSocket as TheirSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use futures_util::FutureExt;
use tokio::runtime::Runtime;
use tokio::task::unconstrained;

use super::CodecError;
use crate::wire::seal::MAX_DATAGRAM;

/// The two sockets, and the runtime that chitchat's belongs to.
pub(super) struct Pair {
    /// There until the end.
    runtime: Option<Runtime>,
    theirs: TheirSocket,
    ours: UdpSocket,
    ours_at: SocketAddr,
    /// A short message that no peer's decodes to: see [`end`].
    end: Vec<u8>,
    buffer: Box<[u8]>,
}

/// How long either socket may be waited for. Passing a message through takes a thousandth of it.
const LIMIT: Duration = Duration::from_millis(500);

impl Pair {
    /// Opens both, and passes a first message. Within any runtime or none, as all of these.
    pub(super) fn open() -> io::Result<Self> {
        let opener = thread::Builder::new().name("gossip-codec".into()).spawn(Self::open_here)?;
        opener.join().map_err(|_| io::Error::other("the thread that opens it has panicked"))?
    }

    /// The same where nobody waits for another runtime.
    fn open_here() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut theirs = runtime.block_on(TheirSocket::open(any)).map_err(io::Error::other)?;
        let ours = UdpSocket::bind(any)?;
        // Connected, it hears nobody else.
        ours.connect(theirs.local_addr().map_err(io::Error::other)?)?;
        ours.set_read_timeout(Some(LIMIT))?;
        let ours_at = ours.local_addr()?;
        runtime.block_on(theirs.send(ours_at, end())).map_err(io::Error::other)?;
        let buffer = vec![0; MAX_DATAGRAM].into();
        let mut pair = Self { runtime: Some(runtime), theirs, ours, ours_at, end: Vec::new(), buffer };
        pair.end = pair.receive().map_err(io::Error::other)?;
        Ok(pair)
    }

    /// A message as bytes.
    pub(super) fn encode(&mut self, message: ChitchatEnvelope) -> Result<Vec<u8>, CodecError> {
        // The first message has shown that it can be written to, and on `lo` that never ends: nothing is waited for.
        match unconstrained(self.theirs.send(self.ours_at, message)).now_or_never() {
            Some(Ok(_)) => self.receive(),
            Some(Err(_)) | None => Err(CodecError::Broken),
        }
    }

    /// Bytes as a message.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<ChitchatEnvelope, CodecError> {
        self.say(bytes)?;
        let mut ended = false;
        let mut found = None;
        let began = Instant::now();
        while began.elapsed() < LIMIT {
            let next = match self.unpack()? {
                Some(next) => next,
                None => {
                    // Undecodable bytes make no sound. The end behind them does.
                    if !std::mem::replace(&mut ended, true) {
                        self.say(&self.end)?;
                    }
                    self.await_unpacked()?
                }
            };
            if next.from_addr != self.ours_at {
                // Another program of this machine: its words don't count.
                continue;
            }
            if next.envelope == end() {
                return found.ok_or(CodecError::NotAMessage);
            }
            if !ended {
                return Ok(next.envelope);
            }
            found = Some(next.envelope);
        }
        // It says so much that ours don't get through.
        Err(CodecError::Broken)
    }

    fn say(&self, bytes: &[u8]) -> Result<(), CodecError> {
        self.ours.send(bytes).map(drop).map_err(|_| CodecError::Broken)
    }

    /// What chitchat's socket makes of the next datagram that is a message, if it is known to be there.
    fn unpack(&mut self) -> Result<Option<RecvOutcome>, CodecError> {
        // What was sent on `lo` is there, and that there was something the last time is still on record.
        let there = catch_unwind(AssertUnwindSafe(|| self.theirs.recv().now_or_never()));
        let next = there.map_err(|_panicked| CodecError::Broken)?;
        next.transpose().map_err(|_| CodecError::Broken)
    }

    /// The same when nothing is: the first time, behind what is no message, and where the kernel leaves delivery for later
    /// or the caller has done enough for now.
    fn await_unpacked(&mut self) -> Result<RecvOutcome, CodecError> {
        let Self { runtime: Some(runtime), theirs, .. } = self else { return Err(CodecError::Broken) };
        let wait = || runtime.block_on(async { tokio::time::timeout(LIMIT, theirs.recv()).await });
        // Beside the caller's runtime, whose clock may stand still, too.
        let waited = thread::scope(|scope| {
            let waiter = thread::Builder::new().name("gossip-codec".into()).spawn_scoped(scope, wait);
            waiter.ok()?.join().ok()
        });
        let Some(Ok(Ok(next))) = waited else { return Err(CodecError::Broken) };
        Ok(next)
    }

    fn receive(&mut self) -> Result<Vec<u8>, CodecError> {
        let length = self.ours.recv(&mut self.buffer).map_err(|_| CodecError::Broken)?;
        Ok(self.buffer[..length].to_vec())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Within another runtime it can't be waited for; nothing runs on it.
            runtime.shutdown_background();
        }
    }
}

/// Nobody else says this: peers' messages are of another version.
fn end() -> ChitchatEnvelope {
    ChitchatEnvelope { version: ProtocolVersion::V0, message: ChitchatMessage::BadCluster }
}
