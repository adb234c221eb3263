//! Seeds, many of them.
//!
//! * `cargo test --test sim` runs a thousand and those that failed once.
//! * `SIM_SEED=0x2a cargo test --test sim replay -- --nocapture` tells one seed's story.
//! * `SIM_SEEDS=1000000 cargo test --release --test sim sweep -- --nocapture` runs a million;
//!   `CARGO_PROFILE_DEV_OPT_LEVEL=1` in place of `--release` builds sooner, and is what `tests/run` does.
//! * `SIM_FIRST=1000000` begins there instead of at 0.

use std::sync::atomic::{AtomicU64, Ordering};

use chinthe::core::Cause;

use crate::run::{Draw, Outcome, moved_by_loss, run};
use crate::trace::Trace;

const SEEDS: u64 = 1000;

/// Seeds that failed once, drawn as [`Draw::Plain`], and what they found.
///
/// * `0x79`: two holders answered each other's announcements without end.
/// * `0x9a`, `0x957`: a node that had been stopped took the VIP on an old resignation, with the new holder's
///   word waiting behind it.
/// * `0xa7`, `0x104`, `0x1ce`, `0x27b`, `0x355`: a node that had just started, and had heard too little to know how
///   much gets lost, took a VIP after five unanswered broadcasts.
/// * `0x784`: the named successor of one of two holders took the VIP at once; the other was only silent.
/// * `0x2f3`: two nodes took a released VIP in the same instant: neither had heard the other for two intervals.
/// * `0x80d`: a node that a leftover's answers didn't reach took the VIP, and handed it to one whom they did reach.
/// * `0x3ea4`: a guard that had been stopped sent all probes that it owed at once, and before an answer could come.
/// * `0x1f1c`: a holder hung half a second after losses of 40 % had begun, and its few lost answers looked like silence.
/// * `0x432`: grants fell below the fence's time for a moment, and the hold went on behind a shut fence.
/// * `0x660d`: a holder kept alive what it had asked a hung guard to let go.
const ONCE_FAILED: [u64; 15] =
    [0x79, 0x9a, 0x957, 0xa7, 0x104, 0x1ce, 0x27b, 0x355, 0x784, 0x2f3, 0x80d, 0x3ea4, 0x1f1c, 0x432, 0x660d];

/// Seeds that failed once, drawn as [`Draw::Everything`], and what they found.
///
/// * `0x242`: of three equal nodes one holds everything, as the one whose turn it is to be relieved doesn't preempt.
/// * `0x7e`, `0x3c6`: operators take all backends out of use while the last peer dies, and nobody holds the VIP.
/// * `0xe73`, `0x1158`, `0xe1e`: a holder yields to a node that has come back with another file, for what it saw before.
/// * `0x189b`: a holder's daemon dies before the two others have heard each other, and both take the VIP.
/// * `0x250f`: a node that leaves with a hung guard, which its successor has nothing of.
/// * `0x2c5c`, `0x3203`, `0x53b3`, `0x5953`: a daemon hangs just after its guard was replaced, and goes on behind a
///   shut fence.
const SINCE_FAILED: [u64; 12] =
    [0x242, 0x7e, 0x3c6, 0xe73, 0x1158, 0xe1e, 0x189b, 0x250f, 0x2c5c, 0x3203, 0x53b3, 0x5953];

/// Seeds that failed once, drawn as [`Draw::Reloads`], and what they found.
///
/// * `0x36e`, `0x68e8`, `0x735e`, `0x914c`: losses of 40 % begin as the holder falls silent, and five probes of it get
///   lost.
/// * `0x50c9`: a connection that was under way to a backend in maintenance failed, and nobody would ever probe that again.
/// * `0xae34`: late among five, by the same five probes.
/// * `0x137ac`, `0x16381`: a named successor that had been stopped took the VIP with the word of who had it by then unread.
/// * `0x1e927`: one that was stopped while it waited for its turn took it as soon as it went on.
/// * `0x16a9a`, `0x22d86`: a hold that outlived a guard was still believed in when its daemon had hung, long after the next
///   guard had let it go.
/// * `0x1af41`: judged in the very moment at which a hand-back had waited for long enough.
const LATELY_FAILED: [u64; 12] =
    [0x36e, 0x68e8, 0x735e, 0x914c, 0x50c9, 0xae34, 0x137ac, 0x16381, 0x1e927, 0x16a9a, 0x22d86, 0x1af41];

#[test]
fn sweep() {
    let (seeds, first) = (from_environment("SIM_SEEDS").unwrap_or(SEEDS), from_environment("SIM_FIRST"));
    let first = first.unwrap_or(0);
    let outcomes = run_all(&(first..first + seeds).collect::<Vec<_>>());
    let failures: Vec<&(u64, Outcome)> = outcomes.iter().filter(|(_, o)| o.failure.is_some()).collect();
    println!("{seeds} seeds: {} failed", failures.len());
    for (seed, outcome) in failures.iter().take(8) {
        println!(
            "seed {seed:#x} ({} nodes): {}\n",
            outcome.nodes,
            outcome.failure.as_deref().unwrap_or_default()
        );
    }
    let all: Vec<String> = failures.iter().map(|(seed, _)| format!("{seed:#x}")).take(40).collect();
    assert!(failures.is_empty(), "{} seeds failed: {}", failures.len(), all.join(" "));
    if seeds >= SEEDS {
        // What never happens is never judged. A lost guard alone moves nothing: another one goes on with its holds.
        for cause in Cause::ALL.iter().filter(|cause| **cause != Cause::GuardLost) {
            let moved = |(_, outcome): &&(u64, Outcome)| outcome.causes.contains(cause.as_str());
            assert_ne!(outcomes.iter().filter(moved).count(), 0, "nothing has moved for {}", cause.as_str());
        }
    }
}

#[test]
fn seeds_that_failed_once_do_not_fail_again() {
    let failed = |seeds: &[u64], draw: Draw| seeds.iter().map(|seed| (*seed, draw)).collect::<Vec<_>>();
    let (plain, all) = (failed(&ONCE_FAILED, Draw::Plain), failed(&SINCE_FAILED, Draw::Everything));
    for (seed, draw) in [plain, all, failed(&LATELY_FAILED, Draw::Reloads)].concat() {
        assert_eq!(run(seed, draw, Trace::silent()).failure, None, "seed {seed:#x}, {draw:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in [1, 2, 3] {
        let hash = run(seed, Draw::OneSeed, Trace::silent()).hash;
        assert_eq!(run(seed, Draw::OneSeed, Trace::readable()).hash, hash);
        assert_ne!(run(seed + 1, Draw::OneSeed, Trace::silent()).hash, hash);
    }
}

#[test]
fn replay() {
    let Some(seed) = from_environment("SIM_SEED") else { return };
    let outcome = run(seed, Draw::OneSeed, Trace::readable());
    let skipped =
        outcome.lines.len().saturating_sub(from_environment("SIM_LINES").unwrap_or(100_000) as usize);
    outcome.lines.iter().skip(skipped).for_each(|line| println!("{line}"));
    if let Some(failure) = outcome.failure {
        panic!("{failure}");
    }
}

#[test]
fn losses_up_to_a_fifth_move_nothing() {
    assert_eq!(moved_by_loss(200, 40), 0);
    for loss in [300, 400] {
        println!("{loss} ‰ lost: {} of 20 clusters moved in 10 s", moved_by_loss(loss, 20));
    }
}

/// Runs seeds on all cores; the outcomes in the seeds' order.
fn run_all(seeds: &[u64]) -> Vec<(u64, Outcome)> {
    let next = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let work = || {
        let mut outcomes = Vec::new();
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed) as usize) {
            outcomes.push((*seed, run(*seed, Draw::OneSeed, Trace::silent())));
        }
        outcomes
    };
    let mut outcomes: Vec<(u64, Outcome)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a run panicked")).collect()
    });
    outcomes.sort_by_key(|(seed, _)| *seed);
    outcomes
}

fn from_environment(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let number = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(number.unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}
