//! Listening to a node's events, for as long as it tells.

use std::ops::ControlFlow;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::{Request, StatusCode, header};

use super::{ClientError, PATIENCE, Target, complete, connect, refusal_of};
use crate::admin::events::Numbered;

/// A node shows that it is there about every 10 s.
const SILENCE: Duration = Duration::from_secs(40);
/// More than all the events that a node keeps.
const EVENT_BYTES: usize = 8 << 20;

/// Listens to the node's events after number `after`, until `each` has heard enough. Blocks; an error says why
/// there will be no more, [`ClientError::Ended`] when it had begun to tell.
pub fn follow_events(
    target: &Target,
    after: u64,
    mut each: impl FnMut(Numbered) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let outcome = runtime.block_on(listen(target, after, &mut each));
    runtime.shutdown_background();
    outcome
}

async fn listen(
    target: &Target,
    after: u64,
    each: &mut impl FnMut(Numbered) -> ControlFlow<()>,
) -> Result<(), ClientError> {
    let silent = |_| ClientError::Silent(target.clone());
    let (mut sender, connection) =
        tokio::time::timeout(PATIENCE, connect(target)).await.map_err(silent)??;
    let request = Request::get("/api/v1/events")
        .header(header::ACCEPT, "text/event-stream")
        .header("last-event-id", after);
    let request = complete(target, request, String::new())?;
    let conversation = async {
        let strange = |error: hyper::Error| ClientError::NotANode(target.clone(), error.to_string());
        let answer = sender.send_request(request);
        let answer = tokio::time::timeout(PATIENCE, answer).await.map_err(silent)?.map_err(strange)?;
        if answer.status() != StatusCode::OK {
            return Err(refusal_of(target, answer).await?);
        }
        let (mut body, mut heard) = (answer.into_body(), Heard::default());
        loop {
            let frame = tokio::time::timeout(SILENCE, body.frame()).await.map_err(silent)?;
            let Some(Ok(frame)) = frame else { return Err(ClientError::Ended(target.clone())) };
            let Ok(data) = frame.into_data() else { continue };
            for event in heard.take(&data) {
                if each(event).is_break() {
                    return Ok(());
                }
            }
        }
    };
    // The connection has to be driven beside the conversation; what ends it, the conversation hears.
    let driven = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        outcome = conversation => outcome,
        never = driven => never,
    }
}

/// The beginning of an event whose end is still to come.
#[derive(Debug, Default)]
struct Heard(Vec<u8>);

impl Heard {
    /// The events that are complete with `more`. What isn't an event of ours is passed over.
    fn take(&mut self, more: &[u8]) -> Vec<Numbered> {
        self.0.extend_from_slice(more);
        let mut events = Vec::new();
        let mut rest = &self.0[..];
        while let Some(end) = rest.windows(2).position(|two| two == b"\n\n") {
            let mut lines = rest[..end].split(|byte| *byte == b'\n');
            let data = lines.find_map(|line| line.strip_prefix(b"data: "));
            events.extend(data.and_then(|data| serde_json::from_slice(data).ok()));
            rest = &rest[end + 2..];
        }
        let taken = self.0.len() - rest.len();
        self.0.drain(..taken);
        if self.0.len() > EVENT_BYTES {
            self.0.clear();
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_heard_however_they_are_cut() {
        let told = b"retry: 1000\n\nid: 7\ndata: {\"id\":7,\"event\":\"vip.moved\"}\n\n:\n\ndata: {}\n\n\
            id: 8\ndata: {\"id\":8,\"event\":\"a\"}\n\nid: 9";
        for cut in 1..told.len() {
            let mut heard = Heard::default();
            let events: Vec<_> = told.chunks(cut).flat_map(|chunk| heard.take(chunk)).collect();
            assert_eq!(events.iter().map(|event| event.id).collect::<Vec<_>>(), [7, 8], "cut at {cut}");
            assert_eq!(events[0].document["event"], "vip.moved");
        }
    }
}
