//! Medians and maxima, judged and printed: one table for each fault, a row for each contender.

use std::fmt::{self, Write};

use crate::contender::{CONTENDERS, Contender};
use crate::fault::{FAULTS, Fault};
use crate::limits::{Limits, Part};
use crate::record::{Phase, Run, Spread, Summary};

impl Spread {
    fn of(values: impl Iterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.collect();
        values.sort_by(f64::total_cmp);
        let Some(&most) = values.last() else { return Self::default() };
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Self { median, most }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = f.precision().unwrap_or(0);
        write!(f, "{:.digits$} / {:.digits$}", self.median, self.most)
    }
}

/// What was seen of one fault, or of its end, at one contender.
struct Row<'a> {
    contender: Contender,
    fault: Fault,
    part: Part,
    noise: Spread,
    phases: Vec<&'a Phase>,
}

impl<'a> Row<'a> {
    fn of(runs: &[&'a Run], contender: Contender, fault: Fault, part: Part) -> Option<Self> {
        let phase = |run: &&'a Run| match part {
            Part::Fault => run.fault_phase.as_ref(),
            Part::End => run.end_phase.as_ref(),
        };
        let phases: Vec<&Phase> = runs.iter().filter_map(phase).collect();
        let noise = Spread::of(runs.iter().map(|run| run.noise_ms));
        (!phases.is_empty()).then_some(Self { contender, fault, part, noise, phases })
    }

    fn summary(&self) -> Summary {
        Summary {
            what: title(self.fault, self.part),
            fault: self.fault.name().into(),
            contender: self.contender.name.into(),
            quorum: self.contender.quorum(),
            interval_ms: self.contender.interval.as_secs_f64() * 1000.0,
            runs: self.phases.len(),
            unsettled: self.phases.iter().filter(|phase| phase.settled_ms.is_none()).count(),
            noise_ms: self.noise,
            gap_ms: self.spread(|phase| phase.gap_ms),
            client_late_ms: self.spread(|phase| phase.client_late_ms),
            failed: self.spread(|phase| phase.failed as f64),
            two_answerers_s: self.spread(|phase| phase.two_answerers_s),
            takeovers: self.spread(|phase| phase.takeovers as f64),
            limit: self.limits().map(|limits| limits.to_string()),
            breaches: self.breaches(),
        }
    }

    fn limits(&self) -> Option<Limits> {
        Limits::of(&self.contender, self.fault, self.part)
    }

    fn spread(&self, value: impl Fn(&Phase) -> f64) -> Spread {
        Spread::of(self.phases.iter().map(|phase| value(phase)))
    }

    /// What it doesn't keep to. A limit below the noise is read as that noise.
    fn breaches(&self) -> Vec<String> {
        let Some(limits) = self.limits() else { return Vec::new() };
        let mut breaches = Vec::new();
        let mut check = |what: &str, value: f64, limit: Option<f64>| {
            if let Some(limit) = limit.filter(|&limit| value > limit) {
                breaches.push(format!("{what} {} > {}", short(value), short(limit)));
            }
        };
        let (gap, noise) = (self.spread(|phase| phase.gap_ms), self.noise);
        check("median gap", gap.median, limits.gap_ms.map(|(median, _)| median.max(noise.median)));
        check("longest gap", gap.most, limits.gap_ms.map(|(_, most)| most.max(noise.most)));
        let lasted = self.spread(|phase| phase.failed_for_ms).most;
        check("failed for ms", lasted, limits.failed_for_ms.map(|limit| limit.max(noise.most)));
        let failed = self.spread(|phase| phase.failed as f64).most;
        check("failed", failed, limits.failed.map(|limit| limit as f64));
        check("two for s", self.spread(|phase| phase.two_answerers_s).most, limits.two_answerers_s);
        let takeovers = self.spread(|phase| phase.takeovers as f64).most;
        check("takeovers", takeovers, limits.takeovers.map(|limit| limit as f64));
        breaches
    }
}

impl fmt::Display for Limits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if let Some((median, most)) = self.gap_ms {
            parts.push(match (median < most, most.is_finite()) {
                (true, true) => format!("{median} / {most} ms"),
                (true, false) => format!("{median} / – ms"),
                (false, _) => format!("{most} ms"),
            });
        }
        parts.extend(self.failed_for_ms.map(|_| "in flight".into()));
        parts.extend(self.failed.map(|limit| format!("{limit} failed")));
        parts.extend(self.takeovers.map(|limit| format!("{limit} takeovers")));
        f.write_str(&parts.join(", "))
    }
}

const HEADER: [&str; 12] = [
    "contender",
    "quorum",
    "every",
    "runs",
    "noise ms",
    "gap ms",
    "client late ms",
    "failed",
    "two answerers s",
    "takeovers",
    "limit",
    "",
];
const IDLE_HEADER: [&str; 8] =
    ["contender", "quorum", "every", "runs", "holder CPU %", "others CPU %", "RSS MiB", "PSS MiB"];

/// Every row of the table but those of doing nothing.
pub(crate) fn summaries(runs: &[Run]) -> Vec<Summary> {
    let mut summaries = Vec::new();
    for fault in FAULTS {
        let suffered = suffered(runs, fault);
        for part in [Part::Fault, Part::End] {
            let rows = suffered.iter().filter_map(|(who, runs)| Row::of(runs, *who, fault, part));
            summaries.extend(rows.map(|row| row.summary()));
        }
    }
    summaries
}

/// The whole result, as Markdown. Two figures are median and maximum.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = String::new();
    let mut title = String::new();
    for row in summaries(runs) {
        if row.what != title {
            head(&mut text, &row.what, &HEADER);
            title.clone_from(&row.what);
        }
        print(&mut text, &row);
    }
    let idle = suffered(runs, Fault::Idle);
    if !idle.is_empty() {
        head(&mut text, "nothing happens: checks every 100 ms, no client", &IDLE_HEADER);
        for (contender, runs) in &idle {
            idle_row(&mut text, contender, runs);
        }
    }
    text
}

/// The runs of this fault, by contender.
fn suffered(runs: &[Run], fault: Fault) -> Vec<(Contender, Vec<&Run>)> {
    let of = |contender: Contender| {
        let chosen = |run: &&Run| run.fault == fault.name() && run.contender == contender.name;
        (contender, runs.iter().filter(chosen).collect::<Vec<_>>())
    };
    CONTENDERS.into_iter().map(of).filter(|(_, runs)| !runs.is_empty()).collect()
}

fn title(fault: Fault, part: Part) -> String {
    match part {
        Part::Fault => fault.sentence().into(),
        Part::End => format!("{}: {}", fault.name(), fault.undoing()),
    }
}

fn print(to: &mut String, row: &Summary) {
    let runs = match row.unsettled {
        0 => row.runs.to_string(),
        some => format!("{} ({some} unsettled)", row.runs),
    };
    let verdict = match (&row.limit, row.breaches.is_empty()) {
        (None, _) => String::new(),
        (Some(_), true) => "kept".into(),
        (Some(_), false) => row.breaches.join(", "),
    };
    line(
        to,
        &[
            &row.contender,
            &row.quorum.to_string(),
            &format!("{} ms", row.interval_ms),
            &runs,
            &row.noise_ms.to_string(),
            &row.gap_ms.to_string(),
            &row.client_late_ms.to_string(),
            &row.failed.to_string(),
            &format!("{:.2}", row.two_answerers_s),
            &row.takeovers.to_string(),
            row.limit.as_deref().unwrap_or_default(),
            &verdict,
        ],
    );
}

fn idle_row(to: &mut String, contender: &Contender, runs: &[&Run]) {
    let holder = Spread::of(runs.iter().filter_map(|run| Some(run.idle.first()?.cpu_percent)));
    let others = Spread::of(runs.iter().flat_map(|run| run.idle.iter().skip(1)).map(|node| node.cpu_percent));
    let nodes = || runs.iter().flat_map(|run| &run.idle);
    line(
        to,
        &[
            contender.name,
            &contender.quorum().to_string(),
            &format!("{} ms", contender.interval.as_millis()),
            &runs.len().to_string(),
            &format!("{holder:.2}"),
            &format!("{others:.2}"),
            &format!("{:.1}", Spread::of(nodes().map(|node| node.rss_mib))),
            &format!("{:.1}", Spread::of(nodes().map(|node| node.pss_mib))),
        ],
    );
}

fn head(to: &mut String, title: &str, header: &[&str]) {
    add(to, format_args!("\n**{title}**\n\n"));
    line(to, header);
    line(to, &vec!["---"; header.len()]);
}

fn line(to: &mut String, cells: &[&str]) {
    add(to, format_args!("| {} |\n", cells.join(" | ")));
}

fn add(to: &mut String, text: fmt::Arguments<'_>) {
    to.write_fmt(text).expect("a String takes everything");
}

fn short(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
