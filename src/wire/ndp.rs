//! Neighbour discovery for IPv6 over Ethernet: solicitations and advertisements as whole packets, RFC 4861
//! sections 4.3 and 4.4.
//!
//! ```text
//!  0             4      6    7    8          24               40                 44       48        64
//!  | 6, class,   | len  | 58 |255 | source   | destination    | type 0 checksum  | flags  | target  | options …
//! ```

use std::net::Ipv6Addr;

use crate::core::Mac;

/// One packet, without the Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Who says it.
    pub source: Ipv6Addr,
    /// To whom, often a multicast group.
    pub destination: Ipv6Addr,
    /// Question or answer.
    pub operation: Operation,
    /// The address that it is about.
    pub target: Ipv6Addr,
    /// A link-layer address: the asker's, or the target's. May be missing.
    pub mac: Option<Mac>,
}

/// What a packet wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// "Who has the target?"
    Solicitation,
    /// "The target is here." Whether what is remembered otherwise is to be forgotten.
    Advertisement {
        /// The override flag.
        overrides: bool,
    },
}

/// Everybody on the link.
pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const IP_HEADER: usize = 40;
/// ICMP header, flags and target.
const FIXED: usize = 24;
/// With one option for a link-layer address.
const LENGTH: usize = IP_HEADER + FIXED + OPTION;
const OPTION: usize = 8;
const ICMPV6: u8 = 58;
/// Whatever has passed a router has a lower one; RFC 4861 section 7.1.
const HOP_LIMIT: u8 = 255;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const OVERRIDE: u8 = 0x20;
const SOURCE_LINK_ADDRESS: u8 = 1;
const TARGET_LINK_ADDRESS: u8 = 2;

impl Packet {
    /// "`ip` is at `mac`", to everybody, and whatever was said before is void.
    pub fn announcement(ip: Ipv6Addr, mac: Mac) -> Self {
        Self {
            source: ip,
            destination: ALL_NODES,
            operation: Operation::Advertisement { overrides: true },
            target: ip,
            mac: Some(mac),
        }
    }

    /// "Who has `ip`?", asked by `sender` at `mac`. Who has no address himself asks from the unspecified one, and can't
    /// say where he is; the answer then comes to everybody.
    pub fn request(ip: Ipv6Addr, sender: Ipv6Addr, mac: Mac) -> Self {
        Self {
            source: sender,
            destination: solicited_node(ip),
            operation: Operation::Solicitation,
            target: ip,
            mac: (!sender.is_unspecified()).then_some(mac),
        }
    }

    /// The packet's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let (kind, flags, option) = match self.operation {
            Operation::Solicitation => (SOLICITATION, 0, SOURCE_LINK_ADDRESS),
            Operation::Advertisement { overrides } => {
                (ADVERTISEMENT, if overrides { OVERRIDE } else { 0 }, TARGET_LINK_ADDRESS)
            }
        };
        let mut body = Vec::with_capacity(FIXED + OPTION);
        body.extend([kind, 0, 0, 0, flags, 0, 0, 0]);
        body.extend(self.target.octets());
        if let Some(Mac(mac)) = self.mac {
            body.extend([option, 1]);
            body.extend(mac);
        }
        let sum = checksum(self.source, self.destination, &body);
        body[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut bytes = Vec::with_capacity(LENGTH);
        bytes.extend([0x60, 0, 0, 0, 0, body.len() as u8, ICMPV6, HOP_LIMIT]);
        bytes.extend(self.source.octets());
        bytes.extend(self.destination.octets());
        bytes.extend(body);
        bytes
    }

    /// Reads a packet; `None` when it is anything else, or doesn't pass the checks of RFC 4861 section 7.1. Padding
    /// after it is ignored.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<IP_HEADER>()?;
        if header[0] >> 4 != 6 || header[6] != ICMPV6 || header[7] != HOP_LIMIT {
            return None;
        }
        let body = rest.get(..usize::from(u16::from_be_bytes([header[4], header[5]])))?;
        let address = |bytes: &[u8]| bytes.first_chunk::<16>().map(|octets| Ipv6Addr::from(*octets));
        let (source, destination) = (address(&header[8..])?, address(&header[24..])?);
        let (fixed, options) = body.split_first_chunk::<FIXED>()?;
        let target = address(&fixed[8..])?;
        if fixed[1] != 0 || target.is_multicast() || checksum(source, destination, body) != 0 {
            return None;
        }
        let (operation, wanted) = match fixed[0] {
            SOLICITATION => (Operation::Solicitation, SOURCE_LINK_ADDRESS),
            ADVERTISEMENT => {
                let overrides = fixed[4] & OVERRIDE != 0;
                (Operation::Advertisement { overrides }, TARGET_LINK_ADDRESS)
            }
            _other => return None,
        };
        Some(Self { source, destination, operation, target, mac: link_address(options, wanted).ok()? })
    }

    /// Whether somebody says with this packet that `ip` is his.
    pub fn claims(&self, ip: Ipv6Addr) -> bool {
        matches!(self.operation, Operation::Advertisement { .. }) && self.target == ip
    }

    /// The link-layer address that the destination's frames go to, when it is a group: RFC 2464 section 7.
    pub fn group(&self) -> Mac {
        let [.., a, b, c, d] = self.destination.octets();
        Mac([0x33, 0x33, a, b, c, d])
    }
}

/// The group in which whoever has `ip` listens for questions: RFC 4291 section 2.7.1.
fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = ip.octets();
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), u16::from_be_bytes([b, c]))
}

/// Options that contradict their own lengths.
struct Malformed;

/// The link-layer address among the options, if there is one.
fn link_address(mut options: &[u8], wanted: u8) -> Result<Option<Mac>, Malformed> {
    let mut found = None;
    while let [kind, length, ..] = *options {
        let split = options.split_at_checked(usize::from(length) * 8).filter(|_| length > 0);
        let (option, rest) = split.ok_or(Malformed)?;
        if kind == wanted
            && let Some(mac) = option.get(2..).and_then(<[u8]>::first_chunk)
        {
            found = found.or(Some(Mac(*mac)));
        }
        options = rest;
    }
    if options.is_empty() { Ok(found) } else { Err(Malformed) }
}

/// The checksum of an `ICMPv6` message, RFC 4443 section 2.3; zero over a message that carries its own and is whole.
fn checksum(source: Ipv6Addr, destination: Ipv6Addr, body: &[u8]) -> u16 {
    let mut pseudo = Vec::with_capacity(IP_HEADER + body.len());
    pseudo.extend(source.octets());
    pseudo.extend(destination.octets());
    pseudo.extend((body.len() as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, ICMPV6]);
    pseudo.extend(body);
    let words =
        pseudo.chunks(2).map(|word| u32::from(word[0]) << 8 | u32::from(word.get(1).copied().unwrap_or(0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const VIP: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0x1234, 0x5669);
    const OWN: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x22);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_announcement_goes_to_all_nodes_and_overrides_what_they_remember() {
        let packet = Packet::announcement(VIP, MAC);
        let bytes = packet.encode();
        assert_eq!(bytes.len(), 72);
        assert_eq!(bytes[..8], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(bytes[24..40], ALL_NODES.octets());
        assert_eq!(bytes[40..42], [136, 0]);
        assert_eq!(bytes[44], 0x20, "override, not solicited, no router");
        assert_eq!(bytes[64..], [2, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(packet.group(), Mac([0x33, 0x33, 0, 0, 0, 1]));
    }

    #[test]
    fn a_question_goes_to_the_group_of_its_target() {
        let packet = Packet::request(VIP, OWN, MAC);
        assert_eq!(packet.destination, "ff02::1:ff34:5669".parse::<Ipv6Addr>().unwrap());
        assert_eq!(packet.group(), Mac([0x33, 0x33, 0xff, 0x34, 0x56, 0x69]));
        let bytes = packet.encode();
        assert_eq!(bytes[64..], [1, 1, 2, 0, 0, 0, 0, 1]);
        let nobody = Packet::request(VIP, Ipv6Addr::UNSPECIFIED, MAC);
        assert_eq!(nobody.encode().len(), 64, "who has no address says no link-layer address, section 4.3");
    }

    #[test]
    fn a_question_claims_nothing_and_an_answer_does() {
        assert!(!Packet::request(VIP, OWN, MAC).claims(VIP));
        assert!(Packet::announcement(VIP, MAC).claims(VIP));
        assert!(!Packet::announcement(OWN, MAC).claims(VIP));
    }

    #[test]
    fn the_checksum_over_a_packet_with_its_own_is_zero() {
        let source = "fe80::1".parse().unwrap();
        let packet = Packet::request("fe80::2".parse().unwrap(), source, Mac([0x52, 0x54, 0, 0, 0, 1]));
        let bytes = packet.encode();
        assert_eq!(checksum(packet.source, packet.destination, &bytes[40..]), 0);
        assert_eq!(Packet::decode(&bytes), Some(packet));
    }

    #[test]
    fn what_has_passed_a_router_or_was_changed_is_no_packet() {
        let whole = Packet::announcement(VIP, MAC).encode();
        for at in 0..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 0x11;
            // Class and flow label are nobody's business.
            assert_eq!(Packet::decode(&changed).is_none(), !(1..4).contains(&at), "byte {at}");
        }
        assert!((0..whole.len()).all(|length| Packet::decode(&whole[..length]).is_none()));
        assert!(Packet::decode(&[&whole[..], &[0; 6]].concat()).is_some(), "padding");
    }

    proptest! {
        #[test]
        fn decoding_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            let _ = Packet::decode(&bytes);
            // The same behind a header that passes.
            if let Some(header) = bytes.get_mut(..8) {
                header.copy_from_slice(&[0x60, 0, 0, 0, 0, 64, ICMPV6, HOP_LIMIT]);
            }
            let _ = Packet::decode(&bytes);
        }

        #[test]
        fn options_are_read_without_a_panic(options in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = link_address(&options, TARGET_LINK_ADDRESS);
        }

        #[test]
        fn decoding_inverts_encoding(
            source: [u8; 16], destination: [u8; 16], target: [u8; 15], mac: Option<[u8; 6]>, kind in 0..3,
        ) {
            let mut octets = [0x20; 16];
            octets[1..].copy_from_slice(&target);
            let operation = match kind {
                0 => Operation::Solicitation,
                one => Operation::Advertisement { overrides: one == 1 },
            };
            let packet = Packet {
                source: source.into(),
                destination: destination.into(),
                operation,
                target: octets.into(),
                mac: mac.map(Mac),
            };
            prop_assert_eq!(Packet::decode(&packet.encode()), Some(packet));
        }
    }
}
