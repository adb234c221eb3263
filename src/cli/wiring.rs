//! Where the commands meet the modules that do their work.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::{LabArguments, RunArguments};
use super::import::{Converted, NOTHING, Source};
use super::output::{Failure, complain};
use crate::config::{self, Config};
use crate::guard;
use crate::lab;
use crate::node::{self, RunError, RunOptions};

/// The daemon.
pub(super) fn run(arguments: RunArguments) -> Result<ExitCode, Failure> {
    let RunArguments { config, node, log } = arguments;
    match node::run(&RunOptions { config, node, log }) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(RunError::Problems(text)) => {
            complain(&text);
            Ok(ExitCode::from(1))
        }
        Err(RunError::Refused { status, message, hint }) => {
            Err(Failure::new(status, message).with_hint(hint))
        }
    }
}

/// The lab.
pub(super) fn lab(arguments: LabArguments) -> ExitCode {
    let LabArguments { nodes, backends, config, port, script } = arguments;
    lab::run(&lab::Options {
        nodes: nodes.into(),
        backends: backends.into(),
        configs: config,
        port: Some(port),
        script,
        ..lab::Options::default()
    })
}

/// The daemon's child.
pub(super) fn guard() -> ExitCode {
    guard::main()
}

/// A configuration's warnings, or else its errors and warnings; as the user reads them, every line ended.
pub(super) fn judge(text: &str, name: &str) -> Result<Result<String, String>, Failure> {
    Ok(config::parse(text, name).map(|(_, lints)| config::warnings(name, &lints)).map_err(|p| p.to_string()))
}

/// The configuration in `file`, if it is there and can be used.
pub(super) fn load(file: &Path) -> Option<Config> {
    let text = std::fs::read_to_string(file).ok()?;
    config::parse(&text, &file.to_string_lossy()).ok().map(|(config, _)| config)
}

/// One configuration from `keepalived`'s and `haproxy`'s files: `import::import`.
pub(super) fn convert(keepalived: &[Source], haproxy: &[Source]) -> Result<Converted, Failure> {
    let files: Vec<_> = keepalived.iter().chain(haproxy).map(|source| (&source.name, &source.text)).collect();
    let _ = files;
    Err(not_built_yet(NOTHING))
}

fn not_built_yet(status: u8) -> Failure {
    Failure::new(status, "this command is not built yet")
}
