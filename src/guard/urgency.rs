//! What comes before everything else on a machine.

use std::io;

/// Among the real-time priorities a low one: others may have better reasons.
const PRIORITY: i32 = 10;

/// Puts the calling thread before everything that isn't real-time, where that is allowed: a late driver, or a late
/// guard, is a lost VIP. The error says why it isn't; nothing has changed then.
#[allow(unsafe_code)]
pub fn raise() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: the calling thread's own scheduling, by a parameter that outlives the call.
    match unsafe { libc::sched_setscheduler(0, libc::SCHED_RR, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
