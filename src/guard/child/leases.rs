//! Keeps the leases of held addresses, without ever waiting for it.

use std::io;
use std::net::IpAddr;
use std::pin::Pin;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::Guard;
use crate::guard::clock::now;
use crate::guard::held::REFRESH;

/// What became of one address.
type Outcome = Result<(), (IpAddr, io::Error)>;
/// Leases being refreshed.
pub(super) type Refreshing = Pin<Box<dyn Future<Output = Vec<Outcome>>>>;

impl Guard {
    /// Refreshes all leases in one go: out of step, the kernel may keep one for a second longer.
    ///
    /// Nothing waits for it: the kernel may take its time, and holds have to be fed meanwhile. The requests are
    /// made here and now, so that whatever is removed later is removed after them.
    pub(super) fn refresh(&mut self) {
        if now() < self.refresh_at || self.refreshing.is_some() {
            return;
        }
        self.refresh_at = now() + REFRESH;
        self.refresh_fence();
        let held = self.vips.iter().filter(|vip| vip.hold.is_some());
        let leases =
            held.flat_map(|vip| vip.addresses.iter().map(|a| (self.interfaces[vip.interface].index, *a)));
        let requests: Vec<_> = leases
            .map(|(interface, address)| {
                let request = self.kernel.add(interface, address);
                async move { request.await.map_err(|error| (address, error)) }
            })
            .collect();
        if requests.is_empty() {
            return;
        }
        let mut all: Refreshing = Box::pin(join_all(requests));
        match all.as_mut().now_or_never() {
            Some(outcomes) => self.refreshed(outcomes),
            None => self.refreshing = Some(all),
        }
    }

    pub(super) fn refreshed(&mut self, outcomes: Vec<Outcome>) {
        self.refreshing = None;
        for (address, error) in outcomes.into_iter().filter_map(Result::err) {
            self.trouble(&format!("{address} can't be refreshed: {error}"));
        }
    }
}

/// What it comes to, if there is any; otherwise nothing ever.
pub(super) async fn some(refreshing: &mut Option<Refreshing>) -> Vec<Outcome> {
    match refreshing {
        Some(refreshing) => refreshing.await,
        None => std::future::pending().await,
    }
}
