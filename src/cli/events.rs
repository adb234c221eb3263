//! `chinthe events`: what has happened, as a node has told it, and with `--follow` what happens.

use std::ops::ControlFlow;
use std::process::ExitCode;
use std::time::Duration;

use super::arguments::EventsArguments;
use super::asked;
use super::output::{Failure, complain, print};
use crate::admin::events::Numbered;
use crate::admin::{ClientError, Target, fetch_events, follow_events};
use crate::telemetry::Record;

/// There is no answer.
const NO_ANSWER: u8 = 1;
/// A node that stopped is asked again after this.
const AGAIN: Duration = Duration::from_secs(1);

pub(super) fn run(arguments: &EventsArguments) -> Result<ExitCode, Failure> {
    let target = asked::target(&arguments.asked)?;
    let no_answer = |error: ClientError| Failure::new(NO_ANSWER, &error).with_hint(error.hint());
    if arguments.follow {
        return follow(&target, arguments.json).map_err(no_answer);
    }
    let told = fetch_events(&target).map_err(no_answer)?;
    let text: String = told.events.into_iter().filter_map(|event| shown(event, arguments.json)).collect();
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Until whoever reads has seen enough. A node that stops telling may come back; one that has never told is an error.
fn follow(target: &Target, json: bool) -> Result<ExitCode, ClientError> {
    let (mut last, mut complained) = (0, false);
    loop {
        let outcome = follow_events(target, last, |event| {
            (last, complained) = (event.id, false);
            match shown(event, json).map_or(Ok(true), |text| print(&text)) {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) | Err(_) => ControlFlow::Break(()),
            }
        });
        match outcome {
            Ok(()) => return Ok(ExitCode::SUCCESS),
            Err(error) if last == 0 => return Err(error),
            Err(error) => {
                if !std::mem::replace(&mut complained, true) {
                    complain(&format!("note: {error}; it is asked again and again\n"));
                }
                std::thread::park_timeout(AGAIN);
            }
        }
    }
}

/// An event as a line: as the log has it, or as JSON. `None` for one that is told in a way of its own.
fn shown(event: Numbered, json: bool) -> Option<String> {
    if json {
        let document = serde_json::to_string(&event).expect("text and numbers are always JSON");
        return Some(document + "\n");
    }
    Some(Record::read(event.document)?.line(false) + "\n")
}
