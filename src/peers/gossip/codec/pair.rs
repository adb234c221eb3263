//! chitchat's socket on the loopback interface, across from a plain one of ours.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use chitchat::transport::{Socket, UdpSocket as TheirSocket};
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
    /// How long either socket may be waited for.
    limit: Duration,
}

impl Pair {
    /// Opens both, and passes a first message. Not to be called within a runtime.
    pub(super) fn open(limit: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut theirs = runtime.block_on(TheirSocket::open(any)).map_err(io::Error::other)?;
        let ours = UdpSocket::bind(any)?;
        // Connected, it hears nobody else.
        ours.connect(theirs.local_addr().map_err(io::Error::other)?)?;
        ours.set_read_timeout(Some(limit))?;
        let ours_at = ours.local_addr()?;
        runtime.block_on(theirs.send(ours_at, end())).map_err(io::Error::other)?;
        let buffer = vec![0; MAX_DATAGRAM].into();
        let mut pair = Self { runtime: Some(runtime), theirs, ours, ours_at, end: Vec::new(), buffer, limit };
        pair.end = pair.receive().map_err(io::Error::other)?;
        Ok(pair)
    }

    /// A message as bytes. Within any runtime or none.
    pub(super) fn encode(&mut self, message: ChitchatEnvelope) -> Result<Vec<u8>, CodecError> {
        // The first message has shown that it can be written to, and on `lo` that never ends: nothing is waited for.
        match unconstrained(self.theirs.send(self.ours_at, message)).now_or_never() {
            Some(Ok(_)) => self.receive(),
            Some(Err(_)) | None => Err(CodecError::Broken),
        }
    }

    /// Bytes as a message. Not to be called within a runtime.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<ChitchatEnvelope, CodecError> {
        // Undecodable bytes make no sound. The end behind them does.
        for part in [bytes, &self.end] {
            self.ours.send(part).map_err(|_| CodecError::Broken)?;
        }
        let Some(runtime) = &self.runtime else { return Err(CodecError::Broken) };
        let mut found = None;
        loop {
            let next = runtime.block_on(async { tokio::time::timeout(self.limit, self.theirs.recv()).await });
            let Ok(Ok(next)) = next else { return Err(CodecError::Broken) };
            if next.from_addr != self.ours_at {
                // Another program of this machine: its words don't count.
                continue;
            }
            if next.envelope == end() {
                return found.ok_or(CodecError::NotAMessage);
            }
            found = Some(next.envelope);
        }
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
