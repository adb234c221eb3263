//! One worker's connections, by slot; slots are used again, and tags tell old from new.

use mio::Token;

use super::connection::Connection;

/// The connections of one worker. Grows to the most there have been at once.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Connection>>,
    free: Vec<usize>,
}

impl Table {
    /// For up to so many connections.
    pub(super) fn new(most: usize) -> Self {
        // Reserved isn't used yet: the kernel gives memory for what is written to.
        Self { slots: Vec::with_capacity(most.min(RESERVED)), free: Vec::new() }
    }

    /// A slot for the next connection; it is nobody's until [`put`](Self::put).
    pub(super) fn vacant(&mut self) -> usize {
        if let Some(slot) = self.free.pop() {
            return slot;
        }
        self.slots.push(None);
        self.slots.len() - 1
    }

    /// Puts `connection`, or nobody after all, into a slot that [`vacant`](Self::vacant) gave.
    pub(super) fn put(&mut self, slot: usize, connection: Option<Connection>) {
        if connection.is_none() {
            self.free.push(slot);
        }
        self.slots[slot] = connection;
    }

    pub(super) fn get_mut(&mut self, slot: usize) -> Option<&mut Connection> {
        self.slots.get_mut(slot)?.as_mut()
    }

    pub(super) fn remove(&mut self, slot: usize) -> Option<Connection> {
        let connection = self.slots.get_mut(slot)?.take()?;
        self.free.push(slot);
        Some(connection)
    }

    /// How many connections there are.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// How many slots there are: every connection's is below it.
    pub(super) fn slots(&self) -> usize {
        self.slots.len()
    }
}

/// Most workers never have more connections than this, so that the table needn't move.
const RESERVED: usize = 65_536;

/// What an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subject {
    /// The worker was woken to look at its orders.
    Orders,
    /// Somebody may be waiting at the listener of this number.
    Listener(usize),
    /// A socket of the connection in `slot`, if that socket still has this `tag`.
    Connection { slot: usize, tag: u32 },
}

impl Subject {
    /// As epoll carries it: the tag, which is never 0, in the upper half; slot or index in the lower.
    pub(super) fn token(self) -> Token {
        match self {
            Self::Orders => Token(u32::MAX as usize),
            Self::Listener(index) => Token(index),
            Self::Connection { slot, tag } => Token((tag as usize) << 32 | slot),
        }
    }

    pub(super) fn of(token: Token) -> Self {
        let (tag, low) = ((token.0 >> 32) as u32, token.0 & u32::MAX as usize);
        match (tag, low) {
            (0, low) if low == u32::MAX as usize => Self::Orders,
            (0, index) => Self::Listener(index),
            (tag, slot) => Self::Connection { slot, tag },
        }
    }
}

#[cfg(not(target_pointer_width = "64"))]
compile_error!("a token carries slot and tag in 64 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_says_what_it_is_about() {
        for subject in [
            Subject::Orders,
            Subject::Listener(0),
            Subject::Listener(7),
            Subject::Connection { slot: 0, tag: 1 },
            Subject::Connection { slot: 99_999, tag: u32::MAX },
        ] {
            assert_eq!(Subject::of(subject.token()), subject);
        }
    }
}
