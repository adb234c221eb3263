//! The figures: medians over the rounds, ratios within a round, as a table and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::Mode;
use crate::contenders::Contender;
use crate::load::{Job, Seen};

/// Who runs where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Placement {
    /// The proxy, with one thread, on core 0; the load on core 1.
    Pinned,
    /// Everybody on all cores, each proxy with two threads.
    Free,
}

impl Placement {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Pinned => "pinned",
            Self::Free => "free",
        }
    }

    pub(crate) const fn proxy_core(self) -> Option<usize> {
        match self {
            Self::Pinned => Some(0),
            Self::Free => None,
        }
    }

    pub(crate) const fn load_core(self) -> Option<usize> {
        match self {
            Self::Pinned => Some(1),
            Self::Free => None,
        }
    }

    pub(crate) const fn threads(self) -> usize {
        match self {
            Self::Pinned => 1,
            Self::Free => 2,
        }
    }
}

/// One contender's turn in one mode.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sample {
    /// Exchanges a second; in bulk bytes a second.
    pub(crate) rate: f64,
    /// Seconds of the proxy's CPU time for one exchange; in bulk for one byte; idle: for one second.
    pub(crate) cpu: f64,
    /// Seconds.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// Bytes of the proxy's memory for one open connection.
    pub(crate) memory: f64,
    /// The share of the time that the load was busy: near 1 it is the limit.
    pub(crate) load: f64,
}

impl Sample {
    pub(crate) fn new(job: Job, clients: usize, seen: &Seen, cpu: Duration, grown: u64) -> Self {
        let seconds = seen.elapsed.as_secs_f64();
        let units = match job {
            Job::Requests | Job::Connections => seen.count as f64,
            Job::Down | Job::Up => seen.bytes as f64,
            Job::Idle => seconds,
        };
        Self {
            rate: units / seconds,
            cpu: cpu.as_secs_f64() / units,
            p50: seen.quantile(0.5).as_secs_f64(),
            p99: seen.quantile(0.99).as_secs_f64(),
            p999: seen.quantile(0.999).as_secs_f64(),
            memory: grown as f64 / clients as f64,
            load: seen.load_cpu.as_secs_f64() / seconds,
        }
    }
}

/// All figures.
#[derive(Debug, Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    calls: Vec<Calls>,
}

/// One contender in one mode and placement.
#[derive(Debug)]
struct Row {
    placement: Placement,
    mode: Mode,
    contender: Contender,
    /// By round.
    samples: BTreeMap<usize, Sample>,
}

/// System calls for one exchange.
#[derive(Debug)]
struct Calls {
    mode: &'static str,
    contender: Contender,
    all: f64,
    by_name: Vec<(String, f64)>,
}

/// What a figure is compared by.
type Figure = fn(&Sample) -> f64;

impl Report {
    pub(crate) fn add(
        &mut self,
        placement: Placement,
        mode: Mode,
        contender: Contender,
        round: usize,
        sample: Sample,
    ) {
        let found = self.rows.iter_mut().find(|row| {
            row.placement == placement && row.mode.name == mode.name && row.contender == contender
        });
        match found {
            Some(row) => drop(row.samples.insert(round, sample)),
            None => {
                self.rows.push(Row {
                    placement,
                    mode,
                    contender,
                    samples: BTreeMap::from([(round, sample)]),
                });
            }
        }
        self.rows.sort_by_key(|row| {
            let mode = crate::MODES.iter().position(|mode| mode.name == row.mode.name);
            (row.placement, mode, Contender::ALL.iter().position(|one| *one == row.contender))
        });
    }

    pub(crate) fn add_system_calls(
        &mut self,
        mode: Mode,
        contender: Contender,
        exchanges: u64,
        counted: &[(String, u64)],
    ) {
        let each = |calls: u64| calls as f64 / exchanges as f64;
        let all = each(counted.iter().map(|(_, calls)| calls).sum());
        let mut by_name: Vec<(String, f64)> =
            counted.iter().map(|(name, calls)| (name.clone(), each(*calls))).collect();
        by_name.sort_by(|a, b| b.1.total_cmp(&a.1));
        self.calls.push(Calls { mode: mode.name, contender, all, by_name });
    }

    /// The median over the rounds of one figure's ratio to haproxy's in the same round.
    pub(crate) fn ratio(
        &self,
        placement: Placement,
        mode: &str,
        contender: Contender,
        figure: Figure,
    ) -> Option<f64> {
        let row = |contender| {
            self.rows
                .iter()
                .find(|row| row.placement == placement && row.mode.name == mode && row.contender == contender)
        };
        let (own, base) = (row(contender)?, row(Contender::Haproxy)?);
        let ratios = own.samples.iter().filter_map(|(round, sample)| {
            let base = figure(base.samples.get(round)?);
            (base > 0.0).then(|| figure(sample) / base)
        });
        median(ratios.collect())
    }

    /// For people: one line a row, in Markdown.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let mut last = None;
        for row in &self.rows {
            if last != Some(row.placement) {
                last = Some(row.placement);
                let _ = writeln!(
                    out,
                    "\n{}; × is the median of same-round ratios to haproxy\n",
                    row.placement.name()
                );
                out.push_str(
                    "| mode | proxy | rate | × | CPU | × | p50 µs | × | p99 µs | × | p99.9 µs | load |\n",
                );
                out.push_str("|---|---|---|---|---|---|---|---|---|---|---|---|\n");
            }
            self.line(row, &mut out);
        }
        if !self.calls.is_empty() {
            out.push_str(
                "\nsystem calls for one exchange\n\n| mode | proxy | all | of which |\n|---|---|---|---|\n",
            );
        }
        for Calls { mode, contender, all, by_name } in &self.calls {
            let names = by_name.iter().filter(|(_, calls)| *calls >= 0.05);
            let names: Vec<String> = names.map(|(name, calls)| format!("{name} {calls:.2}")).collect();
            let _ = writeln!(out, "| {mode} | {} | {all:.2} | {} |", contender.name(), names.join(", "));
        }
        out
    }

    fn line(&self, row: &Row, out: &mut String) {
        let middle = |figure: Figure| median(row.samples.values().map(figure).collect()).unwrap_or_default();
        let ratio = |figure: Figure| match self.ratio(row.placement, row.mode.name, row.contender, figure) {
            Some(ratio) => format!("{ratio:.2}"),
            None => "–".to_owned(),
        };
        let (rate, cpu) = match row.mode.job {
            Job::Requests | Job::Connections => {
                (format!("{:.1} k/s", middle(|s| s.rate) / 1e3), format!("{:.2} µs", middle(|s| s.cpu) * 1e6))
            }
            Job::Down | Job::Up => (
                format!("{:.2} GB/s", middle(|s| s.rate) / 1e9),
                format!("{:.3} s/GB", middle(|s| s.cpu) * 1e9),
            ),
            Job::Idle => {
                let memory = ratio(|s| s.memory);
                let (rate, cpu) = (middle(|s| s.memory) / 1e3, middle(|s| s.cpu) * 1e2);
                let _ = writeln!(
                    out,
                    "| {} | {} | {rate:.2} kB each | {memory} | {cpu:.2} % | – | – | – | – | – | – | – |",
                    row.mode.name,
                    row.contender.name(),
                );
                return;
            }
        };
        let _ = write!(
            out,
            "| {} | {} | {rate} | {} | {cpu} | {} |",
            row.mode.name,
            row.contender.name(),
            ratio(|s| s.rate),
            ratio(|s| s.cpu)
        );
        let _ = match row.mode.job {
            Job::Requests | Job::Connections => write!(
                out,
                " {:.0} | {} | {:.0} | {} | {:.0} |",
                middle(|s| s.p50) * 1e6,
                ratio(|s| s.p50),
                middle(|s| s.p99) * 1e6,
                ratio(|s| s.p99),
                middle(|s| s.p999) * 1e6,
            ),
            Job::Down | Job::Up | Job::Idle => write!(out, " – | – | – | – | – |"),
        };
        let _ = writeln!(out, " {:.0} % |", middle(|s| s.load) * 1e2);
    }

    /// For programs: every round's figures, in seconds and bytes.
    pub(crate) fn json(&self) -> Value {
        let sample = |(round, s): (&usize, &Sample)| {
            json!({"round": round, "rate": s.rate, "cpu": s.cpu, "p50": s.p50, "p99": s.p99, "p999": s.p999,
                "memory": s.memory, "load": s.load})
        };
        let row = |row: &Row| {
            json!({
                "placement": row.placement.name(), "mode": row.mode.name, "clients": row.mode.clients,
                "proxy": row.contender.name(),
                "rate_ratio": self.ratio(row.placement, row.mode.name, row.contender, |s| s.rate),
                "cpu_ratio": self.ratio(row.placement, row.mode.name, row.contender, |s| s.cpu),
                "p99_ratio": self.ratio(row.placement, row.mode.name, row.contender, |s| s.p99),
                "samples": row.samples.iter().map(sample).collect::<Vec<_>>(),
            })
        };
        let calls = |calls: &Calls| {
            json!({"mode": calls.mode, "proxy": calls.contender.name(), "system_calls": calls.all,
                "by_name": calls.by_name.iter().cloned().collect::<BTreeMap<_, _>>()})
        };
        json!({
            "rows": self.rows.iter().map(row).collect::<Vec<_>>(),
            "system_calls": self.calls.iter().map(calls).collect::<Vec<_>>(),
        })
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}
