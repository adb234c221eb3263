//! The page: where each VIP is, at a glance, and below it what this node sees and believes.
//!
//! It is one document, made here and nowhere else: without a script it is a page of tables that loads itself anew;
//! with one ([`SCRIPT`]) it is fetched again and again, and what has changed is put in place. Everything shown comes
//! from the same status and events as everywhere; whoever sent it, it is text, and the template escapes it.

mod operating;
mod parts;

use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};
use jiff::Timestamp;

use super::routes::{Reply, reply};
use super::server::Desk;
use parts::Shown;

/// The page's style sheet.
pub(super) const STYLE: &str = "/page.css";
/// The page's script.
pub(super) const SCRIPT: &str = "/page.js";
/// The page's icon.
pub(super) const ICON: &str = "/page.svg";

/// So many of the latest events are on the page.
const EVENTS: usize = 40;

/// What a browser may do with the page: load what comes from here and nothing else, and show it in no frame.
const GUARDED: [(&str, &str); 2] = [
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("referrer-policy", "no-referrer"),
];

/// The page itself.
pub(super) fn page(_query: &str, desk: &Desk) -> Reply {
    let mut events = desk.events.after(0);
    let latest = events.last().map_or(0, |event| event.id);
    events.reverse();
    events.truncate(EVENTS);
    let html = parts::document(&Shown {
        status: &(desk.sources.status)(),
        conditions: &(desk.sources.ready)(),
        words: &(desk.sources.words)(),
        operable: desk.sources.token.is_some(),
        events: &events,
        latest,
        now: Timestamp::now(),
    });
    guarded("text/html; charset=utf-8", html.into_string())
}

pub(super) fn style(_query: &str, _desk: &Desk) -> Reply {
    guarded("text/css; charset=utf-8", include_str!("page/page.css").to_owned())
}

pub(super) fn script(_query: &str, _desk: &Desk) -> Reply {
    guarded("text/javascript; charset=utf-8", include_str!("page/page.js").to_owned())
}

pub(super) fn icon(_query: &str, _desk: &Desk) -> Reply {
    guarded("image/svg+xml", include_str!("page/page.svg").to_owned())
}

fn guarded(content_type: &'static str, body: String) -> Reply {
    let mut reply = reply(StatusCode::OK, content_type, body);
    for (name, value) in GUARDED {
        reply.headers_mut().insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    reply
}

#[cfg(test)]
mod tests;
