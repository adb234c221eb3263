//! Messages between nodes, as the body of a sealed envelope.
//!
//! ```text
//!  version 1 | kind 1 | the kind's fields, big endian
//! ```
//!
//! Lists carry their count and are bounded; durations are microseconds in 32 bits. Whatever is left over at
//! the end is a newer version's business and ignored; whatever is missing is an error.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::{
    Advertisement, Boot, Grant, Heard, Holder, Mac, MemberId, Message, Request, Resignation,
    VipAdvertisement, VipId, VipState, Wanted,
};

/// The version that this program speaks.
pub const VERSION: u8 = 1;

/// More VIPs or members than this are not taken from anybody.
const LIST: usize = 256;
/// Names and versions are cut to this many bytes by an honest sender.
const TEXT: usize = 63;
/// Stands for an advertisement that isn't a beat; nobody counts that far.
const NO_BEAT: u64 = u64::MAX;

const ADVERTISEMENT: u8 = 1;
const PROBE: u8 = 2;
const RESIGNATION: u8 = 3;
const ACKNOWLEDGEMENT: u8 = 4;
const REQUEST: u8 = 5;
const GRANT: u8 = 6;
/// No message, but several: see [`bundle`](super::bundle).
pub(super) const BUNDLE: u8 = 7;

/// Why a body isn't a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Another version's.
    #[error("version {0} is not understood")]
    Version(u8),
    /// Too short, or a field is out of its range.
    #[error("malformed")]
    Malformed,
}

/// A message's bytes.
pub fn encode(message: &Message) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    out.push(VERSION);
    match message {
        Message::Advertisement(advertisement) => {
            out.push(ADVERTISEMENT);
            encode_advertisement(&mut out, advertisement);
        }
        Message::Probe => out.push(PROBE),
        Message::Resignation(resignation) => {
            out.push(RESIGNATION);
            out.extend(resignation.id.to_be_bytes());
            out.extend(resignation.vip.0.to_be_bytes());
            out.extend(resignation.term.to_be_bytes());
            out.push(u8::from(resignation.successor.is_some()));
            out.extend(resignation.successor.map_or(0, |id| id.0).to_be_bytes());
        }
        Message::Acknowledgement(id) => {
            out.push(ACKNOWLEDGEMENT);
            out.extend(id.to_be_bytes());
        }
        Message::Request(request) => {
            out.push(REQUEST);
            out.extend(request.asked_at.to_be_bytes());
            out.extend(request.echo.to_be_bytes());
            duration(&mut out, request.lasts);
            list(&mut out, &request.wants, |out, wanted| {
                out.extend(wanted.vip.0.to_be_bytes());
                out.extend(wanted.term.to_be_bytes());
            });
            list(&mut out, &request.frees, |out, vip| out.extend(vip.0.to_be_bytes()));
        }
        Message::Grant(grant) => {
            out.push(GRANT);
            out.extend(grant.asked_at.to_be_bytes());
            duration(&mut out, grant.lasts);
            out.extend(grant.expected_nodes.to_be_bytes());
            list(&mut out, &grant.vips, |out, vip| out.extend(vip.0.to_be_bytes()));
        }
    }
    out
}

/// The message that a body holds.
pub fn decode(body: &[u8]) -> Result<Message, DecodeError> {
    let mut input = Input(body);
    let version = input.byte()?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    match input.byte()? {
        ADVERTISEMENT => decode_advertisement(&mut input).map(Message::Advertisement),
        PROBE => Ok(Message::Probe),
        RESIGNATION => {
            let (id, vip, term) = (input.u32()?, VipId(input.u64()?), input.u32()?);
            let (some, successor) = (input.flag()?, MemberId(input.u64()?));
            Ok(Message::Resignation(Resignation { id, vip, term, successor: some.then_some(successor) }))
        }
        ACKNOWLEDGEMENT => Ok(Message::Acknowledgement(input.u32()?)),
        REQUEST => {
            let (asked_at, echo, lasts) = (input.u64()?, input.u64()?, input.duration()?);
            let wants = input.list(|input| Ok(Wanted { vip: VipId(input.u64()?), term: input.u32()? }))?;
            let frees = input.list(|input| Ok(VipId(input.u64()?)))?;
            Ok(Message::Request(Request { asked_at, echo, lasts, wants, frees }))
        }
        GRANT => {
            let (asked_at, lasts, expected_nodes) = (input.u64()?, input.duration()?, input.u16()?);
            let vips = input.list(|input| Ok(VipId(input.u64()?)))?;
            Ok(Message::Grant(Grant { asked_at, lasts, expected_nodes, vips }))
        }
        _other => Err(DecodeError::Malformed),
    }
}

fn encode_advertisement(out: &mut Vec<u8>, advertisement: &Advertisement) {
    out.extend(advertisement.sequence.to_be_bytes());
    out.extend(advertisement.beat.unwrap_or(NO_BEAT).to_be_bytes());
    text(out, &advertisement.name);
    text(out, &advertisement.version);
    out.extend(advertisement.config);
    duration(out, advertisement.interval);
    out.push(u8::from(advertisement.leaving));
    out.extend(advertisement.guard.0);
    list(out, &advertisement.vips, |out, vip| {
        out.extend(vip.vip.0.to_be_bytes());
        out.push(state_code(vip.state));
        out.push(vip.effective_priority);
        let flags = [
            vip.preempt,
            vip.suspects,
            vip.claims,
            vip.disputed,
            vip.hears.is_some(),
            vip.answered,
            vip.pinned,
        ];
        out.push(flags.iter().rev().fold(0, |byte, flag| byte << 1 | u8::from(*flag)));
        out.extend(vip.term.to_be_bytes());
        out.extend(vip.mac.0);
        if let Some(holder) = vip.hears {
            out.extend(holder.member.0.to_be_bytes());
            out.extend(holder.term.to_be_bytes());
        }
    });
    list(out, &advertisement.heard, |out, heard| {
        out.extend(heard.member.0.to_be_bytes());
        address(out, heard.address);
        out.extend(heard.sequence.to_be_bytes());
        duration(out, heard.age);
    });
}

fn decode_advertisement(input: &mut Input<'_>) -> Result<Advertisement, DecodeError> {
    let sequence = input.u64()?;
    let beat = Some(input.u64()?).filter(|beat| *beat != NO_BEAT);
    let (name, version) = (input.text()?, input.text()?);
    let config = input.bytes()?;
    let interval = input.duration()?;
    // Zero would make every silence endless or none at all.
    if interval < Duration::from_millis(1) || interval > Duration::from_secs(60) {
        return Err(DecodeError::Malformed);
    }
    let leaving = input.flag()?;
    let guard = Boot(input.bytes()?);
    let vips = input.list(|input| {
        let vip = VipId(input.u64()?);
        let state = state_of(input.byte()?)?;
        let effective_priority = input.byte()?;
        if effective_priority == 0 {
            return Err(DecodeError::Malformed);
        }
        let flags = input.byte()?;
        let [preempt, suspects, claims, disputed, hears, answered, pinned] =
            [0, 1, 2, 3, 4, 5, 6].map(|bit| flags >> bit & 1 == 1);
        let term = input.u32()?;
        let mac = Mac(input.bytes()?);
        let hears =
            if hears { Some(Holder { member: MemberId(input.u64()?), term: input.u32()? }) } else { None };
        Ok(VipAdvertisement {
            vip,
            state,
            effective_priority,
            preempt,
            term,
            mac,
            suspects,
            pinned,
            claims,
            hears,
            answered,
            disputed,
        })
    })?;
    let heard = input.list(|input| {
        let (member, address) = (MemberId(input.u64()?), input.address()?);
        Ok(Heard { member, address, sequence: input.u64()?, age: input.duration()? })
    })?;
    Ok(Advertisement { sequence, beat, name, version, config, interval, leaving, guard, vips, heard })
}

fn state_code(state: VipState) -> u8 {
    match state {
        VipState::Initialize => 0,
        VipState::Backup => 1,
        VipState::Active => 2,
    }
}

fn state_of(code: u8) -> Result<VipState, DecodeError> {
    match code {
        0 => Ok(VipState::Initialize),
        1 => Ok(VipState::Backup),
        2 => Ok(VipState::Active),
        _other => Err(DecodeError::Malformed),
    }
}

/// Its length, which tells the family, and its bytes.
fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(v4) => {
            out.push(4);
            out.extend(v4.octets());
        }
        IpAddr::V6(v6) => {
            out.push(16);
            out.extend(v6.octets());
        }
    }
}

/// As many as fit, behind their number.
fn list<T>(out: &mut Vec<u8>, items: &[T], encode: impl Fn(&mut Vec<u8>, &T)) {
    let items = &items[..items.len().min(LIST)];
    out.extend((items.len() as u16).to_be_bytes());
    for item in items {
        encode(out, item);
    }
}

fn text(out: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.push(end as u8);
    out.extend(&text.as_bytes()[..end]);
}

fn duration(out: &mut Vec<u8>, duration: Duration) {
    out.extend(u32::try_from(duration.as_micros()).unwrap_or(u32::MAX).to_be_bytes());
}

/// What is left to read.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn byte(&mut self) -> Result<u8, DecodeError> {
        self.bytes::<1>().map(|[byte]| byte)
    }

    fn flag(&mut self) -> Result<bool, DecodeError> {
        self.byte().map(|byte| byte != 0)
    }

    fn u16(&mut self) -> Result<u16, DecodeError> {
        self.bytes().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.bytes().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.bytes().map(u64::from_be_bytes)
    }

    fn address(&mut self) -> Result<IpAddr, DecodeError> {
        match self.byte()? {
            4 => self.bytes::<4>().map(IpAddr::from),
            16 => self.bytes::<16>().map(IpAddr::from),
            _other => Err(DecodeError::Malformed),
        }
    }

    fn duration(&mut self) -> Result<Duration, DecodeError> {
        self.u32().map(|micros| Duration::from_micros(micros.into()))
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let length = usize::from(self.byte()?);
        let (text, rest) = self.0.split_at_checked(length).ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        let text = std::str::from_utf8(text).map_err(|_| DecodeError::Malformed)?;
        let printable = !text.chars().any(char::is_control);
        if printable && length <= TEXT { Ok(text.into()) } else { Err(DecodeError::Malformed) }
    }

    fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = usize::from(self.u16()?);
        if count > LIST {
            return Err(DecodeError::Malformed);
        }
        // Room for all at once: a large cluster's advertisements would grow a list again and again.
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advertisement() -> Advertisement {
        Advertisement {
            sequence: 7,
            beat: Some(5),
            name: "ha1".into(),
            version: "0.1.0".into(),
            config: [1, 2, 3, 4, 5, 6, 7, 8],
            interval: Duration::from_millis(100),
            leaving: false,
            guard: Boot([9; 16]),
            vips: vec![VipAdvertisement {
                vip: VipId(42),
                state: VipState::Active,
                effective_priority: 103,
                preempt: true,
                term: 4,
                mac: Mac([2, 0, 0, 0, 0, 1]),
                suspects: false,
                claims: true,
                pinned: true,
                hears: Some(Holder { member: MemberId(3), term: 3 }),
                answered: true,
                disputed: true,
            }],
            heard: ["192.0.2.1", "2001:db8::1"]
                .map(|address| Heard {
                    member: MemberId(5),
                    address: address.parse().expect("an address"),
                    sequence: 99,
                    age: Duration::from_micros(1234),
                })
                .into(),
        }
    }

    fn request() -> Message {
        Message::Request(Request {
            asked_at: 1 << 40,
            echo: 99,
            lasts: Duration::from_millis(500),
            wants: vec![Wanted { vip: VipId(2), term: 3 }],
            frees: vec![VipId(4)],
        })
    }

    #[test]
    fn every_message_survives_the_wire() {
        for message in [
            Message::Advertisement(advertisement()),
            Message::Advertisement(Advertisement {
                beat: None,
                leaving: true,
                vips: vec![],
                heard: vec![],
                ..advertisement()
            }),
            Message::Advertisement(Advertisement {
                vips: vec![VipAdvertisement { hears: None, disputed: false, ..advertisement().vips[0] }],
                ..advertisement()
            }),
            Message::Probe,
            Message::Resignation(Resignation { id: 1, vip: VipId(2), term: 3, successor: Some(MemberId(0)) }),
            Message::Resignation(Resignation { id: u32::MAX, vip: VipId(2), term: 3, successor: None }),
            Message::Acknowledgement(77),
            request(),
            Message::Grant(Grant {
                asked_at: u64::MAX,
                lasts: Duration::from_millis(500),
                expected_nodes: 5,
                vips: vec![VipId(2), VipId(3)],
            }),
        ] {
            assert_eq!(decode(&encode(&message)), Ok(message));
        }
    }

    #[test]
    fn a_message_cut_short_is_malformed() {
        for message in [Message::Advertisement(advertisement()), request()] {
            let bytes = encode(&message);
            for length in 0..bytes.len() {
                assert_eq!(decode(&bytes[..length]), Err(DecodeError::Malformed), "{length} bytes");
            }
        }
    }

    #[test]
    fn a_newer_message_with_more_fields_is_understood() {
        let mut bytes = encode(&Message::Advertisement(advertisement()));
        bytes.extend([1, 2, 3]);
        assert_eq!(decode(&bytes), Ok(Message::Advertisement(advertisement())));
    }

    #[test]
    fn another_version_says_so() {
        assert_eq!(decode(&[2, 1, 1, 1]), Err(DecodeError::Version(2)));
    }

    #[test]
    fn priority_0_and_an_interval_of_0_are_refused() {
        let mut none = advertisement();
        none.vips[0].effective_priority = 0;
        assert_eq!(decode(&encode(&Message::Advertisement(none))), Err(DecodeError::Malformed));
        let zero = Advertisement { interval: Duration::ZERO, ..advertisement() };
        assert_eq!(decode(&encode(&Message::Advertisement(zero))), Err(DecodeError::Malformed));
    }

    proptest! {
        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
            let _ = decode(&bytes);
        }

        #[test]
        fn an_altered_message_never_panics(at in 0usize..150, value: u8, cut in 0usize..150) {
            let mut bytes = encode(&Message::Advertisement(advertisement()));
            let length = bytes.len();
            bytes[at % length] = value;
            bytes.truncate(length - cut % length);
            if let Ok(message) = decode(&bytes) {
                prop_assert_eq!(decode(&encode(&message)), Ok(message));
            }
        }
    }
}
