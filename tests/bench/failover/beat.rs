//! The holder's beat: the moment at which it has just told everybody that it is there.
//!
//! How long a silent death goes unnoticed depends on where between two advertisements it falls, by as much as a whole
//! interval. Faults that come at moments spread evenly over it need far fewer runs for a median that stands.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use chinthe::lab::Machine;
use socket2::{Domain, Protocol, Socket, Type};

/// IPv4 in an Ethernet frame.
const IPV4: u16 = 0x0800;
/// What the Ethernet addresses of IPv4's multicast begin with.
const TO_MANY: [u8; 3] = [0x01, 0x00, 0x5e];
/// Where the frame's parts are.
const SENDER: std::ops::Range<usize> = 6..12;
const PROTOCOL: usize = 14 + 9;
/// chinthe's beacons, and VRRP.
const UDP: u8 = 17;
const VRRP: u8 = 112;

/// Listens on `listener` until `holder` has told everybody, for so long at most; returns whether it has.
pub(crate) fn await_beat(listener: &Machine, holder: &Machine, patience: Duration) -> io::Result<bool> {
    let socket = || Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(i32::from(IPV4.to_be()))));
    let mut socket = listener.space().within(socket)?;
    let end = Instant::now() + patience;
    let mut frame = [0; 64];
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        socket.set_read_timeout(Some(left))?;
        match socket.read(&mut frame) {
            Ok(length) if is_beat(&frame[..length], holder.mac()) => return Ok(true),
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
}

fn is_beat(frame: &[u8], holder: [u8; 6]) -> bool {
    frame.starts_with(&TO_MANY)
        && frame.get(SENDER) == Some(&holder[..])
        && matches!(frame.get(PROTOCOL), Some(&(UDP | VRRP)))
}
