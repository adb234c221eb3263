//! What the file's judge says: mistakes and warnings with line, column and hint, and how they are written.

use std::fmt::{self, Display, Write as _};
use std::ops::Range;

/// How much of the operator's own text a message repeats, in characters.
const LONGEST_QUOTE: usize = 60;

/// One mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Something that is allowed, and most likely not meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// What is odd.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Why a file is refused: every mistake in it, in the file's order.
///
/// It displays as the operator reads it: `error: FILE:LINE:COLUMN: message` and `hint: …` for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file as messages name it.
    pub file: String,
    /// Never empty.
    pub list: Vec<Problem>,
}

impl Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.list {
            entry(
                f,
                "error",
                &self.file,
                (problem.line, problem.column),
                &problem.message,
                problem.hint.as_deref(),
            )?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Lints as the operator reads them: `warning: FILE:LINE:COLUMN: message` and `hint: …` for each.
pub fn warnings(file: &str, lints: &[Lint]) -> String {
    let mut text = String::new();
    for lint in lints {
        entry(&mut text, "warning", file, (lint.line, lint.column), &lint.message, lint.hint.as_deref())
            .expect("writing to a String doesn't fail");
    }
    text
}

fn entry(
    out: &mut dyn fmt::Write,
    kind: &str,
    file: &str,
    (line, column): (usize, usize),
    message: &str,
    hint: Option<&str>,
) -> fmt::Result {
    writeln!(out, "{kind}: {file}:{line}:{column}: {message}")?;
    match hint {
        Some(hint) => writeln!(out, "hint: {hint}"),
        None => Ok(()),
    }
}

/// Collects what is found, wherever it is found, by byte offsets into the text.
#[derive(Debug)]
pub(super) struct Findings<'t> {
    text: &'t str,
    /// Where each line starts, so that a position costs a binary search and not a walk.
    lines: Vec<usize>,
    problems: Vec<(usize, Kind, Problem)>,
    lints: Vec<Lint>,
    /// From this offset on the text can't be made sense of.
    lost_at: usize,
}

/// What decides whether a problem is worth telling beside a syntax error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The text isn't TOML here.
    Syntax,
    /// What stands there is wrong in itself.
    Value,
    /// Something isn't there; with a syntax error about, it may well be.
    Absence,
}

impl<'t> Findings<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, lines, problems: Vec::new(), lints: Vec::new(), lost_at: usize::MAX }
    }

    /// A mistake in what stands at `span`.
    pub(super) fn problem(&mut self, span: &Range<usize>, message: String, hint: impl Into<Option<String>>) {
        self.add(Kind::Value, span, message, hint.into());
    }

    /// A mistake that consists in something not being there.
    pub(super) fn absence(&mut self, span: &Range<usize>, message: String, hint: impl Into<Option<String>>) {
        self.add(Kind::Absence, span, message, hint.into());
    }

    /// Text that isn't TOML.
    pub(super) fn syntax(&mut self, span: &Range<usize>, message: String, hint: impl Into<Option<String>>) {
        self.add(Kind::Syntax, span, message, hint.into());
    }

    /// Notes that from here on nothing but the syntax can be judged.
    pub(super) fn lost_at(&mut self, offset: usize) {
        self.lost_at = self.lost_at.min(offset);
    }

    /// Something odd at `span`.
    pub(super) fn lint(&mut self, span: &Range<usize>, message: String, hint: impl Into<Option<String>>) {
        let (line, column) = self.position(span.start);
        self.lints.push(Lint { line, column, message, hint: hint.into() });
    }

    /// Whether anything forbids the file.
    pub(super) fn any(&self) -> bool {
        !self.problems.is_empty()
    }

    /// The line that holds `offset`, counted from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.lines.partition_point(|&start| start <= offset)
    }

    /// The text of the line that holds `offset`.
    pub(super) fn line_text(&self, offset: usize) -> &'t str {
        let line = self.line(offset);
        self.text[self.lines[line - 1]..].lines().next().unwrap_or("")
    }

    /// All that was found, in the file's order. What a syntax error may have caused is left away: it would send
    /// the reader to the wrong place.
    pub(super) fn finish(mut self, file: &str) -> Result<Vec<Lint>, Problems> {
        self.lints.sort();
        self.lints.dedup();
        if self.problems.is_empty() {
            return Ok(self.lints);
        }
        // Syntax errors were noted first, and in the file's order.
        let broken: Vec<usize> =
            self.problems.iter().filter(|p| p.1 == Kind::Syntax).map(|p| p.2.line).collect();
        if !broken.is_empty() {
            self.problems.retain(|(start, kind, problem)| match kind {
                Kind::Syntax => true,
                Kind::Value => *start < self.lost_at && broken.binary_search(&problem.line).is_err(),
                Kind::Absence => false,
            });
        }
        // What was found at one place stays in the order of the table of options.
        self.problems.sort_by_key(|(start, kind, _)| (*start, *kind));
        self.problems.dedup();
        let list = self.problems.into_iter().map(|(_, _, problem)| problem).collect();
        Err(Problems { file: file.to_owned(), list })
    }

    fn add(&mut self, kind: Kind, span: &Range<usize>, message: String, hint: Option<String>) {
        let (line, column) = self.position(span.start);
        self.problems.push((span.start, kind, Problem { line, column, message, hint }));
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let offset = offset.min(self.text.len());
        let line = self.line(offset);
        let start = self.lines[line - 1];
        let column = self.text.get(start..offset).map_or(offset - start, |before| before.chars().count());
        (line, column + 1)
    }
}

/// The operator's own text inside a message: in backquotes, short, and harmless to a terminal.
pub(super) fn shown(text: &str) -> String {
    let mut out = String::from("`");
    for (count, c) in text.chars().enumerate() {
        if count == LONGEST_QUOTE {
            out.push('…');
            break;
        }
        if c.is_control() {
            write!(out, "{}", c.escape_debug()).expect("writing to a String doesn't fail");
        } else {
            out.push(c);
        }
    }
    out.push('`');
    out
}

/// The known word that `word` was most likely meant to be.
pub fn did_you_mean<'w>(word: &str, known: impl IntoIterator<Item = &'w str>) -> Option<&'w str> {
    /// Where Jaro-Winkler's similarity separates slips from other words; clap's choice, too.
    const SIMILAR: f64 = 0.7;
    /// A large file full of slips must not take minutes to refuse.
    const MOST_CANDIDATES: usize = 256;
    // The measure is quadratic, and nobody means a name by a page of text.
    if word.len() > 4 * LONGEST_QUOTE {
        return None;
    }
    known
        .into_iter()
        .take(MOST_CANDIDATES)
        .map(|candidate| (strsim::jaro_winkler(&word.to_lowercase(), &candidate.to_lowercase()), candidate))
        .filter(|(similarity, _)| *similarity > SIMILAR)
        // The first of equals.
        .min_by(|a, b| b.0.total_cmp(&a.0))
        .map(|(_, candidate)| candidate)
}
