//! `/api/v1/events`: what has happened, as a document or as a stream that goes on.

use std::num::ParseIntError;
use std::rc::Rc;

use http_body_util::{Either, StreamBody};
use hyper::header::{self, HeaderValue};
use hyper::{Request, Response, StatusCode};

use super::events::Events;
use super::problem::problem;
use super::routes::{JSON, Reply, Sent, parameters, reply, whole};
use super::server::{Caller, Desk};

/// The type of server-sent events.
const EVENT_STREAM: &str = "text/event-stream";
/// Where a browser that comes back says how far it got.
const LAST_EVENT_ID: &str = "last-event-id";

/// A listener that takes what it is given shows that so often while it is patiently waited for.
const SIGNS_OF_LIFE: u32 = 3;

/// Whether the request is for the stream.
pub(super) fn is_asked_for<B>(request: &Request<B>) -> bool {
    let accepted = request.headers().get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    accepted.flat_map(|value| value.split(',')).any(|one| {
        one.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case(EVENT_STREAM))
    })
}

/// What is kept, or with `after=ID` what came later.
pub(super) fn list(query: &str, desk: &Desk) -> Reply {
    let Ok(after) = place(query) else { return bad_place() };
    let events = desk.events.after(after).iter().map(|event| (**event).clone()).collect();
    let node = (desk.sources.status)().node.clone();
    let document = Events { node, dropped: (desk.sources.events_dropped)(), events };
    let mut body = serde_json::to_vec(&document).expect("text and numbers are always JSON");
    body.push(b'\n');
    reply(StatusCode::OK, JSON, body)
}

/// The same, and whatever comes.
pub(super) fn stream<B>(request: &Request<B>, caller: &Caller, desk: &Desk) -> Response<Sent> {
    let last = request.headers().get(LAST_EVENT_ID).map(|id| id.to_str().ok().and_then(|id| id.parse().ok()));
    let after = match (last, place(request.uri().query().unwrap_or_default())) {
        (Some(Some(last)), _) => last,
        (Some(None), _) => return whole(bad_place()),
        (None, Ok(after)) => after,
        (None, Err(_)) => return whole(bad_place()),
    };
    let Some(listener) = desk.events.listen(after) else {
        let detail = "as many listen to events as may: ask for the list, without `text/event-stream`";
        return whole(problem(StatusCode::SERVICE_UNAVAILABLE, detail));
    };
    let told = listener.stream(Rc::clone(&caller.heard), caller.patience / SIGNS_OF_LIFE);
    let mut reply = Response::new(Either::Right(StreamBody::new(told)));
    reply.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(EVENT_STREAM));
    reply
}

/// The number that somebody has got to; 0 for the beginning.
fn place(query: &str) -> Result<u64, ParseIntError> {
    parameters(query).find(|(name, _)| name == "after").map_or(Ok(0), |(_, id)| id.parse())
}

fn bad_place() -> Reply {
    problem(StatusCode::BAD_REQUEST, "`after` and `Last-Event-ID` are an event's `id`, a whole number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_is_asked_for_by_its_type() {
        let of = |accept: &str| Request::get("/").header(header::ACCEPT, accept).body(());
        for accept in ["text/event-stream", "text/html, Text/Event-Stream;q=0.9"] {
            assert!(is_asked_for(&of(accept).expect("a request")), "{accept}");
        }
        for accept in ["*/*", "application/json", ""] {
            assert!(!is_asked_for(&of(accept).expect("a request")), "{accept}");
        }
        assert!(!is_asked_for(&Request::get("/").body(()).expect("a request")));
    }
}
