//! What the driver shows of itself: a copy that others read whenever they like.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

use super::numbers::Numbers;
use super::sample::tracks;
use crate::admin::administration::{self, Words};
use crate::admin::status;
use crate::config::{self, Config, Identity};
use crate::core::{self, Core, MemberId, MemberState, Time, VipState};
use crate::proxy::Counters;
use crate::telemetry::{self, FailoverTrace, Metrics, TrackSample};
use crate::wire::member_id;

/// The driver's state at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// What all the rest is counted by.
    pub(super) basis: Basis,
    pub(super) ready: bool,
    pub(super) majority: Option<status::Majority>,
    pub(super) members: Vec<status::Member>,
    pub(super) vips: Vec<VipSnapshot>,
    pub(super) services: Vec<Vec<BackendSnapshot>>,
    pub(super) words: Words,
    /// Where each node can be scraped, by name.
    pub(super) targets: BTreeMap<String, String>,
    /// What operators want of this node.
    pub(super) admin: core::AdminState,
    /// When each other member was last heard, since the epoch.
    pub(super) heard: Vec<(String, Duration)>,
    /// Whether each check succeeds.
    pub(super) checks: Vec<Option<bool>>,
    /// Whether this node can serve each service.
    pub(super) well: Vec<bool>,
    /// What `/readyz` lists.
    pub(super) conditions: Vec<(String, bool)>,
}

/// What a node runs by until the next reload.
#[derive(Debug, Clone)]
pub(super) struct Basis {
    pub(super) config: Arc<Config>,
    pub(super) numbers: Arc<Numbers>,
    pub(super) metrics: Arc<Metrics>,
}

impl Snapshot {
    /// Before there is anything to show.
    pub(super) fn of_nothing(basis: Basis) -> Self {
        Self {
            basis,
            ready: false,
            majority: None,
            members: Vec::new(),
            vips: Vec::new(),
            services: Vec::new(),
            words: Words::default(),
            targets: BTreeMap::new(),
            admin: core::AdminState::Ready,
            heard: Vec::new(),
            checks: Vec::new(),
            well: Vec::new(),
            conditions: Vec::new(),
        }
    }
}

/// One VIP.
#[derive(Debug, Clone)]
pub(super) struct VipSnapshot {
    pub(super) shown: status::Vip,
    pub(super) address_present: bool,
    pub(super) tracks: Vec<TrackSample>,
}

/// One backend.
#[derive(Debug, Clone)]
pub(super) struct BackendSnapshot {
    pub(super) verdict: core::Verdict,
    pub(super) usable: bool,
    pub(super) admin: core::AdminState,
    pub(super) weight: u16,
    pub(super) agreed: core::Verdict,
    pub(super) views: BTreeMap<String, status::Health>,
    pub(super) counts: [u64; 3],
    pub(super) address: String,
}

/// What the core doesn't know of a VIP.
#[derive(Debug, Clone)]
pub(super) struct VipFacts {
    pub(super) since: Timestamp,
    pub(super) address_present: bool,
    /// Why the kernel doesn't fence it, if it doesn't.
    pub(super) fence_missing: Option<String>,
    /// The trace of its latest failover, by the holder's own word.
    pub(super) failover: Option<FailoverTrace>,
}

/// Copies what there is to show.
pub(super) fn take(
    core: &Core,
    basis: Basis,
    identity: &Identity,
    digest: &str,
    vips: &[VipFacts],
    addresses: &[Vec<Option<std::net::SocketAddr>>],
    now: Time,
) -> Snapshot {
    let config = Arc::clone(&basis.config);
    let services = config.services.iter().enumerate().map(|(at, service)| {
        let names = |id: MemberId| name(core, identity, id);
        // What somebody saw who isn't there any more is no view.
        let counts = |id: MemberId| {
            id == member_id(&identity.name)
                || core.members().get(id).is_some_and(|member| member.state(now) <= MemberState::Suspect)
        };
        backends(core, at, service, addresses.get(at).map_or(&[], Vec::as_slice), &names, &counts)
    });
    let listening = core.services().iter().all(crate::core::Service::listening);
    let probed = core.services().iter().all(crate::core::Service::round_complete);
    Snapshot {
        basis,
        ready: core.is_ready(),
        majority: majority(core, now),
        members: members(core, &config, identity, digest, now),
        vips: config
            .vips
            .iter()
            .zip(vips)
            .enumerate()
            .map(|(at, (vip, facts))| VipSnapshot {
                shown: self::vip(core, at, vip, identity, facts, now),
                address_present: facts.address_present,
                tracks: tracks(core, at, &config),
            })
            .collect(),
        services: services.collect(),
        words: words(core, identity, now),
        targets: BTreeMap::new(),
        admin: core.administration().node(&identity.name, now),
        heard: heard(core, now),
        checks: core.checks().iter().map(|check| succeeds(check.verdict())).collect(),
        well: core.services().iter().map(|service| service.well() == Some(true)).collect(),
        conditions: vec![
            ("listening".into(), listening),
            ("probed".into(), probed),
            ("settled".into(), core.is_ready()),
        ],
    }
}

/// The document of `/api/v1/status`.
pub(super) fn status(snapshot: &Snapshot, identity: &Identity, counters: &Counters) -> status::Status {
    let Basis { config, numbers, .. } = &snapshot.basis;
    let services =
        config.services.iter().zip(&snapshot.services).enumerate().map(|(at, (service, backends))| {
            let counted = counters.services.get(numbers.services()[at]);
            let backends = service.backends.iter().zip(backends).zip(&numbers.backends()[at]).map(
                |((backend, known), number)| {
                    let counted = counted.and_then(|counted| counted.backend(*number));
                    status::Backend {
                        name: backend.name.clone(),
                        address: known.address.clone(),
                        health: known.verdict.into(),
                        admin: known.admin.into(),
                        agreed: known.agreed.into(),
                        views: known.views.clone(),
                        weight: known.weight,
                        connections_active: counted.map_or(0, |counted| counted.active),
                        connections_total: counted.map(|counted| counted.connections),
                    }
                },
            );
            status::Service {
                name: service.name.clone(),
                connections_active: counted.map_or(0, |c| c.active),
                connections_total: counted.map(|c| c.connections),
                backends: backends.collect(),
            }
        });
    status::Status {
        cluster: config.cluster.name.clone(),
        node: identity.name.clone(),
        ready: snapshot.ready,
        quorum: config.cluster.quorum.as_str().into(),
        majority: snapshot.majority.clone(),
        members: snapshot.members.clone(),
        vips: snapshot.vips.iter().map(|vip| vip.shown.clone()).collect(),
        services: services.collect(),
    }
}

fn heard(core: &Core, now: Time) -> Vec<(String, Duration)> {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let members = core.members().iter();
    let at = |heard: Time| wall.saturating_sub(now.since(heard));
    members.map(|(_, member)| (member.name().to_owned(), at(member.heard_at()))).collect()
}

fn succeeds(verdict: core::Verdict) -> Option<bool> {
    match verdict {
        core::Verdict::Unknown => None,
        core::Verdict::Up => Some(true),
        core::Verdict::Down => Some(false),
    }
}

/// The document of `/api/v1/administration`: every word that hasn't run out.
pub(super) fn words(core: &Core, identity: &Identity, now: Time) -> Words {
    let moment = |ms: u64| i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let lasting = core.administration().words().filter(|(_, word)| word.ends.is_none_or(|ends| now < ends));
    let words = lasting.map(|(target, word)| administration::Word {
        target: target.into(),
        setting: administration::Setting::new(word.setting, |id| name(core, identity, id)),
        // A moment that no calendar has was made up by somebody's clock.
        since: moment(word.stamp.milliseconds).unwrap_or(Timestamp::MAX),
        expires: word.expires.map(|ms| moment(ms).unwrap_or(Timestamp::MAX)),
        by: name(core, identity, word.stamp.writer),
    });
    Words { words: words.collect() }
}

fn majority(core: &Core, now: Time) -> Option<status::Majority> {
    let quorum = core.quorum()?;
    let heard = core.members().iter().filter(|(_, member)| member.state(now) <= MemberState::Suspect).count();
    Some(status::Majority {
        expected_nodes: quorum.expected_nodes(now),
        needed: quorum.needed(now),
        present: u16::try_from(heard + 1).unwrap_or(u16::MAX),
    })
}

fn members(
    core: &Core,
    config: &Config,
    identity: &Identity,
    digest: &str,
    now: Time,
) -> Vec<status::Member> {
    let witness = |name: &str| config.cluster.witness.iter().any(|witness| witness == name);
    let own = status::Member {
        name: identity.name.clone(),
        address: identity.address.to_string(),
        state: status::MemberState::Alive,
        version: telemetry::VERSION.into(),
        config: digest.into(),
        own: true,
        witness: witness(&identity.name),
        admin: Some(core.administration().node(&identity.name, now).into()),
    };
    let others = core.members().iter().map(|(_, member)| status::Member {
        name: member.name().into(),
        address: member.address().to_string(),
        state: match member.state(now) {
            MemberState::Alive => status::MemberState::Alive,
            MemberState::Suspect => status::MemberState::Suspect,
            MemberState::Dead => status::MemberState::Dead,
            MemberState::Left => status::MemberState::Left,
        },
        version: member.latest().version.clone(),
        config: config::hex(&member.latest().config),
        own: false,
        witness: witness(member.name()),
        // What was said of it here is not yet what it has heard.
        admin: None,
    });
    let mut all: Vec<_> = std::iter::once(own).chain(others).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn vip(
    core: &Core,
    at: usize,
    vip: &config::Vip,
    identity: &Identity,
    facts: &VipFacts,
    now: Time,
) -> status::Vip {
    let election = &core.elections()[at];
    let standing = election.standing();
    let mut candidates = vec![status::Candidate {
        node: identity.name.clone(),
        effective_priority: standing.effective,
        eligible: election.state() != VipState::Initialize,
    }];
    for (_, member) in core.members().iter() {
        if let Some(part) = member.part(election.id()) {
            let alive = member.state(now) <= MemberState::Suspect;
            candidates.push(status::Candidate {
                node: member.name().into(),
                effective_priority: part.effective_priority,
                eligible: alive && part.state != VipState::Initialize,
            });
        }
    }
    candidates.sort_by(|a, b| (b.effective_priority, &a.node).cmp(&(a.effective_priority, &b.node)));
    let address = |address: &config::VipAddress| match address.prefix {
        Some(prefix) => format!("{}/{prefix}", address.ip),
        None => address.ip.to_string(),
    };
    let grants = core.quorum().map(|quorum| {
        let names: BTreeSet<String> = quorum.granted_by(at, now).map(|id| name(core, identity, id)).collect();
        let promised_to = quorum.promised_to(at, now).map(|id| name(core, identity, id));
        status::Grants { granted_by: names.into_iter().collect(), promised_to }
    });
    let damped: BTreeMap<String, u64> = core
        .members()
        .iter()
        .filter_map(|(id, member)| {
            let until = election.damping().waits_until(id, now)?;
            Some((member.name().to_owned(), until.since(now).as_secs() + 1))
        })
        .collect();
    status::Vip {
        name: vip.name.clone(),
        addresses: vip.addresses.iter().map(address).collect(),
        interface: vip.interface.on(&identity.name).cloned().unwrap_or_default(),
        state: election.state().into(),
        holder: core.holder(at, now).map(|id| name(core, identity, id)),
        base_priority: vip.priority.on(&identity.name).copied().unwrap_or(100),
        effective_priority: standing.effective,
        term: election.term(),
        since: facts.since,
        fence: if facts.fence_missing.is_none() { status::Fence::On } else { status::Fence::Off },
        fence_missing: facts.fence_missing.clone(),
        grants,
        damped,
        traceparent: facts.failover.map(|failover| failover.traceparent()),
        candidates,
    }
}

fn backends(
    core: &Core,
    at: usize,
    service: &config::Service,
    addresses: &[Option<std::net::SocketAddr>],
    names: &impl Fn(MemberId) -> String,
    counts: &impl Fn(MemberId) -> bool,
) -> Vec<BackendSnapshot> {
    let known = core.services()[at].backends().iter().enumerate();
    known
        .map(|(index, backend)| {
            let views = backend.views().among(counts);
            BackendSnapshot {
                verdict: backend.verdict(),
                usable: backend.usable(),
                admin: backend.admin(),
                weight: backend.weight().unwrap_or(service.backends[index].weight),
                agreed: views.agreed(),
                views: views.iter().map(|(id, verdict)| (names(id), verdict.into())).collect(),
                counts: crate::core::Verdict::ALL.map(|verdict| views.count(verdict) as u64),
                address: match addresses.get(index).copied().flatten() {
                    Some(address) => address.to_string(),
                    None => endpoint(&service.backends[index].address),
                },
            }
        })
        .collect()
}

fn endpoint(endpoint: &config::Endpoint) -> String {
    match endpoint {
        config::Endpoint::Address(address) => address.to_string(),
        config::Endpoint::Name(name, port) => format!("{name}:{port}"),
    }
}

fn name(core: &Core, identity: &Identity, id: MemberId) -> String {
    if id == member_id(&identity.name) {
        return identity.name.clone();
    }
    core.members().get(id).map_or_else(|| format!("{:016x}", id.0), |member| member.name().to_owned())
}
