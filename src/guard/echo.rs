//! Whether an address answers by IP too: ICMP echo, RFC 792.
//!
//! Whoever answers ARP for an address that no known member holds may be a leftover, a forger, or a machine in
//! earnest. Only the last goes on to answer a question that is put to the address itself.

use std::io::{self, Read};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// From one question to the next.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// How long an answer counts: some questions may get lost.
pub(super) const COUNTS: Duration = Duration::from_millis(500);

const REPLY: u8 = 0;
const REQUEST: u8 = 8;
/// The longest IP header, and the head of the answer.
const LONGEST: usize = 60 + 8;

/// Asks and hears on one interface.
pub(super) struct Echo {
    socket: Socket,
    /// Tells its own answers from those to other programs' questions.
    identifier: u16,
}

impl Echo {
    pub(super) fn open(interface: &str) -> io::Result<Self> {
        let kind = Type::RAW.nonblocking().cloexec();
        let socket = Socket::new(Domain::IPV4, kind, Some(Protocol::ICMPV4))?;
        socket.bind_device(Some(interface.as_bytes()))?;
        Ok(Self { socket, identifier: std::process::id() as u16 })
    }

    /// Asks `address`. A question that can't be sent stays unanswered.
    pub(super) fn ask(&self, address: Ipv4Addr) {
        let _ = self.socket.send_to(&question(self.identifier), &SocketAddrV4::new(address, 0).into());
    }

    /// The next address that has answered; `None` when there is none for now.
    pub(super) fn answer(&self) -> Option<Ipv4Addr> {
        let mut packet = [0; LONGEST];
        // What isn't an answer to this program is passed over; the socket's buffer bounds how much that can be.
        while let Ok(length) = (&self.socket).read(&mut packet) {
            if let Some(address) = answered(&packet[..length], self.identifier) {
                return Some(address);
            }
        }
        None
    }
}

/// Who answered a question of `identifier`'s, in an IP packet with its header.
fn answered(packet: &[u8], identifier: u16) -> Option<Ipv4Addr> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: &[u8; 4] = packet.get(12..16)?.first_chunk()?;
    let icmp = packet.get(header..header + 8)?;
    (icmp[..2] == [REPLY, 0] && icmp[4..6] == identifier.to_be_bytes()).then_some(Ipv4Addr::from(*source))
}

/// An echo request without sequence and data: nobody asks for more than that it comes back.
fn question(identifier: u16) -> [u8; 8] {
    let (sum, carried) = (u16::from(REQUEST) << 8).overflowing_add(identifier);
    let checksum = !(sum + u16::from(carried));
    let ([c, d], [i, j]) = (checksum.to_be_bytes(), identifier.to_be_bytes());
    [REQUEST, 0, c, d, i, j, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_questions_checksum_makes_its_sum_all_ones() {
        for identifier in [0, 1, 0xf7ff, 0xf800, 0xffff] {
            let words = question(identifier);
            let sum: u32 = words.chunks(2).map(|w| u32::from(u16::from_be_bytes([w[0], w[1]]))).sum();
            assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "{identifier:#x}");
        }
    }

    #[test]
    fn only_an_answer_to_this_program_is_one() {
        let packet = |kind, identifier: u16| {
            let mut packet = vec![0; 28];
            packet[0] = 0x45;
            packet[12..16].copy_from_slice(&[192, 168, 56, 69]);
            packet[20] = kind;
            packet[24..26].copy_from_slice(&identifier.to_be_bytes());
            packet
        };
        assert_eq!(answered(&packet(REPLY, 7), 7), Some(Ipv4Addr::new(192, 168, 56, 69)));
        assert_eq!(answered(&packet(REPLY, 8), 7), None);
        assert_eq!(answered(&packet(REQUEST, 7), 7), None);
        let whole = packet(REPLY, 7);
        assert!((0..whole.len()).all(|length| answered(&whole[..length], 7).is_none()));
    }
}
