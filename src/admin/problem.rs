//! Errors as RFC 9457 problem documents.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::{Deserialize, Serialize};

/// So much of what somebody else says is shown: a file may have many mistakes.
const LONGEST_DETAIL: usize = 8000;

/// RFC 9457 section 3.1; `type` is `about:blank`, so `title` is the status's own phrase (section 4.2.1).
#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

/// A response that says what went wrong, in a sentence.
pub(super) fn problem(status: StatusCode, detail: &str) -> Response<Full<Bytes>> {
    let title = status.canonical_reason().unwrap_or_default();
    let document = Document { r#type: "about:blank", title, status: status.as_u16(), detail };
    let body = serde_json::to_vec(&document).expect("text and a number are always JSON");
    let mut response = Response::new(Full::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    response
}

/// The detail of a problem document, if it is one; printable, whoever sent it, and mostly one line.
pub(super) fn detail(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Received {
        detail: String,
    }
    let received: Received = serde_json::from_slice(body).ok()?;
    Some(
        received
            .detail
            .chars()
            .map(|c| if c.is_control() && c != '\n' { '?' } else { c })
            .take(LONGEST_DETAIL)
            .collect(),
    )
}
