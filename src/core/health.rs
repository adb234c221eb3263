//! From single results to a verdict: rise and fall, as HAProxy and keepalived count them.

use super::transition::Verdict;

/// One probed or checked thing's health.
///
/// ```text
///              first success                      `fall` failures in a row
///   Unknown ------------------> Up <------------------------------------> Down
///      |                             `rise` successes in a row             ^
///      +-------------------------------------------------------------------+
///              first failure
/// ```
///
/// Never up until proven: the first result decides, whatever `rise` and `fall` say, and they count from then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    rise: u32,
    fall: u32,
    state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Unknown,
    Up { failures: u32 },
    Down { successes: u32 },
}

impl Health {
    /// Unknown, with the numbers of results in a row that change the verdict (0 counts as 1).
    pub fn new(rise: u32, fall: u32) -> Self {
        Self { rise: rise.max(1), fall: fall.max(1), state: State::Unknown }
    }

    /// Takes in one result; true when the verdict changed.
    pub fn record(&mut self, success: bool) -> bool {
        let before = self.verdict();
        self.state = match (&self.state, success) {
            (State::Unknown | State::Up { .. }, true) => State::Up { failures: 0 },
            (State::Unknown | State::Down { .. }, false) => State::Down { successes: 0 },
            (State::Up { failures }, false) if failures + 1 >= self.fall => State::Down { successes: 0 },
            (State::Up { failures }, false) => State::Up { failures: failures + 1 },
            (State::Down { successes }, true) if successes + 1 >= self.rise => State::Up { failures: 0 },
            (State::Down { successes }, true) => State::Down { successes: successes + 1 },
        };
        self.verdict() != before
    }

    /// Other numbers from now on; the verdict stays, and what has been counted towards another one.
    pub fn adjust(&mut self, rise: u32, fall: u32) {
        (self.rise, self.fall) = (rise.max(1), fall.max(1));
    }

    /// Unknown again: nobody has looked for a while.
    pub fn forget(&mut self) {
        self.state = State::Unknown;
    }

    /// What it has come to.
    pub fn verdict(&self) -> Verdict {
        match self.state {
            State::Unknown => Verdict::Unknown,
            State::Up { .. } => Verdict::Up,
            State::Down { .. } => Verdict::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Results as a string of `+` and `-`; verdicts after each as `?`, `U`, `D`.
    fn verdicts(rise: u32, fall: u32, results: &str) -> String {
        let mut health = Health::new(rise, fall);
        results
            .chars()
            .map(|result| {
                health.record(result == '+');
                match health.verdict() {
                    Verdict::Unknown => '?',
                    Verdict::Up => 'U',
                    Verdict::Down => 'D',
                }
            })
            .collect()
    }

    #[test]
    fn the_verdict_follows_the_table() {
        for (rise, fall, results, expected) in [
            (2, 3, "+", "U"),             // the first result decides, up
            (2, 3, "-", "D"),             // and down
            (2, 3, "+---", "UUUD"),       // the third failure in a row takes it out
            (2, 3, "+--+--", "UUUUUU"),   // a success in between starts the count anew
            (2, 3, "-++", "DDU"),         // two in a row bring it back
            (2, 3, "-+-+-++", "DDDDDDU"), // a failure in between starts the count anew
            (1, 1, "+-+-", "UDUD"),
            (0, 0, "+-+-", "UDUD"), // 0 counts as 1
            (3, 3, "+---+++", "UUUDDDU"),
        ] {
            assert_eq!(verdicts(rise, fall, results), expected, "rise {rise}, fall {fall}: {results}");
        }
    }

    #[test]
    fn a_change_is_reported_once() {
        let mut health = Health::new(2, 2);
        let changes: Vec<bool> = "+--++".chars().map(|c| health.record(c == '+')).collect();
        assert_eq!(changes, [true, false, true, false, true]);
    }
}
