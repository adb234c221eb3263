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
//! It is done by the caller's thread, in some 40 µs: what is sent on `lo` is there when the call returns. Only when it
//! isn't does another thread wait for it. How long a peer's message takes is bounded by its outline, which has been
//! looked at before it comes here.

mod pair;

use std::io;

use chitchat::ChitchatEnvelope;

use self::pair::Pair;

/// Encodes and decodes; opens new sockets when something has gone wrong with the old ones.
pub(super) struct Codec {
    /// `None` after it broke.
    pair: Option<Pair>,
}

/// Why there is no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CodecError {
    /// The bytes are no message.
    #[error("not a message")]
    NotAMessage,
    /// The sockets can't be had: is `lo` up?
    #[error("the loopback interface doesn't serve: {0}")]
    Loopback(io::Error),
    /// It went wrong half-way; the next call starts afresh.
    #[error("broken off")]
    Broken,
}

impl Codec {
    /// Opens the sockets.
    pub(super) fn start() -> Result<Self, CodecError> {
        Ok(Self { pair: Some(open()?) })
    }

    /// A message as bytes, at most [`MAX_DATAGRAM`](crate::wire::seal::MAX_DATAGRAM).
    pub(super) fn encode(&mut self, message: ChitchatEnvelope) -> Result<Vec<u8>, CodecError> {
        self.pass(|pair| pair.encode(message))
    }

    /// Bytes as a message.
    pub(super) fn decode(&mut self, bytes: &[u8]) -> Result<ChitchatEnvelope, CodecError> {
        self.pass(|pair| pair.decode(bytes))
    }

    fn pass<T>(&mut self, through: impl FnOnce(&mut Pair) -> Result<T, CodecError>) -> Result<T, CodecError> {
        let mut pair = self.pair.take().map_or_else(open, Ok)?;
        let outcome = through(&mut pair);
        // What else is left in its sockets would be taken for the next message.
        if matches!(outcome, Ok(_) | Err(CodecError::NotAMessage)) {
            self.pair = Some(pair);
        }
        outcome
    }
}

fn open() -> Result<Pair, CodecError> {
    Pair::open().map_err(CodecError::Loopback)
}

#[cfg(test)]
mod tests {
    use chitchat::{ChitchatMessage, ProtocolVersion};
    use proptest::prelude::*;

    use super::*;

    fn message() -> ChitchatEnvelope {
        ChitchatEnvelope { version: ProtocolVersion::V1, message: ChitchatMessage::BadCluster }
    }

    #[test]
    fn what_is_encoded_decodes() {
        let mut codec = Codec::start().unwrap();
        let bytes = codec.encode(message()).unwrap();
        assert_eq!(codec.decode(&bytes).unwrap(), message());
    }

    #[test]
    fn what_is_no_message_is_told_at_once_and_harms_nothing() {
        let mut codec = Codec::start().unwrap();
        for length in 0..200 {
            let outcome = codec.decode(&vec![7; length]);
            assert!(matches!(outcome, Err(CodecError::NotAMessage)), "{outcome:?}");
        }
        let bytes = codec.encode(message()).unwrap();
        assert_eq!(codec.decode(&bytes).unwrap(), message());
    }

    proptest! {
        #[test]
        fn whatever_has_an_honest_outline_is_decoded_or_refused(kind in 0_u8..4, bytes: Vec<u8>, text: [u8; 3]) {
            let length = u16::try_from(bytes.len()).unwrap().to_le_bytes();
            // One block of it as it is, wherever such a message has its blocks; a cluster's name at the end of a syn.
            let block = [&[2][..], &length, &bytes, &[0]].concat();
            let rest = match kind {
                0 => [&block, &[3, 0][..], &text].concat(),
                1 => [&block[..], &block].concat(),
                2 => block,
                _empty => Vec::new(),
            };
            let body = [&[0x53, 0xb0, 1, kind][..], &rest].concat();
            prop_assert!(super::super::format::is_plausible(&body));
            let mut codec = Codec::start().unwrap();
            let outcome = codec.decode(&body);
            prop_assert!(matches!(outcome, Ok(_) | Err(CodecError::NotAMessage)), "{:?}", outcome);
            let bytes = codec.encode(message()).unwrap();
            prop_assert_eq!(codec.decode(&bytes).unwrap(), message());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_broken_pair_is_replaced() {
        let mut codec = Codec::start().unwrap();
        let bytes = codec.encode(message()).unwrap();
        assert!(matches!(codec.pass(|_| Err::<(), _>(CodecError::Broken)), Err(CodecError::Broken)));
        assert!(codec.pair.is_none());
        assert_eq!(codec.decode(&bytes).unwrap(), message());
    }

    #[tokio::test(start_paused = true)]
    async fn any_number_passes_without_giving_way_to_others() {
        let mut codec = Codec::start().unwrap();
        for _ in 0..2_000 {
            let bytes = codec.encode(message()).unwrap();
            assert_eq!(codec.decode(&bytes).unwrap(), message());
        }
        // Dropped within the runtime, too.
        drop(codec);
    }
}
