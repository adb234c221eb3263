//! The service thread: checks, admin, signals and the resolving of names, on one tokio runtime. Beside it, the thread
//! that probes.
//!
//! Nothing in here is waited for by the driver, nor by a worker.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, Sender, UnboundedReceiver, UnboundedSender, channel, unbounded_channel};
use tokio::sync::{oneshot, watch};

use crate::admin::ReloadAnswer;
use crate::config::{self, Config, Endpoint};
use crate::{admin, probe};

use super::mailbox::{self, Event};
use super::numbers::Numbers;
use super::start;

/// Seeds that are names are looked up again this often: addresses change, and a name may not be there yet.
const RESOLVE_AGAIN: Duration = Duration::from_secs(10);

/// The running thread.
pub(super) struct Service {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Has backends probed, by service and number, and checks run.
pub(super) struct Prober {
    probes: probe::Probes,
    others: UnboundedSender<Order>,
}

/// What else there is to sense by a new configuration.
struct Order {
    to_check: Vec<(usize, config::Check)>,
    seeds: Names,
}

/// Seeds whose addresses have to be asked for, with their ports.
type Names = Vec<(String, u16)>;

impl Prober {
    /// Probes a backend now.
    pub(super) fn probe(&self, service: usize, backend: usize) {
        self.probes.now(service, backend);
    }

    /// Stops probing a backend, or begins again, at once.
    pub(super) fn pause(&self, service: usize, backend: usize, pause: bool) {
        self.probes.pause(service, backend, pause);
    }

    /// Goes on with what this configuration has, without a gap where it is as before.
    pub(super) fn replace(&self, config: &Config, numbers: &Numbers) {
        self.probes.replace(targets(config, numbers));
        let _ = self.others.send(Order { to_check: checks(config, numbers), seeds: names(config) });
    }
}

/// So many may wait for the file to be read again; whoever else asks is told to come back.
const RELOADS: usize = 8;

/// Has the file read again.
#[derive(Clone)]
pub(super) struct Reloads(Sender<Reload>);

/// Somebody wants the file read again.
pub(super) struct Reload {
    by: String,
    cluster: bool,
    answer: Option<ReloadAnswer>,
}

/// Where whoever asks for a reload leaves that, and where it is found.
pub(super) fn reloads() -> (Reloads, Receiver<Reload>) {
    let (sender, asked) = channel(RELOADS);
    (Reloads(sender), asked)
}

impl Reloads {
    /// Never waits; when too many do already, the answer is dropped.
    pub(super) fn ask(&self, by: String, cluster: bool, answer: Option<ReloadAnswer>) {
        let _ = self.0.try_send(Reload { by, cluster, answer });
    }
}

/// What reloads need.
pub(super) struct Reloading {
    pub(super) file: PathBuf,
    pub(super) reloads: Reloads,
    pub(super) asked: Receiver<Reload>,
}

impl Service {
    /// Starts both threads. `sources` is made on the first.
    pub(super) fn start(
        config: &Config,
        numbers: &Numbers,
        rhythm: probe::Rhythm,
        listeners: admin::Listeners,
        reloading: Reloading,
        mailbox: mailbox::Sender,
        sources: impl FnOnce() -> admin::Sources + Send + 'static,
    ) -> io::Result<(Self, Prober)> {
        // One entry a reload.
        let (others, orders) = unbounded_channel();
        let (stop, stopped) = oneshot::channel();
        let (targets, checks) = (targets(config, numbers), checks(config, numbers));
        let (seeds, to_resolve) = watch::channel(names(config));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        // Before any thread could miss one.
        let (signals, probes) = {
            let _inside = runtime.enter();
            let signals = Signals {
                terminate: signal(SignalKind::terminate())?,
                interrupt: signal(SignalKind::interrupt())?,
                hangup: signal(SignalKind::hangup())?,
                user2: signal(SignalKind::user_defined2())?,
            };
            (signals, start_probes(targets, rhythm, &mailbox)?)
        };
        let thread = std::thread::Builder::new().name("service".into()).spawn(move || {
            runtime.block_on(async move {
                let checks = start_checks(checks, &mailbox);
                let work = async {
                    tokio::join!(
                        serve(listeners, sources()),
                        carry_out(orders, checks, seeds),
                        resolve_seeds(to_resolve, &mailbox),
                        read_again(reloading.asked, &reloading.file, &mailbox),
                        watch_signals(signals, &reloading.reloads, &mailbox),
                    )
                };
                tokio::select! {
                    _ = work => {}
                    _ = stopped => {}
                }
            });
        })?;
        Ok((Self { stop: Some(stop), thread: Some(thread) }, Prober { probes, others }))
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

fn targets(config: &Config, numbers: &Numbers) -> Vec<probe::Target> {
    probe::Target::all(&config.services, numbers.all())
}

fn checks(config: &Config, numbers: &Numbers) -> Vec<(usize, config::Check)> {
    numbers.checks().iter().copied().zip(config.checks.iter().cloned()).collect()
}

fn start_probes(
    targets: Vec<probe::Target>,
    rhythm: probe::Rhythm,
    mailbox: &mailbox::Sender,
) -> io::Result<probe::Probes> {
    let mailbox = mailbox.clone();
    let report = Arc::new(move |result| mailbox.tell(Event::Probed(result)));
    probe::start(targets, rhythm, report)
}

fn start_checks(checks: Vec<(usize, config::Check)>, mailbox: &mailbox::Sender) -> probe::Checks {
    let mailbox = mailbox.clone();
    probe::start_checks(
        checks,
        Arc::new(move |check: usize, outcome: Result<(), probe::CheckFailure>| {
            if let Err(failure) = &outcome {
                tracing::debug!(check, %failure, "check failed");
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

async fn carry_out(
    mut orders: UnboundedReceiver<Order>,
    mut checks: probe::Checks,
    resolved: watch::Sender<Names>,
) {
    while let Some(Order { to_check, seeds }) = orders.recv().await {
        checks.replace(to_check);
        resolved.send_if_modified(|names| std::mem::replace(names, seeds.clone()) != seeds);
    }
    std::future::pending::<()>().await;
}

/// Reads the file for whoever asks, one after the other, so that the last one to ask has the last word.
async fn read_again(mut asked: Receiver<Reload>, file: &Path, mailbox: &mailbox::Sender) {
    while let Some(Reload { by, cluster, answer }) = asked.recv().await {
        let file = file.to_owned();
        // Not here: checks and operators don't wait for a disk.
        let Ok(read) = tokio::task::spawn_blocking(move || start::read(&file)).await else { continue };
        let read = Box::new(read.map_err(|error| error.to_string()));
        mailbox.tell(Event::Reload { read, by, cluster, answer });
    }
}

fn names(config: &Config) -> Names {
    let name = |seed: &Endpoint| match seed {
        Endpoint::Name(name, port) => Some((name.clone(), *port)),
        Endpoint::Address(_) => None,
    };
    config.cluster.seeds.iter().filter_map(name).collect()
}

async fn resolve_seeds(mut names: watch::Receiver<Names>, mailbox: &mailbox::Sender) {
    loop {
        let mut found: Vec<SocketAddr> = Vec::new();
        let seeds = names.borrow_and_update().clone();
        for (name, port) in &seeds {
            match tokio::time::timeout(RESOLVE_AGAIN, tokio::net::lookup_host((name.as_str(), *port))).await {
                Ok(Ok(addresses)) => found.extend(addresses.take(8)),
                Ok(Err(_)) | Err(_) => tracing::debug!(seed = name, "seed does not resolve"),
            }
        }
        if !seeds.is_empty() {
            mailbox.tell(Event::Seeds(found));
        }
        let patience = if seeds.is_empty() { Duration::MAX } else { RESOLVE_AGAIN };
        let _ = tokio::time::timeout(patience, names.changed()).await;
    }
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
    user2: Signal,
}

async fn watch_signals(mut signals: Signals, reloads: &Reloads, mailbox: &mailbox::Sender) {
    let mut asked_before = false;
    loop {
        tokio::select! {
            _ = signals.terminate.recv() => {}
            _ = signals.interrupt.recv() => {}
            _ = signals.hangup.recv() => {
                // Whoever waits already will read the file as it is then.
                reloads.ask("SIGHUP".into(), false, None);
                continue;
            }
            // What it will ask for must not, until then, end a daemon that holds a VIP.
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
