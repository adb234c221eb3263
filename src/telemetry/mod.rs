//! What tells: every metric in one list, one log line per transition, and the log itself.
//!
//! Nothing here decides or measures. The driver reports what the core recorded ([`Metrics::transition`],
//! [`log_transition`]); what others count for themselves comes as plain data at the time of a scrape
//! ([`Sample`]).

mod families;
pub mod log;
pub mod metrics;
mod process;
pub mod sample;
mod sampled;
pub mod trace_id;
pub mod transition;

pub use metrics::{Channel, Direction, Layout, Metrics, MetricsError, REVISION, VERSION};
pub use sample::{BackendSample, ConnectDurations, MemberCounts, Sample, ServiceSample, VipSample};
pub use trace_id::{FailoverTrace, SpanId, TraceId};
pub use transition::log_transition;
