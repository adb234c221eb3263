//! Durations counted by size, each size with the latest one that can be named.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::trace_id::FailoverTrace;

/// A histogram for what happens rarely: a lock per observation.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    counts: Mutex<Counts>,
}

#[derive(Debug)]
struct Counts {
    buckets: Vec<u64>,
    sum: Duration,
    exemplars: Vec<Option<Exemplar>>,
}

/// One observation that has a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Exemplar {
    pub(super) trace: FailoverTrace,
    pub(super) value: Duration,
    pub(super) at: SystemTime,
}

/// The latest observation of each bucket that has a trace, where somebody else does the counting.
#[derive(Debug)]
pub(super) struct Exemplars {
    bounds: &'static [f64],
    latest: Mutex<Vec<Option<Exemplar>>>,
}

impl Exemplars {
    /// `bounds` are in seconds, finite and ascending.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, latest: Mutex::new(vec![None; bounds.len() + 1]) }
    }

    /// `value` was counted, just now.
    pub(super) fn put(&self, value: Duration, trace: FailoverTrace) {
        let exemplar = Exemplar { trace, value, at: SystemTime::now() };
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)[bucket(self.bounds, value)] =
            Some(exemplar);
    }

    pub(super) fn get(&self) -> Vec<Option<Exemplar>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The first whose bound a duration doesn't exceed; one more for those beyond every bound.
fn bucket(bounds: &[f64], value: Duration) -> usize {
    bounds.partition_point(|bound| *bound < value.as_secs_f64())
}

/// What a histogram has counted, to be shown.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Observed {
    /// Upper bounds in seconds, finite and ascending.
    pub(super) bounds: &'static [f64],
    /// How many were at most as long as the bound of the same index, and longer than the one before; one more for
    /// those beyond every bound.
    pub(super) buckets: Vec<u64>,
    /// All of them together.
    pub(super) sum: Duration,
    /// The latest of each bucket, as far as it has a trace.
    pub(super) exemplars: Vec<Option<Exemplar>>,
}

impl Histogram {
    /// `bounds` are in seconds, finite and ascending.
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        let buckets = bounds.len() + 1;
        let counts =
            Counts { buckets: vec![0; buckets], sum: Duration::ZERO, exemplars: vec![None; buckets] };
        Self { bounds, counts: Mutex::new(counts) }
    }

    /// Counts one; with a trace, it becomes its bucket's exemplar.
    pub(super) fn observe(&self, value: Duration, trace: Option<FailoverTrace>) {
        let at = bucket(self.bounds, value);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.buckets[at] += 1;
        counts.sum = counts.sum.saturating_add(value);
        if let Some(trace) = trace {
            counts.exemplars[at] = Some(Exemplar { trace, value, at: SystemTime::now() });
        }
    }

    pub(super) fn observed(&self) -> Observed {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        Observed {
            bounds: self.bounds,
            buckets: counts.buckets.clone(),
            sum: counts.sum,
            exemplars: counts.exemplars.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_where_it_does_not_exceed_the_bound() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        let trace = FailoverTrace::of("myweb", "vi_1", 4);
        histogram.observe(Duration::from_millis(100), None);
        histogram.observe(Duration::from_millis(101), Some(trace));
        histogram.observe(Duration::from_secs(60), None);
        let observed = histogram.observed();
        assert_eq!(observed.buckets, [1, 1, 1]);
        assert_eq!(observed.sum, Duration::from_millis(60_201));
        assert_eq!(observed.exemplars[1].map(|exemplar| exemplar.trace), Some(trace));
        assert_eq!((observed.exemplars[0], observed.exemplars[2]), (None, None));
    }
}
