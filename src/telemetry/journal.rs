//! systemd's journal, by its native protocol: a datagram an entry, so that fields stay fields.

use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tracing::Level;

use super::record::{Record, What};

/// Where the journal listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";

/// A record as an entry of the journal: `MESSAGE`, `PRIORITY` as syslog counts, `SYSLOG_IDENTIFIER`,
/// `CHINTHE_EVENT` for an event, and `CHINTHE_NAME` for each field.
pub(super) fn entry(record: &Record) -> Vec<u8> {
    let mut entry = Vec::new();
    let priority = match record.level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        Level::DEBUG | Level::TRACE => "7",
    };
    put(&mut entry, "MESSAGE", &record.sentence());
    put(&mut entry, "PRIORITY", priority);
    put(&mut entry, "SYSLOG_IDENTIFIER", "chinthe");
    if let What::Event(name) = &record.what {
        put(&mut entry, "CHINTHE_EVENT", name);
    }
    for (name, value) in &record.fields {
        let name = format!("CHINTHE_{}", name.to_ascii_uppercase());
        match value {
            Value::String(text) => put(&mut entry, &name, text),
            other => put(&mut entry, &name, &other.to_string()),
        }
    }
    entry
}

/// `NAME=value`, or where the value has line breaks its length in front of it, as the protocol wants it.
fn put(entry: &mut Vec<u8>, name: &str, value: &str) {
    entry.extend_from_slice(name.as_bytes());
    if value.contains('\n') {
        entry.push(b'\n');
        entry.extend_from_slice(&(value.len() as u64).to_le_bytes());
    } else {
        entry.push(b'=');
    }
    entry.extend_from_slice(value.as_bytes());
    entry.push(b'\n');
}

/// The way to the journal. Every write is an entry.
#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Journal {
    /// Fails where nothing listens at `path`.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        UnixDatagram::unbound()?.connect(path)?;
        // Sent to by its path each time: a journal that is restarted is another one.
        Ok(Self { socket: UnixDatagram::unbound()?, path: path.to_owned() })
    }
}

impl Write for Journal {
    fn write(&mut self, entry: &[u8]) -> io::Result<usize> {
        // An entry that it doesn't take is lost, and the next one is tried: there is nobody left to tell.
        let _ = self.socket.send_to(entry, &self.path);
        Ok(entry.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;

    fn record() -> Record {
        Record {
            at: jiff::Timestamp::UNIX_EPOCH,
            level: Level::WARN,
            what: What::Event("member.dead".into()),
            fields: Map::from_iter([
                ("member".to_owned(), "ha\n2".into()),
                ("term".to_owned(), Value::from(4)),
            ]),
        }
    }

    #[test]
    fn an_entry_has_its_fields_and_no_value_can_forge_another() {
        let entry = entry(&record());
        let wanted = b"MESSAGE=member.dead member=\"ha\\n2\" term=4\nPRIORITY=4\nSYSLOG_IDENTIFIER=chinthe\n\
            CHINTHE_EVENT=member.dead\nCHINTHE_MEMBER\n\x04\0\0\0\0\0\0\0ha\n2\nCHINTHE_TERM=4\n";
        assert_eq!(entry, wanted, "{}", String::from_utf8_lossy(&entry));
    }

    #[test]
    fn an_entry_is_a_datagram_and_a_journal_that_is_gone_stops_nobody() {
        let path = std::env::temp_dir().join(format!("chinthe-journal-{}", std::process::id()));
        assert!(Journal::open(&path).is_err());
        let listener = UnixDatagram::bind(&path).expect("the path is free");
        let mut journal = Journal::open(&path).expect("it listens");
        journal.write_all(&entry(&record())).expect("it never fails");
        let mut bytes = [0; 1024];
        let length = listener.recv(&mut bytes).expect("an entry");
        assert_eq!(bytes[..length], entry(&record()));
        std::fs::remove_file(&path).expect("it is there");
        journal.write_all(b"MESSAGE=lost\n").expect("it never fails");
    }
}
