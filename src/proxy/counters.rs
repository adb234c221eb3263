//! What happened, in numbers: every worker counts for itself, the sum is made when somebody asks.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Duration;

use super::{ConnectFailure, Rejection, ServicePlan};

/// Everything counted since the start, over all workers.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Counters {
    /// Each at its number; those of services that are gone stand still once their last connection has ended.
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
    /// Further attempts to connect a client, at another backend, after one had failed or was overdue.
    pub retries: u64,
    /// How long successful connects took, by [`CONNECT_BOUNDS`].
    pub connect_duration: Histogram,
    /// How long connections that had a backend lasted, from the accepted client to the end, by [`LASTING_BOUNDS`].
    pub lasted: Histogram,
    /// In the order of their numbers; those that the plan no longer has are left out.
    pub backends: Vec<BackendCounters>,
}

impl ServiceCounters {
    /// The counts of the backend of this number.
    pub fn backend(&self, number: usize) -> Option<&BackendCounters> {
        let at = self.backends.binary_search_by_key(&number, |backend| backend.number).ok()?;
        self.backends.get(at)
    }
}

/// One backend's part of [`ServiceCounters`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BackendCounters {
    /// Which backend.
    pub number: usize,
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
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Histogram {
    /// How many were at most as long as the bound of the same index, and longer than the one before; the last
    /// counts those beyond every bound.
    pub buckets: Vec<u64>,
    /// All of them together.
    pub sum: Duration,
}

impl Histogram {
    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// Upper bounds of connects' durations, inclusive.
pub const CONNECT_BOUNDS: [Duration; 12] = [
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

/// Upper bounds of connections' durations, inclusive.
pub const LASTING_BOUNDS: [Duration; 7] = [
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(10),
    Duration::from_secs(60),
    Duration::from_secs(600),
    Duration::from_secs(3600),
];

/// What a worker counts of itself: written by it alone, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Tally {
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
    pub(super) retries: Count,
    connects: Timing<{ CONNECT_BOUNDS.len() + 1 }>,
    /// The latest connect of each bucket, in nanoseconds: written before it is counted.
    latest_connects: [Count; CONNECT_BOUNDS.len() + 1],
    lasted: Timing<{ LASTING_BOUNDS.len() + 1 }>,
}

/// One worker's counters of the services and their backends: another set for each plan, in which those that stay are the
/// same.
#[derive(Debug, Default)]
pub(super) struct Tallies {
    services: Vec<Arc<ServiceTally>>,
    /// By service, and by their numbers.
    backends: Vec<Vec<(usize, Arc<BackendTally>)>>,
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
    /// Adds this worker's counts to `sum`.
    pub(super) fn add_to(&self, sum: &mut Counters) {
        sum.accept_pauses += self.accept_pauses.get();
        sum.cut += self.cut.get();
    }
}

impl ServiceTally {
    pub(super) fn rejected(&self, rejection: Rejection) {
        self.rejected[rejection as usize].add(1);
    }

    pub(super) fn connected(&self, after: Duration) {
        let bucket = bucket(&CONNECT_BOUNDS, after);
        self.latest_connects[bucket].set(nanoseconds(after));
        // Whoever sees the count grown sees what has made it grow.
        fence(Ordering::Release);
        self.connects.observe(bucket, after);
    }

    /// A connection that had a backend is over.
    pub(super) fn lasted(&self, duration: Duration) {
        self.lasted.observe(bucket(&LASTING_BOUNDS, duration), duration);
    }

    /// For each of [`CONNECT_BOUNDS`] and beyond: how many connects, and how long the latest took.
    pub(super) fn connects(&self) -> impl Iterator<Item = (u64, Duration)> {
        self.connects.buckets.iter().zip(&self.latest_connects).map(|(count, latest)| {
            let count = count.get();
            fence(Ordering::Acquire);
            (count, Duration::from_nanos(latest.get()))
        })
    }

    fn add_to(&self, sum: &mut ServiceCounters) {
        sum.connections += self.connections.get();
        sum.active += self.active.get();
        add_all(&mut sum.rejected, &self.rejected);
        sum.bytes.received += self.received.get();
        sum.bytes.sent += self.sent.get();
        sum.retries += self.retries.get();
        self.connects.add_to(&mut sum.connect_duration);
        self.lasted.add_to(&mut sum.lasted);
    }
}

impl Tallies {
    /// For these services, each at its number: the counters that there are `before`, and new ones at zero.
    pub(super) fn of(services: &[ServicePlan], before: &Self) -> Self {
        let service = |at: usize| before.services.get(at).cloned().unwrap_or_default();
        let backends = |(at, service): (usize, &ServicePlan)| {
            let tally = |number: &usize| (*number, before.backend(at, *number).cloned().unwrap_or_default());
            let mut all: Vec<_> = service.backends.iter().map(tally).collect();
            all.sort_unstable_by_key(|(number, _)| *number);
            all
        };
        Self {
            services: (0..services.len()).map(service).collect(),
            backends: services.iter().enumerate().map(backends).collect(),
        }
    }

    /// Each service's, at its number.
    pub(super) fn services(&self) -> &[Arc<ServiceTally>] {
        &self.services
    }

    /// The counts of a backend; `None` for one that the plan doesn't have.
    pub(super) fn backend(&self, service: usize, number: usize) -> Option<&Arc<BackendTally>> {
        let service = self.backends.get(service)?;
        let at = service.binary_search_by_key(&number, |(number, _)| *number).ok()?;
        service.get(at).map(|(_, tally)| tally)
    }

    /// Adds this worker's counts to `sum`, which must be of the same plan.
    pub(super) fn add_to(&self, sum: &mut Counters) {
        sum.services.resize_with(self.services.len(), ServiceCounters::default);
        let all = self.services.iter().zip(&self.backends);
        for (sum, (service, backends)) in sum.services.iter_mut().zip(all) {
            service.add_to(sum);
            sum.backends.resize_with(backends.len(), BackendCounters::default);
            for (sum, (number, tally)) in sum.backends.iter_mut().zip(backends) {
                sum.number = *number;
                sum.connections += tally.connections.get();
                sum.active += tally.active.get();
                add_all(&mut sum.connect_failures, &tally.connect_failures);
                sum.bytes.received += tally.received.get();
                sum.bytes.sent += tally.sent.get();
            }
        }
    }
}

impl BackendTally {
    pub(super) fn connect_failed(&self, failure: ConnectFailure) {
        self.connect_failures[failure as usize].add(1);
    }
}

/// Durations as one worker counts them.
#[derive(Debug)]
struct Timing<const BUCKETS: usize> {
    buckets: [Count; BUCKETS],
    nanoseconds: Count,
}

impl<const BUCKETS: usize> Default for Timing<BUCKETS> {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| Count::default()), nanoseconds: Count::default() }
    }
}

impl<const BUCKETS: usize> Timing<BUCKETS> {
    fn observe(&self, bucket: usize, duration: Duration) {
        self.buckets[bucket].add(1);
        self.nanoseconds.add(nanoseconds(duration));
    }

    fn add_to(&self, sum: &mut Histogram) {
        sum.buckets.resize(BUCKETS, 0);
        add_all(&mut sum.buckets, &self.buckets);
        sum.sum += Duration::from_nanos(self.nanoseconds.get());
    }
}

/// The first whose bound a duration doesn't exceed; one more for those beyond every bound.
fn bucket(bounds: &[Duration], duration: Duration) -> usize {
    bounds.partition_point(|bound| *bound < duration)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn add_all(sums: &mut [u64], counts: &[Count]) {
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

    fn set(&self, number: u64) {
        self.0.store(number, Ordering::Relaxed);
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
        let latest: Vec<_> = tally.connects().collect();
        assert_eq!(latest[1], (1, Duration::from_micros(251)));
        assert_eq!(latest[12], (1, Duration::from_secs(60)));
    }

    #[test]
    fn workers_counts_are_added_up() {
        let tallies = [ServiceTally::default(), ServiceTally::default()];
        let mut sum = ServiceCounters::default();
        for tally in &tallies {
            tally.lasted(Duration::from_secs(60));
            tally.add_to(&mut sum);
        }
        assert_eq!((sum.lasted.buckets[4], sum.lasted.count()), (2, 2));
        assert_eq!(sum.lasted.sum, Duration::from_secs(120));
    }
}
