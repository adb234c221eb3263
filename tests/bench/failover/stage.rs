//! A contender's cluster under observation: a client that never stops asking, a witness of who answers ARP.

use std::error::Error;
use std::time::{Duration, Instant};

use chinthe::lab::{LabError, Node, ProbePlan, Prober, Sandbox, Witness, holds_within};

use crate::beat::await_beat;
use crate::cluster::{Cluster, HOLDER};
use crate::contender::{Contender, Kind};
use crate::record::Phase;
use crate::trial::{Trial, Watch};

/// A cluster and whoever looks at it.
pub(crate) struct Stage {
    // Before the cluster, since they go with its machines.
    prober: Prober,
    witness: Witness,
    pub(crate) cluster: Cluster,
}

/// A moment, and what had been counted by then.
pub(crate) struct Mark {
    at: Instant,
    questions: u64,
    doubles: u64,
    takeovers: u64,
    /// The client's last answer by then, unless it had been without one for long already.
    answered: Option<Instant>,
}

/// For a cluster to come up: the post's takes three of its intervals.
const START: Duration = Duration::from_secs(30);
/// What a cluster has to look well for, to count as settled.
const CALM: Duration = Duration::from_millis(400);
/// How long the client's noise is listened to before a fault.
const NOISE: Duration = Duration::from_millis(600);
/// An exchange that takes longer has failed: less than the second after which a lost SYN is repeated, so that an
/// outage shows in full.
const TIMEOUT: Duration = Duration::from_millis(200);

impl Stage {
    /// Starts it; returns when `ha1` holds the VIP and serves the client.
    pub(crate) fn start(sandbox: Sandbox, trial: &Trial) -> Result<Self, LabError> {
        let (contender, target) = (&trial.contender, trial.contender.target());
        let cluster = Cluster::start(sandbox, contender)?;
        let witness = cluster.lab().witness(target.ip())?;
        let plan = ProbePlan { target, interval: trial.pace(), timeout: TIMEOUT };
        let prober = cluster.lab().prober(plan)?;
        let stage = Self { prober, witness, cluster };
        let lab = stage.cluster.lab();
        lab.wait_for("ha1 to hold the VIP and to serve", START, || stage.is_settled(|name| name == HOLDER))?;
        if contender.is_ours() {
            for node in lab.nodes() {
                lab.wait_for(&format!("{} to be ready", node.name()), START, || is_ready(node))?;
            }
        }
        Ok(stage)
    }

    /// Listens to the client's noise, then waits until so much of the holder's interval has passed; returns the
    /// longest time that the client went without an answer meanwhile.
    pub(crate) fn noise(&self, contender: &Contender, shift: Duration) -> Result<Duration, Box<dyn Error>> {
        let since = Instant::now();
        pause(NOISE);
        let lab = self.cluster.lab();
        if contender.kind != Kind::Post {
            // Its nodes speak to each other alone.
            await_beat(lab.machine("web1")?, lab.machine(HOLDER)?, contender.interval * 3)?;
        }
        pause(shift);
        Ok(self.prober.gap(since))
    }

    /// Begins to measure.
    pub(crate) fn mark(&self) -> Mark {
        Mark {
            questions: self.witness.questions(),
            doubles: self.witness.double_answers(),
            takeovers: self.cluster.takeovers(),
            answered: self.prober.last_answer().filter(|answered| answered.elapsed() < TIMEOUT),
            at: Instant::now(),
        }
    }

    /// Watches until a holder that is `wanted` alone answers and serves, within the bounds of `watch`; tells what
    /// was seen since `mark`.
    pub(crate) fn watch(&self, mark: &Mark, watch: Watch, wanted: impl Fn(&str) -> bool) -> Phase {
        let left = |time: Duration| time.saturating_sub(mark.at.elapsed());
        let mut settled = None;
        holds_within(left(watch.most), || {
            if settled.is_none() && self.is_settled(&wanted) {
                settled = Some(mark.at.elapsed());
            }
            settled.is_some() && mark.at.elapsed() >= watch.least
        });
        let lasted = mark.at.elapsed();
        // An exchange that was under way at the mark had been begun by then.
        let since = mark.at.checked_sub(TIMEOUT).unwrap_or(mark.at);
        let exchanges = self.prober.exchanges(since);
        let ended = || exchanges.iter().filter(|exchange| exchange.ended >= mark.at);
        let failed = || ended().filter(|exchange| exchange.outcome.is_err());
        let answers = ended().filter(|exchange| exchange.outcome.is_ok()).map(|exchange| exchange.ended);
        let (gap, gap_from) = longest(mark.answered.unwrap_or(mark.at), answers, mark.at + lasted);
        let questions = self.witness.questions() - mark.questions;
        let doubles = self.witness.double_answers() - mark.doubles;
        let last_begun = failed().map(|exchange| exchange.started).max();
        let first_ended = failed().map(|exchange| exchange.ended).min();
        let spread = last_begun.zip(first_ended).map(|(last, first)| last.saturating_duration_since(first));
        let mut begun: Vec<Instant> = exchanges.iter().map(|exchange| exchange.started).collect();
        begun.sort();
        // What is still under way was begun after them; its end isn't waited for.
        let late = begun.windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).max();
        Phase {
            settled_ms: settled.map(millis),
            gap_ms: millis(gap),
            gap_after_ms: millis(gap_from.saturating_duration_since(mark.at)),
            client_late_ms: late.map_or(0.0, millis),
            requests: ended().count(),
            failed: failed().count(),
            failed_for_ms: spread.map_or(0.0, millis),
            two_answerers_s: lasted.as_secs_f64() * doubles as f64 / questions.max(1) as f64,
            takeovers: self.cluster.takeovers().saturating_sub(mark.takeovers),
            lasted_s: lasted.as_secs_f64(),
        }
    }

    /// Leaves the cluster alone: nobody asks it anything any more.
    pub(crate) fn leave(self) -> Cluster {
        self.cluster
    }

    fn is_settled(&self, wanted: impl Fn(&str) -> bool) -> bool {
        let Some(since) = Instant::now().checked_sub(CALM) else { return false };
        let answerers = self.witness.answerers(since);
        answerers.len() == 1 && answerers.iter().all(|name| wanted(name)) && self.prober.gap(since) < TIMEOUT
    }
}

/// The longest time from one answer to the next, and when it began: a gap that lasts counts as well.
fn longest(first: Instant, answers: impl Iterator<Item = Instant>, now: Instant) -> (Duration, Instant) {
    let mut answers: Vec<Instant> = answers.chain([first, now]).collect();
    answers.sort();
    let gaps = answers.windows(2).map(|pair| (pair[1].saturating_duration_since(pair[0]), pair[0]));
    gaps.max().unwrap_or((Duration::ZERO, first))
}

fn is_ready(node: &Node) -> bool {
    let status = || -> Result<bool, Box<dyn Error>> {
        let status = node.status()?;
        Ok(status["ready"] == true && status["vips"][0]["holder"] == HOLDER)
    };
    status().unwrap_or(false)
}

/// Lets time pass: what is measured here is time.
pub(crate) fn pause(time: Duration) {
    holds_within(time, || false);
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
