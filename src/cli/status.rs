//! `chinthe status`: the cluster as a node sees it.

use std::process::ExitCode;

use super::arguments::StatusArguments;
use super::asked;
use super::output::{Failure, print};
use crate::admin::{fetch_status, table};

/// There is no answer.
const NO_ANSWER: u8 = 1;
/// The answer calls for somebody.
const DEGRADED: u8 = 3;

pub(super) fn run(arguments: &StatusArguments) -> Result<ExitCode, Failure> {
    let target = asked::target(&arguments.asked)?;
    let (document, status) =
        fetch_status(&target).map_err(|error| Failure::new(NO_ANSWER, &error).with_hint(error.hint()))?;
    if arguments.json {
        print(&document)?;
    } else {
        print(&table::render(&status))?;
    }
    let well = table::degraded(&status).is_empty();
    Ok(if well { ExitCode::SUCCESS } else { ExitCode::from(DEGRADED) })
}
