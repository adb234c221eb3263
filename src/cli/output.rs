//! What is said to the user, and how a command fails.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// A command that could not do its work: what is wrong, what to do about it, and the exit status.
#[derive(Debug)]
pub(super) struct Failure {
    message: String,
    hint: Option<String>,
    status: u8,
}

impl Failure {
    pub(super) fn new(status: u8, message: impl Display) -> Self {
        Self { message: message.to_string(), hint: None, status }
    }

    pub(super) fn with_hint(self, hint: impl Display) -> Self {
        Self { hint: Some(hint.to_string()), ..self }
    }

    /// Says it, and is the exit status.
    pub(super) fn report(&self) -> ExitCode {
        let hint = self.hint.as_ref().map(|hint| format!("hint: {hint}\n")).unwrap_or_default();
        complain(&format!("error: {}\n{hint}", self.message));
        ExitCode::from(self.status)
    }
}

/// Prints to standard output. Whoever reads it may have seen enough (`| head`): that is no failure, but false.
pub(super) fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(1, format!("can't write to standard output: {error}")))
        }
        written => Ok(written.is_ok()),
    }
}

/// Prints to standard error; there is nobody left to tell when that fails.
pub(super) fn complain(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Why a file can't be used, in words that fit into a sentence.
pub(super) fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "it doesn't exist".to_owned(),
        io::ErrorKind::PermissionDenied => "no permission".to_owned(),
        io::ErrorKind::IsADirectory => "it is a folder".to_owned(),
        io::ErrorKind::InvalidData => "it isn't UTF-8 text".to_owned(),
        _ => error.to_string(),
    }
}
