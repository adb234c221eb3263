//! What keepalived.conf means: the scripts and VRRP instances of one node.

mod instance;
mod script;
mod syntax;

use std::net::IpAddr;
use std::time::Duration;

use super::Remarks;
use super::words::shown;
use syntax::Statement;

pub(super) use script::watched_proxy;

/// One node's file.
#[derive(Debug, Default)]
pub(super) struct Keepalived {
    /// `router_id`, with its line.
    pub(super) router_id: Option<(String, usize)>,
    pub(super) scripts: Vec<Script>,
    pub(super) instances: Vec<Instance>,
}

/// `vrrp_script`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    pub(super) name: String,
    pub(super) line: usize,
    /// Program and arguments.
    pub(super) command: Vec<String>,
    pub(super) interval: Duration,
    pub(super) timeout: Option<Duration>,
    pub(super) rise: u32,
    pub(super) fall: u32,
    pub(super) weight: Weight,
}

/// A weight as keepalived writes it: `-2`, or `2 reverse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Weight {
    pub(super) weight: i16,
    pub(super) reverse: bool,
}

/// `vrrp_instance`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Instance {
    pub(super) name: String,
    pub(super) line: usize,
    pub(super) interface: Option<String>,
    pub(super) priority: u8,
    pub(super) preempt: bool,
    pub(super) vrid: Option<u8>,
    pub(super) version: u8,
    pub(super) advertisement_interval: Option<Duration>,
    /// As far as keepalived uses it.
    pub(super) password: Option<String>,
    pub(super) source: Option<IpAddr>,
    pub(super) peers: Vec<IpAddr>,
    /// With prefix where the file has one; each is one that our file takes.
    pub(super) addresses: Vec<String>,
    pub(super) tracks: Vec<Tracks>,
}

/// An entry of `track_script`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Tracks {
    pub(super) script: String,
    pub(super) line: usize,
    /// In place of the script's own.
    pub(super) weight: Option<Weight>,
}

/// Reads one node's file.
pub(super) fn read(text: &str, remarks: &mut Remarks<'_>) -> Keepalived {
    let statements = syntax::read(text, remarks);
    let mut node = Keepalived::default();
    let mut version = 2;
    for statement in &statements {
        match statement.keyword() {
            "global_defs" => version = globals(statement, &mut node, remarks),
            "vrrp_script" => node.scripts.extend(script::read(statement, remarks)),
            "vrrp_instance" => {}
            "vrrp_sync_group" => {
                remarks.left_out(statement.line, "a sync group: its instances move one by one here");
            }
            "vrrp_track_process"
            | "track_process"
            | "track_file"
            | "vrrp_track_file"
            | "static_ipaddress"
            | "static_routes"
            | "static_rules"
            | "virtual_server"
            | "virtual_server_group"
            | "bfd_instance"
            | "include"
            | "net_namespace"
            | "linkbeat_interfaces"
            | "garp_group" => {
                remarks.left_out(statement.line, format!("{} has no counterpart", shown(&statement.words)));
            }
            keyword if keyword.starts_with('@') || keyword.starts_with('$') => {
                remarks.left_out(
                    statement.line,
                    format!("{}: conditions and variables are not followed", shown(&statement.words)),
                );
            }
            _ => remarks.left_out(statement.line, format!("{} is not known", shown(&statement.words))),
        }
    }
    for statement in statements.iter().filter(|statement| statement.keyword() == "vrrp_instance") {
        node.instances.extend(instance::read(statement, version, remarks));
    }
    node
}

/// Reads `global_defs`; gives VRRP's version.
fn globals(statement: &Statement, node: &mut Keepalived, remarks: &mut Remarks<'_>) -> u8 {
    let mut version = 2;
    for inner in statement.inner() {
        let keyword = inner.keyword();
        match keyword {
            "router_id" if inner.words.len() > 1 => {
                node.router_id = Some((inner.argument().to_owned(), inner.line));
            }
            "vrrp_version" => version = version_of(inner, version),
            "notification_email"
            | "notification_email_from"
            | "smtp_server"
            | "smtp_connect_timeout"
            | "smtp_alert"
            | "smtp_alert_vrrp"
            | "email_faults" => {
                if !(keyword == "notification_email" && inner.inner().is_empty()) {
                    remarks.left_out(
                        inner.line,
                        format!("{}: no mail is sent; metrics and logs tell", shown(&inner.words)),
                    );
                }
            }
            "script_user" => {
                remarks.note(inner.line, "`script_user`: checks run as chinthe's own user");
            }
            "enable_script_security"
            | "enable_snmp_vrrp"
            | "enable_snmp_checker"
            | "snmp_socket"
            | "vrrp_strict"
            | "vrrp_skip_check_adv_addr"
            | "vrrp_check_unicast_src"
            | "vrrp_iptables"
            | "vrrp_mcast_group4"
            | "vrrp_priority"
            | "vrrp_no_swap"
            | "vrrp_rt_priority"
            | "max_auto_priority"
            | "checker_priority"
            | "default_interface"
            | "dynamic_interfaces"
            | "process_names"
            | "enable_traps"
            | "lvs_id" => {
                remarks.note(inner.line, format!("{} isn't needed", shown(&inner.words)));
            }
            _ if keyword.starts_with("vrrp_garp_") || keyword.starts_with("vrrp_gna_") => {
                remarks.note(
                    inner.line,
                    format!("{}: chinthe announces in its own rhythm", shown(&inner.words)),
                );
            }
            _ => remarks.left_out(inner.line, format!("{} is not known", shown(&inner.words))),
        }
    }
    version
}

fn version_of(statement: &Statement, otherwise: u8) -> u8 {
    match statement.argument() {
        "2" => 2,
        "3" => 3,
        _ => otherwise,
    }
}

/// Seconds, with or without a fraction, in milliseconds at the finest.
fn seconds(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let thousandths = format!("{:0<3}", fraction.get(..fraction.len().min(3))?).parse::<u64>().ok()?;
    let whole = whole.parse::<u64>().ok().filter(|whole| *whole <= 1_000_000)?;
    Some(Duration::from_millis(whole * 1000 + thousandths))
}

/// `2`, `-2`, `2 reverse`; the words after the keyword `weight`.
fn weight(words: &[super::words::Word]) -> Option<Weight> {
    let weight = words.first()?.text.parse::<i16>().ok().filter(|weight| (-254..=254).contains(weight))?;
    let reverse = words.get(1).is_some_and(|word| word.text == "reverse");
    Some(Weight { weight, reverse })
}
