//! As much of IPv6 neighbour discovery as the witness needs: one question to write, and whatever comes to read.

use std::net::Ipv6Addr;

use super::net::Mac;

/// `EtherType` of IPv6.
pub(super) const IPV6: u16 = 0x86dd;
/// The group that everybody is in.
pub(super) const EVERYBODY: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

const ICMPV6: u8 = 58;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// "The target is at this link-layer address", as said to somebody.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Advertisement {
    pub(super) to: Ipv6Addr,
    pub(super) target: Ipv6Addr,
    pub(super) mac: Mac,
}

impl Advertisement {
    /// Reads an Ethernet frame; `None` when it is anything else, or names no link-layer address.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_at_checked(12)?;
        let packet = rest.strip_prefix(&IPV6.to_be_bytes())?;
        let address = |at: usize| packet.get(at..at + 16)?.first_chunk::<16>().map(|a| Ipv6Addr::from(*a));
        if *packet.get(6)? != ICMPV6 || *packet.get(40)? != ADVERTISEMENT || packet.get(64..66)? != [2, 1] {
            return None;
        }
        let mac = *packet.get(66..72)?.first_chunk::<6>()?;
        Some(Self { to: address(24)?, target: address(48)?, mac })
    }
}

/// "Who has `target`? Tell `sender`", to those who might.
pub(super) fn question(mac: Mac, sender: Ipv6Addr, target: Ipv6Addr) -> Vec<u8> {
    let [.., a, b, c] = target.octets();
    let mut group = [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, 0, 0, 0];
    group[13..].copy_from_slice(&[a, b, c]);
    let mut icmp = vec![SOLICITATION, 0, 0, 0, 0, 0, 0, 0];
    icmp.extend(target.octets());
    icmp.extend([1, 1]);
    icmp.extend(mac);
    let length = icmp.len() as u8;
    let pseudo: Vec<u8> = [&sender.octets()[..], &group, &[0, 0, 0, length, 0, 0, 0, ICMPV6], &icmp].concat();
    icmp[2..4].copy_from_slice(&ones_complement(&pseudo).to_be_bytes());

    let mut frame = vec![0x33, 0x33, 0xff, a, b, c];
    frame.extend(mac);
    frame.extend(IPV6.to_be_bytes());
    frame.extend([0x60, 0, 0, 0, 0, length, ICMPV6, 255]);
    frame.extend(sender.octets());
    frame.extend(group);
    frame.extend(icmp);
    frame
}

/// The checksum of an even number of bytes.
fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes.chunks_exact(2).map(|word| u16::from_be_bytes([word[0], word[1]]));
    !words.fold(0u16, |sum, word| {
        let (sum, carried) = sum.overflowing_add(word);
        sum + u16::from(carried)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv6Addr = Ipv6Addr::new(0xfd56, 0, 0, 0, 0, 0, 0, 0x69);
    const ASKER: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_question_is_whole_and_no_advertisement() {
        let frame = question(ASKER, Ipv6Addr::LOCALHOST, VIP);
        assert_eq!(frame.len(), 14 + 72);
        assert_eq!(Advertisement::read(&frame), None);
        let mut pseudo = frame[22..54].to_vec();
        pseudo.extend([0, 0, 0, 32, 0, 0, 0, ICMPV6]);
        pseudo.extend(&frame[54..]);
        assert_eq!(ones_complement(&pseudo), 0);
    }

    #[test]
    fn an_advertisement_is_read_and_whatever_is_cut_short_is_none() {
        let mut frame = question(ASKER, Ipv6Addr::LOCALHOST, VIP);
        frame[14 + 24..14 + 40].copy_from_slice(&EVERYBODY.octets());
        frame[54] = ADVERTISEMENT;
        frame[14 + 64] = 2;
        let read = Advertisement { to: EVERYBODY, target: VIP, mac: ASKER };
        assert_eq!(Advertisement::read(&frame), Some(read));
        assert!((0..frame.len()).all(|length| Advertisement::read(&frame[..length]).is_none()));
    }
}
