//! Keeps the fence around what this node holds, on whatever interfaces there are.

use std::net::IpAddr;
use std::time::Duration;

use super::Guard;
use crate::core::Time;
use crate::guard::clock::now;
use crate::guard::fence::{Fence, Fenced};
use crate::guard::held::Vip;
use crate::guard::protocol::Report;
use crate::wire::beacon;

/// Tries in a row: interfaces come and go while the fence is put up on them.
const TRIES: usize = 3;

impl Guard {
    /// Puts the whole fence up, open for what is held and for `taken`, a VIP that is about to be.
    pub(super) async fn put_fence_up(&mut self, taken: Option<usize>) {
        for _ in 0..TRIES {
            let links = match self.kernel.links().await {
                Ok(links) => links,
                Err(error) => {
                    self.trouble(&format!("the interfaces can't be listed: {error}"));
                    return;
                }
            };
            let Some(fence) = self.fence.as_ref().filter(|fence| !fence.is_given_up()) else { return };
            let now = now();
            let vips: Vec<Fenced> = (0..self.vips.len())
                .map(|vip| {
                    self.fenced(vip, now, if taken == Some(vip) { Some(fence.timeout()) } else { None })
                })
                .collect();
            let Some(fence) = &mut self.fence else { return };
            fence.put_up(&vips, &links, now).await;
            if fence.missing().is_none() {
                break;
            }
        }
        self.report_fence();
    }

    /// Opens the fence for a VIP that is about to be held.
    pub(super) async fn open_fence(&mut self, vip: usize) {
        let addresses = &self.vips[vip].addresses;
        let Some(fence) = self.fence.as_ref().filter(|fence| fence.missing().is_none()) else { return };
        if self.patiently(fence.let_speak(addresses)).await.is_err() {
            // Gone, and the news of it not read yet.
            self.put_fence_up(Some(vip)).await;
        }
    }

    /// Shuts it around a VIP, before anything else ends what is held.
    pub(super) async fn shut_fence(&self, vip: usize) {
        if let Some(fence) = &self.fence
            && fence.missing().is_none()
        {
            // Without a fence there is nothing to shut; it is put up again without this VIP.
            let _ = self.patiently(fence.silence(&self.vips[vip].addresses)).await;
        }
    }

    /// Takes it away from around a VIP that the kernel doesn't have any more.
    pub(super) fn leave_fence(&mut self, vip: usize) {
        if let Some(fence) = &mut self.fence {
            fence.leave(&self.vips[vip].addresses);
        }
    }

    /// Keeps it around everything that is held, and looks whether it is open there.
    pub(super) fn refresh_fence(&mut self) {
        let held = self.vips.iter().filter(|vip| vip.hold.is_some());
        let addresses: Vec<IpAddr> = held.flat_map(|vip| vip.addresses.iter().copied()).collect();
        let Some(fence) = self.fence.as_mut().filter(|fence| fence.missing().is_none()) else { return };
        fence.refresh(&addresses);
        for address in addresses {
            fence.look_at(address);
        }
    }

    /// Lets go of what the fence stays shut around: somebody may take it anew. Where that happens again, beacons
    /// don't leave, and nobody would reach the VIP on any node: then the fence is taken down for good.
    async fn let_go_of_the_silent(&mut self) {
        let found = self.fence.as_mut().map(Fence::found).unwrap_or_default();
        let now = now();
        for (address, open) in found {
            let ours = |vip: &Vip| vip.hold.is_some() && vip.addresses.contains(&address);
            let Some(at) = self.vips.iter().position(ours) else { continue };
            let vip = &mut self.vips[at];
            if !vip.hold.as_mut().is_some_and(|hold| hold.stays_shut(open)) {
                continue;
            }
            if vip.shut_too_often(now)
                && let Some(fence) = self.fence.as_mut().filter(|fence| fence.missing().is_none())
            {
                let interface = &self.interfaces[vip.interface].name;
                let (group, port) = (beacon::GROUP, beacon::PORT);
                fence
                    .give_up(format!(
                        "beacons, UDP to {group} port {port}, don't leave by {interface}: see its firewall"
                    ))
                    .await;
            } else {
                self.expire_one(at).await;
            }
        }
    }

    /// Puts it up again where somebody has taken it away, of which there may be `news`, or where it couldn't be put up
    /// before.
    pub(super) async fn mend_fence(&mut self, news: bool) {
        self.let_go_of_the_silent().await;
        let now = now();
        let Some(fence) = &mut self.fence else { return };
        let lost = news && fence.is_lost(now);
        if lost || fence.again_at().is_some_and(|at| now >= at) {
            self.put_fence_up(None).await;
            if lost {
                self.trouble("somebody removed the fence: it was put up again");
            }
        }
        self.report_fence();
    }

    /// When it has to be looked at next.
    pub(super) fn fence_deadline(&self) -> Option<Time> {
        self.fence.as_ref().and_then(Fence::again_at)
    }

    /// Tells the daemon whether there is one, when that has changed.
    fn report_fence(&mut self) {
        let missing = match &self.fence {
            Some(fence) => fence.missing().map(str::to_owned),
            None => return,
        };
        if self.fence_told != missing {
            self.report(&Report::Fence { missing: missing.clone() });
            self.fence_told = missing;
        }
    }

    fn fenced(&self, vip: usize, now: Time, taken: Option<Duration>) -> Fenced {
        let known = &self.vips[vip];
        let interface = &self.interfaces[known.interface];
        let left = known.hold.as_ref().map(|hold| hold.left(now)).filter(|left| !left.is_zero());
        // As long as it would be had beacons kept it open: a little longer than the hold.
        let held = left.map(|left| left + (left / 8).max(Duration::from_millis(10)));
        let held = held.zip(self.fence.as_ref()).map(|(left, fence)| left.min(fence.timeout()));
        Fenced {
            addresses: known.addresses.clone(),
            interface: interface.index,
            mac: interface.mac,
            open_for: taken.or(held),
        }
    }
}

/// Waits until others have changed something of the kernel's rules; for ever where there is no fence.
pub(super) async fn news(fence: Option<&Fence>) {
    match fence {
        Some(fence) => fence.news().await,
        None => std::future::pending().await,
    }
}
