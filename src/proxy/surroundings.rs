//! What a worker's connections have in common.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::Registry;

use super::attempt::Patience;
use super::books::Planned;
use super::counters::{BackendTally, ServiceTally};
use super::flow::Means;
use super::pipes::{PIPES, Pipes};
use super::routes::{Routes, Snapshot};
use super::{Common, ConnectFailure, Desk, Report};
use crate::config::Timeouts;

/// What a worker lends to the connection whose turn it is.
pub(super) struct Surroundings {
    pub(super) registry: Registry,
    pub(super) common: Arc<Common>,
    pub(super) desk: Arc<Desk>,
    /// Where new connections go.
    pub(super) snapshot: Arc<Snapshot>,
    planned: Planned,
    /// By service, and by the backend's number.
    patience: Vec<BTreeMap<usize, Patience>>,
    pub(super) means: Means,
    /// This host ran out of something: no more clients for a while.
    pub(super) exhausted: bool,
    next_tag: u32,
    /// The round's time.
    pub(super) now: Instant,
    /// The round's time, in nanoseconds of the worker's life: what every event reckons with, since that is one
    /// addition where an `Instant` takes a dozen steps. Enough for five centuries.
    pub(super) age: u64,
    began: Instant,
}

impl Surroundings {
    /// For a worker that has met nobody yet.
    pub(super) fn new(
        registry: Registry,
        common: Arc<Common>,
        desk: Arc<Desk>,
        planned: Planned,
        buffer: usize,
    ) -> Self {
        let now = Instant::now();
        let pipes = Pipes::new(if common.settings.splice { PIPES } else { 0 });
        Self {
            registry,
            common,
            desk,
            snapshot: Arc::new(Snapshot::new(Arc::new(Routes::default()))),
            patience: vec![BTreeMap::new(); planned.services.len()],
            planned,
            means: Means { buffer: vec![0; buffer].into_boxed_slice(), pipes, spliced: false },
            exhausted: false,
            next_tag: 0,
            now,
            age: 0,
            began: now,
        }
    }

    /// Begins a round: reads the clock, once for all that happens in it.
    pub(super) fn read_clock(&mut self) {
        self.now = Instant::now();
        self.age = self.age_at(self.now);
    }

    /// The worker's age at a time, in nanoseconds.
    pub(super) fn age_at(&self, at: Instant) -> u64 {
        nanoseconds(at.saturating_duration_since(self.began))
    }

    /// Goes by another plan.
    pub(super) fn replan(&mut self, planned: Planned) {
        self.patience.resize_with(planned.services.len(), BTreeMap::new);
        for (patience, service) in self.patience.iter_mut().zip(&planned.services) {
            patience.retain(|number, _| service.backends.contains(number));
        }
        self.planned = planned;
    }

    pub(super) fn timeouts(&self, service: usize) -> Timeouts {
        self.planned.services[service].timeouts
    }

    /// How many connections a service may have, over all workers.
    pub(super) fn max_connections(&self, service: usize) -> Option<usize> {
        self.planned.services[service].max_connections
    }

    /// A tag that no other registration of this worker has; 2³² later it may come again.
    pub(super) fn tag(&mut self) -> u32 {
        self.next_tag = self.next_tag.checked_add(1).unwrap_or(1);
        self.next_tag
    }

    /// Whose turn it is among the service's backends.
    pub(super) fn turn(&self, service: usize) -> usize {
        self.planned.turns.take(service)
    }

    pub(super) fn tally(&self, service: usize) -> &ServiceTally {
        &self.planned.tallies.services()[service]
    }

    /// The counts of a backend; `None` for one that the plan doesn't have any more.
    pub(super) fn backend_tally(&self, service: usize, backend: usize) -> Option<&Arc<BackendTally>> {
        self.planned.tallies.backend(service, backend)
    }

    pub(super) fn report(&self, report: Report) {
        (self.common.report)(report);
    }

    pub(super) fn connect_failed(&self, service: usize, backend: usize, reason: ConnectFailure) {
        if let Some(tally) = self.backend_tally(service, backend) {
            tally.connect_failed(reason);
        }
        self.report(Report::ConnectFailed { service, backend, reason });
    }

    pub(super) fn patience(&mut self, service: usize, backend: usize) -> &mut Patience {
        self.patience[service].entry(backend).or_default()
    }
}

/// A timeout's length; what is longer than five centuries is five centuries.
pub(super) fn nanoseconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_mul(1_000_000_000).saturating_add(duration.subsec_nanos().into())
}
