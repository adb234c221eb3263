//! What encodes: bytes to types and back. No sockets, no clock; decoding never panics.

pub mod arp;
pub mod beacon;
pub mod bundle;
pub mod message;
pub mod ndp;
pub mod seal;

use crate::core::{MemberId, VipId};

/// A member's id: the first eight bytes of its name's hash.
pub fn member_id(name: &str) -> MemberId {
    MemberId(short_hash(name))
}

/// A VIP's id: the first eight bytes of its name's hash.
pub fn vip_id(name: &str) -> VipId {
    VipId(short_hash(name))
}

fn short_hash(name: &str) -> u64 {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(name.as_bytes()).as_bytes()[..8]);
    u64::from_be_bytes(short)
}
