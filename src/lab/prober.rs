//! The client: a new connection every few milliseconds, and a record of how each went.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::LabError;
use super::space::Space;

/// Exchanges that are remembered one by one: four minutes at the usual pace.
const MOST_REMEMBERED: usize = 60_000;
/// Exchanges under way at a time; a request beyond them isn't made, but counted.
const MOST_UNDER_WAY: usize = 1024;
/// Different answers that are counted apart: more than a lab has web servers.
const MOST_ANSWERS: usize = 256;
/// The longest answer that is read.
const LONGEST_ANSWER: u64 = 8 * 1024;

/// What to ask, and how often.
#[derive(Debug, Clone, Copy)]
pub struct ProbePlan {
    /// Whom.
    pub target: SocketAddr,
    /// From the start of one connection to the start of the next.
    pub interval: Duration,
    /// How long one exchange may take as a whole.
    pub timeout: Duration,
}

impl ProbePlan {
    /// A connection every 4 ms, given up after 1 s: sooner than a lost SYN is repeated, so that an outage shows in
    /// full and ends with the first connection begun after it.
    pub fn of(target: impl Into<SocketAddr>) -> Self {
        Self { target: target.into(), interval: Duration::from_millis(4), timeout: Duration::from_secs(1) }
    }
}

/// How one exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// Nobody listened.
    Refused,
    /// No way there.
    Unreachable,
    /// No end in time.
    TimedOut,
    /// The connection was reset.
    Reset,
    /// It ended without an answer.
    Empty,
    /// Anything else.
    Other,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Reset => "reset",
            Self::Empty => "closed without an answer",
            Self::Other => "failed otherwise",
        })
    }
}

/// One exchange.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// When its connection was begun.
    pub started: Instant,
    /// When its answer had arrived, or when it failed.
    pub ended: Instant,
    /// The first line of the answer's body: the name of whoever gave it.
    pub outcome: Result<Arc<str>, Failure>,
}

/// What became of the exchanges that ended in a span of time.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers, by the name in them.
    pub answers: BTreeMap<String, u64>,
    /// Failures, by their kind.
    pub failures: BTreeMap<Failure, u64>,
}

impl Tally {
    /// All answers.
    pub fn answered(&self) -> u64 {
        self.answers.values().sum()
    }

    /// All failures.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }
}

/// A running prober; it finishes when dropped.
#[derive(Debug)]
pub struct Prober {
    record: Arc<Mutex<Record>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Prober {
    /// Starts probing from `space`.
    pub(super) fn start(space: &Arc<Space>, plan: ProbePlan) -> Result<Self, LabError> {
        let record = Arc::new(Mutex::new(Record::default()));
        let (stop, stopped) = oneshot::channel();
        let (begun, beginning) = sync_channel(1);
        let (space, kept) = (Arc::clone(space), Arc::clone(&record));
        let run = move || {
            let runtime = space
                .enter_network()
                .and_then(|()| tokio::runtime::Builder::new_current_thread().enable_all().build());
            match runtime {
                Ok(runtime) => {
                    let _ = begun.send(Ok(()));
                    runtime.block_on(probe(plan, stopped, &kept));
                }
                Err(e) => {
                    let _ = begun.send(Err(e));
                }
            }
        };
        let failed = |source| LabError::System { doing: "start the prober".into(), source };
        let thread = thread::Builder::new().name("lab-prober".into()).spawn(run).map_err(failed)?;
        beginning.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(failed)?;
        Ok(Self { record, stop: Some(stop), thread: Some(thread) })
    }

    /// Begins no more connections, and waits until those under way have ended.
    pub fn finish(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been printed already; what it recorded stands.
            let _ = thread.join();
        }
    }

    /// When the first answer came.
    pub fn first_answer(&self) -> Option<Instant> {
        self.record().first_answer
    }

    /// What became of all exchanges so far.
    pub fn total(&self) -> Tally {
        self.record().total.clone()
    }

    /// What became of the exchanges that were begun at `since` or later, as far as they are remembered.
    pub fn tally(&self, since: Instant) -> Tally {
        let mut tally = Tally::default();
        for exchange in self.record().recent.iter().filter(|exchange| exchange.started >= since) {
            tally.add(exchange);
        }
        tally
    }

    /// The longest time that passed between two successive answers, from the last one before `since` until now.
    ///
    /// What a client saw of an outage, while it lasts too; without an answer before `since` it counts from there.
    pub fn gap(&self, since: Instant) -> Duration {
        self.record().gap(since, Instant::now())
    }

    /// When the last answer came.
    pub fn last_answer(&self) -> Option<Instant> {
        self.record().recent.iter().rev().find(|exchange| exchange.outcome.is_ok()).map(|e| e.ended)
    }

    /// Whether an exchange that was begun after `since` has been answered.
    pub fn answered_since(&self, since: Instant) -> bool {
        let record = self.record();
        // From the latest back, and only as far as an exchange begun after `since` can have ended.
        record
            .recent
            .iter()
            .rev()
            .take_while(|exchange| exchange.ended >= since)
            .any(|exchange| exchange.started >= since && exchange.outcome.is_ok())
    }

    /// The exchanges that are remembered and were begun at `since` or later, in the order in which they ended.
    pub fn exchanges(&self, since: Instant) -> Vec<Exchange> {
        self.record().recent.iter().filter(|exchange| exchange.started >= since).cloned().collect()
    }

    /// Exchanges that weren't begun because too many were under way.
    pub fn skipped(&self) -> u64 {
        self.record().skipped
    }

    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.finish();
    }
}

#[derive(Debug, Default)]
struct Record {
    recent: VecDeque<Exchange>,
    total: Tally,
    first_answer: Option<Instant>,
    skipped: u64,
}

impl Record {
    fn add(&mut self, exchange: Exchange) {
        self.total.add(&exchange);
        if exchange.outcome.is_ok() {
            self.first_answer.get_or_insert(exchange.ended);
        }
        if self.recent.len() == MOST_REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(exchange);
    }

    fn gap(&self, since: Instant, now: Instant) -> Duration {
        let mut last = since;
        let mut longest = Duration::ZERO;
        for exchange in self.recent.iter().filter(|exchange| exchange.outcome.is_ok()) {
            if exchange.ended > since {
                longest = longest.max(exchange.ended.saturating_duration_since(last));
            }
            last = exchange.ended;
        }
        longest.max(now.saturating_duration_since(last))
    }
}

impl Tally {
    fn add(&mut self, exchange: &Exchange) {
        match &exchange.outcome {
            Ok(name) if self.answers.len() < MOST_ANSWERS || self.answers.contains_key(&**name) => {
                *self.answers.entry(name.to_string()).or_default() += 1;
            }
            // Nobody in a lab answers with that many names: not an answer of ours.
            Ok(_) => *self.failures.entry(Failure::Other).or_default() += 1,
            Err(failure) => *self.failures.entry(*failure).or_default() += 1,
        }
    }
}

async fn probe(plan: ProbePlan, mut stopped: oneshot::Receiver<()>, record: &Mutex<Record>) {
    let mut ticks = interval(plan.interval);
    // A busy machine makes fewer requests, not a burst of late ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut under_way = JoinSet::new();
    let locked = || record.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(Ok(exchange)) = under_way.join_next() => locked().add(exchange),
            _ = ticks.tick() => {
                if under_way.len() < MOST_UNDER_WAY {
                    under_way.spawn(exchange(plan));
                } else {
                    locked().skipped += 1;
                }
            }
        }
    }
    // Each ends by itself within its timeout.
    while let Some(ended) = under_way.join_next().await {
        if let Ok(exchange) = ended {
            locked().add(exchange);
        }
    }
}

async fn exchange(plan: ProbePlan) -> Exchange {
    let started = Instant::now();
    let outcome = timeout(plan.timeout, ask(plan.target)).await.unwrap_or(Err(Failure::TimedOut));
    Exchange { started, ended: Instant::now(), outcome }
}

async fn ask(target: SocketAddr) -> Result<Arc<str>, Failure> {
    let mut stream = TcpStream::connect(target).await.map_err(|e| failure(&e))?;
    let request = format!("GET / HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.map_err(|e| failure(&e))?;
    let mut answer = String::new();
    stream.take(LONGEST_ANSWER).read_to_string(&mut answer).await.map_err(|e| failure(&e))?;
    let body = answer.split_once("\r\n\r\n").filter(|(head, _)| head.starts_with("HTTP/1.1 200 "));
    let name = body.and_then(|(_, body)| body.lines().next()).ok_or(Failure::Empty)?;
    Ok(name.into())
}

fn failure(error: &io::Error) -> Failure {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Failure::Refused,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Failure::Unreachable,
        io::ErrorKind::TimedOut => Failure::TimedOut,
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => Failure::Reset,
        io::ErrorKind::UnexpectedEof => Failure::Empty,
        _ => Failure::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exchanges that end `ended` milliseconds after a common moment, which comes first.
    fn record(ended: &[(u64, bool)]) -> (Instant, Record) {
        let start = Instant::now();
        let mut record = Record::default();
        for &(millis, well) in ended {
            let moment = start + Duration::from_millis(millis);
            let outcome = if well { Ok("web1".into()) } else { Err(Failure::Refused) };
            record.add(Exchange { started: moment, ended: moment, outcome });
        }
        (start, record)
    }

    #[test]
    fn a_gap_spans_the_failures_between_two_answers() {
        let (start, record) = record(&[(10, true), (14, false), (18, false), (30, true), (34, true)]);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(record.gap(at(0), at(35)), Duration::from_millis(20));
    }

    #[test]
    fn a_gap_begins_with_the_last_answer_before_it_was_asked_for() {
        let (start, record) = record(&[(0, true), (10, true), (50, true), (51, true)]);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(record.gap(at(20), at(52)), Duration::from_millis(40));
        assert_eq!(record.gap(at(50), at(52)), Duration::from_millis(1));
    }

    #[test]
    fn a_gap_that_lasts_counts_until_now() {
        let (start, record) = record(&[(0, true), (10, false)]);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(record.gap(at(5), at(700)), Duration::from_millis(700));
    }

    #[test]
    fn without_any_answer_the_gap_is_as_long_as_the_question_reaches() {
        let (start, record) = record(&[(10, false)]);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(record.gap(at(0), at(90)), Duration::from_millis(90));
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_counted_is_not() {
        let (_, record) = record(&vec![(1, true); MOST_REMEMBERED + 7]);
        assert_eq!(record.recent.len(), MOST_REMEMBERED);
        assert_eq!(record.total.answered(), MOST_REMEMBERED as u64 + 7);
    }
}
