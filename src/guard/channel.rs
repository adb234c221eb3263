//! One end of the socket pair between daemon and guard.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::protocol::MAX_PACKET;

/// One end, non-blocking.
pub(super) struct Channel {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

/// What came, or why nothing did.
#[derive(Debug)]
pub(super) enum Received<T> {
    /// A message, with the file descriptor that travelled beside it.
    Message(T, Option<OwnedFd>),
    /// Nothing more for now.
    Nothing,
    /// The other end is gone.
    Closed,
}

impl Channel {
    /// Two connected ends.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::new(ours), theirs))
    }

    /// The end that a socket is.
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self { socket, buffer: vec![0; MAX_PACKET] }
    }

    /// Sends a message, at once or not at all: the other end reads promptly or is hung.
    pub(super) fn send(&self, message: &impl Serialize, beside: Option<BorrowedFd<'_>>) -> io::Result<()> {
        let bytes = postcard::to_stdvec(message).map_err(io::Error::other)?;
        if bytes.len() > MAX_PACKET {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "more than fits into one packet"));
        }
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds: Vec<BorrowedFd<'_>> = beside.into_iter().collect();
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.socket, &[io::IoSlice::new(&bytes)], &mut ancillary, flags)?;
        Ok(())
    }

    /// The next message, if one has come.
    pub(super) fn receive<T: DeserializeOwned>(&mut self) -> io::Result<Received<T>> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let mut into = [io::IoSliceMut::new(&mut self.buffer)];
        let mut receive = || recvmsg(&self.socket, &mut into, &mut ancillary, flags);
        // The other end died with unread orders, which is said before what it said itself.
        let received = receive().or_else(|error| match error {
            rustix::io::Errno::CONNRESET => receive(),
            other => Err(other),
        });
        let length = match received {
            Ok(received) if received.bytes == 0 => return Ok(Received::Closed),
            Ok(received) => received.bytes,
            Err(rustix::io::Errno::AGAIN) => return Ok(Received::Nothing),
            Err(rustix::io::Errno::CONNRESET) => return Ok(Received::Closed),
            Err(error) => return Err(error.into()),
        };
        let beside = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        let message = postcard::from_bytes(&self.buffer[..length]).map_err(io::Error::other)?;
        Ok(Received::Message(message, beside))
    }
}

/// Lets a socket be awaited. Needs a tokio runtime.
#[allow(unsafe_code)]
pub(super) fn awaitable<T: AsRawFd + AsFd + 'static>(socket: T) -> io::Result<AsyncFd<T>> {
    // SAFETY: the types that come here own one descriptor, name always the same and close it when dropped.
    unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) }.map_err(io::Error::from)
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Channel {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::{Order, Report};
    use super::*;

    #[test]
    fn messages_arrive_whole_and_in_order_and_then_the_end() {
        let (mut daemon, guard) = Channel::pair().expect("a socket pair");
        let mut guard = Channel::new(guard);
        assert!(matches!(guard.receive::<Order>(), Ok(Received::Nothing)));
        let orders = [Order::Hold { vip: 0, until: u64::MAX, term: 1 }, Order::Release { vip: 0 }];
        for order in &orders {
            daemon.send(order, None).expect("room");
        }
        for order in orders {
            assert!(matches!(guard.receive::<Order>(), Ok(Received::Message(got, None)) if got == order));
        }
        guard.send(&Report::Released { vip: 0 }, None).expect("room");
        drop(guard);
        assert!(matches!(
            daemon.receive::<Report>(),
            Ok(Received::Message(Report::Released { vip: 0 }, None))
        ));
        assert!(matches!(daemon.receive::<Report>(), Ok(Received::Closed)));
    }

    #[test]
    fn what_was_said_before_the_end_arrives_even_if_orders_were_left_unread() {
        let (mut daemon, guard) = Channel::pair().expect("a socket pair");
        let guard = Channel::new(guard);
        daemon.send(&Order::Release { vip: 0 }, None).expect("room");
        guard.send(&Report::Expired { vip: 0 }, None).expect("room");
        drop(guard);
        assert!(matches!(
            daemon.receive::<Report>(),
            Ok(Received::Message(Report::Expired { vip: 0 }, None))
        ));
        assert!(matches!(daemon.receive::<Report>(), Ok(Received::Closed)));
    }

    #[test]
    fn a_socket_travels_beside_its_order() {
        let (daemon, guard) = Channel::pair().expect("a socket pair");
        let mut guard = Channel::new(guard);
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        daemon.send(&Order::Bind { address }, Some(listener.as_fd())).expect("room");
        let Ok(Received::Message(Order::Bind { .. }, Some(fd))) = guard.receive() else { panic!() };
        assert_eq!(std::net::TcpListener::from(fd).local_addr().ok(), Some(address));
    }
}
