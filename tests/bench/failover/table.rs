//! Medians and maxima, judged and printed: one table for each fault, a row for each contender.

use std::fmt::{self, Write};

use crate::contender::{CONTENDERS, Contender};
use crate::fault::{FAULTS, Fault};
use crate::limits::{Limits, Part};
use crate::record::{Phase, Run};

/// Middle and worst of some values.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl Iterator<Item = f64>) -> Self {
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

/// Everything that is known of one fault's part at one contender.
pub(crate) struct Row<'a> {
    contender: Contender,
    noise: Spread,
    phases: Vec<&'a Phase>,
    limits: Option<Limits>,
}

impl<'a> Row<'a> {
    fn of(runs: &[&'a Run], contender: Contender, fault: Fault, part: Part) -> Option<Self> {
        let phase = |run: &&'a Run| match part {
            Part::Fault => run.fault_phase.as_ref(),
            Part::End => run.end_phase.as_ref(),
        };
        let phases: Vec<&Phase> = runs.iter().filter_map(phase).collect();
        let noise = Spread::of(runs.iter().map(|run| run.noise_ms));
        let limits = Limits::of(&contender, fault, part);
        (!phases.is_empty()).then_some(Self { contender, noise, phases, limits })
    }

    fn spread(&self, value: impl Fn(&Phase) -> f64) -> Spread {
        Spread::of(self.phases.iter().map(|phase| value(phase)))
    }

    fn gap(&self) -> Spread {
        self.spread(|phase| phase.gap_ms)
    }

    /// What it doesn't keep to. A limit below the noise is read as that noise.
    pub(crate) fn breaches(&self) -> Vec<String> {
        let Some(limits) = self.limits else { return Vec::new() };
        let mut breaches = Vec::new();
        let mut check = |what: &str, value: f64, limit: Option<f64>| {
            if let Some(limit) = limit.filter(|&limit| value > limit) {
                breaches.push(format!("{what} {} > {}", short(value), short(limit)));
            }
        };
        let (gap, noise) = (self.gap(), self.noise);
        check("median gap", gap.median, limits.gap_ms.map(|(median, _)| median.max(noise.median)));
        check("longest gap", gap.most, limits.gap_ms.map(|(_, most)| most.max(noise.most)));
        let lasted = self.spread(|phase| phase.failed_for_ms).most;
        check("requests failed for ms", lasted, limits.failed_for_ms.map(|limit| limit.max(noise.most)));
        let failed = self.spread(|phase| phase.failed as f64).most;
        check("failed", failed, limits.failed.map(|limit| limit as f64));
        check("two answerers for s", self.spread(|phase| phase.two_answerers_s).most, limits.two_answerers_s);
        let takeovers = self.spread(|phase| phase.takeovers as f64).most;
        check("takeovers", takeovers, limits.takeovers.map(|limit| limit as f64));
        breaches
    }

    fn verdict(&self) -> String {
        let breaches = self.breaches();
        match (self.limits, breaches.is_empty()) {
            (None, _) => String::new(),
            (Some(_), true) => "kept".into(),
            (Some(_), false) => breaches.join(", "),
        }
    }

    fn limit(&self) -> String {
        let Some(limits) = self.limits else { return String::new() };
        let mut parts = Vec::new();
        if let Some((median, most)) = limits.gap_ms {
            parts.push(match (median < most, most.is_finite()) {
                (true, true) => format!("{median} / {most} ms"),
                (true, false) => format!("{median} / – ms"),
                (false, _) => format!("{most} ms"),
            });
        }
        if limits.failed_for_ms.is_some() {
            parts.push("in flight".into());
        }
        parts.extend(limits.failed.map(|limit| format!("{limit} failed")));
        parts.extend(limits.takeovers.map(|limit| format!("{limit} takeovers")));
        parts.join(", ")
    }

    fn print(&self, to: &mut String) {
        let unsettled = self.phases.iter().filter(|phase| phase.settled_ms.is_none()).count();
        let runs = match unsettled {
            0 => self.phases.len().to_string(),
            some => format!("{} ({some} unsettled)", self.phases.len()),
        };
        line(
            to,
            &[
                self.contender.name,
                &self.contender.quorum().to_string(),
                &format!("{} ms", self.contender.interval.as_millis()),
                &runs,
                &self.noise.to_string(),
                &self.gap().to_string(),
                &self.spread(|phase| phase.failed as f64).to_string(),
                &format!("{:.2}", self.spread(|phase| phase.two_answerers_s)),
                &self.spread(|phase| phase.takeovers as f64).to_string(),
                &self.limit(),
                &self.verdict(),
            ],
        );
    }
}

const HEADER: [&str; 11] = [
    "contender",
    "quorum",
    "every",
    "runs",
    "noise ms",
    "gap ms",
    "failed",
    "two answerers s",
    "takeovers",
    "limit",
    "chinthe",
];
const IDLE_HEADER: [&str; 8] =
    ["contender", "quorum", "every", "runs", "holder CPU %", "others CPU %", "RSS MiB", "PSS MiB"];

/// The whole result, as Markdown. Two figures are median and maximum.
pub(crate) fn table(runs: &[Run]) -> String {
    let mut text = String::new();
    for fault in FAULTS {
        let of = |contender: Contender| {
            let chosen = |run: &&Run| run.fault == fault.name() && run.contender == contender.name;
            (contender, runs.iter().filter(chosen).collect::<Vec<_>>())
        };
        let contenders: Vec<_> =
            CONTENDERS.into_iter().map(of).filter(|(_, runs)| !runs.is_empty()).collect();
        if contenders.is_empty() {
            continue;
        }
        if fault == Fault::Idle {
            head(&mut text, "Idle: checks every 100 ms, nobody asks anything", &IDLE_HEADER);
            contenders.iter().for_each(|(contender, runs)| idle_row(&mut text, contender, runs));
            continue;
        }
        for (part, title) in [(Part::Fault, fault.sentence()), (Part::End, fault.undoing())] {
            let rows: Vec<Row<'_>> = contenders
                .iter()
                .filter_map(|(contender, runs)| Row::of(runs, *contender, fault, part))
                .collect();
            if !rows.is_empty() {
                let after =
                    if part == Part::End { format!("{}: {title}", fault.name()) } else { title.into() };
                head(&mut text, &after, &HEADER);
                rows.iter().for_each(|row| row.print(&mut text));
            }
        }
    }
    text
}

/// All that chinthe doesn't keep to, a line each.
pub(crate) fn breaches(runs: &[Run]) -> Vec<String> {
    let mut breaches = Vec::new();
    for fault in FAULTS {
        for contender in CONTENDERS {
            let chosen = |run: &&Run| run.fault == fault.name() && run.contender == contender.name;
            let runs: Vec<&Run> = runs.iter().filter(chosen).collect();
            for (part, when) in [(Part::Fault, "at"), (Part::End, "after")] {
                let row = Row::of(&runs, contender, fault, part);
                for breach in row.iter().flat_map(Row::breaches) {
                    breaches.push(format!("{} {when} {}: {breach}", contender.name, fault.name()));
                }
            }
        }
    }
    breaches
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
