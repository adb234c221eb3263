//! Which of equal nodes holds which VIP.
//!
//! By address one node holds all of them. Spread, each VIP has an order of its own among the nodes, by rendezvous
//! hashing: a node that goes leaves its VIPs to many, and nothing else moves. A VIP stays where it is for as long as
//! the nodes' shares differ by no more than one; a node that comes is handed what it lacks, one VIP at a time, by the
//! one that has the most.

use super::message::{MemberId, VipId};

/// How a tie between nodes of the same effective priority is decided, where nobody holds the VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Placement {
    /// The higher address.
    #[default]
    Address,
    /// An order that differs from VIP to VIP.
    Spread,
}

/// A member's place in a VIP's own order: the highest comes first.
pub(super) fn place(placement: Placement, vip: VipId, member: MemberId) -> u64 {
    match placement {
        Placement::Address => 0,
        Placement::Spread => mixed(mixed(vip.0) ^ member.0),
    }
}

/// How many of the VIPs that are spread a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Share {
    pub(super) member: MemberId,
    pub(super) held: usize,
    /// It takes one from a living holder.
    pub(super) takes: bool,
}

/// Who of `others` should be handed one of the VIPs that `me` holds, if anybody.
///
/// Only the one that holds the most gives, so that a newcomer isn't given more than its share by many at once.
pub(super) fn relieved_by(me: Share, others: &[Share]) -> Option<MemberId> {
    let order = |share: &Share| (share.held, share.member);
    let most = others.iter().all(|other| order(other) < order(&me));
    let least = others.iter().filter(|other| other.takes).min_by_key(|other| order(other))?;
    (most && least.held + 2 <= me.held).then_some(least.member)
}

/// The finalizer of `SplitMix64`: every bit of the result depends on every bit of the argument.
fn mixed(bits: u64) -> u64 {
    let bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn first(vip: u64, members: &BTreeSet<u64>) -> u64 {
        let by_place = |id: &u64| place(Placement::Spread, VipId(vip), MemberId(*id));
        members.iter().copied().max_by_key(by_place).expect("somebody")
    }

    fn shares(holders: &BTreeMap<u64, u64>, members: &BTreeSet<u64>) -> Vec<Share> {
        let held = |id: &u64| holders.values().filter(|holder| *holder == id).count();
        members.iter().map(|id| Share { member: MemberId(*id), held: held(id), takes: true }).collect()
    }

    /// Hands over one VIP at a time until nobody wants to; how many moved.
    fn even_out(holders: &mut BTreeMap<u64, u64>, members: &BTreeSet<u64>) -> usize {
        for moved in 0.. {
            let all = shares(holders, members);
            let gift = all.iter().find_map(|me| {
                let others: Vec<Share> = all.iter().copied().filter(|other| other != me).collect();
                Some((me.member, relieved_by(*me, &others)?))
            });
            let Some((from, to)) = gift else { return moved };
            let given = holders.iter().find(|(_, holder)| **holder == from.0).map(|(vip, _)| *vip);
            holders.insert(given.expect("it holds the most"), to.0);
        }
        unreachable!()
    }

    fn spread(vips: u64, members: &BTreeSet<u64>) -> BTreeMap<u64, u64> {
        (0..vips).map(|vip| (vip, first(vip, members))).collect()
    }

    #[test]
    fn a_thousand_vips_spread_evenly_over_five_nodes() {
        let members = BTreeSet::from([1, 2, 3, 4, 5]);
        for Share { member, held, .. } in shares(&spread(1000, &members), &members) {
            assert!((150..=250).contains(&held), "{member:?} has {held}");
        }
    }

    #[test]
    fn who_does_not_preempt_is_passed_over_for_who_does() {
        let share = |id, held, takes| Share { member: MemberId(id), held, takes };
        let me = share(2, 3, true);
        assert_eq!(relieved_by(me, &[share(1, 0, false), share(3, 1, true)]), Some(MemberId(3)));
        assert_eq!(relieved_by(me, &[share(1, 0, false), share(3, 2, true)]), None);
        assert_eq!(relieved_by(me, &[share(1, 4, false), share(3, 0, true)]), None, "another one has more");
    }

    proptest! {
        #[test]
        fn who_goes_leaves_its_vips_to_others_and_nothing_else_moves(
            members in prop::collection::btree_set(any::<u64>(), 2..10), vips in 1u64..60, at in any::<prop::sample::Index>(),
        ) {
            let gone = *members.iter().nth(at.index(members.len())).expect("one of them");
            let rest: BTreeSet<u64> = members.iter().copied().filter(|id| *id != gone).collect();
            for vip in 0..vips {
                let before = first(vip, &members);
                prop_assert!(before == gone || first(vip, &rest) == before);
            }
        }

        #[test]
        fn shares_end_within_one_of_each_other_by_as_few_moves_as_possible(
            members in prop::collection::btree_set(any::<u64>(), 1..10), vips in 0u64..60, newcomer: u64,
        ) {
            let mut holders = spread(vips, &members);
            even_out(&mut holders, &members);
            let mut more = members.clone();
            more.insert(newcomer);
            let moved = even_out(&mut holders, &more);
            let shares: Vec<usize> = shares(&holders, &more).into_iter().map(|share| share.held).collect();
            let (least, most) = (shares.iter().min().expect("one"), shares.iter().max().expect("one"));
            prop_assert!(most - least <= 1, "{:?}", shares);
            if !members.contains(&newcomer) {
                prop_assert_eq!(moved, holders.values().filter(|holder| **holder == newcomer).count());
            }
        }
    }
}
