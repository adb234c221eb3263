//! What happened, in numbers: every worker counts for itself, the sum is made when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{ConnectFailure, Plan, Rejection};

/// Everything counted since the start, over all workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// In the order of the [`Plan`].
    pub services: Vec<ServiceCounters>,
    /// How many workers there are.
    pub workers: u64,
    /// How many connections may be open at once, over all workers.
    pub connections_limit: u64,
    /// How often a worker stopped accepting for a while, because it had all the connections or descriptors that
    /// it may have. Clients then wait in the kernel's queue.
    pub accept_pauses: u64,
    /// Connections that a stop cut, since they had not ended in time.
    pub cut: u64,
}

/// One service's part of [`Counters`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceCounters {
    /// Connections accepted.
    pub connections: u64,
    /// Of these, open now.
    pub active: u64,
    /// Of these, closed without a backend; by [`Rejection`], in the order of [`Rejection::ALL`].
    pub rejected: [u64; Rejection::ALL.len()],
    /// Bytes passed on.
    pub bytes: Bytes,
    /// How long successful connects took.
    pub connect_duration: Histogram,
    /// In the order of the configuration.
    pub backends: Vec<BackendCounters>,
}

/// One backend's part of [`ServiceCounters`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendCounters {
    /// Connections established to it.
    pub connections: u64,
    /// Of these, open now.
    pub active: u64,
    /// Attempts that failed; by [`ConnectFailure`], in the order of [`ConnectFailure::ALL`].
    pub connect_failures: [u64; ConnectFailure::ALL.len()],
    /// Bytes passed on.
    pub bytes: Bytes,
}

/// Bytes passed on, by direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bytes {
    /// From clients to backends.
    pub received: u64,
    /// From backends to clients.
    pub sent: u64,
}

/// Durations, counted by size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Histogram {
    /// How many were at most as long as the bound of the same index, and longer than the one before; the last
    /// counts those beyond every bound.
    pub buckets: [u64; Self::BOUNDS.len() + 1],
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    /// The buckets' upper bounds, inclusive.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_micros(250),
        Duration::from_micros(500),
        Duration::from_millis(1),
        Duration::from_micros(2_500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_secs(1),
        Duration::from_millis(2_500),
        Duration::from_secs(10),
    ];

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// One worker's own counters: written by it alone, read by anybody.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) services: Vec<ServiceTally>,
    pub(super) accept_pauses: Count,
    pub(super) cut: Count,
}

#[derive(Debug, Default)]
pub(super) struct ServiceTally {
    pub(super) connections: Count,
    pub(super) active: Count,
    rejected: [Count; Rejection::ALL.len()],
    pub(super) received: Count,
    pub(super) sent: Count,
    connect_buckets: [Count; Histogram::BOUNDS.len() + 1],
    connect_nanoseconds: Count,
    backends: Vec<BackendTally>,
}

#[derive(Debug, Default)]
pub(super) struct BackendTally {
    pub(super) connections: Count,
    pub(super) active: Count,
    connect_failures: [Count; ConnectFailure::ALL.len()],
    pub(super) received: Count,
    pub(super) sent: Count,
}

impl Tally {
    pub(super) fn new(plan: &Plan) -> Self {
        let service = |backends: usize| ServiceTally {
            backends: (0..backends).map(|_| BackendTally::default()).collect(),
            ..ServiceTally::default()
        };
        Self {
            services: plan.services.iter().map(|plan| service(plan.backends)).collect(),
            accept_pauses: Count::default(),
            cut: Count::default(),
        }
    }

    /// Adds this worker's counts to `sum`, which must be of the same plan.
    pub(super) fn add_to(&self, sum: &mut Counters) {
        sum.accept_pauses += self.accept_pauses.get();
        sum.cut += self.cut.get();
        sum.services.resize_with(self.services.len(), ServiceCounters::default);
        for (sum, tally) in sum.services.iter_mut().zip(&self.services) {
            tally.add_to(sum);
        }
    }
}

impl ServiceTally {
    pub(super) fn rejected(&self, rejection: Rejection) {
        self.rejected[rejection as usize].add(1);
    }

    pub(super) fn connected(&self, after: Duration) {
        let bucket = Histogram::BOUNDS.partition_point(|bound| *bound < after);
        self.connect_buckets[bucket].add(1);
        self.connect_nanoseconds.add(u64::try_from(after.as_nanos()).unwrap_or(u64::MAX));
    }

    /// The counts of a backend; `None` for one that the plan doesn't have.
    pub(super) fn backend(&self, backend: usize) -> Option<&BackendTally> {
        self.backends.get(backend)
    }

    fn add_to(&self, sum: &mut ServiceCounters) {
        sum.connections += self.connections.get();
        sum.active += self.active.get();
        add_all(&mut sum.rejected, &self.rejected);
        sum.bytes.received += self.received.get();
        sum.bytes.sent += self.sent.get();
        add_all(&mut sum.connect_duration.buckets, &self.connect_buckets);
        sum.connect_duration.sum += Duration::from_nanos(self.connect_nanoseconds.get());
        sum.backends.resize_with(self.backends.len(), BackendCounters::default);
        for (sum, tally) in sum.backends.iter_mut().zip(&self.backends) {
            sum.connections += tally.connections.get();
            sum.active += tally.active.get();
            add_all(&mut sum.connect_failures, &tally.connect_failures);
            sum.bytes.received += tally.received.get();
            sum.bytes.sent += tally.sent.get();
        }
    }
}

impl BackendTally {
    pub(super) fn connect_failed(&self, failure: ConnectFailure) {
        self.connect_failures[failure as usize].add(1);
    }
}

fn add_all<const N: usize>(sums: &mut [u64; N], counts: &[Count; N]) {
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum += count.get();
    }
}

/// A number that one thread changes and others read.
#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    /// Adds. With one writer, a load and a store do it, which cost a fraction of a locked addition.
    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Ordering::Relaxed);
    }

    /// Takes one away again, for what is counted only while it lasts.
    pub(super) fn subtract_one(&self) {
        self.0.store(self.get().saturating_sub(1), Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_in_the_first_bucket_that_it_does_not_exceed() {
        let tally = ServiceTally::default();
        tally.connected(Duration::from_micros(250));
        tally.connected(Duration::from_micros(251));
        tally.connected(Duration::from_secs(60));
        let mut sum = ServiceCounters::default();
        tally.add_to(&mut sum);
        let histogram = sum.connect_duration;
        assert_eq!((histogram.buckets[0], histogram.buckets[1], histogram.buckets[12]), (1, 1, 1));
        assert_eq!(histogram.count(), 3);
        assert_eq!(histogram.sum, Duration::from_micros(60_000_501));
    }
}
