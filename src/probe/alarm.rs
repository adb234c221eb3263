//! A clock that wakes its thread once for each moment.
//!
//! tokio's wheel keeps what is more than 64 ms away in slots of that width and wakes at a slot's beginning to sort out
//! what is in it, so that a try every 100 ms is two wake-ups: as many again as there have to be.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::Instant;

/// One timer of the kernel's, for all that wait.
pub(super) struct Alarm {
    timer: AsyncFd<OwnedFd>,
    /// Who waits for which moment. Whoever stops waiting is forgotten when it has come.
    moments: Mutex<BTreeMap<Instant, Arc<Notify>>>,
}

impl Alarm {
    /// Needs a runtime with I/O.
    #[allow(unsafe_code)]
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
        let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
        // SAFETY: an owned descriptor is always the same one, and closed when dropped.
        let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
        Ok(Self { timer, moments: Mutex::default() })
    }

    /// Waits for a moment, if somebody [runs](Self::run) the alarm.
    pub(super) async fn reached(&self, moment: Instant) {
        let rung = {
            let mut moments = self.moments();
            let first = moments.first_key_value().is_none_or(|(first, _)| moment < *first);
            let bell = Arc::clone(moments.entry(moment).or_default());
            if first {
                self.set(moment);
            }
            // From here on it hears the bell, polled or not.
            bell.notified_owned()
        };
        rung.await;
    }

    /// Rings at every moment that somebody waits for. Never ends.
    pub(super) async fn run(&self) {
        loop {
            // An error is the runtime's end, and this task's with it.
            let Ok(mut ready) = self.timer.readable().await else { return std::future::pending().await };
            // How often it has expired is of no interest, nor that it was set anew meanwhile.
            let _ = rustix::io::read(self.timer.get_ref(), &mut [0; 8]);
            ready.clear_ready();
            let mut moments = self.moments();
            while let Some(first) = moments.first_entry() {
                if *first.key() > Instant::now() {
                    self.set(*first.key());
                    break;
                }
                first.remove().notify_waiters();
            }
        }
    }

    fn set(&self, moment: Instant) {
        // Zero would mean never.
        let left = moment.saturating_duration_since(Instant::now()).max(Duration::from_nanos(1));
        let value = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        // It can't fail for such a time and a timer's descriptor.
        let _ = timerfd_settime(self.timer.get_ref(), TimerfdTimerFlags::empty(), &once);
    }

    fn moments(&self) -> MutexGuard<'_, BTreeMap<Instant, Arc<Notify>>> {
        self.moments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(5);

    async fn running(waits: impl Future<Output = ()>, alarm: &Alarm) {
        tokio::select! {
            () = alarm.run() => {}
            () = waits => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("it never rang"),
        }
    }

    #[tokio::test]
    async fn everybody_is_woken_when_their_moment_has_come_and_not_before() {
        let alarm = Alarm::new().unwrap();
        let begun = Instant::now();
        // The latest first: the timer is set anew for each that is earlier.
        let waits = [4, 2, 2, 1, 0].map(|times| {
            let (alarm, moment) = (&alarm, begun + SOON * times);
            async move {
                alarm.reached(moment).await;
                assert!(Instant::now() >= moment);
            }
        });
        running(futures_util::future::join_all(waits).map(drop), &alarm).await;
    }

    #[tokio::test]
    async fn whoever_stops_waiting_leaves_nothing_behind() {
        let alarm = Alarm::new().unwrap();
        let begun = Instant::now();
        assert!(timeout(Duration::ZERO, alarm.reached(begun + SOON)).await.is_err());
        running(alarm.reached(begun + SOON * 2), &alarm).await;
        assert!(alarm.moments().is_empty());
    }
}
