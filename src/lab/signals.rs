//! Signals as something to wait for, in the two processes that have no runtime: the outer one and pid 1.

use std::io;
use std::mem::MaybeUninit;

use rustix::process::Signal;

/// What ends a lab in an orderly way: asked for, from the keyboard, or because the terminal is gone.
const END: [libc::c_int; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGHUP];

/// Requests to end and news of children, blocked and waited for.
pub(super) struct Signals {
    awaited: libc::sigset_t,
    before: libc::sigset_t,
}

impl Signals {
    /// Blocks them in this thread and in all that is forked from it.
    #[allow(unsafe_code)]
    pub(super) fn block() -> io::Result<Self> {
        let mut awaited = MaybeUninit::uninit();
        let mut before = MaybeUninit::uninit();
        // SAFETY: sigemptyset initialises the set before anything reads it; pthread_sigmask fills `before` when it
        // returns 0, and neither set is used otherwise.
        unsafe {
            libc::sigemptyset(awaited.as_mut_ptr());
            for signal in END.into_iter().chain([libc::SIGCHLD]) {
                libc::sigaddset(awaited.as_mut_ptr(), signal);
            }
            match libc::pthread_sigmask(libc::SIG_BLOCK, awaited.as_ptr(), before.as_mut_ptr()) {
                0 => Ok(Self { awaited: awaited.assume_init(), before: before.assume_init() }),
                error => Err(io::Error::from_raw_os_error(error)),
            }
        }
    }

    /// Undoes [`block`](Self::block): what the lab and the programs it starts should inherit.
    #[allow(unsafe_code)]
    pub(super) fn restore(&self) {
        // SAFETY: the set was filled by pthread_sigmask. It fails for an unknown `how` alone.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }

    /// Waits for the next one: `TERM` for every request to end, `None` for news of a child.
    #[allow(unsafe_code)]
    pub(super) fn wait(&self) -> Option<Signal> {
        let mut signal = 0;
        // SAFETY: both pointers are to live values of the right type.
        let failed = unsafe { libc::sigwait(&raw const self.awaited, &raw mut signal) } != 0;
        (!failed && END.contains(&signal)).then_some(Signal::TERM)
    }
}
