//! A guard's process, as `chinthe guard` behaves: orders, then answers, then the clock.

use std::collections::VecDeque;
use std::time::Duration;

use chinthe::core::{Cause, Input, Mac, Time};

use crate::kernel::LEASE;

/// The lease is refreshed this often,
const REFRESH: Duration = Duration::from_millis(600);
/// or so much sooner, along with whatever else wakes the guard.
const EARLY: Duration = Duration::from_millis(250);
/// No hold is acknowledged for longer than this since the kernel has refreshed the lease.
const LEASED: Duration = LEASE.saturating_sub(Duration::from_millis(100));
/// After a takeover or any doubt the VIP is announced at these times, then once a minute.
const ANNOUNCEMENTS: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(100),
    Duration::from_secs(1),
    Duration::from_secs(5),
];
const REMINDER: Duration = Duration::from_secs(60);
/// A series of announcements is begun anew no sooner than this, but for another holder that lets go.
const AGAIN: Duration = Duration::from_secs(1);
/// A fence that is found shut so often in a row stays shut.
const LOOKS: u32 = 2;
/// An address removed by somebody else so often within the time is let go.
const REMOVALS: usize = 3;
const REMOVALS_WITHIN: Duration = Duration::from_secs(10);
/// A fence that is put up anew stays open around a hold for this much longer, at least.
const FENCE_AFTER_HOLD: Duration = Duration::from_millis(10);

/// What a daemon orders.
#[derive(Copy, Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    Hold { vip: usize, until: Time, term: u32 },
    Release { vip: usize },
    Announce { vip: usize, anew: bool },
    Probe { vip: usize, mac: Option<Mac> },
}

/// What a guard wants done, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// The fence is to be opened around a VIP: before the address, or its first words are lost.
    Arm(usize),
    /// The fence is put up anew, open around a VIP for as long as its hold and a little longer.
    Open { vip: usize, lasting: Duration },
    /// The kernel is to have the address, or to keep it for another lease.
    Add(usize),
    /// The kernel is to remove it.
    Remove(usize),
    /// Everybody is told where the VIP is.
    Announce(usize),
    /// Is the fence open around what is held?
    Look(usize),
    /// The network is asked who answers, and one machine in particular.
    Ask(usize, Option<Mac>),
    /// The daemon is told.
    Report(Input),
    /// The peers are told that the term's hold is over.
    Resign(usize, u32),
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
    /// A successor that hasn't begun its work yet: when it will, by the simulation's clock.
    pub(crate) begins_at: Option<Time>,
    /// The daemon's end of the channel is closed.
    pub(crate) orphaned: bool,
    pub(crate) orders: VecDeque<Order>,
    answers: Vec<(usize, Mac)>,
    /// Whether the link is up, and its address, if the daemon doesn't know yet.
    pub(crate) link: Option<(bool, Mac)>,
    /// The next time it wakes of itself, by the simulation's clock.
    pub(crate) wakes_at: Option<Time>,
    vips: Vec<Vip>,
    /// What the guard before this one held: up to when, and its term.
    inherits: Vec<Option<(Time, u32)>>,
    refresh_at: Time,
}

#[derive(Debug, Clone, Default)]
struct Vip {
    hold: Option<Hold>,
    /// The kernel said that the address was removed.
    removed: bool,
    removals: Vec<Time>,
}

#[derive(Debug, Clone)]
struct Hold {
    until: Time,
    term: u32,
    /// Up to when the kernel is sure to have the address.
    leased_until: Time,
    announced: usize,
    announcing_since: Time,
    announce_at: Time,
    /// So many looks in a row have found the fence shut.
    found_shut: u32,
}

impl Hold {
    fn new(until: Time, term: u32, now: Time) -> Self {
        let leased_until = now + LEASED;
        Self {
            until: until.min(leased_until),
            term,
            leased_until,
            announced: 0,
            announcing_since: now,
            announce_at: now,
            found_shut: 0,
        }
    }
}

impl Guard {
    /// A daemon's first: nothing of an earlier life is left.
    pub(crate) fn new(id: u64, vips: usize, now: Time) -> Self {
        Self {
            id,
            stopped: false,
            begins_at: None,
            orphaned: false,
            orders: VecDeque::new(),
            answers: Vec::new(),
            link: None,
            wakes_at: None,
            vips: vec![Vip::default(); vips],
            inherits: Vec::new(),
            refresh_at: now + REFRESH,
        }
    }

    /// One that goes on with what another guard held, once it has begun.
    pub(crate) fn successor(id: u64, inherits: &[Option<(Time, u32)>], begins_at: Time, now: Time) -> Self {
        let begins_at = Some(begins_at);
        Self { begins_at, ..Self { inherits: inherits.to_vec(), ..Self::new(id, inherits.len(), now) } }
    }

    /// Somebody's packet claims a VIP. Each claimant is kept once: the socket's queue is bounded, too.
    pub(crate) fn hear(&mut self, vip: usize, mac: Mac) {
        if !self.answers.contains(&(vip, mac)) {
            self.answers.push((vip, mac));
        }
    }

    /// Up to when the kernel is sure to have a VIP's address.
    pub(crate) fn leased_until(&self, vip: usize) -> Option<Time> {
        self.vips[vip].hold.as_ref().map(|hold| hold.leased_until)
    }

    /// The daemon puts a hold's end off, which the kernel keeps for both: whether it was still to come.
    pub(crate) fn put_off(&mut self, vip: usize, until: Time, now: Time) -> bool {
        let hold = self.vips[vip].hold.as_mut().filter(|hold| now < hold.until);
        hold.map(|hold| hold.until = until).is_some()
    }

    /// The kernel says that somebody has removed a VIP's address.
    pub(crate) fn hear_removed(&mut self, vip: usize) {
        self.vips[vip].removed = true;
    }

    /// One turn of its loop.
    pub(crate) fn work(&mut self, now: Time) -> Vec<Act> {
        let mut acts = Vec::new();
        if self.begins_at.take().is_some() {
            self.begin(now, &mut acts);
        }
        while let Some(order) = self.orders.pop_front() {
            self.carry_out(order, now, &mut acts);
        }
        if self.orphaned {
            for (vip, known) in self.vips.iter_mut().enumerate() {
                acts.push(Act::Remove(vip));
                acts.extend(known.hold.take().map(|hold| Act::Resign(vip, hold.term)));
            }
            acts.push(Act::End);
            return acts;
        }
        self.read_answers(&mut acts);
        for (vip, known) in self.vips.iter_mut().enumerate() {
            if let Some(hold) = known.hold.take_if(|hold| now >= hold.until) {
                let report = Act::Report(Input::LetGo { vip, cause: Cause::HoldExpired });
                acts.extend([Act::Remove(vip), report, Act::Resign(vip, hold.term)]);
            }
        }
        if now + EARLY >= self.refresh_at {
            self.refresh_at = now + REFRESH;
            for (vip, known) in self.vips.iter_mut().enumerate() {
                if let Some(hold) = &mut known.hold {
                    hold.leased_until = now + LEASED;
                    acts.extend([Act::Add(vip), Act::Look(vip)]);
                }
            }
        }
        (0..self.vips.len()).for_each(|vip| self.announce(vip, now, &mut acts));
        if let Some((up, mac)) = self.link.take() {
            let report = |vip| Act::Report(Input::Link { vip, up, mac });
            acts.extend((0..self.vips.len()).map(report));
        }
        for vip in 0..self.vips.len() {
            if std::mem::take(&mut self.vips[vip].removed) && self.vips[vip].hold.is_some() {
                self.restore(vip, now, &mut acts);
            }
        }
        acts
    }

    /// When there is something to do even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Time> {
        let holds = self.vips.iter().filter_map(|vip| vip.hold.as_ref());
        holds.map(|hold| hold.until.min(hold.announce_at).min(self.refresh_at)).min()
    }

    /// Goes on with what it inherits, and removes whatever else an earlier life has left.
    fn begin(&mut self, now: Time, acts: &mut Vec<Act>) {
        let mut open = Vec::new();
        for (vip, inherited) in std::mem::take(&mut self.inherits).into_iter().enumerate() {
            match inherited {
                Some((until, term)) if now < until => {
                    let hold = Hold::new(until, term, now);
                    let left = hold.until.since(now);
                    open.push(Act::Open { vip, lasting: left + (left / 8).max(FENCE_AFTER_HOLD) });
                    acts.extend([Act::Add(vip), Act::Report(Input::Held { vip, until: hold.until })]);
                    self.vips[vip].hold = Some(hold);
                }
                Some(_) => {
                    let report = Act::Report(Input::LetGo { vip, cause: Cause::HoldExpired });
                    acts.extend([Act::Remove(vip), report]);
                }
                None => {
                    let report = Act::Report(Input::LetGo { vip, cause: Cause::GuardLost });
                    acts.extend([Act::Remove(vip), report]);
                }
            }
        }
        acts.extend(open);
    }

    fn carry_out(&mut self, order: Order, now: Time, acts: &mut Vec<Act>) {
        match order {
            Order::Hold { vip, until, term } => match &mut self.vips[vip].hold {
                Some(hold) if now < hold.until => {
                    hold.until = hold.until.max(until.min(hold.leased_until));
                    hold.term = term;
                    acts.push(Act::Report(Input::Held { vip, until: hold.until }));
                }
                Some(_) => {}
                None if now >= until => {
                    acts.push(Act::Report(Input::LetGo { vip, cause: Cause::HoldExpired }));
                }
                None => {
                    let hold = Hold::new(until, term, now);
                    let report = Act::Report(Input::Held { vip, until: hold.until });
                    self.vips[vip].hold = Some(hold);
                    acts.extend([Act::Arm(vip), Act::Add(vip), report]);
                    self.announce(vip, now, acts);
                }
            },
            Order::Release { vip } => {
                self.vips[vip].hold = None;
                acts.extend([Act::Remove(vip), Act::Report(Input::Released { vip })]);
            }
            Order::Announce { vip, anew } => {
                let hold = self.vips[vip].hold.as_mut();
                if let Some(hold) = hold.filter(|hold| anew || now.since(hold.announcing_since) >= AGAIN) {
                    (hold.announced, hold.announcing_since, hold.announce_at) = (0, now, now);
                }
            }
            Order::Probe { vip, mac } => {
                // All answers first: the report behind them says that nothing more has come.
                self.read_answers(acts);
                acts.extend([Act::Ask(vip, mac), Act::Report(Input::AddressProbed { vip })]);
            }
        }
    }

    /// A fence that stays shut around a hold that is fed: somebody may take the VIP anew.
    pub(crate) fn looked(&mut self, vip: usize, open: bool) -> Vec<Act> {
        let Some(hold) = &mut self.vips[vip].hold else { return Vec::new() };
        hold.found_shut = if open { 0 } else { hold.found_shut + 1 };
        let shut = hold.found_shut >= LOOKS;
        let let_go = self.vips[vip].hold.take_if(|_| shut).map(|hold| {
            let report = Act::Report(Input::LetGo { vip, cause: Cause::HoldExpired });
            [Act::Remove(vip), report, Act::Resign(vip, hold.term)]
        });
        let_go.into_iter().flatten().collect()
    }

    fn read_answers(&mut self, acts: &mut Vec<Act>) {
        let heard = self.answers.drain(..).map(|(vip, mac)| Input::AddressAnswered { vip, mac, by_ip: true });
        acts.extend(heard.map(Act::Report));
    }

    fn announce(&mut self, vip: usize, now: Time, acts: &mut Vec<Act>) {
        let Some(hold) = &mut self.vips[vip].hold else { return };
        if now < hold.announce_at || now >= hold.until {
            return;
        }
        hold.announced += 1;
        hold.announce_at = match ANNOUNCEMENTS.get(hold.announced) {
            Some(after) => (hold.announcing_since + *after).max(now),
            None => now + REMINDER,
        };
        acts.push(Act::Announce(vip));
    }

    fn restore(&mut self, vip: usize, now: Time, acts: &mut Vec<Act>) {
        let known = &mut self.vips[vip];
        known.removals.retain(|at| now.since(*at) <= REMOVALS_WITHIN);
        known.removals.push(now);
        if known.removals.len() >= REMOVALS {
            known.hold = None;
            let report = Act::Report(Input::LetGo { vip, cause: Cause::AddressRemoved });
            acts.extend([Act::Remove(vip), report]);
        } else {
            acts.extend([Act::Add(vip), Act::Announce(vip)]);
        }
    }
}
