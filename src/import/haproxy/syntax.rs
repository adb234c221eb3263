//! The syntax of haproxy.cfg: sections of lines of words.

use super::super::Remarks;
use super::super::words::{Rules, Word, shown, words};

const RULES: Rules = Rules { comments: &['#'], escapes: true };

const SECTIONS: &[&str] = &[
    "global",
    "defaults",
    "frontend",
    "backend",
    "listen",
    "peers",
    "resolvers",
    "userlist",
    "mailers",
    "cache",
    "program",
    "http-errors",
    "ring",
    "log-forward",
    "log-profile",
    "fcgi-app",
    "crt-store",
    "traces",
    "acme",
];

/// A section with its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Section {
    /// `frontend myweb`.
    pub(super) header: Line,
    pub(super) lines: Vec<Line>,
}

/// A line that isn't empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub(super) number: usize,
    /// Never empty.
    pub(super) words: Vec<Word>,
}

impl Line {
    /// The word at `index`; empty if there is none.
    pub(super) fn word(&self, index: usize) -> &str {
        self.words.get(index).map_or("", |word| &word.text)
    }

    /// The words after the first `count`.
    pub(super) fn after(&self, count: usize) -> Vec<&str> {
        self.words.iter().skip(count).map(|word| word.text.as_str()).collect()
    }

    /// As it reads in a remark.
    pub(super) fn shown(&self) -> String {
        shown(&self.words)
    }
}

/// Reads the text as far as it makes sense.
pub(super) fn read(text: &str, remarks: &mut Remarks<'_>) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = words(line, RULES);
        if words.is_empty() {
            continue;
        }
        let line = Line { number: index + 1, words };
        if line.words.iter().any(|word| word.repaired) {
            let text = format!("the typographic quotes in {} are made straight", line.shown());
            remarks.repaired(line.number, text);
        }
        if SECTIONS.contains(&line.word(0)) {
            sections.push(Section { header: line, lines: Vec::new() });
        } else if let Some(section) = sections.last_mut() {
            section.lines.push(line);
        } else {
            remarks.left_out(line.number, format!("{} stands before the first section", line.shown()));
        }
    }
    sections
}
