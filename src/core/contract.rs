//! The core's contract: what it is told, and what it asks for.

use std::net::IpAddr;
use std::time::Duration;

use super::administration::{Target, Word};
use super::election::{Claimant, Terms};
use super::message::{Advertisement, Boot, Mac, MemberId, Message, Resignation, VipId};
use super::priority::Weight;
use super::service::{Change, ServiceSettings};
use super::time::Time;
use super::transition::{Cause, Transition, Verdict};

/// What the core needs to know at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// This node, as members know it.
    pub me: MemberId,
    /// This node's name.
    pub name: String,
    /// This node's address: the higher one wins a tie.
    pub address: IpAddr,
    /// The program's version.
    pub version: String,
    /// How long to wait at the start for what the cluster knows already; zero when there is nobody to ask.
    pub sync_patience: Duration,
    /// The first bytes of the configuration's digest.
    pub config: [u8; 8],
    /// How many nodes there are when all are there, where a majority of them has to grant a hold; `None` where nobody
    /// has to.
    pub majority_of: Option<u16>,
    /// This node votes, and holds nothing.
    pub witness: bool,
    /// How many other nodes the configuration names: once all of them have been heard, membership has settled.
    pub expected_peers: usize,
    /// Among more other nodes than this, those from which nobody waits for anything advertise less often; at least 1.
    pub crowd: usize,
    /// In the file's order.
    pub vips: Vec<VipSettings>,
    /// In the file's order.
    pub services: Vec<ServiceSettings>,
    /// In the file's order.
    pub checks: Vec<CheckSettings>,
}

/// What the core knows of one `[[check]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckSettings {
    /// Its name, by which its verdict outlives another configuration.
    pub name: String,
    /// Successes in a row that make it well again.
    pub rise: u32,
    /// Failures in a row that make it failed.
    pub fall: u32,
}

/// What the core knows of one `[[vip]]`, on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VipSettings {
    /// Which, as members know it.
    pub id: VipId,
    /// Its name, for what operators say of it.
    pub name: String,
    /// 1 to 254, or 255 for the address owner.
    pub base_priority: u8,
    /// How often this node advertises.
    pub advertisement_interval: Duration,
    /// By what it is taken from a living holder, or handed over.
    pub terms: Terms,
    /// What proves that it is free.
    pub proof: Proof,
    /// What is added to or taken from the priority.
    pub track: Vec<(Tracked, Weight)>,
}

/// What proves that the addresses of a VIP whose holder is silent are free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nobody answers for them on the network: ARP.
    Answers,
    /// Time, where nobody can be asked: the longest hold and the kernel's lease have run out.
    Time,
}

/// What a VIP tracks, by index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracked {
    /// Well while it listens and a backend is usable from here.
    Service(usize),
    /// Well while its command succeeds.
    Check(usize),
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A sealed message from a member, by whatever path.
    Heard {
        /// The sender, proven by the envelope.
        from: MemberId,
        /// Where it speaks from.
        address: IpAddr,
        /// Which of its lives.
        boot: Boot,
        /// What it said.
        message: Message,
    },
    /// A member's guard has resigned in its name.
    GuardResigned {
        /// The member whose daemon is gone.
        of: MemberId,
        /// What it released.
        resignation: Resignation,
    },
    /// A backend was probed.
    Probed {
        /// Index of the service.
        service: usize,
        /// Index of the backend in it.
        backend: usize,
        /// Whether it answered.
        success: bool,
    },
    /// A command was run.
    Checked {
        /// Index of the check.
        check: usize,
        /// Whether it succeeded.
        success: bool,
    },
    /// What another member sees of a service's backends.
    Viewed {
        /// Who.
        member: MemberId,
        /// Index of the service.
        service: usize,
        /// In the file's order.
        verdicts: Vec<Verdict>,
    },
    /// What an operator says, here or on another node.
    Said {
        /// Of what.
        target: Target,
        /// What, and when.
        word: Word,
    },
    /// What the cluster knew before this node's start has arrived.
    Synced,
    /// A connection to a backend failed, or is overdue.
    ConnectFailed {
        /// Index of the service.
        service: usize,
        /// Index of the backend in it.
        backend: usize,
    },
    /// A service's listeners accept, or no longer do.
    Listening {
        /// Index of the service.
        service: usize,
        /// Whether they accept.
        listening: bool,
    },
    /// How many connections of clients are open here.
    Connections {
        /// Index of the service.
        service: usize,
        /// How many.
        active: u64,
    },
    /// The guard holds an address, up to `until` unless it is fed again.
    Held {
        /// Index of the VIP.
        vip: usize,
        /// When it lets go by itself.
        until: Time,
    },
    /// The guard has released an address, as asked.
    Released {
        /// Index of the VIP.
        vip: usize,
    },
    /// The guard no longer holds an address, for a reason of its own.
    LetGo {
        /// Index of the VIP.
        vip: usize,
        /// The reason.
        cause: Cause,
    },
    /// The guard has read all answers and sent one more probe.
    AddressProbed {
        /// Index of the VIP.
        vip: usize,
    },
    /// Somebody else answered for an address, or claimed it.
    AddressAnswered {
        /// Index of the VIP.
        vip: usize,
        /// Who.
        mac: Mac,
        /// The address has answered by IP too, just now: it isn't only claimed.
        by_ip: bool,
    },
    /// The interface of a VIP is up with a carrier, or isn't.
    Link {
        /// Index of the VIP.
        vip: usize,
        /// Whether it can carry the VIP.
        up: bool,
        /// Its own address.
        mac: Mac,
    },
    /// The driver was late by more than half an interval.
    Stalled,
    /// Hand over what is held, and hold nothing any more.
    Shutdown,
    /// Time passed, and whatever has come meanwhile was told before.
    Deadline,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Tell every known member; over the VIPs' interfaces too while this node holds any.
    Advertise(Advertisement),
    /// Tell one member, which asked.
    Reply {
        /// Whom.
        to: MemberId,
        /// What.
        advertisement: Advertisement,
    },
    /// Ask a member whether it is there.
    Probe {
        /// Whom.
        to: MemberId,
    },
    /// Send a message that isn't an advertisement.
    Send {
        /// Whom.
        to: MemberId,
        /// What.
        message: Message,
    },
    /// Have the guard hold a VIP up to `until`. Repeated as long as it is held.
    Hold {
        /// Index of the VIP.
        vip: usize,
        /// When the guard is to let go unless it is told again.
        until: Time,
        /// The hold's term, for a resignation in this node's name.
        term: u32,
    },
    /// Have the guard remove a VIP's addresses.
    Release {
        /// Index of the VIP.
        vip: usize,
    },
    /// Have the guard tell the network again where the VIP is.
    Announce {
        /// Index of the VIP.
        vip: usize,
        /// Another holder has just let go: what was announced a moment ago was of no use, and doesn't count.
        anew: bool,
    },
    /// Have the guard ask the network who answers for a VIP.
    ProbeAddress {
        /// Index of the VIP.
        vip: usize,
        /// Ask this address directly, too.
        mac: Option<Mac>,
    },
    /// Which backends may be used has changed.
    RoutesChanged,
    /// A backend's verdict changed.
    BackendChanged {
        /// Index of the service.
        service: usize,
        /// Index of the backend in it.
        backend: usize,
        /// From what to what.
        change: Change,
    },
    /// Stop probing a backend, or begin again, at once.
    PauseProbes {
        /// Index of the service.
        service: usize,
        /// Index of the backend in it.
        backend: usize,
        /// Stop, or begin.
        pause: bool,
    },
    /// Something an operator said is news: to be passed on to all members.
    AdministrationChanged {
        /// Of what.
        target: Target,
        /// What, and when.
        word: Word,
    },
    /// A member is gone for good: nobody needs to be told anything there any more.
    Forgotten {
        /// Which.
        member: MemberId,
        /// Where it was.
        address: IpAddr,
    },
    /// Probe a backend now.
    ProbeBackend {
        /// Index of the service.
        service: usize,
        /// Index of the backend in it.
        backend: usize,
    },
    /// Somebody else claims a VIP.
    Conflict {
        /// Index of the VIP.
        vip: usize,
        /// Who.
        by: Claimant,
    },
    /// A VIP's state changed.
    Transition(Transition),
}
