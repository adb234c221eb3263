//! The page's parts, from top to bottom: what is wrong, the VIPs, the nodes, the services, what this node
//! believes, and what has happened.

use std::rc::Rc;

use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use serde_json::Value;

use super::operating::{buttons, mover, operating};
use super::{ICON, SCRIPT, STYLE};
use crate::admin::administration::Words;
use crate::admin::events::Numbered;
use crate::admin::status::{
    AdminState, Backend, Candidate, Health, Member, MemberState, Service, Status, Vip,
};
use crate::admin::table::{degraded, notes};

/// Up to so many nodes have a column each in the table of a service; more are summed up.
const COLUMNS: usize = 9;

/// What the page is made of.
pub(super) struct Shown<'a> {
    pub(super) status: &'a Status,
    /// What this node needs to serve, each with whether it is so.
    pub(super) conditions: &'a [(String, bool)],
    /// What operators have said that holds.
    pub(super) words: &'a Words,
    /// Whether there is a token that opens the page's buttons.
    pub(super) operable: bool,
    /// The latest first.
    pub(super) events: &'a [Rc<Numbered>],
    /// The latest event's number.
    pub(super) latest: u64,
    pub(super) now: Timestamp,
}

/// The whole document.
pub(super) fn document(shown: &Shown<'_>) -> Markup {
    let status = shown.status;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title(status)) }
                link rel="icon" href=(ICON) type="image/svg+xml";
                link rel="stylesheet" href=(STYLE);
                script src=(SCRIPT) defer {}
                noscript { meta http-equiv="refresh" content="5"; }
            }
            body {
                header {
                    img src=(ICON) alt="" width="36" height="36";
                    div {
                        h1 { (status.cluster) }
                        p { "seen from " strong { (status.node) } }
                    }
                    p #stale role="alert" hidden {}
                }
                main data-latest=(shown.latest) {
                    (troubles(status))
                    (vips(status, shown.words, shown.now))
                    (nodes(status))
                    @for service in &status.services { (self::service(service, status)) }
                    div.pair {
                        (beliefs(shown))
                        (events(shown))
                    }
                }
                (operating(shown.operable))
                footer {
                    p {
                        "The same for programs: "
                        a href="/api/v1/status" { "status" } ", " a href="/api/v1/events" { "events" } ", "
                        a href="/metrics" { "metrics" } "."
                    }
                }
            }
        }
    }
}

/// What a browser's tab shows: who holds what.
fn title(status: &Status) -> String {
    let holders: Vec<String> = status
        .vips
        .iter()
        .map(|vip| format!("{} on {}", vip.name, vip.holder.as_deref().unwrap_or("nobody")))
        .collect();
    let mark = if degraded(status).is_empty() { "" } else { "! " };
    format!("{mark}{} · {}", holders.join(", "), status.cluster)
}

fn troubles(status: &Status) -> Markup {
    let (degraded, notes) = (degraded(status), notes(status));
    html! {
        section #troubles aria-live="polite" aria-label="What calls for attention" {
            @if degraded.is_empty() {
                p.well { "All is well" }
            } @else {
                ul.degraded { @for reason in &degraded { li { (quoted(reason)) } } }
            }
            @if !notes.is_empty() { ul.notes { @for note in &notes { li { (quoted(note)) } } } }
        }
    }
}

/// A sentence whose `names` stand out.
fn quoted(sentence: &str) -> Markup {
    html! {
        @for (index, part) in sentence.split('`').enumerate() {
            @if index % 2 == 1 { strong { (part) } } @else { (part) }
        }
    }
}

fn vips(status: &Status, words: &Words, now: Timestamp) -> Markup {
    html! {
        section #vips aria-label="Virtual IPs" {
            @for vip in &status.vips {
                article.vip.held[vip.holder.is_some()].nobody[vip.holder.is_none()] {
                    h2 { (vip.name) " " span.address { (vip.addresses.join(" ")) } }
                    p.holder {
                        @match &vip.holder {
                            Some(holder) => strong { (holder) },
                            None => strong { "nobody" },
                        }
                        " holds it"
                    }
                    p.more {
                        "here " (vip.state.as_str()) " for " (span(vip.since, now))
                        ", term " (vip.term)
                    }
                    (mover(vip, words))
                }
            }
        }
    }
}

/// A duration, to one figure's worth.
fn span(since: Timestamp, now: Timestamp) -> Markup {
    let seconds = now.duration_since(since).as_secs().max(0);
    let text = match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    };
    html! { time datetime=(format!("{since:.0}")) title=(format!("since {since:.0}")) { (text) } }
}

/// Every node with every VIP: who could hold it, with what priority, and who does.
fn nodes(status: &Status) -> Markup {
    html! {
        section #nodes aria-labelledby="nodes-title" {
            h2 #nodes-title { "Nodes and their priorities" }
            div.wide tabindex="0" role="region" aria-labelledby="nodes-title" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Node" }
                            th.act scope="col" { "Say" }
                            th scope="col" { "State" }
                            @for vip in &status.vips { th scope="col" { (vip.name) } }
                            th scope="col" { "Address" }
                            th scope="col" { "Version" }
                            th scope="col" { "Config" }
                        }
                    }
                    tbody {
                        @for member in &status.members {
                            tr {
                                th scope="row" { (member.name) @if member.own { " " small { "(asked)" } } }
                                td.act { (buttons("node", &member.name)) }
                                td { (member_state(member)) }
                                @for vip in &status.vips { (standing(vip, member, status)) }
                                td { (member.address) }
                                td { (known(&member.version)) }
                                td { code title=(member.config) { (known(&short(&member.config))) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn member_state(member: &Member) -> Markup {
    let class = match member.state {
        MemberState::Alive => "good",
        MemberState::Suspect => "doubt",
        MemberState::Dead => "bad",
        MemberState::Left => "off",
    };
    html! {
        span class=(class) { (member.state.as_str()) }
        @if member.witness { " " small { "witness" } }
        @match member.admin {
            Some(admin @ (AdminState::Drain | AdminState::Maint)) => { " " span.said { (admin.as_str()) } }
            Some(AdminState::Ready) | None => {}
        }
    }
}

/// One node's part in one VIP.
fn standing(vip: &Vip, member: &Member, status: &Status) -> Markup {
    let candidate = vip.candidates.iter().find(|candidate| candidate.node == member.name);
    let holds = vip.holder.as_ref() == Some(&member.name);
    // Two at once are shown as two.
    let also = member.own && vip.state == super::super::status::VipState::Active && !holds;
    let base = (member.name == status.node).then_some(vip.base_priority);
    html! {
        @match candidate {
            Some(Candidate { effective_priority, eligible, .. }) => {
                td.holds[holds].both[also].unfit[!eligible] title=[base.map(|base| format!("base priority {base}"))] {
                    b { (effective_priority) }
                    @if holds || also { " holds it" } @else if *eligible { " backup" } @else { " can't" }
                }
            }
            None => td.unfit { "–" },
        }
    }
}

fn service(service: &Service, status: &Status) -> Markup {
    let nodes: Vec<&str> = status.members.iter().map(|member| member.name.as_str()).collect();
    let columns = nodes.len() <= COLUMNS;
    let title = format!("service-{}", service.name);
    html! {
        section.service aria-labelledby=(title) {
            div.title {
                h2 id=(title) { (service.name) }
                p.load {
                    "here " b { (service.connections_active) } " open"
                    @if let Some(total) = service.connections_total {
                        ", " b data-rate=(service.name) data-live="" { (total) }
                        span data-live="" { " since the start" }
                    }
                }
                svg.plot data-plot=(service.name) data-total=[service.connections_total] data-live=""
                    viewBox="0 0 120 24" preserveAspectRatio="none" role="img"
                    aria-label="New connections a second, the last two minutes" {}
            }
            div.wide tabindex="0" role="region" aria-labelledby=(title) {
                table {
                    thead {
                        tr {
                            th scope="col" { "Backend" }
                            th.act scope="col" { "Say" }
                            th scope="col" { "Here" }
                            @if columns {
                                @for node in &nodes { th scope="col" { small { "seen by " } (node) } }
                            } @else {
                                th scope="col" { "Seen by the nodes" }
                            }
                            th scope="col" { "Wanted" }
                            th scope="col" { "Weight" }
                            th scope="col" { "Open" }
                            th scope="col" { "Address" }
                        }
                    }
                    tbody {
                        @for backend in &service.backends {
                            tr.split[disagrees(backend)] {
                                th scope="row" { (backend.name) }
                                td.act { (buttons("backend", &format!("{}/{}", service.name, backend.name))) }
                                td {
                                    (health(backend.health))
                                    @if disagrees(backend) {
                                        " " span.disagreement { "the cluster says " (backend.agreed.as_str()) }
                                    }
                                }
                                @if columns {
                                    @for node in &nodes { (view(backend, node)) }
                                } @else {
                                    td { (summary(backend)) }
                                }
                                td { (wanted(backend.admin)) }
                                td { (backend.weight) }
                                td { (backend.connections_active) }
                                td { (backend.address) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Whether this node sees a backend otherwise than the cluster does.
fn disagrees(backend: &Backend) -> bool {
    let known = |health| health != Health::Unknown;
    backend.health != backend.agreed && known(backend.health) && known(backend.agreed)
}

fn health(health: Health) -> Markup {
    let class = match health {
        Health::Up => "good",
        Health::Down => "bad",
        Health::Unknown => "off",
    };
    html! { span class=(class) { (health.as_str()) } }
}

/// What one node sees of a backend; marked where it isn't what the cluster makes of it.
fn view(backend: &Backend, node: &str) -> Markup {
    html! {
        @match backend.views.get(node) {
            Some(seen) => td.odd[*seen != backend.agreed && *seen != Health::Unknown] { (health(*seen)) },
            None => td { "–" },
        }
    }
}

/// What all nodes see of a backend, in a few words: how many, and who differs.
fn summary(backend: &Backend) -> Markup {
    let count = |health| backend.views.values().filter(|view| **view == health).count();
    let odd: Vec<&str> = backend
        .views
        .iter()
        .filter(|(_, view)| **view != backend.agreed && **view != Health::Unknown)
        .map(|(node, _)| node.as_str())
        .collect();
    html! {
        (count(Health::Up)) " up, " (count(Health::Down)) " down"
        @if !odd.is_empty() { ": " span.disagreement { (odd.join(", ")) } }
    }
}

fn wanted(admin: AdminState) -> Markup {
    html! {
        @match admin {
            AdminState::Ready => (admin.as_str()),
            AdminState::Drain | AdminState::Maint => span.said { (admin.as_str()) },
        }
    }
}

fn beliefs(shown: &Shown<'_>) -> Markup {
    let status = shown.status;
    let own = status.members.iter().find(|member| member.own);
    let alive = status.members.iter().filter(|member| member.state == MemberState::Alive).count();
    html! {
        section #beliefs aria-labelledby="beliefs-title" {
            h2 #beliefs-title { "What " (status.node) " believes" }
            dl {
                dt { "It can serve" }
                dd { @if status.ready { span.good { "yes" } } @else { span.bad { "no" } } }
                @for (what, holds) in shown.conditions {
                    dt.sub { (what) }
                    dd { @if *holds { "yes" } @else { span.doubt { "not yet" } } }
                }
                dt { "Members alive" } dd { (alive) " of " (status.members.len()) }
                dt { "Quorum" }
                dd {
                    (status.quorum)
                    @if let Some(majority) = &status.majority {
                        ": " (majority.present) " of " (majority.expected_nodes) " here, " (majority.needed) " needed"
                    }
                }
                @for vip in &status.vips {
                    dt { (vip.name) }
                    dd {
                        (vip.state.as_str()) " on " (vip.interface) ", priority " (vip.effective_priority)
                        " (base " (vip.base_priority) ")"
                        @if let Some(reason) = &vip.fence_missing { ", no fence: " (reason) } @else { ", fence up" }
                    }
                }
                @if let Some(own) = own {
                    dt { "Its address" } dd { (own.address) }
                    dt { "Its configuration" } dd { code { (known(&own.config)) } }
                    dt { "Its version" } dd { (known(&own.version)) }
                }
            }
        }
    }
}

fn events(shown: &Shown<'_>) -> Markup {
    html! {
        section #events aria-labelledby="events-title" {
            h2 #events-title { "What has happened, as " (shown.status.node) " tells it " small { "in UTC" } }
            @if shown.events.is_empty() { p { "Nothing yet." } }
            ol reversed {
                @for event in shown.events { (self::event(event)) }
            }
        }
    }
}

fn event(event: &Numbered) -> Markup {
    let text = |key: &str| event.document.get(key).and_then(Value::as_str).unwrap_or_default();
    let (moment, level, name) = (text("timestamp"), text("level"), text("event"));
    // `2026-11-22T17:38:12.836083Z`: who looks at a page knows what day it is.
    let clock = moment.get(11..19).unwrap_or(moment);
    let known = ["timestamp", "level", "event"];
    html! {
        li.info[level == "INFO"].warn[level == "WARN"].error[level == "ERROR"] {
            time datetime=(moment) title=(moment) { (clock) } " " b { (name) }
            @for (key, value) in event.document.iter().filter(|(key, _)| !known.contains(&key.as_str())) {
                " " span.field { i { (key) "=" } (plain(value)) }
            }
        }
    }
}

/// A value as one reads it.
fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn known(value: &str) -> &str {
    if value.is_empty() { "–" } else { value }
}

fn short(digest: &str) -> String {
    digest.chars().take(8).collect()
}
