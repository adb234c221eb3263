//! `chinthe check FILE`: every mistake in a configuration at once.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::arguments::CheckArguments;
use super::output::{Failure, complain, print, reason};
use super::wiring;

/// The file is refused, or isn't there.
const REFUSED: u8 = 1;

pub(super) fn run(arguments: &CheckArguments) -> Result<ExitCode, Failure> {
    let text = read(&arguments.file)?;
    let name = arguments.file.display().to_string();
    match wiring::judge(&text, &name)? {
        Ok(warnings) => {
            complain(&warnings);
            print(&format!("ok: `{name}` can be used\n"))?;
            Ok(ExitCode::SUCCESS)
        }
        Err(problems) => {
            complain(&problems);
            Ok(ExitCode::from(REFUSED))
        }
    }
}

fn read(file: &Path) -> Result<String, Failure> {
    fs::read_to_string(file).map_err(|error| {
        let message = format!("`{}` can't be read: {}", file.display(), reason(&error));
        Failure::new(REFUSED, message).with_hint(match error.kind() {
            io::ErrorKind::NotFound => "`chinthe import` makes one from keepalived's and haproxy's files",
            io::ErrorKind::PermissionDenied => "ask as its owner",
            io::ErrorKind::InvalidData => "save it as UTF-8",
            _ => "name the file itself",
        })
    })
}
