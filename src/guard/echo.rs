//! Whether an address answers by IP too: ICMP echo, RFC 792 and RFC 4443.
//!
//! Whoever answers ARP or neighbour discovery for an address that no known member holds may be a leftover, a forger, or a machine in
//! earnest. Only the last goes on to answer a question that is put to the address itself.

use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// From one question to the next.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);
/// How long an answer counts: some questions may get lost.
pub(super) const COUNTS: Duration = Duration::from_millis(500);

/// The messages' types, RFC 792 and RFC 4443 section 4.
const REPLY: u8 = 0;
const REQUEST: u8 = 8;
const REPLY_IPV6: u8 = 129;
const REQUEST_IPV6: u8 = 128;
/// The longest IP header, and the head of the answer.
const LONGEST: usize = 60 + HEAD;
const HEAD: usize = 8;

/// Asks and hears on one interface.
pub(super) struct Echo {
    ipv4: Socket,
    /// Only where there are IPv6 VIPs.
    ipv6: Option<Socket>,
    /// Tells its own answers from those to other programs' questions.
    identifier: u16,
}

impl Echo {
    pub(super) fn open(interface: &str, wanted_ipv6: bool) -> io::Result<Self> {
        let open = |domain, protocol| {
            let socket = Socket::new(domain, Type::RAW.nonblocking().cloexec(), Some(protocol))?;
            socket.bind_device(Some(interface.as_bytes()))?;
            Ok::<_, io::Error>(socket)
        };
        Ok(Self {
            ipv4: open(Domain::IPV4, Protocol::ICMPV4)?,
            ipv6: wanted_ipv6.then(|| open(Domain::IPV6, Protocol::ICMPV6)).transpose()?,
            identifier: std::process::id() as u16,
        })
    }

    /// Asks `address`. A question that can't be sent stays unanswered.
    pub(super) fn ask(&self, address: IpAddr) {
        let to = SocketAddr::new(address, 0).into();
        let _ = match (address, &self.ipv6) {
            (IpAddr::V4(_), _) => self.ipv4.send_to(&question(REQUEST, self.identifier), &to),
            // The kernel puts another checksum in.
            (IpAddr::V6(_), Some(socket)) => socket.send_to(&question(REQUEST_IPV6, self.identifier), &to),
            (IpAddr::V6(_), None) => Ok(0),
        };
    }

    /// The next address that has answered; `None` when there is none for now.
    ///
    /// What isn't an answer to this program is passed over; the sockets' buffers bound how much that can be.
    pub(super) fn answer(&self) -> Option<IpAddr> {
        let mut packet = [0; LONGEST];
        while let Ok(length) = (&self.ipv4).read(&mut packet) {
            if let Some(address) = answered(&packet[..length], self.identifier) {
                return Some(address.into());
            }
        }
        // Without its IP header.
        while let Some((length, _, Some(from))) = self.ipv6.as_ref().and_then(|socket| {
            rustix::net::recvfrom(socket, &mut packet[..], rustix::net::RecvFlags::empty()).ok()
        }) {
            if is_reply(&packet[..length.min(LONGEST)], REPLY_IPV6, self.identifier)
                && let Ok(from) = SocketAddr::try_from(from)
            {
                return Some(from.ip());
            }
        }
        None
    }
}

/// Who answered a question of `identifier`'s, in an IP packet with its header.
fn answered(packet: &[u8], identifier: u16) -> Option<Ipv4Addr> {
    let header = usize::from(packet.first()? & 0x0f) * 4;
    let source: &[u8; 4] = packet.get(12..16)?.first_chunk()?;
    is_reply(packet.get(header..)?, REPLY, identifier).then_some(Ipv4Addr::from(*source))
}

/// Whether an ICMP message is an answer to `identifier`.
fn is_reply(message: &[u8], kind: u8, identifier: u16) -> bool {
    message
        .first_chunk::<HEAD>()
        .is_some_and(|head| head[..2] == [kind, 0] && head[4..6] == identifier.to_be_bytes())
}

/// An echo request without sequence and data: nobody asks for more than that it comes back.
fn question(kind: u8, identifier: u16) -> [u8; HEAD] {
    let (sum, carried) = (u16::from(kind) << 8).overflowing_add(identifier);
    let checksum = !(sum + u16::from(carried));
    let ([c, d], [i, j]) = (checksum.to_be_bytes(), identifier.to_be_bytes());
    [kind, 0, c, d, i, j, 0, 0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_questions_checksum_makes_its_sum_all_ones() {
        for identifier in [0, 1, 0xf7ff, 0xf800, 0xffff] {
            let words = question(REQUEST, identifier);
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
