//! One direction of a proxied connection: from one side's reads to the other's writes.

use super::pipes::{PIPE, Pipe, Pipes};
use super::side::{Read, Side};

/// What a worker moves bytes with.
#[derive(Debug)]
pub(super) struct Means {
    /// One for all connections: between two turns it holds nothing.
    pub(super) buffer: Box<[u8]>,
    /// For bulk.
    pub(super) pipes: Pipes,
    /// Whether any was moved, until somebody takes note of it.
    pub(super) spliced: bool,
}

/// What is on its way in one direction, and how far that direction has come.
///
/// ```text
///            end or error read            all written
///   Open ------------------------> Ending ------------> Done
///     |                              |   target is gone   ^
///     +------------------------------+--------------------+
/// ```
///
/// Bytes are copied through the worker's buffer, until they come so fast that they fill it; then they are spliced
/// through a pipe, which spares both copies, until they come in drops again.
#[derive(Debug, Default)]
pub(super) struct Flow {
    state: State,
    pace: Pace,
    /// Read but not taken by the target: at most one buffer or pipe, for nothing is read while there is some.
    held: Option<Box<Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    Ending,
    Done,
}

/// Whether a direction is bulk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Copied; so many reads in a row filled the buffer.
    Copied { full: u8 },
    /// Spliced; so many in a row were small.
    Spliced { small: u8 },
}

#[derive(Debug)]
enum Held {
    Bytes { bytes: Vec<u8>, written: usize },
    Piped { pipe: Pipe, left: usize },
}

/// What one turn of a flow did.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Progress {
    /// Bytes that the target took.
    pub(super) passed: u64,
    /// Something was read or written: the connection isn't idle.
    pub(super) moved: bool,
    /// The turn's share is used up, and there is more to do at once.
    pub(super) more: bool,
}

impl Progress {
    /// This turn's and a following one's.
    pub(super) fn and(self, next: Self) -> Self {
        Self { passed: self.passed + next.passed, moved: self.moved | next.moved, more: next.more }
    }

    fn note(&mut self, passed: usize) {
        self.passed += passed as u64;
        self.moved |= passed > 0;
    }
}

impl Flow {
    /// Passes on what can be passed on now, by `means` and in at most [`READS_A_TURN`] reads.
    ///
    /// At the end of `from` the target is told so, unless this is the `last` direction, where closing does that.
    pub(super) fn advance(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        means: &mut Means,
        last: bool,
    ) -> Progress {
        let mut progress = Progress::default();
        let mut reads = 0;
        loop {
            if to.reset {
                self.abandon();
            }
            match self.state {
                State::Done => return progress,
                State::Open | State::Ending if self.held.is_some() => {
                    if !to.writable || !self.write_held(to, &mut means.pipes, &mut progress) {
                        if to.reset {
                            continue;
                        }
                        return progress;
                    }
                }
                State::Ending => {
                    // A reset is passed on by the close, which then may be a reset too.
                    if !last && !from.reset {
                        to.finish();
                    }
                    self.state = State::Done;
                }
                State::Open => {
                    // Where nothing can be written nothing is read: the bytes stay with their sender.
                    if !from.readable || !to.writable {
                        return progress;
                    }
                    if reads == READS_A_TURN {
                        progress.more = true;
                        return progress;
                    }
                    reads += 1;
                    match self.pipe(from, &mut means.pipes) {
                        Some(pipe) => {
                            means.spliced = true;
                            self.splice(from, to, pipe, &mut means.pipes, &mut progress);
                        }
                        None => self.copy(from, to, &mut means.buffer, &mut progress),
                    }
                }
            }
        }
    }

    /// Nothing more is read; what was read is still written.
    pub(super) fn end(&mut self) {
        match self.state {
            State::Open => self.state = State::Ending,
            State::Ending | State::Done => {}
        }
    }

    /// Nothing more will be read.
    pub(super) fn is_ending(&self) -> bool {
        self.state != State::Open
    }

    /// Nothing more will be read or written.
    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    fn copy(&mut self, from: &mut Side, to: &mut Side, buffer: &mut [u8], progress: &mut Progress) {
        match from.read(buffer) {
            Read::Bytes { count, last } => {
                if last {
                    self.state = State::Ending;
                }
                self.pace = self.pace.after_copying(count == buffer.len());
                let bytes = &buffer[..count];
                let written = to.write(bytes, last);
                progress.note(written);
                progress.moved = true;
                if written < count && !to.reset {
                    self.held = Some(Box::new(Held::Bytes { bytes: bytes[written..].to_vec(), written: 0 }));
                }
            }
            Read::End | Read::Reset => self.state = State::Ending,
            Read::Nothing => {}
        }
    }

    /// The pipe to splice through, where that is worth it.
    fn pipe(&self, from: &Side, pipes: &mut Pipes) -> Option<Pipe> {
        match self.pace {
            // A splice stops for good at the mark that urgent data leaves; a read goes on behind it.
            Pace::Spliced { .. } if !from.urgent => pipes.take(),
            Pace::Spliced { .. } | Pace::Copied { .. } => None,
        }
    }

    fn splice(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        pipe: Pipe,
        pipes: &mut Pipes,
        progress: &mut Progress,
    ) {
        match from.splice_into(&pipe, PIPE) {
            Read::Bytes { count, .. } => {
                self.pace = self.pace.after_splicing(count);
                progress.moved = true;
                let written = to.splice_from(&pipe, count);
                progress.note(written);
                if written == count {
                    pipes.give_back(pipe);
                } else if !to.reset {
                    self.held = Some(Box::new(Held::Piped { pipe, left: count - written }));
                }
            }
            Read::End | Read::Reset => {
                self.state = State::Ending;
                pipes.give_back(pipe);
            }
            Read::Nothing => pipes.give_back(pipe),
        }
    }

    /// Whether all of it was taken.
    fn write_held(&mut self, to: &mut Side, pipes: &mut Pipes, progress: &mut Progress) -> bool {
        let Some(held) = &mut self.held else { return true };
        let all = match &mut **held {
            Held::Bytes { bytes, written } => {
                let rest = &bytes[*written..];
                let count = to.write(rest, self.state == State::Ending);
                let all = count == rest.len();
                *written += count;
                progress.note(count);
                all
            }
            Held::Piped { pipe, left } => {
                let count = to.splice_from(pipe, *left);
                *left -= count;
                progress.note(count);
                *left == 0
            }
        };
        if all
            && let Some(held) = self.held.take()
            && let Held::Piped { pipe, .. } = *held
        {
            pipes.give_back(pipe);
        }
        all
    }

    fn abandon(&mut self) {
        *self = Self { state: State::Done, ..Self::default() };
    }
}

impl Pace {
    fn after_copying(self, filled: bool) -> Self {
        match self {
            Self::Copied { full } if filled && full + 1 >= BULK_AFTER => Self::Spliced { small: 0 },
            Self::Copied { full } if filled => Self::Copied { full: full + 1 },
            Self::Copied { .. } => Self::Copied { full: 0 },
            // There was no pipe to be had.
            Self::Spliced { .. } if filled => self,
            Self::Spliced { .. } => Self::Copied { full: 0 },
        }
    }

    fn after_splicing(self, count: usize) -> Self {
        match self {
            Self::Spliced { .. } if count >= DROP => Self::Spliced { small: 0 },
            Self::Spliced { small } if small + 1 < DROPS => Self::Spliced { small: small + 1 },
            Self::Spliced { .. } | Self::Copied { .. } => Self::Copied { full: 0 },
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self::Copied { full: 0 }
    }
}

/// How many reads one direction of one connection gets before the others have theirs.
const READS_A_TURN: usize = 8;

/// A direction is bulk when so many reads in a row have filled the buffer.
const BULK_AFTER: u8 = 2;

/// Below it two copies cost less than the two calls of a splice.
const DROP: usize = 16 * 1024;

/// A direction is bulk no longer when so many splices in a row have brought less than a [`DROP`].
const DROPS: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_the_buffer_becomes_bulk_and_what_drips_becomes_none() {
        let mut pace = Pace::default();
        for _ in 0..BULK_AFTER {
            assert!(matches!(pace, Pace::Copied { .. }));
            pace = pace.after_copying(true);
        }
        assert!(matches!(pace, Pace::Spliced { .. }));
        for _ in 1..DROPS {
            pace = pace.after_splicing(DROP - 1);
        }
        pace = pace.after_splicing(DROP);
        assert!(matches!(pace, Pace::Spliced { small: 0 }));
        for _ in 0..DROPS {
            assert!(matches!(pace, Pace::Spliced { .. }));
            pace = pace.after_splicing(1);
        }
        assert_eq!(pace, Pace::default());
    }

    #[test]
    fn one_short_read_begins_the_count_anew() {
        let pace = Pace::default().after_copying(true).after_copying(false).after_copying(true);
        assert!(matches!(pace, Pace::Copied { .. }));
    }
}
