//! `POST` to `/api/v1/administration`: who may, what is asked, and what came of it.

use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Body;
use hyper::header::{self, HeaderValue};
use hyper::{Request, StatusCode};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::Instrument;
use tracing::field::Empty;

use super::administration::{Change, Operator, Refusal};
use super::problem::problem;
use super::routes::{JSON, Reply, reply};
use super::server::{Sources, Via};

/// The longest body, in bytes: some 200 would do.
const BODY_BYTES: usize = 4 << 10;
/// For the driver to have taken it in; that takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Answers one request for a change, as a span: an operator's doing, and what came of it.
pub(super) async fn change<B>(request: Request<B>, via: Via, sources: &Sources) -> Reply
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let span = tracing::info_span!(
        "admin.change",
        otel.kind = "server",
        http.request.method = "POST",
        url.path = request.uri().path(),
        http.response.status_code = Empty,
    );
    let reply = answer(request, via, sources).instrument(span.clone()).await;
    span.record("http.response.status_code", reply.status().as_u16());
    reply
}

async fn answer<B>(request: Request<B>, via: Via, sources: &Sources) -> Reply
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let operator = match admit(&request, via, sources) {
        Ok(operator) => operator,
        Err(denied) => return unread(denied.reply()),
    };
    if !is_json(&request) {
        return unread(problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "the body has to be application/json"));
    }
    // What a body says of its own length is known before it comes.
    if request.body().size_hint().lower() > BODY_BYTES as u64 {
        return unread(too_large());
    }
    let body = match Limited::new(request.into_body(), BODY_BYTES).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return unread(too_large()),
        Err(_) => return unread(problem(StatusCode::BAD_REQUEST, "the body ended early")),
    };
    let change = match Change::parse(&body) {
        Ok(change) => change,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.to_string()),
    };
    let (answer, answered) = oneshot::channel();
    (sources.change)(change, operator, answer);
    match timeout(PATIENCE, answered).await {
        Ok(Ok(Ok(words))) => {
            let mut body = serde_json::to_vec(&words).expect("text and numbers are always JSON");
            body.push(b'\n');
            reply(StatusCode::OK, JSON, body)
        }
        Ok(Ok(Err(refusal @ Refusal::Unknown(_)))) => problem(StatusCode::NOT_FOUND, &refusal.to_string()),
        Ok(Ok(Err(refusal @ Refusal::Full))) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, &refusal.to_string())
        }
        // Dropped unanswered, or never looked at.
        Ok(Err(_)) | Err(_) => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "the node is too busy to take the change in: try again")
        }
    }
}

/// Why somebody may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Denied {
    #[error("no web page may change anything here, but for this node's own")]
    WebPage,
    #[error(
        "changes over TCP are off: set `admin.token_file` on this node and restart it, or ask on the node itself, \
         by its Unix socket"
    )]
    TcpIsOff,
    #[error("this needs `Authorization: Bearer TOKEN`")]
    NoToken,
    #[error("the token is wrong")]
    WrongToken,
}

impl Denied {
    pub(super) fn reply(self) -> Reply {
        match self {
            Self::WebPage | Self::TcpIsOff => problem(StatusCode::FORBIDDEN, &self.to_string()),
            Self::NoToken | Self::WrongToken => {
                let mut reply = problem(StatusCode::UNAUTHORIZED, &self.to_string());
                reply.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                reply
            }
        }
    }
}

/// Who asks, if they may.
pub(super) fn admit<B>(request: &Request<B>, via: Via, sources: &Sources) -> Result<Operator, Denied> {
    // A browser says where the page is from that makes it ask; no other program says so.
    let page = request.headers().get(header::ORIGIN);
    if page.is_some_and(|origin| !is_own(origin, request.headers().get(header::HOST))) {
        return Err(Denied::WebPage);
    }
    let from = match via {
        // Who may use the socket may, but not every page that he looks at by way of it.
        Via::Socket { .. } if page.is_some() => return Err(Denied::WebPage),
        Via::Socket { uid } => return Ok(Operator::Socket { uid }),
        Via::Tcp { from } => from,
    };
    let token = sources.token.as_ref().ok_or(Denied::TcpIsOff)?;
    let presented = request.headers().get(header::AUTHORIZATION).ok_or(Denied::NoToken)?;
    match bearer(presented.as_bytes()) {
        Some(presented) if token.is(presented) => Ok(Operator::Token { from }),
        Some(_) | None => {
            tracing::debug!(%from, "a change came with a wrong token");
            Err(Denied::WrongToken)
        }
    }
}

/// Whether a page is from where it asks: the node's own. That alone proves nothing, since names can be made to lead
/// here; the token does.
fn is_own(origin: &HeaderValue, host: Option<&HeaderValue>) -> bool {
    let origin = origin.as_bytes().strip_prefix(b"http://");
    origin.is_some() && origin == host.map(HeaderValue::as_bytes)
}

/// The token of `Bearer TOKEN`, RFC 6750 section 2.1; the scheme's case doesn't matter.
fn bearer(credentials: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = credentials.split_at_checked("Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| token.trim_ascii())
}

/// Also what keeps other web pages out: a browser asks first whether it may send this type.
fn is_json<B>(request: &Request<B>) -> bool {
    let value = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.map(|value| value.split(';').next().unwrap_or_default().trim());
    essence.is_some_and(|essence| essence.eq_ignore_ascii_case(JSON))
}

fn too_large() -> Reply {
    problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("a change has {BODY_BYTES} bytes at most"))
}

/// The body isn't read to its end, so nothing after it can be.
pub(super) fn unread(mut reply: Reply) -> Reply {
    reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_what_follows_the_scheme() {
        assert_eq!(bearer(b"Bearer abc"), Some(&b"abc"[..]));
        assert_eq!(bearer(b"bearer  abc "), Some(&b"abc"[..]));
        for other in [&b""[..], b"Bearer", b"Basic abc", b"abc", b"Bearer\tabc", "Bearé abc".as_bytes()] {
            assert_eq!(bearer(other), None);
        }
    }

    #[test]
    fn json_is_told_by_its_type_alone() {
        let of = |value: &str| Request::post("/").header(header::CONTENT_TYPE, value).body(());
        for value in ["application/json", "Application/JSON; charset=utf-8"] {
            assert!(is_json(&of(value).expect("a request")), "{value}");
        }
        for value in ["text/plain", "application/jsonp", "", "application/x-www-form-urlencoded"] {
            assert!(!is_json(&of(value).expect("a request")), "{value}");
        }
        assert!(!is_json(&Request::post("/").body(()).expect("a request")));
    }
}
