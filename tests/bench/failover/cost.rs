//! What processes cost: their time on a processor and their memory, as `/proc` tells.

use std::fs;
use std::io;
use std::ops::Add;

use serde::{Deserialize, Serialize};

/// What some processes have cost so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Cost {
    /// Time on a processor of all threads that still run, in nanoseconds.
    pub(crate) cpu_ns: u64,
    /// Resident memory, in KiB; what processes share counts for each of them.
    pub(crate) rss_kib: u64,
    /// Their share of resident memory, in KiB: what two processes share counts once.
    pub(crate) pss_kib: u64,
}

impl Cost {
    /// What the process `pid` has cost.
    pub(crate) fn of(pid: i32) -> io::Result<Self> {
        let mut cpu_ns = 0;
        for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
            // One that ended meanwhile takes its time along.
            let Ok(text) = fs::read_to_string(thread?.path().join("schedstat")) else { continue };
            cpu_ns += text.split(' ').next().and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        }
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name| {
            let line = memory.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Ok(Self { cpu_ns, rss_kib: field("Rss:").unwrap_or(0), pss_kib: field("Pss:").unwrap_or(0) })
    }
}

impl Add for Cost {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            cpu_ns: self.cpu_ns + other.cpu_ns,
            rss_kib: self.rss_kib + other.rss_kib,
            pss_kib: self.pss_kib + other.pss_kib,
        }
    }
}
