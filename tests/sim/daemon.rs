//! A daemon's process: a core, and the driver that feeds it.

use std::collections::VecDeque;
use std::time::Duration;

use chinthe::core::{Core, Input, Time, VipState};

use crate::envelope::Envelope;
use crate::world::Datagram;

/// Later than this, or than half an interval, counts as a stall.
pub(crate) const LATE: Duration = Duration::from_millis(15);
/// A guard that owes an answer for longer is replaced.
pub(crate) const GUARD_PATIENCE: Duration = Duration::from_secs(1);
/// How long a stopping node waits for its successors' acknowledgements.
pub(crate) const FAREWELL: Duration = Duration::from_millis(500);

/// One daemon.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// Later lives have higher numbers.
    pub(crate) life: u64,
    pub(crate) core: Core,
    /// SIGSTOP: what comes waits.
    pub(crate) stopped: bool,
    pub(crate) envelope: Envelope,
    /// Counts its datagrams.
    pub(crate) counter: u64,
    pub(crate) guard: Option<u64>,
    pub(crate) guard_lost: bool,
    pub(crate) owed_since: Option<Time>,
    pub(crate) reports: VecDeque<Input>,
    pub(crate) datagrams: VecDeque<Datagram>,
    pub(crate) mail: VecDeque<Input>,
    /// What it went to sleep for, by its own clock.
    pub(crate) deadline: Time,
    pub(crate) leaving_since: Option<Time>,
    /// What it last advertised of the VIP, and since when (the simulation's clock).
    pub(crate) claims: (VipState, Time),
    /// When it went from stopped to running, or was started.
    pub(crate) running_since: Time,
}

/// A socket's buffer holds no more.
pub(crate) const QUEUE: usize = 2000;

impl Daemon {
    pub(crate) fn new(life: u64, core: Core, now: Time, local: Time) -> Self {
        Self {
            life,
            core,
            stopped: false,
            envelope: Envelope::default(),
            counter: 0,
            guard: None,
            guard_lost: false,
            owed_since: None,
            reports: VecDeque::new(),
            datagrams: VecDeque::new(),
            mail: VecDeque::new(),
            deadline: local,
            leaving_since: None,
            claims: (VipState::Initialize, now),
            running_since: now,
        }
    }

    pub(crate) fn is_late(&self, local: Time) -> bool {
        local.since(self.deadline) > LATE.max(self.core.interval() / 2)
    }

    /// It has handed over, or has waited long enough for that.
    pub(crate) fn is_done(&self, local: Time) -> bool {
        self.leaving_since.is_some_and(|since| self.core.is_stopped() || local.since(since) > FAREWELL)
    }
}
