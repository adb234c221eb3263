//! Families and their series as text: Prometheus' format 0.0.4, or `OpenMetrics` 1.0.
//!
//! The two differ in little: `OpenMetrics` names a counter's family without `_total`, ends with `# EOF`, and lets
//! a histogram's bucket carry an exemplar. Numbers are spelled alike in both, so that a series has the same
//! labels whichever was asked for.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use super::families::{Family, Kind};
use super::histogram::{Exemplar, Observed};

/// How metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Exposition {
    /// Prometheus' text format 0.0.4.
    #[default]
    Text,
    /// `OpenMetrics` 1.0.0, with exemplars.
    OpenMetrics,
}

/// Families under way; the series of one may come in any order among those of others.
pub(super) struct Page {
    format: Exposition,
    families: BTreeMap<&'static str, (&'static Family, String)>,
}

impl Page {
    pub(super) fn new(format: Exposition) -> Self {
        Self { format, families: BTreeMap::new() }
    }

    /// Adds a series of a counter or a gauge. `labels` are the values of the family's labels, in their order.
    pub(super) fn add(&mut self, family: &'static Family, labels: &[&str], value: f64) {
        debug_assert!(family.kind != Kind::Histogram, "`{}` goes through `add_histogram`", family.name);
        let text = self.family(family);
        text.push_str(family.name);
        write_labels(text, family, labels, None);
        text.push(' ');
        write_number(text, value);
        text.push('\n');
    }

    /// Adds a count.
    pub(super) fn count(&mut self, family: &'static Family, labels: &[&str], count: u64) {
        self.add(family, labels, count as f64);
    }

    /// Adds a truth: 1 or 0.
    pub(super) fn flag(&mut self, family: &'static Family, labels: &[&str], is: bool) {
        self.add(family, labels, f64::from(u8::from(is)));
    }

    /// Adds a duration in seconds.
    pub(super) fn seconds(&mut self, family: &'static Family, labels: &[&str], duration: Duration) {
        self.add(family, labels, duration.as_secs_f64());
    }

    /// Adds all series of one histogram.
    pub(super) fn add_histogram(&mut self, family: &'static Family, labels: &[&str], observed: &Observed) {
        debug_assert!(family.kind == Kind::Histogram, "`{}` is no histogram", family.name);
        let with_exemplars = self.format == Exposition::OpenMetrics;
        let text = self.family(family);
        let mut below = 0;
        let bounds = observed.bounds.iter().copied().chain([f64::INFINITY]);
        for (at, bound) in bounds.enumerate() {
            below += observed.buckets.get(at).copied().unwrap_or_default();
            text.push_str(family.name);
            text.push_str("_bucket");
            write_labels(text, family, labels, Some(bound));
            write!(text, " {below}").expect("a String takes all");
            if let (true, Some(Some(exemplar))) = (with_exemplars, observed.exemplars.get(at)) {
                write_exemplar(text, exemplar);
            }
            text.push('\n');
        }
        for (end, value) in [("_sum", observed.sum.as_secs_f64()), ("_count", below as f64)] {
            text.push_str(family.name);
            text.push_str(end);
            write_labels(text, family, labels, None);
            text.push(' ');
            write_number(text, value);
            text.push('\n');
        }
    }

    /// The whole, families in the order of their names; one without series has nothing to show.
    pub(super) fn finish(self) -> String {
        let mut text = String::with_capacity(self.families.values().map(|(_, body)| body.len() + 200).sum());
        for (family, body) in self.families.values() {
            let kind = match family.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            let name = match (self.format, family.kind) {
                (Exposition::OpenMetrics, Kind::Counter) => family.name.trim_end_matches("_total"),
                (Exposition::Text | Exposition::OpenMetrics, _) => family.name,
            };
            writeln!(text, "# HELP {name} {}\n# TYPE {name} {kind}", family.help)
                .expect("a String takes all");
            text.push_str(body);
        }
        if self.format == Exposition::OpenMetrics {
            text.push_str("# EOF\n");
        }
        text
    }

    fn family(&mut self, family: &'static Family) -> &mut String {
        &mut self.families.entry(family.name).or_insert_with(|| (family, String::new())).1
    }
}

fn write_labels(text: &mut String, family: &Family, values: &[&str], bound: Option<f64>) {
    debug_assert_eq!(family.labels.len(), values.len(), "labels of `{}`", family.name);
    let mut before = '{';
    for (name, value) in family.labels.iter().zip(values) {
        text.push(before);
        text.push_str(name);
        text.push_str("=\"");
        write_escaped(text, value);
        text.push('"');
        before = ',';
    }
    if let Some(bound) = bound {
        text.push(before);
        text.push_str("le=\"");
        write_bound(text, bound);
        text.push('"');
        before = ',';
    }
    if before == ',' {
        text.push('}');
    }
}

/// Names of members come from the network, and even where nothing odd gets that far it does no harm here.
fn write_escaped(text: &mut String, value: &str) {
    for c in value.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

/// As `OpenMetrics` wants it, with a point even where there is nothing behind it: `le` is a label, and `1` would be
/// another series than `1.0`.
fn write_bound(text: &mut String, bound: f64) {
    if bound.is_infinite() {
        text.push_str("+Inf");
    } else {
        write!(text, "{bound:?}").expect("a String takes all");
    }
}

fn write_number(text: &mut String, value: f64) {
    if value.is_infinite() {
        text.push_str(if value > 0.0 { "+Inf" } else { "-Inf" });
    } else {
        write!(text, "{value}").expect("a String takes all");
    }
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    let Exemplar { trace, value, at } = exemplar;
    let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (value, at) = (value.as_secs_f64(), at.as_secs_f64());
    write!(text, " # {{trace_id=\"{}\",span_id=\"{}\"}} {value} {at:.3}", trace.trace, trace.root)
        .expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::trace_id::FailoverTrace;
    use super::*;

    const COUNTER: Family = Family::counter("a_total", &["x"], "One.");
    const GAUGE: Family = Family::gauge("b", &[], "Two.");
    const HISTOGRAM: Family = Family::histogram("c_seconds", &["y"], "Three.");

    fn page(format: Exposition) -> String {
        let mut page = Page::new(format);
        page.add(&GAUGE, &[], f64::INFINITY);
        page.count(&COUNTER, &["q\"b\\s\nn"], 7);
        let exemplar = Exemplar {
            trace: FailoverTrace::of("myweb", "vi_1", 4),
            value: Duration::from_millis(178),
            at: SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_250),
        };
        page.add_histogram(
            &HISTOGRAM,
            &["z"],
            &Observed {
                bounds: &[0.1, 1.0],
                buckets: vec![1, 2, 3],
                sum: Duration::from_millis(1500),
                exemplars: vec![None, Some(exemplar), None],
            },
        );
        page.finish()
    }

    const BODY: &str = "\
# HELP b Two.
# TYPE b gauge
b +Inf
# HELP c_seconds Three.
# TYPE c_seconds histogram
c_seconds_bucket{y=\"z\",le=\"0.1\"} 1
c_seconds_bucket{y=\"z\",le=\"1.0\"} 3
c_seconds_bucket{y=\"z\",le=\"+Inf\"} 6
c_seconds_sum{y=\"z\"} 1.5
c_seconds_count{y=\"z\"} 6
";

    #[test]
    fn text_is_what_prometheus_has_always_read() {
        let head = "# HELP a_total One.\n# TYPE a_total counter\na_total{x=\"q\\\"b\\\\s\\nn\"} 7\n";
        assert_eq!(page(Exposition::Text), format!("{head}{BODY}"));
    }

    #[test]
    fn open_metrics_names_counters_otherwise_and_has_exemplars_and_an_end() {
        let head = "# HELP a One.\n# TYPE a counter\na_total{x=\"q\\\"b\\\\s\\nn\"} 7\n";
        let trace = FailoverTrace::of("myweb", "vi_1", 4);
        let exemplar =
            format!(" # {{trace_id=\"{}\",span_id=\"{}\"}} 0.178 1700000000.250", trace.trace, trace.root);
        let body = BODY.replace("le=\"1.0\"} 3", &format!("le=\"1.0\"}} 3{exemplar}"));
        assert_eq!(page(Exposition::OpenMetrics), format!("{head}{body}# EOF\n"));
    }
}
