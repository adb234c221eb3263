//! What outlives a plan: who has which place in the tables, and has counted how much.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Tallies;
use super::routes::Turns;
use super::{FOREVER, Plan, ServicePlan};
use crate::config::Timeouts;

/// The services of all plans so far, each at its number: a few hundred bytes for each that an operator has ever named.
#[derive(Debug, Default)]
pub(super) struct Books {
    services: Vec<ServicePlan>,
    turns: Turns,
    /// For each worker.
    pub(super) tallies: Vec<Arc<Tallies>>,
}

/// A plan, as one worker goes by it.
#[derive(Debug)]
pub(super) struct Planned {
    /// Each service at its number. One that is gone has no backends.
    pub(super) services: Vec<ServicePlan>,
    pub(super) turns: Turns,
    pub(super) tallies: Arc<Tallies>,
}

impl Books {
    /// For so many workers, of whom nobody has counted anything yet.
    pub(super) fn new(workers: usize) -> Self {
        Self { tallies: vec![Arc::default(); workers], ..Self::default() }
    }

    /// Takes in another plan: for each worker what it is to go by.
    pub(super) fn plan(&mut self, plan: Plan) -> Vec<Planned> {
        for gone in &mut self.services {
            gone.backends.clear();
        }
        for service in plan.services {
            let nobody = |number| ServicePlan { number, backends: Vec::new(), ..service.clone() };
            while self.services.len() <= service.number {
                self.services.push(nobody(self.services.len()));
            }
            let number = service.number;
            self.services[number] = within_reason(service);
        }
        self.turns = self.turns.extended(self.services.len());
        for tallies in &mut self.tallies {
            *tallies = Arc::new(Tallies::of(&self.services, tallies));
        }
        let planned = |tallies: &Arc<Tallies>| Planned {
            services: self.services.clone(),
            turns: self.turns.clone(),
            tallies: Arc::clone(tallies),
        };
        self.tallies.iter().map(planned).collect()
    }
}

/// With timeouts that can always be added up.
fn within_reason(mut service: ServicePlan) -> ServicePlan {
    let Timeouts { connect, client, server } = service.timeouts;
    let [connect, client, server] = [connect, client, server].map(|timeout: Duration| timeout.min(FOREVER));
    service.timeouts = Timeouts { connect, client, server };
    service
}
