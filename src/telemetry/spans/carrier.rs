//! What carries spans to a collector: one HTTP request at a time, on the exporter's own thread.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use ureq::Agent;

/// For a whole request; more would only keep later spans waiting. `OTEL_EXPORTER_OTLP_TIMEOUT` may say less.
const PATIENCE: Duration = Duration::from_secs(10);
/// A collector's answer has a few bytes.
const ANSWER_BYTES: u64 = 64 << 10;

/// Blocks while it sends: its caller is a thread that does nothing else.
#[derive(Debug)]
pub(super) struct Carrier {
    agent: Agent,
    /// Whether the last request failed, so that a collector that is down is told of once.
    failing: AtomicBool,
}

impl Default for Carrier {
    fn default() -> Self {
        let config =
            Agent::config_builder().timeout_global(Some(PATIENCE)).http_status_as_error(false).build();
        Self { agent: Agent::new_with_config(config), failing: AtomicBool::new(false) }
    }
}

#[async_trait]
impl HttpClient for Carrier {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let collector = request.uri().to_string();
        let outcome = self.send(request);
        let problem = match &outcome {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("it answers {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        match (problem, self.failing.load(Ordering::Relaxed)) {
            (Some(problem), false) => {
                self.failing.store(true, Ordering::Relaxed);
                tracing::warn!(collector, problem, "traces can't be delivered, and are lost until they can");
            }
            (None, true) => {
                self.failing.store(false, Ordering::Relaxed);
                tracing::info!(collector, "traces are delivered again");
            }
            (Some(_), true) | (None, false) => {}
        }
        outcome
    }
}

impl Carrier {
    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = request.map(|bytes| bytes.to_vec());
        let (head, mut body) = self.agent.run(request)?.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES).read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }
}
