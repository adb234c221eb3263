//! `chinthe import`: files in, one file out, and a report of what was repaired or left out.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::arguments::ImportArguments;
use super::output::{Failure, complain, print, reason};
use super::wiring;

/// Written, with parts left out.
const INCOMPLETE: u8 = 1;
/// Nothing was written.
pub(super) const NOTHING: u8 = 2;

/// A file to import.
#[derive(Debug)]
pub(super) struct Source {
    /// As the user named it.
    pub(super) name: String,
    pub(super) text: String,
}

/// What became of the files.
#[derive(Debug)]
pub(super) struct Converted {
    /// The configuration.
    pub(super) toml: String,
    /// What was repaired or left out: lines for the user, each ended.
    pub(super) report: String,
    /// Whether nothing was left out.
    pub(super) complete: bool,
}

pub(super) fn run(arguments: &ImportArguments) -> Result<ExitCode, Failure> {
    let keepalived = read_all(&arguments.keepalived)?;
    let haproxy = read_all(&arguments.haproxy)?;
    deliver(wiring::convert(&keepalived, &haproxy)?, arguments.output.as_deref())
}

fn deliver(converted: Converted, output: Option<&Path>) -> Result<ExitCode, Failure> {
    let Converted { toml, report, complete } = converted;
    match output {
        Some(path) => write(path, &toml).map_err(|error| {
            Failure::new(NOTHING, format!("`{}` can't be written: {}", path.display(), reason(&error)))
                .with_hint(
                    "choose an `--output` in a folder that is there and can be written; nothing was changed",
                )
        })?,
        None => drop(print(&toml)?),
    }
    complain(&report);
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::from(INCOMPLETE) })
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Result<Source, Failure> {
    let name = file.display().to_string();
    let bytes = fs::read(file).map_err(|error| {
        Failure::new(NOTHING, format!("`{name}` can't be read: {}", reason(&error)))
            .with_hint("name the files as they are on a node, or copies of them")
    })?;
    let (text, whole) = decode(bytes);
    if !whole {
        complain(&format!("warning: `{name}` isn't UTF-8 throughout; what isn't became `\u{fffd}`\n"));
    }
    Ok(Source { name, text })
}

/// The text, and whether it is all there. Old files have comments in old encodings, and neither program minds.
fn decode(bytes: Vec<u8>) -> (String, bool) {
    match String::from_utf8(bytes) {
        Ok(text) => (text, true),
        Err(error) => (String::from_utf8_lossy(error.as_bytes()).into_owned(), false),
    }
}

/// Writes all of `text` or nothing: the file appears complete in place of an earlier one.
fn write(path: &Path, text: &str) -> io::Result<()> {
    // A link stays a link, and a device (`/dev/stdout`) a device.
    let path = match fs::metadata(path) {
        Ok(there) if !there.is_file() => {
            return File::options().write(true).open(path)?.write_all(text.as_bytes());
        }
        Ok(_) => fs::canonicalize(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?.to_string_lossy();
    let under_way = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = File::options().write(true).create_new(true).open(&under_way).and_then(|mut file| {
        file.write_all(text.as_bytes())?;
        // Else a power failure could leave the new name with the content of neither.
        file.sync_all()?;
        fs::rename(&under_way, &path)
    });
    if written.is_err() {
        let _ = fs::remove_file(&under_way);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chinthe-import-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("a folder can be made");
            Self(path)
        }

        fn entries(&self) -> usize {
            fs::read_dir(&self.0).expect("it can be read").count()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn converted(complete: bool) -> Converted {
        Converted { toml: "[cluster]\n".to_owned(), report: String::new(), complete }
    }

    #[test]
    fn an_earlier_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = Folder::new("replace");
        let path = folder.0.join("chinthe.toml");
        fs::write(&path, "old, and longer than the new one").expect("it can be written");
        deliver(converted(true), Some(&path)).expect("it can be written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "[cluster]\n");
        assert_eq!(folder.entries(), 1);
    }

    #[test]
    fn a_link_is_followed() {
        let folder = Folder::new("link");
        let (path, link) = (folder.0.join("real.toml"), folder.0.join("link.toml"));
        fs::write(&path, "old").expect("it can be written");
        std::os::unix::fs::symlink(&path, &link).expect("it can be linked");
        deliver(converted(true), Some(&link)).expect("it can be written");
        assert_eq!(fs::read_to_string(&path).expect("it is there"), "[cluster]\n");
        assert!(fs::symlink_metadata(&link).expect("it is there").is_symlink());
    }

    #[test]
    fn a_folder_that_isnt_there_is_a_failure() {
        let folder = Folder::new("missing");
        assert!(deliver(converted(true), Some(&folder.0.join("no/chinthe.toml"))).is_err());
        assert_eq!(folder.entries(), 0);
    }

    #[test]
    fn a_file_in_an_old_encoding_is_read() {
        let (text, whole) = decode(b"! Z\xfcrich\nvrrp_instance x {}\n".to_vec());
        assert_eq!((text.as_str(), whole), ("! Z\u{fffd}rich\nvrrp_instance x {}\n", false));
    }
}
