//! For how long a worker looks for more events before it sleeps.
//!
//! A sleep is dear under load: the processor goes idle, and the next event has to wake it, which takes some 40 µs on a
//! virtual machine, as long as eight requests. Whoever was just about to ask waits a whole round longer: with few but
//! busy connections, a pool's, that is the slowest hundredth. So a worker that has had several events since it last
//! slept looks on for a moment, and the less often that brings anything, the less often it does so. Nobody who asks now
//! and then makes it spin, nor does bulk, where nobody waits for an answer, nor do many connections: they share what a
//! sleep costs, and processor time is worth more.

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

/// What a worker has done since it looked for events last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Round {
    /// How many events there were.
    pub(super) events: usize,
    /// Connections that are open.
    pub(super) connections: usize,
    /// Whether bulk was among what was moved.
    pub(super) bulk: bool,
}

impl Spin {
    pub(super) fn new(asked: Duration) -> Self {
        Self { asked, events: 0, fruitless: 0, pass: 0 }
    }

    /// How long to look before the sleep that is due after `round`.
    pub(super) fn before_sleep(&mut self, round: Round) -> Duration {
        self.events = if round.bulk { 0 } else { self.events.saturating_add(round.events) };
        if !self.asked.is_zero() {
            return self.asked;
        }
        if self.events < BUSY || round.connections > FEW {
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

    /// So many events of requests on eight connections.
    const fn requests(events: usize) -> Round {
        Round { events, connections: 8, bulk: false }
    }

    /// Of so many of these rounds, each of which ends in a sleep, how many were followed by a spin that brings nothing.
    fn fruitless_rounds(spin: &mut Spin, rounds: usize, round: Round) -> usize {
        let mut looks = 0;
        for _ in 0..rounds {
            if !spin.before_sleep(round).is_zero() {
                spin.looked(false);
                looks += 1;
            }
            spin.sleeps();
        }
        looks
    }

    #[test]
    fn who_asks_one_thing_after_the_other_makes_nobody_spin() {
        assert_eq!(fruitless_rounds(&mut Spin::new(Duration::ZERO), 1000, requests(2)), 0);
    }

    #[test]
    fn events_of_several_rounds_without_a_sleep_make_a_busy_worker() {
        let mut spin = Spin::new(Duration::ZERO);
        assert_eq!(
            (spin.before_sleep(requests(2)), spin.before_sleep(requests(2))),
            (Duration::ZERO, MOMENT)
        );
        spin.looked(true);
        assert_eq!(spin.before_sleep(requests(1)), MOMENT);
    }

    #[test]
    fn many_connections_make_nobody_spin() {
        let mut spin = Spin::new(Duration::ZERO);
        let on = |connections| Round { connections, ..requests(64) };
        assert_eq!((spin.before_sleep(on(FEW)), spin.before_sleep(on(FEW + 1))), (MOMENT, Duration::ZERO));
    }

    #[test]
    fn bulk_makes_nobody_spin() {
        let bulk = Round { bulk: true, ..requests(64) };
        assert_eq!(fruitless_rounds(&mut Spin::new(Duration::ZERO), 1000, bulk), 0);
    }

    #[test]
    fn spins_that_bring_nothing_become_rare_and_one_that_brings_something_makes_them_usual_again() {
        let mut spin = Spin::new(Duration::ZERO);
        // After the first two sleeps pass without one, then four, and so on.
        assert_eq!(fruitless_rounds(&mut spin, 7 + 126, requests(8)), 7);
        assert_eq!(fruitless_rounds(&mut spin, 6500, requests(8)), 100);
        while spin.before_sleep(requests(8)).is_zero() {}
        spin.looked(true);
        assert_eq!(spin.before_sleep(requests(8)), MOMENT);
    }

    #[test]
    fn what_the_configuration_asks_for_is_done_before_every_sleep() {
        let mut spin = Spin::new(Duration::from_micros(20));
        assert_eq!(fruitless_rounds(&mut spin, 1000, requests(0)), 1000);
    }
}
