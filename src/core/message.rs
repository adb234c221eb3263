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
    /// "Are you there, and whom do you hear?" Answered at once by an advertisement.
    Probe,
    /// "I have released this VIP." Acknowledged, and repeated until it is.
    Resignation(Resignation),
    /// "I have your resignation of this number."
    Acknowledgement(u32),
    /// "Promise me these VIPs for a while." Asked again and again; answered by what is granted of it, if anything.
    Request(Request),
    /// "For as long as you asked, I promise these VIPs to nobody else."
    Grant(Grant),
}

/// What every node tells every other, each interval and at once on change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    /// Rises with every advertisement of one boot, over all paths.
    pub sequence: u64,
    /// Its number among those told to everybody, one to each: a gap is a loss. `None` for what goes another way.
    pub beat: Option<u64>,
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
    /// It has heard that operators want the VIP on it.
    pub pinned: bool,
    /// It is about to take the VIP: nobody else begins to.
    pub claims: bool,
    /// The other member that it hears holding the VIP; the best of them if it hears several.
    pub hears: Option<Holder>,
    /// It suspects the holder, and the address has answered it lately: the holder's kernel still has it.
    pub answered: bool,
    /// It hears several holders, itself included.
    pub disputed: bool,
}

/// Who holds a VIP, as somebody hears it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Which member.
    pub member: MemberId,
    /// By which election.
    pub term: u32,
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

/// Everything that a node wants a majority's grants for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The asker's own clock in nanoseconds, which the grant repeats.
    pub asked_at: u64,
    /// The last sequence number that the asker has heard of whom it asks.
    pub echo: u64,
    /// For how long.
    pub lasts: Duration,
    /// What it holds, or is about to.
    pub wants: Vec<Wanted>,
    /// What it was granted, hasn't used, and wants no longer.
    pub frees: Vec<VipId>,
}

/// One VIP that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Which.
    pub vip: VipId,
    /// The term of the hold that it is for.
    pub term: u32,
}

/// What a member grants of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The request's.
    pub asked_at: u64,
    /// For how long, counted from when it was asked.
    pub lasts: Duration,
    /// How many nodes there are when all are there, as the granting member has it.
    pub expected_nodes: u16,
    /// What is granted.
    pub vips: Vec<VipId>,
}
