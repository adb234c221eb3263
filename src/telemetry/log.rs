//! The log: text for people, JSON for machines, on standard error.
//!
//! Lines are handed to a thread of their own over a bounded queue, so that whatever reads standard error
//! can stall without stopping the daemon. What doesn't fit is given up and counted.

use std::fmt;
use std::io::{self, IsTerminal};
use std::str::FromStr;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// The variable that chooses levels, by module if need be: `debug`, `info,chinthe::peers=trace`.
const FILTER_VARIABLE: &str = "CHINTHE_LOG";
/// The variable that chooses the format where the command line doesn't: `text` or `json`.
const FORMAT_VARIABLE: &str = "CHINTHE_LOG_FORMAT";

/// Lines that wait at most: some 2 MB, more than a failover's worth at `debug`.
const QUEUE_LINES: usize = 8192;

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
}

/// A word that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no log format")]
pub struct UnknownFormat(String);

impl UnknownFormat {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        "use `auto`, `text` or `json`"
    }
}

impl FromStr for Format {
    type Err = UnknownFormat;

    fn from_str(word: &str) -> Result<Self, UnknownFormat> {
        match word {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
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
            Self::Started(_) => "this is a mistake in chinthe, please report it",
        }
    }
}

/// Keeps the log going; on drop, what waits is written, for at most a second or so.
#[must_use = "the log ends when its guard is dropped"]
pub struct Guard {
    dropped: DroppedLines,
    _writer: WorkerGuard,
}

impl Guard {
    /// The count of lines given up so far.
    pub fn dropped_lines(&self) -> DroppedLines {
        self.dropped.clone()
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard").field("dropped", &self.dropped.get()).finish_non_exhaustive()
    }
}

/// How many log lines were given up; for any thread to read.
#[derive(Debug, Clone)]
pub struct DroppedLines(ErrorCounter);

impl DroppedLines {
    /// Their number since the start.
    pub fn get(&self) -> u64 {
        self.0.dropped_lines() as u64
    }
}

/// Starts the log of this process, on standard error; `level` holds where `CHINTHE_LOG` doesn't say more.
pub fn start(format: Format, level: LevelFilter) -> Result<Guard, LogError> {
    let format = match (format, variable(FORMAT_VARIABLE)) {
        (Format::Auto, Some(word)) => word.parse()?,
        (Format::Auto | Format::Text | Format::Json, _) => format,
    };
    let filter = EnvFilter::builder()
        .with_default_directive(level.into())
        .parse(variable(FILTER_VARIABLE).unwrap_or_default())?;
    let (writer, guard) = queue(io::stderr());
    let dropped = DroppedLines(writer.error_counter());
    let colour = io::stderr().is_terminal() && variable("NO_COLOR").is_none();
    tracing::subscriber::set_global_default(subscriber(format, colour, filter, writer))?;
    Ok(Guard { dropped, _writer: guard })
}

/// A writer that never waits, and the thread that writes in its stead.
fn queue(to: impl io::Write + Send + 'static) -> (NonBlocking, WorkerGuard) {
    NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE_LINES).thread_name("log").finish(to)
}

/// A variable's value; unset, empty and unreadable are the same.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn subscriber<W>(
    format: Format,
    colour: bool,
    filter: EnvFilter,
    writer: W,
) -> Box<dyn Subscriber + Send + Sync>
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_timer(UtcTime)
        .with_ansi(colour)
        .with_writer(writer);
    match format {
        Format::Json => Box::new(lines.json().flatten_event(true).finish()),
        Format::Auto | Format::Text => Box::new(lines.with_target(false).finish()),
    }
}

/// RFC 3339, in UTC, to the microsecond: sorts as text, and compares between nodes.
struct UtcTime;

impl FormatTime for UtcTime {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:.6}", jiff::Timestamp::now())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::core::{Cause, Phases, Time, Transition, VipState};
    use crate::telemetry::log_transition;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no panic while held").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What a transition's line looks like in `format`.
    fn line(format: Format, phases: Option<Phases>) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let log = subscriber(format, false, EnvFilter::new("info"), move || writer.clone());
        tracing::subscriber::with_default(log, || {
            log_transition(
                "vi_1",
                &Transition {
                    vip: 0,
                    from: VipState::Backup,
                    to: VipState::Active,
                    cause: Cause::HolderSilent,
                    at: Time::ZERO,
                    priority: 102,
                    term: 4,
                    phases,
                },
            );
            tracing::debug!("not shown");
        });
        let bytes = kept.0.lock().expect("no panic while held").clone();
        String::from_utf8(bytes).expect("text")
    }

    #[test]
    fn a_transition_is_one_line_of_json_with_its_fields() {
        let phases = Phases {
            detect: Duration::from_millis(150),
            elect: Duration::from_micros(25_500),
            assign: Duration::from_millis(2),
        };
        let text = line(Format::Json, Some(phases));
        assert_eq!(text.lines().count(), 1, "{text}");
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        for (field, value) in [
            ("message", "transition".into()),
            ("level", "INFO".into()),
            ("vip", "vi_1".into()),
            ("from", "backup".into()),
            ("to", "active".into()),
            ("cause", "holder_silent".into()),
            ("priority", 102.into()),
            ("term", 4.into()),
            ("detect_ms", 150.0.into()),
            ("elect_ms", 25.5.into()),
            ("assign_ms", serde_json::Value::from(2.0)),
        ] {
            assert_eq!(json[field], value, "{field} in {text}");
        }
        let timestamp = json["timestamp"].as_str().expect("a time");
        assert!(timestamp.ends_with('Z') && timestamp.parse::<jiff::Timestamp>().is_ok(), "{timestamp}");
    }

    #[test]
    fn a_transition_without_phases_has_no_such_fields() {
        let text = line(Format::Text, None);
        assert!(
            text.ends_with(
                "INFO transition vip=\"vi_1\" from=\"backup\" to=\"active\" cause=\"holder_silent\" priority=102 term=4\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn a_stuck_reader_stops_nobody_and_what_it_misses_is_counted() {
        let kept = Kept::default();
        let stuck = Arc::clone(&kept.0);
        let held = stuck.lock().expect("no panic while held");
        let (writer, guard) = queue(kept);
        let dropped = DroppedLines(writer.error_counter());
        let log = subscriber(Format::Text, false, EnvFilter::new("info"), writer);
        tracing::subscriber::with_default(log, || {
            // One line may be on its way out already.
            for line in 0..QUEUE_LINES + 10 {
                tracing::info!(line, "nobody reads this");
            }
        });
        assert!(dropped.get() >= 9, "{}", dropped.get());
        drop(held);
        drop(guard);
        assert!(!stuck.lock().expect("no panic while held").is_empty(), "the rest was written in the end");
    }

    #[test]
    fn a_format_is_known_by_its_word() {
        assert_eq!("json".parse(), Ok(Format::Json));
        assert_eq!("xml".parse::<Format>(), Err(UnknownFormat("xml".to_owned())));
    }
}
