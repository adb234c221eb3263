//! The status document: what one node knows of the whole cluster, as `/api/v1/status` shows it.
//!
//! One set of types for both ends: the server writes it, `chinthe status` reads it. Fields that a newer node
//! adds are passed over by an older reader.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::core;

/// The cluster, as the answering node sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// The cluster's name.
    pub cluster: String,
    /// The answering node's name.
    pub node: String,
    /// Whether the answering node can serve.
    pub ready: bool,
    /// What a node needs of the others to hold a VIP: `none` or `majority`.
    pub quorum: String,
    /// The majority, where one is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub majority: Option<Majority>,
    /// Every member that is known, the answering node included.
    pub members: Vec<Member>,
    /// The VIPs, in the configuration's order.
    pub vips: Vec<Vip>,
    /// The services, in the configuration's order.
    pub services: Vec<Service>,
}

/// How many nodes it takes to hold a VIP, and how many there are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Majority {
    /// When all are there.
    pub expected_nodes: u16,
    /// That have to grant a hold.
    pub needed: u16,
    /// That the answering node hears, itself included.
    pub present: u16,
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Where it is reached.
    pub address: String,
    /// Whether it is there.
    pub state: MemberState,
    /// Its version; empty while unknown.
    pub version: String,
    /// The digest of its configuration in hexadecimal digits; empty while unknown.
    pub config: String,
    /// Whether it is the answering node.
    #[serde(rename = "self")]
    pub own: bool,
    /// It only votes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub witness: bool,
    /// What operators want of it; not there where the answering node can't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<AdminState>,
}

/// Whether a member is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MemberState {
    /// Heard from lately.
    Alive,
    /// Silent for longer than it should be.
    Suspect,
    /// Given up.
    Dead,
    /// Gone by its own word.
    Left,
}

impl MemberState {
    /// As in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Dead => "dead",
            Self::Left => "left",
        }
    }
}

/// One VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// Its name.
    pub name: String,
    /// Its addresses, as the configuration writes them.
    pub addresses: Vec<String>,
    /// The interface that carries it on the answering node.
    pub interface: String,
    /// Its state on the answering node.
    pub state: VipState,
    /// Who holds it, as far as the answering node knows.
    pub holder: Option<String>,
    /// The answering node's configured priority.
    pub base_priority: u8,
    /// The answering node's priority with all weights.
    pub effective_priority: u8,
    /// The election that made the holder.
    pub term: u32,
    /// Since when the state is what it is, RFC 3339 in UTC.
    #[serde(with = "rfc3339")]
    pub since: Timestamp,
    /// Whether a hung holder's VIP is cut off by the kernel.
    pub fence: Fence,
    /// Why it isn't, where it isn't.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fence_missing: Option<String>,
    /// Who stands to what has been promised, where a majority is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grants: Option<Grants>,
    /// How long a hand-back to each of these members has yet to wait, in seconds, since it would repeat.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub damped: BTreeMap<String, u64>,
    /// The trace of its latest failover, by the holder's own word; not there while the holder hasn't said so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// Every member that could hold it.
    pub candidates: Vec<Candidate>,
}

/// The answering node's part in a VIP's majority.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Who grants it to the answering node now.
    pub granted_by: Vec<String>,
    /// Whom the answering node has promised it to.
    pub promised_to: Option<String>,
}

/// A VIP's state on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VipState {
    /// No candidate.
    Initialize,
    /// A candidate.
    Backup,
    /// The holder.
    Active,
}

impl VipState {
    /// As in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Initialize => "initialize",
            Self::Backup => "backup",
            Self::Active => "active",
        }
    }
}

impl From<core::VipState> for VipState {
    fn from(state: core::VipState) -> Self {
        match state {
            core::VipState::Initialize => Self::Initialize,
            core::VipState::Backup => Self::Backup,
            core::VipState::Active => Self::Active,
        }
    }
}

/// Whether the kernel itself ends the VIP of a holder that hangs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fence {
    /// It does, within tenths of a second.
    On,
    /// It doesn't; the address's lifetime does, within seconds.
    Off,
}

/// A member that could hold a VIP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub node: String,
    /// Its priority with all weights.
    pub effective_priority: u8,
    /// Whether it may hold the VIP at all.
    pub eligible: bool,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Connections of clients open on the answering node.
    pub connections_active: u64,
    /// Connections of clients accepted by the answering node since its start; not there where it can't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_total: Option<u64>,
    /// Its pool, in the configuration's order.
    pub backends: Vec<Backend>,
}

/// One backend of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backend {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub address: String,
    /// The answering node's own verdict, which routes.
    pub health: Health,
    /// What operators want of it.
    pub admin: AdminState,
    /// What the cluster makes of the views.
    pub agreed: Health,
    /// What each member says, by name.
    pub views: BTreeMap<String, Health>,
    /// Its share of new connections: as configured, or as operators say.
    pub weight: u16,
    /// Connections to it open on the answering node.
    pub connections_active: u64,
    /// Connections to it since the answering node's start; not there where it can't tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections_total: Option<u64>,
}

/// A verdict on a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// Not probed yet.
    Unknown,
    /// It answers.
    Up,
    /// It doesn't.
    Down,
}

impl Health {
    /// As in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

impl From<core::Verdict> for Health {
    fn from(verdict: core::Verdict) -> Self {
        match verdict {
            core::Verdict::Unknown => Self::Unknown,
            core::Verdict::Up => Self::Up,
            core::Verdict::Down => Self::Down,
        }
    }
}

/// What operators want of a backend or a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AdminState {
    /// Traffic, if it is up.
    Ready,
    /// No new connections.
    Drain,
    /// Nothing at all.
    Maint,
}

impl AdminState {
    /// As in the document.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

impl From<core::AdminState> for AdminState {
    fn from(state: core::AdminState) -> Self {
        match state {
            core::AdminState::Ready => Self::Ready,
            core::AdminState::Drain => Self::Drain,
            core::AdminState::Maint => Self::Maint,
        }
    }
}

impl From<AdminState> for core::AdminState {
    fn from(state: AdminState) -> Self {
        match state {
            AdminState::Ready => Self::Ready,
            AdminState::Drain => Self::Drain,
            AdminState::Maint => Self::Maint,
        }
    }
}

/// A moment as RFC 3339 in UTC, or `null`.
pub(super) mod rfc3339_or_null {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    #[allow(clippy::ref_option, reason = "serde hands it over so")]
    pub(in crate::admin) fn serialize<S: Serializer>(
        moment: &Option<Timestamp>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => to.collect_str(moment),
            None => to.serialize_none(),
        }
    }

    pub(in crate::admin) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| text.parse().map_err(de::Error::custom)).transpose()
    }
}

/// A moment as RFC 3339 in UTC.
pub(super) mod rfc3339 {
    use jiff::Timestamp;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::admin) fn serialize<S: Serializer>(moment: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(moment)
    }

    pub(in crate::admin) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The document of the contract.
    pub(in crate::admin) const SAMPLE: &str = r#"{"cluster":"myweb","node":"ha1","ready":true,"quorum":"none",
 "members":[{"name":"ha1","address":"192.168.56.21","state":"alive","version":"0.1.0","config":"5f2c","self":true}],
 "vips":[{"name":"vi_1","addresses":["192.168.56.69/24"],"interface":"eth1","state":"active","holder":"ha1","base_priority":101,"effective_priority":103,"term":4,
          "since":"2026-11-22T10:00:00Z","fence":"on","candidates":[{"node":"ha1","effective_priority":103,"eligible":true}]}],
 "services":[{"name":"myweb","connections_active":3,
   "backends":[{"name":"web1","address":"192.168.56.11:80","health":"up","admin":"ready","agreed":"up","views":{"ha1":"up","ha2":"up"},"weight":1,"connections_active":2}]}]}"#;

    #[test]
    fn the_contracts_document_comes_back_field_by_field() {
        let status: Status = serde_json::from_str(SAMPLE).expect("it is a status");
        let written = serde_json::to_value(&status).expect("it can be written");
        let expected: serde_json::Value = serde_json::from_str(SAMPLE).expect("it is JSON");
        assert_eq!(written, expected);
    }

    #[test]
    fn a_vip_that_nobody_holds_says_so() {
        let mut status: Status = serde_json::from_str(SAMPLE).expect("it is a status");
        status.vips[0].holder = None;
        let written = serde_json::to_value(&status).expect("it can be written");
        assert!(written["vips"][0]["holder"].is_null());
    }

    #[test]
    fn a_newer_nodes_field_is_passed_over() {
        let newer = SAMPLE.replacen('{', r#"{"moon":{"phase":"full"},"#, 1);
        assert!(serde_json::from_str::<Status>(&newer).is_ok());
    }

    #[test]
    fn words_are_the_same_in_the_document_and_in_text() {
        let word = |value: serde_json::Value| value.as_str().expect("a word").to_owned();
        for state in [MemberState::Alive, MemberState::Suspect, MemberState::Dead, MemberState::Left] {
            assert_eq!(word(serde_json::json!(state)), state.as_str());
        }
        for state in core::VipState::ALL {
            assert_eq!(word(serde_json::json!(VipState::from(state))), state.as_str());
            assert_eq!(VipState::from(state).as_str(), state.as_str());
        }
        for verdict in core::Verdict::ALL {
            assert_eq!(word(serde_json::json!(Health::from(verdict))), verdict.as_str());
            assert_eq!(Health::from(verdict).as_str(), verdict.as_str());
        }
        for state in core::AdminState::ALL {
            assert_eq!(word(serde_json::json!(AdminState::from(state))), state.as_str());
            assert_eq!(AdminState::from(state).as_str(), state.as_str());
            assert_eq!(core::AdminState::from(AdminState::from(state)), state);
        }
    }
}
