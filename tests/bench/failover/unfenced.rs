//! A kernel without the hooks that a fence is made of, as a program on it sees it: sockets of the firewall's netlink
//! family can't be had.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Has `command` run, and all that it starts, on such a kernel.
#[allow(unsafe_code)]
pub(crate) fn arrange(command: &mut Command) {
    // SAFETY: between fork and exec only two prctl(2) calls are made; nothing is allocated or locked.
    unsafe { command.pre_exec(|| refuse_sockets(&FILTER)) };
}

/// `socket(AF_NETLINK, …, NETLINK_NETFILTER)` fails with EPROTONOSUPPORT; everything else passes.
const FILTER: [libc::sock_filter; 8] = [
    load(NUMBER),
    unless_equal(libc::SYS_socket as u32, 5),
    load(FIRST_ARGUMENT),
    unless_equal(libc::AF_NETLINK as u32, 3),
    load(THIRD_ARGUMENT),
    unless_equal(libc::NETLINK_NETFILTER as u32, 1),
    end(libc::SECCOMP_RET_ERRNO | libc::EPROTONOSUPPORT as u32),
    end(libc::SECCOMP_RET_ALLOW),
];

// Where they are in `struct seccomp_data`: a number, an architecture, an instruction pointer, then eight bytes for
// each argument, of which the lower four count here.
const NUMBER: u32 = 0;
const FIRST_ARGUMENT: u32 = 16 + LOWER_HALF;
const THIRD_ARGUMENT: u32 = 32 + LOWER_HALF;
const LOWER_HALF: u32 = if cfg!(target_endian = "big") { 4 } else { 0 };

const fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0)
}

/// Goes on when what was loaded is `value`, else passes over so many instructions.
const fn unless_equal(value: u32, over: u8) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, over)
}

const fn end(verdict: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, verdict, 0)
}

const fn instruction(code: u32, k: u32, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt: 0, jf, k }
}

#[allow(unsafe_code)]
fn refuse_sockets(filter: &[libc::sock_filter; 8]) -> io::Result<()> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    let done = |status: libc::c_int| if status == 0 { Ok(()) } else { Err(io::Error::last_os_error()) };
    // SAFETY: the filter outlives the call, which copies it and writes nothing; `len` is its length.
    unsafe {
        done(libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))?;
        done(libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program))
    }
}
