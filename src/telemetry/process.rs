//! `process_*`: this process as the kernel sees it, by the names that all Prometheus clients use.
//!
//! What can't be read (a hardened `/proc`, no descriptor left) is left out rather than shown as zero.

use std::fs;

use super::families::{self, Family};

/// The families that could be read, each with its one value.
pub(super) fn read() -> Vec<(&'static Family, f64)> {
    let mut found = Vec::with_capacity(7);
    let mut add = |family, value: Option<f64>| found.extend(value.map(|value| (family, value)));
    let stat = fs::read_to_string("/proc/self/stat").ok();
    let stat = stat.as_deref().and_then(Stat::parse);
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    add(&families::PROCESS_CPU, stat.as_ref().map(|stat| stat.cpu_ticks as f64 / ticks));
    add(&families::PROCESS_VIRTUAL, stat.as_ref().map(|stat| stat.virtual_bytes as f64));
    add(
        &families::PROCESS_RESIDENT,
        stat.as_ref().map(|stat| (stat.resident_pages * rustix::param::page_size() as u64) as f64),
    );
    add(&families::PROCESS_THREADS, stat.as_ref().map(|stat| stat.threads as f64));
    let booted = fs::read_to_string("/proc/stat").ok().as_deref().and_then(boot_time);
    add(
        &families::PROCESS_START,
        stat.as_ref().zip(booted).map(|(stat, booted)| booted as f64 + stat.start_ticks as f64 / ticks),
    );
    add(&families::PROCESS_FDS, open_descriptors());
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    add(&families::PROCESS_MAX_FDS, Some(limit.map_or(f64::INFINITY, |limit| limit as f64)));
    found
}

/// What `/proc/self/stat` tells, proc(5).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name stands in parentheses and may itself hold spaces and parentheses.
        let (_, rest) = text.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        // proc(5) counts from 1, and the state, first here, is its number 3.
        let number = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
        Some(Self {
            cpu_ticks: number(14)?.checked_add(number(15)?)?,
            threads: number(20)?,
            start_ticks: number(22)?,
            virtual_bytes: number(23)?,
            resident_pages: number(24)?,
        })
    }
}

/// When the machine was started, in seconds since the epoch, from `/proc/stat`.
fn boot_time(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

/// The one that lists them counts too, and is taken off.
fn open_descriptors() -> Option<f64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count();
    Some(listed.saturating_sub(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_doesnt_shift_the_fields() {
        let line = "71 (a) R (b) S 1 71 71 0 -1 4194560 100 0 0 0 30 12 0 0 20 0 5 0 900 4096000 250 1844";
        let stat = Stat::parse(line).expect("a whole line");
        assert_eq!(
            stat,
            Stat {
                cpu_ticks: 42,
                threads: 5,
                start_ticks: 900,
                virtual_bytes: 4_096_000,
                resident_pages: 250
            }
        );
    }

    #[test]
    fn a_line_cut_short_is_left_out() {
        assert_eq!(Stat::parse("71 (chinthe) S 1 71"), None);
        assert_eq!(Stat::parse(""), None);
        assert_eq!(boot_time("cpu 1 2 3\n"), None);
    }

    #[test]
    fn this_process_can_be_read_here() {
        let found = read();
        let value = |name| found.iter().find(|(family, _)| family.name == name).map(|(_, value)| *value);
        assert!(value("process_threads").is_some_and(|threads| threads >= 1.0));
        assert!(value("process_open_fds").is_some_and(|open| open >= 3.0));
        assert!(value("process_start_time_seconds").is_some_and(|start| start > 1.0e9));
    }
}
