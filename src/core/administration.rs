//! What operators have said of backends and nodes: the last word counts, on every node the same.
//!
//! Each target has two registers, state and weight. A word carries a stamp, and of two words the one with the
//! later stamp wins wherever they meet, in whatever order: nodes that have heard the same words agree. Every
//! node keeps and passes on every word, so that it outlives all nodes but one. Separate from health.

use std::collections::BTreeMap;

use super::message::MemberId;
use super::time::Time;

/// More registers than this are refused: an operator has no use for them, a peer no right to, and a node's words
/// have to fit into its gossip.
const TARGETS: usize = 200;

/// Everything that has been said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Administration {
    registers: BTreeMap<(Target, Aspect), Word>,
}

/// What a word is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// One backend of one service.
    Backend {
        /// The service's name.
        service: String,
        /// The backend's name.
        backend: String,
    },
    /// The backends of this name, on all services.
    Everywhere {
        /// The backends' name.
        backend: String,
    },
    /// A node.
    Node {
        /// Its name.
        node: String,
    },
    /// A VIP.
    Vip {
        /// Its name.
        vip: String,
    },
}

/// Which of a target's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Aspect {
    /// Ready, draining or in maintenance.
    State,
    /// A backend's share.
    Weight,
    /// Where a VIP is to be.
    Holder,
}

/// What is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setting {
    /// Of the state.
    State(AdminState),
    /// Of the weight: 0 to 256, or `None` for the configured one.
    Weight(Option<u16>),
    /// Who is to hold a VIP whenever it can, or `None` for whoever has the highest priority.
    Holder(Option<MemberId>),
}

impl Setting {
    /// Which register it goes into.
    pub const fn aspect(self) -> Aspect {
        match self {
            Self::State(_) => Aspect::State,
            Self::Weight(_) => Aspect::Weight,
            Self::Holder(_) => Aspect::Holder,
        }
    }
}

/// What an operator wants of a backend or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum AdminState {
    /// Whatever its health allows.
    #[default]
    Ready,
    /// No new connection (a node: no VIP); open ones go on, probes too.
    Drain,
    /// As drain, and no probes either.
    Maint,
}

impl AdminState {
    /// All of them, in order.
    pub const ALL: [Self; 3] = [Self::Ready, Self::Drain, Self::Maint];

    /// As in status and commands.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// Orders the words of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// Milliseconds since the epoch, and later than every stamp its writer had seen.
    pub milliseconds: u64,
    /// Who took it from the operator: decides between equals.
    pub writer: MemberId,
}

/// One word of an operator's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Word {
    /// What is said.
    pub setting: Setting,
    /// When.
    pub stamp: Stamp,
    /// Milliseconds since the epoch, for those who hear it later.
    pub expires: Option<u64>,
    /// The same moment on this node's own clock, which nobody can step.
    pub ends: Option<Time>,
}

/// All places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

impl Administration {
    /// Takes in a word; true when it is the last one of its register, and news.
    pub fn hear(&mut self, target: Target, word: Word) -> Result<bool, Full> {
        let key = (target, word.setting.aspect());
        match self.registers.get(&key) {
            Some(known) if known.stamp >= word.stamp => return Ok(false),
            None if self.registers.len() >= TARGETS => return Err(Full),
            Some(_) | None => {}
        }
        self.registers.insert(key, word);
        Ok(true)
    }

    /// A stamp for a word that is said now: later than everything heard, whatever the wall clock says.
    pub fn stamp(&self, wall_clock: u64, writer: MemberId) -> Stamp {
        let latest = self.registers.values().map(|word| word.stamp.milliseconds).max().unwrap_or(0);
        Stamp { milliseconds: wall_clock.max(latest.saturating_add(1)), writer }
    }

    /// What holds for a backend now: the later of what was said of it and of its name everywhere.
    pub fn backend(&self, service: &str, backend: &str, now: Time) -> (AdminState, Option<u16>) {
        // It is asked at every input, and mostly nobody has said anything.
        if self.registers.is_empty() {
            return (AdminState::Ready, None);
        }
        let own = Target::Backend { service: service.into(), backend: backend.into() };
        let everywhere = Target::Everywhere { backend: backend.into() };
        let state = match self.last([&own, &everywhere], Aspect::State, now) {
            Some(Setting::State(state)) => state,
            Some(Setting::Weight(_) | Setting::Holder(_)) | None => AdminState::Ready,
        };
        let weight = match self.last([&own, &everywhere], Aspect::Weight, now) {
            Some(Setting::Weight(weight)) => weight,
            Some(Setting::State(_) | Setting::Holder(_)) | None => None,
        };
        (state, weight)
    }

    /// What holds for a node now.
    pub fn node(&self, node: &str, now: Time) -> AdminState {
        if self.registers.is_empty() {
            return AdminState::Ready;
        }
        let target = Target::Node { node: node.into() };
        match self.last([&target, &target], Aspect::State, now) {
            Some(Setting::State(state)) => state,
            Some(Setting::Weight(_) | Setting::Holder(_)) | None => AdminState::Ready,
        }
    }

    /// Where operators want a VIP to be now.
    pub fn pin(&self, vip: &str, now: Time) -> Option<MemberId> {
        if self.registers.is_empty() {
            return None;
        }
        let target = Target::Vip { vip: vip.into() };
        match self.last([&target, &target], Aspect::Holder, now) {
            Some(Setting::Holder(holder)) => holder,
            Some(Setting::State(_) | Setting::Weight(_)) | None => None,
        }
    }

    /// Every word, to be passed on.
    pub fn words(&self) -> impl Iterator<Item = (&Target, &Word)> {
        self.registers.iter().map(|((target, _), word)| (target, word))
    }

    /// When the next word runs out.
    pub fn deadline(&self, now: Time) -> Option<Time> {
        self.registers.values().filter_map(|word| word.ends).filter(|ends| *ends > now).min()
    }

    /// A word that has run out says the default from then on; it is kept, for its stamp.
    fn last(&self, targets: [&Target; 2], aspect: Aspect, now: Time) -> Option<Setting> {
        let words = targets.into_iter().filter_map(|target| self.registers.get(&(target.clone(), aspect)));
        let last = words.max_by_key(|word| word.stamp)?;
        let lasts = last.ends.is_none_or(|ends| now < ends);
        lasts.then_some(last.setting)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn web1() -> Target {
        Target::Backend { service: "myweb".into(), backend: "web1".into() }
    }

    fn word(state: AdminState, milliseconds: u64, writer: u64) -> Word {
        let stamp = Stamp { milliseconds, writer: MemberId(writer) };
        Word { setting: Setting::State(state), stamp, expires: None, ends: None }
    }

    fn state(administration: &Administration) -> AdminState {
        administration.backend("myweb", "web1", Time::ZERO).0
    }

    #[test]
    fn the_last_word_counts_in_whatever_order_they_come() {
        let (early, late) = (word(AdminState::Drain, 1, 9), word(AdminState::Ready, 2, 1));
        for words in [[early, late], [late, early]] {
            let mut administration = Administration::default();
            for word in words {
                administration.hear(web1(), word).expect("room");
            }
            assert_eq!(state(&administration), AdminState::Ready);
        }
    }

    #[test]
    fn two_opposite_words_at_once_end_the_same_everywhere() {
        let (a, b) = (word(AdminState::Drain, 5, 1), word(AdminState::Ready, 5, 2));
        let ends: Vec<AdminState> = [[a, b], [b, a]]
            .into_iter()
            .map(|words| {
                let mut administration = Administration::default();
                for word in words {
                    administration.hear(web1(), word).expect("room");
                }
                state(&administration)
            })
            .collect();
        assert_eq!(ends, [AdminState::Ready, AdminState::Ready]);
    }

    #[test]
    fn a_word_that_runs_out_leaves_the_default() {
        let mut administration = Administration::default();
        let ends = Time::ZERO + Duration::from_secs(60);
        let drain = Word { ends: Some(ends), ..word(AdminState::Drain, 1, 1) };
        administration.hear(web1(), drain).expect("room");
        assert_eq!(state(&administration), AdminState::Drain);
        assert_eq!(administration.deadline(Time::ZERO), Some(ends));
        assert_eq!(administration.backend("myweb", "web1", ends).0, AdminState::Ready);
        assert_eq!(administration.deadline(ends), None);
    }

    #[test]
    fn a_word_for_all_services_and_one_for_this_count_by_their_stamps() {
        let mut administration = Administration::default();
        let everywhere = Target::Everywhere { backend: "web1".into() };
        administration.hear(everywhere.clone(), word(AdminState::Maint, 1, 1)).expect("room");
        assert_eq!(state(&administration), AdminState::Maint);
        administration.hear(web1(), word(AdminState::Ready, 2, 1)).expect("room");
        assert_eq!(state(&administration), AdminState::Ready);
        assert_eq!(administration.backend("other", "web1", Time::ZERO).0, AdminState::Maint);
        administration.hear(everywhere, word(AdminState::Drain, 3, 1)).expect("room");
        assert_eq!(state(&administration), AdminState::Drain);
    }

    #[test]
    fn a_stamp_is_later_than_all_that_was_heard_even_when_the_clock_went_back() {
        let mut administration = Administration::default();
        administration.hear(web1(), word(AdminState::Drain, 1_000_000, 1)).expect("room");
        assert_eq!(administration.stamp(5, MemberId(2)).milliseconds, 1_000_001);
        assert_eq!(administration.stamp(2_000_000, MemberId(2)).milliseconds, 2_000_000);
    }

    #[test]
    fn more_targets_than_anybody_needs_are_refused() {
        let mut administration = Administration::default();
        for n in 0..TARGETS {
            let target = Target::Node { node: format!("n{n}") };
            administration.hear(target, word(AdminState::Drain, 1, 1)).expect("room");
        }
        assert_eq!(administration.hear(web1(), word(AdminState::Drain, 1, 1)), Err(Full));
    }

    proptest! {
        #[test]
        fn nodes_that_heard_the_same_words_agree(
            words in prop::collection::vec((0u64..4, 0u64..3, 0usize..3, any::<bool>()), 0..12),
            turned in any::<prop::sample::Index>(),
        ) {
            // A stamp belongs to one word: its writer never uses it twice.
            let said: Vec<Word> = words
                .iter()
                .enumerate()
                .map(|(n, (ms, writer, state, _))| word(AdminState::ALL[*state], ms * 100 + n as u64, *writer))
                .collect();
            let mut rotated = said.clone();
            if !rotated.is_empty() {
                let at = turned.index(rotated.len());
                rotated.rotate_left(at);
            }
            let [mut one, mut other] = [Administration::default(), Administration::default()];
            for (word, turned) in said.into_iter().zip(rotated) {
                one.hear(web1(), word).expect("room");
                other.hear(web1(), turned).expect("room");
            }
            prop_assert_eq!(one, other);
        }
    }
}
