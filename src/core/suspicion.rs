//! Proof that a VIP is free: nobody speaks for it, and its address no longer answers.
//!
//! A burst of probes, sealed ones to the suspected holder and ARP requests for the address; every fourth one also
//! asks the other members whom they hear. Only probes that the guard has confirmed count, and it reads all answers
//! before it confirms the next one: a guard that wasn't scheduled can't make an answer that did arrive count as
//! silence. Losses ask for more probes, never for longer silence before the first.
//!
//! Where addresses can't be asked (`probe = "none"`), time stands in for their silence: whatever its holder's
//! kernel still had when it last may have lived is gone by then.

use std::time::Duration;

use super::contract::Proof;
use super::loss::{MOST, enough};
use super::message::{Mac, MemberId};
use super::time::Time;

/// So many times the longest run of unanswered probes that an answer ended isn't chance any more.
const RUNS: u32 = 4;
/// After this many probes without an outcome there is no hurry any more.
const HURRIED: u32 = 200;
/// The distance of probes that aren't in a hurry.
const UNHURRIED_GAP: Duration = Duration::from_millis(20);
/// Lets the candidate before this one say that it has taken the VIP.
const RANK_SLACK: Duration = Duration::from_millis(10);
/// How long an address may answer after everybody who knew it died: the lease, and the kernel's slack.
const LEFTOVER: Duration = Duration::from_millis(3250);
/// A probe that the guard hasn't confirmed within this time is asked for again.
const CONFIRMATION: Duration = Duration::from_millis(50);
/// Intervals up to this are short: their probes follow each other faster.
const SHORT_INTERVAL: Duration = Duration::from_millis(20);

/// One suspicion, from the first doubt to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Suspicion {
    holder: Option<MemberId>,
    proof: Proof,
    since: Time,
    gap: Duration,
    next_probe_at: Time,
    asked: u32,
    /// Probes confirmed since the last answer; the latest of them may still be answered.
    confirmed: u32,
    /// When the last one that counts was.
    confirmed_at: Option<Time>,
    /// The longest run of probes before an answer: so many got lost in a row, or their answers.
    longest_run: u32,
    /// From when on no answer has come.
    silent_since: Time,
    /// From when on enough have gone unanswered.
    proven_at: Option<Time>,
    /// Who has answered the latest probes, or those before them.
    answered_by: Answered,
    /// When the address was first heard answering without a sealed word: by a member, and by a stranger.
    answered_since: [Option<Time>; 2],
}

/// How much a candidate asks for before it believes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Patience {
    /// So many of a thousand datagrams get lost, one way.
    pub(super) loss: u32,
    /// Somebody who should be there isn't heard: were a holder unknown, so would be how much of its word gets lost.
    pub(super) doubt: bool,
    /// So many better candidates have their turn first.
    pub(super) rank: u32,
}

/// Who has answered for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answered {
    ByNobody,
    By(Mac),
    BySeveral,
}

impl Answered {
    fn also_by(self, mac: Mac) -> Self {
        match self {
            Self::ByNobody => Self::By(mac),
            Self::By(before) if before == mac => self,
            Self::By(_) | Self::BySeveral => Self::BySeveral,
        }
    }
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

/// The distance of probes that are in a hurry.
pub(super) fn gap(interval: Duration) -> Duration {
    Duration::from_micros(if interval <= SHORT_INTERVAL { 750 } else { 2500 })
}

impl Suspicion {
    /// Starts to doubt `holder`, or to look whether a VIP without a known holder is free.
    pub(super) fn new(holder: Option<MemberId>, proof: Proof, interval: Duration, now: Time) -> Self {
        Self {
            holder,
            proof,
            since: now,
            gap: gap(interval),
            next_probe_at: now,
            asked: 0,
            confirmed: 0,
            confirmed_at: None,
            longest_run: 0,
            silent_since: now,
            proven_at: None,
            answered_by: Answered::ByNobody,
            answered_since: [None; 2],
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

    /// From when on no answer has come.
    pub(super) fn silent_since(&self) -> Time {
        self.silent_since
    }

    /// How many probes have been asked for.
    pub(super) fn asked(&self) -> u32 {
        self.asked
    }

    /// When there is something to do next.
    pub(super) fn deadline(&self, patience: Patience) -> Time {
        let turn = self.proven_at.map(|at| at + self.turn(patience));
        turn.map_or(self.next_probe_at, |at| self.next_probe_at.min(at))
    }

    /// What is to be done now.
    pub(super) fn step(&mut self, patience: Patience, now: Time) -> Step {
        if self.proven_at.is_some_and(|at| now >= at + self.turn(patience)) {
            return Step::Take;
        }
        if now < self.next_probe_at {
            return Step::Wait;
        }
        self.asked = self.asked.saturating_add(1);
        match self.proof {
            // The confirmation sets the next probe; this is for a guard that doesn't answer.
            Proof::Answers => self.next_probe_at = now + CONFIRMATION,
            Proof::Time => self.confirmed(patience, now),
        }
        Step::Probe
    }

    /// The guard has read all answers so far and sent one more probe.
    pub(super) fn confirmed(&mut self, patience: Patience, now: Time) {
        // A guard that has stood still sends all that it was asked for at once: no answer can come in between.
        if let Some(at) = self.confirmed_at.filter(|at| now.since(*at) < self.gap) {
            self.next_probe_at = at + self.gap;
            return;
        }
        self.confirmed_at = Some(now);
        self.confirmed = self.confirmed.saturating_add(1);
        self.next_probe_at = now + if self.asked > HURRIED { UNHURRIED_GAP } else { self.gap };
        let waited = match self.proof {
            Proof::Answers => true,
            Proof::Time => now.since(self.silent_since) >= LEFTOVER + super::election::LONGEST_HOLD,
        };
        if waited && self.confirmed > self.enough(patience) && self.proven_at.is_none() {
            self.proven_at = Some(now);
        }
    }

    /// `mac` answered for the address; `known` when it is the holder's or another member's, `by_ip` when the
    /// address has answered by IP as well. True when that is a conflict: no member is responsible for it.
    pub(super) fn answered(&mut self, mac: Mac, known: bool, by_ip: bool, now: Time) -> bool {
        let since = *self.answered_since[usize::from(!known)].get_or_insert(now);
        // Whatever was left behind is gone by then: who goes on to claim the address has it in earnest only if it
        // answers by IP. A stranger may be a cluster whose secret isn't ours, but not where the holder is known.
        let believed = by_ip || now.since(since) < LEFTOVER;
        if believed && (known || self.holder.is_none()) {
            self.longest_run = self.longest_run.max(self.confirmed);
            self.forget_silence(now);
            self.answered_by = self.answered_by.also_by(mac);
        }
        !known
    }

    /// Whether the address has answered lately: of a proof, not even half is there.
    pub(super) fn is_answered(&self, patience: Patience) -> bool {
        self.answered_by != Answered::ByNobody && self.confirmed * 2 <= self.enough(patience)
    }

    /// Whether it has, leaving aside somebody who no longer has it.
    pub(super) fn is_answered_but_by(&self, gone: Option<Mac>, patience: Patience) -> bool {
        self.is_answered(patience) && gone.is_none_or(|gone| self.answered_by != Answered::By(gone))
    }

    /// Nothing seen or heard so far proves anything: this node was late itself, or another knows better.
    pub(super) fn start_afresh(&mut self, now: Time) {
        self.forget_silence(now);
        self.answered_by = Answered::ByNobody;
        self.answered_since = [None; 2];
        self.next_probe_at = now;
    }

    /// What is proven now says little of a later moment. Time that has passed in silence remains so.
    pub(super) fn prove_again(&mut self, now: Time) {
        (self.confirmed, self.proven_at) = (0, None);
        self.next_probe_at = now;
    }

    fn forget_silence(&mut self, now: Time) {
        self.confirmed = 0;
        self.silent_since = now;
        self.proven_at = None;
    }

    /// A VIP without a known holder is asked for by broadcasts alone, and a holder whose address can't be asked by
    /// sealed probes: one way, not two.
    fn enough(&self, patience: Patience) -> u32 {
        // Losses that have only just begun, or are worse for this address than for others.
        let run = (self.longest_run * RUNS).min(enough(MOST, 2));
        run.max(self.enough_for(patience))
    }

    fn enough_for(&self, patience: Patience) -> u32 {
        match (self.holder, self.proof) {
            (Some(_), Proof::Answers) => enough(patience.loss, 2),
            (Some(_), Proof::Time) => enough(patience.loss, 1),
            (None, _) if patience.doubt => enough(MOST, 1),
            (None, Proof::Answers | Proof::Time) => enough(patience.loss, 1),
        }
    }

    fn turn(&self, patience: Patience) -> Duration {
        (self.gap * self.enough(patience) + RANK_SLACK) * patience.rank
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
        let mut suspicion = Suspicion::new(holder, Proof::Answers, INTERVAL, start);
        let (mut now, mut probes) = (start, 0);
        let patience = Patience { loss: 0, doubt: false, rank };
        while now.since(start) < Duration::from_secs(10) {
            match suspicion.step(patience, now) {
                Step::Take => return Some(now.since(start)),
                Step::Probe => {
                    if let Some(known) = answers(probes) {
                        suspicion.answered(Mac::default(), known, by_ip, now);
                    }
                    probes += 1;
                    suspicion.confirmed(patience, now);
                }
                Step::Wait => now = suspicion.deadline(patience),
            }
        }
        None
    }

    #[test]
    fn a_silent_address_is_free_after_ten_probes() {
        assert_eq!(taken_after(0, |_| None, Some(MemberId(1))), Some(Duration::from_millis(25)));
    }

    #[test]
    fn each_rank_waits_a_burst_longer() {
        assert_eq!(taken_after(1, |_| None, Some(MemberId(1))), Some(Duration::from_millis(60)));
        assert_eq!(taken_after(2, |_| None, Some(MemberId(1))), Some(Duration::from_millis(95)));
    }

    #[test]
    fn an_address_that_its_holder_answers_for_is_never_taken() {
        assert_eq!(taken_from(0, |_| Some(true), true, Some(MemberId(1))), None);
        // One answer in eleven is enough to know that it is there.
        assert_eq!(taken_from(0, |n| (n % 10 == 9).then_some(true), true, Some(MemberId(1))), None);
    }

    #[test]
    fn a_holders_address_that_only_claims_to_be_there_is_believed_as_long_as_a_lease_can_last() {
        let taken = taken_after(0, |_| Some(true), Some(MemberId(1))).expect("it is taken in the end");
        assert!(taken >= LEFTOVER && taken < LEFTOVER + Duration::from_millis(200), "{taken:?}");
    }

    #[test]
    fn losses_ask_for_more_probes_and_each_rank_waits_for_them() {
        let start = Time::from_nanos(1_000_000_000);
        for (holder, rank, loss, expected) in [
            (Some(MemberId(1)), 0, 300, 28 * 2500),
            (Some(MemberId(1)), 1, 300, (28 + 28) * 2500 + 10_000),
            // Only broadcasts ask for an address that nobody is known to hold.
            (None, 0, 300, 55 * 2500),
        ] {
            let patience = Patience { loss, doubt: false, rank };
            let mut suspicion = Suspicion::new(holder, Proof::Answers, INTERVAL, start);
            let mut now = start;
            loop {
                match suspicion.step(patience, now) {
                    Step::Take => break,
                    Step::Probe => suspicion.confirmed(patience, now),
                    Step::Wait => now = suspicion.deadline(patience),
                }
            }
            assert_eq!(now.since(start), Duration::from_micros(expected));
        }
    }

    #[test]
    fn where_addresses_cannot_be_asked_the_longest_hold_and_lease_are_waited_for() {
        let start = Time::from_nanos(1_000_000_000);
        let patience = Patience { loss: 0, doubt: false, rank: 0 };
        let mut suspicion = Suspicion::new(Some(MemberId(1)), Proof::Time, INTERVAL, start);
        let mut now = start;
        while suspicion.step(patience, now) != Step::Take {
            now = suspicion.deadline(patience);
        }
        let waited = now.since(start);
        assert!(waited >= Duration::from_millis(4850) && waited < Duration::from_millis(4900), "{waited:?}");
    }

    #[test]
    fn the_moment_it_stops_answering_it_is_taken() {
        let taken = taken_after(0, |n| (n < 21).then_some(true), Some(MemberId(1)));
        assert_eq!(taken, Some(Duration::from_millis(20 * 5 / 2 + 25)));
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
    fn what_somebody_answered_who_no_longer_has_it_says_nothing_of_anybody_else() {
        let (gone, suspect) = (Mac([1; 6]), Mac([2; 6]));
        let patience = Patience { loss: 0, doubt: false, rank: 0 };
        let start = Time::from_nanos(1_000_000_000);
        let mut suspicion = Suspicion::new(Some(MemberId(1)), Proof::Answers, INTERVAL, start);
        assert!(!suspicion.is_answered_but_by(Some(gone), patience));
        suspicion.answered(gone, true, false, start);
        assert!(suspicion.is_answered(patience) && suspicion.is_answered_but_by(Some(suspect), patience));
        assert!(!suspicion.is_answered_but_by(Some(gone), patience));
        suspicion.answered(suspect, true, false, start);
        suspicion.answered(gone, true, false, start);
        assert!(suspicion.is_answered_but_by(Some(gone), patience), "nor does it hide another's answer");
    }

    #[test]
    fn losses_that_this_address_suffers_ask_for_more_probes() {
        // Six in a row went unanswered before an answer came.
        let taken = taken_after(0, |n| (n == 6).then_some(true), Some(MemberId(1)));
        assert_eq!(taken, Some(Duration::from_millis((6 + 6 * 4) * 5 / 2)));
    }

    #[test]
    fn probes_that_a_guard_sends_all_at_once_count_as_one() {
        let patience = Patience { loss: 0, doubt: false, rank: 0 };
        let start = Time::from_nanos(1_000_000_000);
        let mut suspicion = Suspicion::new(Some(MemberId(1)), Proof::Answers, INTERVAL, start);
        let mut now = start;
        for _ in 0..10 {
            assert_eq!(suspicion.step(patience, now), Step::Probe);
            now = suspicion.deadline(patience);
        }
        (0..10).for_each(|_| suspicion.confirmed(patience, now));
        assert_ne!(suspicion.step(patience, now), Step::Take);
    }

    #[test]
    fn probes_that_the_guard_does_not_confirm_prove_nothing() {
        let start = Time::ZERO;
        let patience = Patience { loss: 0, doubt: false, rank: 0 };
        let mut suspicion = Suspicion::new(None, Proof::Answers, INTERVAL, start);
        let mut now = start;
        for _ in 0..100 {
            assert_ne!(suspicion.step(patience, now), Step::Take);
            now = suspicion.deadline(patience);
        }
    }
}
