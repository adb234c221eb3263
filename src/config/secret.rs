//! The shared secret: where its file is, whether it may be used, and its bytes.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::Config;

/// The variable that overrides `cluster.secret_file`.
pub const SECRET_FILE_VARIABLE: &str = "CHINTHE_SECRET_FILE";

/// Fewer bytes could be guessed.
pub const SHORTEST_SECRET: usize = 32;

/// More is another file by mistake.
const LONGEST_SECRET: u64 = 64 * 1024;

/// What the cluster's nodes trust each other by. It never shows its bytes by itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes as they are; `None` if they are fewer than [`SHORTEST_SECRET`].
    pub fn new(bytes: impl Into<Vec<u8>>) -> Option<Self> {
        let bytes = bytes.into();
        (bytes.len() >= SHORTEST_SECRET).then_some(Self(bytes))
    }

    /// The bytes, to derive keys from.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Why a secret can't be used. Nothing was changed; the second line of each message says what to do.
#[derive(Debug, Error)]
pub enum SecretError {
    /// It can't be read.
    #[error("the secret {path} can't be read: {source}\nhint: {}", unreadable_hint(source))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others than its owner may use it.
    #[error("the secret {path} is open to group or others (mode {mode:03o})\nhint: chmod 600 {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is too short to keep anybody out.
    #[error(
        "the secret {path} has {length} bytes, and {SHORTEST_SECRET} are the least\nhint: write a fresh one: head -c 32 /dev/urandom | base64, the same on every node"
    )]
    Short {
        /// The file.
        path: PathBuf,
        /// What it holds, after trimming.
        length: usize,
    },
    /// It is too long to be one.
    #[error("the secret {path} has more than {LONGEST_SECRET} bytes\nhint: it is another file by mistake")]
    Long {
        /// The file.
        path: PathBuf,
    },
}

/// Where the secret is: `CHINTHE_SECRET_FILE` if set, else the configuration's `secret_file`.
pub fn secret_path(config: &Config) -> PathBuf {
    chosen_path(std::env::var_os(SECRET_FILE_VARIABLE), config)
}

fn chosen_path(variable: Option<std::ffi::OsString>, config: &Config) -> PathBuf {
    match variable {
        Some(path) if !path.is_empty() => path.into(),
        _ => config.cluster.secret_file.clone(),
    }
}

/// Reads the secret at `path`: without the white space around it, and only if none but its owner can.
pub fn read_secret(path: &Path) -> Result<Secret, SecretError> {
    let unreadable = |source| SecretError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Of the open file and not of the path, so that what is judged is what is read.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(SecretError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > LONGEST_SECRET {
        return Err(SecretError::Long { path: path.to_owned() });
    }
    let trimmed = bytes.trim_ascii();
    Secret::new(trimmed).ok_or_else(|| SecretError::Short { path: path.to_owned(), length: trimmed.len() })
}

fn unreadable_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::NotFound => {
            "make one and copy it to every node: (umask 077; head -c 32 /dev/urandom | base64 > FILE); or set cluster.secret_file or CHINTHE_SECRET_FILE"
        }
        io::ErrorKind::PermissionDenied => "give the file to the user that chinthe runs as",
        _ => "cluster.secret_file or CHINTHE_SECRET_FILE must name a file",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{example, parse};
    use std::fs::{self, Permissions};

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("chinthe-secret-{name}-{}", std::process::id()));
            fs::create_dir_all(&path).expect("the temp folder takes a folder");
            Self(path)
        }

        fn file(&self, content: &[u8], mode: u32) -> PathBuf {
            let path = self.0.join("secret");
            fs::write(&path, content).expect("the folder takes a file");
            fs::set_permissions(&path, Permissions::from_mode(mode)).expect("the file is ours");
            path
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_private_file_of_32_bytes_is_a_secret_without_the_space_around_it() {
        let folder = Folder::new("good");
        let path = folder.file(b"\n  0123456789abcdef0123456789abcdef \n", 0o600);
        let secret = read_secret(&path).expect("it is long enough");
        assert_eq!(secret.as_bytes(), b"0123456789abcdef0123456789abcdef");
        assert_eq!(format!("{secret:?}"), "Secret(32 bytes)");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused() {
        let folder = Folder::new("open");
        for mode in [0o640, 0o604, 0o620, 0o601] {
            let path = folder.file(&[b'x'; 64], mode);
            let error = read_secret(&path).expect_err("others have a part in it");
            assert!(matches!(error, SecretError::Open { mode: found, .. } if found == mode));
            assert!(error.to_string().ends_with(&format!("hint: chmod 600 {}", path.display())));
        }
    }

    #[test]
    fn a_short_a_long_and_a_missing_secret_are_told_apart() {
        let folder = Folder::new("sizes");
        let short = read_secret(&folder.file(b"   mylittlesecret   \n", 0o600)).expect_err("14 bytes");
        assert!(matches!(short, SecretError::Short { length: 14, .. }));
        let long = read_secret(&folder.file(&vec![b'x'; 70_000], 0o400)).expect_err("too long");
        assert!(matches!(long, SecretError::Long { .. }));
        let missing = read_secret(&folder.0.join("none")).expect_err("no file");
        assert!(missing.to_string().contains("hint: make one and copy it to every node"));
        let directory = read_secret(&folder.0).expect_err("a folder");
        assert!(matches!(directory, SecretError::Open { .. } | SecretError::Unreadable { .. }));
    }

    #[test]
    fn the_variable_overrides_the_file() {
        let config = parse(&example(), "example.toml").expect("the example is right").0;
        assert_eq!(chosen_path(None, &config), Path::new("/etc/chinthe/secret"));
        assert_eq!(chosen_path(Some("".into()), &config), Path::new("/etc/chinthe/secret"));
        assert_eq!(chosen_path(Some("/tmp/s".into()), &config), Path::new("/tmp/s"));
    }
}
