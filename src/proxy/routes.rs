//! Where connections go: an immutable snapshot, shared by all workers, and the pick from it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::core::balance;

/// Where the connections of every service go, until the next snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Routes {
    /// One for each service, at its number; a missing one has no target.
    pub services: Vec<Route>,
}

/// Where one service's connections go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Route {
    /// Shared out by weight; a weight of zero gets none.
    pub targets: Vec<Target>,
    /// Up, but passed over: tried in this order once no target is left to try. Weights don't count here.
    pub reserve: Vec<Target>,
}

/// A backend that may get connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target {
    /// Number of the backend.
    pub backend: usize,
    /// Where it listens.
    pub address: SocketAddr,
    /// Its share of the new connections.
    pub weight: u16,
}

/// [`Routes`] made ready for picking.
#[derive(Debug)]
pub(super) struct Snapshot {
    routes: Arc<Routes>,
    /// For each service one cycle of indices into its targets.
    cycles: Vec<Vec<usize>>,
}

impl Snapshot {
    pub(super) fn new(routes: Arc<Routes>) -> Self {
        let cycle = |route: &Route| {
            let weights: Vec<u16> = route.targets.iter().map(|target| target.weight).collect();
            balance::order(&weights)
        };
        let cycles = routes.services.iter().map(cycle).collect();
        Self { routes, cycles }
    }

    /// The target for the connection whose turn it is, leaving out the backends it has `tried`.
    ///
    /// The first is the turn's own. Then it goes on along the cycle, whose turns it doesn't use up: one dead
    /// backend doesn't unbalance the living ones.
    pub(super) fn pick(&self, service: usize, turn: usize, tried: &[usize]) -> Option<Target> {
        let route = self.routes.services.get(service)?;
        let cycle = self.cycles.get(service)?;
        let start = turn.checked_rem(cycle.len()).unwrap_or(0);
        let (before, from_turn) = cycle.split_at(start);
        from_turn
            .iter()
            .chain(before)
            .filter_map(|index| route.targets.get(*index))
            .chain(&route.reserve)
            .find(|target| !tried.contains(&target.backend))
            .copied()
    }
}

/// Whose turn it is in each service, counted over all workers and kept from one snapshot to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Vec<Arc<AtomicUsize>>);

impl Turns {
    /// For so many services; those that there were go on.
    pub(super) fn extended(&self, services: usize) -> Self {
        Self((0..services).map(|at| self.0.get(at).cloned().unwrap_or_default()).collect())
    }

    /// Takes one turn of `service`.
    pub(super) fn take(&self, service: usize) -> usize {
        self.0.get(service).map_or(0, |turn| turn.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn target(backend: usize, weight: u16) -> Target {
        Target { backend, address: (Ipv4Addr::LOCALHOST, 80).into(), weight }
    }

    fn snapshot(targets: Vec<Target>, reserve: Vec<Target>) -> Snapshot {
        Snapshot::new(Arc::new(Routes { services: vec![Route { targets, reserve }] }))
    }

    fn picks(snapshot: &Snapshot, turn: usize) -> Vec<usize> {
        let mut tried = Vec::new();
        while let Some(target) = snapshot.pick(0, turn, &tried) {
            tried.push(target.backend);
        }
        tried
    }

    #[test]
    fn a_connection_tries_every_target_then_the_reserve_and_each_once() {
        let snapshot =
            snapshot(vec![target(0, 1), target(2, 2), target(4, 0)], vec![target(1, 1), target(2, 1)]);
        assert_eq!(picks(&snapshot, 0), [2, 0, 1]);
        assert_eq!(picks(&snapshot, 1), [0, 2, 1]);
    }

    #[test]
    fn without_targets_the_reserve_serves() {
        assert_eq!(picks(&snapshot(vec![], vec![target(3, 0)]), 17), [3]);
    }

    #[test]
    fn a_service_that_the_snapshot_does_not_know_has_no_target() {
        assert_eq!(snapshot(vec![], vec![]).pick(5, 0, &[]), None);
    }
}
