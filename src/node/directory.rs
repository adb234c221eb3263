//! What nodes tell each other by gossip: text under keys, from the driver's state and back to the core's inputs.
//!
//! | key | value |
//! |---|---|
//! | `meta` | `FORMAT;VERSION` |
//! | `st` | `up` or `left` |
//! | `addr` | where its admin server is, if others can reach that |
//! | `cfg` | the configuration's digest, 16 digits |
//! | `h/ID` | a service's backends, a letter each: `?`, `U` or `D` |
//! | `vip/ID` | this node's latest takeover of a VIP: `TERM;TRACEPARENT` |
//! | `rl` | when an operator last had every node read its file, by this node's word: milliseconds since the epoch |
//! | `adm/ID` | an operator's word: `TARGET;ASPECT;VALUE;EXPIRES;STAMP;WRITER` |
//!
//! `ID` is 16 digits of a name's hash, so that keys are short whatever the names. Whatever doesn't read as said
//! here is passed over: a newer version's business, or nobody's.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::targets;
use crate::config::{Config, is_name};
use crate::core::{AdminState, Aspect, Core, MemberId, Setting, Stamp, Target, Time, Verdict, Word};
use crate::telemetry::FailoverTrace;
use crate::wire::member_id;

/// The way values are written; another one is passed over.
const FORMAT: &str = "1";
/// See the table.
const RELOAD: &str = "rl";
/// `DIRECTORY/EVERYWHERE`, as in commands.
const ANY: &str = "*";

/// The clocks that a word's end is told by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    /// Milliseconds since the epoch.
    pub(super) wall: u64,
    /// This node's own.
    pub(super) now: Time,
}

/// A takeover that is over, as its new holder tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Failover {
    /// The election's number.
    pub(super) term: u32,
    /// What the nodes' spans of it belong to.
    pub(super) trace: FailoverTrace,
}

/// The key of this node's latest takeover of a VIP, and what stands behind it.
pub(super) fn failover(vip: &str, failover: Failover) -> (String, String) {
    (failover_key(vip), format!("{};{}", failover.term, failover.trace.traceparent()))
}

/// Each VIP that a member says it has taken over, by its number.
pub(super) fn failovers(
    values: &BTreeMap<String, String>,
    config: &Config,
) -> impl Iterator<Item = (usize, Failover)> {
    config.vips.iter().enumerate().filter_map(|(at, vip)| {
        let (term, trace) = values.get(&failover_key(&vip.name))?.split_once(';')?;
        Some((at, Failover { term: term.parse().ok()?, trace: FailoverTrace::parse(trace)? }))
    })
}

fn failover_key(vip: &str) -> String {
    format!("vip/{}", id(vip))
}

/// The key under which a node has all others read their files, and what stands behind it.
pub(super) fn reload(at: u64) -> (String, String) {
    (RELOAD.to_owned(), at.to_string())
}

/// When a member last had everybody read their files, in milliseconds since the epoch.
pub(super) fn reload_asked(values: &BTreeMap<String, String>) -> Option<u64> {
    values.get(RELOAD)?.parse().ok()
}

/// Everything this node tells, by key, but for its takeovers.
pub(super) fn own(
    core: &Core,
    config: &Config,
    me: MemberId,
    digest: &str,
    version: &str,
    admin: Option<SocketAddr>,
) -> BTreeMap<String, String> {
    let mut all = BTreeMap::from([
        ("meta".to_owned(), format!("{FORMAT};{version}")),
        ("st".to_owned(), "up".to_owned()),
        ("cfg".to_owned(), digest.to_owned()),
    ]);
    if let Some(admin) = admin {
        all.insert(targets::KEY.to_owned(), admin.to_string());
    }
    for (service, known) in config.services.iter().zip(core.services()) {
        let letters = known.backends().iter().map(|backend| letter(backend.views().of(me)));
        all.insert(format!("h/{}", id(&service.name)), letters.collect());
    }
    for (target, word) in core.administration().words() {
        let (key, value) = said(target, word);
        all.insert(key, value);
    }
    all
}

/// A word's key and value.
fn said(target: &Target, word: &Word) -> (String, String) {
    let name = match target {
        Target::Backend { service, backend } => format!("{service}/{backend}"),
        Target::Everywhere { backend } => format!("{ANY}/{backend}"),
        Target::Node { node } => node.clone(),
        Target::Vip { vip } => vip.clone(),
    };
    let (aspect, value) = match word.setting {
        Setting::State(state) => ("state", state.as_str().to_owned()),
        Setting::Weight(Some(weight)) => ("weight", weight.to_string()),
        Setting::Weight(None) => ("weight", "-".to_owned()),
        Setting::Holder(Some(node)) => ("holder", format!("{:016x}", node.0)),
        Setting::Holder(None) => ("holder", "-".to_owned()),
    };
    let expires = word.expires.map_or("-".to_owned(), |at| at.to_string());
    let Stamp { milliseconds, writer } = word.stamp;
    let key = format!("adm/{}", id(&format!("{name};{aspect}")));
    (key, format!("{name};{aspect};{value};{expires};{milliseconds};{:016x}", writer.0))
}

/// The word that a value holds.
pub(super) fn word(value: &str, clocks: Clocks) -> Option<(Target, Word)> {
    let fields: Vec<&str> = value.split(';').collect();
    let [name, aspect, setting, expires, milliseconds, writer] = fields[..] else { return None };
    let target = if aspect == "holder" { vip(name)? } else { target(name)? };
    let setting = match aspect {
        "state" => Setting::State(AdminState::ALL.into_iter().find(|state| state.as_str() == setting)?),
        "weight" if setting == "-" => Setting::Weight(None),
        "weight" => Setting::Weight(Some(setting.parse().ok().filter(|weight| *weight <= 256)?)),
        "holder" if setting == "-" => Setting::Holder(None),
        "holder" => Setting::Holder(Some(MemberId(u64::from_str_radix(setting, 16).ok()?))),
        _ => return None,
    };
    if matches!((&target, setting.aspect()), (Target::Node { .. }, Aspect::Weight)) {
        return None;
    }
    let expires = match expires {
        "-" => None,
        at => Some(at.parse::<u64>().ok()?),
    };
    // A stamp from far in the future would outlast every later word.
    let milliseconds = milliseconds.parse().ok().filter(|at| *at < clocks.wall + FUTURE)?;
    let stamp = Stamp { milliseconds, writer: MemberId(u64::from_str_radix(writer, 16).ok()?) };
    let ends = expires.map(|at| clocks.now + Duration::from_millis(at.saturating_sub(clocks.wall)));
    Some((target, Word { setting, stamp, expires, ends }))
}

fn vip(name: &str) -> Option<Target> {
    is_name(name).then(|| Target::Vip { vip: name.into() })
}

/// What a command or a value calls a target.
fn target(name: &str) -> Option<Target> {
    match name.split_once('/') {
        Some((ANY, backend)) if is_name(backend) => Some(Target::Everywhere { backend: backend.into() }),
        Some((service, backend)) if is_name(service) && is_name(backend) => {
            Some(Target::Backend { service: service.into(), backend: backend.into() })
        }
        None if is_name(name) => Some(Target::Node { node: name.into() }),
        Some(_) | None => None,
    }
}

/// What a member sees of each service's backends; nothing of a member whose configuration is another.
pub(super) fn views(
    values: &BTreeMap<String, String>,
    config: &Config,
    digest: &str,
) -> Vec<(usize, Vec<Verdict>)> {
    if values.get("cfg").is_none_or(|theirs| theirs != digest) {
        return Vec::new();
    }
    let of = |(at, service): (usize, &crate::config::Service)| {
        let letters = values.get(&format!("h/{}", id(&service.name)))?;
        let verdicts: Option<Vec<Verdict>> = letters.chars().map(verdict).collect();
        Some((at, verdicts.filter(|v| v.len() == service.backends.len())?))
    };
    config.services.iter().enumerate().filter_map(of).collect()
}

fn letter(verdict: Verdict) -> char {
    match verdict {
        Verdict::Unknown => '?',
        Verdict::Up => 'U',
        Verdict::Down => 'D',
    }
}

fn verdict(letter: char) -> Option<Verdict> {
    Verdict::ALL.into_iter().find(|verdict| self::letter(*verdict) == letter)
}

fn id(name: &str) -> String {
    format!("{:016x}", member_id(name).0)
}

/// Wall clocks differ by no more than this, in milliseconds.
const FUTURE: u64 = 24 * 3600 * 1000;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLOCKS: Clocks = Clocks { wall: 1_000_000_000_000, now: Time::from_nanos(5_000_000_000) };

    fn some_word(setting: Setting, expires: Option<u64>) -> Word {
        let stamp = Stamp { milliseconds: CLOCKS.wall - 5, writer: MemberId(0xabc) };
        let ends = expires.map(|at| CLOCKS.now + Duration::from_millis(at - CLOCKS.wall));
        Word { setting, stamp, expires, ends }
    }

    #[test]
    fn every_word_survives_the_way() {
        let backend = Target::Backend { service: "myweb".into(), backend: "web1".into() };
        let everywhere = Target::Everywhere { backend: "web1".into() };
        let node = Target::Node { node: "ha1".into() };
        for (target, setting, expires) in [
            (backend.clone(), Setting::State(AdminState::Drain), None),
            (everywhere.clone(), Setting::State(AdminState::Maint), Some(CLOCKS.wall + 1_800_000)),
            (node, Setting::State(AdminState::Ready), None),
            (backend, Setting::Weight(Some(256)), None),
            (Target::Vip { vip: "vi_1".into() }, Setting::Holder(Some(MemberId(7))), Some(CLOCKS.wall + 1)),
            (Target::Vip { vip: "vi_1".into() }, Setting::Holder(None), None),
            (everywhere, Setting::Weight(None), None),
        ] {
            let word = some_word(setting, expires);
            let (key, value) = said(&target, &word);
            assert!(key.len() <= 64 && value.is_ascii(), "{key} {value}");
            assert_eq!(super::word(&value, CLOCKS), Some((target, word)));
        }
    }

    #[test]
    fn a_word_that_ran_out_on_the_way_ends_at_once() {
        let drain = some_word(Setting::State(AdminState::Drain), Some(CLOCKS.wall));
        let (_, value) = said(&Target::Node { node: "ha1".into() }, &drain);
        let late = Clocks { wall: CLOCKS.wall + 60_000, ..CLOCKS };
        assert_eq!(word(&value, late).and_then(|(_, word)| word.ends), Some(CLOCKS.now));
    }

    #[test]
    fn a_takeover_survives_the_way() {
        let (config, _) = crate::config::parse(&crate::config::example(), "example").expect("it is valid");
        let name = &config.vips[0].name;
        let told = Failover { term: 4, trace: FailoverTrace::of("myweb", name, 4) };
        let mut values = BTreeMap::from([failover(name, told), failover("a stranger's", told)]);
        assert_eq!(failovers(&values, &config).collect::<Vec<_>>(), [(0, told)]);
        for value in ["", "4", "-4;00", &format!("x;{}", told.trace.traceparent()), "4;00-1-2-3"] {
            values.insert(failover_key(name), value.to_owned());
            assert_eq!(failovers(&values, &config).count(), 0, "{value}");
        }
    }

    #[test]
    fn what_no_operator_could_have_said_is_passed_over() {
        for value in [
            "",
            "ha1;state;drain;-;5",
            "ha1;state;drain;-;5;zz",
            "ha1;state;sleep;-;5;0a",
            "ha1;weight;5;-;5;0a",
            "a/b;holder;0a;-;5;0a",
            "vi_1;holder;moon;-;5;0a",
            "a/b;weight;257;-;5;0a",
            "a/b/c;state;drain;-;5;0a",
            "a b;state;drain;-;5;0a",
            "*/*;state;drain;-;5;0a",
            "ha1;state;drain;-;99999999999999;0a",
            "ha1;state;drain;soon;5;0a",
        ] {
            assert_eq!(word(value, CLOCKS), None, "{value}");
        }
    }

    #[test]
    fn a_word_to_reload_is_read_as_it_was_written() {
        let (key, value) = reload(1_700_000_000_000);
        assert_eq!(reload_asked(&[(key.clone(), value)].into()), Some(1_700_000_000_000));
        for other in ["", "-1", "soon", "99999999999999999999"] {
            assert_eq!(reload_asked(&[(key.clone(), other.to_owned())].into()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn reading_never_panics(value in "[ -~]{0,80}", values in prop::collection::btree_map("[a-z/0-9]{0,20}", "[ -~]{0,20}", 0..4)) {
            let _ = word(&value, CLOCKS);
            let (config, _) = crate::config::parse(&crate::config::example(), "example").unwrap();
            let _ = views(&values, &config, "");
            let _ = failovers(&values, &config).count();
        }
    }
}
