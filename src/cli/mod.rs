//! The command line: arguments in, exit status out.
//!
//! What a command prints for its user goes to standard output; errors, warnings and reports go to standard
//! error, as `error: …` with a `hint: …` that says what to do.

mod administer;
mod arguments;
mod asked;
mod check;
mod events;
mod import;
mod output;
mod prometheus;
mod reload;
mod status;
mod wiring;

use std::process::ExitCode;

use clap::Parser;

use self::arguments::{Arguments, Command};
use self::output::Failure;
use crate::core::AdminState;

/// What daemon, guard and lab are called in a list of processes, whatever the binary was started as.
const PROCESS_NAME: &std::ffi::CStr = c"chinthe";

/// Runs the command that this process was started with. Must be called before any thread is started: the lab
/// enters its sandbox from here.
pub fn main() -> ExitCode {
    // A name in a list is no reason not to work.
    let _ = rustix::thread::set_name(PROCESS_NAME);
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(message) => {
            // Help and version come this way too, and may be piped into something that has seen enough.
            let _ = message.print();
            return ExitCode::from(u8::try_from(message.exit_code()).unwrap_or(2));
        }
    };
    run(arguments.command).unwrap_or_else(|failure| failure.report())
}

fn run(command: Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(arguments) => wiring::run(arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Import(arguments) => import::run(&arguments),
        Command::Lab(arguments) => Ok(wiring::lab(arguments)),
        Command::Status(arguments) => status::run(&arguments),
        Command::Events(arguments) => events::run(&arguments),
        Command::Drain(arguments) => administer::state(AdminState::Drain, &arguments),
        Command::Maint(arguments) => administer::state(AdminState::Maint, &arguments),
        Command::Ready(arguments) => administer::state(AdminState::Ready, &arguments),
        Command::Weight(arguments) => administer::weight(&arguments),
        Command::Move(arguments) => administer::place(&arguments),
        Command::Reload(arguments) => reload::run(&arguments),
        Command::PrometheusConfig(arguments) => prometheus::run(&arguments),
        Command::Guard => Ok(wiring::guard()),
    }
}
