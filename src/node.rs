//! The node: everything that senses, decides, acts and tells, put together and run.
//!
//! ```text
//!   main ─┬─ guard (child process)   holds addresses, announces, asks by ARP
//!         ├─ worker 0..n             the proxy's event loops
//!         ├─ service                 probes, checks, admin, signals, names
//!         └─ driver                  the only control loop, and the core's only caller
//! ```
//!
//! They meet here and nowhere else. The driver publishes a snapshot that admin and metrics read; probes and
//! workers drop what they notice into the driver's mailbox.

mod directory;
mod driver;
mod mailbox;
mod numbers;
mod sample;
mod service;
mod snapshot;
mod start;
mod targets;
mod throttle;
mod watchdog;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tracing::level_filters::LevelFilter;

use crate::admin;
use crate::config::{self, Config, Identity};
use crate::guard::{clock, scheduling};
use crate::peers::gossip::Gossip;
use crate::probe;
use crate::proxy::{self, Plan, Proxy};
use crate::telemetry::{self, Event as Told, Exposition, Layout, Metrics, Record, Tracing, VipLayout, log};

use self::driver::{Driver, Vip, hearsay::Hearsay};
use self::mailbox::Event;
use self::numbers::Numbers;
use self::sample::NodeFacts;
use self::service::{Reloading, Service};
use self::snapshot::{Basis, Snapshot};
use self::start::Prepared;
use self::targets::Targets;

/// How long a stopping node lets open connections end.
const DRAIN: Duration = Duration::from_secs(5);
/// How often it looks whether any is left.
const DRAIN_LOOK: Duration = Duration::from_millis(20);

/// What `chinthe run` is told.
#[derive(Debug, Clone)]
pub struct RunOptions {
    /// The configuration.
    pub config: PathBuf,
    /// This node's name, where configuration and hostname don't tell.
    pub node: Option<String>,
    /// How log lines look.
    pub log: log::Format,
}

/// Why the daemon didn't start. Nothing on the host was changed.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The file has mistakes; the text says each with its hint. Exit status 1.
    #[error("{0}")]
    Problems(String),
    /// Anything else.
    #[error("{message}")]
    Refused {
        /// 1 when the file is refused, 2 when the host won't have it.
        status: u8,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: String,
    },
}

impl RunError {
    fn new(status: u8, message: impl Display, hint: impl Into<String>) -> Self {
        Self::Refused { status, message: message.to_string(), hint: hint.into() }
    }

    /// From a message whose second line is the hint.
    fn two_lines(status: u8, error: &impl std::error::Error) -> Self {
        let text = error.to_string();
        let (message, hint) = text.split_once("\nhint: ").unwrap_or((&text, ""));
        Self::new(status, message, hint)
    }
}

/// Runs the daemon until it is told to stop. To be called before any other thread runs.
pub fn run(options: &RunOptions) -> Result<(), RunError> {
    scheduling::keep_freed_memory();
    let mut log = log::start(options.log, LevelFilter::INFO).map_err(|e| RunError::new(2, &e, e.hint()))?;
    let prepared = start::prepare(&options.config, options.node.as_deref())?;
    let (name, tracing) = (prepared.identity.name.clone(), prepared.tracing.clone());
    if let Some(tracing) = &tracing {
        log.show_spans(tracing);
    }
    let telling = Telling { lost: log.lost(), events: log.take_events() };
    let (driver, service) = assemble(prepared, telling).map_err(|error| {
        RunError::new(2, format!("can't start: {error}"), "see `ulimit -n` and `ulimit -u`")
    })?;
    let proxy = Arc::clone(&driver.proxy);
    let vips: Vec<IpAddr> =
        driver.config.vips.iter().flat_map(|vip| &vip.addresses).map(|address| address.ip).collect();
    if let Err(error) = scheduling::lock_memory() {
        tracing::debug!(%error, "memory isn't locked");
    }
    let thread = std::thread::Builder::new().name("driver".into()).spawn(move || {
        if let Err(error) = scheduling::raise(scheduling::DRIVER) {
            tracing::debug!(%error, "no real-time priority");
        }
        driver.run()
    });
    let thread =
        thread.map_err(|error| RunError::new(2, format!("can't start: {error}"), "see `ulimit -u`"))?;
    let ended = thread.join();
    // The VIPs have moved; whoever came by another address may finish.
    drain(&proxy, &vips);
    drop(service);
    drop(proxy);
    if let Some(tracing) = tracing {
        tracing.finish();
    }
    Told::NodeStopped { node: &name }.tell();
    drop(log);
    match ended {
        Ok(None) => Ok(()),
        Ok(Some(address)) => {
            let message = format!("another node at {} has this one's name, and had it first", address.ip());
            Err(RunError::new(2, message, "give each node a name of its own: `--node NAME`, or the hostname"))
        }
        Err(_panic) => Err(RunError::new(2, "the driver has panicked", "please report it, with the log")),
    }
}

fn drain(proxy: &Proxy, moved: &[IpAddr]) {
    proxy.close_listeners();
    proxy.forsake(moved);
    let deadline = clock::now() + DRAIN;
    while clock::now() < deadline && proxy.counters().services.iter().any(|service| service.active > 0) {
        std::thread::park_timeout(DRAIN_LOOK);
    }
}

fn layout(config: &Config, identity: &Identity, digest: &str) -> Layout {
    let vip = |vip: &config::Vip| VipLayout {
        name: vip.name.clone(),
        interface: vip.interface.on(&identity.name).cloned().unwrap_or_default(),
        addresses: vip.addresses.iter().map(|address| address.ip.to_string()).collect(),
    };
    let service = |service: &config::Service| {
        (service.name.clone(), service.backends.iter().map(|backend| backend.name.clone()).collect())
    };
    Layout {
        version: telemetry::VERSION.into(),
        revision: telemetry::REVISION.into(),
        config_sha256: digest.into(),
        cluster: config.cluster.name.clone(),
        witness: config.cluster.witness.contains(&identity.name),
        options: config.metrics,
        vips: config.vips.iter().map(vip).collect(),
        services: config.services.iter().map(service).collect(),
        limits: config
            .services
            .iter()
            .map(|service| service.max_connections.map(|most| most as u64))
            .collect(),
        checks: config.checks.iter().map(|check| check.name.clone()).collect(),
    }
}

/// What the log hands on.
struct Telling {
    lost: log::Lost,
    events: Option<log::Events>,
}

/// The events, as the admin server takes them.
fn entries(events: Option<log::Events>) -> Pin<Box<dyn Stream<Item = admin::Entry>>> {
    let Some(mut events) = events else { return Box::pin(stream::pending()) };
    let entry = |record: Record| admin::Entry { at: record.at, document: record.document() };
    Box::pin(stream::poll_fn(move |context| events.poll_recv(context).map(|next| next.map(entry))))
}

fn assemble(prepared: Prepared, telling: Telling) -> io::Result<(Driver, Service)> {
    let Prepared {
        file,
        config,
        digest,
        identity,
        core,
        peers,
        guard,
        wards,
        listeners,
        admin,
        token,
        gossip,
        tracing,
    } = prepared;
    let hex = config::hex(&digest);
    let numbers = Arc::new(Numbers::new(&config));
    let metrics = Arc::new(Metrics::new(layout(&config, &identity, &hex)));
    Told::NodeStarted {
        node: &identity.name,
        version: telemetry::VERSION,
        cluster: &config.cluster.name,
        address: &identity.address.to_string(),
        config: &hex[..16],
    }
    .tell();

    let (sender, mailbox) = mailbox::mailbox()?;
    let told = sender.clone();
    let report = move |report| told.tell(Event::Proxy(report));
    let plan = Plan::new(&config.services, numbers.all());
    let proxy = Arc::new(Proxy::start(plan, listeners, proxy::Settings::new(&config.proxy), report)?);

    let told = sender.clone();
    let hear = Arc::new(move |news| told.tell(Event::Gossip(news)));
    let gossip = Gossip::start(gossip, Arc::new(peers.mouth()?), hear)?;
    let (config, identity) = (Arc::new(config), Arc::new(identity));
    let basis =
        Basis { config: Arc::clone(&config), numbers: Arc::clone(&numbers), metrics: Arc::clone(&metrics) };
    let (snapshots, shown) = watch::channel(Arc::new(Snapshot::of_nothing(basis)));
    let (reloads, asked) = service::reloads();
    let sources = {
        let (cluster, identity) = (config.cluster.name.clone(), Arc::clone(&identity));
        let (proxy, reloads) = (Arc::downgrade(&proxy), reloads.clone());
        let (operators, spans) = (sender.clone(), tracing.clone());
        move || {
            let counters = {
                let proxy = proxy.clone();
                move || proxy.upgrade().map(|proxy| proxy.counters()).unwrap_or_default()
            };
            let for_targets = (cluster, shown.clone());
            let (for_metrics, for_status, for_ready, for_words, counted) =
                (shown.clone(), shown.clone(), shown.clone(), shown, counters.clone());
            let lost = telling.lost;
            let lost_events = lost.clone();
            admin::Sources {
                events: entries(telling.events),
                events_dropped: Box::new(move || lost_events.events()),
                metrics: Box::new(move |format, admin_requests| {
                    let snapshot = for_metrics.borrow().clone();
                    let facts = NodeFacts {
                        admin_requests,
                        spans: spans.as_ref().map(Tracing::counts).unwrap_or_default(),
                        log_lines_dropped: lost.lines(),
                        events_dropped: lost.events(),
                    };
                    let format = match format {
                        admin::MetricsFormat::Text => Exposition::Text,
                        admin::MetricsFormat::OpenMetrics => Exposition::OpenMetrics,
                    };
                    let sample = sample::sample(&snapshot, &counted(), facts);
                    snapshot.basis.metrics.render(format, &sample)
                }),
                status: Box::new(move || {
                    let snapshot = for_status.borrow().clone();
                    Arc::new(snapshot::status(&snapshot, &identity, &counters()))
                }),
                alive: Box::new(|| Ok(())),
                ready: Box::new(move || for_ready.borrow().conditions.clone()),
                targets: Box::new(move || {
                    admin::targets::groups(&for_targets.0, &for_targets.1.borrow().targets)
                }),
                words: Box::new(move || for_words.borrow().words.clone()),
                change: Box::new(move |change, operator, answer| {
                    operators.tell(Event::Said { change, operator, answer, span: tracing::Span::current() });
                }),
                reload: Box::new(move |operator, cluster, answer| {
                    reloads.ask(operator.to_string(), cluster, Some(answer));
                }),
                token,
            }
        }
    };
    let rhythm = probe::Rhythm::new(core.interval());
    let (service, prober) = Service::start(
        &config,
        &numbers,
        rhythm.clone(),
        admin,
        Reloading { file, reloads: reloads.clone(), asked },
        sender,
        sources,
    )?;
    let reachable = targets::reachable(config.admin.listen, identity.address);
    let targets = Targets::own(&identity.name, reachable);
    let addresses = driver::known_addresses(&config);
    let guard_watch = watchdog::GuardWatch::new(core.guard_patience());
    let driver = Driver {
        core,
        peers,
        guard: Some(guard),
        guard_again_at: clock::now(),
        wards,
        proxy,
        prober,
        rhythm,
        reloads,
        mailbox,
        vips: config.vips.iter().map(|_| Vip::new()).collect(),
        config,
        identity,
        digest: hex[..16].to_owned(),
        metrics,
        numbers,
        snapshots,
        addresses,
        members: BTreeMap::new(),
        first_moments: None,
        was_ready: false,
        tracing,
        targets,
        hearsay: Hearsay::new(gossip),
        throttle: throttle::Throttle::default(),
        guard_watch,
        guard_begun_at: None,
        inherits: Vec::new(),
        goes_on: Vec::new(),
        has_advertised: false,
        gathers_until: clock::now(),
        worker_watch: watchdog::WorkerWatch::default(),
        workers_turn: true,
        published_at: clock::now(),
        looked_at: clock::now(),
        once_more: false,
        shown_revision: 0,
        news: true,
        leaving_since: None,
        stop: tracing::Span::none(),
    };
    Ok((driver, service))
}
