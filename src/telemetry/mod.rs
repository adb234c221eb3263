//! What tells: every metric in one list, every event in one vocabulary, and the log.
//!
//! Nothing here decides or measures. The driver reports what the core recorded ([`Metrics::transition`],
//! [`tell_transition`]); what others count for themselves comes as plain data at the time of a scrape
//! ([`Sample`]).

mod counts;
pub mod event;
mod exposition;
mod families;
mod haproxy;
mod histogram;
mod journal;
mod keepalived;
pub mod log;
pub mod metrics;
mod process;
pub mod record;
pub mod sample;
mod shown;
pub mod spans;
pub mod trace_id;
pub mod transition;

pub use event::{Event, VOCABULARY};
pub use exposition::Exposition;
pub use metrics::{Channel, Direction, Layout, Metrics, REVISION, VERSION, VipLayout};
pub use record::Record;
pub use sample::{BackendSample, Durations, ProxySample, Sample, ServiceSample, TrackSample, VipSample};
pub use spans::{Part, Tracing, TracingError};
pub use trace_id::{FailoverTrace, SpanId, TraceId};
pub use transition::{milliseconds, tell_failover, tell_transition};
