//! A hold's end: a timer of the kernel's, which daemon and guard share.
//!
//! The daemon puts it off with every beacon, which wakes nobody; the guard is woken where it has failed to, and lets go.
//! Now and then the guard is asked all the same: that it lives, and that the kernel's lease goes on, only it can say.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_gettime,
    timerfd_settime,
};

use crate::core::Time;

/// A guard that said so long ago that it holds a VIP is asked again: sooner than it would refresh the lease by itself.
const ASK_AGAIN: Duration = Duration::from_millis(450);
const ZERO: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// Either handle on it. Readable once it has come.
#[derive(Debug)]
pub(super) struct End(OwnedFd);

impl End {
    /// One that has no time yet, and so has come.
    pub(super) fn new() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, flags)?))
    }

    /// The handle that a descriptor is, which travelled from the other side.
    pub(super) fn from_other_side(descriptor: OwnedFd) -> Self {
        Self(descriptor)
    }

    /// From now on it comes at `until`, whatever it was before.
    pub(super) fn set(&self, until: Time) -> io::Result<()> {
        self.replace(until).map(drop)
    }

    /// It comes at `until` instead, unless it has come already: whether that is so.
    pub(super) fn put_off(&self, until: Time) -> io::Result<bool> {
        if self.replace(until)? {
            return Ok(true);
        }
        // What is over stays over, and whoever sleeps on it is woken again.
        self.come()?;
        Ok(false)
    }

    /// It has come, from now on.
    pub(super) fn come(&self) -> io::Result<()> {
        self.set(Time::from_nanos(1))
    }

    /// How long there is to it; nothing once it has come.
    pub(super) fn left(&self) -> io::Result<Duration> {
        let left = timerfd_gettime(&self.0)?.it_value;
        Ok(Duration::new(left.tv_sec as u64, left.tv_nsec as u32))
    }

    /// Whether it was still to come.
    fn replace(&self, until: Time) -> io::Result<bool> {
        let until = Duration::from_nanos(until.as_nanos());
        let it_value = Timespec { tv_sec: until.as_secs() as i64, tv_nsec: until.subsec_nanos().into() };
        let new = Itimerspec { it_interval: ZERO, it_value };
        let old = timerfd_settime(&self.0, TimerfdTimerFlags::ABSTIME, &new)?.it_value;
        Ok((old.tv_sec, old.tv_nsec) != (0, 0))
    }
}

impl AsFd for End {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for End {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// A hold whose end the daemon may put off.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) end: End,
    term: u32,
    /// When the guard was last asked to hold it.
    asked_at: Time,
    /// Whether it has answered that.
    answered: bool,
    /// Up to when the kernel keeps the addresses, whatever becomes of the guard, by what that said last.
    leased_until: Option<Time>,
}

impl Shared {
    /// That the guard is asked for at `now`.
    pub(super) fn new(end: End, term: u32, now: Time) -> Self {
        Self { end, term, asked_at: now, answered: false, leased_until: None }
    }

    /// The guard is asked for it once more.
    pub(super) fn asked(&mut self, term: u32, now: Time) {
        (self.term, self.asked_at, self.answered) = (term, now, false);
    }

    /// It has answered; not what is asked by now, if that is of another election.
    pub(super) fn answered(&mut self, term: u32, leased_until: Time) {
        if term == self.term {
            (self.answered, self.leased_until) = (true, Some(leased_until));
        }
    }

    /// Up to when that election's hold lasts, of which the guard has `reported` something else a while ago: the daemon may
    /// have put it off since. A timer that isn't set says nothing.
    pub(super) fn until(&self, term: u32, reported: Time, now: Time) -> Time {
        let left = self.end.left().unwrap_or_default();
        if term != self.term || left.is_zero() { reported } else { now + left }
    }

    /// Up to when the kernel is known to keep the addresses.
    pub(super) fn leased_until(&self) -> Option<Time> {
        self.leased_until
    }

    /// Has it go on up to `until` without a word, if that will do; false when the guard has to be asked.
    pub(super) fn goes_on(&self, until: Time, term: u32, now: Time) -> bool {
        let lasts = self.leased_until.is_some_and(|leased| until <= leased);
        let lately = self.answered && now.since(self.asked_at) < ASK_AGAIN;
        lasts && lately && term == self.term && matches!(self.end.put_off(until), Ok(true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::guard::clock::now;

    const LONG: Duration = Duration::from_secs(1000);

    /// Both sides' handles on one.
    fn both() -> (End, End) {
        let daemon = End::new().expect("a timer");
        let guard = End::from_other_side(daemon.as_fd().try_clone_to_owned().expect("another handle"));
        (daemon, guard)
    }

    #[test]
    fn what_one_side_puts_off_the_other_sees_put_off() {
        let (daemon, guard) = both();
        assert_eq!(guard.left().ok(), Some(Duration::ZERO), "it has no time yet");
        guard.set(now() + LONG).expect("set");
        assert!(daemon.left().is_ok_and(|left| left <= LONG && left > LONG / 2));
        assert!(daemon.put_off(now() + LONG * 3).expect("set"));
        assert!(guard.left().is_ok_and(|left| left > LONG * 2));
    }

    #[test]
    fn what_is_over_stays_over() {
        let (daemon, guard) = both();
        guard.set(now()).expect("set");
        assert_eq!(guard.left().ok(), Some(Duration::ZERO));
        assert!(!daemon.put_off(now() + LONG).expect("set"));
        assert_eq!(guard.left().ok(), Some(Duration::ZERO));
        let mut polled = [rustix::event::PollFd::new(&guard, rustix::event::PollFlags::IN)];
        assert_eq!(rustix::event::poll(&mut polled, None), Ok(1), "and wakes whoever waits for it");
    }

    #[test]
    fn a_hold_goes_on_without_a_word_while_the_guard_has_lately_said_so_and_the_lease_lasts() {
        let (daemon, guard) = both();
        let asked = now();
        let (soon, late) = (asked + LONG, asked + LONG * 2);
        let mut shared = Shared::new(daemon, 7, asked);
        guard.set(soon).expect("set");
        assert!(!shared.goes_on(soon, 7, asked), "it hasn't answered");
        shared.answered(6, late);
        assert!(!shared.goes_on(soon, 7, asked), "that was of an earlier one");
        shared.answered(7, late);
        assert!(shared.goes_on(late, 7, asked + ASK_AGAIN / 2));
        assert!(!shared.goes_on(late + Duration::from_nanos(1), 7, asked), "the lease doesn't last");
        assert!(!shared.goes_on(soon, 8, asked), "that is another election's");
        assert!(!shared.goes_on(soon, 7, asked + ASK_AGAIN), "it was too long ago");
        shared.asked(7, asked + ASK_AGAIN);
        assert!(!shared.goes_on(soon, 7, asked + ASK_AGAIN), "it hasn't answered that");
        shared.answered(7, late);
        assert!(shared.goes_on(soon, 7, asked + ASK_AGAIN));
        guard.set(now()).expect("set");
        assert!(!shared.goes_on(soon, 7, asked + ASK_AGAIN), "it is over");
    }

    #[test]
    fn an_answer_read_late_says_no_less_and_no_more_than_the_timer() {
        let (daemon, guard) = both();
        let asked = now();
        let (soon, late) = (asked + LONG, asked + LONG * 2);
        let shared = Shared::new(daemon, 7, asked);
        assert_eq!(shared.until(7, soon, asked), soon, "there is no timer yet");
        guard.set(late).expect("set");
        assert!(shared.until(7, soon, asked) > soon);
        assert!(shared.until(7, late + LONG, now()) < late + LONG / 2);
        assert_eq!(shared.until(6, soon, asked), soon, "that was another election's");
    }
}
