//! What a person would do with nft(8) to the fence's table: look for it, and delete it.

use std::io;

use chinthe::lab::Machine;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};

/// The fence's table, of the family netdev.
const TABLE: &[u8] = b"chinthe\0";
const NETDEV: u8 = 5;
/// Kinds of messages, of the part of netfilter that `nf_tables` is.
const NF_TABLES: u16 = 10;
const GET_TABLE: u16 = NF_TABLES << 8 | 1;
const DELETE_TABLE: u16 = NF_TABLES << 8 | 2;
const BATCH_BEGIN: u16 = 16;
const BATCH_END: u16 = 17;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const ACKNOWLEDGE: u16 = 4;

/// Whether the machine's kernel has the table.
pub(crate) fn has_table(machine: &Machine) -> io::Result<bool> {
    match ask(machine, message(GET_TABLE, REQUEST, true)) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Deletes the table, as `nft flush ruleset` would.
pub(crate) fn delete_table(machine: &Machine) -> io::Result<()> {
    let batch = [
        message(BATCH_BEGIN, REQUEST, false),
        message(DELETE_TABLE, REQUEST | ACKNOWLEDGE, true),
        message(BATCH_END, REQUEST, false),
    ];
    ask(machine, batch.concat())
}

fn message(kind: u16, flags: u16, names_table: bool) -> Vec<u8> {
    let mut body = if names_table { vec![NETDEV, 0, 0, 0] } else { vec![0, 0, 0, 10] };
    if names_table {
        body.extend((4 + TABLE.len() as u16).to_ne_bytes());
        body.extend(1u16.to_ne_bytes());
        body.extend(TABLE);
    }
    let mut message = Vec::from((16 + body.len() as u32).to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    message
}

/// Sends a request from the machine's network; the first answer decides.
fn ask(machine: &Machine, request: Vec<u8>) -> io::Result<()> {
    machine.space().within(move || {
        let socket = socket(AddressFamily::NETLINK, SocketType::RAW, Some(NETFILTER))?;
        sendto(&socket, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
        let mut answer = [0; 4096];
        recv(&socket, &mut answer, RecvFlags::empty())?;
        let kind = u16::from_ne_bytes([answer[4], answer[5]]);
        let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
        if kind == ERROR && code != 0 { Err(io::Error::from_raw_os_error(-code)) } else { Ok(()) }
    })
}
