//! When a worker has to look at which connection: at most one entry for each.
//!
//! Idle timers are pushed on by every byte, so they aren't moved then: an entry may be early, never late, and
//! whoever finds it early files it anew.

use std::collections::BTreeSet;
use std::time::Instant;

/// The deadlines of one worker's connections.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Instant, usize)>,
}

impl Timers {
    /// Moves the entry of the connection in `slot` from where it was filed to `to`.
    pub(super) fn refile(&mut self, slot: usize, filed: &mut Option<Instant>, to: Option<Instant>) {
        if *filed == to {
            return;
        }
        if let Some(at) = *filed {
            self.entries.remove(&(at, slot));
        }
        if let Some(at) = to {
            self.entries.insert((at, slot));
        }
        *filed = to;
    }

    /// The next entry's time.
    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// The slot of one entry that is due. It stays filed until [`refile`](Self::refile).
    pub(super) fn due(&self, now: Instant) -> Option<usize> {
        self.entries.first().filter(|(at, _)| *at <= now).map(|(_, slot)| *slot)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn entries_come_due_in_order_and_leave_nothing_behind() {
        let start = Instant::now();
        let mut timers = Timers::default();
        let (mut first, mut second) = (None, None);
        timers.refile(1, &mut first, Some(start + Duration::from_secs(2)));
        timers.refile(2, &mut second, Some(start + Duration::from_secs(1)));
        assert_eq!(timers.due(start), None);
        assert_eq!(timers.due(start + Duration::from_secs(3)), Some(2));
        timers.refile(2, &mut second, Some(start + Duration::from_secs(5)));
        assert_eq!(timers.due(start + Duration::from_secs(3)), Some(1));
        timers.refile(1, &mut first, None);
        timers.refile(2, &mut second, None);
        assert_eq!(timers.next(), None);
    }
}
