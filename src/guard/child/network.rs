//! Tells the network where held VIPs are, asks it who answers for them, and reads what it says.

use std::future::poll_fn;
use std::task::Poll;

use super::Guard;
use crate::core::Mac;
use crate::guard::clock::now;
use crate::guard::echo;
use crate::guard::held::{Interface, Vip};
use crate::guard::protocol::Report;

/// So many packets of the network's are read before orders are looked at again.
const PORTION: usize = 256;

impl Guard {
    pub(super) fn announce(&mut self) {
        for vip in 0..self.vips.len() {
            let now = now();
            let Some(hold) = &mut self.vips[vip].hold else { continue };
            if now < hold.announcements.next_at() || hold.left(now).is_zero() {
                continue;
            }
            let first = hold.announcements.made(now);
            let failed = self.say_where(vip);
            self.report(&Report::Announced { vip, failed, first });
        }
    }

    /// How many addresses couldn't be announced, by IP version: 4, then 6.
    pub(super) fn say_where(&self, vip: usize) -> [u32; 2] {
        let neighbours = &self.interfaces[self.vips[vip].interface].neighbours;
        let mut failed = [0; 2];
        for address in &self.vips[vip].addresses {
            if let Err(error) = neighbours.announce(*address) {
                failed[usize::from(address.is_ipv6())] += 1;
                self.trouble(&format!("{address} can't be announced: {error}"));
            }
        }
        failed
    }

    pub(super) fn probe(&mut self, vip: usize, mac: Option<Mac>) {
        // All answers first, so that the report behind them says: nothing more has come.
        self.read_answers();
        let now = now();
        let known = &mut self.vips[vip];
        let interface = &self.interfaces[known.interface];
        if known.asked_by_ip.is_none_or(|at| now.since(at) >= echo::INTERVAL) {
            known.asked_by_ip = Some(now);
            known.addresses.iter().for_each(|address| interface.echo.ask(*address));
        }
        for address in &known.addresses {
            for to in [None, mac].into_iter().take(1 + usize::from(mac.is_some())) {
                // A link that is down can't be asked by; the daemon knows about links.
                let _ = interface.neighbours.ask(*address, to);
            }
        }
        self.report(&Report::Probed { vip });
    }

    /// Reads what the network says about the VIPs; each claimant is reported once a round.
    /// True when there may be more.
    pub(super) fn read_answers(&mut self) -> bool {
        let now = now();
        for (index, interface) in self.interfaces.iter().enumerate() {
            for address in std::iter::from_fn(|| interface.echo.answer()).take(PORTION) {
                // What has lain there since an earlier question isn't of now.
                let asked = |v: &&mut Vip| v.asked_by_ip.is_some_and(|at| now.since(at) < echo::COUNTS);
                let vips = self.vips.iter_mut().filter(|v| v.interface == index).filter(asked);
                vips.filter(|v| v.addresses.contains(&address)).for_each(|v| v.answered_by_ip = Some(now));
            }
        }
        let mut more = false;
        let mut seen: Vec<(usize, Mac)> = Vec::new();
        for (index, interface) in self.interfaces.iter().enumerate() {
            // A flood is read in portions: orders come first.
            for (read, claim) in interface.neighbours.claims(PORTION).enumerate() {
                more |= read + 1 >= PORTION;
                let Ok((address, mac)) = claim else { continue };
                for (vip, known) in self.vips.iter().enumerate() {
                    let claimed = known.interface == index && known.addresses.contains(&address);
                    if claimed && !seen.contains(&(vip, mac)) && seen.len() < PORTION {
                        seen.push((vip, mac));
                    }
                }
            }
        }
        for (vip, mac) in seen {
            let by_ip = self.vips[vip].answered_by_ip.is_some_and(|at| now.since(at) < echo::COUNTS);
            self.report(&Report::Answered { vip, mac: mac.0, by_ip });
        }
        more
    }
}

/// Waits until any interface has something to say.
pub(super) async fn any_readable(interfaces: &[Interface]) {
    poll_fn(|context| {
        for interface in interfaces {
            if interface.neighbours.poll(context).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    })
    .await;
}
