//! Senses whether backends can be connected to, and what the commands of `[[check]]` say.
//!
//! Backends are probed by a thread of their own: a try, a report, a pause, and again. What the results mean (rise,
//! fall) is not decided here.

mod command;
mod pace;
mod probing;
mod resolve;
mod tcp;
#[cfg(test)]
mod tests;
mod thread;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

pub use command::{CheckFailure, CheckReporter, Checks, start_checks};
pub use pace::Rhythm;

use crate::config::{Backend, Endpoint, HealthCheck, Service};
use thread::{Order, Orders};

/// A backend to probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Number of the service.
    pub service: usize,
    /// Number of the backend: its own from one set of targets to the next.
    pub backend: usize,
    /// Where it listens. A name is resolved before each try.
    pub endpoint: Endpoint,
    /// How, how often and for how long.
    pub check: HealthCheck,
}

impl Target {
    /// Every backend that the configuration has, with each service's number and those of its backends.
    pub fn all<'n>(
        services: &[Service],
        numbers: impl IntoIterator<Item = (usize, &'n Vec<usize>)>,
    ) -> Vec<Self> {
        let of_service = |(service, (number, numbers)): (&Service, (usize, &Vec<usize>))| {
            let check = service.check.clone();
            let target = move |(configured, backend): (&Backend, &usize)| Self {
                service: number,
                backend: *backend,
                endpoint: configured.address.clone(),
                check: check.clone(),
            };
            service.backends.iter().zip(numbers).map(target).collect::<Vec<_>>()
        };
        services.iter().zip(numbers).flat_map(of_service).collect()
    }
}

/// What one try gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProbeResult {
    /// Number of the service.
    pub service: usize,
    /// Number of the backend.
    pub backend: usize,
    /// The address tried; `None` if the name could not be resolved.
    pub address: Option<SocketAddr>,
    /// How long the answer took, without the resolving of a name.
    pub outcome: Result<Duration, ProbeFailure>,
    /// It changes nothing, and may be told late: nobody asked for this try, and as many before it as rise or fall could
    /// count came out the same.
    pub routine: bool,
}

/// How a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum ProbeFailure {
    /// The host is there, and nobody listens.
    #[error("the connection was refused")]
    Refused,
    /// No answer in time.
    #[error("no answer in time")]
    Timeout,
    /// No way there: no route, no neighbour, or a firewall that says so.
    #[error("the address can't be reached")]
    Unreachable,
    /// The name has no address, or the resolver didn't say one in time.
    #[error("the name can't be resolved")]
    Resolve,
    /// Anything else, this host's lack of something included.
    #[error("the probe failed")]
    Other,
}

impl ProbeFailure {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Refused, Self::Timeout, Self::Unreachable, Self::Resolve, Self::Other];

    /// As in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Resolve => "resolve",
            Self::Other => "other",
        }
    }
}

/// Who is told the results. Called on the thread that probes: it must not wait for anything.
pub type Reporter = Arc<dyn Fn(ProbeResult) + Send + Sync>;

/// The probing under way. Dropping it ends it.
pub struct Probes {
    orders: Orders,
    thread: Option<JoinHandle<()>>,
}

/// Starts probing every target, now and then an interval after the end of each try, give or take a twentieth: with
/// the beats of `rhythm`, as far as that allows.
///
/// Must be called within a tokio runtime, which looks names up.
pub fn start(targets: Vec<Target>, rhythm: Rhythm, report: Reporter) -> io::Result<Probes> {
    let (orders, thread) = thread::start(rhythm, report)?;
    let probes = Probes { orders, thread: Some(thread) };
    probes.replace(targets);
    Ok(probes)
}

impl Probes {
    /// Goes on with these targets: what hasn't changed as if nothing had happened, what is new or otherwise at once.
    pub fn replace(&self, targets: Vec<Target>) {
        self.orders.give(Order::Replace(targets));
    }

    /// Probes this backend at once instead of at its next time; one that is under way will do.
    ///
    /// Asked again and again, a backend is probed every 20 ms. An unknown backend is left alone.
    pub fn now(&self, service: usize, backend: usize) {
        self.orders.give(Order::Now((service, backend)));
    }

    /// Stops probing this backend, or begins again, at once. A try that is under way isn't reported any more.
    pub fn pause(&self, service: usize, backend: usize, pause: bool) {
        self.orders.give(Order::Pause((service, backend), pause));
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        self.orders.give(Order::End);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that probes had panicked");
        }
    }
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").finish_non_exhaustive()
    }
}
