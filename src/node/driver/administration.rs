//! What an operator says to this node: from a change that was asked for to words that the core has heard.

use std::collections::BTreeSet;

use jiff::Timestamp;

use super::Driver;
use crate::admin::administration::{Setting, Subject};
use crate::admin::{Answer, Change, Operator, Refusal, Words};
use crate::config::{did_you_mean, duration_text};
use crate::core::{self, Input, Target};
use crate::guard::clock;
use crate::node::snapshot;
use crate::telemetry::Event;
use crate::wire::member_id;

impl Driver {
    /// Takes in what an operator says, and answers with what then holds of its target.
    pub(super) fn said(&mut self, change: &Change, operator: Operator, answer: Answer) {
        // Whoever was told that it didn't get through mustn't find later that it did.
        if answer.is_closed() {
            return;
        }
        let outcome = self.take_in(change, operator);
        // Before the answer, so that whoever has it sees what it says in the status, too.
        self.publish();
        // One that left meanwhile will ask again.
        let _ = answer.send(outcome);
    }

    fn take_in(&mut self, change: &Change, operator: Operator) -> Result<Words, Refusal> {
        self.knows(&change.target)?;
        if let Some(holder) = &change.holder {
            self.could_hold(holder)?;
        }
        let me = member_id(&self.identity.name);
        let wall_clock = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default();
        let now = clock::now();
        for setting in change.settings.iter().copied() {
            let word = core::Word {
                setting,
                stamp: self.core.administration().stamp(wall_clock, me),
                expires: change.lasting.map(|lasting| wall_clock.saturating_add(lasting.as_millis() as u64)),
                ends: change.lasting.map(|lasting| now + lasting),
            };
            self.handle(Input::Said { target: change.target.clone(), word });
            if !self.core.administration().words().any(|said| said == (&change.target, &word)) {
                return Err(Refusal::Full);
            }
            Event::OperatorSaid {
                of: &Subject::from(&change.target).to_string(),
                says: &Setting::new(setting, |_| change.holder.clone().unwrap_or_default()).to_string(),
                lasting: &change.lasting.map_or_else(|| "until changed".into(), duration_text),
                by: &operator.to_string(),
            }
            .tell();
        }
        self.news = true;
        let mut words = snapshot::words(&self.core, &self.identity, clock::now());
        words.words.retain(|word| word.target == Subject::from(&change.target));
        Ok(words)
    }

    /// A word about nobody would be a slip: what is meant goes on as before.
    fn knows(&self, target: &Target) -> Result<(), Refusal> {
        let services = &self.config.services;
        match target {
            Target::Backend { service, backend } => {
                let Some(found) = services.iter().find(|known| known.name == *service) else {
                    return Err(unknown("service", service, services.iter().map(|s| s.name.as_str())));
                };
                let names = || found.backends.iter().map(|known| known.name.as_str());
                if names().any(|known| known == backend) {
                    Ok(())
                } else {
                    Err(unknown(&format!("backend of `{service}`"), backend, names()))
                }
            }
            Target::Everywhere { backend } => {
                let names: BTreeSet<&str> =
                    services.iter().flat_map(|s| &s.backends).map(|known| known.name.as_str()).collect();
                if names.contains(backend.as_str()) {
                    Ok(())
                } else {
                    Err(unknown("backend", backend, names))
                }
            }
            Target::Vip { vip } => {
                let names = || self.config.vips.iter().map(|known| known.name.as_str());
                if names().any(|known| known == vip) { Ok(()) } else { Err(unknown("VIP", vip, names())) }
            }
            Target::Node { node } => {
                let members = self.core.members().iter().map(|(_, member)| member.name());
                let configured = self.config.cluster.nodes.keys().map(String::as_str);
                let names: BTreeSet<&str> =
                    members.chain(configured).chain([self.identity.name.as_str()]).collect();
                if names.contains(node.as_str()) { Ok(()) } else { Err(unknown("node", node, names)) }
            }
        }
    }
}

impl Driver {
    /// A VIP can be wanted only on a node that is known, and that holds any.
    fn could_hold(&self, node: &str) -> Result<(), Refusal> {
        self.knows(&Target::Node { node: node.into() })?;
        if self.config.cluster.witness.iter().any(|witness| witness == node) {
            return Err(Refusal::Unknown(format!("`{node}` is a witness: it holds nothing")));
        }
        Ok(())
    }
}

fn unknown<'n>(what: &str, name: &str, known: impl IntoIterator<Item = &'n str>) -> Refusal {
    let meant = did_you_mean(name, known).map(|meant| format!(": did you mean `{meant}`?"));
    Refusal::Unknown(format!("there is no {what} called `{name}`{}", meant.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_is_told_what_was_meant() {
        let text = |name| unknown("node", name, ["ha1", "ha2"]).to_string();
        assert_eq!(text("ha3"), "there is no node called `ha3`: did you mean `ha1`?");
        assert_eq!(text("web9"), "there is no node called `web9`");
    }
}
