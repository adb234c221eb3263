//! As much of an HTTP client as asking a daemon takes: one GET over its Unix socket.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// For each read and write; a daemon answers from memory.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest answer that is read: many times the metrics of a big cluster.
const LONGEST_ANSWER: u64 = 16 * 1024 * 1024;

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

/// Asks for `path` at the server that listens on `socket`.
pub(super) fn get(socket: &Path, path: &str) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // 1.0, so that the answer ends with the connection and comes in one piece.
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(LONGEST_ANSWER).read_to_end(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not an HTTP answer"))
}

fn parse(answer: &[u8]) -> Option<Answer> {
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let body = String::from_utf8(answer[end + 4..].to_vec()).ok()?;
    let mut words = head.lines().next()?.split(' ');
    let status = words.next()?.starts_with("HTTP/1.").then(|| words.next())??.parse().ok()?;
    Some(Answer { status, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_its_status_and_what_follows_the_head() {
        let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\nA: b\r\n\r\n{}\r\n\r\n").unwrap();
        assert_eq!(answer, Answer { status: 503, body: "{}\r\n\r\n".into() });
    }

    #[test]
    fn what_is_no_answer_is_no_answer() {
        for bytes in
            [&b""[..], b"HTTP/1.1 200 OK\r\n", b"\r\n\r\n", b"FTP/1.1 200 OK\r\n\r\n", b"HTTP/1.0 x\r\n\r\n"]
        {
            assert_eq!(parse(bytes), None, "{bytes:?}");
        }
    }
}
