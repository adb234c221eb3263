//! The end-to-end tests: real daemons in network namespaces, seen from a client and by an ARP witness.
//!
//! A test program of its own kind, since a sandbox has to be entered before the first thread: every test is a
//! process, which is this program again. `cargo test --test e2e -- NAME…` runs the tests whose names contain one of
//! the words; `--list` lists them, `--nocapture` lets them speak, `--jobs N` runs N at a time (2).

mod administration;
mod backends;
mod boards;
mod browser;
mod cluster;
mod failover;
mod fence;
mod full_rate;
mod guard;
mod handover;
mod harness;
mod ipv6;
mod lab;
mod large;
mod left_behind;
mod logs;
mod nftables;
mod node;
mod page;
mod pair;
mod prometheus;
mod public_boards;
mod quorum;
mod refusals;
mod reload;
mod restart;
mod scene;
mod sniffer;
mod spread;
mod stand_in;
mod strangers;
mod thirty;
mod traces;
mod views;
mod wall_clock;
mod words;

use std::process::ExitCode;

fn main() -> ExitCode {
    if let Some(part) = stand_in::part() {
        return part.play();
    }
    harness::main(
        &[
            lab::TESTS,
            node::TESTS,
            left_behind::TESTS,
            pair::TESTS,
            failover::TESTS,
            fence::TESTS,
            guard::TESTS,
            ipv6::TESTS,
            full_rate::TESTS,
            backends::TESTS,
            administration::TESTS,
            restart::TESTS,
            reload::TESTS,
            logs::TESTS,
            strangers::TESTS,
            refusals::TESTS,
            cluster::TESTS,
            views::TESTS,
            wall_clock::TESTS,
            words::TESTS,
            thirty::TESTS,
            prometheus::TESTS,
            boards::TESTS,
            page::TESTS,
            large::TESTS,
            traces::TESTS,
            quorum::TESTS,
            handover::TESTS,
            spread::TESTS,
        ]
        .concat(),
    )
}
