//! What TOML's parser finds, put for the operator.

use std::ops::Range;

use toml::de::Error;

use super::report::Findings;

/// What TOML's parser found, one for a line: the first tells, the others follow from it.
pub(super) fn note(errors: &[Error], findings: &mut Findings<'_>) {
    let mut errors: Vec<(Range<usize>, &str)> =
        errors.iter().map(|e| (e.span().unwrap_or(0..0), e.message())).collect();
    errors.sort_by_key(|(span, _)| span.start);
    // An unclosed bracket makes nonsense of all that follows it.
    let unclosed = |message: &str| {
        message.starts_with("unclosed array,") || message.starts_with("unclosed inline table,")
    };
    if let Some((_, message)) = errors.iter().find(|(_, message)| unclosed(message)) {
        let first = errors[0].0.clone();
        findings.lost_at(first.start);
        findings.syntax(
            &first,
            (*message).to_owned(),
            "close the bracket that was opened before this".to_owned(),
        );
        return;
    }
    let mut last_line = 0;
    for (span, message) in errors {
        let line = findings.line(span.start);
        if line != last_line {
            last_line = line;
            let hint = hint(findings.line_text(span.start), message);
            // What is expected of an unquoted word is in the hint.
            let message = message.trim_end_matches(", expected literal string");
            findings.syntax(&span, message.to_owned(), hint);
        }
    }
}

fn hint(line: &str, message: &str) -> Option<String> {
    if line.contains(['“', '”', '„', '‘', '’']) {
        return Some("replace the typographic quotes by straight ones: \"…\"".into());
    }
    if message.starts_with("string values must be quoted") {
        let (key, value) = line.split_once('=')?;
        let value: String = value.trim().chars().take(60).filter(|c| !matches!(c, '"' | '\'')).collect();
        return Some(format!("put it in quotes: `{} = \"{value}\"`", key.trim()));
    }
    if message.starts_with("duplicate key") {
        return Some(
            "each key stands once in its table; a further `[[vip]]` or the like begins the next".into(),
        );
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        return Some("close the quotes on the line that opens them; a backslash is written `\\\\`".into());
    }
    if message.starts_with("key with no value") || message.starts_with("unclosed") {
        return Some("a line is `key = value`, `[header]` or `[[header]]`".into());
    }
    None
}
