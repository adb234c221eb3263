//! What each path answers.
//!
//! Every path is read by `GET` and `HEAD`, without a body; what can be changed takes `POST` as well.

use std::fmt::Write as _;

use http_body_util::{Either, Full, StreamBody};
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};

use super::changing;
use super::events::Told;
use super::negotiation::wants_open_metrics;
use super::page;
use super::problem::problem;
use super::reloading;
use super::requests::Requests;
use super::server::{Caller, Desk, MetricsFormat};
use super::status::VipState;
use super::telling;

/// The content type that Prometheus asks for.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
/// And to which it prefers this one.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

pub(super) type Reply = Response<Full<Bytes>>;

/// What is sent: a whole document, or one that doesn't end.
pub(super) type Sent = Either<Full<Bytes>, StreamBody<Told>>;

/// Answers one request.
pub(super) async fn answer<B>(request: Request<B>, caller: &Caller, desk: &Desk) -> Response<Sent>
where
    B: Body,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let path = PATHS.iter().map(|(path, _)| *path).find(|path| *path == request.uri().path());
    let mut reply = match (request.method(), request.uri().path()) {
        (&Method::POST, ADMINISTRATION) => whole(changing::change(request, caller.via, &desk.sources).await),
        (&Method::POST, RELOAD) => whole(reloading::reload(request, caller.via, &desk.sources).await),
        (&Method::GET, EVENTS) if telling::is_asked_for(&request) => telling::stream(&request, caller, desk),
        _ => whole(read(&request, desk)),
    };
    desk.requests.count(path, reply.status());
    let headers = reply.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    reply
}

/// What has happened.
const EVENTS: &str = "/api/v1/events";
/// Has the node read its configuration again; there is nothing to read here.
const RELOAD: &str = "/api/v1/reload";
/// What operators say: this can be changed.
const ADMINISTRATION: &str = "/api/v1/administration";
/// For Prometheus.
const METRICS: &str = "/metrics";

/// Answers from a query.
type Respond = fn(&str, &Desk) -> Reply;

/// Every path that there is something to read at.
const PATHS: [(&str, Respond); 13] = [
    (METRICS, metrics),
    ("/livez", livez),
    ("/readyz", readyz),
    ("/api/v1/status", status),
    ("/api/v1/prometheus/targets", targets),
    (ADMINISTRATION, words),
    (RELOAD, no_reload),
    (EVENTS, telling::list),
    ("/", page::page),
    (page::STYLE, page::style),
    (page::SCRIPT, page::script),
    (page::ICON, page::icon),
    ("/active", active),
];

/// The counts of what was answered, with every path from the start.
pub(super) fn requests() -> Requests {
    Requests::new(PATHS.iter().map(|(path, _)| *path))
}

fn read<B: Body>(request: &Request<B>, desk: &Desk) -> Reply {
    let path = request.uri().path();
    let respond = match PATHS.iter().find(|(known, _)| *known == path) {
        Some((METRICS, _)) if wants_open_metrics(request.headers()) => open_metrics,
        Some((_, respond)) => *respond,
        None => return problem(StatusCode::NOT_FOUND, "there is nothing at this path"),
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let (allow, detail) = match path {
            RELOAD => ("POST", ONLY_POST),
            ADMINISTRATION => ("GET, HEAD, POST", "this can be read, or changed by `POST`"),
            _ => ("GET, HEAD", "this can only be read"),
        };
        let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, detail);
        reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
        return reply;
    }
    if !request.body().is_end_stream() {
        let mut reply = problem(StatusCode::BAD_REQUEST, "a request to read has no body");
        // The body isn't read, so nothing after it can be.
        reply.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        return reply;
    }
    respond(request.uri().query().unwrap_or_default(), desk)
}

/// A document that ends.
pub(super) fn whole(reply: Reply) -> Response<Sent> {
    reply.map(Either::Left)
}

const ONLY_POST: &str = "a reload is asked for by `POST`";

fn no_reload(_query: &str, _desk: &Desk) -> Reply {
    let mut reply = problem(StatusCode::METHOD_NOT_ALLOWED, ONLY_POST);
    reply.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    reply
}

fn metrics(_query: &str, desk: &Desk) -> Reply {
    reply(StatusCode::OK, METRICS_TEXT, (desk.sources.metrics)(MetricsFormat::Text, desk.requests.counts()))
}

fn open_metrics(_query: &str, desk: &Desk) -> Reply {
    let text = (desk.sources.metrics)(MetricsFormat::OpenMetrics, desk.requests.counts());
    reply(StatusCode::OK, OPEN_METRICS, text)
}

fn livez(_query: &str, desk: &Desk) -> Reply {
    match (desk.sources.alive)() {
        Ok(()) => reply(StatusCode::OK, TEXT, "ok\n"),
        Err(why) => problem(StatusCode::SERVICE_UNAVAILABLE, &why),
    }
}

/// With `verbose`, each check on a line of its own, as Kubernetes' components do it.
fn readyz(query: &str, desk: &Desk) -> Reply {
    let checks = (desk.sources.ready)();
    let failed: Vec<&str> = checks.iter().filter(|(_, ok)| !ok).map(|(what, _)| what.as_str()).collect();
    let code = if failed.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if parameters(query).any(|(name, _)| name == "verbose") {
        let mut text = String::new();
        for (what, ok) in &checks {
            let (sign, word) = if *ok { ('+', "ok") } else { ('-', "not yet") };
            writeln!(text, "[{sign}] {what}: {word}").expect("a String takes all");
        }
        let summary = if failed.is_empty() { "ready\n" } else { "not ready\n" };
        return reply(code, TEXT, text + summary);
    }
    if failed.is_empty() {
        reply(code, TEXT, "ok\n")
    } else {
        problem(code, &format!("not ready: {}", failed.join(", ")))
    }
}

fn status(_query: &str, desk: &Desk) -> Reply {
    let mut body =
        serde_json::to_vec(&*(desk.sources.status)()).expect("text, numbers and lists are always JSON");
    body.push(b'\n');
    reply(StatusCode::OK, JSON, body)
}

fn words(_query: &str, desk: &Desk) -> Reply {
    let mut body = serde_json::to_vec(&(desk.sources.words)()).expect("text and numbers are always JSON");
    body.push(b'\n');
    reply(StatusCode::OK, JSON, body)
}

/// For `http_sd_configs`.
fn targets(_query: &str, desk: &Desk) -> Reply {
    let mut body = serde_json::to_vec(&(desk.sources.targets)()).expect("text and lists are always JSON");
    body.push(b'\n');
    reply(StatusCode::OK, JSON, body)
}

/// For load balancers and scripts in front of us: 200 on the holder alone.
fn active(query: &str, desk: &Desk) -> Reply {
    let Some((_, name)) = parameters(query).find(|(name, _)| name == "vip") else {
        return problem(StatusCode::BAD_REQUEST, "say which VIP: `/active?vip=NAME`");
    };
    let status = (desk.sources.status)();
    match status.vips.iter().find(|vip| vip.name == name).map(|vip| vip.state) {
        Some(VipState::Active) => reply(StatusCode::OK, TEXT, "active\n"),
        Some(state @ (VipState::Initialize | VipState::Backup)) => problem(
            StatusCode::SERVICE_UNAVAILABLE,
            &format!("`{}` doesn't hold it: its state is `{}`", status.node, state.as_str()),
        ),
        None => problem(StatusCode::NOT_FOUND, "there is no VIP of that name"),
    }
}

pub(super) fn reply(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Full::new(body.into()));
    *reply.status_mut() = status;
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}

/// A query's names and values, decoded; a name without `=` has an empty value.
pub(super) fn parameters(query: &str) -> impl Iterator<Item = (String, String)> {
    query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (decode(name), decode(value))
    })
}

/// `application/x-www-form-urlencoded`, backwards; what isn't an escape stands for itself.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, after @ ..]) => match (hex(*high), hex(*low)) {
                (Some(high), Some(low)) => {
                    rest = after;
                    high << 4 | low
                }
                _ => b'%',
            },
            (other, _) => *other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let all = |query| parameters(query).collect::<Vec<_>>();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(all("vip=vi%5F1&verbose"), [pair("vip", "vi_1"), pair("verbose", "")]);
        assert_eq!(all("a=b+c%20d=e"), [pair("a", "b c d=e")]);
        assert_eq!(all("&&"), []);
    }

    #[test]
    fn a_broken_escape_stands_for_itself() {
        assert_eq!(decode("100%"), "100%");
        assert_eq!(decode("%4"), "%4");
        assert_eq!(decode("%zz%41"), "%zzA");
        assert_eq!(decode("%ff"), "\u{fffd}");
    }
}
