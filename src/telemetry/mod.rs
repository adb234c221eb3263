//! What tells: every metric in one list, one log line per transition, and the log itself.
//!
//! Nothing here decides or measures. The driver reports what the core recorded ([`Metrics::transition`],
//! [`log_transition`]); what others count for themselves comes as plain data at the time of a scrape
//! ([`Sample`]).

mod counts;
mod exposition;
mod families;
mod haproxy;
mod histogram;
mod keepalived;
pub mod log;
pub mod metrics;
mod process;
pub mod sample;
mod shown;
pub mod trace_id;
pub mod transition;

pub use exposition::Exposition;
pub use metrics::{Channel, Direction, Layout, Metrics, REVISION, VERSION, VipLayout};
pub use sample::{BackendSample, ConnectDurations, ProxySample, Sample, ServiceSample, VipSample};
pub use trace_id::{FailoverTrace, SpanId, TraceId};
pub use transition::log_transition;
