//! The events that this node has told of lately, for whoever asks, and for whoever stays to hear of more.
//!
//! They are kept in one ring, each under a number that rises. Everybody who listens has a place in it and reads
//! on from there at his own pace, so that a slow one costs nobody anything: what he misses is passed over.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use futures_util::Stream;
use futures_util::stream::unfold;
use hyper::body::{Bytes, Frame};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// So many are kept: a bad day's worth.
const KEPT: usize = 1000;
/// So many may listen at a time, over all ways.
const LISTENERS: usize = 32;
/// How long a browser waits before it comes back, in milliseconds.
const COME_BACK: u32 = 1000;

/// One event, as its teller has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// When it was told.
    pub at: Timestamp,
    /// What it is, as a JSON object; without a number.
    pub document: Map<String, Value>,
}

/// One event, as it is shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Numbered {
    /// Rises from event to event, also over a restart: microseconds of the Unix epoch, moved on where one is taken.
    pub id: u64,
    /// What it is: `timestamp`, `level`, `event`, and what that event has.
    #[serde(flatten)]
    pub document: Map<String, Value>,
}

/// The document of `/api/v1/events`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Events {
    /// Who tells.
    pub node: String,
    /// How many it had to give up since its start, because more came than could be taken in.
    pub dropped: u64,
    /// The earliest first.
    pub events: Vec<Numbered>,
}

/// What is kept.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: RefCell<VecDeque<Rc<Numbered>>>,
    last: Cell<u64>,
    news: Notify,
    listeners: Cell<usize>,
}

impl Ring {
    /// Takes in one more.
    pub(super) fn push(&self, entry: Entry) {
        let moment = u64::try_from(entry.at.as_microsecond()).unwrap_or_default();
        let id = moment.max(self.last.get() + 1);
        self.last.set(id);
        let mut events = self.events.borrow_mut();
        if events.len() == KEPT {
            events.pop_front();
        }
        events.push_back(Rc::new(Numbered { id, document: entry.document }));
        self.news.notify_waiters();
    }

    /// Those with a higher number than `id` that are still kept.
    pub(super) fn after(&self, id: u64) -> Vec<Rc<Numbered>> {
        let events = self.events.borrow();
        let from = events.partition_point(|event| event.id <= id);
        events.range(from..).cloned().collect()
    }

    /// Takes a place among those who listen; `None` when all are taken.
    pub(super) fn listen(self: &Rc<Self>, after: u64) -> Option<Listener> {
        let listeners = self.listeners.get();
        (listeners < LISTENERS).then(|| {
            self.listeners.set(listeners + 1);
            Listener { ring: Rc::clone(self), after }
        })
    }
}

/// Somebody who listens.
#[derive(Debug)]
pub(super) struct Listener {
    ring: Rc<Ring>,
    after: u64,
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.ring.listeners.set(self.ring.listeners.get() - 1);
    }
}

/// The body of an event stream.
pub(super) type Told = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>>>>;

impl Listener {
    /// Everything from the listener's place on, as WHATWG's server-sent events; it doesn't end by itself.
    ///
    /// `heard` is set whenever the listener has taken what it was given: after `pause` without an event it is given
    /// a comment, so that one that is gone is noticed.
    pub(super) fn stream(self, heard: Rc<Cell<Instant>>, pause: Duration) -> Told {
        let begin = (self, Some(format!("retry: {COME_BACK}\n\n")));
        Box::pin(unfold(begin, move |(mut listener, first)| {
            let heard = Rc::clone(&heard);
            async move {
                heard.set(Instant::now());
                let text = match first {
                    Some(first) => first + &listener.read(),
                    None => listener.next(pause).await,
                };
                Some((Ok(Frame::data(Bytes::from(text))), (listener, None)))
            }
        }))
    }

    async fn next(&mut self, pause: Duration) -> String {
        let ring = Rc::clone(&self.ring);
        let waiting = async {
            loop {
                // Asked for before the look, so that nothing comes between the two.
                let news = ring.news.notified();
                let text = self.read();
                if !text.is_empty() {
                    return text;
                }
                news.await;
            }
        };
        timeout(pause, waiting).await.unwrap_or_else(|_| ":\n\n".to_owned())
    }

    fn read(&mut self) -> String {
        let mut text = String::new();
        for event in self.ring.after(self.after) {
            self.after = event.id;
            let document = serde_json::to_string(&*event).expect("text and numbers are always JSON");
            write!(text, "id: {}\ndata: {document}\n\n", event.id).expect("a String takes all");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(microsecond: i64, name: &str) -> Entry {
        let at = Timestamp::from_microsecond(microsecond).expect("a moment");
        Entry { at, document: Map::from_iter([("event".to_owned(), name.into())]) }
    }

    fn ids(ring: &Ring, after: u64) -> Vec<u64> {
        ring.after(after).iter().map(|event| event.id).collect()
    }

    #[test]
    fn numbers_rise_whatever_the_clock_does() {
        let ring = Ring::default();
        for moment in [100, 100, 90, 200] {
            ring.push(entry(moment, "a"));
        }
        assert_eq!(ids(&ring, 0), [100, 101, 102, 200]);
        assert_eq!(ids(&ring, 101), [102, 200]);
        assert_eq!(ids(&ring, 150), [200]);
        assert_eq!(ids(&ring, 200), [0; 0]);
    }

    #[test]
    fn the_oldest_makes_room() {
        let ring = Ring::default();
        for moment in 0..KEPT as i64 + 5 {
            ring.push(entry(moment + 1, "a"));
        }
        assert_eq!((ids(&ring, 0).len(), ids(&ring, 0)[0]), (KEPT, 6));
    }

    #[test]
    fn there_are_so_many_places_and_whoever_leaves_gives_one_back() {
        let ring = Rc::new(Ring::default());
        let mut all: Vec<_> = (0..LISTENERS).map(|_| ring.listen(0).expect("a place")).collect();
        assert!(ring.listen(0).is_none());
        all.pop();
        assert!(ring.listen(0).is_some());
    }
}
