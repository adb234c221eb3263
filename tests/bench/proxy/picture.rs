//! The figures as a picture: bars of the ratios to haproxy.

use std::fmt::Write as _;

use crate::contenders::Contender;
use crate::report::{Placement, Report, Sample};

/// One group of bars.
struct Group {
    title: &'static str,
    mode: &'static str,
    figure: fn(&Sample) -> f64,
}

/// What is worth a look: what a client gets, then what it costs.
const GROUPS: [Group; 9] = [
    Group { title: "requests/s, 64 connections", mode: "requests-64", figure: |s| s.rate },
    Group { title: "requests/s, 8 connections", mode: "requests-8", figure: |s| s.rate },
    Group { title: "new connections/s", mode: "connections", figure: |s| s.rate },
    Group { title: "bytes/s, download", mode: "down", figure: |s| s.rate },
    Group { title: "bytes/s, upload", mode: "up", figure: |s| s.rate },
    Group { title: "CPU per request", mode: "requests-64", figure: |s| s.cpu },
    Group { title: "CPU per connection", mode: "connections", figure: |s| s.cpu },
    Group { title: "CPU per byte, download", mode: "down", figure: |s| s.cpu },
    Group { title: "memory per idle connection", mode: "idle", figure: |s| s.memory },
];

const CONTENDERS: [(Contender, &str); 5] = [
    (Contender::Haproxy, "#9aa5b1"),
    (Contender::HaproxySplice, "#c3cad2"),
    (Contender::Nginx, "#6b8e6b"),
    (Contender::Tokio, "#b08968"),
    (Contender::Chinthe, "#b3261e"),
];

/// An SVG document of the pinned figures, or of the free ones where there are no pinned ones.
pub(crate) fn draw(report: &Report) -> String {
    let has = |placement| report.ratio(placement, "requests-64", Contender::Haproxy, |s| s.rate).is_some();
    let placement = if has(Placement::Pinned) { Placement::Pinned } else { Placement::Free };
    let mut body = String::new();
    let mut y = TOP;
    for group in &GROUPS {
        let bars: Vec<_> = CONTENDERS
            .iter()
            .filter_map(|(contender, colour)| {
                let ratio = report.ratio(placement, group.mode, *contender, group.figure)?;
                Some((*contender, *colour, ratio))
            })
            .collect();
        if bars.is_empty() {
            continue;
        }
        let middle = y + bars.len() as f64 * BAR / 2.0 + 4.0;
        let _ = writeln!(
            body,
            r#"<text x="{:.0}" y="{middle:.0}" text-anchor="end">{}</text>"#,
            LEFT - 10.0,
            group.title
        );
        for (contender, colour, ratio) in bars {
            let length = (ratio * ONE).clamp(1.0, WIDTH - LEFT - 60.0);
            let _ = writeln!(
                body,
                r#"<rect x="{LEFT}" y="{y:.0}" width="{length:.1}" height="{:.0}" fill="{colour}"><title>{}</title></rect>"#,
                BAR - 2.0,
                contender.name()
            );
            let _ = writeln!(
                body,
                r#"<text x="{:.1}" y="{:.0}" class="figure">{ratio:.2}</text>"#,
                LEFT + length + 4.0,
                y + BAR - 3.5
            );
            y += BAR;
        }
        y += GAP;
    }
    let mut legend = String::new();
    for (index, (contender, colour)) in CONTENDERS.iter().enumerate() {
        let x = LEFT + index as f64 * 118.0;
        let _ = writeln!(legend, r#"<rect x="{x:.0}" y="14" width="10" height="10" fill="{colour}"/>"#);
        let _ = writeln!(legend, r#"<text x="{:.0}" y="23">{}</text>"#, x + 15.0, contender.name());
    }
    format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {y:.0}" font-family="sans-serif" font-size="12">
<style>.figure {{ font-size: 10px; fill: #555 }}</style>
<rect width="100%" height="100%" fill="#fff"/>
{legend}<line x1="{one}" y1="{TOP}" x2="{one}" y2="{y:.0}" stroke="#ccc" stroke-dasharray="3 3"/>
{body}</svg>
"##,
        one = LEFT + ONE,
    )
}

const WIDTH: f64 = 820.0;
const LEFT: f64 = 200.0;
const TOP: f64 = 40.0;
/// The length of a bar of haproxy's size.
const ONE: f64 = 150.0;
const BAR: f64 = 13.0;
const GAP: f64 = 10.0;
