//! Log lines that somebody else can cause: one of a kind every few seconds, with a count of the others.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::core::Time;

/// The least time between two lines of a kind.
const EVERY: Duration = Duration::from_secs(10);

/// What kind of line it is: a closed set of words, so that nobody can make it grow.
type Kind = (&'static str, &'static str);

/// Remembers when each kind was last written.
#[derive(Debug, Default)]
pub(super) struct Throttle {
    last: BTreeMap<Kind, (Time, u64)>,
}

impl Throttle {
    /// Whether a line may be written now; then how many of its kind have been passed over since the last one.
    pub(super) fn admit(&mut self, kind: Kind, now: Time) -> Option<u64> {
        match self.last.get_mut(&kind) {
            Some((at, passed_over)) if now.since(*at) < EVERY => {
                *passed_over += 1;
                None
            }
            Some((at, passed_over)) => {
                *at = now;
                Some(std::mem::take(passed_over))
            }
            None => {
                self.last.insert(kind, (now, 0));
                Some(0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_of_a_kind_in_ten_seconds_tells_how_many_there_were() {
        let mut throttle = Throttle::default();
        let at = |seconds: u64| Time::from_nanos(seconds * 1_000_000_000);
        assert_eq!(throttle.admit(("a", ""), at(1)), Some(0));
        assert_eq!(throttle.admit(("a", ""), at(2)), None);
        assert_eq!(throttle.admit(("a", ""), at(10)), None);
        assert_eq!(throttle.admit(("b", ""), at(10)), Some(0), "another kind");
        assert_eq!(throttle.admit(("a", ""), at(11)), Some(2));
        assert_eq!(throttle.admit(("a", ""), at(21)), Some(0));
    }
}
