//! What an election looks at: the rest of the node, and the other members.

use std::net::IpAddr;
use std::time::Duration;

use crate::core::member::Members;
use crate::core::message::MemberId;
use crate::core::quorum::Grants;
use crate::core::time::Time;
use crate::core::transition::Cause;

/// What an election looks at.
pub(in crate::core) struct Surroundings<'a> {
    pub(in crate::core) now: Time,
    pub(in crate::core) me: MemberId,
    pub(in crate::core) address: IpAddr,
    /// Whether all that has come was read: nobody's word waits behind another.
    pub(in crate::core) caught_up: bool,
    /// The time between two advertisements of this node.
    pub(in crate::core) interval: Duration,
    /// The number of its last advertisement.
    pub(in crate::core) sequence: u64,
    pub(in crate::core) members: &'a Members,
    /// More of them are a crowd.
    pub(in crate::core) crowd: usize,
    /// Why this node can't be a candidate, if it can't.
    pub(in crate::core) obstacle: Option<Cause>,
    /// Until when a majority grants the VIP to this node, where that is needed.
    pub(in crate::core) grants: Grants,
    /// Where operators want it.
    pub(in crate::core) pin: Option<MemberId>,
    /// Who should be handed it to even out the nodes' shares.
    pub(in crate::core) relief: Option<MemberId>,
    /// How many clients' connections are open here to the services that it tracks.
    pub(in crate::core) connections: u64,
    /// No beacon has left for so long that the fence has shut: this node was late, or its grants too short.
    pub(in crate::core) silenced: bool,
    /// Fewer are heard than the configuration names.
    pub(in crate::core) missing: bool,
    /// This node has started so lately that others may be starting, too.
    pub(in crate::core) young: bool,
}

impl Surroundings<'_> {
    /// So many of a thousand datagrams get lost, one way.
    pub(super) fn loss(&self) -> u32 {
        let lost = self.members.loss(self.now);
        // In a crowd this node itself may say less than a word each interval.
        let crowd = self.members.present(self.now).count() > self.crowd;
        if crowd { lost } else { lost.max(self.members.missed(self.me, self.interval, self.now)) }
    }
}
