//! As much of ARP as the witness needs: one question to write, and whatever comes to read.

use std::net::Ipv4Addr;

use super::net::Mac;

/// Operation of a question.
pub(super) const REQUEST: u16 = 1;
/// Operation of an answer.
pub(super) const REPLY: u16 = 2;
/// `EtherType` of ARP.
pub(super) const ARP: u16 = 0x0806;
/// Ethernet, IPv4, and the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];
const BROADCAST: Mac = [0xff; 6];

/// What an ARP packet says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) operation: u16,
    pub(super) sender_mac: Mac,
    pub(super) sender: Ipv4Addr,
    pub(super) target_mac: Mac,
    pub(super) target: Ipv4Addr,
}

impl Frame {
    /// Reads an Ethernet frame; `None` when it isn't ARP for IPv4.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (_, rest) = bytes.split_at_checked(12)?;
        let rest = rest.strip_prefix(&ARP.to_be_bytes())?.strip_prefix(&KIND)?;
        let (operation, rest) = rest.split_first_chunk::<2>()?;
        let (sender_mac, rest) = rest.split_first_chunk::<6>()?;
        let (sender, rest) = rest.split_first_chunk::<4>()?;
        let (target_mac, rest) = rest.split_first_chunk::<6>()?;
        let (target, _) = rest.split_first_chunk::<4>()?;
        Some(Self {
            operation: u16::from_be_bytes(*operation),
            sender_mac: *sender_mac,
            sender: (*sender).into(),
            target_mac: *target_mac,
            target: (*target).into(),
        })
    }
}

/// "Who has `target`? Tell `sender`", to everybody.
pub(super) fn question(mac: Mac, sender: Ipv4Addr, target: Ipv4Addr) -> Vec<u8> {
    let mut frame = Vec::with_capacity(42);
    frame.extend(BROADCAST);
    frame.extend(mac);
    frame.extend(ARP.to_be_bytes());
    frame.extend(KIND);
    frame.extend(REQUEST.to_be_bytes());
    frame.extend(mac);
    frame.extend(sender.octets());
    frame.extend([0; 6]);
    frame.extend(target.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIP: Ipv4Addr = Ipv4Addr::new(192, 168, 56, 69);
    const ASKER: Mac = [2, 0, 0, 0, 0, 1];

    #[test]
    fn a_question_reads_back_as_it_was_written() {
        let frame = Frame::read(&question(ASKER, Ipv4Addr::new(192, 168, 56, 200), VIP)).unwrap();
        assert_eq!((frame.operation, frame.sender_mac, frame.target), (REQUEST, ASKER, VIP));
    }

    #[test]
    fn whatever_is_cut_short_is_no_frame() {
        let whole = question(ASKER, VIP, VIP);
        assert!((0..whole.len()).all(|length| Frame::read(&whole[..length]).is_none()));
    }
}
