//! One side of a proxied connection: a socket, and what epoll has said about it since it was last used up.

use std::io;
use std::mem::MaybeUninit;
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use mio::event::Event;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::net::{RecvFlags, SendFlags};
use rustix::pipe::{SpliceFlags, splice};
use socket2::SockRef;

use super::pipes::Pipe;

/// A registered socket that doesn't block.
///
/// Edge-triggered epoll tells a thing once, so it is remembered here until a call has shown that it is over.
/// There is no deregistering: closing the socket does it, and events of the same batch that are still to come
/// are told apart by their tag.
#[derive(Debug)]
pub(super) struct Side {
    socket: TcpStream,
    /// Unique among this worker's registrations: part of the token.
    pub(super) tag: u32,
    /// A read may give something: bytes, the end or an error.
    pub(super) readable: bool,
    /// A write may be taken.
    pub(super) writable: bool,
    /// epoll says when it is writable again.
    watches_writes: bool,
    /// The other end has said its last byte; everything before it can be read.
    finished: bool,
    /// The socket has an error: a read to the end shows it.
    pub(super) broken: bool,
    /// Urgent data came, at whose mark a read stops: a short one no longer means that there is nothing more.
    pub(super) urgent: bool,
    /// A call failed: the other end is gone, or as good as gone.
    pub(super) reset: bool,
}

/// What one read gave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Read {
    /// So many bytes; `last` when the end comes right after them.
    Bytes { count: usize, last: bool },
    /// The orderly end.
    End,
    /// Nothing yet.
    Nothing,
    /// The end by an error.
    Reset,
}

impl Side {
    /// Registers a `socket` that is connected, and so can be written to: that it can be again is asked when it is
    /// full for the first time, for a socket that is watched for it wakes the worker for nothing now and then.
    pub(super) fn connected(
        socket: TcpStream,
        registry: &Registry,
        token: Token,
        tag: u32,
    ) -> io::Result<Self> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, READING)?;
        Ok(Self { writable: true, watches_writes: false, ..Self::new(socket, tag) })
    }

    /// Registers a `socket` that is connecting, which it says by being writable.
    pub(super) fn connecting(
        socket: TcpStream,
        registry: &Registry,
        token: Token,
        tag: u32,
    ) -> io::Result<Self> {
        registry.register(&mut SourceFd(&socket.as_raw_fd()), token, READING | Interest::WRITABLE)?;
        Ok(Self::new(socket, tag))
    }

    fn new(socket: TcpStream, tag: u32) -> Self {
        Self {
            socket,
            tag,
            readable: false,
            writable: false,
            watches_writes: true,
            finished: false,
            broken: false,
            urgent: false,
            reset: false,
        }
    }

    /// Has epoll say when it is writable again, if it is full and that wasn't asked yet.
    pub(super) fn watch_writes(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        if !self.writable && !self.watches_writes {
            let interest = READING | Interest::WRITABLE;
            registry.reregister(&mut SourceFd(&self.socket.as_raw_fd()), token, interest)?;
            self.watches_writes = true;
        }
        Ok(())
    }

    /// Remembers what `event` says.
    pub(super) fn note(&mut self, event: &Event) {
        self.finished |= event.is_read_closed();
        self.broken |= event.is_error();
        self.urgent |= event.is_priority();
        self.readable |= event.is_readable() || event.is_read_closed() || event.is_error();
        self.writable |= event.is_writable() || event.is_write_closed() || event.is_error();
    }

    /// Reads once. A short read has emptied the socket, so that the call that would say so is saved.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Read {
        let capacity = buffer.len();
        match retry(|| Ok(rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty())?.1)) {
            Ok(0) => Read::End,
            Ok(count) => {
                let emptied = count < capacity && !self.urgent;
                // An error may stand behind what was read: only another read tells it from an orderly end.
                let last = emptied && self.finished && !self.broken;
                self.readable = !emptied || self.finished || self.broken;
                Read::Bytes { count, last }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Read::Nothing
            }
            Err(_) => {
                self.reset = true;
                Read::Reset
            }
        }
    }

    /// Moves up to `most` bytes into an empty pipe. Unlike a read, a short one need not have emptied the socket.
    pub(super) fn splice_into(&mut self, pipe: &Pipe, most: usize) -> Read {
        match retry(|| Ok(splice(&self.socket, None, &pipe.entrance, None, most, SPLICE)?)) {
            Ok(0) => Read::End,
            Ok(count) => Read::Bytes { count, last: false },
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.readable = false;
                Read::Nothing
            }
            Err(_) => {
                self.reset = true;
                Read::Reset
            }
        }
    }

    /// Moves bytes, of which there are `count`, out of a pipe, and returns how many were taken.
    pub(super) fn splice_from(&mut self, pipe: &Pipe, count: usize) -> usize {
        let mut taken = 0;
        while taken < count {
            match retry(|| Ok(splice(&pipe.exit, None, &self.socket, None, count - taken, SPLICE)?)) {
                Ok(0) => break,
                Ok(more) => taken += more,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.writable = false;
                    break;
                }
                Err(_) => {
                    self.was_reset();
                    break;
                }
            }
        }
        taken
    }

    /// Writes once and returns how much was taken; less than all means that the socket is full.
    ///
    /// With `more`, the kernel waits for what comes next (the FIN) to send it in one segment.
    pub(super) fn write(&mut self, bytes: &[u8], more: bool) -> usize {
        let flags = if more { SendFlags::NOSIGNAL | SendFlags::MORE } else { SendFlags::NOSIGNAL };
        match retry(|| Ok(rustix::net::send(&self.socket, bytes, flags)?)) {
            Ok(count) => {
                self.writable = count == bytes.len();
                count
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.writable = false;
                0
            }
            Err(_) => {
                self.was_reset();
                0
            }
        }
    }

    /// A write has failed for good.
    fn was_reset(&mut self) {
        self.reset = true;
        // Its last words may be waiting, and the end behind them.
        self.readable = true;
    }

    /// Tells the other end that no more bytes will come.
    pub(super) fn finish(&mut self) {
        // Fails only when the other end is gone, which the next read says better.
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// Ends the connection so that the other end sees an orderly end, whatever it was sending meanwhile.
    pub(super) fn farewell(self) {
        farewell(&self.socket);
    }

    /// Passes a reset on: at once if everything written has arrived, else as an orderly end behind it, for a
    /// reset would destroy what the kernel still holds.
    pub(super) fn pass_reset(self) {
        match unacknowledged(&self.socket) {
            Ok(0) => {
                // Can't fail on an open socket; if it did, the close would be an orderly one.
                let _ = SockRef::from(&self.socket).set_linger(Some(Duration::ZERO));
            }
            Ok(_) | Err(_) => farewell(&self.socket),
        }
    }

    /// The socket, for what concerns an attempt to connect.
    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }
}

/// Says goodbye on a socket that is about to be dropped: an orderly end is what the peer sees.
///
/// The FIN goes first: closing a socket with unread data sends a reset, and a peer that has seen the end before
/// the reset doesn't take the reset for the end. Unread data is thrown away for the same reason, up to a bound.
pub(super) fn farewell(socket: &TcpStream) {
    let _ = socket.shutdown(Shutdown::Write);
    let mut discarded = [MaybeUninit::<u8>::uninit(); 4096];
    for _ in 0..FAREWELL_READS {
        match rustix::net::recv(socket.as_fd(), &mut discarded[..], RecvFlags::empty()) {
            Ok((_, count)) if count > 0 => {}
            Ok(_) | Err(_) => break,
        }
    }
}

/// Calls until no signal comes between.
fn retry<T>(mut call: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            outcome => return outcome,
        }
    }
}

/// How many written bytes the other end has not acknowledged yet.
#[allow(unsafe_code)]
fn unacknowledged(socket: &TcpStream) -> io::Result<libc::c_int> {
    let mut bytes: libc::c_int = 0;
    // SAFETY: `TIOCOUTQ` (on a socket: `SIOCOUTQ`) writes one `int` through the pointer, which is valid for it;
    // the descriptor is open while `socket` is borrowed.
    let outcome = unsafe { libc::ioctl(socket.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    if outcome == 0 { Ok(bytes) } else { Err(io::Error::last_os_error()) }
}

/// What every socket is watched for.
const READING: Interest = Interest::READABLE.add(Interest::PRIORITY);

/// Neither end waits: what can't be moved at once is moved when epoll says so.
const SPLICE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// A request, not an upload: what a rejected client may have said is read away before its socket is closed.
const FAREWELL_READS: usize = 16;
