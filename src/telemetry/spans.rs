//! Failovers as traces, told to an OpenTelemetry collector: one failover is one trace, whoever takes part in it.
//! Spans of `tracing` go there as well: an operator's change, a stop.
//!
//! ```text
//!   failover            the new holder: from the old one's last word to the first announcement
//!   ├─ detect           … until the suspicion, or the resignation's arrival
//!   ├─ elect            … until the decision
//!   ├─ assign           … until the kernel has the address
//!   ├─ announce         … until the network has been told
//!   ├─ first_connection the new holder again: until it has accepted a client
//!   ├─ release          the old holder, if it lives: from the decision to the address gone
//!   └─ observe          every other node: from the old holder's last word to the new one's first
//! ```
//!
//! The ids of trace and root are derived ([`FailoverTrace`]), so that all of them tell of the same one without a
//! message. Durations are of a monotonic clock; a span's place in time is the wall clock's, which may differ
//! between nodes.
//!
//! Nobody waits for a collector: spans go over a bounded queue to a thread of their own, and what doesn't fit is
//! given up. Off unless `OTEL_EXPORTER_OTLP_ENDPOINT` or `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` is set.

mod carrier;
mod counted;

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, TraceContextExt, TraceFlags, TraceId, TraceState,
    Tracer, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SdkTracer, SdkTracerProvider};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use self::carrier::Carrier;
use self::counted::{Counted, Counts};
use super::metrics::VERSION;
use super::trace_id::FailoverTrace;
use super::transition::milliseconds;
use crate::core::Transition;

/// Who names a collector turns tracing on.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// And who says so turns everything of OpenTelemetry's off.
const DISABLED: &str = "OTEL_SDK_DISABLED";
/// A service's name, unless `OTEL_SERVICE_NAME` or `OTEL_RESOURCE_ATTRIBUTES` gives it another.
const SERVICE: &str = "chinthe";
/// How long a stopping daemon, which holds nothing any more, waits for its last spans to be taken.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why there can't be any tracing.
#[derive(Debug, thiserror::Error)]
pub enum TracingError {
    /// A variable can't be understood.
    #[error("tracing can't be set up: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// The collector wants TLS, which this program doesn't speak.
    #[error("`{0}`: the collector has to be reached by `http://`")]
    Tls(&'static str),
}

impl TracingError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exporter(_) => {
                "`OTEL_EXPORTER_OTLP_ENDPOINT` looks like `http://127.0.0.1:4318`; unset it for no traces"
            }
            Self::Tls(_) => "run a collector on this host, and let it pass the traces on",
        }
    }
}

/// Tells of failovers.
#[derive(Debug, Clone)]
pub struct Tracing {
    provider: SdkTracerProvider,
    tracer: SdkTracer,
    counts: Counts,
    cluster: String,
    node: String,
}

/// A failover, as far as one node has part in it.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The VIP's name.
    pub vip: &'a str,
    /// The term of the new holder's election.
    pub term: u32,
    /// Who held it, if anybody is known to have.
    pub from: Option<&'a str>,
    /// Who holds it now, if that is known.
    pub to: Option<&'a str>,
}

impl Tracing {
    /// As the environment has it; `None` when it asks for none. `cluster` and `node` are this node's names.
    pub fn from_environment(cluster: &str, node: &str) -> Result<Option<Self>, TracingError> {
        let variable = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let Some((name, endpoint)) = ENDPOINTS.into_iter().find_map(|name| Some((name, variable(name)?)))
        else {
            return Ok(None);
        };
        if variable(DISABLED).is_some_and(|value| value.eq_ignore_ascii_case("true")) {
            return Ok(None);
        }
        if endpoint.trim_start().starts_with("https:") {
            return Err(TracingError::Tls(name));
        }
        let exporter = SpanExporter::builder().with_http().with_http_client(Carrier::default()).build()?;
        let counts = Counts::default();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(counts.clone())
            .with_batch_exporter(Counted { exporter, counts: counts.clone() });
        let named = variable("OTEL_SERVICE_NAME").is_some()
            || variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
        let resource = Resource::builder().with_attributes([
            KeyValue::new("service.namespace", cluster.to_owned()),
            KeyValue::new("service.instance.id", node.to_owned()),
            KeyValue::new("service.version", VERSION),
        ]);
        let resource = if named { resource } else { resource.with_service_name(SERVICE) };
        let provider = provider.with_resource(resource.build()).with_id_generator(Ids).build();
        Ok(Some(Self { counts, ..Self::of(provider, cluster, node) }))
    }

    pub(super) fn of(provider: SdkTracerProvider, cluster: &str, node: &str) -> Self {
        let tracer = provider.tracer(SERVICE);
        let (cluster, node) = (cluster.to_owned(), node.to_owned());
        Self { provider, tracer, counts: Counts::default(), cluster, node }
    }

    /// How many spans have ended here, and how many of these a collector has taken; the others wait, or are lost.
    pub fn counts(&self) -> [u64; 2] {
        self.counts.get()
    }

    /// What takes `tracing`'s own spans to the same collector: what an operator's change and a stop are told by.
    pub(super) fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        tracing_opentelemetry::layer()
            .with_tracer(self.tracer.clone())
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
    }

    /// This node has taken the VIP over and told the network, just now; `announce` is how long that took from the
    /// kernel's acknowledgement on.
    pub fn failover(&self, part: &Part<'_>, taken: &Transition, announce: Duration) {
        let Some(phases) = taken.phases else { return };
        let trace = FailoverTrace::of(&self.cluster, part.vip, part.term);
        let (end, whole) = (SystemTime::now(), phases.detect + phases.elect + phases.assign + announce);
        let own = [
            KeyValue::new("chinthe.cause", taken.cause.as_str()),
            KeyValue::new("chinthe.priority", i64::from(taken.priority)),
        ];
        Ids::with(trace, || self.span("failover", part, &Context::new(), (end, whole), &own));
        let mut began = end - whole;
        for (name, lasted) in [
            ("detect", phases.detect),
            ("elect", phases.elect),
            ("assign", phases.assign),
            ("announce", announce),
        ] {
            self.span(name, part, &parent(trace), (began + lasted, lasted), &[]);
            began += lasted;
        }
    }

    /// The new holder has accepted its first client, `waited` after the network was told.
    pub fn first_connection(&self, part: &Part<'_>, waited: Duration) {
        self.child("first_connection", part, waited, &[]);
    }

    /// This node has let the VIP go, `lasted` after it decided to.
    pub fn release(&self, part: &Part<'_>, released: &Transition, lasted: Duration) {
        self.child("release", part, lasted, &[KeyValue::new("chinthe.cause", released.cause.as_str())]);
    }

    /// This node has seen the VIP move, `lasted` after the old holder's last word.
    pub fn observe(&self, part: &Part<'_>, lasted: Duration) {
        self.child("observe", part, lasted, &[]);
    }

    /// Sends what waits, for two seconds at most. To be called when this node holds nothing any more.
    pub fn finish(self) {
        // What isn't taken by then is lost, as with a collector that is down.
        let _ = self.provider.shutdown_with_timeout(FAREWELL);
    }

    /// A span of somebody's failover that has ended just now.
    fn child(&self, name: &'static str, part: &Part<'_>, lasted: Duration, own: &[KeyValue]) {
        let trace = FailoverTrace::of(&self.cluster, part.vip, part.term);
        self.span(name, part, &parent(trace), (SystemTime::now(), lasted), own);
    }

    fn span(
        &self,
        name: &'static str,
        part: &Part<'_>,
        parent: &Context,
        (end, lasted): (SystemTime, Duration),
        own: &[KeyValue],
    ) {
        let name_of =
            |key: &'static str, name: Option<&str>| name.map(|name| KeyValue::new(key, name.to_owned()));
        let attributes = [
            KeyValue::new("chinthe.cluster", self.cluster.clone()),
            KeyValue::new("chinthe.node", self.node.clone()),
            KeyValue::new("chinthe.vip", part.vip.to_owned()),
            KeyValue::new("chinthe.term", i64::from(part.term)),
            KeyValue::new("chinthe.duration_ms", milliseconds(lasted)),
        ]
        .into_iter()
        .chain(name_of("chinthe.from", part.from))
        .chain(name_of("chinthe.to", part.to))
        .chain(own.iter().cloned());
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Internal)
            .with_start_time(end - lasted)
            .with_attributes(attributes);
        self.tracer.build_with_context(builder, parent).end_with_timestamp(end);
    }
}

/// What makes a span a child of a failover's root, wherever that is told.
fn parent(trace: FailoverTrace) -> Context {
    Context::new().with_remote_span_context(SpanContext::new(
        TraceId::from_bytes(trace.trace.0),
        SpanId::from_bytes(trace.root.0),
        TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    ))
}

/// Random ids, but for a root's, which is derived.
#[derive(Debug)]
struct Ids;

thread_local! {
    /// The root that is being made on this thread: OpenTelemetry has no other way to say its ids.
    static ROOT: Cell<Option<FailoverTrace>> = const { Cell::new(None) };
}

impl Ids {
    /// Makes a root, whose ids are `trace`'s.
    fn with(trace: FailoverTrace, make: impl FnOnce()) {
        ROOT.set(Some(trace));
        make();
        ROOT.set(None);
    }
}

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        ROOT.get().map_or_else(
            || RandomIdGenerator::default().new_trace_id(),
            |root| TraceId::from_bytes(root.trace.0),
        )
    }

    fn new_span_id(&self) -> SpanId {
        ROOT.get().map_or_else(
            || RandomIdGenerator::default().new_span_id(),
            |root| SpanId::from_bytes(root.root.0),
        )
    }
}

#[cfg(test)]
mod tests;
