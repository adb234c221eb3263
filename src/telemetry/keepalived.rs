//! `keepalived_*`: what boards and alerts made for the usual exporter beside keepalived ask for.
//!
//! Its labels are `iname` (the VIP's name), `intf`, `vrid` and, for the state, `ip_address`. There is no virtual
//! router id here, so `vrid` is 0. What belongs to VRRP's packets alone (TTL, address lists, priority 0, the
//! interval in the packet) is left out.

use super::exposition::Page;
use super::families::{Family, MESSAGE_REJECTIONS};
use super::metrics::{Channel, Direction, Metrics, VipLayout};
use super::sample::Sample;
use crate::core::VipState;

const VIP: &[&str] = &["iname", "intf", "vrid"];
const VIP_ADDRESS: &[&str] = &["iname", "intf", "vrid", "ip_address"];
/// What stands in the place of VRRP's virtual router id.
const NO_VRID: &str = "0";

const UP: Family = Family::gauge("keepalived_up", &[], "Whether the daemon runs; always 1.");
const STATE: Family = Family::gauge(
    "keepalived_vrrp_state",
    VIP_ADDRESS,
    "State of the VIP: 0 starting, 1 backup, 2 master, 3 fault.",
);
const BECOME: Family =
    Family::counter("keepalived_become_master_total", VIP, "Times this node became the holder.");
const RELEASE: Family =
    Family::counter("keepalived_release_master_total", VIP, "Times this node gave the VIP up.");
const SENT: Family = Family::counter(
    "keepalived_advertisements_sent_total",
    VIP,
    "Advertisements sent; one speaks for every VIP.",
);
const RECEIVED: Family = Family::counter(
    "keepalived_advertisements_received_total",
    VIP,
    "Advertisements received; one speaks for every VIP.",
);
const LENGTH_ERRORS: Family = Family::counter(
    "keepalived_packet_length_errors_total",
    VIP,
    "Advertisements that were too short or unreadable.",
);
const AUTHENTICATION_FAILURES: Family = Family::counter(
    "keepalived_authentication_failure_total",
    VIP,
    "Advertisements sealed with another secret, forged or replayed.",
);
const SCRIPT: Family =
    Family::gauge("keepalived_script_status", &["name"], "Whether a check's command succeeds.");

/// All of them, for tests.
#[cfg(test)]
pub(super) const ALL: &[&Family] =
    &[&UP, &STATE, &BECOME, &RELEASE, &SENT, &RECEIVED, &LENGTH_ERRORS, &AUTHENTICATION_FAILURES, &SCRIPT];

/// Puts all of it on the page.
pub(super) fn show(page: &mut Page, metrics: &Metrics, sample: &Sample) {
    page.count(&UP, &[], 1);
    let advertisements = |direction: Direction| {
        let of = |channel: Channel| metrics.node.messages.passed[channel as usize][direction as usize].get();
        of(Channel::Advertisement) + of(Channel::Beacon)
    };
    let rejected = |reasons: &[&str]| -> u64 {
        let counts = &metrics.node.messages.rejected[Channel::Advertisement as usize];
        let chosen = MESSAGE_REJECTIONS.iter().zip(counts).filter(|(reason, _)| reasons.contains(reason));
        chosen.map(|(_, count)| count.get()).sum()
    };
    for (at, (layout, counts)) in metrics.layout.vips.iter().zip(&metrics.vips).enumerate() {
        let VipLayout { name, interface, addresses } = layout;
        let labels = [name.as_str(), interface, NO_VRID];
        let known = sample.vips.get(at);
        let state = match known {
            Some(vip) if vip.active => 2,
            Some(vip) if vip.eligible => 1,
            // Not a candidate: still starting, or for a reason.
            Some(_) if sample.ready => 3,
            Some(_) | None => 0,
        };
        for address in addresses {
            page.count(&STATE, &[name, interface, NO_VRID, address], state);
        }
        let became = &counts.transitions[VipState::Active as usize];
        page.count(&BECOME, &labels, became.iter().map(super::counts::Count::get).sum());
        page.count(&RELEASE, &labels, counts.released.get());
        page.count(&SENT, &labels, advertisements(Direction::Out));
        page.count(&RECEIVED, &labels, advertisements(Direction::In));
        page.count(&LENGTH_ERRORS, &labels, rejected(&["short", "malformed"]));
        page.count(&AUTHENTICATION_FAILURES, &labels, rejected(&["key", "forged", "replayed"]));
    }
    for (at, name) in metrics.layout.checks.iter().enumerate() {
        page.flag(&SCRIPT, &[name], sample.checks.get(at).copied().flatten().unwrap_or_default());
    }
}
