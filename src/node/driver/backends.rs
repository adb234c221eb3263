//! What probes and the proxy say of the backends.

use super::Driver;
use crate::config::Endpoint;
use crate::core::{AdminState, Input};
use crate::guard::clock;
use crate::telemetry::Event as Told;
use crate::{probe, proxy};

impl Driver {
    pub(super) fn probed(&mut self, result: &probe::ProbeResult) {
        // Nobody's any more, or of where it was before.
        let Some((service, backend)) = self.numbers.backend(result.backend) else { return };
        let configured = &self.config.services[service].backends[backend].address;
        if matches!((configured, result.address), (Endpoint::Address(is), Some(was)) if *is != was) {
            return;
        }
        let moved = result.address.filter(|address| self.addresses[service][backend] != Some(*address));
        if let Some(address) = moved {
            self.addresses[service][backend] = Some(address);
        }
        self.metrics.probed(service, backend, result.outcome.map_err(probe::ProbeFailure::as_str));
        if let Err(failure) = &result.outcome {
            let (service, backend) = self.names(service, backend);
            tracing::debug!(service, backend, reason = failure.as_str(), "probe failed");
        }
        self.handle(Input::Probed { service, backend, success: result.outcome.is_ok() });
        if moved.is_some() {
            self.route();
        }
    }

    pub(super) fn heard_proxy(&mut self, report: proxy::Report) {
        match report {
            proxy::Report::ConnectFailed { service: _, backend, reason } => {
                self.connect_failed(backend, reason.as_str());
            }
            proxy::Report::ConnectOverdue { service: _, backend } => self.connect_failed(backend, "overdue"),
            proxy::Report::NoBackend { service } => {
                let Some(service) = self.numbers.service(service) else { return };
                let name = &self.config.services[service].name;
                if let Some(more) = self.throttle.admit(("no_backend", ""), clock::now()) {
                    Told::ServiceNoBackend { service: name, more }.tell();
                }
            }
        }
    }

    fn connect_failed(&mut self, number: usize, reason: &'static str) {
        let Some((service, backend)) = self.numbers.backend(number) else { return };
        if self.core.services()[service].backends()[backend].admin() == AdminState::Maint {
            // Nobody connects to it any more, and nothing follows for what comes after.
            return;
        }
        if let Some(more) = self.throttle.admit(("connect", reason), clock::now()) {
            let (service, backend) = self.names(service, backend);
            Told::BackendPassedOver { service, backend, reason, more }.tell();
        }
        self.handle(Input::ConnectFailed { service, backend });
    }

    /// A hand-back may wait for connections to end; where none does, nobody counts.
    pub(super) fn count_connections(&mut self) {
        if self.config.vips.iter().all(|vip| vip.preempt_when_connections_below.is_none()) {
            return;
        }
        for (number, counters) in self.proxy.counters().services.iter().enumerate() {
            if let Some(service) = self.numbers.service(number) {
                self.handle(Input::Connections { service, active: counters.active });
            }
        }
    }
}
