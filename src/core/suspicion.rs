//! Proof that a VIP is free: nobody speaks for it, and its address no longer answers.
//!
//! A burst of probes, sealed ones to the suspected holder and ARP requests for the address. Only probes that
//! the guard has confirmed count, and it reads all answers before it confirms the next one: a guard that
//! wasn't scheduled can't make an answer that did arrive count as silence.

use std::time::Duration;

use super::message::MemberId;
use super::time::Time;

/// Unanswered probes that are enough when nothing gets lost.
const ENOUGH: u32 = 5;
/// After this many probes without an outcome there is no hurry any more.
const HURRIED: u32 = 100;
/// The distance of probes that aren't in a hurry.
const UNHURRIED_GAP: Duration = Duration::from_millis(20);
/// Lets the candidate before this one say that it has taken the VIP.
const RANK_SLACK: Duration = Duration::from_millis(10);
/// How long an address may answer after everybody who knew it died: the lease, and the kernel's slack.
const LEFTOVER: Duration = Duration::from_millis(3250);
/// A probe that the guard hasn't confirmed within this time is asked for again.
const CONFIRMATION: Duration = Duration::from_millis(50);

/// One suspicion, from the first doubt to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspicion {
    holder: Option<MemberId>,
    since: Time,
    gap: Duration,
    next_probe_at: Time,
    asked: u32,
    /// Probes confirmed since the last answer; the latest of them may still be answered.
    confirmed: u32,
    /// From when on enough have gone unanswered.
    proven_at: Option<Time>,
    /// When an address that nobody is known to hold was first heard answering.
    stranger_since: Option<Time>,
}

/// What a suspicion asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing, until the next deadline.
    Wait,
    /// One more probe, sealed and by ARP.
    Probe,
    /// The VIP is free, and it is this node's turn.
    Take,
}

impl Suspicion {
    /// Starts to doubt `holder`, or to look whether a VIP without a known holder is free.
    pub(super) fn new(holder: Option<MemberId>, interval: Duration, now: Time) -> Self {
        let gap = Duration::from_millis(if interval <= Duration::from_millis(20) { 2 } else { 5 });
        Self {
            holder,
            since: now,
            gap,
            next_probe_at: now,
            asked: 0,
            confirmed: 0,
            proven_at: None,
            stranger_since: None,
        }
    }

    /// Who is suspected.
    pub(super) fn holder(&self) -> Option<MemberId> {
        self.holder
    }

    /// Since when.
    pub(super) fn since(&self) -> Time {
        self.since
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self, rank: u32) -> Time {
        self.proven_at.map_or(self.next_probe_at, |at| self.next_probe_at.min(at + self.rank_delay(rank)))
    }

    /// What is to be done now by the candidate with `rank` better ones before it.
    pub(super) fn step(&mut self, rank: u32, now: Time) -> Step {
        if self.proven_at.is_some_and(|at| now >= at + self.rank_delay(rank)) {
            return Step::Take;
        }
        if now < self.next_probe_at {
            return Step::Wait;
        }
        self.asked = self.asked.saturating_add(1);
        // The confirmation sets the next probe; this is for a guard that doesn't answer.
        self.next_probe_at = now + CONFIRMATION;
        Step::Probe
    }

    /// The guard has read all answers so far and sent one more probe.
    pub(super) fn confirmed(&mut self, now: Time) {
        self.confirmed += 1;
        self.next_probe_at = now + if self.asked > HURRIED { UNHURRIED_GAP } else { self.gap };
        if self.confirmed > ENOUGH && self.proven_at.is_none() {
            self.proven_at = Some(now);
        }
    }

    /// Somebody answered for the address; `known` when it was the holder or another member, `by_ip` when the
    /// address has answered by IP as well. True when that is a conflict: no member is responsible for it.
    pub(super) fn answered(&mut self, known: bool, by_ip: bool, now: Time) -> bool {
        if known {
            self.forget_silence();
            return false;
        }
        // A claim alone never blocks for good, and not at all where the holder's own address is known. An address
        // that goes on to answer by IP is in use, be it by a cluster whose secret isn't ours.
        let since = *self.stranger_since.get_or_insert(now);
        if self.holder.is_none() && (by_ip || now.since(since) < LEFTOVER) {
            self.forget_silence();
        }
        true
    }

    /// This node was late itself: what it didn't hear meanwhile proves nothing.
    pub(super) fn start_afresh(&mut self, now: Time) {
        self.forget_silence();
        self.next_probe_at = now;
    }

    fn forget_silence(&mut self) {
        self.confirmed = 0;
        self.proven_at = None;
    }

    fn rank_delay(&self, rank: u32) -> Duration {
        (self.gap * ENOUGH + RANK_SLACK) * rank
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(100);

    /// Steps through a suspicion whose guard confirms at once; the time it took to be taken, if it was.
    fn taken_after(
        rank: u32,
        answers: impl FnMut(u32) -> Option<bool>,
        holder: Option<MemberId>,
    ) -> Option<Duration> {
        taken_from(rank, answers, false, holder)
    }

    fn taken_from(
        rank: u32,
        mut answers: impl FnMut(u32) -> Option<bool>,
        by_ip: bool,
        holder: Option<MemberId>,
    ) -> Option<Duration> {
        let start = Time::from_nanos(1_000_000_000);
        let (mut suspicion, mut now, mut probes) = (Suspicion::new(holder, INTERVAL, start), start, 0);
        while now.since(start) < Duration::from_secs(10) {
            match suspicion.step(rank, now) {
                Step::Take => return Some(now.since(start)),
                Step::Probe => {
                    if let Some(known) = answers(probes) {
                        suspicion.answered(known, by_ip, now);
                    }
                    probes += 1;
                    suspicion.confirmed(now);
                }
                Step::Wait => now = suspicion.deadline(rank),
            }
        }
        None
    }

    #[test]
    fn a_silent_address_is_free_after_five_probes() {
        assert_eq!(taken_after(0, |_| None, Some(MemberId(1))), Some(Duration::from_millis(25)));
    }

    #[test]
    fn each_rank_waits_a_burst_longer() {
        assert_eq!(taken_after(1, |_| None, Some(MemberId(1))), Some(Duration::from_millis(60)));
        assert_eq!(taken_after(2, |_| None, Some(MemberId(1))), Some(Duration::from_millis(95)));
    }

    #[test]
    fn an_address_that_its_holder_answers_for_is_never_taken() {
        assert_eq!(taken_after(0, |_| Some(true), Some(MemberId(1))), None);
        // One answer in six is enough to know that it is there.
        assert_eq!(taken_after(0, |n| (n % 5 == 4).then_some(true), Some(MemberId(1))), None);
    }

    #[test]
    fn the_moment_it_stops_answering_it_is_taken() {
        let taken = taken_after(0, |n| (n < 10).then_some(true), Some(MemberId(1)));
        assert_eq!(taken, Some(Duration::from_millis(9 * 5 + 25)));
    }

    #[test]
    fn a_stranger_does_not_block_where_the_holder_is_known() {
        assert_eq!(taken_after(0, |_| Some(false), Some(MemberId(1))), Some(Duration::from_millis(25)));
    }

    #[test]
    fn a_stranger_delays_a_vacant_address_but_never_forbids_it() {
        let taken = taken_after(0, |_| Some(false), None).expect("it is taken in the end");
        assert!(taken >= LEFTOVER && taken < LEFTOVER + Duration::from_millis(200), "{taken:?}");
    }

    #[test]
    fn an_address_that_answers_by_ip_is_in_use_whoever_has_it() {
        assert_eq!(taken_from(0, |_| Some(false), true, None), None);
    }

    #[test]
    fn probes_that_the_guard_does_not_confirm_prove_nothing() {
        let start = Time::ZERO;
        let mut suspicion = Suspicion::new(None, INTERVAL, start);
        let mut now = start;
        for _ in 0..100 {
            assert_ne!(suspicion.step(0, now), Step::Take);
            now = suspicion.deadline(0);
        }
    }
}
