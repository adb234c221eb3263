//! The two netlink sockets of the fence: one for requests, one for news of what others do to it.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, getsockname, recv, sendto,
    socket_with,
};

use super::message;
use super::table::TABLE;

/// The multicast group that tells of every change to `nf_tables`, as a mask.
const NFNLGRP_NFTABLES: u32 = 1 << 6;
/// The kernel fills no packet beyond it.
const MAX_PACKET: usize = 32 * 1024;

/// For requests: the kernel has carried one out, or refused it, by the time that it has been sent.
pub(super) struct Requests {
    socket: OwnedFd,
    port: u32,
}

impl Requests {
    pub(super) fn open() -> io::Result<Self> {
        let socket = open(0)?;
        let port = SocketAddrNetlink::try_from(getsockname(&socket)?)?.pid();
        Ok(Self { socket, port })
    }

    /// What the kernel calls whoever asks here.
    pub(super) fn port(&self) -> u32 {
        self.port
    }

    /// Has a request carried out, a batch of them or a question. May wait for others' changes to `nf_tables`, which the kernel carries out one by one.
    pub(super) fn carry_out(&self, request: &[u8]) -> io::Result<()> {
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(&self.socket, request, SendFlags::empty(), &kernel)?;
        let mut packet = vec![0; MAX_PACKET];
        let mut done = false;
        let mut refusal = None;
        // All that it has to say is there already.
        loop {
            match recv(&self.socket, &mut *packet, RecvFlags::DONTWAIT) {
                Ok((length, _)) => match message::verdict(&packet[..length.min(MAX_PACKET)]) {
                    Ok(acknowledged) => done |= acknowledged,
                    Err(error) => refusal = refusal.or(Some(error)),
                },
                Err(rustix::io::Errno::AGAIN) => break,
                Err(error) => return Err(error.into()),
            }
        }
        match refusal {
            Some(error) => Err(error),
            None if done => Ok(()),
            None => Err(io::Error::other("the kernel didn't answer")),
        }
    }
}

/// For news.
pub(super) struct News(OwnedFd);

impl News {
    pub(super) fn open() -> io::Result<Self> {
        open(NFNLGRP_NFTABLES).map(Self)
    }

    /// Reads what has come: whether anybody but `port` has taken something from the fence.
    pub(super) fn tells_of_a_loss(&self, port: u32) -> bool {
        let mut packet = vec![0; MAX_PACKET];
        let mut lost = false;
        loop {
            match recv(&self.0, &mut *packet, RecvFlags::DONTWAIT) {
                Ok((length, _)) => {
                    lost |= message::tells_of_a_loss(&packet[..length.min(MAX_PACKET)], TABLE, port);
                }
                Err(rustix::io::Errno::INTR) => {}
                // More news than fit: anything may have happened.
                Err(rustix::io::Errno::NOBUFS) => lost = true,
                Err(_would_block) => return lost,
            }
        }
    }
}

fn open(groups: u32) -> io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, Some(NETFILTER))?;
    bind(&socket, &SocketAddrNetlink::new(0, groups))?;
    Ok(socket)
}

impl AsFd for News {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for News {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
