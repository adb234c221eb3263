//! Whether this node reaches fewer backends than a peer that could hold the VIP in its place.
//!
//! "The backend is down" and "my link to it is down" look alike from one node; the others' views tell them
//! apart. A node that reaches strictly fewer backends than such a peer yields to it, and only after that has
//! been so for a while: nodes probe at different moments, and see the same death at different times.

use std::time::Duration;

use super::time::Time;

/// Whether one VIP is yielded.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reach {
    yielding: bool,
    /// Since when the comparison has said the opposite of `yielding`.
    otherwise_since: Option<Time>,
}

impl Reach {
    /// Takes in the comparison as it is now; `patience` is how long it has to stay so.
    pub(super) fn update(&mut self, worse: bool, patience: Duration, now: Time) {
        if worse == self.yielding {
            self.otherwise_since = None;
            return;
        }
        let since = *self.otherwise_since.get_or_insert(now);
        if now.since(since) >= patience {
            self.yielding = worse;
            self.otherwise_since = None;
        }
    }

    /// Whether this node yields.
    pub(super) fn yields(&self) -> bool {
        self.yielding
    }

    /// When the comparison, if it stays as it is, comes into effect.
    pub(super) fn deadline(&self, patience: Duration) -> Option<Time> {
        self.otherwise_since.map(|since| since + patience)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_counts_only_once_it_has_lasted() {
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        let patience = Duration::from_secs(3);
        let mut reach = Reach::default();
        reach.update(true, patience, at(1));
        assert!(!reach.yields());
        assert_eq!(reach.deadline(patience), Some(at(4)));
        reach.update(false, patience, at(2));
        reach.update(true, patience, at(3));
        reach.update(true, patience, at(5));
        assert!(!reach.yields(), "the count began anew");
        reach.update(true, patience, at(6));
        assert!(reach.yields());
        reach.update(false, patience, at(7));
        assert!(reach.yields(), "and it ends as slowly");
        reach.update(false, patience, at(10));
        assert!(!reach.yields());
    }
}
