//! chitchat's messages to bytes and back.
//!
//! chitchat keeps its encoding to itself: only its own UDP socket knows it. So that socket is the encoder. It stands
//! on the loopback interface across from a plain one of ours, and a message is passed from one to the other:
//!
//! ```text
//!   encode:  message --> chitchat's socket ~~ lo ~~> ours --> bytes
//!   decode:  bytes --> ours ~~ lo ~~> chitchat's socket --> message
//! ```
//!
//! Both are blocking calls of some 60 µs to a thread of its own, which has its own clock: a caller's may stand
//! still. A thread, too, so that a message that takes long to unpack can be given up.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use chitchat::transport::{Socket, UdpSocket as TheirSocket};
use chitchat::{ChitchatEnvelope, ChitchatMessage, ProtocolVersion};
use tokio::runtime::Runtime;

use crate::wire::seal::MAX_DATAGRAM;

/// How long a call may take. Honest messages take a thousandth of it.
const LIMIT: Duration = Duration::from_millis(500);
/// How many given up threads may still be at work.
const STRAGGLERS: usize = 3;

/// Encodes and decodes; replaces its thread when a call takes too long.
pub(super) struct Codec {
    jobs: Option<SyncSender<Job>>,
    /// One share each for the codec and for every thread that still runs.
    running: Arc<()>,
    /// How long a call may take.
    limit: Duration,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    /// The bytes are no message.
    #[error("not a message")]
    NotAMessage,
    /// The thread or its sockets can't be had: is `lo` up?
    #[error("the loopback interface doesn't serve: {0}")]
    Loopback(io::Error),
    /// It took too long.
    #[error("it took too long")]
    TooLong,
    /// It went wrong half-way; the next call starts afresh.
    #[error("broken off")]
    Broken,
}

type Job = Box<dyn FnOnce(&mut Pair) -> Result<(), CodecError> + Send>;

impl Codec {
    /// Starts the thread and opens its sockets.
    pub(super) fn start() -> Result<Self, CodecError> {
        Self::start_with(LIMIT)
    }

    fn start_with(limit: Duration) -> Result<Self, CodecError> {
        let mut codec = Self { jobs: None, running: Arc::new(()), limit };
        codec.thread()?;
        Ok(codec)
    }

    /// A message as bytes, at most [`MAX_DATAGRAM`].
    pub(super) fn encode(&mut self, message: ChitchatEnvelope) -> Result<Vec<u8>, CodecError> {
        self.call(move |pair| pair.encode(message))
    }

    /// Bytes as a message.
    pub(super) fn decode(&mut self, bytes: Vec<u8>) -> Result<ChitchatEnvelope, CodecError> {
        self.call(move |pair| pair.decode(&bytes))
    }

    fn call<T: Send + 'static>(
        &mut self,
        job: impl FnOnce(&mut Pair) -> Result<T, CodecError> + Send + 'static,
    ) -> Result<T, CodecError> {
        let (answer, result) = mpsc::sync_channel(1);
        let job: Job = Box::new(move |pair| {
            let (done, outcome) = match job(pair) {
                Err(CodecError::NotAMessage) => (Ok(()), Err(CodecError::NotAMessage)),
                // What is left in the sockets would be taken for the next message.
                Err(_broken) => (Err(CodecError::Broken), Err(CodecError::Broken)),
                Ok(value) => (Ok(()), Ok(value)),
            };
            // Nobody waits any more when it took too long.
            let _ = answer.send(outcome);
            done
        });
        if self.thread()?.send(job).is_err() {
            self.jobs = None;
            return Err(CodecError::Broken);
        }
        let outcome = result.recv_timeout(self.limit).unwrap_or_else(|why| match why {
            RecvTimeoutError::Timeout => Err(CodecError::TooLong),
            RecvTimeoutError::Disconnected => Err(CodecError::Broken),
        });
        if let Err(CodecError::TooLong | CodecError::Broken) = outcome {
            self.jobs = None;
        }
        outcome
    }

    /// The way to the thread, which is started if need be.
    fn thread(&mut self) -> Result<&SyncSender<Job>, CodecError> {
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None if Arc::strong_count(&self.running) > STRAGGLERS + 1 => return Err(CodecError::TooLong),
            None => {
                let (jobs, todo) = mpsc::sync_channel::<Job>(1);
                let (tell, opened) = mpsc::sync_channel(1);
                let (running, limit) = (Arc::clone(&self.running), self.limit);
                let run = move || {
                    // Opened here: its clock and the caller's don't go together.
                    let (outcome, pair) = match Pair::open(limit) {
                        Ok(pair) => (Ok(()), Some(pair)),
                        Err(error) => (Err(error), None),
                    };
                    let _ = tell.send(outcome);
                    let Some(mut pair) = pair else { return };
                    // After one that went wrong the thread ends, and its sockets with it.
                    while todo.recv().is_ok_and(|job| job(&mut pair).is_ok()) {}
                    drop(running);
                };
                thread::Builder::new()
                    .name("gossip-codec".into())
                    .spawn(run)
                    .map_err(CodecError::Loopback)?;
                opened.recv().map_err(|_| CodecError::Broken)?.map_err(CodecError::Loopback)?;
                jobs
            }
        };
        Ok(self.jobs.insert(jobs))
    }
}

/// The two sockets.
struct Pair {
    runtime: Runtime,
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
    fn open(limit: Duration) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let theirs = runtime.block_on(TheirSocket::open(any)).map_err(io::Error::other)?;
        let ours = UdpSocket::bind(any)?;
        // Connected, it hears nobody else.
        ours.connect(theirs.local_addr().map_err(io::Error::other)?)?;
        ours.set_read_timeout(Some(limit))?;
        let ours_at = ours.local_addr()?;
        let buffer = vec![0; MAX_DATAGRAM].into();
        let mut pair = Self { runtime, theirs, ours, ours_at, end: Vec::new(), buffer, limit };
        pair.end = pair.encode(end()).map_err(io::Error::other)?;
        Ok(pair)
    }

    fn encode(&mut self, message: ChitchatEnvelope) -> Result<Vec<u8>, CodecError> {
        self.runtime.block_on(self.theirs.send(self.ours_at, message)).map_err(|_| CodecError::Broken)?;
        let length = self.ours.recv(&mut self.buffer).map_err(|_| CodecError::Broken)?;
        Ok(self.buffer[..length].to_vec())
    }

    fn decode(&mut self, bytes: &[u8]) -> Result<ChitchatEnvelope, CodecError> {
        // Undecodable bytes make no sound. The end behind them does.
        for part in [bytes, &self.end] {
            self.ours.send(part).map_err(|_| CodecError::Broken)?;
        }
        let mut found = None;
        loop {
            let next =
                self.runtime.block_on(async { tokio::time::timeout(self.limit, self.theirs.recv()).await });
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
}

/// Nobody else says this: peers' messages are of another version.
fn end() -> ChitchatEnvelope {
    ChitchatEnvelope { version: ProtocolVersion::V0, message: ChitchatMessage::BadCluster }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message() -> ChitchatEnvelope {
        ChitchatEnvelope { version: ProtocolVersion::V1, message: ChitchatMessage::BadCluster }
    }

    /// A codec for which no machine is too busy: a panic alone, told with all its frames, can take half a second.
    fn patient() -> Codec {
        Codec::start_with(Duration::from_mins(1)).unwrap()
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut codec = patient();
        let bytes = codec.encode(message()).unwrap();
        assert_eq!(codec.decode(bytes).unwrap(), message());
    }

    #[test]
    fn what_is_no_message_is_told_at_once_and_harms_nothing() {
        let mut codec = patient();
        for length in 0..200 {
            let outcome = codec.decode(vec![7; length]);
            assert!(matches!(outcome, Err(CodecError::NotAMessage)), "{outcome:?}");
        }
        let bytes = codec.encode(message()).unwrap();
        assert_eq!(codec.decode(bytes).unwrap(), message());
    }

    #[test]
    fn a_broken_pair_is_replaced() {
        let mut codec = patient();
        assert!(matches!(codec.call(|_| Err::<(), _>(CodecError::Broken)), Err(CodecError::Broken)));
        assert!(codec.encode(message()).is_ok());
    }

    #[test]
    fn a_thread_that_panics_is_replaced() {
        let mut codec = patient();
        let outcome = codec.call::<()>(|_| panic!("as told"));
        assert!(matches!(outcome, Err(CodecError::Broken)));
        assert!(codec.encode(message()).is_ok());
    }
}
