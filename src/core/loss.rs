//! How many datagrams get lost, told by the gaps in one stream, and how much patience follows from it.
//!
//! A member numbers what it tells everybody (its beats). A number that never came is a loss; silence isn't: it may
//! be a death, and the more patient with losses, the later it would be found.

/// Beats that a measurement looks back on.
const LONG: u32 = 128;
/// And so many of the last ones by themselves: losses begin suddenly.
const SHORT: u32 = 16;
/// A longer gap is an outage, and says nothing of what gets lost otherwise.
const OUTAGE: u64 = 16;
/// Unanswered probes that are enough when nothing gets lost.
const ENOUGH: u32 = 10;
/// No more than this, in a thousand, is believed: nobody would wait for ever.
pub(super) const MOST: u32 = 500;
/// Chance that all probes of a holder that is well, or their answers, get lost: what is known of the losses may come from
/// before they began, or be too little by as much again.
const MISTAKE: f64 = 1e-16;

/// What has arrived of one member's beats.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses {
    last: u64,
    /// Bit n: the beat that came n before the last one has arrived.
    arrived: u128,
    /// How many bits mean anything.
    beats: u32,
}

impl Losses {
    /// Beat `number` has arrived, for the first time or again.
    pub(super) fn hear(&mut self, number: u64) {
        if number <= self.last {
            let behind = self.last - number;
            if behind < u64::from(LONG) {
                self.arrived |= 1 << behind;
            }
            return;
        }
        let ahead = number - self.last;
        if self.beats == 0 || ahead > OUTAGE {
            *self = Self { last: number, arrived: 1, beats: 1 };
        } else {
            let beats = self.beats + ahead as u32;
            *self = Self { last: number, arrived: self.arrived << ahead | 1, beats: beats.min(LONG) };
        }
    }

    /// So many of a thousand datagrams get lost, one way.
    pub(super) fn per_mille(&self) -> u32 {
        let of_the_last = |window: u32| {
            let beats = self.beats.min(window);
            let counted = if beats == LONG { u128::MAX } else { (1 << beats) - 1 };
            let lost = beats - (self.arrived & counted).count_ones();
            // A loss among a handful of beats isn't a rate yet.
            lost * 1000 / beats.max(SHORT)
        };
        of_the_last(SHORT).max(of_the_last(LONG))
    }
}

/// So many of a thousand datagrams may get lost where so many in a row were; a long row is an outage.
pub(super) fn in_a_row(lost: u64) -> u32 {
    match lost {
        0 | 1 => 0,
        2 => MOST / 2,
        3..=OUTAGE => MOST,
        _outage => 0,
    }
}

/// How many unanswered probes prove silence where so many of a thousand datagrams get lost each way; each probe
/// goes by one or by several `ways` that get lost by themselves.
pub(super) fn enough(per_mille: u32, ways: u32) -> u32 {
    let arrives = 1.0 - f64::from(per_mille.min(MOST)) / 1000.0;
    let unanswered = 1.0 - arrives * arrives;
    // Nothing lost: the logarithm is infinite, and a single probe would do.
    let probes = (MISTAKE.ln() / (f64::from(ways) * unanswered.ln())).ceil();
    (probes as u32).max(ENOUGH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(beats: impl Iterator<Item = u64>) -> u32 {
        let mut losses = Losses::default();
        beats.for_each(|number| losses.hear(number));
        losses.per_mille()
    }

    #[test]
    fn a_gap_is_a_loss_and_silence_is_none() {
        assert_eq!(measured(1..=1000), 0);
        assert_eq!(measured((1..=1000).filter(|n| n % 4 != 0)), 250);
        assert_eq!(measured(std::iter::empty()), 0);
    }

    #[test]
    fn losses_that_begin_suddenly_are_seen_within_a_few_beats() {
        let loss = measured((1..=1010).filter(|n| *n <= 1000 || n % 2 == 0));
        assert!((250..=400).contains(&loss), "{loss}");
    }

    #[test]
    fn what_is_only_late_is_not_lost() {
        assert_eq!(
            measured((1..=200).flat_map(|n| if n % 2 == 0 { [n, n - 1] } else { [n.max(2) - 1; 2] })),
            0
        );
    }

    #[test]
    fn an_outage_says_nothing_of_what_gets_lost_otherwise() {
        assert_eq!(measured((1..=100).chain(500..=600)), 0);
        assert!(measured((1..=100).chain([u64::MAX])) == 0, "nor does a number that nobody can have reached");
    }

    #[test]
    fn several_lost_in_a_row_are_a_rate_and_many_an_outage() {
        assert_eq!([0, 1, 2, 3, OUTAGE, OUTAGE + 1].map(in_a_row), [0, 0, 250, 500, 500, 0]);
    }

    #[test]
    fn patience_grows_with_the_losses_and_has_an_end() {
        let counts = [(0, 10), (50, 10), (100, 12), (200, 19), (300, 28), (400, 42), (500, 65), (1000, 65)];
        assert_eq!((enough(0, 1), enough(300, 1)), (10, 55));
        for (loss, probes) in counts {
            assert_eq!(enough(loss, 2), probes, "{loss} of a thousand lost");
        }
    }
}
