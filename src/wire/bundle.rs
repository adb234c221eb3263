//! Several messages in one datagram: whoever is told more than one thing at a time is woken once for it.
//!
//! ```text
//!  version | kind | for each message: length | message      a byte, a byte; two bytes, the length's many
//! ```
//!
//! One message alone is its own body, without any of it.

use super::message::{BUNDLE, DecodeError, VERSION, decode};
use crate::core::Message;

const HEAD: usize = 2;
const LENGTH: usize = 2;
/// More than this many messages at once are not taken from anybody.
const MOST: usize = 64;
/// Whatever is longer might leave in fragments, of which one is lost more easily.
const LONGEST: usize = 1200;

/// Encoded messages as the bodies of as few datagrams as they fit into, in their order.
pub fn pack(messages: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    let mut rest = messages;
    while !rest.is_empty() {
        let (together, others) = rest.split_at(fitting(rest));
        bodies.push(match together {
            [alone] => alone.clone(),
            several => bundle(several),
        });
        rest = others;
    }
    bodies
}

/// The messages of one body, in their order.
pub fn unpack(body: &[u8]) -> Result<Vec<Message>, DecodeError> {
    if body.get(1) != Some(&BUNDLE) {
        return Ok(vec![decode(body)?]);
    }
    if body[0] != VERSION {
        return Err(DecodeError::Version(body[0]));
    }
    let (mut messages, mut rest) = (Vec::new(), &body[HEAD..]);
    while !rest.is_empty() {
        let (length, behind) = rest.split_first_chunk().ok_or(DecodeError::Malformed)?;
        let length = usize::from(u16::from_be_bytes(*length));
        let (message, behind) = behind.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        if messages.len() == MOST {
            return Err(DecodeError::Malformed);
        }
        messages.push(decode(message)?);
        rest = behind;
    }
    Ok(messages)
}

/// How many of the first messages go together; at least one.
fn fitting(messages: &[Vec<u8>]) -> usize {
    let mut length = HEAD;
    let fits = |message: &&Vec<u8>| {
        length += LENGTH + message.len();
        length <= LONGEST
    };
    messages.iter().take(MOST).take_while(fits).count().max(1)
}

fn bundle(messages: &[Vec<u8>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(LONGEST);
    body.extend([VERSION, BUNDLE]);
    for message in messages {
        body.extend((message.len() as u16).to_be_bytes());
        body.extend(message);
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::message::encode;
    use proptest::prelude::*;

    fn acknowledgements(count: u32) -> (Vec<Message>, Vec<Vec<u8>>) {
        let messages: Vec<Message> = (0..count).map(Message::Acknowledgement).collect();
        let encoded = messages.iter().map(encode).collect();
        (messages, encoded)
    }

    #[test]
    fn any_number_of_messages_arrives_in_its_order() {
        for (count, bodies) in [(0, 0), (1, 1), (2, 1), (64, 1), (65, 2), (200, 4)] {
            let (messages, encoded) = acknowledgements(count);
            let packed = pack(&encoded);
            assert_eq!(packed.len(), bodies, "{count} messages");
            let unpacked: Result<Vec<_>, _> = packed.iter().map(|body| unpack(body)).collect();
            assert_eq!(unpacked.map(|all| all.concat()), Ok(messages));
        }
    }

    #[test]
    fn one_message_is_its_own_body() {
        let (_, encoded) = acknowledgements(1);
        assert_eq!(pack(&encoded), encoded);
    }

    #[test]
    fn what_is_too_long_to_go_together_goes_by_itself() {
        let (short, long) = (vec![0; 100], vec![0; 1150]);
        let lengths = |messages: &[Vec<u8>]| pack(messages).iter().map(Vec::len).collect::<Vec<_>>();
        assert_eq!(lengths(&[short.clone(), long.clone(), short.clone(), short.clone()]), [100, 1150, 206]);
        assert_eq!(lengths(&[vec![0; 5000], short]), [5000, 100]);
    }

    #[test]
    fn a_bundle_cut_short_within_one_within_another_or_too_large_is_malformed() {
        let (_, encoded) = acknowledgements(2);
        let body = bundle(&encoded);
        // Behind its head, and behind each message, it is whole.
        let whole = [2, 10, 18];
        for length in (0..body.len()).filter(|length| !whole.contains(length)) {
            assert_eq!(unpack(&body[..length]), Err(DecodeError::Malformed), "{length} bytes");
        }
        assert_eq!(unpack(&bundle(&[body])), Err(DecodeError::Malformed));
        let (_, many) = acknowledgements(65);
        assert_eq!(unpack(&bundle(&many)), Err(DecodeError::Malformed));
    }

    #[test]
    fn another_version_says_so() {
        assert_eq!(unpack(&[2, BUNDLE, 0, 1, 1]), Err(DecodeError::Version(2)));
        assert_eq!(unpack(&[2, 1, 1, 1]), Err(DecodeError::Version(2)));
    }

    proptest! {
        #[test]
        fn unpacking_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..512), whole: bool) {
            if whole && bytes.len() > 1 {
                bytes[..2].copy_from_slice(&[VERSION, BUNDLE]);
            }
            let _ = unpack(&bytes);
        }
    }
}
