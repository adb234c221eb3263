//! What arrives at a machine, as its own kernel sees it: for counting probes and for recording what peers say.

use std::io::{self, Read};
use std::net::Ipv4Addr;

use chinthe::lab::Machine;
use socket2::{Domain, Protocol, Socket, Type};

/// `EtherType` of IPv4.
const IPV4: u16 = 0x0800;
const TCP: u8 = 6;
const UDP: u8 = 17;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// So much is kept until it is read; more than a test lets pass.
const BUFFER: usize = 4 * 1024 * 1024;

/// Hears everything that has arrived since it was made.
pub(crate) struct Sniffer(Socket);

/// One packet.
pub(crate) struct Packet {
    pub(crate) from: Ipv4Addr,
    pub(crate) to: Ipv4Addr,
    pub(crate) port: u16,
    /// The flags of a TCP segment; `None` for a datagram.
    flags: Option<u8>,
    /// What a datagram carries.
    pub(crate) payload: Vec<u8>,
}

impl Packet {
    /// Whether it asks for a connection.
    pub(crate) fn opens(&self) -> bool {
        self.flags.is_some_and(|flags| flags & (SYN | ACK) == SYN)
    }

    /// Reads an IP packet; `None` when it is neither TCP nor UDP.
    fn read(bytes: &[u8]) -> Option<Self> {
        let protocol = *bytes.get(9)?;
        let address = |at: usize| bytes.get(at..at + 4)?.first_chunk::<4>().map(|a| Ipv4Addr::from(*a));
        let (from, to) = (address(12)?, address(16)?);
        let whole = bytes.get(..u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?]).into())?;
        let inner = whole.get(usize::from(bytes[0] & 0x0f) * 4..)?;
        let port = u16::from_be_bytes([*inner.get(2)?, *inner.get(3)?]);
        let (flags, payload) = match protocol {
            TCP => (Some(*inner.get(13)?), Vec::new()),
            UDP => (None, inner.get(8..)?.to_vec()),
            _ => return None,
        };
        Some(Self { from, to, port, flags, payload })
    }
}

impl Sniffer {
    /// Listens at `machine` from now on.
    pub(crate) fn at(machine: &Machine) -> io::Result<Self> {
        let socket = machine.space().within(|| {
            let kind = Type::DGRAM.nonblocking().cloexec();
            // Of the protocol IPv4, so that it hears what arrives and not what is sent.
            Socket::new(Domain::PACKET, kind, Some(Protocol::from(i32::from(IPV4.to_be()))))
        })?;
        socket.set_recv_buffer_size(BUFFER)?;
        Ok(Self(socket))
    }

    /// What has arrived since it was asked last.
    pub(crate) fn heard(&mut self) -> Vec<Packet> {
        let mut bytes = vec![0; 65_536];
        let mut heard = Vec::new();
        while let Ok(length) = self.0.read(&mut bytes) {
            heard.extend(Packet::read(&bytes[..length]));
        }
        heard
    }
}
