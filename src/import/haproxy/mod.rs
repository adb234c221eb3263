//! What haproxy.cfg means: frontends, backends and listens, with what they inherit from `defaults`.

mod server;
mod service;
mod settings;
mod syntax;

use std::collections::HashMap;
use std::time::Duration;

use super::Remarks;
use settings::Settings;
use syntax::Section;

/// A TCP service with its pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Service {
    /// The frontend's or listen's own name.
    pub(super) name: String,
    /// Which of the imported files it is from, and the line of its header there.
    pub(super) place: (usize, usize),
    /// What it is made of: `frontend myweb, backend web-servers`.
    pub(super) origin: String,
    /// As our file writes them.
    pub(super) listen: Vec<String>,
    pub(super) connect: Duration,
    pub(super) client: Duration,
    pub(super) server: Duration,
    pub(super) check: Check,
    /// Never empty.
    pub(super) backends: Vec<Backend>,
}

/// How the servers are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Check {
    pub(super) interval: Duration,
    pub(super) timeout: Option<Duration>,
    pub(super) fall: u32,
    pub(super) rise: u32,
}

/// `server`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backend {
    pub(super) name: String,
    /// As our file writes it.
    pub(super) address: String,
    /// Where the file has one.
    pub(super) weight: Option<u16>,
}

/// A frontend, backend or listen.
struct Proxy<'s> {
    section: &'s Section,
    settings: Settings,
}

impl Proxy<'_> {
    fn kind(&self) -> &str {
        self.section.header.word(0)
    }

    fn name(&self) -> &str {
        self.section.header.word(1)
    }

    fn line(&self) -> usize {
        self.section.header.number
    }

    /// The page that haproxy shows about itself.
    fn is_statistics(&self) -> bool {
        let lines = &self.section.lines;
        let has = |keyword: &str| lines.iter().any(|line| line.word(0) == keyword);
        has("stats") && !has("server") && !has("default_backend") && !has("use_backend")
    }
}

/// Reads a file, adding its services to `services`.
pub(super) fn read(text: &str, services: &mut Vec<Service>, remarks: &mut Remarks<'_>) {
    let sections = syntax::read(text, remarks);
    let mut proxies = Vec::new();
    let mut current = Settings::default();
    let mut named: HashMap<String, Settings> = HashMap::new();
    for section in &sections {
        let header = &section.header;
        match header.word(0) {
            "global" => settings::globals(section, remarks),
            "defaults" => {
                // `defaults NAME from OTHER`: an unnamed one inherits nothing.
                let mut fresh = inherited(section, &named, &Settings::default(), remarks);
                fresh.read(section, None, remarks);
                if !header.word(1).is_empty() {
                    named.insert(header.word(1).to_owned(), fresh.clone());
                }
                current = fresh;
            }
            "frontend" | "backend" | "listen" => {
                let mut proxy = Proxy { section, settings: inherited(section, &named, &current, remarks) };
                if proxy.is_statistics() {
                    let text =
                        format!("{}: status and metrics are at chinthe's own admin address", header.shown());
                    remarks.note(proxy.line(), text);
                    continue;
                }
                let before = proxy.settings.mode.clone();
                let http = section
                    .lines
                    .iter()
                    .rfind(|line| line.word(0) == "mode")
                    .map_or_else(|| before.as_deref() == Some("http"), |line| line.word(1) == "http");
                proxy.settings.read(section, Some(http), remarks);
                overridden(&proxy, before.as_deref(), remarks);
                proxies.push(proxy);
            }
            "resolvers" => {
                remarks.note(
                    header.number,
                    format!("{}: names are resolved as the host does it", header.shown()),
                );
            }
            _ => remarks.left_out(header.number, format!("{} has no counterpart", header.shown())),
        }
    }
    service::services(&proxies, services, remarks);
}

/// What a section starts from: the `defaults` that it names, else the last ones before it.
fn inherited(
    section: &Section,
    named: &HashMap<String, Settings>,
    current: &Settings,
    remarks: &mut Remarks<'_>,
) -> Settings {
    let header = &section.header;
    let from = header.words.iter().position(|word| word.text == "from").map(|at| header.word(at + 1));
    match from {
        None => current.clone(),
        Some(name) => named.get(name).cloned().unwrap_or_else(|| {
            remarks.left_out(header.number, format!("there are no defaults `{name}` before this"));
            current.clone()
        }),
    }
}

fn overridden(proxy: &Proxy<'_>, before: Option<&str>, remarks: &mut Remarks<'_>) {
    let own = proxy.section.lines.iter().rfind(|line| line.word(0) == "mode");
    if let (Some(line), Some("http")) = (own, before)
        && line.word(1) == "tcp"
    {
        let text =
            format!("`mode tcp` overrides `mode http` of the defaults for {} {}", proxy.kind(), proxy.name());
        remarks.note(line.number, text);
    }
}

/// haproxy's times: a number, in milliseconds unless it has a unit.
fn time(text: &str) -> Option<Duration> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let number = digits.parse::<u64>().ok()?;
    let scale = match &text[digits.len()..] {
        "us" => return Some(Duration::from_millis(number / 1000)),
        "" | "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    number.checked_mul(scale).map(Duration::from_millis)
}
