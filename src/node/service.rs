//! The service thread: probes, checks, admin, signals and the resolving of names, on one tokio runtime.
//!
//! Nothing in here is waited for by the driver, nor by a worker.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;

use crate::config::{Config, Endpoint};
use crate::{admin, probe};

use super::mailbox::{Event, Sender};

/// Seeds that are names are looked up again this often: addresses change, and a name may not be there yet.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);

/// The running thread.
pub(super) struct Service {
    prober: Prober,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Has backends probed.
#[derive(Clone)]
pub(super) struct Prober(UnboundedSender<Order>);

/// What the driver wants of the probes.
enum Order {
    Now(usize, usize),
    Pause(usize, usize, bool),
}

impl Prober {
    /// Probes a backend now.
    pub(super) fn probe(&self, service: usize, backend: usize) {
        let _ = self.0.send(Order::Now(service, backend));
    }

    /// Stops probing a backend, or begins again, at once.
    pub(super) fn pause(&self, service: usize, backend: usize, pause: bool) {
        let _ = self.0.send(Order::Pause(service, backend, pause));
    }
}

impl Service {
    /// Starts the thread. `sources` is made on it.
    pub(super) fn start(
        config: &Config,
        listeners: admin::Listeners,
        mailbox: Sender,
        sources: impl FnOnce() -> admin::Sources + Send + 'static,
    ) -> io::Result<Self> {
        // One entry for every order of the core's, which are as many as connections fail in the worst case
        // and are coalesced by the probes.
        let (probe, orders) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let config = config.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Before any thread could miss one.
        let signals = {
            let _inside = runtime.enter();
            Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
                user2: signal(SignalKind::user_defined2())?,
            }
        };
        let thread = std::thread::Builder::new().name("service".into()).spawn(move || {
            runtime.block_on(async move {
                let probes = start_probes(&config, &mailbox);
                let checks = start_checks(&config, &mailbox);
                let work = async {
                    tokio::join!(
                        serve(listeners, sources()),
                        carry_out(orders, &probes),
                        resolve_seeds(&config, &mailbox),
                        watch_signals(signals, &mailbox),
                    )
                };
                tokio::select! {
                    _ = work => {}
                    _ = stopped => {}
                }
                drop((probes, checks));
            });
        })?;
        Ok(Self { prober: Prober(probe), stop: Some(stop), thread: Some(thread) })
    }

    /// For the driver.
    pub(super) fn prober(&self) -> Prober {
        self.prober.clone()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the service thread had panicked");
        }
    }
}

fn start_probes(config: &Config, mailbox: &Sender) -> probe::Probes {
    let mailbox = mailbox.clone();
    let report = Arc::new(move |result| mailbox.tell(Event::Probed(result)));
    probe::start(probe::Target::all(&config.services), report)
}

fn start_checks(config: &Config, mailbox: &Sender) -> probe::Checks {
    let mailbox = mailbox.clone();
    let names: Vec<String> = config.checks.iter().map(|check| check.name.clone()).collect();
    probe::start_checks(
        &config.checks,
        Arc::new(move |check: usize, outcome: Result<(), probe::CheckFailure>| {
            if let Err(failure) = &outcome {
                tracing::debug!(check = names.get(check), %failure, "check failed");
            }
            mailbox.tell(Event::Checked(check, outcome.is_ok()));
        }),
    )
}

async fn serve(listeners: admin::Listeners, sources: admin::Sources) {
    let Err(error) = admin::serve(listeners, sources).await;
    // The data plane and the election go on without.
    tracing::error!(%error, "the admin server has ended");
    std::future::pending::<()>().await;
}

async fn carry_out(mut orders: UnboundedReceiver<Order>, probes: &probe::Probes) {
    while let Some(order) = orders.recv().await {
        match order {
            Order::Now(service, backend) => probes.now(service, backend),
            Order::Pause(service, backend, pause) => probes.pause(service, backend, pause),
        }
    }
    std::future::pending::<()>().await;
}

async fn resolve_seeds(config: &Config, mailbox: &Sender) {
    let names: Vec<(&str, u16)> = config
        .cluster
        .seeds
        .iter()
        .filter_map(|seed| match seed {
            Endpoint::Name(name, port) => Some((name.as_str(), *port)),
            Endpoint::Address(_) => None,
        })
        .collect();
    while !names.is_empty() {
        let mut found: Vec<SocketAddr> = Vec::new();
        for (name, port) in &names {
            match tokio::time::timeout(RESOLVE_AGAIN, tokio::net::lookup_host((*name, *port))).await {
                Ok(Ok(addresses)) => found.extend(addresses.take(8)),
                Ok(Err(_)) | Err(_) => tracing::debug!(seed = name, "seed does not resolve"),
            }
        }
        mailbox.tell(Event::Seeds(found));
        tokio::time::sleep(RESOLVE_AGAIN).await;
    }
    std::future::pending::<()>().await;
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

async fn watch_signals(mut signals: Signals, mailbox: &Sender) {
    let mut asked_before = false;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
            // What these will ask for must not, until then, end a daemon that holds a VIP.
            _ = signals.hangup.recv() => {
                tracing::warn!("SIGHUP: this version can't reload its configuration; nothing was changed");
                continue;
            }
            _ = signals.user2.recv() => {
                tracing::warn!("SIGUSR2: this version can't replace its binary; nothing was changed");
                continue;
            }
        }
        if asked_before {
            // At once: the guard sees the end, and removes what is held.
            tracing::warn!("stopping at once");
            std::process::exit(0);
        }
        asked_before = true;
        mailbox.tell(Event::Terminate);
    }
}
