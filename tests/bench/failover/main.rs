//! Failover, measured: chinthe beside keepalived + haproxy, in the same namespaces, by the same client.
//!
//! `cargo bench --bench failover` runs every fault on every contender ten times, prints medians and maxima, and
//! writes all of it as JSON; `-- --help` tells how to choose. Each run is a process, which is this program again: it
//! enters a sandbox, starts a cluster, has its holder suffer one fault and end it, and watches both from a client
//! that opens a connection every 4 ms and by a witness that asks for the VIP by ARP every 20 ms. What is measured in
//! milliseconds has the machine for itself, the contenders taking turns; what lasts long they suffer together, chinthe apart
//! from keepalived where that would get in its way.

mod beat;
mod cluster;
mod contender;
mod cost;
mod fault;
mod init;
mod limits;
mod load;
mod options;
mod peers;
mod plan;
mod record;
mod rival;
mod run;
mod settings;
mod stage;
mod sweep;
mod switch;
mod table;
mod trial;
mod unfenced;

use std::env;
use std::process::ExitCode;

use contender::CONTENDERS;
use fault::FAULTS;
use options::{HELP, Options, Request};
use record::{Phase, Report, Run};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [init::ARGUMENT] => return init::main(),
        [sweep::PROBE] => return sweep::probe(),
        [sweep::ARGUMENT, fault, contender, number, longest, before, after] => {
            return sweep::one([fault, contender, number, longest, before, after]);
        }
        _ => {}
    }
    match Request::read(arguments.into_iter()) {
        Ok(Request::Run(options)) => {
            let report = sweep::sweep(&options);
            if options.smoke {
                return smoke(&report, &options);
            }
            sweep::print(&report, &options);
            if report.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Ok(Request::List) => {
            for fault in FAULTS {
                println!("{:12} {}", fault.name(), fault.sentence());
            }
            println!("\n{}", CONTENDERS.map(|contender| contender.name).join(", "));
            ExitCode::SUCCESS
        }
        Ok(Request::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(mistake) => {
            eprintln!("error: {mistake}");
            ExitCode::from(2)
        }
    }
}

/// When set to 1 what is missing on this machine fails, instead of being skipped.
const REQUIRE: &str = "CHINTHE_REQUIRE_PEERS";

/// Whether every contender was seen to move its VIP and to come home: that the benchmark works, not how fast anybody
/// is, which a busy machine wouldn't tell.
fn smoke(report: &Report, options: &Options) -> ExitCode {
    let settled = |phase: &Option<Phase>| phase.as_ref().is_some_and(|phase| phase.settled_ms.is_some());
    let well = |run: &&Run| settled(&run.fault_phase) && settled(&run.end_phase);
    let passed = report.runs.iter().filter(well).count();
    let required = env::var(REQUIRE).is_ok_and(|value| value == "1");
    let skipped = if required { 0 } else { report.left_out.len() };
    let failed = options.contenders.len() - passed - skipped;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
