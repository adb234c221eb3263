//! What is told, as data: a moment, a level, a word, and fields.
//!
//! A log line, an entry of the event stream and a line of the page are renderings of one [`Record`]; whoever
//! reads one of them has read them all.

use std::fmt::{self, Write as _};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

use super::event::EVENTS;

/// Something that happened, as it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// When.
    pub at: Timestamp,
    /// For whom.
    pub level: Level,
    /// What.
    pub what: What,
    /// The rest: numbers, flags and text by name, in the order in which they are told.
    pub fields: Map<String, Value>,
}

/// What a record tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// An event of the vocabulary, by its name.
    Event(String),
    /// A sentence, which is nobody's interface.
    Message(String),
}

/// Names that a record has for itself, in its document.
const TIMESTAMP: &str = "timestamp";
const LEVEL: &str = "level";
const EVENT: &str = "event";
const MESSAGE: &str = "message";

impl Record {
    /// What this program has just told.
    pub(super) fn of(event: &Event<'_>) -> Self {
        let mut told = Told::default();
        event.record(&mut told);
        let what = if event.metadata().target() == EVENTS { What::Event } else { What::Message };
        Self {
            at: Timestamp::now(),
            level: *event.metadata().level(),
            what: what(told.message),
            fields: told.fields,
        }
    }

    /// As a JSON object: `timestamp` (RFC 3339 in UTC, to the microsecond, so that it sorts as text and compares
    /// between nodes), `level`, `event` or `message`, and the fields.
    pub fn document(&self) -> Map<String, Value> {
        let (key, word) = match &self.what {
            What::Event(name) => (EVENT, name),
            What::Message(text) => (MESSAGE, text),
        };
        let mut document = Map::new();
        document.insert(TIMESTAMP.into(), format!("{:.6}", self.at).into());
        document.insert(LEVEL.into(), self.level.as_str().into());
        document.insert(key.into(), word.as_str().into());
        // A field that is called like one of these has come from nowhere in this program.
        document.extend(self.fields.clone());
        document
    }

    /// The event that a document tells, as a node has sent it; `None` when it is none.
    pub fn read(mut document: Map<String, Value>) -> Option<Self> {
        let mut take = |key| match document.shift_remove(key) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let at = take(TIMESTAMP)?.parse().ok()?;
        let level = take(LEVEL)?.parse().ok()?;
        let what = What::Event(take(EVENT)?);
        Some(Self { at, level, what, fields: document })
    }

    /// What happened without when, in one line: a word, and `name=value` for each field, text in quotes.
    pub fn sentence(&self) -> String {
        let (What::Event(word) | What::Message(word)) = &self.what;
        let mut text = word.clone();
        for (name, value) in &self.fields {
            // A value is shown as in JSON, which has no line breaks.
            write!(text, " {name}={value}").expect("a String takes all");
        }
        clean(text)
    }

    /// One line for people, and for what splits lines into `name=value`: when, level, and what happened.
    pub fn line(&self, colour: bool) -> String {
        let (level, sentence) = (self.level, self.sentence());
        if !colour {
            return format!("{:.6} {level:>5} {sentence}", self.at);
        }
        let paint = match level {
            Level::ERROR => "31",
            Level::WARN => "33",
            Level::INFO => "32",
            Level::DEBUG => "34",
            Level::TRACE => "35",
        };
        format!("\x1b[2m{:.6}\x1b[0m \x1b[{paint}m{level:>5}\x1b[0m {sentence}", self.at)
    }
}

/// Names come from other machines; nothing in them may move a terminal's cursor.
fn clean(text: String) -> String {
    if text.chars().any(char::is_control) {
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
    } else {
        text
    }
}

/// Collects what an event of `tracing` carries.
#[derive(Default)]
struct Told {
    message: String,
    fields: Map<String, Value>,
}

impl Told {
    fn put(&mut self, field: &Field, value: impl Into<Value>) {
        self.fields.insert(field.name().to_owned(), value.into());
    }
}

impl Visit for Told {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == MESSAGE {
            write!(self.message, "{value:?}").expect("a String takes all");
        } else {
            self.put(field, format!("{value:?}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            at: "2026-11-22T17:38:12.5Z".parse().expect("a moment"),
            level: Level::INFO,
            what: What::Event("member.joined".into()),
            fields: Map::from_iter([
                ("member".to_owned(), "ha\u{1b}2\n\u{9b}\"".into()),
                ("more".to_owned(), 3.into()),
                ("late_ms".to_owned(), 0.25.into()),
            ]),
        }
    }

    #[test]
    fn a_line_is_one_line_whatever_a_name_holds() {
        assert_eq!(
            record().line(false),
            "2026-11-22T17:38:12.500000Z  INFO member.joined member=\"ha\\u001b2\\n?\\\"\" more=3 late_ms=0.25"
        );
    }

    #[test]
    fn a_document_comes_back_as_it_was_sent() {
        assert_eq!(Record::read(record().document()), Some(record()));
        let document = serde_json::to_string(&record().document()).expect("JSON");
        assert!(document.starts_with(
            r#"{"timestamp":"2026-11-22T17:38:12.500000Z","level":"INFO","event":"member.joined","member":"#
        ));
    }

    #[test]
    fn what_tells_no_event_is_passed_over() {
        for document in [
            "{}",
            r#"{"timestamp":"now","level":"INFO","event":"a"}"#,
            r#"{"timestamp":"2026-11-22T17:38:12Z","level":"LOUD","event":"a"}"#,
            r#"{"timestamp":"2026-11-22T17:38:12Z","level":"INFO","event":5}"#,
        ] {
            assert_eq!(Record::read(serde_json::from_str(document).expect("JSON")), None, "{document}");
        }
    }
}
