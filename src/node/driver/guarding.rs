//! The guard, as the driver has it: what it reports, and its successor when it dies or hangs.

use std::time::Duration;

use super::{Driver, PORTION};
use crate::core::{Cause, Input, Mac, Time};
use crate::guard::{GuardError, Report, clock};

/// A guard that can't be started is tried again after this.
const GUARD_AGAIN: Duration = Duration::from_secs(1);

impl Driver {
    pub(super) fn read_guard(&mut self) {
        for _ in 0..PORTION {
            let Some(guard) = &mut self.guard else { return };
            match guard.receive() {
                Ok(Some(report)) => self.heard_guard(report),
                Ok(None) => return,
                Err(error) => return self.lost_guard(&error),
            }
        }
    }

    fn heard_guard(&mut self, report: Report) {
        self.guard_watch.answered();
        match report {
            Report::Held { vip, until } => {
                self.vips[vip].facts.address_present = true;
                self.handle(Input::Held { vip, until: Time::from_nanos(until) });
            }
            Report::Released { vip } => {
                self.vips[vip].facts.address_present = false;
                self.handle(Input::Released { vip });
            }
            Report::Expired { vip } => {
                self.vips[vip].facts.address_present = false;
                self.handle(Input::LetGo { vip, cause: Cause::HoldExpired });
            }
            Report::Removed { vip } => {
                self.vips[vip].facts.address_present = false;
                tracing::warn!(vip = self.name(vip), "somebody else removes the address again and again");
                self.handle(Input::LetGo { vip, cause: Cause::AddressRemoved });
            }
            Report::Restored { vip } => {
                tracing::warn!(vip = self.name(vip), "somebody else removed the address: it was added again");
            }
            Report::Probed { vip } => self.handle(Input::AddressProbed { vip }),
            Report::Answered { vip, mac, by_ip } => {
                self.handle(Input::AddressAnswered { vip, mac: Mac(mac), by_ip });
            }
            Report::Link { vip, up, mac } => self.handle(Input::Link { vip, up, mac: Mac(mac) }),
            Report::Announced { vip, first } => self.announced(vip, first),
            Report::Fence { missing } => self.fence_changed(missing.as_deref()),
            Report::Trouble { text } => tracing::warn!("the guard has trouble: {text}"),
            Report::Started | Report::Refused { .. } | Report::Bound { .. } => {
                tracing::warn!(?report, "the guard said something that wasn't asked");
            }
        }
    }

    fn fence_changed(&mut self, missing: Option<&str>) {
        match missing {
            None => tracing::info!("the fence is up: the kernel ends the VIPs of a daemon that hangs"),
            Some(reason) => {
                tracing::warn!(
                    reason,
                    "no fence: a daemon that hangs together with its guard is ended by the lease"
                );
            }
        }
        let missing = missing.map(str::to_owned);
        self.vips.iter_mut().for_each(|vip| vip.facts.fence_missing.clone_from(&missing));
        self.news = true;
    }

    fn announced(&mut self, vip: usize, first: bool) {
        self.metrics.announcement(vip, "garp", 1);
        if let (true, Some((phases, held_at))) = (first, self.vips[vip].taken.take()) {
            let announce = clock::now().since(held_at);
            let total = phases.detect + phases.elect + phases.assign + announce;
            self.metrics.failover_announced(vip, announce, total);
        }
    }

    /// A dead guard holds nothing for long: the kernel's lease ends what it held, and the next guard removes it.
    pub(super) fn lost_guard(&mut self, error: &GuardError) {
        tracing::error!(%error, "the guard is lost");
        if let Some(guard) = self.guard.take() {
            guard.kill();
        }
        self.guard_again_at = clock::now();
        self.guard_watch.answered();
    }

    pub(super) fn watch_guard(&mut self) {
        if self.guard.is_some() && self.guard_watch.is_hung(clock::now()) {
            self.lost_guard(&GuardError::Hung);
        }
    }

    pub(super) fn revive_guard(&mut self) {
        if self.guard.is_some() || clock::now() < self.guard_again_at {
            return;
        }
        match self.wards.start() {
            Ok((guard, boot)) => {
                tracing::warn!("a new guard has started");
                self.guard = Some(guard);
                self.core.set_guard(boot);
                self.tell_guard_of_peers();
                // It has removed whatever the last one left.
                for vip in 0..self.vips.len() {
                    self.vips[vip].facts.address_present = false;
                    self.handle(Input::LetGo { vip, cause: Cause::GuardLost });
                }
            }
            Err(error) => {
                tracing::error!(%error, "no new guard");
                self.guard_again_at = clock::now() + GUARD_AGAIN;
            }
        }
    }
}
