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
//! What this node says is encoded by the caller's thread. What others have said is decoded by one of its own, which
//! has its own clock, since a caller's may stand still, and which can be given up when a message takes long to unpack:
//! a blocking call of some 60 µs.

mod pair;

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::Duration;

use chitchat::ChitchatEnvelope;

use self::pair::Pair;

/// How long a call may take. Honest messages take a thousandth of it.
const LIMIT: Duration = Duration::from_millis(500);
/// How many given up threads may still be at work.
const STRAGGLERS: usize = 3;

/// Encodes and decodes; replaces its thread when a call takes too long.
pub(super) struct Codec {
    /// `None` after it broke.
    encoder: Option<Pair>,
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
    /// Starts the thread and opens all sockets.
    pub(super) fn start() -> Result<Self, CodecError> {
        Self::start_with(LIMIT)
    }

    fn start_with(limit: Duration) -> Result<Self, CodecError> {
        let encoder = Some(open_aside(limit)?);
        let mut codec = Self { encoder, jobs: None, running: Arc::new(()), limit };
        codec.thread()?;
        Ok(codec)
    }

    /// A message as bytes, at most [`MAX_DATAGRAM`].
    pub(super) fn encode(&mut self, message: ChitchatEnvelope) -> Result<Vec<u8>, CodecError> {
        let mut pair = self.encoder.take().map_or_else(|| open_aside(self.limit), Ok)?;
        let bytes = pair.encode(message)?;
        self.encoder = Some(pair);
        Ok(bytes)
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

/// Opens a pair on a thread of its own: nobody waits for one runtime within another.
fn open_aside(limit: Duration) -> Result<Pair, CodecError> {
    let opener = thread::Builder::new().name("gossip-codec".into()).spawn(move || Pair::open(limit));
    opener
        .map_err(CodecError::Loopback)?
        .join()
        .map_err(|_| CodecError::Broken)?
        .map_err(CodecError::Loopback)
}

#[cfg(test)]
mod tests {
    use chitchat::{ChitchatMessage, ProtocolVersion};

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
        let bytes = codec.encode(message()).unwrap();
        assert!(matches!(codec.call(|_| Err::<(), _>(CodecError::Broken)), Err(CodecError::Broken)));
        assert_eq!(codec.decode(bytes).unwrap(), message());
    }

    #[test]
    fn a_thread_that_panics_is_replaced() {
        let mut codec = patient();
        let bytes = codec.encode(message()).unwrap();
        let outcome = codec.call::<()>(|_| panic!("as told"));
        assert!(matches!(outcome, Err(CodecError::Broken)));
        assert_eq!(codec.decode(bytes).unwrap(), message());
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_encoder_is_replaced() {
        let mut codec = patient();
        codec.encoder = None;
        assert!(codec.encode(message()).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_is_encoded_without_giving_way_to_others() {
        let mut codec = patient();
        for _ in 0..2_000 {
            assert!(codec.encode(message()).is_ok());
        }
        // Dropped within the runtime, too.
        drop(codec);
    }
}
