//! One connection's way through its service's backends, until one answers.

use super::routes::{Snapshot, Target};

/// Which backends one connection has still to try.
#[derive(Debug, Default)]
pub(super) struct Search {
    turn: usize,
    /// Empty, and so without an allocation, for nearly every connection.
    tried: Vec<usize>,
    /// Of `tried`, those given up only because their answer was late.
    late: Vec<usize>,
    patient: bool,
}

impl Search {
    /// The search of the connection whose turn it is.
    pub(super) fn new(turn: usize) -> Self {
        Self { turn, ..Self::default() }
    }

    /// The next to try. When everybody else has failed, those whose answer was late are tried once more.
    pub(super) fn next(&mut self, service: usize, snapshot: &Snapshot) -> Option<Target> {
        let next = snapshot.pick(service, self.turn, &self.tried);
        if next.is_some() || self.late.is_empty() {
            return next;
        }
        self.patient = true;
        self.tried.retain(|backend| !self.late.contains(backend));
        self.late.clear();
        snapshot.pick(service, self.turn, &self.tried)
    }

    /// The attempt at `backend` has failed.
    pub(super) fn pass_over(&mut self, backend: usize) {
        self.tried.push(backend);
    }

    /// The attempt at `backend` is late: gives it up and returns true, if there is anybody else to try.
    pub(super) fn pass_over_late(&mut self, service: usize, backend: usize, snapshot: &Snapshot) -> bool {
        self.tried.push(backend);
        let another = snapshot.pick(service, self.turn, &self.tried).is_some();
        if another {
            self.late.push(backend);
        } else {
            self.tried.pop();
        }
        another
    }

    /// Whether an attempt has been given up already.
    pub(super) fn is_retry(&self) -> bool {
        !self.tried.is_empty() || self.patient
    }

    /// Whether those that were late have their second chance, and the whole connect timeout for it.
    pub(super) fn is_patient(&self) -> bool {
        self.patient
    }
}
