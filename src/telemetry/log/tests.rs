//! What is written, what is handed on, and what isn't waited for.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

use super::*;
use crate::core::{Cause, Phases, Time, Transition, VipState};
use crate::telemetry::event::{Event, VOCABULARY};
use crate::telemetry::tell_transition;

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

/// What is written and what is handed on while `deed` is done.
fn told(format: Format, filter: &str, deed: impl FnOnce()) -> (String, Vec<Record>) {
    let kept = Kept::default();
    let (writer, guard) = queue(kept.clone());
    let (teller, mut events) = Teller::new(format, false, EnvFilter::new(filter), writer);
    tracing::subscriber::with_default(Registry::default().with(teller), deed);
    drop(guard);
    let bytes = kept.0.lock().expect("no panic while held").clone();
    let shown = std::iter::from_fn(|| events.try_recv().ok()).collect();
    (String::from_utf8(bytes).expect("text"), shown)
}

fn transition(phases: Option<Phases>) -> Transition {
    Transition {
        vip: 0,
        from: VipState::Backup,
        to: VipState::Active,
        cause: Cause::HolderSilent,
        at: Time::ZERO,
        priority: 102,
        term: 4,
        phases,
    }
}

#[test]
fn own_spans_reach_a_collector_that_came_later_whatever_the_log_shows() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    // It keeps the provider, whose end would empty the exporter.
    let tracing = Tracing::of(provider, "myweb", "ha1");
    let (writer, _guard) = queue(io::sink());
    let (teller, _events) = Teller::new(Format::Text, false, EnvFilter::new("error"), writer);
    let (subscriber, spans) = subscriber(teller);
    let make = |name: &'static str| match name {
        "early" => drop(tracing::info_span!("early").entered()),
        "foreign" => drop(tracing::info_span!(target: "hyper::client", "foreign").entered()),
        _ => drop(tracing::info_span!("own").entered()),
    };
    tracing::subscriber::with_default(subscriber, || {
        make("early");
        spans.modify(|spans| *spans = Some(tracing.layer())).expect("the log is there");
        make("foreign");
        make("own");
        make("own");
    });
    let told = exporter.get_finished_spans().expect("no panic while held");
    let names: Vec<&str> = told.iter().map(|span| span.name.as_ref()).collect();
    assert_eq!(names, ["own", "own"]);
}

#[test]
fn a_transition_is_one_line_of_json_with_its_fields() {
    let phases = Phases {
        detect: Duration::from_millis(150),
        elect: Duration::from_micros(25_500),
        assign: Duration::from_millis(2),
    };
    let (text, shown) = told(Format::Json, "info", || {
        tell_transition("vi_1", &transition(Some(phases)));
        tracing::debug!("not shown");
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    let json: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&text).expect("JSON");
    for (field, value) in [
        ("event", "vip.acquired".into()),
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
    let [record] = &shown[..] else { panic!("{shown:?}") };
    assert_eq!(record.document(), json, "what is shown is what is logged");
}

#[test]
fn a_transition_without_phases_has_no_such_fields() {
    let (text, _) = told(Format::Text, "info", || tell_transition("vi_1", &transition(None)));
    assert!(
        text.ends_with(
            "INFO vip.acquired vip=\"vi_1\" from=\"backup\" to=\"active\" cause=\"holder_silent\" priority=102 term=4\n"
        ),
        "{text}"
    );
}

#[test]
fn a_quiet_log_still_shows_events() {
    let (text, shown) = told(Format::Text, "error", || {
        tell_transition("vi_1", &transition(None));
        tracing::warn!("nobody wants to know");
        Event::WorkerStuck {}.tell();
    });
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("ERROR worker.stuck"), "{text}");
    assert_eq!(shown.len(), 2, "{shown:?}");
}

#[test]
fn a_stuck_reader_stops_nobody_and_what_it_misses_is_counted() {
    let kept = Kept::default();
    let stuck = Arc::clone(&kept.0);
    let held = stuck.lock().expect("no panic while held");
    let (writer, guard) = queue(kept);
    let (teller, events) = Teller::new(Format::Text, false, EnvFilter::new("info"), writer);
    let lost = teller.lost.clone();
    tracing::subscriber::with_default(Registry::default().with(teller), || {
        // One line may be on its way out already.
        for more in 0..QUEUE_LINES as u64 + 10 {
            Event::ServiceNoBackend { service: "nobody reads this", more }.tell();
        }
    });
    assert!(lost.lines() >= 9, "{lost:?}");
    assert_eq!(lost.events(), (QUEUE_LINES + 10 - QUEUE_EVENTS) as u64);
    drop(held);
    drop((guard, events));
    assert!(!stuck.lock().expect("no panic while held").is_empty(), "the rest was written in the end");
}

#[test]
fn an_event_is_told_as_the_vocabulary_has_it() {
    let (_, shown) = told(Format::Text, "off", || {
        Event::VipConflict { vip: "vi_1", source: "arp", by: "02:00:00:00:00:01", more: 2 }.tell();
    });
    let [record] = &shown[..] else { panic!("{shown:?}") };
    let kind = VOCABULARY.iter().find(|kind| kind.name == "vip.conflict").expect("it is there");
    assert_eq!((&record.what, record.level), (&What::Event(kind.name.into()), kind.level));
    assert_eq!(record.fields.keys().collect::<Vec<_>>(), kind.fields);
}

#[test]
fn a_name_of_the_vocabulary_is_a_noun_and_a_verb_and_there_once() {
    for (index, kind) in VOCABULARY.iter().enumerate() {
        let parts: Vec<&str> = kind.name.split('.').collect();
        assert!(parts.len() == 2 && parts.iter().all(|part| !part.is_empty()), "{}", kind.name);
        assert!(VOCABULARY[..index].iter().all(|other| other.name != kind.name), "{}", kind.name);
        for reserved in ["id", "timestamp", "level", "event", "message"] {
            assert!(!kind.fields.contains(&reserved), "{}: {reserved}", kind.name);
        }
    }
}

#[test]
fn a_format_is_known_by_its_word() {
    assert_eq!("json".parse(), Ok(Format::Json));
    assert_eq!("xml".parse::<Format>(), Err(UnknownFormat("xml".to_owned())));
    for word in Format::WORDS {
        assert!(word.parse::<Format>().is_ok(), "{word}");
    }
}
