//! The shape of the source, held: which module may use which, where each outside library lives, what the core
//! must not know. The map is drawn in `src/lib.rs`.
//!
//! It reads the source as text, without comments and strings. That is coarser than a compiler and good enough:
//! what it can't see (a path put together by a macro) nobody writes by accident.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which of our own modules each module may use.
const ARROWS: [(&str, &[&str]); 15] = [
    ("core", &[]),
    ("wire", &["core"]),
    ("config", &["core"]),
    ("peers", &["config", "wire", "core"]),
    ("probe", &["config", "wire", "core"]),
    ("guard", &["config", "wire", "core"]),
    ("proxy", &["config", "wire", "core"]),
    ("admin", &["config", "wire", "core"]),
    ("telemetry", &["config", "wire", "core"]),
    ("import", &["config", "core"]),
    ("lab", &["config", "wire", "core"]),
    ("node", &["peers", "probe", "guard", "proxy", "admin", "telemetry", "config", "wire", "core"]),
    ("cli", &["node", "lab", "import", "guard", "admin", "telemetry", "config", "core"]),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Which outside library lives where: a folder or a file without its ending. Others may be used anywhere but
/// in the core.
const ROOMS: [(&str, &[&str]); 20] = [
    ("rtnetlink", &["guard/address", "lab/net"]),
    ("hyper", &["admin"]),
    ("hyper_util", &["admin"]),
    ("http_body_util", &["admin"]),
    ("maud", &["admin/page"]),
    ("opentelemetry", &["telemetry"]),
    ("opentelemetry_sdk", &["telemetry"]),
    ("opentelemetry_otlp", &["telemetry"]),
    ("opentelemetry_http", &["telemetry"]),
    ("tracing_opentelemetry", &["telemetry"]),
    ("ureq", &["telemetry/spans"]),
    ("tracing_subscriber", &["telemetry"]),
    ("tracing_appender", &["telemetry"]),
    ("mio", &["proxy"]),
    ("clap", &["cli"]),
    ("toml", &["config"]),
    ("strsim", &["config"]),
    ("chacha20poly1305", &["wire"]),
    ("chitchat", &["peers/gossip"]),
    ("postcard", &["guard/channel"]),
];

/// What the core must not know: clocks, sockets, and maps whose order differs from run to run.
const NOT_IN_CORE: [&str; 12] = [
    "Instant",
    "SystemTime",
    "TcpListener",
    "TcpStream",
    "UdpSocket",
    "UnixDatagram",
    "UnixListener",
    "UnixStream",
    "thread_local",
    "HashMap",
    "HashSet",
    "RandomState",
];

/// Parts of std that the core must not use at all: threads, files, processes, the environment.
const STD_NOT_IN_CORE: [&str; 6] = ["thread", "fs", "io", "process", "env", "os"];

/// File names that say nothing about what is in the file.
const NAMELESS: [&str; 6] = ["utils", "util", "common", "helpers", "helper", "types"];

/// A file longer than this, tests aside, holds more than one thing.
const LINES: usize = 500;

#[test]
fn modules_use_only_what_stands_below_them() {
    let mut wrong = Vec::new();
    for file in sources() {
        let module = file.module();
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: `{module}` isn't in the map of tests/architecture.rs", file.path));
            continue;
        };
        for (line, used) in file.uses() {
            let known = ARROWS.iter().any(|(name, _)| *name == used);
            if known && used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}:{line}: `{module}` may not use `{used}`", file.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn outside_libraries_stay_in_their_rooms() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (line, library) in file.libraries() {
            let Some((_, rooms)) = ROOMS.iter().find(|(name, _)| *name == library) else { continue };
            if !rooms.iter().any(|room| file.is_in(room)) {
                let rooms = rooms.join("` and `");
                wrong.push(format!("{}:{line}: `{library}` may be used in `{rooms}` only", file.path));
            }
        }
    }
    none(&wrong);
}

#[test]
fn the_core_is_std_alone_and_pure() {
    let outside = dependencies();
    assert!(outside.contains("tokio"), "the dependencies of Cargo.toml weren't found");
    let mut wrong = Vec::new();
    for file in sources().iter().filter(|file| file.module() == "core") {
        for (line, library) in file.libraries().into_iter().filter(|(_, library)| outside.contains(library)) {
            wrong.push(format!("{}:{line}: `core` may not use `{library}`: it uses std alone", file.path));
        }
        for (line, part) in
            file.after("std::").into_iter().filter(|(_, part)| STD_NOT_IN_CORE.contains(&part.as_str()))
        {
            wrong.push(format!(
                "{}:{line}: `core` may not use `std::{part}`: it is told everything",
                file.path
            ));
        }
        for (line, text) in file.production() {
            for name in identifiers(text).filter(|name| NOT_IN_CORE.contains(name)) {
                wrong.push(format!(
                    "{}:{line}: `core` may not use `{name}`: it is told everything",
                    file.path
                ));
            }
        }
    }
    none(&wrong);
}

#[test]
fn every_file_opens_by_saying_what_it_is_for() {
    let silent = sources().into_iter().filter(|file| !file.text.starts_with("//! ")).map(|file| {
        format!("{}:1: the file doesn't open with a `//!` line that says what it is for", file.path)
    });
    none(&silent.collect::<Vec<_>>());
}

#[test]
fn files_are_named_after_what_is_in_them() {
    let nameless = sources().into_iter().filter_map(|file| {
        let part = file.name.split('/').find(|part| NAMELESS.contains(part))?;
        Some(format!("{}:1: `{part}` doesn't say what is in it; put things where they are used", file.path))
    });
    none(&nameless.collect::<Vec<_>>());
}

#[test]
fn files_hold_one_thing() {
    let long = sources().into_iter().filter(|file| !file.is_test()).filter_map(|file| {
        let lines = file.production().count();
        (lines > LINES)
            .then(|| format!("{}:{LINES}: {lines} lines, tests aside; {LINES} is the limit", file.path))
    });
    none(&long.collect::<Vec<_>>());
}

/// What the rules are checked with has to be checked too.
#[test]
fn the_reader_sees_through_comments_strings_and_groups() {
    let file = Source::new(
        "wire/seal/tests.rs",
        r##"//! Uses crate::proxy in a comment.
use crate::{
    config::Config,
    core::{self, Time},
};
use super::super::super::peers::Gossip;
/* crate::guard /* crate::probe */ */
fn f<'a>(x: &'a str) -> char {
    let text = "crate::lab \" crate::lab";
    let raw = r#"crate::node " "#;
    let quote = '"';
    crate::telemetry::log(x, text, raw); '\''
}
use super::open;
use tokio::net; std::fs::read; a.mio::b();
"##,
    );
    let uses: Vec<String> = file.uses().into_iter().map(|(line, name)| format!("{line} {name}")).collect();
    assert_eq!(uses, ["2 config", "2 core", "6 peers", "12 telemetry"]);
    let libraries: Vec<String> = file.libraries().into_iter().map(|(_, name)| name).collect();
    assert!(
        libraries.contains(&"tokio".to_owned()) && !libraries.contains(&"fs".to_owned()),
        "{libraries:?}"
    );
    assert_eq!(file.module(), "wire");
    assert!(file.is_test() && file.is_in("wire/seal") && !file.is_in("wire/sea"));
}

fn none(wrong: &[String]) {
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

/// A file of `src/`.
struct Source {
    /// For messages.
    path: String,
    /// Inside `src/`, without its ending; a folder's `mod` is the folder.
    name: String,
    text: String,
    /// The text with comments and the insides of strings blanked, line by line as long as before.
    code: String,
}

impl Source {
    fn new(path: &str, text: &str) -> Self {
        let name = path.trim_end_matches(".rs");
        Self {
            path: format!("src/{path}"),
            name: name.strip_suffix("/mod").unwrap_or(name).to_owned(),
            text: text.to_owned(),
            code: blank(text),
        }
    }

    /// The top-level module that it belongs to.
    fn module(&self) -> &str {
        self.name.split('/').next().expect("split yields something")
    }

    fn is_in(&self, room: &str) -> bool {
        self.name.strip_prefix(room).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn is_test(&self) -> bool {
        self.name.split('/').any(|part| part == "tests")
    }

    /// The lines before the tests, numbered from 1.
    fn production(&self) -> impl Iterator<Item = (usize, &str)> {
        let end =
            if self.is_test() { 0 } else { self.code.find("#[cfg(test)]\nmod tests").unwrap_or(usize::MAX) };
        let code = &self.code[..end.min(self.code.len())];
        code.lines().enumerate().map(|(index, line)| (index + 1, line))
    }

    /// Our own top-level modules that a path leads to, each with its line.
    fn uses(&self) -> Vec<(usize, String)> {
        let mut found = self.after("crate::");
        if self.name == "main" {
            found.extend(self.after("chinthe::"));
        }
        // `super` from the file's own module, once for each level, leads to the root as well; from a module
        // inside the file, once more.
        let levels = self.name.split('/').count();
        found.extend(self.after(&"super::".repeat(levels)));
        found.extend(self.after(&"super::".repeat(levels + 1)));
        found.sort();
        found.dedup();
        found
    }

    /// The first names of the paths that begin with `prefix`; of a group's paths each.
    fn after(&self, prefix: &str) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices(prefix) {
            if self.code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            let line = self.line(at);
            let rest = &self.code[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group).into_iter().map(|name| (line, name)));
            } else {
                found.extend(identifiers(rest).next().map(|name| (line, name.to_owned())));
            }
        }
        found
    }

    /// The first names of all other paths, each with its line.
    fn libraries(&self) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (at, _) in self.code.match_indices("::") {
            let before = &self.code[..at];
            let start = before
                .char_indices()
                .rev()
                .take_while(|(_, c)| c.is_alphanumeric() || *c == '_')
                .last()
                .map_or(at, |(index, _)| index);
            if start < at && !before[..start].ends_with("::") && !before[..start].ends_with('.') {
                found.push((self.line(at), before[start..].to_owned()));
            }
        }
        found
    }

    fn line(&self, at: usize) -> usize {
        self.code[..at].matches('\n').count() + 1
    }
}

/// The first name of each path of a `use` group, whose opening brace has been taken off.
fn group_heads(group: &str) -> Vec<String> {
    let mut heads = Vec::new();
    let mut depth = 0_usize;
    let mut item = String::new();
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => heads.push(std::mem::take(&mut item)),
            _ if depth == 0 => item.push(c),
            _ => {}
        }
    }
    heads.push(item);
    heads.iter().filter_map(|item| identifiers(item).next().map(str::to_owned)).collect()
}

fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|name| !name.is_empty())
}

/// Replaces comments, and what is inside strings and character literals, by blanks.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (kept, skipped) = token(rest, first, code.chars().next_back());
        code.push_str(&rest[..kept]);
        code.extend(rest[kept..kept + skipped].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[kept + skipped..];
    }
    code
}

/// How many bytes of `rest` to keep, and how many to blank after them.
fn token(rest: &str, first: char, before: Option<char>) -> (usize, usize) {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with("//") {
        return (0, rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return (0, block_comment(rest));
    }
    if let (b'r' | b'b' | b'c', false) = (rest.as_bytes()[0], in_word) {
        let after = rest.trim_start_matches(['b', 'c']);
        if let Some(raw) = after.strip_prefix('r') {
            let hashes = raw.len() - raw.trim_start_matches('#').len();
            if raw[hashes..].starts_with('"') {
                let open = rest.len() - raw.len() + hashes + 1;
                let close = format!("\"{}", "#".repeat(hashes));
                return (0, rest[open..].find(&close).map_or(rest.len(), |at| open + at + close.len()));
            }
        }
    }
    match first {
        '"' => (0, quoted(rest, '"')),
        // A character, not a lifetime: it ends after one character or an escape.
        '\'' if rest[1..].starts_with('\\') => (0, quoted(rest, '\'')),
        '\'' if rest.chars().nth(2) == Some('\'') => (0, quoted(rest, '\'')),
        _ => (first.len_utf8(), 0),
    }
}

/// The length of a string or character literal, its quotes included.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// The length of a block comment, with those inside it.
fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let mut at = 0;
    while at < rest.len() {
        if rest[at..].starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest[at..].starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest[at..].chars().next().map_or(1, char::len_utf8);
        }
    }
    rest.len()
}

/// Every file of `src/`.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    assert!(!paths.is_empty(), "there is no source below {}", root.display());
    paths.sort();
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).expect("source is UTF-8 text");
        let inside = path.strip_prefix(&root).expect("it was found there");
        Source::new(inside.to_str().expect("source files have plain names"), &text)
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("it can be read") {
        let path = entry.expect("it can be read").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            into.push(path);
        }
    }
}

/// The names of Cargo.toml's dependencies, as paths spell them.
fn dependencies() -> BTreeSet<String> {
    let manifest = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml"));
    let manifest = manifest.expect("Cargo.toml can be read");
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap_or_default();
    let section = section.split("\n[").next().unwrap_or_default();
    let names = section.lines().filter_map(|line| line.split_once(" =").map(|(name, _)| name));
    names.filter(|name| !name.starts_with('#')).map(|name| name.replace('-', "_")).collect()
}
