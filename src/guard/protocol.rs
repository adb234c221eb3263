//! What daemon and guard say to each other, both of them the same program: postcard's encoding on a pair of packet
//! sockets.
//!
//! One message a packet, in order, no answer to an order but where it says so. A socket that is to be bound
//! travels as a file descriptor beside its order: it is the daemon's own, and stays so. So do the bell, and the ends of
//! holds.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// No message is larger.
pub(super) const MAX_PACKET: usize = 64 * 1024;

/// What the daemon asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Order {
    /// The first: answered by `Started` or `Refused`, after what an earlier life left has been removed. The bell
    /// travels beside it.
    Start(Start),
    /// Whom to tell when the daemon is dead.
    Peers(Vec<SocketAddr>),
    /// Hold a VIP up to `until` (nanoseconds of the monotonic clock). Answered by `Held`. Beside it may travel the
    /// hold's end, which the daemon puts off from then on.
    Hold { vip: usize, until: u64, term: u32 },
    /// Remove a VIP's addresses. Answered by `Released`.
    Release { vip: usize },
    /// Tell the network again where the VIP is, if it is held; `anew`, even if it has just been told.
    Announce { vip: usize, anew: bool },
    /// Ask the network who answers for a VIP, and this address in particular. Answered by `Probed`, after
    /// all answers so far.
    Probe { vip: usize, mac: Option<[u8; 6]> },
    /// Bind the socket beside this to an address that the daemon has no permission for. Answered by `Bound`.
    Bind { address: SocketAddr },
}

/// What a guard is to guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Start {
    /// In the configuration's order.
    pub(super) vips: Vec<StartVip>,
    /// The node's own address: resignations leave from it, and probes ask by it.
    pub(super) address: IpAddr,
    /// For how long a beacon keeps the fence open.
    pub(super) fence: Duration,
    /// How to speak for the node once it is dead.
    pub(super) voice: Voice,
}

/// One VIP of [`Start`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct StartVip {
    pub(super) id: u64,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) interface: String,
    /// A hold of the guard before this one, to be gone on with: its end, and its term.
    pub(super) inherited: Option<(u64, u32)>,
}

/// The sealing half of the guard's own envelope; the secret stays with the daemon.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Voice {
    pub(super) key: [u8; 32],
    pub(super) key_id: u8,
    pub(super) cluster: [u8; 4],
    pub(super) sender: u64,
    pub(super) boot: [u8; 16],
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voice").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// What the guard has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// Ready, and nothing of an earlier life is left.
    Started,
    /// It can't do its work here.
    Refused {
        /// Why.
        error: String,
        /// What to do.
        hint: String,
    },
    /// An interface's state: at the start, and on every change.
    Link {
        /// Index of the VIP on it.
        vip: usize,
        /// Up, with a carrier.
        up: bool,
        /// Its own address.
        mac: [u8; 6],
    },
    /// The kernel has the addresses; the guard lets go at `until` unless it is told again, or that is put off.
    Held {
        /// Index of the VIP.
        vip: usize,
        /// The election that it belongs to.
        term: u32,
        /// Nanoseconds of the monotonic clock.
        until: u64,
        /// The same, of the moment up to which the kernel is sure to keep them: it isn't put off beyond that.
        leased_until: u64,
    },
    /// The addresses are gone from the kernel, as asked.
    Released {
        /// Index of the VIP.
        vip: usize,
    },
    /// The addresses are gone from the kernel: nobody fed the hold.
    Expired {
        /// Index of the VIP.
        vip: usize,
    },
    /// The addresses are gone from the kernel: somebody else removes them again and again.
    Removed {
        /// Index of the VIP.
        vip: usize,
    },
    /// Somebody else removed an address, and it was added again.
    Restored {
        /// Index of the VIP.
        vip: usize,
    },
    /// All answers so far have been reported, and one more probe has been sent.
    Probed {
        /// Index of the VIP.
        vip: usize,
    },
    /// Somebody answered for a VIP, or claimed it.
    Answered {
        /// Index of the VIP.
        vip: usize,
        /// Who.
        mac: [u8; 6],
        /// The address has answered by IP too, just now.
        by_ip: bool,
    },
    /// The network was told where a VIP is.
    Announced {
        /// Index of the VIP.
        vip: usize,
        /// How many of its addresses couldn't be announced, by IP version: 4, then 6.
        failed: [u32; 2],
        /// For the first time since it was taken: the takeover is complete.
        first: bool,
    },
    /// Whether the kernel ends the VIPs of a holder that hangs: at the start, and on every change.
    Fence {
        /// Why it doesn't.
        missing: Option<String>,
    },
    /// It lives, and waits for the kernel.
    Waiting,
    /// The socket is bound, or isn't.
    Bound {
        /// The error's number.
        error: Option<i32>,
    },
    /// The kernel or the network refused something.
    Trouble {
        /// What, and why.
        text: String,
    },
}
