//! `vrrp_instance`: one virtual router on one node.

use std::net::IpAddr;

use crate::config::is_interface;

use super::super::Remarks;
use super::super::words::{Word, shown};
use super::syntax::Statement;
use super::{Instance, Tracks, seconds, version_of, weight};

/// What VRRP's version 2 has room for; keepalived cuts the rest off.
const LONGEST_PASSWORD: usize = 8;

/// keepalived's priorities where the file has none: by `state`.
const OWNER_PRIORITY: u8 = 255;
const BACKUP_PRIORITY: u8 = 100;

/// Reads one instance; nothing if it holds nothing.
pub(super) fn read(statement: &Statement, version: u8, remarks: &mut Remarks<'_>) -> Option<Instance> {
    let mut instance = Instance {
        name: statement.argument().to_owned(),
        line: statement.line,
        interface: None,
        priority: 0,
        preempt: true,
        vrid: None,
        version,
        advertisement_interval: None,
        password: None,
        source: None,
        peers: Vec::new(),
        addresses: Vec::new(),
        tracks: Vec::new(),
    };
    let mut state = "";
    for inner in statement.inner() {
        if inner.keyword() == "state" {
            state = inner.argument();
        }
        setting(&mut instance, inner, remarks);
    }
    if instance.name.is_empty() || instance.addresses.is_empty() || instance.interface.is_none() {
        let what = shown(&statement.words);
        remarks.left_out(
            statement.line,
            format!("{what} has no name, no interface or no address that can be held"),
        );
        return None;
    }
    if instance.priority == 0 {
        instance.priority = if state == "MASTER" { OWNER_PRIORITY } else { BACKUP_PRIORITY };
        let text = format!("no `priority`: {}, as keepalived has it by its `state`", instance.priority);
        remarks.note(statement.line, text);
    }
    if !instance.preempt && state == "MASTER" {
        instance.preempt = true;
        remarks
            .repaired(statement.line, "keepalived ignores `nopreempt` beside `state MASTER`, so it preempts");
    }
    Some(instance)
}

fn setting(instance: &mut Instance, inner: &Statement, remarks: &mut Remarks<'_>) {
    let (line, argument) = (inner.line, inner.argument());
    let what = shown(&inner.words);
    match inner.keyword() {
        "interface" if is_interface(argument) => instance.interface = Some(argument.to_owned()),
        "interface" => remarks.left_out(line, format!("{what} names no interface")),
        "state" => state(argument, line, remarks),
        "priority" => match argument.parse::<u8>().ok().filter(|priority| *priority > 0) {
            Some(priority) => instance.priority = priority,
            None => remarks.left_out(line, format!("{what} is no priority from 1 to 255")),
        },
        "nopreempt" => instance.preempt = false,
        "preempt" => {}
        "virtual_router_id" => match argument.parse::<u8>().ok().filter(|vrid| *vrid > 0) {
            Some(vrid) => {
                instance.vrid = Some(vrid);
                remarks
                    .note(line, format!("{what}: between chinthe nodes it isn't needed; kept as a comment"));
            }
            None => remarks.left_out(line, format!("{what} is no id from 1 to 255")),
        },
        "advert_int" => {
            instance.advertisement_interval = seconds(argument).filter(|interval| !interval.is_zero());
            remarks
                .note(line, format!("{what}: chinthe nodes tell each other every 100ms; kept as a comment"));
        }
        "version" => instance.version = version_of(inner, instance.version),
        "authentication" => authentication(instance, inner, remarks),
        "unicast_src_ip" | "mcast_src_ip" => match host_address(argument) {
            Some(source) => instance.source = Some(source),
            None => remarks.left_out(line, format!("{what} has no address")),
        },
        "unicast_peer" => {
            for peer in inner.inner() {
                match host_address(peer.keyword()) {
                    Some(address) => instance.peers.push(address),
                    None => {
                        remarks.left_out(peer.line, format!("the peer {} is no address", shown(&peer.words)));
                    }
                }
            }
        }
        "virtual_ipaddress" | "virtual_ipaddress_excluded" => {
            for entry in inner.inner() {
                address(instance, entry, remarks);
            }
        }
        "track_script" => {
            for entry in inner.inner() {
                instance.tracks.push(tracks(entry));
            }
        }
        "garp_master_delay"
        | "garp_master_repeat"
        | "garp_master_refresh"
        | "garp_master_refresh_repeat"
        | "garp_lower_prio_delay"
        | "garp_lower_prio_repeat"
        | "garp_interval"
        | "gna_interval" => {
            remarks.note(line, format!("{what}: chinthe announces in its own rhythm"));
        }
        "dont_track_primary"
        | "lower_prio_no_advert"
        | "higher_prio_send_advert"
        | "check_unicast_src"
        | "strict_mode"
        | "native_ipv6"
        | "skip_check_adv_addr"
        | "debug"
        | "accept"
        | "unicast_ttl"
        | "promote_secondaries" => remarks.note(line, format!("{what} isn't needed")),
        "notify"
        | "notify_master"
        | "notify_backup"
        | "notify_fault"
        | "notify_stop"
        | "notify_deleted"
        | "notify_master_rx_lower_pri"
        | "smtp_alert" => {
            remarks.left_out(line, format!("{what}: nothing is run or sent at a transition"));
        }
        "track_interface"
        | "track_process"
        | "track_file"
        | "track_bfd"
        | "virtual_routes"
        | "virtual_rules"
        | "use_vmac"
        | "use_ipvlan"
        | "vmac_xmit_base"
        | "preempt_delay"
        | "no_accept"
        | "linkbeat_use_polling"
        | "lvs_sync_daemon_interface"
        | "lvs_sync_daemon_inteface" => {
            remarks.left_out(line, format!("{what} has no counterpart"));
        }
        _ => remarks.left_out(line, format!("{what} is not known")),
    }
}

/// An address that one machine can have.
fn host_address(text: &str) -> Option<IpAddr> {
    text.parse::<IpAddr>().ok().filter(|ip| !ip.is_unspecified() && !ip.is_multicast())
}

fn state(argument: &str, line: usize, remarks: &mut Remarks<'_>) {
    match argument {
        "MASTER" | "BACKUP" => {
            remarks.note(line, format!("`state {argument}` isn't needed: the priorities decide"));
        }
        _ if argument.eq_ignore_ascii_case("MASTER") || argument.eq_ignore_ascii_case("BACKUP") => {
            let text = format!(
                "`state {argument}`: keepalived knows {} only and ignores this; the priorities decide",
                argument.to_ascii_uppercase()
            );
            remarks.repaired(line, text);
        }
        _ => remarks.left_out(line, "`state` is neither MASTER nor BACKUP"),
    }
}

fn authentication(instance: &mut Instance, block: &Statement, remarks: &mut Remarks<'_>) {
    for inner in block.inner() {
        match inner.keyword() {
            "auth_type" => {
                remarks.note(
                    inner.line,
                    "`auth_type`: chinthe's own messages are sealed with the cluster's secret",
                );
            }
            "auth_pass" => {
                let password = inner.argument();
                let kept: String = password.chars().take(LONGEST_PASSWORD).collect();
                let length = password.chars().count();
                if length > LONGEST_PASSWORD {
                    let text = format!(
                        "the password has {length} characters, and keepalived uses the first {LONGEST_PASSWORD}: cut"
                    );
                    remarks.repaired(inner.line, text);
                }
                remarks.note(
                    inner.line,
                    "`auth_pass`: between chinthe nodes it isn't needed, `secret_file` is; kept as a comment",
                );
                instance.password = Some(kept);
            }
            _ => remarks.left_out(inner.line, format!("{} is not known", shown(&inner.words))),
        }
    }
}

/// `192.168.7.130/32 brd 192.168.7.255 dev eth1 scope global label eth1:1`.
fn address(instance: &mut Instance, entry: &Statement, remarks: &mut Remarks<'_>) {
    let written = entry.keyword();
    let (host, prefix) =
        written.split_once('/').map_or((written, None), |(host, prefix)| (host, Some(prefix)));
    let fits = |longest: u8| {
        prefix.is_none_or(|prefix| prefix.parse::<u8>().is_ok_and(|bits| (1..=longest).contains(&bits)))
    };
    let holdable = match host.parse::<IpAddr>() {
        Ok(ip) if ip.is_unspecified() || ip.is_multicast() => false,
        Ok(IpAddr::V4(ip)) => fits(32) && !ip.is_broadcast(),
        Ok(IpAddr::V6(ip)) => fits(128) && !ip.is_unicast_link_local() && ip.to_ipv4_mapped().is_none(),
        Err(_) => false,
    };
    if !holdable {
        remarks.left_out(entry.line, format!("{} is no address that can be held", shown(&entry.words)));
        return;
    }
    if !instance.addresses.iter().any(|known| known.split('/').next() == Some(host)) {
        instance.addresses.push(written.to_owned());
    }
    let mut options = entry.words[1..].iter().map(|word: &Word| word.text.as_str());
    while let Some(option) = options.next() {
        match option {
            "dev" => {
                let device = options.next().unwrap_or_default();
                if instance.interface.as_deref().is_some_and(|own| own != device) {
                    remarks
                        .left_out(entry.line, format!("`dev {device}`: a VIP is held on its one interface"));
                }
            }
            "brd" | "broadcast" | "scope" => {
                options.next();
                remarks
                    .note(entry.line, format!("`{option}` isn't needed: the address is held as /32 or /128"));
            }
            "label" => {
                let label = options.next().unwrap_or_default();
                remarks.left_out(entry.line, format!("`label {label}` has no counterpart"));
            }
            "-nodad" | "home" | "noprefixroute" => {
                remarks.note(entry.line, format!("`{option}` isn't needed"));
            }
            _ => remarks.left_out(entry.line, format!("`{option}` has no counterpart")),
        }
    }
}

/// `chk_haproxy`, `chk_haproxy weight 2 reverse`.
fn tracks(entry: &Statement) -> Tracks {
    let own = entry.words.iter().position(|word| word.text == "weight");
    Tracks {
        script: entry.keyword().to_owned(),
        line: entry.line,
        weight: own.and_then(|at| weight(&entry.words[at + 1..])),
    }
}
