//! From keepalived.conf and haproxy.cfg to one chinthe file, with a word on every line that isn't carried over.
//!
//! ```text
//!   keepalived.conf ── keepalived/syntax ── keepalived ──┐
//!                      (statements, blocks)  (meaning)   ├── plan ── emit ── TOML ── config::parse
//!   haproxy.cfg ────── haproxy/syntax ───── haproxy ─────┘  (one cluster)
//!                      (sections, words)     (meaning)
//! ```
//!
//! The syntax layers know quotes, comments and lines; the meaning layers know keywords; the plan joins what
//! several nodes say; the last step proves that our own judge accepts the result.

mod emit;
mod haproxy;
mod join;
mod keepalived;
mod plan;
mod words;

use std::fmt;

use thiserror::Error;

use crate::config::{self, LARGEST_FILE};

/// A chinthe file made of others, and what is to be said about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The file; it passes [`config::parse`].
    pub toml: String,
    /// In the order of the files and their lines.
    pub report: Vec<ReportLine>,
}

impl Imported {
    /// The exit status: 0 if all is carried over, repairs and what isn't needed included; 1 if parts are left out.
    pub fn status(&self) -> u8 {
        u8::from(self.report.iter().any(|line| line.severity == Severity::LeftOut))
    }
}

/// One remark on one line of an imported file. It displays as `left out: FILE:LINE: text`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportLine {
    /// The file, as the caller names it.
    pub file: String,
    /// Counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// Whether anything is lost.
    pub severity: Severity,
    /// What was found and what became of it.
    pub text: String,
}

impl fmt::Display for ReportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, severity, text } = self;
        match line {
            0 => write!(f, "{severity}: {file}: {text}"),
            _ => write!(f, "{severity}: {file}:{line}: {text}"),
        }
    }
}

/// Whether anything is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// It was broken where it came from, and works now.
    Repaired,
    /// It had an effect there and has none here.
    LeftOut,
    /// It is done in another way here, or isn't needed.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Repaired => "repaired",
            Severity::LeftOut => "left out",
            Severity::Note => "note",
        })
    }
}

/// Why nothing can be written. The report says what was found all the same.
#[derive(Debug, Error)]
pub enum ImportError {
    /// No file was given.
    #[error("no file to import\nhint: name one with --keepalived or --haproxy")]
    NoFile,
    /// A file is larger than any configuration.
    #[error("{file} has {size} bytes\nhint: at most {LARGEST_FILE} are read; is it another file by mistake?")]
    TooLarge {
        /// The file, as the caller names it.
        file: String,
        /// Its size in bytes.
        size: usize,
    },
    /// Neither a virtual IP nor a service is in the files.
    #[error("nothing to carry over: the files hold neither a virtual IP nor a TCP service with a backend")]
    Nothing {
        /// What was found.
        report: Vec<ReportLine>,
    },
    /// What the files say together makes no configuration.
    #[error("what the files say together makes no configuration:\n{problems}")]
    Refused {
        /// What our own judge says about the result.
        problems: config::Problems,
        /// What was found.
        report: Vec<ReportLine>,
    },
}

impl ImportError {
    /// What was found before it came to nothing.
    pub fn report(&self) -> &[ReportLine] {
        match self {
            ImportError::NoFile | ImportError::TooLarge { .. } => &[],
            ImportError::Nothing { report } | ImportError::Refused { report, .. } => report,
        }
    }
}

/// Makes one file of one node's or all nodes' keepalived files and of their haproxy files; each is a name and a
/// text. Nodes take their names from `router_id`, else from the file's name.
pub fn import(
    keepalived: &[(String, String)],
    haproxy: &[(String, String)],
) -> Result<Imported, ImportError> {
    if keepalived.is_empty() && haproxy.is_empty() {
        return Err(ImportError::NoFile);
    }
    for (file, text) in keepalived.iter().chain(haproxy) {
        if text.len() > LARGEST_FILE {
            return Err(ImportError::TooLarge { file: file.clone(), size: text.len() });
        }
    }
    let mut report = Report::new(keepalived.iter().chain(haproxy).map(|(file, _)| file.clone()).collect());
    let nodes: Vec<_> = keepalived
        .iter()
        .enumerate()
        .map(|(index, (_, text))| keepalived::read(text, &mut report.on(index)))
        .collect();
    let mut services = Vec::new();
    for (index, (_, text)) in haproxy.iter().enumerate() {
        haproxy::read(text, &mut services, &mut report.on(keepalived.len() + index));
    }
    let plan = plan::plan(&nodes, services, &mut report);
    if plan.vips.is_empty() && plan.services.is_empty() {
        return Err(ImportError::Nothing { report: report.finish() });
    }
    let toml = emit::emit(&plan);
    match config::parse(&toml, "the result") {
        Ok(_) => Ok(Imported { toml, report: report.finish() }),
        Err(problems) => Err(ImportError::Refused { problems, report: report.finish() }),
    }
}

/// Collects remarks on several files.
#[derive(Debug)]
struct Report {
    files: Vec<String>,
    lines: Vec<(usize, usize, Severity, String)>,
}

impl Report {
    fn new(files: Vec<String>) -> Self {
        Self { files, lines: Vec::new() }
    }

    /// The part of it that is about one file.
    fn on(&mut self, file: usize) -> Remarks<'_> {
        Remarks { report: self, file }
    }

    fn finish(mut self) -> Vec<ReportLine> {
        self.lines.sort_by_key(|(file, line, _, _)| (*file, *line));
        self.lines.dedup();
        let files = self.files;
        let line = |(file, line, severity, text): (usize, usize, Severity, String)| ReportLine {
            file: files.get(file).cloned().unwrap_or_default(),
            line,
            severity,
            text,
        };
        self.lines.into_iter().map(line).collect()
    }
}

/// Collects remarks on one file.
#[derive(Debug)]
struct Remarks<'r> {
    report: &'r mut Report,
    file: usize,
}

impl Remarks<'_> {
    fn add(&mut self, line: usize, severity: Severity, text: impl Into<String>) {
        // A foreign file must not reach the terminal with its control characters.
        let text = text.into().replace(char::is_control, "\u{fffd}");
        self.report.lines.push((self.file, line, severity, text));
    }

    fn repaired(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, Severity::Repaired, text);
    }

    fn left_out(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, Severity::LeftOut, text);
    }

    fn note(&mut self, line: usize, text: impl Into<String>) {
        self.add(line, Severity::Note, text);
    }
}
