//! Another configuration, taken in by a driver that goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Driver, known_addresses};
use crate::admin::{NotReloaded, Reloaded};
use crate::config::{self, Config};
use crate::core::{AdminState, MemberState};
use crate::guard::clock;
use crate::node::{layout, start};
use crate::proxy::Plan;
use crate::telemetry::Event;

/// What is told of a reload that found nothing new.
const NOTHING: &str = "nothing";

impl Driver {
    /// Goes on by the file as it was `read`, or tells why not and goes on as before; then all others are to do the same
    /// if `cluster` says so: never by a file that this node itself refuses.
    pub(super) fn reload(
        &mut self,
        read: Result<Config, String>,
        by: &str,
        cluster: bool,
    ) -> Result<Reloaded, NotReloaded> {
        let mut outcome = match read {
            Ok(config) => self.go_on_by(config),
            Err(report) => Err(NotReloaded { report }),
        };
        self.metrics.reloaded(outcome.is_ok());
        match &outcome {
            Ok(Reloaded { config, changed, asked: _ }) => {
                let changed = changed.join(", ");
                let changed = if changed.is_empty() { NOTHING } else { &changed };
                Event::ConfigReloaded { config, changed, by }.tell();
            }
            Err(refused) => Event::ConfigReloadFailed { error: refused.first_line(), by }.tell(),
        }
        if let (true, Ok(reloaded)) = (cluster, &mut outcome) {
            self.tell_all_to_reload();
            let members = self.core.members().iter();
            let now = clock::now();
            let there = members.filter(|(_, member)| member.state(now) <= MemberState::Suspect);
            reloaded.asked = there.map(|(_, member)| member.name().to_owned()).collect();
        }
        // Before the answer, so that whoever has it sees what it says in the status, too.
        self.news = true;
        self.publish();
        outcome
    }

    fn go_on_by(&mut self, mut config: Config) -> Result<Reloaded, NotReloaded> {
        let digest = config::digest(&config);
        if config.cluster.witness.contains(&self.identity.name) {
            start::only_vote(&mut config);
        }
        let difference = config::difference(&self.config, &config, &self.identity);
        if !difference.needs_restart.is_empty() {
            return Err(NotReloaded::needs_restart(&difference.needs_restart));
        }
        let config = config::in_order_of(&self.config, config);
        let hex = config::hex(&digest);
        let shown = hex[..16].to_owned();
        if config != *self.config || shown != self.digest {
            let moved = moved(&self.config, &config);
            self.addresses = self.addresses_in(&config, &moved);
            self.numbers = Arc::new(self.numbers.after(&self.config, &config));
            self.metrics = Arc::new(self.metrics.relaid(layout(&config, &self.identity, &hex)));
            self.config = Arc::new(config);
            self.digest.clone_from(&shown);
            self.reconfigure(&digest, &moved);
        }
        Ok(Reloaded { config: shown, changed: difference.changed, asked: Vec::new() })
    }

    /// Everybody else learns what the configuration is now.
    fn reconfigure(&mut self, digest: &[u8; 32], moved: &[(usize, usize)]) {
        self.prober.replace(&self.config, &self.numbers);
        self.hearsay.forget_views();
        // Who isn't named any more is forgotten as others are: when it has gone.
        if self.peers.know_always(start::known_addresses(&self.config)) {
            self.tell_of_peers();
        }
        let settings = start::settings(&self.config, &self.identity, digest);
        self.core.reconfigure(settings, moved, clock::now());
        let plan = Plan::new(&self.config.services, self.numbers.backends());
        self.proxy.replan(plan, Arc::new(self.routes()));
        // Probes that begin anew know of no operator.
        for (service, known) in self.core.services().iter().enumerate() {
            for (backend, state) in known.backends().iter().enumerate() {
                if state.admin() == AdminState::Maint {
                    self.prober.pause(service, self.numbers.backends()[service][backend], true);
                }
            }
        }
        self.carry_out_all();
        self.hear_directory_again();
    }

    /// Where each backend of `config` is: as it was found out, for those that are where they were.
    fn addresses_in(&self, config: &Config, moved: &[(usize, usize)]) -> Vec<Vec<Option<SocketAddr>>> {
        let mut addresses = known_addresses(config);
        for (at, service) in config.services.iter().enumerate() {
            for (backend, configured) in service.backends.iter().enumerate() {
                let known = self.config.services[at].backends.iter().position(|b| b.name == configured.name);
                if let Some(known) = known.filter(|_| !moved.contains(&(at, backend))) {
                    addresses[at][backend] = self.addresses[at][known];
                }
            }
        }
        addresses
    }
}

/// The backends of `after` whose names stood for other addresses in `before`, which has the same services.
fn moved(before: &Config, after: &Config) -> Vec<(usize, usize)> {
    let mut moved = Vec::new();
    for (at, (was, service)) in before.services.iter().zip(&after.services).enumerate() {
        for (backend, configured) in service.backends.iter().enumerate() {
            let was = was.backends.iter().find(|was| was.name == configured.name);
            if was.is_some_and(|was| was.address != configured.address) {
                moved.push((at, backend));
            }
        }
    }
    moved
}
