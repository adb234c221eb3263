//! One target's probing: what it is doing, until when, and what comes of it.

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use super::pace::Pace;
use super::resolve::{Known, Resolver};
use super::tcp::Connection;
use super::thread::Lookups;
use super::{ProbeFailure, ProbeResult, Target};
use crate::config::ProbeKind;

/// Between the starts of two tries of one target that were asked for.
pub(super) const CLOSEST: Duration = Duration::from_millis(20);

/// Tries one target again and again.
pub(super) struct Probing {
    number: u64,
    target: Target,
    pace: Pace,
    resolver: Resolver,
    stage: Stage,
    /// When the last try began, or this.
    started: Instant,
    /// Somebody wants to know, since the last result.
    asked: bool,
    streak: Streak,
}

enum Stage {
    Paused,
    Waiting { until: Instant },
    Resolving { deadline: Instant },
    Connecting { address: SocketAddr, connection: Connection, deadline: Instant },
}

impl Probing {
    /// Its first try is due at `first`. No other has its `number`.
    pub(super) fn new(number: u64, target: Target, pace: Pace, first: Instant) -> Self {
        let resolver = Resolver::new(target.endpoint.clone());
        let stage = Stage::Waiting { until: first };
        Self {
            number,
            target,
            pace,
            resolver,
            stage,
            started: first,
            asked: false,
            streak: Streak::default(),
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// When it is [due](Self::due), if it doesn't wait for others alone.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.stage {
            Stage::Paused => None,
            Stage::Waiting { until } => Some(*until),
            Stage::Resolving { deadline } | Stage::Connecting { deadline, .. } => Some(*deadline),
        }
    }

    /// What is writable as soon as there is an [answer](Self::answered).
    pub(super) fn connecting(&self) -> Option<BorrowedFd<'_>> {
        match &self.stage {
            Stage::Connecting { connection, .. } => Some(connection.socket()),
            Stage::Paused | Stage::Waiting { .. } | Stage::Resolving { .. } => None,
        }
    }

    /// Its deadline has come: the next try, or the end of one.
    pub(super) fn due(&mut self, now: Instant, lookups: &Lookups) -> Option<ProbeResult> {
        match &self.stage {
            Stage::Paused => None,
            Stage::Waiting { .. } => {
                self.started = now;
                self.attempt(now, now + self.target.check.timeout, lookups)
            }
            Stage::Resolving { .. } => Some(self.end(None, Err(ProbeFailure::Resolve), now)),
            Stage::Connecting { address, .. } => {
                let address = *address;
                Some(self.end(Some(address), Err(ProbeFailure::Timeout), now))
            }
        }
    }

    /// The backend has said something, or the network has.
    pub(super) fn answered(&mut self, now: Instant) -> Option<ProbeResult> {
        let Stage::Connecting { address, connection, .. } = &self.stage else { return None };
        let (address, outcome) = (*address, connection.outcome(now));
        Some(self.end(Some(address), outcome, now))
    }

    /// The resolver has answered: the try that waits for it goes on, or else the next one has it.
    pub(super) fn found(
        &mut self,
        addresses: Vec<SocketAddr>,
        now: Instant,
        lookups: &Lookups,
    ) -> Option<ProbeResult> {
        self.resolver.found(addresses);
        match &self.stage {
            Stage::Resolving { deadline } => {
                let deadline = *deadline;
                self.attempt(now, deadline, lookups)
            }
            Stage::Paused | Stage::Waiting { .. } | Stage::Connecting { .. } => None,
        }
    }

    /// Tries soon: a try that is under way will do.
    pub(super) fn ask(&mut self, now: Instant) {
        self.asked = true;
        if let Stage::Waiting { until } = &mut self.stage {
            *until = (*until).min(now.max(self.started + CLOSEST));
        }
    }

    /// Pauses, giving up a try that is under way, or tries again at once.
    pub(super) fn pause(&mut self, pause: bool, now: Instant) {
        match (&self.stage, pause) {
            (Stage::Paused, false) => self.stage = Stage::Waiting { until: now },
            (Stage::Waiting { .. } | Stage::Resolving { .. } | Stage::Connecting { .. }, true) => {
                self.stage = Stage::Paused;
                self.streak = Streak::default();
            }
            (Stage::Paused, true)
            | (Stage::Waiting { .. } | Stage::Resolving { .. } | Stage::Connecting { .. }, false) => {}
        }
    }

    fn attempt(&mut self, now: Instant, deadline: Instant, lookups: &Lookups) -> Option<ProbeResult> {
        match self.resolver.address(|name, port| lookups.ask(name, port, self.number)) {
            Known::Asked => {
                self.stage = Stage::Resolving { deadline };
                None
            }
            Known::Nowhere => Some(self.end(None, Err(ProbeFailure::Resolve), now)),
            Known::At(address) => {
                let begun = match self.target.check.kind {
                    ProbeKind::Tcp => Connection::begin(address),
                };
                match begun {
                    Ok(connection) => {
                        self.stage = Stage::Connecting { address, connection, deadline };
                        None
                    }
                    Err(failure) => Some(self.end(Some(address), Err(failure), now)),
                }
            }
        }
    }

    fn end(
        &mut self,
        address: Option<SocketAddr>,
        outcome: Result<Duration, ProbeFailure>,
        now: Instant,
    ) -> ProbeResult {
        self.stage = Stage::Waiting { until: self.pace.next(now) };
        // Whoever asked during this try is answered by it.
        let asked = std::mem::take(&mut self.asked);
        let alike = self.streak.take_in(address, outcome.is_ok());
        let (service, backend) = (self.target.service, self.target.backend);
        let routine = !asked && alike >= self.target.check.rise.max(self.target.check.fall);
        ProbeResult { service, backend, address, outcome, routine }
    }
}

/// Results of one target in a row that were alike.
#[derive(Debug, Default)]
struct Streak {
    of: Option<(Option<SocketAddr>, bool)>,
    length: u32,
}

impl Streak {
    /// Takes in a result; how many in a row before it were like it.
    fn take_in(&mut self, address: Option<SocketAddr>, success: bool) -> u32 {
        let before = if self.of == Some((address, success)) { self.length } else { 0 };
        *self = Self { of: Some((address, success)), length: before.saturating_add(1) };
        before
    }
}
