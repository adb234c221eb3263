//! Effective priority: keepalived's base and weights, exactly.
//!
//! `effective = clamp(base + Σ contributions, 1, 254)`. The sum itself isn't clamped: 100 with two failed
//! weights of -80 advertises 1, and 20 once one of them recovers. A base of 255 is the address owner and
//! immune to weights, though not to weight 0.

/// The priority that the RFC keeps for the node whose own address the VIP is (RFC 9568 section 5.2.4).
pub const ADDRESS_OWNER: u8 = 255;

/// How one tracked thing changes the priority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// Above 0: added while well. Below 0: subtracted while not. 0: not well makes the node ineligible.
    pub weight: i16,
    /// Well and failed change places.
    pub reverse: bool,
}

/// What a tracked thing does to a node's candidacy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contribution {
    /// Adds this much, possibly less than nothing.
    Points(i32),
    /// Keeps the node from being a candidate at all (VRRP's FAULT).
    Ineligible,
}

impl Weight {
    /// What this weight contributes while the tracked thing is `well`; `None` while there is no result yet.
    ///
    /// Without a result a weight adds nothing, and weight 0 keeps the node ineligible.
    pub fn contribution(self, well: Option<bool>) -> Contribution {
        let weight = i32::from(self.weight);
        match well.map(|well| well != self.reverse) {
            None if weight == 0 => Contribution::Ineligible,
            None => Contribution::Points(0),
            Some(true) if weight == 0 => Contribution::Points(0),
            Some(false) if weight == 0 => Contribution::Ineligible,
            // Plain: +w while well, or -|w| while failed. Reversed, keepalived turns the sign as well:
            // -w while well, or +|w| while failed.
            Some(good) if self.reverse => Contribution::Points(match (weight > 0, good) {
                (true, false) | (false, true) => -weight,
                (true, true) | (false, false) => 0,
            }),
            Some(good) => Contribution::Points(if (weight > 0) == good { weight } else { 0 }),
        }
    }
}

/// A node's standing for one VIP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// 1 to 254, or 255 for the address owner.
    pub effective: u8,
    /// False when something with weight 0 isn't well.
    pub eligible: bool,
}

/// Base and contributions together.
pub fn standing(base: u8, contributions: impl IntoIterator<Item = Contribution>) -> Standing {
    let mut total = i32::from(base);
    let mut eligible = true;
    for contribution in contributions {
        match contribution {
            Contribution::Points(points) => total += points,
            Contribution::Ineligible => eligible = false,
        }
    }
    let effective = if base == ADDRESS_OWNER { ADDRESS_OWNER } else { total.clamp(1, 254) as u8 };
    Standing { effective, eligible }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(weight: i16, reverse: bool, well: Option<bool>) -> Contribution {
        Weight { weight, reverse }.contribution(well)
    }

    #[test]
    fn contributions_follow_keepalived_s_table() {
        use Contribution::{Ineligible, Points};
        for (weight, reverse, when_well, when_failed, pending) in [
            (5, false, Points(5), Points(0), Points(0)),
            (-5, false, Points(0), Points(-5), Points(0)),
            (5, true, Points(-5), Points(0), Points(0)),
            (-5, true, Points(0), Points(5), Points(0)),
            (0, false, Points(0), Ineligible, Ineligible),
            (0, true, Ineligible, Points(0), Ineligible),
        ] {
            assert_eq!(points(weight, reverse, Some(true)), when_well, "{weight} {reverse} well");
            assert_eq!(points(weight, reverse, Some(false)), when_failed, "{weight} {reverse} failed");
            assert_eq!(points(weight, reverse, None), pending, "{weight} {reverse} pending");
        }
    }

    #[test]
    fn the_sum_is_clamped_only_at_the_end() {
        let effective =
            |base, list: &[i32]| standing(base, list.iter().map(|p| Contribution::Points(*p))).effective;
        assert_eq!(effective(100, &[-80, -80]), 1);
        assert_eq!(effective(100, &[-80]), 20);
        assert_eq!(effective(250, &[100]), 254);
        assert_eq!(effective(250, &[100, -200]), 150);
        assert_eq!(effective(255, &[-50]), 255);
    }

    #[test]
    fn an_address_owner_is_immune_to_weights_but_not_to_weight_0() {
        let owner = standing(255, [Contribution::Points(-50), Contribution::Ineligible]);
        assert_eq!(owner, Standing { effective: 255, eligible: false });
    }
}
