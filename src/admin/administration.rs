//! What operators say, as documents: a change that is asked for, and the words in force.
//!
//! One set of types for both ends, as for the status. A [`Change`] is read strictly, so that a slip is an error
//! and not half of what was meant; [`Words`] are read as leniently as a status.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use tokio::sync::oneshot;

use super::status::{self, AdminState};
use crate::config::{duration_text, is_name, parse_duration};
use crate::core::{self, Target};
use crate::wire::member_id;

/// The least and the most that a word may be limited to.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

/// The largest weight, as in the configuration.
const HEAVIEST: u16 = 256;

/// Every service, in place of a service's name.
const EVERYWHERE: &str = "*";

/// What an operator asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Of what.
    pub target: Target,
    /// What: a state, a weight, or both; or a holder.
    pub settings: Vec<core::Setting>,
    /// The name of the node that is to be the holder, where one is said.
    pub holder: Option<String>,
    /// For how long; else until something else is said.
    pub lasting: Option<Duration>,
}

/// Why a change can't even be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadChange(String);

impl Change {
    /// Has a VIP held by a node whenever it can, or by whoever has the highest priority.
    pub fn holder(target: Target, holder: Option<String>, lasting: Option<Duration>) -> Self {
        let settings = vec![core::Setting::Holder(holder.as_deref().map(member_id))];
        Self { target, settings, holder, lasting }
    }

    /// Reads the body of a `POST`.
    pub fn parse(body: &[u8]) -> Result<Self, BadChange> {
        let shape: ChangeShape =
            serde_json::from_slice(body).map_err(|error| BadChange(error.to_string()))?;
        let target = Target::try_from(shape.target)?;
        let state = shape.state.map(|state| core::Setting::State(state.into()));
        let weight = shape.weight.map(|Weight(weight)| core::Setting::Weight(weight));
        let holder = shape.holder.as_ref().map(|Holder(name)| name.as_deref());
        if holder.flatten().is_some_and(|name| !is_name(name)) {
            return Err(BadChange("no node can have that name".into()));
        }
        let held = holder.map(|name| core::Setting::Holder(name.map(member_id)));
        let settings: Vec<_> = state.into_iter().chain(weight).chain(held).collect();
        match (&target, state.or(weight), held) {
            (Target::Vip { .. }, None, Some(_)) => {}
            (Target::Vip { .. }, _, _) => {
                return Err(BadChange("a VIP has a `holder`, and nothing else".into()));
            }
            (_, _, Some(_)) => return Err(BadChange("a VIP alone has a `holder`".into())),
            (_, None, None) => return Err(BadChange("say a `state` or a `weight`".into())),
            (_, Some(_), None) => {}
        }
        if let Some(Weight(Some(weight))) = shape.weight
            && weight > HEAVIEST
        {
            return Err(BadChange(format!("the weight {weight} is out of range: use 0 to {HEAVIEST}")));
        }
        if shape.weight.is_some() && matches!(target, Target::Node { .. }) {
            return Err(BadChange("a node has no weight".into()));
        }
        let lasting = shape.lasting.as_deref().map(lasting).transpose()?;
        let holder = holder.flatten().map(str::to_owned);
        Ok(Self { target, settings, holder, lasting })
    }

    /// As the body of a `POST`.
    pub fn to_json(&self) -> String {
        let mut shape = ChangeShape {
            target: Subject::from(&self.target),
            state: None,
            weight: None,
            holder: None,
            lasting: self.lasting.map(duration_text),
        };
        for setting in &self.settings {
            match setting {
                core::Setting::State(state) => shape.state = Some((*state).into()),
                core::Setting::Weight(weight) => shape.weight = Some(Weight(*weight)),
                core::Setting::Holder(_) => shape.holder = Some(Holder(self.holder.clone())),
            }
        }
        serde_json::to_string(&shape).expect("text and numbers are always JSON")
    }
}

/// How long a word is to hold, as an operator writes it: `30m`.
pub fn lasting(text: &str) -> Result<Duration, BadChange> {
    parse_duration(text, SHORTEST, LONGEST).map_err(|error| BadChange(format!("`for`: {error}")))
}

/// The change as JSON has it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChangeShape {
    target: Subject,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<AdminState>,
    /// Not there is something else than `null`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    weight: Option<Weight>,
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    holder: Option<Holder>,
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    lasting: Option<String>,
}

/// A weight, or `null` for the configured one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(transparent)]
struct Weight(Option<u16>);

/// A node's name, or `null` for whoever has the highest priority.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
struct Holder(Option<String>);

fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// Whom a word is about, as JSON has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// `SERVICE/BACKEND`, or `*/BACKEND` for the backends of this name on all services.
    Backend(String),
    /// A node's name.
    Node(String),
    /// A VIP's name.
    Vip(String),
}

impl From<&Target> for Subject {
    fn from(target: &Target) -> Self {
        match target {
            Target::Backend { service, backend } => Self::Backend(format!("{service}/{backend}")),
            Target::Everywhere { backend } => Self::Backend(format!("{EVERYWHERE}/{backend}")),
            Target::Node { node } => Self::Node(node.clone()),
            Target::Vip { vip } => Self::Vip(vip.clone()),
        }
    }
}

impl TryFrom<Subject> for Target {
    type Error = BadChange;

    fn try_from(subject: Subject) -> Result<Self, BadChange> {
        match subject {
            Subject::Backend(text) => {
                let unfit = || BadChange("a backend is named by `SERVICE/BACKEND` or `*/BACKEND`".into());
                let (service, backend) = text.split_once('/').ok_or_else(unfit)?;
                match (service, backend) {
                    (_, backend) if !is_name(backend) => Err(unfit()),
                    (EVERYWHERE, backend) => Ok(Self::Everywhere { backend: backend.into() }),
                    (service, backend) if is_name(service) => {
                        Ok(Self::Backend { service: service.into(), backend: backend.into() })
                    }
                    _ => Err(unfit()),
                }
            }
            Subject::Node(node) if is_name(&node) => Ok(Self::Node { node }),
            Subject::Node(_) => Err(BadChange("no node can have that name".into())),
            Subject::Vip(vip) if is_name(&vip) => Ok(Self::Vip { vip }),
            Subject::Vip(_) => Err(BadChange("no VIP can have that name".into())),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Backend(backend) => f.write_str(backend),
            Self::Node(node) => write!(f, "node {node}"),
            Self::Vip(vip) => f.write_str(vip),
        }
    }
}

/// What operators have said that holds: the document of `GET`, and for what was changed that of `POST`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Words {
    /// One for each state and each weight that something was said about.
    pub words: Vec<Word>,
}

/// One word in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Word {
    /// Of what.
    pub target: Subject,
    /// What.
    #[serde(flatten)]
    pub setting: Setting,
    /// When it was said, RFC 3339 in UTC.
    #[serde(with = "status::rfc3339")]
    pub since: Timestamp,
    /// When it runs out, if it does.
    #[serde(with = "status::rfc3339_or_null")]
    pub expires: Option<Timestamp>,
    /// The node that it was said to.
    pub by: String,
}

/// What is said: one member of the document, named after what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Setting {
    /// Of the state.
    State(AdminState),
    /// Of the weight; `null` is the configured one.
    Weight(Option<u16>),
    /// Of where a VIP is to be: the node's name; `null` is whoever has the highest priority.
    Holder(Option<String>),
}

impl Setting {
    /// As the document has it; `name` knows the nodes.
    pub fn new(setting: core::Setting, name: impl Fn(core::MemberId) -> String) -> Self {
        match setting {
            core::Setting::State(state) => Self::State(state.into()),
            core::Setting::Weight(weight) => Self::Weight(weight),
            core::Setting::Holder(holder) => Self::Holder(holder.map(name)),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => f.write_str(state.as_str()),
            Self::Weight(Some(weight)) => write!(f, "weight {weight}"),
            Self::Weight(None) => f.write_str("weight as configured"),
            Self::Holder(Some(node)) => write!(f, "to be on {node}"),
            Self::Holder(None) => f.write_str("wherever the priority is highest"),
        }
    }
}

/// Who asks for a change, as far as that can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// Somebody on this host, by the Unix socket.
    Socket {
        /// The user's number, if the kernel tells.
        uid: Option<u32>,
    },
    /// Somebody who has the token.
    Token {
        /// Where from.
        from: SocketAddr,
    },
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket { uid: Some(uid) } => write!(f, "user {uid} by the socket"),
            Self::Socket { uid: None } => f.write_str("somebody by the socket"),
            Self::Token { from } => write!(f, "token from {}", from.ip()),
        }
    }
}

/// Where the driver says what came of a change: what then holds of its target. Dropped unused, it says that the
/// change didn't get through.
pub type Answer = oneshot::Sender<Result<Words, Refusal>>;

/// Why a change that was understood isn't made. Nothing has changed, unless said otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such service, backend or node; the sentence says which, and what may have been meant.
    #[error("{0}")]
    Unknown(String),
    /// More has been said than is remembered; of a state and a weight the state may have come to hold.
    #[error("more has been said than a node remembers")]
    Full,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::{AdminState, Setting};

    fn web1() -> Target {
        Target::Backend { service: "myweb".into(), backend: "web1".into() }
    }

    fn parse(text: &str) -> Result<Change, String> {
        Change::parse(text.as_bytes()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_change_is_read_as_it_was_written() {
        let cases = [
            (
                r#"{"target":{"backend":"myweb/web1"},"state":"drain","for":"30m"}"#,
                Change {
                    target: web1(),
                    settings: vec![Setting::State(AdminState::Drain)],
                    holder: None,
                    lasting: Some(Duration::from_secs(1800)),
                },
            ),
            (
                r#"{"target":{"backend":"*/web1"},"state":"maint","weight":null}"#,
                Change {
                    target: Target::Everywhere { backend: "web1".into() },
                    settings: vec![Setting::State(AdminState::Maint), Setting::Weight(None)],
                    holder: None,
                    lasting: None,
                },
            ),
            (
                r#"{"target":{"backend":"myweb/web1"},"weight":256}"#,
                Change {
                    target: web1(),
                    settings: vec![Setting::Weight(Some(256))],
                    holder: None,
                    lasting: None,
                },
            ),
            (
                r#"{"target":{"vip":"vi_1"},"holder":"ha2","for":"10m"}"#,
                Change {
                    target: Target::Vip { vip: "vi_1".into() },
                    settings: vec![Setting::Holder(Some(member_id("ha2")))],
                    holder: Some("ha2".into()),
                    lasting: Some(Duration::from_secs(600)),
                },
            ),
            (
                r#"{"target":{"vip":"vi_1"},"holder":null}"#,
                Change {
                    target: Target::Vip { vip: "vi_1".into() },
                    settings: vec![Setting::Holder(None)],
                    holder: None,
                    lasting: None,
                },
            ),
            (
                r#"{"target":{"node":"ha1"},"state":"ready"}"#,
                Change {
                    target: Target::Node { node: "ha1".into() },
                    settings: vec![Setting::State(AdminState::Ready)],
                    holder: None,
                    lasting: None,
                },
            ),
        ];
        for (text, change) in cases {
            assert_eq!(parse(text), Ok(change.clone()), "{text}");
            assert_eq!(change.to_json(), text);
        }
    }

    #[test]
    fn what_isnt_a_change_is_refused_with_a_reason() {
        for (text, words) in [
            ("", "EOF"),
            ("[]", "expected"),
            ("{}", "`target`"),
            (r#"{"target":{"backend":"myweb/web1"}}"#, "say a `state` or a `weight`"),
            (r#"{"target":{"backend":"web1"},"state":"drain"}"#, "SERVICE/BACKEND"),
            (r#"{"target":{"backend":"a/b/c"},"state":"drain"}"#, "SERVICE/BACKEND"),
            (r#"{"target":{"backend":"myweb/*"},"state":"drain"}"#, "SERVICE/BACKEND"),
            (r#"{"target":{"vip":"vi_1"},"state":"drain"}"#, "a VIP has a `holder`"),
            (r#"{"target":{"vip":"vi_1"}}"#, "a VIP has a `holder`"),
            (r#"{"target":{"vip":"vi_1"},"holder":"a b"}"#, "no node can have that name"),
            (r#"{"target":{"vip":"*/x"},"holder":"ha1"}"#, "no VIP can have that name"),
            (r#"{"target":{"node":"ha1"},"holder":"ha1"}"#, "a VIP alone"),
            (r#"{"target":{"moon":"vi_1"},"state":"drain"}"#, "unknown variant `moon`"),
            (r#"{"target":{"node":"a b"},"state":"drain"}"#, "no node"),
            (r#"{"target":{"node":"ha1"},"weight":5}"#, "no weight"),
            (r#"{"target":{"node":"ha1"},"state":"asleep"}"#, "unknown variant `asleep`"),
            (r#"{"target":{"node":"ha1"},"state":"drain","until":"noon"}"#, "unknown field `until`"),
            (r#"{"target":{"node":"ha1"},"state":"drain","for":"30"}"#, "has no unit"),
            (r#"{"target":{"node":"ha1"},"state":"drain","for":"1ms"}"#, "too short"),
            (r#"{"target":{"node":"ha1"},"state":"drain","for":"99999999h"}"#, "too long"),
            (r#"{"target":{"backend":"a/b"},"weight":257}"#, "0 to 256"),
            (r#"{"target":{"backend":"a/b"},"weight":-1}"#, "invalid value"),
            (r#"{"target":{"backend":"a/b"},"weight":70000}"#, "invalid value"),
            (r#"{"target":{"backend":"a/b"},"weight":"default"}"#, "invalid type"),
        ] {
            let error = parse(text).expect_err(text);
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn words_come_back_as_they_were_sent() {
        let since: Timestamp = "2026-11-22T10:00:00Z".parse().expect("a moment");
        let word = |setting, expires| Word {
            target: Subject::Backend("myweb/web1".into()),
            setting,
            since,
            expires,
            by: "ha1".into(),
        };
        let words = Words {
            words: vec![
                word(super::Setting::State(status::AdminState::Drain), Some(since)),
                word(super::Setting::Weight(None), None),
                word(super::Setting::Weight(Some(5)), None),
            ],
        };
        let text = serde_json::to_string(&words).expect("it can be written");
        assert!(text.contains(r#"{"target":{"backend":"myweb/web1"},"state":"drain","since":"2026-11-22T10:00:00Z","expires":"2026-11-22T10:00:00Z","by":"ha1"}"#), "{text}");
        assert!(text.contains(r#""weight":null,"since""#), "{text}");
        assert_eq!(serde_json::from_str::<Words>(&text).expect("words"), words);
    }
}
