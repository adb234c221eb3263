//! What the members see of one backend, and what the cluster makes of it.

use std::collections::BTreeMap;

use super::message::MemberId;
use super::transition::Verdict;

/// Every member's verdict on one backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Views {
    views: BTreeMap<MemberId, Verdict>,
}

impl Views {
    /// Takes in what `member` sees.
    pub fn record(&mut self, member: MemberId, verdict: Verdict) {
        self.views.insert(member, verdict);
    }

    /// Forgets a member that is gone.
    pub fn forget(&mut self, member: MemberId) {
        self.views.remove(&member);
    }

    /// What `member` sees; unknown when it hasn't said.
    pub fn of(&self, member: MemberId) -> Verdict {
        self.views.get(&member).copied().unwrap_or_default()
    }

    /// Every member that has said anything, and what.
    pub fn iter(&self) -> impl Iterator<Item = (MemberId, Verdict)> {
        self.views.iter().map(|(member, verdict)| (*member, *verdict))
    }

    /// Those of the members that are chosen.
    #[must_use]
    pub fn among(&self, chosen: impl Fn(MemberId) -> bool) -> Self {
        Self { views: self.iter().filter(|(member, _)| chosen(*member)).collect() }
    }

    /// How many members have come to `verdict`.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.views.values().filter(|v| **v == verdict).count()
    }

    /// The verdict of the majority of those that have one. A tie is up: whoever reaches the backend
    /// proves that it lives, whoever doesn't may have lost its own link.
    pub fn agreed(&self) -> Verdict {
        match (self.count(Verdict::Up), self.count(Verdict::Down)) {
            (0, 0) => Verdict::Unknown,
            (up, down) if up >= down => Verdict::Up,
            _fewer_up => Verdict::Down,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_chosen_members_count() {
        let mut all = Views::default();
        for (member, verdict) in [(1, Verdict::Up), (2, Verdict::Up), (3, Verdict::Down)] {
            all.record(MemberId(member), verdict);
        }
        assert_eq!(all.agreed(), Verdict::Up);
        let rest = all.among(|member| member == MemberId(3));
        assert_eq!((rest.agreed(), rest.iter().count()), (Verdict::Down, 1));
    }

    #[test]
    fn the_majority_decides_and_a_tie_is_up() {
        for (views, agreed) in [
            ("", Verdict::Unknown),
            ("??", Verdict::Unknown),
            ("?D", Verdict::Down),
            ("U", Verdict::Up),
            ("UD", Verdict::Up),
            ("UDD", Verdict::Down),
            ("UDD?", Verdict::Down),
            ("UUD", Verdict::Up),
        ] {
            let mut all = Views::default();
            for (member, view) in views.chars().enumerate() {
                let verdict = match view {
                    'U' => Verdict::Up,
                    'D' => Verdict::Down,
                    _ => Verdict::Unknown,
                };
                all.record(MemberId(member as u64), verdict);
            }
            assert_eq!(all.agreed(), agreed, "{views}");
        }
    }
}
