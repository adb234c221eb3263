//! Which packets a socket is woken for: programs that the kernel runs (classic BPF), so that a node on a busy network
//! reads nothing that it has no use for.

use std::net::IpAddr;

use socket2::SockFilter;

/// Longer than any packet that is of interest here.
pub(super) const LONGEST: usize = 256;

/// Of all IPv6 packets only neighbour advertisements, RFC 4861 section 4.4.
pub(super) const ADVERTISEMENTS: [SockFilter; 6] = [
    load_byte(6),
    // ICMPv6, else to the end.
    jump_unless(58, 3),
    load_byte(40),
    jump_unless(136, 1),
    accept(LONGEST as u32),
    accept(0),
];

/// Where an ARP packet has its sender's IPv4 address, RFC 826.
const SENDER: u32 = 14;
/// A socket takes programs up to a size that the system bounds: 20 KiB of eight-byte instructions on older kernels.
/// With more addresses than this every packet is read.
const MOST: usize = 512;

/// Of all ARP packets only those whose sender says that it has one of the `addresses`. Whoever merely asks for them
/// says nothing, and a whole network may ask.
///
/// Empty, which means every packet, when there are too many of them.
pub(super) fn arp_claims(addresses: &[IpAddr]) -> Vec<SockFilter> {
    let ipv4 = addresses.iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(address.to_bits()),
        IpAddr::V6(_) => None,
    });
    let tests: Vec<SockFilter> =
        ipv4.flat_map(|address| [jump_unless(address, 1), accept(LONGEST as u32)]).collect();
    if tests.len() > 2 * MOST {
        return Vec::new();
    }
    [load_word(SENDER)].into_iter().chain(tests).chain([accept(0)]).collect()
}

const fn load_byte(at: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_B | libc::BPF_ABS) as u16, 0, 0, at)
}

const fn load_word(at: u32) -> SockFilter {
    SockFilter::new((libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, 0, 0, at)
}

const fn jump_unless(value: u32, skipped: u8) -> SockFilter {
    SockFilter::new((libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, 0, skipped, value)
}

const fn accept(length: u32) -> SockFilter {
    SockFilter::new((libc::BPF_RET | libc::BPF_K) as u16, 0, 0, length)
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;

    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::core::Mac;
    use crate::wire::arp::Packet;

    const MINE: Mac = Mac([2, 0, 0, 0, 0, 1]);

    /// Which of `packets` come through, in their order.
    fn passed(filter: &[SockFilter], packets: &[Vec<u8>]) -> Vec<usize> {
        let (from, to) = Socket::pair(Domain::UNIX, Type::DGRAM.nonblocking(), None).expect("a pair");
        to.attach_filter(filter).expect("a program that the kernel takes");
        let came = |packet: &Vec<u8>| {
            // What is filtered out is refused, or lost without a word.
            let _ = from.send(packet);
            let mut buffer = [0; LONGEST];
            match io::Read::read(&mut &to, &mut buffer) {
                Ok(length) => {
                    assert_eq!(buffer[..length], packet[..]);
                    true
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    false
                }
            }
        };
        (0..packets.len()).filter(|at| came(&packets[*at])).collect()
    }

    fn claim(address: Ipv4Addr) -> Vec<u8> {
        Packet::announcement(address, MINE).encode().to_vec()
    }

    #[test]
    fn of_arp_only_claims_of_these_addresses_are_read() {
        let vips = [Ipv4Addr::new(192, 0, 2, 10), Ipv4Addr::new(192, 0, 2, 11)];
        let other = Ipv4Addr::new(192, 0, 2, 12);
        let addresses = [vips[0].into(), IpAddr::from([0x20, 1, 0xd, 0xb8, 0, 0, 0, 1]), vips[1].into()];
        let packets = [
            claim(vips[0]),
            claim(other),
            claim(vips[1]),
            Packet::request(vips[0], other, MINE).encode().to_vec(),
            Packet::request(vips[0], Ipv4Addr::UNSPECIFIED, MINE).encode().to_vec(),
            Packet::request(other, vips[1], MINE).encode().to_vec(),
            vec![0; 10],
        ];
        assert_eq!(passed(&arp_claims(&addresses), &packets), [0, 2, 5]);
        assert!(passed(&arp_claims(&[]), &packets).is_empty());
    }

    #[test]
    fn more_addresses_than_a_program_may_have_are_all_let_through() {
        let addresses = |count: u32| -> Vec<IpAddr> {
            (0..count).map(|n| Ipv4Addr::from_bits(0xc000_0200 + n).into()).collect()
        };
        let last = claim(Ipv4Addr::from_bits(0xc000_0200 + MOST as u32 - 1));
        assert_eq!(passed(&arp_claims(&addresses(MOST as u32)), &[last]), [0]);
        assert!(arp_claims(&addresses(MOST as u32 + 1)).is_empty());
    }

    #[test]
    fn of_ipv6_only_neighbour_advertisements_are_read() {
        let packet = |next: u8, kind: u8| {
            let mut packet = vec![0; 64];
            (packet[6], packet[40]) = (next, kind);
            packet
        };
        let packets = [packet(58, 136), packet(58, 135), packet(6, 136), vec![0; 20]];
        assert_eq!(passed(&ADVERTISEMENTS, &packets), [0]);
    }
}
