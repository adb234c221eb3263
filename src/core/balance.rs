//! Smooth weighted round robin, as one cycle computed ahead.
//!
//! The sequence is nginx's: a weight of three doesn't get three turns in a row, its turns are spread over the
//! cycle. Computed ahead, the cycle needs only a counter at the time of a pick, so that any number of threads
//! share it exactly and without a lock.

/// One cycle of the smooth sequence: which index is next, for each turn.
///
/// Index `i` occurs `weights[i] / gcd(weights)` times; a weight of zero never occurs, and where all are zero the
/// cycle is empty. Costs the cycle's length times the number of weights, and is thus for the time of a change.
pub fn order(weights: &[u16]) -> Vec<usize> {
    let divisor = weights.iter().copied().map(i64::from).fold(0, greatest_common_divisor);
    if divisor == 0 {
        return Vec::new();
    }
    let mut shares: Vec<Share> = weights
        .iter()
        .enumerate()
        .filter(|(_, weight)| **weight > 0)
        .map(|(index, weight)| Share { index, weight: i64::from(*weight) / divisor, credit: 0 })
        .collect();
    let turns: i64 = shares.iter().map(|share| share.weight).sum();
    (0..turns).filter_map(|_| next(&mut shares, turns)).collect()
}

/// What one index is due.
struct Share {
    index: usize,
    weight: i64,
    /// Grows by the weight each turn, falls by all weights when picked: whoever is owed most is next.
    credit: i64,
}

fn next(shares: &mut [Share], turns: i64) -> Option<usize> {
    for share in shares.iter_mut() {
        share.credit += share.weight;
    }
    // The first of equals, so that equal weights give the order of the file.
    let picked =
        shares.iter_mut().reduce(|best, share| if share.credit > best.credit { share } else { best })?;
    picked.credit -= turns;
    Some(picked.index)
}

fn greatest_common_divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn equal_weights_take_turns_in_the_order_of_the_file() {
        assert_eq!(order(&[7, 7, 7]), [0, 1, 2]);
    }

    #[test]
    fn a_heavy_weight_is_spread_over_the_cycle() {
        assert_eq!(order(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(order(&[1, 2, 3]), [2, 1, 0, 2, 1, 2]);
    }

    #[test]
    fn no_weight_no_turn() {
        assert_eq!(order(&[]), [0; 0]);
        assert_eq!(order(&[0, 0]), [0; 0]);
        assert_eq!(order(&[0, 256, 0]), [1]);
    }

    proptest! {
        #[test]
        fn a_cycle_holds_each_index_as_often_as_its_weight_says(
            weights in prop::collection::vec(0u16..=256, 0..12),
        ) {
            let cycle = order(&weights);
            let divisor = weights.iter().copied().map(i64::from).fold(0, greatest_common_divisor);
            for (index, weight) in weights.iter().enumerate() {
                let turns = cycle.iter().filter(|picked| **picked == index).count() as i64;
                prop_assert_eq!(turns * divisor, i64::from(*weight));
            }
        }

        #[test]
        fn nobody_is_ever_a_whole_turn_ahead_of_its_share(
            weights in prop::collection::vec(0u16..=256, 1..8),
        ) {
            let cycle = order(&weights);
            let total: u64 = weights.iter().copied().map(u64::from).sum();
            let mut picked = vec![0u64; weights.len()];
            for (turn, index) in cycle.iter().enumerate() {
                picked[*index] += 1;
                let due = (turn as u64 + 1) * u64::from(weights[*index]);
                prop_assert!(picked[*index] * total < due + total);
            }
        }

        #[test]
        fn of_two_neither_is_ever_a_whole_turn_behind_its_share(a in 1u16..=256, b in 1u16..=256) {
            let total = i64::from(a) + i64::from(b);
            let mut picked = 0i64;
            for (turn, index) in order(&[a, b]).iter().enumerate() {
                picked += i64::from(*index == 0);
                let due = (turn as i64 + 1) * i64::from(a);
                prop_assert!((picked * total - due).abs() < total);
            }
        }
    }
}
