//! What this node tells the others, and when.
//!
//! What N nodes tell each other grows with N². In a large cluster those from which nobody waits for anything speak
//! less often, and say so: how long a member's silence is no news follows from the interval that it advertises. What
//! is new they say at once, and whoever holds a VIP, or is about to, speaks at every interval.
//!
//! A few nodes speak right behind the holder that they follow. It wakes them anyway, and what they say reaches everybody
//! at one moment: they, too, are woken once for all of it.

use std::time::Duration;

use super::contract::Output;
use super::election::{Election, hold_time};
use super::member::Member;
use super::message::Advertisement;
use super::time::Time;
use super::transition::VipState;
use super::{Core, FEED};

/// Tenths of an interval: so much longer than that a node waits for the holder, whose word may take its time.
const WAIT: u32 = 1;
/// And about so much of an interval early it speaks for its sake, but hardly earlier: there may be several.
const EARLY: u32 = 2;

/// However many there are, nobody is silent for more intervals than this.
const QUIETEST: u32 = 5;

impl Core {
    /// Something to tell a newcomer, out of turn.
    pub fn introduce(&mut self, now: Time) -> Advertisement {
        self.beat(now)
    }

    /// A holder has spoken.
    pub(super) fn follow(&mut self, now: Time) {
        self.holder_heard_at = Some(now);
        if self.follows(now) && self.advertise_at <= now + self.interval * (WAIT + EARLY) / 10 {
            self.advertise_at = self.advertise_at.min(now);
        }
    }

    /// Whether this node speaks when the holder does. Not in a crowd, which would all speak at once.
    fn follows(&self, now: Time) -> bool {
        let lately = self.holder_heard_at.is_some_and(|at| now.since(at) < self.interval * 3 / 2);
        lately && self.cadence == self.interval && self.elections.iter().all(Election::is_quiet)
    }

    /// Whether this node holds something, others speak right behind its advertisement, and nothing is under way that
    /// can't wait until they have.
    pub fn is_answered_soon(&self, now: Time) -> bool {
        let steady = |election: &Election| election.is_quiet() || election.is_holding();
        // Whoever holds anything itself has a beat of its own.
        let follows = |member: &Member| member.latest().vips.iter().all(|vip| vip.state != VipState::Active);
        let followers = self.members.fresh(now).filter(|(_, member)| follows(member)).count();
        !self.leaving
            && self.elections.iter().any(Election::is_holding)
            && self.elections.iter().all(steady)
            && (1..=self.settings.crowd).contains(&followers)
    }

    pub(super) fn advertise_if_due(&mut self, now: Time) {
        if now >= self.advertise_at {
            self.advertise_now = true;
        }
        // With every beacon, so that the hold ends before the fence that the beacon keeps open.
        if self.advertise_now || now >= self.feed_at {
            self.feed_at = now + FEED;
            for (vip, election) in self.elections.iter().enumerate() {
                if election.hold_until().is_some() {
                    let until = self.grants(vip, now).bound(now + hold_time(self.interval));
                    self.outputs.push_back(Output::Hold { vip, until, term: election.term() });
                }
            }
        }
        if std::mem::take(&mut self.advertise_now) {
            if self.may_beacon(now) {
                self.fence_fed_at = now;
            }
            self.cadence = self.cadence(now);
            let advertisement = self.beat(now);
            self.outputs.push_back(Output::Advertise(advertisement));
            let wait = if self.follows(now) { self.interval * WAIT / 10 } else { Duration::ZERO };
            let next = self.cadence + wait;
            // A regular beat, whatever is said in between; a late one isn't made up for.
            while self.advertise_at <= now {
                self.advertise_at = (self.advertise_at + next).max(now + next / 2);
            }
            // Unless less silence is promised from now on.
            self.advertise_at = self.advertise_at.min(now + next);
        }
    }

    fn cadence(&self, now: Time) -> Duration {
        // Voters are asked at every interval, and trust those alone that have heard them lately.
        let quiet = self.quorum.is_none() && self.is_ready() && self.elections.iter().all(Election::is_quiet);
        let others = if quiet { self.members.present(now).count() } else { 0 };
        let crowds = u32::try_from(others.div_ceil(self.settings.crowd.max(1))).unwrap_or(u32::MAX);
        self.interval * crowds.clamp(1, QUIETEST)
    }

    /// What is told to everybody.
    fn beat(&mut self, now: Time) -> Advertisement {
        self.beats += 1;
        Advertisement { beat: Some(self.beats), ..self.advertisement(now) }
    }

    pub(super) fn advertisement(&mut self, now: Time) -> Advertisement {
        self.sequence += 1;
        if let Some(quorum) = &mut self.quorum {
            quorum.advertised(self.sequence, now);
        }
        let vips = (0..self.elections.len())
            .map(|vip| self.elections[vip].advertisement(&self.surroundings(vip, now)));
        Advertisement {
            sequence: self.sequence,
            beat: None,
            name: self.settings.name.clone(),
            version: self.settings.version.clone(),
            config: self.settings.config,
            interval: self.cadence,
            leaving: self.leaving && self.elections.iter().all(|e| e.state() != VipState::Active),
            guard: self.guard,
            vips: vips.collect(),
            heard: self.members.heard(now),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::core::{
        Boot, Input, Mac, MemberId, Message, Output, Proof, Resignation, Settings, Terms, VipAdvertisement,
        VipId, VipSettings,
    };

    const VIP: VipId = VipId(1);
    const INTERVAL: Duration = Duration::from_millis(100);
    /// The best of all members, and the holder until it resigns.
    const HOLDER: u64 = 1000;

    fn address(host: u64) -> IpAddr {
        Ipv4Addr::from(0x0a00_0000 + u32::try_from(host).expect("a small number")).into()
    }

    /// A backup among so many other nodes, of which more than ten are a crowd.
    struct Backup {
        core: Core,
        now: Time,
        others: Vec<u64>,
        holder: bool,
        /// How long after each full interval the others advertise.
        behind: Duration,
        sequence: u64,
        /// When it advertised, and which interval.
        said: Vec<(Time, Duration)>,
    }

    impl Backup {
        fn among(others: u64) -> Self {
            let vip = VipSettings {
                id: VIP,
                name: "web".into(),
                base_priority: 100,
                advertisement_interval: INTERVAL,
                terms: Terms::default(),
                proof: Proof::Answers,
                track: Vec::new(),
            };
            let settings = Settings {
                me: MemberId(999),
                name: "me".into(),
                address: address(999),
                version: String::new(),
                sync_patience: Duration::ZERO,
                config: [0; 8],
                majority_of: None,
                witness: false,
                expected_peers: 0,
                crowd: 10,
                vips: vec![vip],
                services: Vec::new(),
                checks: Vec::new(),
            };
            let now = Time::from_nanos(1_000_000_000);
            let mut core = Core::new(settings, now);
            core.handle(Input::Link { vip: 0, up: true, mac: Mac::default() }, now);
            let others = (1..others).chain([HOLDER]).collect();
            Self { core, now, others, holder: true, behind: Duration::ZERO, sequence: 0, said: Vec::new() }
        }

        /// For a second every other node advertises each interval, and the time is told every tenth of it.
        fn listen_for_a_second(&mut self) {
            self.said.clear();
            for _ in 0..100 {
                if (self.now - self.behind).as_nanos().is_multiple_of(100_000_000) {
                    self.sequence += 1;
                    for other in self.others.clone() {
                        self.hear(other);
                    }
                }
                self.now = self.now + Duration::from_millis(10);
                self.handle(Input::Deadline);
            }
        }

        fn hear(&mut self, other: u64) {
            let holds = other == HOLDER && self.holder;
            let part = VipAdvertisement {
                vip: VIP,
                state: if holds { VipState::Active } else { VipState::Backup },
                effective_priority: 50,
                preempt: true,
                term: u32::from(other == HOLDER),
                mac: Mac::default(),
                suspects: false,
                pinned: false,
                claims: false,
                hears: None,
                answered: false,
                disputed: false,
            };
            let advertisement = Advertisement {
                sequence: self.sequence,
                beat: Some(self.sequence),
                name: format!("ha{other}"),
                version: String::new(),
                config: [0; 8],
                interval: INTERVAL,
                leaving: false,
                guard: Boot::default(),
                vips: vec![part],
                heard: Vec::new(),
            };
            self.tell(other, Message::Advertisement(advertisement));
        }

        fn tell(&mut self, from: u64, message: Message) {
            let (from, address) = (MemberId(from), address(from));
            self.handle(Input::Heard { from, address, boot: Boot::default(), message });
        }

        /// With a guard that does at once what it is asked for.
        fn handle(&mut self, input: Input) {
            self.core.handle(input, self.now);
            while let Some(output) = self.core.poll_output() {
                match output {
                    Output::Advertise(advertisement) => self.said.push((self.now, advertisement.interval)),
                    Output::Hold { vip, until, .. } => self.core.handle(Input::Held { vip, until }, self.now),
                    _ => {}
                }
            }
        }

        /// The longest silence within the last second.
        fn longest_silence(&self) -> Duration {
            self.said.windows(2).map(|two| two[1].0.since(two[0].0)).max().unwrap_or(Duration::MAX)
        }
    }

    #[test]
    fn a_backup_speaks_less_often_in_a_crowd_and_says_so() {
        for (others, intervals) in [(2, 1), (10, 1), (11, 2), (25, 3), (100, 5)] {
            let mut backup = Backup::among(others);
            (0..3).for_each(|_| backup.listen_for_a_second());
            assert_eq!(backup.longest_silence(), INTERVAL * intervals, "among {others}");
            assert!(backup.said.iter().all(|(_, said)| *said == INTERVAL * intervals), "among {others}");
        }
    }

    #[test]
    fn a_backup_comes_to_speak_right_behind_the_holder_and_by_itself_soon_after_where_that_is_silent() {
        for behind in (0..100).step_by(10).map(Duration::from_millis) {
            let mut backup = Backup::among(2);
            backup.behind = behind;
            (0..3).for_each(|_| backup.listen_for_a_second());
            let late = |at: Time| Duration::from_nanos((at - behind).as_nanos() % 100_000_000);
            assert!(backup.said.iter().all(|(at, _)| late(*at).is_zero()), "{behind:?}: {:?}", backup.said);
            assert_eq!((backup.said.len(), backup.longest_silence()), (10, INTERVAL));
            let (last, _) = *backup.said.last().expect("it has spoken");
            backup.others.clear();
            backup.listen_for_a_second();
            assert_eq!(backup.said[0].0.since(last), INTERVAL * 11 / 10);
        }
    }

    #[test]
    fn a_holder_is_answered_soon_by_a_few_that_follow_it_unless_it_hands_over() {
        for (others, answered) in [(1, true), (2, true), (10, true), (11, false)] {
            let mut node = Backup::among(others);
            (0..3).for_each(|_| node.listen_for_a_second());
            assert!(!node.core.is_answered_soon(node.now), "it holds nothing");
            let resignation = Resignation { id: 1, vip: VIP, term: 1, successor: Some(MemberId(999)) };
            node.tell(HOLDER, Message::Resignation(resignation));
            node.holder = false;
            node.listen_for_a_second();
            assert_eq!(node.core.elections()[0].state(), VipState::Active);
            assert_eq!(node.core.is_answered_soon(node.now), answered, "by {others}");
            node.handle(Input::Shutdown);
            assert!(!node.core.is_answered_soon(node.now), "it hands over");
        }
    }

    #[test]
    fn a_backup_in_a_crowd_that_becomes_the_holder_speaks_at_every_interval_from_then_on() {
        let mut backup = Backup::among(40);
        (0..3).for_each(|_| backup.listen_for_a_second());
        assert_eq!(backup.longest_silence(), INTERVAL * 4);
        let resignation = Resignation { id: 1, vip: VIP, term: 1, successor: Some(MemberId(999)) };
        backup.said.clear();
        backup.tell(HOLDER, Message::Resignation(resignation));
        backup.holder = false;
        assert!(backup.said.is_empty(), "who has taken it since may have said so, which isn't read yet");
        backup.handle(Input::Deadline);
        let (_, promised) = *backup.said.last().expect("a claim is told at once");
        assert_eq!(promised, INTERVAL);
        let began = backup.now;
        backup.listen_for_a_second();
        assert_eq!(backup.core.elections()[0].state(), VipState::Active);
        assert!(backup.said[0].0.since(began) <= INTERVAL);
        assert!(backup.longest_silence() <= INTERVAL);
        assert!(backup.said.iter().all(|(_, said)| *said == INTERVAL));
    }
}
