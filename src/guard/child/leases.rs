//! Keeps the leases of held addresses, without ever waiting for it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::Guard;
use crate::core::Time;
use crate::guard::clock::now;
use crate::guard::held::{EARLY, REFRESH};

/// What became of one address.
struct Outcome {
    vip: usize,
    address: IpAddr,
    result: io::Result<()>,
}

/// What became of all of them.
pub(super) struct Outcomes {
    /// When they were asked for.
    leased_at: Time,
    each: Vec<Outcome>,
}

/// Leases being refreshed.
pub(super) type Refreshing = Pin<Box<dyn Future<Output = Outcomes>>>;

impl Guard {
    /// Refreshes all leases in one go: out of step, the kernel may keep one for a second longer.
    ///
    /// Nothing waits for it: the kernel may take its time, and holds have to be fed meanwhile. The requests are
    /// made here and now, so that whatever is removed later is removed after them.
    pub(super) fn refresh(&mut self) {
        if now() + EARLY < self.refresh_at || self.refreshing.is_some() {
            return;
        }
        let leased_at = now();
        self.refresh_at = leased_at + REFRESH;
        self.refresh_fence();
        let held = self.vips.iter().enumerate().filter(|(_, vip)| vip.hold.is_some());
        let leases = held.flat_map(|(at, vip)| vip.addresses.iter().map(move |address| (at, vip, *address)));
        let requests: Vec<_> = leases
            .map(|(vip, known, address)| {
                let request = self.kernel.add(self.interfaces[known.interface].index, address);
                async move { Outcome { vip, address, result: request.await } }
            })
            .collect();
        if requests.is_empty() {
            return;
        }
        let mut all: Refreshing = Box::pin(join_all(requests).map(move |each| Outcomes { leased_at, each }));
        match all.as_mut().now_or_never() {
            Some(outcomes) => self.refreshed(&outcomes),
            None => self.refreshing = Some(all),
        }
    }

    /// What the kernel has acknowledged holds on; what it has refused ends with the lease that it has.
    pub(super) fn refreshed(&mut self, outcomes: &Outcomes) {
        self.refreshing = None;
        let mut refused: Vec<usize> = Vec::new();
        for Outcome { vip, address, result } in &outcomes.each {
            if let Err(error) = result {
                self.trouble(&format!("{address} can't be refreshed: {error}"));
                refused.push(*vip);
            }
        }
        for Outcome { vip, .. } in outcomes.each.iter().filter(|outcome| !refused.contains(&outcome.vip)) {
            if let Some(hold) = &mut self.vips[*vip].hold {
                hold.leased(outcomes.leased_at);
            }
        }
    }
}

/// What it comes to, if there is any; otherwise nothing ever.
pub(super) async fn some(refreshing: &mut Option<Refreshing>) -> Outcomes {
    match refreshing {
        Some(refreshing) => refreshing.await,
        None => std::future::pending().await,
    }
}
