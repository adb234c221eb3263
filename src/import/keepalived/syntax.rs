//! The syntax of keepalived.conf: statements of words, with blocks in braces.

use super::super::Remarks;
use super::super::words::{Rules, Word, shown, words};

const RULES: Rules = Rules { comments: &['#', '!'], escapes: false };

/// keepalived's own files nest three deep.
const DEEPEST: usize = 16;

/// A keyword with its arguments, and what stands in braces behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    /// Counted from 1.
    pub(super) line: usize,
    /// Never empty.
    pub(super) words: Vec<Word>,
    pub(super) block: Option<Vec<Statement>>,
}

impl Statement {
    /// The first word.
    pub(super) fn keyword(&self) -> &str {
        self.words.first().map_or("", |word| &word.text)
    }

    /// The word after the keyword; empty if there is none.
    pub(super) fn argument(&self) -> &str {
        self.words.get(1).map_or("", |word| &word.text)
    }

    /// What stands in its braces.
    pub(super) fn inner(&self) -> &[Statement] {
        self.block.as_deref().unwrap_or_default()
    }
}

/// Reads the text as far as it makes sense.
pub(super) fn read(text: &str, remarks: &mut Remarks<'_>) -> Vec<Statement> {
    let mut tree = Tree { open: vec![Vec::new()], too_deep: 0 };
    for (index, line) in text.lines().enumerate() {
        let line_number = index + 1;
        let mut current = Vec::new();
        for mut word in words(line, RULES) {
            if word.repaired {
                let what = shown(std::slice::from_ref(&word));
                remarks.repaired(
                    line_number,
                    format!("the quotes around {what} are typographic ones, which keepalived takes for letters: made straight"),
                );
            }
            if word.quoted {
                current.push(word);
                continue;
            }
            // `}vrrp_instance` and `name{` are found in the wild.
            while let Some(rest) = word.text.strip_prefix('}') {
                tree.statement(line_number, &mut current);
                tree.close(line_number, remarks);
                word.text = rest.to_string();
            }
            let opens = word.text.ends_with('{') && !word.text.ends_with("${");
            let closes = !opens && word.text.ends_with('}') && !word.text.contains('{');
            if opens || closes {
                word.text.pop();
            }
            if word.text.ends_with(';') {
                word.text.pop();
                remarks.repaired(line_number, "keepalived takes the semicolon for a letter: removed");
            }
            if !word.text.is_empty() {
                current.push(word);
            }
            if opens {
                tree.statement(line_number, &mut current);
                tree.open(line_number, remarks);
            } else if closes {
                tree.statement(line_number, &mut current);
                tree.close(line_number, remarks);
            }
        }
        tree.statement(line_number, &mut current);
    }
    tree.finish(remarks)
}

/// The statements read so far, with the blocks that are still open.
struct Tree {
    /// Never empty: the first is the file itself.
    open: Vec<Vec<Statement>>,
    /// How many blocks are open that were nested too deep to be kept.
    too_deep: usize,
}

impl Tree {
    fn statement(&mut self, line: usize, words: &mut Vec<Word>) {
        if !words.is_empty() && self.too_deep == 0 {
            self.top().push(Statement { line, words: std::mem::take(words), block: None });
        }
        words.clear();
    }

    fn open(&mut self, line: usize, remarks: &mut Remarks<'_>) {
        if self.too_deep > 0 || self.open.len() > DEEPEST {
            self.too_deep += 1;
            remarks.left_out(line, "a block nested too deep");
            return;
        }
        // A brace on a line of its own belongs to the statement before it.
        if self.top().last().is_none_or(|statement| statement.block.is_some()) {
            let word = Word { text: "{".into(), quoted: false, repaired: false };
            self.top().push(Statement { line, words: vec![word], block: None });
        }
        self.open.push(Vec::new());
    }

    fn close(&mut self, line: usize, remarks: &mut Remarks<'_>) {
        if self.too_deep > 0 {
            self.too_deep -= 1;
            return;
        }
        if self.open.len() == 1 {
            remarks.repaired(line, "a closing brace without its opening one: ignored");
            return;
        }
        let inner = self.open.pop().unwrap_or_default();
        if let Some(statement) = self.top().last_mut() {
            statement.block = Some(inner);
        }
    }

    fn finish(mut self, remarks: &mut Remarks<'_>) -> Vec<Statement> {
        self.too_deep = 0;
        while self.open.len() > 1 {
            let line = self.open[self.open.len() - 2].last().map_or(0, |statement| statement.line);
            remarks.repaired(line, "the block isn't closed: closed at the end of the file");
            self.close(line, remarks);
        }
        self.open.remove(0)
    }

    fn top(&mut self) -> &mut Vec<Statement> {
        self.open.last_mut().expect("the file's own list is never closed")
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::Report;
    use super::*;

    fn of(text: &str) -> (Vec<Statement>, usize) {
        let mut report = Report::new(vec!["f".into()]);
        let tree = read(text, &mut report.on(0));
        (tree, report.finish().len())
    }

    fn outline(statements: &[Statement]) -> String {
        let one = |s: &Statement| match &s.block {
            Some(block) => format!("{}@{}[{}]", s.keyword(), s.line, outline(block)),
            None => format!("{}@{}", s.keyword(), s.line),
        };
        statements.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn blocks_nest_whatever_line_their_braces_are_on() {
        let (tree, remarks) = of("a b {\n  c d\n  e { f }\n}\ng\n{\n h\n}\ni { j\n}l m{ n } o p;");
        assert_eq!(outline(&tree), "a@1[c@2 e@3[f@3]] g@5[h@7] i@9[j@9] l@10[n@10] o@10");
        assert_eq!(remarks, 1);
    }

    #[test]
    fn braces_that_do_not_match_are_reported_and_survived() {
        assert_eq!(outline(&of("a {\n b {\n c\n").0), "a@1[b@2[c@3]]");
        assert_eq!(of("a {\n b {\n c\n").1, 2);
        assert_eq!(of("}\n}\na").1, 2);
        let (tree, _) = of(&"x {\n".repeat(10_000));
        assert!(!tree.is_empty());
    }
}
