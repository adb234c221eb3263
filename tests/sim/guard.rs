//! A guard's process, as `chinthe guard` behaves: orders, then answers, then the clock.

use std::collections::VecDeque;
use std::time::Duration;

use chinthe::core::{Cause, Input, Mac, Time};

/// The lease is refreshed this often.
const REFRESH: Duration = Duration::from_millis(500);
/// After a takeover or any doubt the VIP is announced at these times, then once a minute.
const ANNOUNCEMENTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
const REMINDER: Duration = Duration::from_secs(60);
/// A series of announcements is begun anew no sooner than this.
const AGAIN: Duration = Duration::from_secs(1);
/// A fence that is found shut so often in a row stays shut.
const LOOKS: u32 = 2;
/// An address removed by somebody else so often within the time is let go.
const REMOVALS: usize = 3;
const REMOVALS_WITHIN: Duration = Duration::from_secs(10);

/// What a daemon orders.
#[derive(Copy, Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Hold { until: Time, term: u32 },
    Release,
    Announce,
    Probe { mac: Option<Mac> },
}

/// What a guard wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "a few at a time, and gone at once")]
pub(crate) enum Act {
    /// The fence is to be opened: before the address, or its first words are lost.
    Arm,
    /// The kernel is to have the address, or to keep it for another lease.
    Add,
    /// The kernel is to remove it.
    Remove,
    /// Everybody is told where the VIP is.
    Announce,
    /// Is the fence open around what is held?
    Look,
    /// The network is asked who answers, and one machine in particular.
    Ask(Option<Mac>),
    /// The daemon is told.
    Report(Input),
    /// The peers are told that the term's hold is over.
    Resign(u32),
    /// The process ends.
    End,
}

/// One guard.
#[derive(Debug)]
pub(crate) struct Guard {
    /// Unlike any other guard's, on any machine.
    pub(crate) id: u64,
    /// SIGSTOP: what comes waits.
    pub(crate) stopped: bool,
    /// The daemon's end of the channel is closed.
    pub(crate) orphaned: bool,
    pub(crate) orders: VecDeque<Order>,
    pub(crate) answers: Vec<Mac>,
    /// The kernel said that the address was removed.
    pub(crate) address_removed: bool,
    pub(crate) link: Option<Input>,
    /// The next time it wakes of itself, by the simulation's clock.
    pub(crate) wakes_at: Option<Time>,
    hold: Option<Hold>,
    refresh_at: Time,
    removals: Vec<Time>,
}

#[derive(Debug)]
struct Hold {
    until: Time,
    term: u32,
    announced: usize,
    announcing_since: Time,
    announce_at: Time,
    /// So many looks in a row have found the fence shut.
    found_shut: u32,
}

impl Guard {
    pub(crate) fn new(id: u64, now: Time) -> Self {
        Self {
            id,
            stopped: false,
            orphaned: false,
            orders: VecDeque::new(),
            answers: Vec::new(),
            address_removed: false,
            link: None,
            wakes_at: None,
            hold: None,
            refresh_at: now + REFRESH,
            removals: Vec::new(),
        }
    }

    /// Somebody's packet claims the VIP. Each claimant is kept once: the socket's queue is bounded, too.
    pub(crate) fn hear(&mut self, mac: Mac) {
        if !self.answers.contains(&mac) {
            self.answers.push(mac);
        }
    }

    /// One turn of its loop.
    pub(crate) fn work(&mut self, now: Time) -> Vec<Act> {
        let mut acts = Vec::new();
        while let Some(order) = self.orders.pop_front() {
            self.carry_out(order, now, &mut acts);
        }
        if self.orphaned {
            if let Some(hold) = self.hold.take() {
                acts.extend([Act::Remove, Act::Resign(hold.term)]);
            } else {
                acts.push(Act::Remove);
            }
            acts.push(Act::End);
            return acts;
        }
        self.read_answers(&mut acts);
        if let Some(hold) = self.hold.take_if(|hold| now >= hold.until) {
            let report = Act::Report(Input::LetGo { vip: 0, cause: Cause::HoldExpired });
            acts.extend([Act::Remove, report, Act::Resign(hold.term)]);
        }
        if now >= self.refresh_at {
            self.refresh_at = now + REFRESH;
            if self.hold.is_some() {
                acts.extend([Act::Add, Act::Look]);
            }
        }
        self.announce(now, &mut acts);
        acts.extend(self.link.take().map(Act::Report));
        if std::mem::take(&mut self.address_removed) && self.hold.is_some() {
            self.restore(now, &mut acts);
        }
        acts
    }

    /// When there is something to do even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        self.hold.as_ref().map(|hold| hold.until.min(hold.announce_at).min(self.refresh_at))
    }

    fn carry_out(&mut self, order: Order, now: Time, acts: &mut Vec<Act>) {
        match order {
            Order::Hold { until, term } => match &mut self.hold {
                Some(hold) if now < hold.until => {
                    hold.until = hold.until.max(until);
                    hold.term = term;
                    acts.push(Act::Report(Input::Held { vip: 0, until }));
                }
                Some(_) => {}
                None if now >= until => {
                    acts.push(Act::Report(Input::LetGo { vip: 0, cause: Cause::HoldExpired }));
                }
                None => {
                    self.hold = Some(Hold {
                        until,
                        term,
                        announced: 0,
                        announcing_since: now,
                        announce_at: now,
                        found_shut: 0,
                    });
                    acts.extend([Act::Arm, Act::Add, Act::Report(Input::Held { vip: 0, until })]);
                    self.announce(now, acts);
                }
            },
            Order::Release => {
                self.hold = None;
                acts.extend([Act::Remove, Act::Report(Input::Released { vip: 0 })]);
            }
            Order::Announce => {
                if let Some(hold) =
                    self.hold.as_mut().filter(|hold| now.since(hold.announcing_since) >= AGAIN)
                {
                    (hold.announced, hold.announcing_since, hold.announce_at) = (0, now, now);
                }
            }
            Order::Probe { mac } => {
                // All answers first: the report behind them says that nothing more has come.
                self.read_answers(acts);
                acts.extend([Act::Ask(mac), Act::Report(Input::AddressProbed { vip: 0 })]);
            }
        }
    }

    /// A fence that stays shut around a hold that is fed: somebody may take the VIP anew.
    pub(crate) fn looked(&mut self, open: bool) -> Vec<Act> {
        let Some(hold) = &mut self.hold else { return Vec::new() };
        hold.found_shut = if open { 0 } else { hold.found_shut + 1 };
        let shut = hold.found_shut >= LOOKS;
        let let_go = self.hold.take_if(|_| shut).map(|hold| {
            let report = Act::Report(Input::LetGo { vip: 0, cause: Cause::HoldExpired });
            [Act::Remove, report, Act::Resign(hold.term)]
        });
        let_go.into_iter().flatten().collect()
    }

    fn read_answers(&mut self, acts: &mut Vec<Act>) {
        let heard = self.answers.drain(..).map(|mac| Input::AddressAnswered { vip: 0, mac, by_ip: true });
        acts.extend(heard.map(Act::Report));
    }

    fn announce(&mut self, now: Time, acts: &mut Vec<Act>) {
        let Some(hold) = &mut self.hold else { return };
        if now < hold.announce_at || now >= hold.until {
            return;
        }
        hold.announced += 1;
        hold.announce_at = match ANNOUNCEMENTS.get(hold.announced) {
            Some(after) => (hold.announcing_since + *after).max(now),
            None => now + REMINDER,
        };
        acts.push(Act::Announce);
    }

    fn restore(&mut self, now: Time, acts: &mut Vec<Act>) {
        self.removals.retain(|at| now.since(*at) <= REMOVALS_WITHIN);
        self.removals.push(now);
        if self.removals.len() >= REMOVALS {
            self.hold = None;
            acts.extend([Act::Remove, Act::Report(Input::LetGo { vip: 0, cause: Cause::AddressRemoved })]);
        } else {
            acts.extend([Act::Add, Act::Announce]);
        }
    }
}
