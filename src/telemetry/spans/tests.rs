//! What a failover looks like to a collector, whichever node tells of it.

use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SpanData, SpanExporter};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::core::{Cause, Phases, Time, VipState};

fn node(name: &str) -> (Tracing, InMemorySpanExporter) {
    let exporter = InMemorySpanExporter::default();
    let provider =
        SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).with_id_generator(Ids).build();
    (Tracing::of(provider, "myweb", name), exporter)
}

fn told(exporter: &InMemorySpanExporter) -> Vec<SpanData> {
    exporter.get_finished_spans().expect("no panic while held")
}

fn transition(to: VipState) -> Transition {
    let ms = Duration::from_millis;
    Transition {
        vip: 0,
        from: VipState::Backup,
        to,
        cause: Cause::HolderSilent,
        at: Time::ZERO,
        priority: 102,
        term: 4,
        phases: Some(Phases { detect: ms(150), elect: ms(25), assign: ms(2) }),
    }
}

const PART: Part<'static> = Part { vip: "vi_1", term: 4, from: Some("ha1"), to: Some("ha2") };

#[test]
fn all_nodes_tell_of_one_trace_with_one_root() {
    let ((new, at_new), (old, at_old), (other, at_other)) = (node("ha2"), node("ha1"), node("ha3"));
    new.failover(&PART, &transition(VipState::Active), Duration::from_millis(1));
    new.first_connection(&PART, Duration::from_millis(3));
    old.release(&PART, &transition(VipState::Backup), Duration::from_millis(1));
    other.observe(&PART, Duration::from_millis(180));

    let trace = FailoverTrace::of("myweb", "vi_1", 4);
    let all: Vec<SpanData> = [at_new, at_old, at_other].iter().flat_map(told).collect();
    let (roots, children): (Vec<_>, Vec<_>) =
        all.iter().partition(|span| span.parent_span_id == SpanId::INVALID);
    let [root] = &roots[..] else { panic!("{roots:#?}") };
    assert_eq!((root.name.as_ref(), root.span_context.span_id().to_bytes()), ("failover", trace.root.0));
    for span in &all {
        assert_eq!(span.span_context.trace_id().to_bytes(), trace.trace.0, "{}", span.name);
    }
    for span in &children {
        assert_eq!(span.parent_span_id.to_bytes(), trace.root.0, "{}", span.name);
        assert_ne!(span.span_context.span_id().to_bytes(), trace.root.0, "{}", span.name);
    }
    let mut names: Vec<&str> = children.iter().map(|span| span.name.as_ref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["announce", "assign", "detect", "elect", "first_connection", "observe", "release"]);
}

#[test]
fn the_phases_follow_each_other_and_fill_the_whole() {
    let (new, exporter) = node("ha2");
    new.failover(&PART, &transition(VipState::Active), Duration::from_millis(1));
    let spans = told(&exporter);
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect("it is there");
    let lasted = |name: &str| {
        let span = named(name);
        span.end_time.duration_since(span.start_time).expect("it ends after its start").as_millis()
    };
    assert_eq!(["detect", "elect", "assign", "announce", "failover"].map(lasted), [150, 25, 2, 1, 178]);
    for (first, then) in [("detect", "elect"), ("elect", "assign"), ("assign", "announce")] {
        assert_eq!(named(first).end_time, named(then).start_time, "{first} and {then}");
    }
    assert_eq!(named("failover").start_time, named("detect").start_time);
    assert_eq!(named("failover").end_time, named("announce").end_time);
}

#[test]
fn the_programs_own_spans_go_the_same_way() {
    let (tracing, exporter) = node("ha2");
    let subscriber = tracing_subscriber::Registry::default().with(tracing.layer());
    tracing::subscriber::with_default(subscriber, || {
        let outer = tracing::info_span!("admin.change", code = tracing::field::Empty);
        tracing::info_span!(parent: &outer, "driver.said").in_scope(|| {});
        outer.record("code", 200);
    });
    let spans = told(&exporter);
    let [inner, outer] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((inner.name.as_ref(), outer.name.as_ref()), ("driver.said", "admin.change"));
    assert_eq!(inner.parent_span_id, outer.span_context.span_id());
    assert!(outer.attributes.iter().any(|attribute| attribute.key.as_str() == "code"), "{outer:#?}");
}

/// What tells of one span, and has it exported so.
fn telling(exporter: impl SpanExporter + 'static) -> Tracing {
    let counts = Counts::default();
    let provider = SdkTracerProvider::builder()
        .with_span_processor(counts.clone())
        .with_simple_exporter(Counted { exporter, counts: counts.clone() })
        .build();
    let tracing = Tracing { counts, ..Tracing::of(provider, "myweb", "ha2") };
    tracing.observe(&PART, Duration::ZERO);
    tracing
}

/// A collector that takes nothing.
#[derive(Debug)]
struct Refusing;

impl SpanExporter for Refusing {
    async fn export(&self, _batch: Vec<SpanData>) -> OTelSdkResult {
        Err(OTelSdkError::InternalFailure("it is full".into()))
    }
}

#[test]
fn what_a_collector_has_taken_is_counted_beside_what_there_was() {
    assert_eq!(telling(InMemorySpanExporter::default()).counts(), [1, 1]);
    assert_eq!(telling(Refusing).counts(), [1, 0]);
}

#[test]
fn another_term_is_another_trace() {
    let (new, exporter) = node("ha2");
    new.observe(&PART, Duration::ZERO);
    new.observe(&Part { term: 5, ..PART }, Duration::ZERO);
    let traces: Vec<_> = told(&exporter).iter().map(|span| span.span_context.trace_id()).collect();
    assert_ne!(traces[0], traces[1]);
}
