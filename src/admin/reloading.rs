//! `POST` to `/api/v1/reload`: the node reads its file again, and what came of it.

use std::time::Duration;

use hyper::body::Body;
use hyper::{Request, StatusCode};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::changing::{admit, unread};
use super::problem::problem;
use super::routes::{JSON, Reply, parameters, reply};
use super::server::{Sources, Via};

/// For the file to have been read and taken in; on a busy machine, or from a slow disk.
const PATIENCE: Duration = Duration::from_secs(4);

/// The query that means all nodes.
const CLUSTER: &str = "cluster";

/// What a node goes on by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The configuration's digest, as members show it.
    pub config: String,
    /// What has changed, in a few words each.
    pub changed: Vec<String>,
    /// The other members that have been asked to do the same, each by its own file.
    #[serde(default)]
    pub asked: Vec<String>,
}

/// Why a node goes on as before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotReloaded {
    /// As operators read it: `error: …` and `hint: …` lines.
    pub report: String,
}

impl NotReloaded {
    /// The file is right, and these settings, as a sentence names them, are for a daemon that starts.
    pub fn needs_restart(settings: &[String]) -> Self {
        let report = format!(
            "error: a daemon that runs can't change {}\nhint: restart it, and the VIPs wait elsewhere meanwhile; or \
             put back what the file said",
            settings.join(", ")
        );
        Self { report }
    }

    /// Nobody needs it any more.
    pub fn stopping() -> Self {
        Self { report: "error: the daemon is stopping\nhint: its next start reads the file".into() }
    }

    /// What is wrong, in one line, for logs.
    pub fn first_line(&self) -> &str {
        let line = self.report.lines().next().unwrap_or_default();
        line.strip_prefix("error: ").unwrap_or(line)
    }
}

/// Where the driver says what came of a reload. Dropped unused, it says that the order didn't get through.
pub type ReloadAnswer = oneshot::Sender<Result<Reloaded, NotReloaded>>;

/// Answers one request for a reload: `?cluster` has all other nodes do the same.
pub(super) async fn reload<B: Body>(request: Request<B>, via: Via, sources: &Sources) -> Reply {
    let operator = match admit(&request, via, sources) {
        Ok(operator) => operator,
        Err(denied) => return unread(denied.reply()),
    };
    if !request.body().is_end_stream() {
        return unread(problem(StatusCode::BAD_REQUEST, "a reload has no body: the node reads its own file"));
    }
    let (answer, answered) = oneshot::channel();
    let query = request.uri().query().unwrap_or_default();
    let cluster = parameters(query).any(|(name, _)| name == CLUSTER);
    (sources.reload)(operator, cluster, answer);
    match timeout(PATIENCE, answered).await {
        Ok(Ok(Ok(reloaded))) => {
            let mut body = serde_json::to_vec(&reloaded).expect("text and lists are always JSON");
            body.push(b'\n');
            reply(StatusCode::OK, JSON, body)
        }
        Ok(Ok(Err(refused))) => problem(StatusCode::UNPROCESSABLE_ENTITY, refused.report.trim_end()),
        Ok(Err(_)) | Err(_) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            "the node is too busy to say what came of it: see its log",
        ),
    }
}
