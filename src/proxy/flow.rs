//! One direction of a proxied connection: from one side's reads to the other's writes.

use super::side::{Read, Side};

/// What is on its way in one direction, and how far that direction has come.
///
/// ```text
///            end or error read            all written
///   Open ------------------------> Ending ------------> Done
///     |                              |   target is gone   ^
///     +------------------------------+--------------------+
/// ```
#[derive(Debug, Default)]
pub(super) struct Flow {
    state: State,
    /// Read but not taken by the target: at most one buffer, for nothing is read while there is some. It is given
    /// back when written, so that an idle connection owns no buffer.
    pending: Vec<u8>,
    /// How much of `pending` has been written.
    written: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Open,
    Ending,
    Done,
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
}

impl Flow {
    /// Passes on what can be passed on now, through `buffer` and in at most [`READS_A_TURN`] reads.
    ///
    /// At the end of `from` the target is told so, unless this is the `last` direction, where closing does that.
    pub(super) fn advance(
        &mut self,
        from: &mut Side,
        to: &mut Side,
        buffer: &mut [u8],
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
                State::Open | State::Ending if !self.pending.is_empty() => {
                    if !to.writable || !self.write_pending(to, &mut progress) {
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
                    self.read(from, to, buffer, &mut progress);
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

    fn read(&mut self, from: &mut Side, to: &mut Side, buffer: &mut [u8], progress: &mut Progress) {
        match from.read(buffer) {
            Read::Bytes { count, last } => {
                if last {
                    self.state = State::Ending;
                }
                let bytes = &buffer[..count];
                let written = to.write(bytes, last);
                progress.passed += written as u64;
                progress.moved = true;
                if written < count && !to.reset {
                    self.pending = bytes[written..].to_vec();
                    self.written = 0;
                }
            }
            Read::End | Read::Reset => self.state = State::Ending,
            Read::Nothing => {}
        }
    }

    /// Whether all of it was taken.
    fn write_pending(&mut self, to: &mut Side, progress: &mut Progress) -> bool {
        let rest = &self.pending[self.written..];
        let written = to.write(rest, self.state == State::Ending);
        let all = written == rest.len();
        self.written += written;
        progress.passed += written as u64;
        progress.moved |= written > 0;
        if all {
            self.pending = Vec::new();
            self.written = 0;
        }
        all
    }

    fn abandon(&mut self) {
        *self = Self { state: State::Done, ..Self::default() };
    }
}

/// How many reads one direction of one connection gets before the others have theirs.
const READS_A_TURN: usize = 8;
