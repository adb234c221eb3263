//! Another configuration, taken in by a driver that goes on.

use std::net::SocketAddr;
use std::sync::Arc;

use super::Driver;
use crate::admin::{NotReloaded, Reloaded};
use crate::config::{self, Config, Endpoint};
use crate::core::{AdminState, MemberState};
use crate::guard::clock;
use crate::node::{RunError, layout, start};
use crate::proxy::{Listeners, Plan};
use crate::telemetry::Event;

/// What is told of a reload that found nothing new.
const NOTHING: &str = "nothing";

/// Where each backend is, before any name has been resolved.
pub(in crate::node) fn known_addresses(config: &Config) -> Vec<Vec<Option<SocketAddr>>> {
    let address = |endpoint: &Endpoint| match endpoint {
        Endpoint::Address(address) => Some(*address),
        Endpoint::Name(..) => None,
    };
    config.services.iter().map(|s| s.backends.iter().map(|b| address(&b.address)).collect()).collect()
}

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
        if self.leaving_since.is_some() {
            return Err(NotReloaded::stopping());
        }
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
            let opened = start::listen_anew(&self.config, &config).map_err(not_opened)?;
            let closed = self.closed(&config);
            self.addresses = self.addresses_in(&config, &moved);
            self.numbers = Arc::new(self.numbers.after(&self.config, &config));
            self.metrics = Arc::new(self.metrics.relaid(layout(&config, &self.identity, &hex)));
            self.config = Arc::new(config);
            self.digest.clone_from(&shown);
            let number = |(service, socket): (usize, _)| (self.numbers.services()[service], socket);
            let opened = opened.into_iter().map(|all| all.into_iter().map(number).collect()).collect();
            self.reconfigure(&digest, &moved, Listeners { opened, closed });
        }
        Ok(Reloaded { config: shown, changed: difference.changed, asked: Vec::new() })
    }

    /// Everybody else learns what the configuration is now.
    fn reconfigure(&mut self, digest: &[u8; 32], moved: &[(usize, usize)], listeners: Listeners) {
        self.prober.replace(&self.config, &self.numbers);
        self.hearsay.forget_views();
        let settings = start::settings(&self.config, &self.identity, digest);
        self.core.reconfigure(settings, moved, clock::now());
        let plan = Plan::new(&self.config.services, self.numbers.all());
        self.proxy.replan(plan, Arc::new(self.routes()), listeners);
        // Probes that begin anew know of no operator.
        for (service, known) in self.core.services().iter().enumerate() {
            for (backend, state) in known.backends().iter().enumerate() {
                if state.admin() == AdminState::Maint {
                    let (service, backend) = self.numbered(service, backend);
                    self.prober.pause(service, backend, true);
                }
            }
        }
        // Who isn't named any more is forgotten as others are: when it has gone. Only now, when everything is of one
        // configuration: the guard may be found dead by it.
        if self.peers.know_always(start::known_addresses(&self.config)) {
            self.tell_of_peers();
        }
        self.carry_out_all();
        self.hear_directory_again();
    }

    /// Where each backend of `config` is: as it was found out, for those that are where they were.
    fn addresses_in(&self, config: &Config, moved: &[(usize, usize)]) -> Vec<Vec<Option<SocketAddr>>> {
        let mut addresses = known_addresses(config);
        for (at, service) in config.services.iter().enumerate() {
            let Some(was) = self.config.services.iter().position(|was| was.name == service.name) else {
                continue;
            };
            for (backend, configured) in service.backends.iter().enumerate() {
                let known = self.config.services[was].backends.iter().position(|b| b.name == configured.name);
                if let Some(known) = known.filter(|_| !moved.contains(&(at, backend))) {
                    addresses[at][backend] = self.addresses[was][known];
                }
            }
        }
        addresses
    }

    /// Where services by their numbers don't listen any more, that `config` doesn't have there.
    fn closed(&self, config: &Config) -> Vec<(usize, SocketAddr)> {
        let mut closed = Vec::new();
        for (number, service) in self.numbers.services().iter().zip(&self.config.services) {
            let stays = config.services.iter().find(|stays| stays.name == service.name);
            let gone = |address: &&SocketAddr| stays.is_none_or(|stays| !stays.listen.contains(address));
            closed.extend(service.listen.iter().filter(gone).map(|address| (*number, *address)));
        }
        closed
    }
}

fn not_opened(error: RunError) -> NotReloaded {
    match error {
        RunError::Problems(report) => NotReloaded { report },
        RunError::Refused { status: _, message, hint } => {
            NotReloaded { report: format!("error: {message}\nhint: {hint}") }
        }
    }
}

/// The backends of `after` whose names stood for other addresses in `before`.
fn moved(before: &Config, after: &Config) -> Vec<(usize, usize)> {
    let mut moved = Vec::new();
    for (at, service) in after.services.iter().enumerate() {
        let Some(was) = before.services.iter().find(|was| was.name == service.name) else { continue };
        for (backend, configured) in service.backends.iter().enumerate() {
            let was = was.backends.iter().find(|was| was.name == configured.name);
            if was.is_some_and(|was| was.address != configured.address) {
                moved.push((at, backend));
            }
        }
    }
    moved
}
