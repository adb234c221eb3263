//! The guard, as the driver has it: what it reports, and its successor when it dies or hangs.

use std::time::Duration;

use super::{Driver, PORTION};
use crate::core::{Cause, Input, Mac, Time};
use crate::guard::{GuardError, Inherited, Report, clock};
use crate::telemetry::Event;

/// A guard that can't be started is tried again after this.
const GUARD_AGAIN: Duration = Duration::from_secs(1);

/// For so long a holder without a guard goes on, as far as the lease lasts by what the guard has said of it.
const SUCCESSION: Duration = Duration::from_secs(1);

impl Driver {
    /// Reads all that it has said; `rung` says whether it has rung for any of it.
    pub(super) fn read_guard(&mut self, rung: bool) {
        for _ in 0..PORTION {
            let Some(guard) = &mut self.guard else { return };
            match guard.receive(rung) {
                Ok(Some(report)) => self.heard_guard(report),
                Ok(None) => return,
                Err(error) => return self.lost_guard(&error),
            }
        }
    }

    fn heard_guard(&mut self, report: Report) {
        self.guard_watch.answered();
        match report {
            // An answer to an order of an earlier election; that to the latest follows.
            Report::Held { vip, term, .. } if term != self.core.elections()[vip].term() => {}
            Report::Held { vip, term: _, until, leased_until: _ } => {
                self.set_present(vip, true);
                self.handle(Input::Held { vip, until: Time::from_nanos(until) });
            }
            Report::Released { vip } => {
                self.set_present(vip, false);
                self.handle(Input::Released { vip });
            }
            Report::Expired { vip } => {
                self.set_present(vip, false);
                self.handle(Input::LetGo { vip, cause: Cause::HoldExpired });
            }
            Report::Removed { vip } => {
                self.set_present(vip, false);
                Event::VipAddressRemoved { vip: self.name(vip), restored: false }.tell();
                self.handle(Input::LetGo { vip, cause: Cause::AddressRemoved });
            }
            Report::Restored { vip } => {
                self.metrics.address_restored(vip);
                Event::VipAddressRemoved { vip: self.name(vip), restored: true }.tell();
            }
            Report::Probed { vip } => self.handle(Input::AddressProbed { vip }),
            Report::Answered { vip, mac, by_ip } => {
                self.handle(Input::AddressAnswered { vip, mac: Mac(mac), by_ip });
            }
            Report::Link { vip, up, mac } => self.handle(Input::Link { vip, up, mac: Mac(mac) }),
            Report::Announced { vip, failed, first } => self.announced(vip, failed, first),
            Report::Fence { missing } => self.fence_changed(missing.as_deref()),
            Report::Trouble { text } => Event::GuardTrouble { error: &text }.tell(),
            Report::Started => self.guard_started(),
            Report::Refused { error, hint } => {
                self.lost_guard(&GuardError::Refused { error, hint });
            }
            // It lives, and that is all.
            Report::Waiting => {}
            Report::Bound { .. } => tracing::warn!("the guard said something that wasn't asked"),
        }
    }

    fn set_present(&mut self, vip: usize, present: bool) {
        let facts = &mut self.vips[vip].facts;
        self.news |= facts.address_present != present;
        facts.address_present = present;
    }

    fn fence_changed(&mut self, missing: Option<&str>) {
        match missing {
            None => Event::FenceUp {}.tell(),
            Some(reason) => Event::FenceMissing { reason }.tell(),
        }
        let missing = missing.map(str::to_owned);
        self.vips.iter_mut().for_each(|vip| vip.facts.fence_missing.clone_from(&missing));
        self.news = true;
    }

    /// What a lost guard held is held on by its successor: the kernel has the addresses for as long as their lease,
    /// and nobody is left to remove them.
    pub(super) fn lost_guard(&mut self, error: &GuardError) {
        Event::GuardLost { error: &error.to_string() }.tell();
        let now = clock::now();
        let leased = |vip| self.guard.as_ref().and_then(|guard| guard.leased_until(vip));
        let longest = |vip| leased(vip).map_or(now + SUCCESSION, |leased| leased.min(now + SUCCESSION));
        let longest: Vec<Time> = (0..self.vips.len()).map(longest).collect();
        if let Some(guard) = self.guard.take() {
            guard.kill();
        }
        self.guard_watch.answered();
        // Nothing goes on by itself any more.
        self.goes_on.clear();
        // A successor that is lost as soon as it begins has no successor at once.
        let at_once = self.guard_begun_at.is_none_or(|at| now.since(at) >= GUARD_AGAIN);
        self.guard_again_at = if at_once { now } else { now + GUARD_AGAIN };
        if at_once {
            let held: Vec<bool> = self.core.elections().iter().map(|e| e.hold_until().is_some()).collect();
            for vip in (0..held.len()).filter(|vip| held[*vip]) {
                self.handle(Input::Held { vip, until: longest[vip] });
            }
        }
    }

    pub(super) fn watch_guard(&mut self) {
        if self.guard_watch.is_hung(clock::now()) {
            // This node may have stood still since it last read, with the answer there by now.
            self.read_guard(true);
        }
        if self.guard.is_some() && self.guard_watch.is_hung(clock::now()) {
            self.lost_guard(&GuardError::Hung);
        }
    }

    pub(super) fn revive_guard(&mut self) {
        let now = clock::now();
        if self.guard.is_some() || now < self.guard_again_at {
            return;
        }
        let inherited = self.core.elections().iter().map(|election| {
            let until = election.hold_until().filter(|until| now < *until)?;
            Some(Inherited { until, term: election.term() })
        });
        let inherited: Vec<Option<Inherited>> = inherited.collect();
        self.guard_begun_at = Some(now);
        match self.wards.succeed(&inherited) {
            Ok((guard, boot)) => {
                self.inherits = inherited.iter().map(Option::is_some).collect();
                self.guard = Some(guard);
                self.guard_watch.begun(now);
                self.core.set_guard(boot);
                self.tell_of_peers();
            }
            Err(error) => {
                Event::GuardTrouble { error: &format!("no new guard: {error}") }.tell();
                self.guard_again_at = now + GUARD_AGAIN;
            }
        }
    }

    /// What the new guard doesn't go on with it has removed.
    fn guard_started(&mut self) {
        Event::GuardStarted {}.tell();
        for (vip, inherited) in std::mem::take(&mut self.inherits).into_iter().enumerate() {
            if !inherited {
                self.set_present(vip, false);
                self.handle(Input::LetGo { vip, cause: Cause::GuardLost });
            }
        }
    }
}
