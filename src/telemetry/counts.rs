//! What is counted here because it happens rarely: numbers that one thread changes and a scrape reads.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::families::{
    ANNOUNCEMENT_KINDS, CHECK_RESULTS, CONFLICT_SOURCES, CONVERGENCE_BOUNDS, FAILOVER_BOUNDS,
    LATENESS_BOUNDS, MESSAGE_REJECTIONS, RELOAD_RESULTS,
};
use super::histogram::{Exemplars, Histogram};
use super::metrics::{Channel, Direction};
use crate::core::{Cause, MemberState, Verdict, VipState};

/// A number that grows.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self, amount: u64) {
        self.0.fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A moment of the wall clock, to the millisecond.
#[derive(Debug)]
pub(super) struct Moment(AtomicU64);

impl Moment {
    pub(super) fn now() -> Self {
        Self(AtomicU64::new(milliseconds()))
    }

    pub(super) fn is_now(&self) {
        self.0.store(milliseconds(), Ordering::Relaxed);
    }

    /// Since the epoch.
    pub(super) fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

fn milliseconds() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// How long something that comes and goes has lasted, all in all.
#[derive(Debug, Default)]
pub(super) struct Stretches(Mutex<Stretched>);

#[derive(Debug, Default)]
struct Stretched {
    ended: Duration,
    begun: Option<Instant>,
}

impl Stretches {
    /// It lasts from now on, or it doesn't.
    pub(super) fn set(&self, lasts: bool) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match (all.begun, lasts) {
            (None, true) => all.begun = Some(Instant::now()),
            (Some(begun), false) => {
                all.ended += begun.elapsed();
                all.begun = None;
            }
            (Some(_), true) | (None, false) => {}
        }
    }

    pub(super) fn get(&self) -> Duration {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.ended + all.begun.map_or(Duration::ZERO, |begun| begun.elapsed())
    }
}

/// A part of a takeover that is timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Detect,
    Elect,
    Assign,
    Announce,
    Total,
}

impl Phase {
    /// All of them, in order.
    pub(super) const ALL: [Self; 5] = [Self::Detect, Self::Elect, Self::Assign, Self::Announce, Self::Total];

    /// As in metrics.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Detect => "detect",
            Self::Elect => "elect",
            Self::Assign => "assign",
            Self::Announce => "announce",
            Self::Total => "total",
        }
    }
}

/// One VIP's part.
#[derive(Debug)]
pub(super) struct VipCounts {
    /// By the state entered and the cause, in the order of their `ALL`.
    pub(super) transitions: [[Count; Cause::ALL.len()]; VipState::ALL.len()],
    /// Of these, how many left the state in which the VIP is held here.
    pub(super) released: Count,
    pub(super) conflicts: [Count; CONFLICT_SOURCES.len()],
    pub(super) announcements: [Count; ANNOUNCEMENT_KINDS.len()],
    pub(super) announcement_errors: Count,
    /// Addresses that somebody else removed and that were added again.
    pub(super) restored: Count,
    /// By phase, in the order of [`Phase::ALL`].
    pub(super) failover: [Histogram; Phase::ALL.len()],
    /// The latest takeover's.
    pub(super) term: AtomicU32,
}

impl VipCounts {
    pub(super) fn new() -> Self {
        Self {
            transitions: Default::default(),
            released: Count::default(),
            conflicts: Default::default(),
            announcements: Default::default(),
            announcement_errors: Count::default(),
            restored: Count::default(),
            failover: std::array::from_fn(|_| Histogram::new(FAILOVER_BOUNDS)),
            term: AtomicU32::new(0),
        }
    }
}

/// One service's part.
#[derive(Debug)]
pub(super) struct ServiceCounts {
    pub(super) backends: Vec<Arc<BackendCounts>>,
    /// Connects that belong to a failover; all of them are counted by the proxy.
    pub(super) connects: Arc<Exemplars>,
}

/// What the node as a whole counts, whatever its configuration.
#[derive(Debug)]
pub(super) struct NodeCounts {
    /// Other members' changes, by the state entered, in the order of [`MemberState::ALL`].
    pub(super) members: [Count; MemberState::ALL.len()],
    pub(super) messages: MessageCounts,
    /// How old operators' words from elsewhere were when they came.
    pub(super) convergence: Histogram,
    pub(super) stalls: Count,
    pub(super) lateness: Histogram,
    /// By what came of them, in the order of [`RELOAD_RESULTS`].
    pub(super) reloads: [Count; RELOAD_RESULTS.len()],
    /// Whether the last of them failed.
    pub(super) reload_failed: AtomicBool,
    /// When the configuration in use was loaded.
    pub(super) loaded: Moment,
}

impl NodeCounts {
    pub(super) fn new() -> Self {
        Self {
            members: Default::default(),
            messages: MessageCounts::default(),
            convergence: Histogram::new(CONVERGENCE_BOUNDS),
            stalls: Count::default(),
            lateness: Histogram::new(LATENESS_BOUNDS),
            reloads: Default::default(),
            reload_failed: AtomicBool::new(false),
            loaded: Moment::now(),
        }
    }
}

/// One backend's part.
#[derive(Debug)]
pub(super) struct BackendCounts {
    /// By the verdict come to, in the order of [`Verdict::ALL`].
    pub(super) transitions: [Count; Verdict::ALL.len()],
    pub(super) since: Moment,
    pub(super) down: Stretches,
    /// By what came of them, in the order of [`CHECK_RESULTS`].
    pub(super) checks: [Count; CHECK_RESULTS.len()],
    /// Nanoseconds.
    pub(super) check_duration: AtomicU64,
}

impl BackendCounts {
    pub(super) fn new() -> Self {
        Self {
            transitions: Default::default(),
            since: Moment::now(),
            down: Stretches::default(),
            checks: Default::default(),
            check_duration: AtomicU64::new(0),
        }
    }
}

/// What went between the nodes.
#[derive(Debug, Default)]
pub(super) struct MessageCounts {
    /// By channel and direction, in the order of their `ALL`.
    pub(super) passed: [[Count; Direction::ALL.len()]; Channel::ALL.len()],
    /// By channel, and by reason in the order of [`MESSAGE_REJECTIONS`].
    pub(super) rejected: [[Count; MESSAGE_REJECTIONS.len()]; Channel::ALL.len()],
    /// Gossip's, by direction.
    pub(super) gossip_bytes: [Count; Direction::ALL.len()],
}
