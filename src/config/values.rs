//! Single values: from what TOML knows (text, numbers) to what we know (durations, addresses, names).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use toml::de::DeValue;

use super::options::Kind;
use super::report::{did_you_mean, shown};
use super::{Endpoint, VipAddress};

/// The longest name: what a DNS label may be, so that a name fits wherever one is shown.
const LONGEST_NAME: usize = 63;
/// `IFNAMSIZ` without its closing zero.
const LONGEST_INTERFACE: usize = 15;
/// The longest host name, RFC 1035.
const LONGEST_HOST: usize = 253;

/// A value that fits its [`Kind`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Scalar {
    Text(String),
    Whole(i64),
    Flag(bool),
    Time(Duration),
    Ip(IpAddr),
    Vip(VipAddress),
    Socket(Option<SocketAddr>),
    Endpoint(Endpoint),
}

/// Why a value doesn't fit, and what to do about it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    pub(super) message: String,
    pub(super) hint: Option<String>,
}

impl Misfit {
    pub(super) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

/// Reads one value that is neither a list nor a table.
pub(super) fn scalar(kind: Kind, value: &DeValue<'_>) -> Result<Scalar, Misfit> {
    match kind {
        Kind::Name => name(text(kind, value)?).map(Scalar::Text),
        Kind::Interface => interface(text(kind, value)?).map(Scalar::Text),
        Kind::Text | Kind::Path => filled(text(kind, value)?).map(Scalar::Text),
        Kind::PathOrNone => plain(text(kind, value)?).map(Scalar::Text),
        Kind::Flag => value.as_bool().map(Scalar::Flag).ok_or_else(|| wrong_type(kind, value)),
        Kind::Integer(least, most) => whole(kind, value, least, most).map(Scalar::Whole),
        Kind::Duration(least, most) => duration(kind, value, least, most).map(Scalar::Time),
        Kind::Address => address(text(kind, value)?).map(Scalar::Ip),
        Kind::VipAddress => vip_address(text(kind, value)?).map(Scalar::Vip),
        Kind::Listen => listen(text(kind, value)?).map(|at| Scalar::Socket(Some(at))),
        Kind::ListenOrNone => match text(kind, value)? {
            "" => Ok(Scalar::Socket(None)),
            at => listen(at).map(|at| Scalar::Socket(Some(at))),
        },
        Kind::Endpoint(port) => endpoint(text(kind, value)?, port).map(Scalar::Endpoint),
        Kind::Word(words, later) => word(text(kind, value)?, words, later).map(Scalar::Text),
        Kind::Later(hint) => Err(Misfit::new("not available yet", hint)),
        Kind::Table
        | Kind::Tables
        | Kind::Inline
        | Kind::Rows
        | Kind::List(_)
        | Kind::NonEmpty(_)
        | Kind::PerNode(_)
        | Kind::ByNode(_) => Err(wrong_type(kind, value)),
    }
}

/// What a misplaced value is told.
pub(super) fn wrong_type(kind: Kind, value: &DeValue<'_>) -> Misfit {
    let found = match value {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a point",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    };
    let hint = match (kind, value) {
        (Kind::Duration(..), DeValue::Integer(number)) => {
            Some(format!("give it its unit, in quotes: \"{0}s\" or \"{0}ms\"", number.as_str()))
        }
        (Kind::Integer(..) | Kind::Flag, DeValue::String(_)) => Some("write it without quotes".to_owned()),
        (Kind::List(_) | Kind::NonEmpty(_), DeValue::String(text)) => {
            Some(format!("put it in brackets: [{:?}]", text.chars().take(60).collect::<String>()))
        }
        _ => None,
    };
    Misfit { message: format!("takes {}, not {found}", expects(kind)), hint }
}

/// What a kind is called in a message.
pub(super) fn expects(kind: Kind) -> String {
    match kind {
        Kind::Table | Kind::Inline => "a table".into(),
        Kind::Tables | Kind::Rows => "a list of tables".into(),
        Kind::Name => "a name in quotes".into(),
        Kind::Interface => "the name of an interface in quotes".into(),
        Kind::Text => "text in quotes".into(),
        Kind::Path | Kind::PathOrNone => "a path in quotes".into(),
        Kind::Flag => "true or false".into(),
        Kind::Integer(least, most) => format!("a whole number from {least} to {most}"),
        Kind::Duration(..) => "a duration in quotes".into(),
        Kind::Address | Kind::VipAddress => "an address in quotes".into(),
        Kind::Listen | Kind::ListenOrNone => "an address with its port in quotes".into(),
        Kind::Endpoint(_) => "a host in quotes".into(),
        Kind::Word([word], _) => format!("\"{word}\""),
        Kind::Word(words, _) => format!("one of {}", quoted(words)),
        Kind::List(_) | Kind::NonEmpty(_) => "a list in brackets".into(),
        Kind::PerNode(inner) => format!("{}, or a table of them by node", expects(*inner)),
        Kind::ByNode(_) => "a table by node".into(),
        Kind::Later(_) => "nothing yet".into(),
    }
}

/// A duration as the file writes it: in the largest unit that leaves it whole.
pub fn duration_text(duration: Duration) -> String {
    let (us, ms) = (duration.as_micros(), duration.as_millis());
    match ms {
        _ if us == 0 => "0s".into(),
        _ if !us.is_multiple_of(1_000) => format!("{us}us"),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

/// A duration from `least` to `most` as the file writes it; else why not, in words.
pub fn parse_duration(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    duration_within(text, least, most).map_err(|misfit| match misfit.hint {
        Some(hint) => format!("{}: {hint}", misfit.message),
        None => misfit.message,
    })
}

/// Whether `text` may be a name: letters, digits, `-`, `_`, `.`, at most 63, one letter or digit among them.
pub fn is_name(text: &str) -> bool {
    name(text).is_ok()
}

/// Whether `text` may be the name of a network interface.
pub fn is_interface(text: &str) -> bool {
    interface(text).is_ok()
}

/// An address to listen on as the file may have it: `0.0.0.0:80`, `*:80`, `[::]:80`.
pub fn parse_listen(text: &str) -> Option<SocketAddr> {
    listen(text).ok()
}

/// A host with its port as the file may have it: `192.168.56.11:80`, `web1.example.net:80`; without one,
/// `default` is the port.
pub fn parse_endpoint(text: &str, default: Option<u16>) -> Option<Endpoint> {
    endpoint(text, default).ok()
}

/// A node's name, which is a key of a table and so wasn't read as a value.
pub(super) fn name(text: &str) -> Result<String, Misfit> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.is_empty() {
        return Err(Misfit::new("a name can't be empty", "use letters, digits, `-`, `_` and `.`"));
    }
    if !text.chars().all(allowed) {
        let message = format!("{} can't be a name", shown(text));
        return Err(Misfit::new(message, "a name has letters, digits, `-`, `_` and `.` only"));
    }
    if !text.contains(|c: char| c.is_ascii_alphanumeric()) {
        let message = format!("the name {} has neither letter nor digit", shown(text));
        return Err(Misfit::new(message, "use letters, digits, `-`, `_` and `.`"));
    }
    if text.len() > LONGEST_NAME {
        let message = format!("the name {} has {} characters", shown(text), text.len());
        return Err(Misfit::new(message, format!("use at most {LONGEST_NAME}")));
    }
    Ok(text.to_owned())
}

fn text<'v>(kind: Kind, value: &'v DeValue<'_>) -> Result<&'v str, Misfit> {
    value.as_str().ok_or_else(|| wrong_type(kind, value))
}

fn interface(text: &str) -> Result<String, Misfit> {
    let bad = |c: char| c == '/' || c == ':' || c.is_whitespace() || c.is_control();
    if text.is_empty() {
        return Err(Misfit { message: "can't be empty".into(), hint: None });
    }
    if text == "." || text == ".." || text.contains(bad) {
        let message = format!("{} is no name of an interface", shown(text));
        return Err(Misfit::new(message, "`ip link` lists this machine's interfaces"));
    }
    if text.len() > LONGEST_INTERFACE {
        let message = format!("{} is too long for an interface", shown(text));
        return Err(Misfit::new(message, format!("Linux allows {LONGEST_INTERFACE} bytes")));
    }
    Ok(text.to_owned())
}

fn filled(text: &str) -> Result<String, Misfit> {
    if text.trim().is_empty() {
        Err(Misfit { message: "can't be empty".into(), hint: None })
    } else {
        plain(text)
    }
}

/// Text without the byte that no path and no argument can have.
fn plain(text: &str) -> Result<String, Misfit> {
    if text.contains('\0') {
        return Err(Misfit { message: "can't contain a zero byte".into(), hint: None });
    }
    Ok(text.to_owned())
}

fn whole(kind: Kind, value: &DeValue<'_>, least: i64, most: i64) -> Result<i64, Misfit> {
    let integer = value.as_integer().ok_or_else(|| wrong_type(kind, value))?;
    // What doesn't fit 64 bits doesn't fit any range either.
    match i64::from_str_radix(integer.as_str(), integer.radix()) {
        Ok(number) if (least..=most).contains(&number) => Ok(number),
        _ => {
            let message = format!("{} is out of range", shown(&integer.to_string()));
            Err(Misfit::new(message, format!("use a whole number from {least} to {most}")))
        }
    }
}

fn duration(kind: Kind, value: &DeValue<'_>, least: Duration, most: Duration) -> Result<Duration, Misfit> {
    duration_within(text(kind, value)?, least, most)
}

fn duration_within(written: &str, least: Duration, most: Duration) -> Result<Duration, Misfit> {
    let units = "the units are us, ms, s, m and h: \"100ms\", \"2s\"";
    let digits = written.trim_end_matches(|c: char| !c.is_ascii_digit());
    let bad = || Misfit::new(format!("{} is no duration", shown(written)), units);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    let scale = match &written[digits.len()..] {
        "us" => 1,
        "ms" => 1_000,
        "s" => 1_000_000,
        "m" => 60_000_000,
        "h" => 3_600_000_000,
        "" => return Err(Misfit::new(format!("{} has no unit", shown(written)), units)),
        _ => return Err(bad()),
    };
    let found = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).map(Duration::from_micros);
    let range = || format!("use {} to {}", duration_text(least), duration_text(most));
    match found {
        Some(Duration::ZERO) if least > Duration::ZERO => {
            Err(Misfit::new(format!("{} is no time at all", shown(written)), range()))
        }
        Some(found) if found < least => Err(Misfit::new(format!("{} is too short", shown(written)), range())),
        Some(found) if found <= most => Ok(found),
        _ => Err(Misfit::new(format!("{} is too long", shown(written)), range())),
    }
}

fn address(text: &str) -> Result<IpAddr, Misfit> {
    match text.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => Err(Misfit::new(
            format!("{} isn't one machine's address", shown(text)),
            "name the node's own address",
        )),
        Ok(ip) => Ok(ip),
        Err(_) => Err(no_address(text, "write it like 192.168.56.21, without port or prefix")),
    }
}

fn no_address(text: &str, hint: &str) -> Misfit {
    Misfit::new(format!("{} is no address", shown(text)), hint)
}

fn vip_address(text: &str) -> Result<VipAddress, Misfit> {
    let (host, prefix) = match text.split_once('/') {
        Some((host, prefix)) => (host, Some(prefix)),
        None => (text, None),
    };
    let Ok(ip) = host.parse::<IpAddr>() else {
        return Err(no_address(text, "write it like 192.168.56.69/24 or 192.168.56.69"));
    };
    let (unheld, longest) = match ip {
        IpAddr::V4(ip) => (ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast(), 32),
        // A link-local address is of one link only, and a mapped one isn't IPv6 on the wire.
        IpAddr::V6(ip) => {
            let of_no_use = ip.is_unicast_link_local() || ip.to_ipv4_mapped().is_some();
            (ip.is_unspecified() || ip.is_multicast() || of_no_use, 128)
        }
    };
    if unheld {
        let message = format!("{} can't be held by a node", shown(text));
        return Err(Misfit::new(message, "use a free address of the clients' network"));
    }
    let prefix = match prefix.map(str::parse::<u8>) {
        None => None,
        Some(Ok(bits)) if (1..=longest).contains(&bits) => Some(bits),
        Some(_) => {
            let message = format!("the prefix of {} is out of range", shown(text));
            return Err(Misfit::new(message, format!("use /1 to /{longest}, or none")));
        }
    };
    Ok(VipAddress { ip, prefix })
}

fn listen(text: &str) -> Result<SocketAddr, Misfit> {
    let hint = "write it like 0.0.0.0:80 or [::]:80";
    let Some((host, port)) = split_port(text) else {
        return Err(Misfit::new(format!("{} has no port", shown(text)), hint));
    };
    let ip = match host {
        "*" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        "[*]" | "" => return Err(no_address(text, hint)),
        host => match bare(host).parse::<IpAddr>() {
            Ok(ip) if ip.is_ipv4() || host.starts_with('[') => ip,
            _ => return Err(no_address(text, hint)),
        },
    };
    Ok(SocketAddr::new(ip, self::port(text, port)?))
}

fn endpoint(text: &str, default: Option<u16>) -> Result<Endpoint, Misfit> {
    // Colons of a bare IPv6 address aren't a port's.
    if let (Ok(ip), Some(port)) = (text.parse::<Ipv6Addr>(), default) {
        return Ok(Endpoint::Address(SocketAddr::new(ip.into(), port)));
    }
    let (host, port) = match (split_port(text), default) {
        (Some((host, port)), _) => (host, self::port(text, port)?),
        (None, Some(port)) => (text, port),
        (None, None) => {
            let hint = format!("add it: \"{}:80\"", text.chars().take(60).collect::<String>());
            return Err(Misfit::new(format!("{} has no port", shown(text)), hint));
        }
    };
    if let Ok(ip) = bare(host).parse::<IpAddr>()
        && (ip.is_ipv4() || host.starts_with('['))
    {
        if ip.is_unspecified() || ip.is_multicast() {
            let message = format!("{} isn't one machine's address", shown(text));
            return Err(Misfit { message, hint: None });
        }
        return Ok(Endpoint::Address(SocketAddr::new(ip, port)));
    }
    if is_host_name(host) {
        return Ok(Endpoint::Name(host.to_owned(), port));
    }
    let hint = match default {
        Some(_) => "write it like 192.168.56.21, 192.168.56.21:7780 or ha1.example.net",
        None => "write it like 192.168.56.11:80, [2001:db8::11]:80 or web1.example.net:80",
    };
    Err(Misfit::new(format!("{} is neither an address nor a name", shown(text)), hint))
}

/// Host and port, where the last colon isn't one inside an IPv6 address.
fn split_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    (host.ends_with(']') || !host.contains(':')).then_some((host, port))
}

fn bare(host: &str) -> &str {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host)
}

fn port(whole: &str, text: &str) -> Result<u16, Misfit> {
    match text.parse::<u16>() {
        Ok(0) => Err(Misfit::new(format!("{} has port 0", shown(whole)), "use a port from 1 to 65535")),
        // `parse` takes a plus sign, too.
        Ok(port) if text.bytes().all(|b| b.is_ascii_digit()) => Ok(port),
        _ => Err(Misfit::new(
            format!("{} is no port in {}", shown(text), shown(whole)),
            "use a port from 1 to 65535",
        )),
    }
}

/// Letters, digits, hyphens (and the underscore that container names have), in labels; not a number, which would
/// be a mistyped address.
fn is_host_name(host: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
            && !label.starts_with('-')
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let numeric = host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= LONGEST_HOST && !numeric && host.split('.').all(label)
}

fn word(text: &str, words: &[&str], later: &[&str]) -> Result<String, Misfit> {
    if words.contains(&text) {
        return Ok(text.to_owned());
    }
    let known = format!("use {}", quoted(words));
    if later.contains(&text) {
        return Err(Misfit::new(format!("{} is not available yet", shown(text)), known));
    }
    let hint = match did_you_mean(text, words.iter().copied()) {
        Some(word) => format!("did you mean \"{word}\"?"),
        None => known,
    };
    Err(Misfit::new(format!("{} is not known here", shown(text)), hint))
}

fn quoted(words: &[&str]) -> String {
    words.iter().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}
