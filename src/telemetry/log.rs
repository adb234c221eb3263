//! The log and the event stream: every record once, to whoever reads them, and nobody waits for a reader.
//!
//! Records are handed over by two bounded queues: as lines to a thread of their own, so that whatever reads
//! standard error can stall without stopping the daemon; and, if they are events, to whoever shows events. What
//! doesn't fit is given up and counted.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_sdk::trace::SdkTracer;
use tokio::sync::mpsc;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::{Interest, SetGlobalDefaultError};
use tracing::{Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::{Context, Layer, Layered, SubscriberExt};
use tracing_subscriber::{EnvFilter, Registry, reload};

use super::event::EVENTS;
use super::journal::{self, Journal};
use super::record::{Record, What};
use super::spans::Tracing;

/// The variable that chooses levels, by module if need be: `debug`, `info,chinthe::peers=trace`.
const FILTER_VARIABLE: &str = "CHINTHE_LOG";
/// The variable that chooses the format where the command line doesn't: `text`, `json` or `journald`.
const FORMAT_VARIABLE: &str = "CHINTHE_LOG_FORMAT";

/// Lines that wait at most: some 2 MB, more than a failover's worth at `debug`.
const QUEUE_LINES: usize = 8192;
/// Events that wait at most until they are shown: many failovers' worth.
const QUEUE_EVENTS: usize = 1024;

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// What `CHINTHE_LOG_FORMAT` says, else text.
    #[default]
    Auto,
    /// For people; in colour on a terminal, unless `NO_COLOR` is set.
    Text,
    /// One JSON object a line.
    Json,
    /// Entries of systemd's journal, to its own socket instead of standard error.
    Journald,
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no log format")]
pub struct UnknownFormat(String);

impl UnknownFormat {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "use `auto`, `text`, `json` or `journald`"
    }
}

impl Format {
    /// The words for all of them.
    pub const WORDS: [&'static str; 4] = ["auto", "text", "json", "journald"];
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            "journald" => Ok(Self::Journald),
            other => Err(UnknownFormat(other.to_owned())),
        }
    }
}

/// Why the log can't be started.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `CHINTHE_LOG_FORMAT` names no format.
    #[error("`CHINTHE_LOG_FORMAT`: {0}")]
    Format(#[from] UnknownFormat),
    /// `CHINTHE_LOG` can't be understood.
    #[error("`CHINTHE_LOG` can't be understood: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// There is no journal.
    #[error("the journal can't be reached at `{socket}`: {0}", socket = journal::SOCKET)]
    Journal(#[source] io::Error),
    /// There is one already in this process.
    #[error("the log was started twice")]
    Started(#[from] SetGlobalDefaultError),
}

impl LogError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Format(error) => error.hint(),
            Self::Filter(_) => "for example `CHINTHE_LOG=debug` or `CHINTHE_LOG=info,chinthe::peers=trace`",
            Self::Journal(_) => "is systemd running here? `text` and `json` go to standard error",
            Self::Started(_) => "this is a mistake in chinthe, please report it",
        }
    }
}

/// Keeps the log going; on drop, what waits is written, for at most a second or so.
#[must_use = "the log ends when its guard is dropped"]
pub struct Guard {
    lost: Lost,
    events: Option<Events>,
    spans: reload::Handle<Spans, Told>,
    _writer: WorkerGuard,
}

/// The log as spans find it.
type Told = Layered<Teller, Registry>;

/// Where spans go, once there is a collector for them. The log begins before the configuration is read, which says by
/// what names the collector is to know this node.
type Spans = Option<OpenTelemetryLayer<Told, SdkTracer>>;

/// Every event from the start on, in the order in which they were told.
pub type Events = mpsc::Receiver<Record>;

impl Guard {
    /// The counts of what was given up so far.
    pub fn lost(&self) -> Lost {
        self.lost.clone()
    }

    /// Has spans that begin from now on told to a collector, too.
    pub fn show_spans(&self, tracing: &Tracing) {
        if let Err(error) = self.spans.modify(|spans| *spans = Some(tracing.layer())) {
            tracing::warn!(%error, "only failovers are traced");
        }
    }

    /// What is to be shown; there is one reader, so the second to ask gets none.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("lost", &self.lost).finish_non_exhaustive()
    }
}

/// How much was given up because its reader was too slow; for any thread to read.
#[derive(Debug, Clone)]
pub struct Lost {
    lines: ErrorCounter,
    events: Arc<AtomicU64>,
}

impl Lost {
    /// Log lines, since the start.
    pub fn lines(&self) -> u64 {
        self.lines.dropped_lines() as u64
    }

    /// Events that the stream doesn't have, since the start; the log may have them.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }
}

/// Starts the log of this process; `level` holds where `CHINTHE_LOG` doesn't say more.
pub fn start(format: Format, level: LevelFilter) -> Result<Guard, LogError> {
    let format = match (format, variable(FORMAT_VARIABLE)) {
        (Format::Auto, Some(word)) => word.parse()?,
        (Format::Auto | Format::Text | Format::Json | Format::Journald, _) => format,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .parse(variable(FILTER_VARIABLE).unwrap_or_default())?;
    let colour = io::stderr().is_terminal() && variable("NO_COLOR").is_none();
    let (writer, guard) = match format {
        Format::Journald => queue(Journal::open(Path::new(journal::SOCKET)).map_err(LogError::Journal)?),
        Format::Auto | Format::Text | Format::Json => queue(io::stderr()),
    };
    let (teller, events) = Teller::new(format, colour, filter, writer);
    let lost = teller.lost.clone();
    let (subscriber, spans) = subscriber(teller);
    tracing::subscriber::set_global_default(subscriber)?;
    Ok(Guard { lost, events: Some(events), spans, _writer: guard })
}

/// Whoever is told: the log and the event stream, and a collector once there is one.
fn subscriber(teller: Teller) -> (impl Subscriber + Send + Sync, reload::Handle<Spans, Told>) {
    let (spans, handle) = reload::Layer::new(None);
    // Nobody else's: what exports spans might have some itself.
    let spans = spans.with_filter(filter_fn(is_own));
    (Registry::default().with(teller).with(spans), handle)
}

/// Whether this program tells it, and none of its libraries.
fn is_own(metadata: &Metadata<'_>) -> bool {
    metadata.target().split("::").next() == Some(env!("CARGO_CRATE_NAME"))
}

/// A writer that never waits, and the thread that writes in its stead.
fn queue(to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES).thread_name("log").finish(to)
}

/// A variable's value; unset, empty and unreadable are the same.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Makes a record of everything that is told, and hands it on.
struct Teller {
    format: Format,
    colour: bool,
    /// What the log shows. Events are made whatever it says.
    filter: EnvFilter,
    lines: NonBlocking,
    events: mpsc::Sender<Record>,
    lost: Lost,
}

impl Teller {
    fn new(format: Format, colour: bool, filter: EnvFilter, lines: NonBlocking) -> (Self, Events) {
        let (events, shown) = mpsc::channel(QUEUE_EVENTS);
        let lost = Lost { lines: lines.error_counter(), events: Arc::default() };
        (Self { format, colour, filter, lines, events, lost }, shown)
    }

    fn rendered(&self, record: &Record) -> Vec<u8> {
        match self.format {
            Format::Journald => journal::entry(record),
            Format::Json => {
                let mut line =
                    serde_json::to_vec(&record.document()).expect("text and numbers are always JSON");
                line.push(b'\n');
                line
            }
            Format::Auto | Format::Text => (record.line(self.colour) + "\n").into_bytes(),
        }
    }
}

impl<S: Subscriber> Layer<S> for Teller {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if is_for_all(metadata) {
            Interest::always()
        } else {
            Layer::<S>::register_callsite(&self.filter, metadata)
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        is_for_all(metadata) || self.filter.enabled(metadata, context)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        // No event is below it.
        self.filter.max_level_hint().map(|level| level.max(LevelFilter::INFO))
    }

    fn on_event(&self, event: &tracing::Event<'_>, context: Context<'_, S>) {
        let record = Record::of(event);
        if self.filter.enabled(event.metadata(), context) {
            // A lossy writer's failure is a line that it has counted.
            let _ = self.lines.clone().write_all(&self.rendered(&record));
        }
        if matches!(record.what, What::Event(_)) && self.events.try_send(record).is_err() {
            self.lost.events.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Whether somebody besides the log's reader wants it, whatever the filter says: events have a stream, spans a collector.
fn is_for_all(metadata: &Metadata<'_>) -> bool {
    metadata.target() == EVENTS || (metadata.is_span() && is_own(metadata))
}

#[cfg(test)]
mod tests;
