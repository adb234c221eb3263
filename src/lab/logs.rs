//! What the daemons say, kept in files of a bounded size.

use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::path::{Path, PathBuf};
use std::thread;

use super::LabError;

/// When a log is this long it becomes the old one and a new one begins: twice this is kept of each daemon.
const LONGEST: u64 = 4 * 1024 * 1024;

/// How many lines of each log are shown when something failed.
const TAIL: usize = 150;

/// One daemon's log, through all its restarts.
#[derive(Debug, Clone)]
pub(super) struct Log {
    path: PathBuf,
}

impl Log {
    /// The log of `name` in the folder `logs`.
    pub(super) fn new(logs: &Path, name: &str) -> Self {
        Self { path: logs.join(format!("{name}.log")) }
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Writes whatever comes out of `pipe` to it, until nobody holds the other end any more.
    pub(super) fn keep(&self, mut pipe: PipeReader) -> Result<(), LabError> {
        let failed = |source| LabError::System { doing: format!("keep {}", self.path.display()), source };
        let mut file = self.open().map_err(failed)?;
        let log = self.clone();
        let keeper = move || {
            let mut buffer = vec![0; 16 * 1024];
            // Read on even when nothing can be written: a full pipe would stop the daemon.
            while let Ok(length @ 1..) = pipe.read(&mut buffer) {
                if file.metadata().is_ok_and(|data| data.len() > LONGEST) {
                    let _ = fs::rename(&log.path, log.path.with_extension("log.old"));
                    if let Ok(fresh) = log.open() {
                        file = fresh;
                    }
                }
                let _ = file.write_all(&buffer[..length]);
            }
            log.note("ended");
        };
        thread::Builder::new().name("lab-log".into()).spawn(keeper).map_err(failed)?;
        Ok(())
    }

    /// Adds a line of the lab's own.
    pub(super) fn note(&self, text: &str) {
        // It's a help to the reader, nothing depends on it.
        let _ = self.open().and_then(|mut file| writeln!(file, "--- {text}"));
    }

    fn open(&self) -> io::Result<File> {
        OpenOptions::new().create(true).append(true).open(&self.path)
    }
}

/// Prints the end of every log in the folder `logs`.
pub(super) fn show(logs: &Path, to: &mut impl Write) -> io::Result<()> {
    let mut files: Vec<PathBuf> = fs::read_dir(logs)?.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "log"));
    files.sort();
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file)?).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        writeln!(to, "==> {} <==", file.file_name().unwrap_or_default().to_string_lossy())?;
        for line in &lines[lines.len().saturating_sub(TAIL)..] {
            writeln!(to, "{line}")?;
        }
    }
    Ok(())
}
