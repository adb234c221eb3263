//! From a path to a configuration.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::{Config, LARGEST_FILE, Lint, Problem, Problems, parse, too_large};

/// Why a file makes no configuration. It displays as the operator reads it, hints included.
#[derive(Debug, Error)]
pub enum LoadError {
    /// It can't be read.
    #[error("error: `{path}` can't be read: {}\nhint: {}", reason(source), hint(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is wrong.
    #[error(transparent)]
    Refused(#[from] Problems),
}

/// Reads and judges the file at `path`.
pub fn load(path: &Path) -> Result<(Config, Vec<Lint>), LoadError> {
    let unreadable = |source| LoadError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let name = path.display().to_string();
    if bytes.len() > LARGEST_FILE {
        return Err(too_large(&name).into());
    }
    let text = String::from_utf8(bytes).map_err(|error| not_text(&name, error.as_bytes()))?;
    Ok(parse(&text, &name)?)
}

fn not_text(file: &str, bytes: &[u8]) -> Problems {
    let good = bytes.utf8_chunks().next().map_or("", |chunk| chunk.valid());
    let last = good.rsplit('\n').next().unwrap_or_default();
    let problem = Problem {
        line: good.matches('\n').count() + 1,
        column: last.chars().count() + 1,
        message: "this is no UTF-8 text".into(),
        hint: Some("save the file as UTF-8".into()),
    };
    Problems { file: file.to_owned(), list: vec![problem] }
}

fn reason(source: &io::Error) -> String {
    match source.kind() {
        io::ErrorKind::NotFound => "it doesn't exist".into(),
        io::ErrorKind::PermissionDenied => "no permission".into(),
        io::ErrorKind::IsADirectory => "it is a folder".into(),
        _ => source.to_string(),
    }
}

fn hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            "give another FILE (`run` takes it as --config FILE), or make one of keepalived's and haproxy's: `chinthe import`"
        }
        io::ErrorKind::PermissionDenied => "give it to the user that chinthe runs as",
        _ => "it must be a file of TOML text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::example;
    use std::fs;

    /// A file of this test alone, removed with it.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str, content: &[u8]) -> Self {
            let path = std::env::temp_dir().join(format!("chinthe-load-{name}-{}.toml", std::process::id()));
            fs::write(&path, content).expect("the temp folder takes a file");
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }

    fn said(path: &Path) -> String {
        load(path).expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_good_file_is_a_configuration() {
        let file = Scratch::new("good", example().as_bytes());
        assert_eq!(load(&file.0).expect("the example is right").0.cluster.name, "myweb");
    }

    #[test]
    fn a_missing_file_and_a_folder_say_what_to_do() {
        let missing = said(Path::new("/nonexistent/chinthe.toml"));
        assert!(
            missing.starts_with("error: `/nonexistent/chinthe.toml` can't be read: it doesn't exist"),
            "{missing}"
        );
        assert!(missing.contains("\nhint: give another FILE"), "{missing}");
        assert!(said(&std::env::temp_dir()).contains("hint: it must be a file of TOML text"));
    }

    #[test]
    fn bytes_that_are_no_text_are_found() {
        let file = Scratch::new("bytes", b"[cluster]\nname = \"\xff\"\n");
        assert!(said(&file.0).ends_with(":2:9: this is no UTF-8 text\nhint: save the file as UTF-8\n"));
    }

    #[test]
    fn a_file_beyond_all_measure_is_not_read_whole() {
        let file = Scratch::new("large", "é".repeat(LARGEST_FILE).as_bytes());
        assert!(said(&file.0).contains("the file has more than 1048576 bytes"));
    }
}
