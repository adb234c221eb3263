//! ARP for IPv4 over Ethernet: RFC 826, and RFC 5227 for announcements and probes.
//!
//! ```text
//!  0        2        4   5   6         8            14           18           24           28
//!  | hw = 1 | 0x0800 | 6 | 4 | opcode  | sender MAC | sender IP  | target MAC | target IP  |
//! ```

use std::net::Ipv4Addr;

use crate::core::Mac;

/// One ARP packet, without the Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet {
    /// Request or reply.
    pub operation: Operation,
    /// Who says it.
    pub sender_mac: Mac,
    /// The address it says it by.
    pub sender_ip: Ipv4Addr,
    /// Whom it is for, in a reply.
    pub target_mac: Mac,
    /// The address asked for.
    pub target_ip: Ipv4Addr,
}

/// What an ARP packet wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// "Who has the target address?"
    Request,
    /// "I have the sender address."
    Reply,
}

/// The length of every packet.
pub const LENGTH: usize = 28;

const ETHERNET_IPV4: [u8; 6] = [0, 1, 8, 0, 6, 4];

impl Packet {
    /// "`ip` is at `mac`", as a request: a reply is ignored by Linux within a second of the last change.
    pub fn announcement(ip: Ipv4Addr, mac: Mac) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: ip,
            target_mac: Mac::default(),
            target_ip: ip,
        }
    }

    /// "Who has `ip`?", asked by `sender` at `mac`.
    pub fn request(ip: Ipv4Addr, sender: Ipv4Addr, mac: Mac) -> Self {
        Self {
            operation: Operation::Request,
            sender_mac: mac,
            sender_ip: sender,
            target_mac: Mac::default(),
            target_ip: ip,
        }
    }

    /// The packet's bytes.
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..6].copy_from_slice(&ETHERNET_IPV4);
        bytes[7] = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        bytes[8..14].copy_from_slice(&self.sender_mac.0);
        bytes[14..18].copy_from_slice(&self.sender_ip.octets());
        bytes[18..24].copy_from_slice(&self.target_mac.0);
        bytes[24..28].copy_from_slice(&self.target_ip.octets());
        bytes
    }

    /// Reads a packet; `None` when it isn't ARP for IPv4 over Ethernet. Padding after it is ignored.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; LENGTH] = bytes.first_chunk()?;
        if bytes[..6] != ETHERNET_IPV4 {
            return None;
        }
        let operation = match u16::from_be_bytes([bytes[6], bytes[7]]) {
            1 => Operation::Request,
            2 => Operation::Reply,
            _other => return None,
        };
        let mac = |at: usize| Mac(std::array::from_fn(|i| bytes[at + i]));
        let ip = |at: usize| Ipv4Addr::from(std::array::from_fn::<u8, 4, _>(|i| bytes[at + i]));
        Some(Self {
            operation,
            sender_mac: mac(8),
            sender_ip: ip(14),
            target_mac: mac(18),
            target_ip: ip(24),
        })
    }

    /// Whether somebody says with this packet that `ip` is his: an answer, or an announcement.
    pub fn claims(&self, ip: Ipv4Addr) -> bool {
        // A probe (RFC 5227 section 2.1.1) has no sender address and claims nothing.
        self.sender_ip == ip
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 100);
    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);

    #[test]
    fn an_announcement_is_a_request_whose_sender_and_target_are_the_vip() {
        let bytes = Packet::announcement(VIP, MAC).encode();
        let expected =
            [0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 77, 0, 100, 0, 0, 0, 0, 0, 0, 10, 77, 0, 100];
        assert_eq!(bytes, expected);
    }

    #[test]
    fn a_question_claims_nothing_and_an_answer_does() {
        let question = Packet::request(VIP, Ipv4Addr::new(10, 77, 0, 2), MAC);
        assert!(!question.claims(VIP));
        let answer = Packet { operation: Operation::Reply, sender_ip: VIP, ..question };
        assert!(answer.claims(VIP));
        assert!(Packet::announcement(VIP, MAC).claims(VIP));
    }

    proptest! {
        #[test]
        fn decoding_never_panics_and_inverts_encoding(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(packet) = Packet::decode(&bytes) {
                prop_assert_eq!(Packet::decode(&packet.encode()), Some(packet));
                prop_assert_eq!(&packet.encode()[..], &bytes[..LENGTH]);
            }
        }
    }
}
