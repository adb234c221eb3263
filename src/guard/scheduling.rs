//! Before everything else on the machine, where that is allowed: a late guard or driver is a lost VIP.

use std::io;

/// What the driver runs at; a little below interrupt threads' usual 50, and above everything ordinary.
pub const DRIVER: i32 = 10;
/// The guard goes before the driver: a hold's end can't wait for whoever feeds it.
pub const GUARD: i32 = 11;

/// Raises the calling thread to real-time round robin. Fails without `CAP_SYS_NICE`, which is no harm.
#[allow(unsafe_code)]
pub fn raise(priority: i32) -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: the calling thread's own scheduling, by a parameter that outlives the call. What it starts from
    // then on is ordinary again.
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    if unsafe { libc::sched_setscheduler(0, policy, &raw const parameter) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Has the allocator keep what is freed, up to this much an arena, for what is allocated next.
#[cfg(target_env = "gnu")]
const KEPT: libc::c_int = 1024 * 1024;

/// Has the allocator keep what is freed for what is allocated next. A thread that wakes a few times a second, works on
/// some 100 KiB and sleeps again would otherwise give them back to the kernel and have them faulted in each time. To be
/// called before there are other threads.
#[allow(unsafe_code)]
pub fn keep_freed_memory() {
    // SAFETY: two numbers of the allocator's own, which takes them under its lock; it would find the second one by itself,
    // but for the first. Other C libraries have no such habit.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, KEPT);
    }
}

/// Keeps what the process has in memory there, so that it is never waited for a disk. Only where memory may
/// be locked without limit: with one, a later allocation would fail.
#[allow(unsafe_code)]
pub fn lock_memory() -> io::Result<()> {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Memlock);
    if limit.current.is_some() {
        return Err(io::Error::other("RLIMIT_MEMLOCK is set"));
    }
    // SAFETY: no memory is accessed.
    if unsafe { libc::mlockall(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
