//! `nf_tables`' messages as bytes: batches of netlink requests, their attributes, and what the kernel answers.
//!
//! ```text
//!   | length 4 | type 2 | flags 2 | sequence 4 | port 4 |   netlink, in the host's byte order
//!   | family 1 | version 1 | resource 2 |                   netfilter
//!   | length 2 | kind 2 | payload, padded to 4 | …          attributes; their numbers are big-endian
//! ```
//!
//! The names are those of the kernel's `linux/netfilter/nf_tables.h`, where the numbers come from.

use std::io;
use std::time::Duration;

/// The family of tables whose chains hang on network interfaces.
const NFPROTO_NETDEV: u8 = 5;
/// The part of nfnetlink that a message's type names in its upper byte.
const NFNL_SUBSYS_NFTABLES: u16 = 10;
const NFNL_MSG_BATCH_BEGIN: u16 = 16;
const NFNL_MSG_BATCH_END: u16 = 17;
const NFT_MSG_GETSETELEM: u16 = 13;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const NLM_F_APPEND: u16 = 0x800;
/// The payload is attributes in their turn.
const NLA_F_NESTED: u16 = 0x8000;

/// Length of the netlink header, and of both headers.
const HEADER: usize = 16;
const HEADERS: usize = 20;

/// What a request does to one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Add a table; one that is there stays as it is.
    AddTable,
    /// Remove a table and all that is in it.
    RemoveTable,
    /// Add a chain.
    AddChain,
    /// Add a rule at its chain's end.
    AddRule,
    /// Add a set.
    AddSet,
    /// Add elements to a set; those that are there stay as they are.
    AddElements,
    /// Remove elements from a set.
    RemoveElements,
}

impl Request {
    const fn kind(self) -> u16 {
        NFNL_SUBSYS_NFTABLES << 8
            | match self {
                Self::AddTable => 0,
                Self::RemoveTable => 2,
                Self::AddChain => 3,
                Self::AddRule => 6,
                Self::AddSet => 9,
                Self::AddElements => 12,
                Self::RemoveElements => 14,
            }
    }

    const fn flags(self) -> u16 {
        match self {
            Self::AddTable | Self::AddChain | Self::AddSet | Self::AddElements => NLM_F_CREATE,
            Self::AddRule => NLM_F_CREATE | NLM_F_APPEND,
            Self::RemoveTable | Self::RemoveElements => 0,
        }
    }
}

/// What a message of the kernel's tells that somebody removed: the upper part of its type is the same.
const REMOVALS: [u16; 5] = [2, 5, 8, 11, 14];

/// Attributes of one message, or of one nested attribute.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attributes(Vec<u8>);

impl Attributes {
    /// None yet.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they are.
    pub(super) fn bytes(mut self, kind: u16, payload: &[u8]) -> Self {
        // A payload that doesn't fit would be a mistake of this program's: the kernel refuses what is cut.
        let length = u16::try_from(payload.len() + 4).unwrap_or(u16::MAX);
        self.0.extend(length.to_ne_bytes());
        self.0.extend(kind.to_ne_bytes());
        self.0.extend(payload);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Adds a number.
    pub(super) fn number(self, kind: u16, number: u32) -> Self {
        self.bytes(kind, &number.to_be_bytes())
    }

    /// Adds a time, as the kernel counts it: in milliseconds.
    pub(super) fn time(self, kind: u16, time: Duration) -> Self {
        self.bytes(kind, &(time.as_millis() as u64).to_be_bytes())
    }

    /// Adds a name.
    pub(super) fn name(self, kind: u16, name: &str) -> Self {
        self.bytes(kind, &[name.as_bytes(), &[0]].concat())
    }

    /// Adds attributes.
    pub(super) fn nested(self, kind: u16, attributes: &Self) -> Self {
        self.bytes(kind | NLA_F_NESTED, &attributes.0)
    }
}

/// Requests that are carried out together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    /// Of the next message.
    sequence: u32,
}

impl Batch {
    /// An empty one.
    pub(super) fn new() -> Self {
        let mut batch = Self { bytes: Vec::new(), sequence: 0 };
        batch.bracket(NFNL_MSG_BATCH_BEGIN);
        batch
    }

    /// Adds a request.
    pub(super) fn add(&mut self, request: Request, attributes: &Attributes) {
        self.message(request.kind(), request.flags(), NFPROTO_NETDEV, 0, &attributes.0);
    }

    /// Its bytes, with the request for one acknowledgement of it all.
    pub(super) fn finish(mut self) -> Vec<u8> {
        let last = self.last_message();
        if let Some(flags) = self.bytes.get_mut(last + 6..last + 8) {
            let asked = u16::from_ne_bytes([flags[0], flags[1]]) | NLM_F_ACK;
            flags.copy_from_slice(&asked.to_ne_bytes());
        }
        self.bracket(NFNL_MSG_BATCH_END);
        self.bytes
    }

    fn bracket(&mut self, kind: u16) {
        self.message(kind, 0, 0, NFNL_SUBSYS_NFTABLES, &[]);
    }

    fn message(&mut self, kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) {
        self.bytes.extend(((HEADERS + attributes.len()) as u32).to_ne_bytes());
        self.bytes.extend(kind.to_ne_bytes());
        self.bytes.extend((flags | NLM_F_REQUEST).to_ne_bytes());
        self.bytes.extend(self.sequence.to_ne_bytes());
        // The port: the kernel's business.
        self.bytes.extend([0; 4]);
        self.bytes.extend([family, 0]);
        self.bytes.extend(resource.to_be_bytes());
        self.bytes.extend(attributes);
        self.sequence += 1;
    }

    /// Where the last message begins.
    fn last_message(&self) -> usize {
        let mut at = 0;
        while let Some(length) = number(&self.bytes, at) {
            let next = at + length as usize;
            if next >= self.bytes.len() {
                break;
            }
            at = next;
        }
        at
    }
}

/// Asks for elements of a set, outside of any batch: refused when one of them isn't there.
pub(super) fn question(attributes: &Attributes) -> Vec<u8> {
    let mut question = Batch { bytes: Vec::new(), sequence: 0 };
    let kind = NFNL_SUBSYS_NFTABLES << 8 | NFT_MSG_GETSETELEM;
    question.message(kind, NLM_F_ACK, NFPROTO_NETDEV, 0, &attributes.0);
    question.bytes
}

/// What the kernel says of a request in one packet of answers: the first refusal, else whether all is done.
pub(super) fn verdict(packet: &[u8]) -> io::Result<bool> {
    let mut done = false;
    for message in messages(packet).filter(|message| message.kind == NLMSG_ERROR) {
        match message.body.first_chunk().map(|code| i32::from_ne_bytes(*code)) {
            Some(0) => done = true,
            Some(code) => return Err(io::Error::from_raw_os_error(code.wrapping_neg())),
            None => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    Ok(done)
}

/// Whether a packet of news tells that somebody other than `port` removed something of `table`.
pub(super) fn tells_of_a_loss(packet: &[u8], table: &str, port: u32) -> bool {
    messages(packet).any(|message| {
        let removes = REMOVALS.iter().any(|kind| NFNL_SUBSYS_NFTABLES << 8 | kind == message.kind);
        removes && message.port != port && message.names(table)
    })
}

/// One message of the kernel's.
struct Message<'a> {
    kind: u16,
    /// Whose request it follows from.
    port: u32,
    body: &'a [u8],
}

impl Message<'_> {
    /// Whether it is about this table of the family: the first attribute of every kind of message names it.
    fn names(&self, table: &str) -> bool {
        let attribute = Attributes::new().name(1, table).0;
        self.body.first() == Some(&NFPROTO_NETDEV)
            && self.body.get(4..).is_some_and(|attributes| attributes.starts_with(&attribute))
    }
}

/// The messages of a packet, as far as they are whole.
fn messages(packet: &[u8]) -> impl Iterator<Item = Message<'_>> {
    let mut rest = packet;
    std::iter::from_fn(move || {
        let length = number(rest, 0)? as usize;
        let body = rest.get(HEADER..length)?;
        let message = Message { kind: u16::from_ne_bytes([rest[4], rest[5]]), port: number(rest, 12)?, body };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_ne_bytes(*four))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_attribute_tells_its_length_and_is_padded_to_four_bytes() {
        let attributes = Attributes::new().name(1, "ab").number(2, 0x0102_0304);
        assert_eq!(attributes.0[..2], 7u16.to_ne_bytes());
        assert_eq!(attributes.0[2..4], 1u16.to_ne_bytes());
        assert_eq!(attributes.0[4..8], [b'a', b'b', 0, 0]);
        assert_eq!(attributes.0[12..], [1, 2, 3, 4]);
        let nested = Attributes::new().nested(3, &attributes);
        assert_eq!(nested.0[2..4], (3 | NLA_F_NESTED).to_ne_bytes());
        assert_eq!(nested.0[4..], attributes.0);
    }

    #[test]
    fn only_the_last_request_of_a_batch_is_acknowledged() {
        let mut batch = Batch::new();
        batch.add(Request::AddTable, &Attributes::new().name(1, "t"));
        batch.add(Request::RemoveTable, &Attributes::new().name(1, "t"));
        let bytes = batch.finish();
        let flags: Vec<u16> =
            whole(&bytes).map(|message| u16::from_ne_bytes([message[6], message[7]])).collect();
        let asked: Vec<bool> = flags.iter().map(|flags| flags & NLM_F_ACK != 0).collect();
        assert_eq!(asked, [false, false, true, false]);
        let sequences: Vec<u32> = whole(&bytes).filter_map(|message| number(message, 8)).collect();
        assert_eq!(sequences, [0, 1, 2, 3]);
    }

    /// The messages of a packet, headers and all.
    fn whole(packet: &[u8]) -> impl Iterator<Item = &[u8]> {
        let mut rest = packet;
        std::iter::from_fn(move || {
            let (message, after) = rest.split_at_checked(number(rest, 0)? as usize)?;
            rest = after;
            Some(message)
        })
    }

    /// A message as the kernel sends it.
    fn said(kind: u16, port: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::from(((HEADER + body.len()) as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([0; 6]);
        bytes.extend(port.to_ne_bytes());
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_refusal_anywhere_refuses_the_batch() {
        let fine = said(NLMSG_ERROR, 0, &[0; 20]);
        let refused = said(NLMSG_ERROR, 0, &[&(-libc::ENOENT).to_ne_bytes()[..], &[0; 16]].concat());
        assert!(verdict(&fine).is_ok_and(|done| done));
        assert!(verdict(&[]).is_ok_and(|done| !done));
        let error = verdict(&[fine, refused].concat()).expect_err("the second is refused");
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT));
    }

    #[test]
    fn a_loss_is_what_another_takes_from_the_table() {
        let body =
            |family: u8, table: &str| [&[family, 0, 0, 0][..], &Attributes::new().name(1, table).0].concat();
        let removed = NFNL_SUBSYS_NFTABLES << 8 | 8;
        let added = NFNL_SUBSYS_NFTABLES << 8 | 6;
        let ours = body(NFPROTO_NETDEV, "chinthe");
        assert!(tells_of_a_loss(&said(removed, 7, &ours), "chinthe", 5));
        assert!(!tells_of_a_loss(&said(removed, 5, &ours), "chinthe", 5), "its own doing");
        assert!(!tells_of_a_loss(&said(added, 7, &ours), "chinthe", 5));
        assert!(!tells_of_a_loss(&said(removed, 7, &body(NFPROTO_NETDEV, "chinthes")), "chinthe", 5));
        assert!(!tells_of_a_loss(&said(removed, 7, &body(2, "chinthe")), "chinthe", 5), "another family's");
    }

    proptest! {
        #[test]
        fn whatever_comes_is_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = verdict(&bytes);
            let _ = tells_of_a_loss(&bytes, "chinthe", 1);
        }
    }
}
