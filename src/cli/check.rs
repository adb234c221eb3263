//! `chinthe check FILE`: every mistake in a configuration at once.

use std::process::ExitCode;

use super::arguments::CheckArguments;
use super::output::{Failure, complain, print};
use crate::config;

/// The file is refused, or isn't there.
const REFUSED: u8 = 1;

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let name = arguments.file.display().to_string();
    match config::load(&arguments.file) {
        Ok((_, lints)) => {
            complain(&config::warnings(&name, &lints));
            print(&format!("ok: `{name}` can be used\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            complain(&format!("{}\n", error.to_string().trim_end()));
            Ok(ExitCode::from(REFUSED))
        }
    }
}
