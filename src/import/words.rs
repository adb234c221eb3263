//! Words of a line: quotes, the typographic ones that a web page makes of them, and comments.

/// How much of a foreign line a remark repeats, in characters.
const LONGEST_QUOTE: usize = 70;

/// One word of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Word {
    /// Without its quotes.
    pub(super) text: String,
    /// Whether it had quotes: then a brace in it is a character like any other.
    pub(super) quoted: bool,
    /// Whether its quotes were typographic ones.
    pub(super) repaired: bool,
}

/// What differs between the two languages.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// What starts a comment, outside of quotes.
    pub(super) comments: &'static [char],
    /// Whether a backslash takes the meaning from the next character outside of quotes.
    pub(super) escapes: bool,
}

/// Takes a line apart. A quote that isn't closed ends with the line.
pub(super) fn words(line: &str, rules: Rules) -> Vec<Word> {
    let mut words = Vec::new();
    let mut rest = line.chars().peekable();
    while let Some(&first) = rest.peek() {
        if first.is_whitespace() {
            rest.next();
            continue;
        }
        if rules.comments.contains(&first) {
            break;
        }
        let mut word = Word { text: String::new(), quoted: false, repaired: false };
        while let Some(&c) = rest.peek() {
            if c.is_whitespace() || rules.comments.contains(&c) {
                break;
            }
            rest.next();
            match c {
                '"' | '\'' => {
                    word.quoted = true;
                    quoted(&mut rest, &mut word.text, c, rules);
                }
                // Inside a word it may be an apostrophe.
                _ if is_typographic(c) && word.text.is_empty() => {
                    word.quoted = true;
                    word.repaired = true;
                    word.text.extend(std::iter::from_fn(|| rest.next_if(|c| !is_typographic(*c))));
                    rest.next();
                }
                '\\' if rules.escapes => word.text.extend(rest.next()),
                _ => word.text.push(c),
            }
        }
        words.push(word);
    }
    words
}

/// The words as they read in a remark.
pub(super) fn shown(words: &[Word]) -> String {
    let text = words.iter().map(|word| word.text.as_str()).collect::<Vec<_>>().join(" ");
    let mut out: String =
        text.chars().take(LONGEST_QUOTE).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if text.chars().nth(LONGEST_QUOTE).is_some() {
        out.push('…');
    }
    format!("`{out}`")
}

/// A name that our file takes: what it can't have becomes `-`.
pub(super) fn name(text: &str) -> String {
    let allowed = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
    let name: String = text.chars().map(allowed).take(63).collect();
    if crate::config::is_name(&name) { name } else { "unnamed".to_owned() }
}

fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, text: &mut String, quote: char, rules: Rules) {
    while let Some(c) = rest.next() {
        match c {
            _ if c == quote => return,
            '\\' if rules.escapes && quote == '"' => text.extend(rest.next()),
            _ => text.push(c),
        }
    }
}

fn is_typographic(c: char) -> bool {
    matches!(c, '“' | '”' | '„' | '‟' | '‘' | '’' | '‚' | '«' | '»')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEEPALIVED: Rules = Rules { comments: &['#', '!'], escapes: false };
    const HAPROXY: Rules = Rules { comments: &['#'], escapes: true };

    fn texts(line: &str, rules: Rules) -> Vec<String> {
        words(line, rules).into_iter().map(|word| word.text).collect()
    }

    #[test]
    fn quotes_hold_words_together_and_comments_end_the_line() {
        assert_eq!(
            texts("  script \"killall -0 haproxy\" # why", KEEPALIVED),
            ["script", "killall -0 haproxy"]
        );
        assert_eq!(texts("! all of it", KEEPALIVED), Vec::<String>::new());
        assert_eq!(texts("a 'b # c' d#e", HAPROXY), ["a", "b # c", "d"]);
    }

    #[test]
    fn typographic_quotes_count_as_quotes_and_are_marked() {
        let words = words("    script “killall -0 haproxy”", KEEPALIVED);
        assert_eq!(words[1], Word { text: "killall -0 haproxy".into(), quoted: true, repaired: true });
        assert!(!words[0].repaired);
    }

    #[test]
    fn a_backslash_escapes_where_the_language_says_so() {
        assert_eq!(
            texts(r"stats realm Haproxy\ Statistics", HAPROXY),
            ["stats", "realm", "Haproxy Statistics"]
        );
        assert_eq!(texts(r"auth_pass a\b", KEEPALIVED), ["auth_pass", r"a\b"]);
    }

    #[test]
    fn names_are_made_to_fit() {
        assert_eq!(name("web-servers"), "web-servers");
        assert_eq!(name("my web:80"), "my-web-80");
        assert_eq!(name("轮询"), "unnamed");
    }
}
