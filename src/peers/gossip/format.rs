//! The outline of chitchat's messages: enough to refuse what no honest node sends before it is unpacked.
//!
//! ```text
//!   magic 2 | version 1 | type 1 |  syn: blocks, cluster   syn-ack: blocks, blocks   ack: blocks   bad cluster: -
//!   blocks:  (kind 1 | length 2 | bytes)*  0
//! ```
//!
//! A block unpacks to 64 KiB at most, whatever it is packed to, and chitchat unpacks as many as there are: a
//! thousand small ones are a hundred megabytes. Counting them takes no unpacking. Only holders of the secret get
//! this far.

/// What chitchat's messages begin with, and the one version that all our nodes speak.
const MAGIC: [u8; 3] = [0x53, 0xb0, 1];
/// How many blocks a message may have. Ours are cut at 16 KiB, so a datagram that is full of well packed state
/// has a few dozen.
const BLOCKS: usize = 64;

/// Whether `message` has an honest message's outline.
pub(super) fn is_plausible(message: &[u8]) -> bool {
    outline(message).is_some()
}

fn outline(message: &[u8]) -> Option<()> {
    let rest = message.strip_prefix(&MAGIC)?;
    let (kind, rest) = rest.split_first()?;
    let mut left = BLOCKS;
    let rest = match kind {
        0 => text(blocks(rest, &mut left)?)?,
        1 => blocks(blocks(rest, &mut left)?, &mut left)?,
        2 => blocks(rest, &mut left)?,
        3 => rest,
        _unknown => return None,
    };
    rest.is_empty().then_some(())
}

/// What follows the blocks that `rest` begins with.
fn blocks<'a>(mut rest: &'a [u8], left: &mut usize) -> Option<&'a [u8]> {
    loop {
        let (kind, after) = rest.split_first()?;
        match kind {
            0 => return Some(after),
            1 | 2 => {}
            _unknown => return None,
        }
        *left = left.checked_sub(1)?;
        rest = text(after)?;
    }
}

/// What follows the length and as many bytes that `rest` begins with.
fn text(rest: &[u8]) -> Option<&[u8]> {
    let (length, rest) = rest.split_first_chunk()?;
    rest.get(usize::from(u16::from_le_bytes(*length))..)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        [&MAGIC, &[kind][..], body].concat()
    }

    #[test]
    fn honest_outlines_pass() {
        assert!(is_plausible(&message(0, &[2, 3, 0, 9, 9, 9, 0, 1, 0, b'c'])));
        assert!(is_plausible(&message(1, &[1, 1, 0, 9, 0, 0])));
        assert!(is_plausible(&message(2, &[0])));
        assert!(is_plausible(&message(3, &[])));
    }

    #[test]
    fn a_message_of_more_blocks_than_anybody_needs_is_refused() {
        let bomb = |blocks| message(2, &[[1, 1, 0, 9].repeat(blocks), vec![0]].concat());
        assert!(is_plausible(&bomb(BLOCKS)));
        assert!(!is_plausible(&bomb(BLOCKS + 1)));
    }

    #[test]
    fn another_version_is_refused() {
        let mut old = message(3, &[]);
        old[2] = 0;
        assert!(!is_plausible(&old));
    }

    #[test]
    fn what_trails_behind_a_message_is_refused() {
        assert!(!is_plausible(&message(2, &[0, 0])));
        assert!(!is_plausible(&message(3, &[0])));
    }

    proptest! {
        #[test]
        fn anything_can_be_asked_about(bytes: Vec<u8>, kind in 0_u8..5) {
            let _ = is_plausible(&bytes);
            let _ = is_plausible(&message(kind, &bytes));
        }
    }
}
