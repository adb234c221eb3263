//! The token that a change over TCP has to carry.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Fewer bytes could be guessed over the network.
pub const SHORTEST_TOKEN: usize = 16;
/// More doesn't fit into a request's head beside the rest.
pub const LONGEST_TOKEN: usize = 1024;
/// Others mustn't read or write it; its group may read, so that operators can be one.
const FORBIDDEN_MODE: u32 = 0o027;

/// What changes over TCP are allowed by. Only its hash is kept, and compared: that takes the same time however
/// much of a guess is right, and whatever its length.
#[derive(Debug, Clone)]
pub struct Token(blake3::Hash);

/// Why a token can't be used; nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It can't be read.
    #[error("the token `{}` can't be read: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Others may use it.
    #[error("the token `{}` is open to others (mode {mode:03o})", .path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It isn't what a token is.
    #[error(
        "the token `{}` isn't {SHORTEST_TOKEN} to {LONGEST_TOKEN} printable characters without a space",
        .0.display()
    )]
    Unfit(PathBuf),
}

impl TokenError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Unreadable { .. } => {
                "write one, or leave `admin.token_file` out: changes then come by the socket alone"
            }
            Self::Open { .. } => "`chmod 640` it: its owner and its group may read it",
            Self::Unfit(_) => "write a fresh one: `head -c 32 /dev/urandom | base64`",
        }
    }
}

impl Token {
    /// Whether `presented` is it.
    pub(super) fn is(&self, presented: &[u8]) -> bool {
        // The comparison of hashes takes constant time.
        blake3::hash(presented) == self.0
    }
}

/// The token in the file at `path`, for a server that asks for it.
pub fn read_token(path: &Path) -> Result<Token, TokenError> {
    let text = read_token_text(path)?;
    Ok(Token(blake3::hash(text.as_bytes())))
}

/// The token in the file at `path` in clear, for a client that shows it; without the white space around it.
pub fn read_token_text(path: &Path) -> Result<String, TokenError> {
    let unreadable = |source| TokenError::Unreadable { path: path.to_owned(), source };
    let file = File::open(path).map_err(unreadable)?;
    // Of the open file and not of the path, so that what is judged is what is read.
    let mode = file.metadata().map_err(unreadable)?.permissions().mode() & 0o777;
    if mode & FORBIDDEN_MODE != 0 {
        return Err(TokenError::Open { path: path.to_owned(), mode });
    }
    let mut bytes = Vec::new();
    file.take(2 * LONGEST_TOKEN as u64).read_to_end(&mut bytes).map_err(unreadable)?;
    let token = bytes.trim_ascii();
    let fits = (SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len());
    match std::str::from_utf8(token) {
        Ok(text) if fits && text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text.to_owned()),
        Ok(_) | Err(_) => Err(TokenError::Unfit(path.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const TOKEN: &str = "0123456789abcdef0123456789abcdef";

    /// What becomes of a file with this text and this mode.
    fn read(name: &str, text: &str, mode: u32) -> Result<Token, TokenError> {
        let path = std::env::temp_dir().join(format!("chinthe-token-{name}-{}", std::process::id()));
        fs::write(&path, text).expect("it can be written");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        let token = read_token(&path);
        fs::remove_file(&path).expect("it is there");
        token
    }

    #[test]
    fn a_token_is_what_the_file_holds_without_the_space_around_it() {
        let token = read("plain", &format!(" {TOKEN}\n"), 0o640).expect("it can be used");
        assert!(token.is(TOKEN.as_bytes()));
        for other in ["", "0", &TOKEN[1..], &format!("{TOKEN}0"), &format!("{TOKEN}\n")] {
            assert!(!token.is(other.as_bytes()), "{other:?}");
        }
    }

    #[test]
    fn a_token_doesnt_show_itself() {
        let token = read("quiet", TOKEN, 0o600).expect("it can be used");
        assert!(!format!("{token:?}").contains(&TOKEN[..8]));
    }

    #[test]
    fn a_token_that_others_can_read_is_refused() {
        for mode in [0o644, 0o620, 0o602] {
            let error = read("open", TOKEN, mode).expect_err("others could use it");
            assert!(matches!(error, TokenError::Open { .. }), "{error}");
        }
    }

    #[test]
    fn what_could_be_guessed_or_cant_be_sent_is_refused() {
        for text in ["", "\n", "short", "with a space in between", "tschüß-tschüß-tschüß", &"x".repeat(1025)]
        {
            let error = read("unfit", text, 0o600).expect_err("it is unfit");
            assert!(matches!(error, TokenError::Unfit(_)), "{text:?}: {error}");
        }
        let missing = read_token(Path::new("/nonexistent/token")).expect_err("it isn't there");
        assert!(missing.hint().contains("admin.token_file"), "{missing}");
    }
}
