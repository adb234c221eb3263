//! What nodes say to each other, as data; `wire` turns it into bytes and back.

use std::net::IpAddr;
use std::time::Duration;

use super::transition::VipState;

/// A member, by the hash of its name: what the sealed envelope calls its sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

/// A VIP, by the hash of its name: files may list VIPs in another order while they differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VipId(pub u64);

/// A random number drawn at every start: two lives of one node don't share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Boot(pub [u8; 16]);

/// An Ethernet address; all zeros when there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Mac(pub [u8; 6]);

/// One message between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// "I am here, and this is my part in every VIP."
    Advertisement(Advertisement),
    /// "Are you there?" Answered at once by an advertisement.
    Probe,
    /// "I have released this VIP." Acknowledged, and repeated until it is.
    Resignation(Resignation),
    /// "I have your resignation of this number."
    Acknowledgement(u32),
}

/// What every node tells every other, each interval and at once on change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// Rises with every advertisement of one boot, over all paths.
    pub sequence: u64,
    /// The sender's name.
    pub name: String,
    /// The sender's version of chinthe.
    pub version: String,
    /// The first bytes of the configuration's digest.
    pub config: [u8; 8],
    /// How long until the next one.
    pub interval: Duration,
    /// The sender is stopping: nothing more will come.
    pub leaving: bool,
    /// The boot id of the sender's guard, which may resign in its name.
    pub guard: Boot,
    /// The sender's part in each VIP.
    pub vips: Vec<VipAdvertisement>,
    /// Whom the sender has heard.
    pub heard: Vec<Heard>,
}

/// A node's part in one VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VipAdvertisement {
    /// Which.
    pub vip: VipId,
    /// `Active` only while the kernel has acknowledged the address.
    pub state: VipState,
    /// What it stands with.
    pub effective_priority: u8,
    /// Whether it takes the VIP from a living holder of lower priority.
    pub preempt: bool,
    /// Names the election that made the holder; highest seen + 1.
    pub term: u32,
    /// The address by which it answers for the VIP.
    pub mac: Mac,
    /// It hasn't heard the holder lately.
    pub suspects: bool,
    /// It has decided to take the VIP, and its kernel is about to have it: lower candidates wait.
    pub claims: bool,
}

/// What a node last heard of another. It introduces the two as well: who doesn't know the other yet learns where
/// it is, long before gossip would tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Heard {
    /// Whom.
    pub member: MemberId,
    /// Where it speaks from.
    pub address: IpAddr,
    /// Its last sequence number.
    pub sequence: u64,
    /// How long ago.
    pub age: Duration,
}

/// A VIP released: the address is gone from the kernel of the node that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resignation {
    /// Numbers the resignations of one boot, for the acknowledgement.
    pub id: u32,
    /// What is released.
    pub vip: VipId,
    /// The term of the hold that ended.
    pub term: u32,
    /// Who takes it, at once; the others wait for it.
    pub successor: Option<MemberId>,
}
