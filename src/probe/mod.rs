//! Senses whether backends can be connected to, and what the commands of `[[check]]` say.
//!
//! One task for each target, on the caller's tokio runtime: a try, a report, a pause, and again. What the results
//! mean (rise, fall) is not decided here.

mod alarm;
mod command;
mod pace;
mod resolve;
mod tcp;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use command::{CheckFailure, CheckReporter, Checks, start_checks};

use crate::config::{Backend, Endpoint, HealthCheck, ProbeKind, Service};
use alarm::Alarm;
use pace::Pace;
use resolve::Resolver;

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

/// Who is told the results. Called on the runtime: it must not wait for anything.
pub type Reporter = Arc<dyn Fn(ProbeResult) + Send + Sync>;

/// The probing under way. Dropping it ends it.
pub struct Probes {
    report: Reporter,
    begun: Instant,
    /// `None` where no descriptor was to be had: then tokio's wheel has to do.
    alarm: Option<Arc<Alarm>>,
    permille: u32,
    running: HashMap<(usize, usize), Running>,
    tasks: JoinSet<()>,
}

/// One target's probing.
struct Running {
    target: Target,
    control: Arc<Control>,
    task: AbortHandle,
}

/// What others want of one target's probing.
#[derive(Debug, Default)]
struct Control {
    nudge: Notify,
    paused: watch::Sender<bool>,
}

/// Starts probing every target, now and then an interval after the end of each try, give or take a twentieth.
///
/// Must be called within a tokio runtime with time and I/O.
pub fn start(targets: Vec<Target>, report: Reporter) -> Probes {
    let mut probes = Probes {
        report,
        begun: Instant::now(),
        alarm: Alarm::new().ok().map(Arc::new),
        permille: pace::of_a_node(),
        running: HashMap::new(),
        tasks: JoinSet::new(),
    };
    if let Some(alarm) = probes.alarm.clone() {
        probes.tasks.spawn(async move { alarm.run().await });
    }
    probes.replace(targets);
    probes
}

impl Probes {
    /// Goes on with these targets: what hasn't changed as if nothing had happened, what is new or otherwise at once.
    /// Of what is gone nothing is reported any more.
    ///
    /// Must be called within the runtime.
    pub fn replace(&mut self, targets: Vec<Target>) {
        let mut before = std::mem::take(&mut self.running);
        let mut begins = 0;
        for (target, at) in targets.into_iter().zip(0..) {
            let key = (target.service, target.backend);
            let running = match before.remove(&key) {
                Some(running) if running.target == target => running,
                other => {
                    other.inspect(|other| other.task.abort());
                    begins += 1;
                    self.begin(target, at, begins - 1)
                }
            };
            self.running.insert(key, running);
        }
        for gone in before.into_values() {
            gone.task.abort();
        }
        // Those that were ended before.
        while self.tasks.try_join_next().is_some() {}
    }

    fn begin(&mut self, target: Target, at: u32, begins: u32) -> Running {
        let control = Arc::new(Control::default());
        // A wave, not a wall: the first verdicts are awaited by all, so that it must be a short one.
        let first = SPREAD * (begins % TOGETHER);
        let pace = Pace::new(self.begun + APART * (at / TOGETHER), target.check.interval, self.permille);
        let due = Due { pace, alarm: self.alarm.clone() };
        let task = probe(target.clone(), Arc::clone(&control), Arc::clone(&self.report), first, due);
        Running { target, control, task: self.tasks.spawn(task) }
    }

    /// Probes this backend at once instead of at its next time; one that is under way will do.
    ///
    /// Asked again and again, a backend is probed every 20 ms. An unknown backend is left alone.
    pub fn now(&self, service: usize, backend: usize) {
        if let Some(running) = self.running.get(&(service, backend)) {
            running.control.nudge.notify_one();
        }
    }

    /// Stops probing this backend, or begins again, at once. A try that is under way isn't reported any more.
    pub fn pause(&self, service: usize, backend: usize, pause: bool) {
        if let Some(running) = self.running.get(&(service, backend)) {
            running.control.paused.send_replace(pause);
        }
    }
}

async fn probe(target: Target, control: Arc<Control>, report: Reporter, first: Duration, due: Due) {
    let mut resolver = Resolver::new(target.endpoint.clone());
    let mut paused = control.paused.subscribe();
    let mut streak = Streak::default();
    let mut asked = false;
    sleep(first).await;
    loop {
        until(&mut paused, false).await;
        let started = Instant::now();
        let (address, outcome) = tokio::select! {
            outcome = attempt(&mut resolver, &target.check) => outcome,
            () = until(&mut paused, true) => {
                streak = Streak::default();
                continue;
            }
        };
        // Whoever asked during this try is answered by it.
        asked |= control.nudge.notified().now_or_never().is_some();
        let alike = streak.take_in(address, outcome.is_ok());
        let routine = !asked && alike >= target.check.rise.max(target.check.fall);
        report(ProbeResult { service: target.service, backend: target.backend, address, outcome, routine });
        asked = tokio::select! {
            () = due.next() => false,
            () = control.nudge.notified() => {
                sleep_until(started + CLOSEST).await;
                true
            }
            () = until(&mut paused, true) => {
                streak = Streak::default();
                false
            }
        };
    }
}

/// When the next try of one target is due.
struct Due {
    pace: Pace,
    alarm: Option<Arc<Alarm>>,
}

impl Due {
    async fn next(&self) {
        let moment = self.pace.next(Instant::now());
        match &self.alarm {
            Some(alarm) => alarm.reached(moment).await,
            None => sleep_until(moment).await,
        }
    }
}

/// Results of one target in a row that were alike.
#[derive(Debug, Default)]
struct Streak {
    of: Option<(Option<SocketAddr>, bool)>,
    length: u32,
}

impl Streak {
    /// Takes in a result; how many in a row before it were like it.
    fn take_in(&mut self, address: Option<SocketAddr>, success: bool) -> u32 {
        let before = if self.of == Some((address, success)) { self.length } else { 0 };
        *self = Self { of: Some((address, success)), length: before.saturating_add(1) };
        before
    }
}

impl std::fmt::Debug for Probes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probes").field("running", &self.running.len()).finish_non_exhaustive()
    }
}

async fn until(paused: &mut watch::Receiver<bool>, wanted: bool) {
    // It fails when the sender is gone, which is in the `Control` that the caller holds.
    let _ = paused.wait_for(|paused| *paused == wanted).await;
}

/// One try, the resolving of a name included, in the time that it may take.
async fn attempt(
    resolver: &mut Resolver,
    check: &HealthCheck,
) -> (Option<SocketAddr>, Result<Duration, ProbeFailure>) {
    let deadline = Instant::now() + check.timeout;
    let Some(address) = timeout(check.timeout, resolver.address()).await.ok().flatten() else {
        return (None, Err(ProbeFailure::Resolve));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let outcome = match check.kind {
        ProbeKind::Tcp => timeout(left, tcp::probe(address)).await,
    };
    (Some(address), outcome.unwrap_or(Err(ProbeFailure::Timeout)))
}

/// Between the first tries of two targets.
const SPREAD: Duration = Duration::from_micros(250);

/// So many targets are tried together; in the first round they are spread out, and those that follow start over.
const TOGETHER: u32 = 16;

/// How long after them the next so many are.
const APART: Duration = Duration::from_millis(1);

/// Between the starts of two tries of one target that were asked for.
const CLOSEST: Duration = Duration::from_millis(20);
