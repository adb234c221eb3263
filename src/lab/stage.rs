//! Carries a script out on a lab, and tells in plain words what came of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::LabError;
use super::cluster::Lab;
use super::prober::{ProbePlan, Prober};
use super::script::{Action, Deed, Expectation, Line, Name};
use super::wait::{holds_within, pause};
use super::witness::Witness;

/// For the client's first answer before an order is carried out.
const FIRST_ANSWER: Duration = Duration::from_secs(1);
/// For a takeover after an order that calls for one: longer than the slowest, by a lease that runs out.
const TAKEOVER: Duration = Duration::from_secs(5);

/// A lab with its instruments on, and what was done to it last.
pub(super) struct Stage {
    lab: Lab,
    witness: Arc<Witness>,
    /// Absent between two orders, so that whoever tries the VIP by hand has it for himself.
    prober: Option<Prober>,
    vip: SocketAddr,
    began: Instant,
    /// When something was done last: gaps are counted from there.
    done_at: Instant,
    /// Who held the VIP just before.
    holder_before: Option<String>,
    victim: Option<String>,
    takeovers: Vec<Duration>,
}

/// Why a script ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum StageError {
    #[error("line {number}: {source}")]
    Failed { number: usize, source: LabError },
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error("{0} times two machines answered the same ARP question for the VIP")]
    DoubleAnswers(u64),
}

impl Stage {
    pub(super) fn new(lab: Lab, vip: SocketAddr, began: Instant) -> Result<Self, LabError> {
        let witness = Arc::new(lab.witness(vip.ip())?);
        let (done_at, holder_before, victim, takeovers) = (began, None, None, Vec::new());
        Ok(Self { lab, witness, prober: None, vip, began, done_at, holder_before, victim, takeovers })
    }

    /// Carries out a whole script; says in one sentence what was seen.
    pub(super) fn play(&mut self, script: &[Line]) -> Result<String, StageError> {
        self.prober = Some(self.lab.prober(ProbePlan::of(self.vip))?);
        for line in script {
            self.perform(&line.action)
                .map_err(|source| StageError::Failed { number: line.number, source })?;
        }
        if let Some(prober) = &mut self.prober {
            prober.finish();
        }
        match self.witness.double_answers() {
            0 => Ok(self.summary()),
            doubles => Err(StageError::DoubleAnswers(doubles)),
        }
    }

    /// Carries out one order, with a client that looks on. When it hits the holder, what becomes of the VIP is
    /// awaited and told.
    pub(super) fn order(&mut self, action: &Action) -> Result<(), LabError> {
        let prober = self.prober.insert(self.lab.prober(ProbePlan::of(self.vip))?);
        // The gap that follows needs an answer to begin with; without any there is nothing to measure.
        holds_within(FIRST_ANSWER, || prober.total().answered() > 0);
        let outcome = self.perform(action).and_then(|()| match action {
            Action::Do(deed, _) if deed.is_fault() && self.victim == self.holder_before => {
                self.perform(&Action::Expect(Expectation::Takeover, TAKEOVER))
            }
            Action::Do(..)
            | Action::Say(_)
            | Action::Wait(_)
            | Action::Cut { .. }
            | Action::Heal { .. }
            | Action::Expect(..) => Ok(()),
        });
        self.prober = None;
        outcome
    }

    /// The witness, to look on from elsewhere.
    pub(super) fn witness(&self) -> Arc<Witness> {
        Arc::clone(&self.witness)
    }

    /// The lab.
    pub(super) fn lab(&self) -> &Lab {
        &self.lab
    }

    fn perform(&mut self, action: &Action) -> Result<(), LabError> {
        match action {
            Action::Say(text) => self.tell(text),
            Action::Wait(time) => pause(*time),
            Action::Do(deed, name) => {
                let machine = self.resolve(name)?;
                self.mark(&machine);
                perform(&self.lab, *deed, &machine)?;
                self.tell(&format!("{} {machine}", deed.describe()));
            }
            Action::Cut { from, to } => {
                let (from, to) = (self.resolve(from)?, self.resolve(to)?);
                self.mark(&from);
                self.lab.cut(&from, &to)?;
                self.tell(&format!("cut: what {from} sends to {to} is lost"));
            }
            Action::Heal { from, to } => {
                let (from, to) = (self.resolve(from)?, self.resolve(to)?);
                self.mark(&from);
                self.lab.heal(&from, &to)?;
                self.tell(&format!("healed: {from} reaches {to} again"));
            }
            Action::Expect(Expectation::Holder(name), timeout) => {
                let node = self.resolve(name)?;
                self.await_holder(&format!("{node} to hold the VIP"), *timeout, |holder| holder == node)?;
            }
            Action::Expect(Expectation::Takeover, timeout) => {
                let before = self.holder_before.clone();
                let gap = self.await_holder("another node to take over", *timeout, |holder| {
                    before.as_deref() != Some(holder)
                })?;
                self.takeovers.push(gap);
            }
            Action::Expect(Expectation::Answer(name), timeout) => {
                let web = name.as_ref().map(|name| self.resolve(name)).transpose()?;
                let since = Instant::now();
                let what = web.as_deref().map_or("an answer".into(), |web| format!("an answer from {web}"));
                self.lab.wait_for(&what, *timeout, || match &web {
                    Some(web) => self.prober().is_some_and(|p| p.tally(since).answers.contains_key(web)),
                    None => self.prober().is_some_and(|prober| prober.answered_since(since)),
                })?;
                self.tell(&format!("the client has {what} by way of {}", self.vip));
            }
        }
        Ok(())
    }

    /// Waits until a holder that is `wanted` answers alone and serves the client; says how long the client was
    /// without an answer.
    fn await_holder(
        &self,
        what: &str,
        timeout: Duration,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Duration, LabError> {
        let end = Instant::now() + timeout;
        let mut new = None;
        self.lab.wait_for(what, timeout, || {
            new = self.witness.holder().filter(|holder| wanted(holder));
            new.is_some()
        })?;
        // An exchange begun from here on has found the new holder.
        let since = Instant::now();
        let left = end.saturating_duration_since(since);
        self.lab.wait_for("the client to be served again", left, || {
            self.prober().is_some_and(|prober| prober.answered_since(since))
        })?;
        let gap = self.prober().map(|prober| prober.gap(self.done_at)).unwrap_or_default();
        let holder = new.unwrap_or_default();
        if self.victim.is_some() {
            let gap = gap.as_millis();
            self.tell(&format!(
                "{holder} holds the VIP; the client was without an answer for {gap} ms at most"
            ));
        } else {
            self.tell(&format!("{holder} holds the VIP"));
        }
        Ok(gap)
    }

    fn resolve(&self, name: &Name) -> Result<String, LabError> {
        match name {
            Name::Given(name) => Ok(name.clone()),
            Name::Holder => {
                // Between two holders there is none for a moment.
                let mut holder = None;
                holds_within(Duration::from_secs(1), || {
                    holder = self.witness.holder();
                    holder.is_some()
                });
                holder.ok_or(LabError::Nobody("nobody holds the VIP"))
            }
            Name::Victim => self.victim.clone().ok_or(LabError::Nobody("nothing was hit yet")),
        }
    }

    fn prober(&self) -> Option<&Prober> {
        self.prober.as_ref()
    }

    fn mark(&mut self, machine: &str) {
        self.holder_before = self.witness.holder();
        self.victim = Some(machine.into());
        self.done_at = Instant::now();
    }

    fn tell(&self, text: &str) {
        println!("{:6.2} s  {text}", self.began.elapsed().as_secs_f64());
    }

    /// Requests count from the first answer on: before there was no VIP.
    fn summary(&self) -> String {
        let tally = |prober: &Prober| Some(prober.tally(prober.first_answer()?));
        let requests = self.prober().and_then(tally).unwrap_or_default();
        format!(
            "{} takeovers, the longest in {} ms; {} requests answered, {} failed; never did two machines answer {} for {}",
            self.takeovers.len(),
            self.takeovers.iter().max().copied().unwrap_or_default().as_millis(),
            requests.answered(),
            requests.failed(),
            if self.vip.is_ipv4() { "ARP" } else { "neighbour discovery" },
            self.vip.ip()
        )
    }
}

/// Does it to the machine.
pub(super) fn perform(lab: &Lab, deed: Deed, machine: &str) -> Result<(), LabError> {
    match deed {
        Deed::Kill => lab.node(machine)?.kill9_daemon(),
        Deed::KillAll => lab.node(machine)?.kill9_both(),
        Deed::Terminate => lab.node(machine)?.terminate(),
        Deed::Freeze => lab.node(machine)?.stop_both(),
        Deed::Thaw => lab.node(machine)?.cont(),
        Deed::PowerOff => lab.node(machine)?.power_off(),
        Deed::PowerOn => lab.node(machine)?.power_on(),
        Deed::Unplug => lab.machine(machine)?.unplug(),
        Deed::Plug => lab.machine(machine)?.plug(),
        Deed::Stop => lab.web(machine)?.stop(),
        // The one word for both: names tell them apart.
        Deed::Start => match lab.web(machine) {
            Ok(web) => web.start(),
            Err(_) => lab.node(machine)?.start(),
        },
    }
}
