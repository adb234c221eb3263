//! What a process costs: its CPU time, its memory, its system calls; and where it may run.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, sched_setaffinity};

/// A process and its descendants, by their ids.
#[derive(Debug, Clone)]
pub(crate) struct Family(Vec<u32>);

impl Family {
    /// As they are now.
    pub(crate) fn of(parent: u32) -> Self {
        let mut all = vec![parent];
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            next += 1;
            let tasks = fs::read_dir(format!("/proc/{id}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                all.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        Self(all)
    }

    /// CPU time so far, by the processes' own clocks: exact, whoever else uses the machine.
    pub(crate) fn cpu(&self) -> Result<Duration> {
        self.0.iter().map(|id| cpu_clock(*id)).sum()
    }

    /// Memory that is theirs alone, and their part of what is shared, in bytes (PSS).
    pub(crate) fn memory(&self) -> Result<u64> {
        let mut sum = 0;
        for id in &self.0 {
            let text = fs::read_to_string(format!("/proc/{id}/smaps_rollup"))?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).context("no Pss")?;
            let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
            sum += kilobytes * 1024;
        }
        Ok(sum)
    }

    /// Does `deed` while every system call of theirs is counted; the counts by name.
    pub(crate) fn system_calls(
        &self,
        folder: &Path,
        deed: impl FnOnce() -> Result<()>,
    ) -> Result<Vec<(String, u64)>> {
        let file = folder.join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-c", "-U", "name,calls", "-o"]).arg(&file);
        for id in &self.0 {
            strace.arg("-p").arg(id.to_string());
        }
        let mut strace = strace.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().context("strace")?;
        // It says so for each process, with its threads.
        let lines = BufReader::new(strace.stderr.take().context("strace's words")?).lines();
        let attached =
            lines.map_while(Result::ok).filter(|line| line.contains("attached")).take(self.0.len());
        if attached.count() < self.0.len() {
            bail!("strace can't attach");
        }
        let done = deed();
        let id = rustix::process::Pid::from_child(&strace);
        rustix::process::kill_process(id, rustix::process::Signal::INT)?;
        strace.wait()?;
        done?;
        let text = fs::read_to_string(&file)?;
        let counted = text.lines().filter_map(|line| {
            let (name, calls) = line.trim().split_once(char::is_whitespace)?;
            Some((name.to_owned(), calls.trim().parse().ok()?))
        });
        Ok(counted.filter(|(name, _)| name != "total").collect())
    }
}

/// Keeps this thread, and what it starts from now on, on one core; `None` sets it free.
pub(crate) fn pin(core: Option<usize>) -> Result<()> {
    let mut set = CpuSet::new();
    match core {
        Some(core) => set.set(core),
        None => (0..CpuSet::MAX_CPU).for_each(|core| set.set(core)),
    }
    Ok(sched_setaffinity(None, &set)?)
}

#[allow(unsafe_code)]
fn cpu_clock(id: u32) -> Result<Duration> {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: both calls write one value each through a pointer that is valid for it.
    let failed = unsafe {
        libc::clock_getcpuclockid(id.cast_signed(), &raw mut clock) != 0
            || libc::clock_gettime(clock, &raw mut time) != 0
    };
    if failed {
        bail!("the CPU clock of process {id} can't be read");
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}
