//! The scene of most tests: the post's cluster with its daemons up, a client that never stops asking, and a witness.

use std::error::Error;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use chinthe::lab::{Builder, ConfigSource, Failure, Lab, LabError, Machine, Node, ProbePlan, Prober};
use chinthe::lab::{Sandbox, TARGET, Witness};
use serde_json::Value;

/// For what a busy machine may do late, where no limit is being shown.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// What a client may see of an ordinary failover.
pub(crate) const FAILOVER: Duration = Duration::from_secs(1);

/// What it may see when an address outlives its daemon and its guard: the lease, and what the kernel adds to it.
pub(crate) const LEASE: Duration = Duration::from_secs(4);

/// The VIP.
pub(crate) const VIP: Ipv4Addr = *TARGET.ip();

/// The post's cluster, as `import` makes it of the post's own files.
pub(crate) const POST: &str = include_str!("../../config/post.toml");

/// The real daemon.
pub(crate) const CHINTHE: &str = env!("CARGO_BIN_EXE_chinthe");

/// A cluster that is up, and whoever looks at it.
pub(crate) struct Scene {
    // Before the lab, since it goes with its machines.
    pub(crate) prober: Prober,
    pub(crate) witness: Witness,
    pub(crate) lab: Lab,
}

/// The post's cluster on the real daemon, to be changed before it starts.
pub(crate) fn post(sandbox: Sandbox) -> Builder {
    Lab::builder(sandbox).program(CHINTHE).config(ConfigSource::Text(POST.into()))
}

/// Starts the post's cluster, with clients that look on; it returns when all is well.
pub(crate) fn start(sandbox: Sandbox) -> Result<Scene, LabError> {
    Scene::of(post(sandbox))
}

impl Scene {
    /// Starts a cluster whose first holder is ha1; it returns when all its nodes say that all is well.
    pub(crate) fn of(builder: Builder) -> Result<Self, LabError> {
        Self::watch(builder.start()?)
    }

    /// Looks on at a cluster that has been started already; it returns when ha1 is the holder.
    pub(crate) fn watch(lab: Lab) -> Result<Self, LabError> {
        Self::watch_at(lab, TARGET.into())
    }

    /// The same, at another VIP.
    pub(crate) fn watch_at(lab: Lab, target: SocketAddr) -> Result<Self, LabError> {
        let witness = lab.witness(target.ip())?;
        let prober = lab.prober(ProbePlan::of(target))?;
        let scene = Self { prober, witness, lab };
        scene.await_home()?;
        Ok(scene)
    }

    /// The node called `name`.
    pub(crate) fn node(&self, name: &str) -> Result<&Node, LabError> {
        self.lab.node(name)
    }

    /// Waits until ha1 holds the VIP, every node that runs says so, and the client is served.
    pub(crate) fn await_home(&self) -> Result<(), LabError> {
        self.await_holder("ha1", PATIENCE)
    }

    /// Waits until `name` alone answers, every node that runs says so, and the client is served.
    pub(crate) fn await_holder(&self, name: &str, timeout: Duration) -> Result<(), LabError> {
        let answers = || self.witness.holder().as_deref() == Some(name);
        self.lab.wait_for(&format!("{name} to answer for the VIP"), timeout, answers)?;
        let running = self.lab.nodes().iter().filter(|node| node.daemon().is_ok());
        for node in running {
            let what = format!("{} to say that {name} holds the VIP", node.name());
            self.lab.wait_for(&what, timeout, || holder(node).as_deref() == Some(name) && is_ready(node))?;
        }
        let since = Instant::now();
        self.lab.wait_for("the client to be served", timeout, || self.prober.answered_since(since))
    }

    /// Does `deed` and waits until `to` has the VIP and serves the client, within `limit` as the client sees it.
    ///
    /// Returns when it was begun and how long the client went without an answer.
    pub(crate) fn moves_to(
        &self,
        to: &str,
        limit: Duration,
        deed: impl FnOnce(&Lab) -> Result<(), LabError>,
    ) -> Result<(Instant, Duration), Box<dyn Error>> {
        let began = Instant::now();
        deed(&self.lab)?;
        let answers = || self.witness.holder().as_deref() == Some(to);
        self.lab.wait_for(&format!("{to} to answer for the VIP"), PATIENCE, answers)?;
        // An exchange that begins from here on has found the new holder.
        let since = Instant::now();
        self.lab.wait_for("the client to be served", PATIENCE, || self.prober.answered_since(since))?;
        let gap = self.prober.gap(began);
        eprintln!("{to} holds the VIP; the client was without an answer for {gap:?}");
        assert!(gap < limit, "the client was without an answer for {gap:?}");
        Ok((began, gap))
    }

    /// Whatever failed since `began` was in flight at one and the same moment, that of a planned move.
    ///
    /// A connection is in flight from its first packet on, so that one begun between two holders counts as well.
    pub(crate) fn assert_only_in_flight_failed(&self, began: Instant) {
        // One of them may have seconds to go: it was given up or answered by then.
        let failed: Vec<_> =
            self.prober.exchanges(began).into_iter().filter(|exchange| exchange.outcome.is_err()).collect();
        let kinds: Vec<Failure> =
            failed.iter().filter_map(|exchange| exchange.outcome.clone().err()).collect();
        eprintln!("{} requests were lost: {kinds:?}", failed.len());
        let last_begun = failed.iter().map(|exchange| exchange.started).max();
        let first_ended = failed.iter().map(|exchange| exchange.ended).min();
        if let (Some(last_begun), Some(first_ended)) = (last_begun, first_ended) {
            let spread = last_begun.saturating_duration_since(first_ended);
            assert!(spread <= MOMENT, "{} requests failed, {spread:?} apart: {kinds:?}", failed.len());
        }
    }

    /// Never did two machines answer one question.
    pub(crate) fn assert_one_answerer(&self) {
        assert!(self.witness.questions() > 0);
        assert_eq!(self.witness.double_answers(), 0, "{:?}", self.witness.doubles());
    }
}

/// How long the moment of a planned move may last: from the old holder's release to the new one's announcement.
const MOMENT: Duration = Duration::from_millis(20);

/// Who holds the VIP, as `node` says; `None` while it doesn't answer or knows of nobody.
pub(crate) fn holder(node: &Node) -> Option<String> {
    node.status().ok()?["vips"][0]["holder"].as_str().map(str::to_owned)
}

/// Whether `node` says that it is ready.
pub(crate) fn is_ready(node: &Node) -> bool {
    node.status().is_ok_and(|status| status["ready"] == true)
}

/// What `node` says of the backend called `name`.
pub(crate) fn backend(node: &Node, name: &str) -> Result<Value, LabError> {
    let status = node.status()?;
    let backends = status["services"][0]["backends"].as_array().cloned().unwrap_or_default();
    backends.into_iter().find(|backend| backend["name"] == name).ok_or_else(|| LabError::Answer {
        node: node.name().into(),
        problem: format!("no backend called {name}: {status}"),
    })
}

/// The sum of the series of a family that have all these labels, each written as in the text: `reason="key"`.
pub(crate) fn sum(node: &Node, family: &str, labels: &[&str]) -> Result<f64, LabError> {
    let text = node.metrics()?;
    let all = text.lines().filter_map(|line| line.strip_prefix(family)?.strip_prefix('{')?.split_once("} "));
    // In whatever order they stand.
    let chosen = all.filter(|(has, _)| labels.iter().all(|label| has.split(',').any(|one| one == *label)));
    Ok(chosen.filter_map(|(_, value)| value.parse::<f64>().ok()).sum())
}

/// How often the VIP has changed hands on this node.
pub(crate) fn transitions(node: &Node) -> Result<f64, LabError> {
    sum(node, "chinthe_vip_transitions_total", &["vip=\"vi_1\""])
}

/// Whether the machine's kernel has the VIP: only an address of its own can be bound.
pub(crate) fn has_vip(machine: &Machine) -> bool {
    has_address(machine, VIP.into())
}

/// Whether it has an address at all.
pub(crate) fn has_address(machine: &Machine, address: IpAddr) -> bool {
    machine.space().within(|| UdpSocket::bind((address, 0))).is_ok()
}
