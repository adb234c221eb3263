//! Where the commands meet the modules that do their work.

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use super::arguments::{LabArguments, RunArguments};
use super::import::{Converted, NOTHING, Source};
use super::output::Failure;
use crate::config::Config;

/// The daemon: `node::run`.
pub(super) fn run(arguments: RunArguments) -> Result<ExitCode, Failure> {
    let RunArguments { config, node, log } = arguments;
    drop((config, node, log));
    Err(not_built_yet(2))
}

/// The lab: `lab::run`.
pub(super) fn lab(arguments: LabArguments) -> Result<ExitCode, Failure> {
    let LabArguments { nodes, backends, config, port, script } = arguments;
    drop((nodes, backends, config, port, script));
    Err(not_built_yet(1))
}

/// The guard: `guard::main`.
pub(super) fn guard() -> Result<ExitCode, Failure> {
    Err(not_built_yet(1))
}

/// A process of the lab.
pub(super) fn lab_machine(arguments: Vec<OsString>) -> Result<ExitCode, Failure> {
    drop(arguments);
    Err(not_built_yet(1))
}

/// A configuration's warnings, or else its errors and warnings; as the user reads them, every line ended.
/// `config::parse`, `config::warnings`.
pub(super) fn judge(text: &str, name: &str) -> Result<Result<String, String>, Failure> {
    let _ = (text, name);
    Err(not_built_yet(1))
}

/// The configuration in `file`, if it is there and can be used: `config::parse`.
pub(super) fn load(file: &Path) -> Option<Config> {
    let _ = file;
    None
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
