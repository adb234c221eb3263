//! For how long a worker looks for more events before it sleeps.
//!
//! A sleep is dear under load: the processor goes idle, and the next event has to wake it, which takes some 40 µs on a
//! virtual machine, as long as eight requests. Whoever was just about to ask waits a whole round longer: with few but
//! busy connections, a pool's, that is the slowest hundredth. So a worker that has had several events since it last
//! slept looks on for a moment, and the less often that brings anything, the less often it does so. Nobody who asks now
//! and then makes it spin, nor do many connections: they share what a sleep costs, and processor time is worth more.

use std::time::Duration;

/// Of one worker.
#[derive(Debug)]
pub(super) struct Spin {
    /// What the configuration asks for, whatever it brings.
    asked: Duration,
    /// Events since the last sleep.
    events: usize,
    /// Spins that have brought nothing since one did.
    fruitless: u32,
    /// Sleeps to come without a spin before them.
    pass: u32,
}

impl Spin {
    pub(super) fn new(asked: Duration) -> Self {
        Self { asked, events: 0, fruitless: 0, pass: 0 }
    }

    /// How long to look before the sleep that is due, `events` having been dealt with since the last look and so many
    /// connections being open.
    pub(super) fn before_sleep(&mut self, events: usize, connections: usize) -> Duration {
        self.events = self.events.saturating_add(events);
        if !self.asked.is_zero() {
            return self.asked;
        }
        if self.events < BUSY || connections > FEW {
            return Duration::ZERO;
        }
        if self.pass > 0 {
            self.pass -= 1;
            return Duration::ZERO;
        }
        MOMENT
    }

    /// A look has brought events, or nothing.
    pub(super) fn looked(&mut self, found: bool) {
        if found {
            self.fruitless = 0;
        } else {
            self.fruitless = (self.fruitless + 1).min(MOST_DOUBLINGS);
            self.pass = 1 << self.fruitless;
        }
    }

    /// The worker goes to sleep.
    pub(super) fn sleeps(&mut self) {
        self.events = 0;
    }
}

/// Events from one sleep to the next that tell a busy worker: of one request there are two.
const BUSY: usize = 4;
/// Connections of a worker up to which each of them feels a sleep.
const FEW: usize = 16;
/// About what a sleep costs whoever ends it.
const MOMENT: Duration = Duration::from_micros(50);
/// At worst one sleep in 65 has a spin before it, for nothing.
const MOST_DOUBLINGS: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    /// Rounds of so many events on eight connections, each of which ends in a sleep, and how many of them were spun
    /// before.
    fn fruitless_rounds(spin: &mut Spin, rounds: usize, events: usize) -> usize {
        let mut looks = 0;
        for _ in 0..rounds {
            if !spin.before_sleep(events, 8).is_zero() {
                spin.looked(false);
                looks += 1;
            }
            spin.sleeps();
        }
        looks
    }

    #[test]
    fn who_asks_one_thing_after_the_other_makes_nobody_spin() {
        assert_eq!(fruitless_rounds(&mut Spin::new(Duration::ZERO), 1000, 2), 0);
    }

    #[test]
    fn events_of_several_rounds_without_a_sleep_make_a_busy_worker() {
        let mut spin = Spin::new(Duration::ZERO);
        assert_eq!((spin.before_sleep(2, 8), spin.before_sleep(2, 8)), (Duration::ZERO, MOMENT));
        spin.looked(true);
        assert_eq!(spin.before_sleep(1, 8), MOMENT);
    }

    #[test]
    fn many_connections_make_nobody_spin() {
        let mut spin = Spin::new(Duration::ZERO);
        assert_eq!((spin.before_sleep(64, FEW), spin.before_sleep(64, FEW + 1)), (MOMENT, Duration::ZERO));
    }

    #[test]
    fn spins_that_bring_nothing_become_rare_and_one_that_brings_something_makes_them_usual_again() {
        let mut spin = Spin::new(Duration::ZERO);
        // After the first two sleeps pass without one, then four, and so on.
        assert_eq!(fruitless_rounds(&mut spin, 7 + 126, 8), 7);
        assert_eq!(fruitless_rounds(&mut spin, 6500, 8), 100);
        while spin.before_sleep(8, 8).is_zero() {}
        spin.looked(true);
        assert_eq!(spin.before_sleep(8, 8), MOMENT);
    }

    #[test]
    fn what_the_configuration_asks_for_is_done_before_every_sleep() {
        assert_eq!(fruitless_rounds(&mut Spin::new(Duration::from_micros(20)), 1000, 0), 1000);
    }
}
