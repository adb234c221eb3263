//! When a worker has to look at which connection: at most one entry for each.
//!
//! Idle timers are pushed on by every byte, so they aren't moved then: an entry may be early, never late by more
//! than a [`TICK`], and whoever finds it early files it anew.
//!
//! A wheel, so that filing and removing cost the same for ten connections and a hundred thousand: every place is
//! a tick, and the list of those who are due then. A list's links stand beside each other, one for each slot.
//!
//! Times are nanoseconds of the worker's life.

use std::time::Duration;

/// The deadlines of one worker's connections.
#[derive(Debug)]
pub(super) struct Timers {
    /// The last tick whose entries have been handed out.
    past: u64,
    /// The first of each tick's list.
    heads: Box<[u32]>,
    /// A bit for each place that has entries.
    occupied: [u64; WORDS],
    /// A bit for each word of `occupied` that has any.
    words: u64,
    links: Vec<Link>,
}

#[derive(Debug, Clone, Copy)]
struct Link {
    previous: u32,
    next: u32,
    /// [`NOWHERE`] for who isn't filed.
    tick: u64,
}

impl Timers {
    /// Nobody is filed yet.
    pub(super) fn new() -> Self {
        Self {
            past: 0,
            heads: vec![NOBODY; PLACES].into_boxed_slice(),
            occupied: [0; WORDS],
            words: 0,
            links: Vec::new(),
        }
    }

    /// Files the connection in `slot` for `at`, or for as late as the wheel reaches, unless it is filed for earlier.
    pub(super) fn file(&mut self, slot: usize, at: u64) {
        if slot >= self.links.len() {
            self.links.resize(slot + 1, Link { previous: NOBODY, next: NOBODY, tick: NOWHERE });
        }
        // The first tick that isn't before that.
        let tick = at.div_ceil(TICK_NANOSECONDS).clamp(self.past + 1, self.past + PLACES as u64 - 1);
        if self.links[slot].tick <= tick {
            return;
        }
        self.remove(slot);
        let place = place(tick);
        let next = std::mem::replace(&mut self.heads[place], slot as u32);
        self.links[slot] = Link { previous: NOBODY, next, tick };
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = slot as u32;
        }
        self.occupied[place / 64] |= 1 << (place % 64);
        self.words |= 1 << (place / 64);
    }

    /// Takes out the connection in `slot`, if it is filed.
    pub(super) fn remove(&mut self, slot: usize) {
        let Some(link) = self.links.get_mut(slot) else { return };
        if link.tick == NOWHERE {
            return;
        }
        let Link { previous, next, tick } =
            std::mem::replace(link, Link { previous: NOBODY, next: NOBODY, tick: NOWHERE });
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = previous;
        }
        let place = place(tick);
        match self.links.get_mut(previous as usize) {
            Some(previous) => previous.next = next,
            None => self.heads[place] = next,
        }
        if self.heads[place] == NOBODY {
            self.occupied[place / 64] &= !(1 << (place % 64));
            if self.occupied[place / 64] == 0 {
                self.words &= !(1 << (place / 64));
            }
        }
    }

    /// The next entry's time.
    pub(super) fn next(&self) -> Option<u64> {
        Some(self.next_tick()?.saturating_mul(TICK_NANOSECONDS))
    }

    /// Takes out one that is due.
    pub(super) fn due(&mut self, now: u64) -> Option<usize> {
        // Rounded down: what is due within this tick isn't yet.
        let now = now / TICK_NANOSECONDS;
        match self.next_tick().filter(|tick| *tick <= now) {
            Some(tick) => {
                let slot = self.heads[place(tick)] as usize;
                self.remove(slot);
                Some(slot)
            }
            None => {
                self.past = self.past.max(now);
                None
            }
        }
    }

    /// The first tick that isn't past and has entries.
    fn next_tick(&self) -> Option<u64> {
        if self.words == 0 {
            return None;
        }
        let first = self.past + 1;
        let start = place(first);
        // The first word twice: its later bits are the wheel's beginning, its earlier ones its end.
        let later = self.occupied[start / 64] & (u64::MAX << (start % 64));
        let (index, word) = if later == 0 {
            let after = start / 64 + 1;
            let index =
                (after + self.words.rotate_right(after as u32 % 64).trailing_zeros() as usize) % WORDS;
            (index, self.occupied[index])
        } else {
            (start / 64, later)
        };
        let found = index * 64 + word.trailing_zeros() as usize;
        Some(first + ((found + PLACES - start) % PLACES) as u64)
    }
}

fn place(tick: u64) -> usize {
    tick as usize % PLACES
}

/// How exact a deadline is.
const TICK: Duration = Duration::from_millis(16);

const TICK_NANOSECONDS: u64 = TICK.as_nanos() as u64;

/// A bit more than a minute: longer than most timeouts, so that their entries are filed once.
const PLACES: usize = 4096;
const WORDS: usize = PLACES / 64;

const NOBODY: u32 = u32::MAX;
const NOWHERE: u64 = u64::MAX;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MILLISECOND: u64 = 1_000_000;
    const SECOND: u64 = 1000 * MILLISECOND;

    fn all_due(timers: &mut Timers, now: u64) -> Vec<usize> {
        std::iter::from_fn(|| timers.due(now)).collect()
    }

    #[test]
    fn entries_come_due_in_order_and_leave_nothing_behind() {
        let start = 0;
        let mut timers = Timers::new();
        timers.file(1, start + 2 * SECOND);
        timers.file(2, start + SECOND);
        assert_eq!(timers.due(start), None);
        assert_eq!(all_due(&mut timers, start + 3 * SECOND), [2, 1]);
        timers.file(2, start + 5 * SECOND);
        timers.file(1, start + 4 * SECOND);
        timers.remove(1);
        assert_eq!(all_due(&mut timers, start + 6 * SECOND), [2]);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn an_entry_moves_to_an_earlier_time_and_not_to_a_later_one() {
        let start = 0;
        let mut timers = Timers::new();
        timers.file(7, start + 3 * SECOND);
        timers.file(7, start + SECOND);
        timers.file(7, start + 2 * SECOND);
        assert_eq!(all_due(&mut timers, start + SECOND + TICK_NANOSECONDS), [7]);
    }

    #[test]
    fn what_the_wheel_does_not_reach_is_early() {
        let start = 0;
        let mut timers = Timers::new();
        timers.file(0, start + 1_000_000 * SECOND);
        let next = timers.next().unwrap();
        assert!(next > start + 60 * SECOND && next < start + 70 * SECOND);
        assert_eq!(all_due(&mut timers, next), [0]);
    }

    proptest! {
        /// The same steps on a map from slots to times.
        #[test]
        fn nobody_is_early_within_the_wheel_nor_late_nor_forgotten(
            steps in prop::collection::vec((0..20_usize, 0..60_000_u64, any::<bool>(), 0..500_u64), 1..200),
        ) {
            let mut now = 0;
            let mut timers = Timers::new();
            let mut expected = std::collections::BTreeMap::new();
            for (slot, after, remove, passes) in steps {
                if remove {
                    timers.remove(slot);
                    expected.remove(&slot);
                } else {
                    let at = now + after * MILLISECOND;
                    timers.file(slot, at);
                    let entry = expected.entry(slot).or_insert(at);
                    *entry = at.min(*entry);
                }
                now += passes * MILLISECOND;
                while let Some(slot) = timers.due(now) {
                    let at = expected.remove(&slot);
                    prop_assert!(at.is_some_and(|at| at <= now), "{slot} is early");
                }
                prop_assert!(expected.values().all(|at| *at + 2 * TICK_NANOSECONDS > now), "one is late");
            }
            prop_assert_eq!(timers.next().is_some(), !expected.is_empty());
        }
    }
}
