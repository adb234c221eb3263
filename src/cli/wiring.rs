//! Where the commands meet the modules that do their work.

use std::path::Path;
use std::process::ExitCode;

use super::arguments::{LabArguments, RunArguments};
use super::import::{Converted, NOTHING, Source};
use super::output::{Failure, complain};
use crate::config::{self, Config};
use crate::guard;
use crate::import;
use crate::lab;
use crate::node::{self, RunError, RunOptions};

/// The daemon.
pub(super) fn run(arguments: RunArguments) -> Result<ExitCode, Failure> {
    let RunArguments { config, node, log } = arguments;
    match node::run(&RunOptions { config, node, log }) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(RunError::Problems(text)) => {
            complain(&format!("{}\n", text.trim_end()));
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

/// The configuration in `file`, if it is there and can be used.
pub(super) fn load(file: &Path) -> Option<Config> {
    config::load(file).ok().map(|(config, _)| config)
}

/// One configuration from `keepalived`'s and `haproxy`'s files.
pub(super) fn convert(keepalived: &[Source], haproxy: &[Source]) -> Result<Converted, Failure> {
    let pairs =
        |sources: &[Source]| sources.iter().map(|s| (s.name.clone(), s.text.clone())).collect::<Vec<_>>();
    match import::import(&pairs(keepalived), &pairs(haproxy)) {
        Ok(imported) => Ok(Converted {
            report: imported.report.iter().map(|line| format!("{line}\n")).collect(),
            complete: imported.status() == 0,
            toml: imported.toml,
        }),
        Err(error) => {
            for line in error.report() {
                complain(&format!("{line}\n"));
            }
            Err(Failure::new(NOTHING, &error)
                .with_hint("give it keepalived's and haproxy's own files; nothing was written"))
        }
    }
}
