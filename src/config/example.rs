//! The example file: every option at its default, with its meaning, out of the table of options.

use std::fmt::Write as _;

use super::options::{Absent, Kind, Setting};

/// How wide a comment is.
const WIDTH: usize = 100;

const HEAD: &str = "\
# chinthe's configuration: every option with its meaning. What is set here to its default can be left out;
# lines that begin with `#` and hold a key show what has no default. One identical file serves every node.
#
# A node's name: `--node`, else the entry of [cluster.nodes] whose address is local, else the hostname.
# `chinthe check FILE` judges a file, `chinthe doctor` judges the host against it.
";

/// The text of `config/example.toml`.
pub fn example() -> String {
    let mut out = String::from(HEAD);
    for setting in Setting::below("") {
        table(&mut out, setting);
    }
    out
}

fn table(out: &mut String, setting: &Setting) {
    out.push('\n');
    comment(out, "", setting.meaning);
    match setting.kind {
        Kind::Tables => line(out, &format!("[[{}]]", setting.path)),
        _ => line(out, &format!("[{}]", setting.path)),
    }
    let tables = |setting: &&Setting| matches!(setting.kind, Kind::Table | Kind::Tables | Kind::ByNode(_));
    for setting in Setting::below(setting.path).filter(|setting| !tables(setting)) {
        key(out, setting);
    }
    // What is a table of its own comes last: TOML has no way back to the one before.
    for setting in Setting::below(setting.path).filter(tables) {
        match (setting.kind, setting.absent) {
            (Kind::ByNode(_), Absent::Optional(text)) => {
                out.push('\n');
                comment(out, "", setting.meaning);
                line(out, &format!("[{}]\n{text}", setting.path));
            }
            _ => table(out, setting),
        }
    }
}

fn key(out: &mut String, setting: &Setting) {
    if matches!(setting.kind, Kind::Later(_)) {
        return;
    }
    comment(out, "", setting.meaning);
    for inner in Setting::below(setting.path) {
        comment(out, &format!("  {}: ", inner.key()), &uncapitalised(inner));
    }
    let mark = if matches!(setting.absent, Absent::Aside(_)) { "# " } else { "" };
    line(out, &format!("{mark}{} = {}", setting.key(), setting.sample()));
}

fn uncapitalised(setting: &Setting) -> String {
    let mut chars = setting.meaning.chars();
    chars.next().map_or_else(String::new, |first| first.to_lowercase().chain(chars).collect())
}

/// A comment, wrapped; further lines of it are indented like the text after `lead`.
fn comment(out: &mut String, lead: &str, text: &str) {
    let mut current = format!("# {lead}");
    let indent = if lead.is_empty() { "# " } else { "#     " };
    let mut fresh = true;
    for word in text.split(' ') {
        if !fresh && current.chars().count() + 1 + word.chars().count() > WIDTH {
            line(out, &current);
            indent.clone_into(&mut current);
            fresh = true;
        }
        if !fresh {
            current.push(' ');
        }
        current.push_str(word);
        fresh = false;
    }
    line(out, &current);
}

fn line(out: &mut String, text: &str) {
    writeln!(out, "{text}").expect("writing to a String doesn't fail");
}
