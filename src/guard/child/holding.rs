//! Holds VIPs and lets go of them: at an order, at a hold's end, and when the daemon is dead.

use std::future::poll_fn;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::task::Poll;
use std::time::Duration;

use super::Guard;
use crate::core::{Message, Resignation, Time, VipId};
use crate::guard::channel::awaitable;
use crate::guard::clock::now;
use crate::guard::end::End;
use crate::guard::held::{Hold, Vip};
use crate::guard::protocol::Report;
use crate::wire::message;

/// The dead daemon's peers are told this often, this far apart.
const LAST_WORDS: u32 = 3;
const BETWEEN_LAST_WORDS: Duration = Duration::from_millis(4);

/// The daemon hears this often that the guard lives, while it waits for the kernel.
const SIGN_OF_LIFE: Duration = Duration::from_millis(20);
/// An address that takes the kernel longer than this to add.
const LATE: Duration = Duration::from_millis(20);

impl Guard {
    /// `end` is the daemon's handle on what is held from now on.
    pub(super) async fn hold(&mut self, vip: usize, until: Time, term: u32, end: Option<OwnedFd>) {
        // Without it the daemon has to say each time that the hold goes on, and does.
        let end = end.and_then(|end| awaitable(End::from_other_side(end)).ok());
        if let Some(hold) = &mut self.vips[vip].hold {
            let now = now();
            // An order that was late itself doesn't extend what has ended.
            if !hold.left(now).is_zero() {
                // No further than the kernel has acknowledged: nothing is said to be held beyond it.
                hold.extend(until, term, end, now);
                let report = hold.report(vip, now);
                self.report_in_time(&report);
            }
            return;
        }
        if now() >= until {
            self.report(&Report::Expired { vip });
            return;
        }
        // Open before there is anything to let through: what is answered meanwhile would be lost.
        self.open_fence(vip).await;
        let opened_at = now();
        if !self.add(vip).await {
            self.let_go(vip).await;
            self.report(&Report::Expired { vip });
            return;
        }
        if now().since(opened_at) > LATE {
            // The kernel took so long that the fence may have shut before the first beacon leaves.
            self.open_fence(vip).await;
        }
        let mut hold = Hold::new(until, term, opened_at, now());
        hold.extend(until, term, end, now());
        let report = hold.report(vip, now());
        self.vips[vip].hold = Some(hold);
        self.report(&report);
        self.announce();
    }

    /// Goes on with a hold of the guard before this one. What can't be held on is removed.
    pub(super) async fn inherit(&mut self, vip: usize, until: Time, term: u32) {
        let leased_at = now();
        if leased_at < until && self.add(vip).await {
            let hold = Hold::new(until, term, leased_at, now());
            self.report(&hold.report(vip, now()));
            self.vips[vip].hold = Some(hold);
        } else if self.let_go(vip).await {
            self.report(&Report::Expired { vip });
        }
    }

    /// Has the kernel add a VIP's addresses, or refresh them. Whether it has them all.
    async fn add(&self, vip: usize) -> bool {
        let interface = self.interfaces[self.vips[vip].interface].index;
        for address in &self.vips[vip].addresses {
            if let Err(error) = self.patiently(self.kernel.add(interface, *address)).await {
                self.trouble(&format!("{address} can't be added: {error}"));
                return false;
            }
        }
        true
    }

    /// Waits for the kernel, and lets the daemon know that it does.
    pub(super) async fn patiently<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(SIGN_OF_LIFE) => self.report(&Report::Waiting),
            }
        }
    }

    /// Removes a VIP's addresses; false when the kernel refused, and they may still be there.
    pub(super) async fn let_go(&mut self, vip: usize) -> bool {
        // Before anything is waited for: the daemon's handle on its end would let it seem to go on.
        if let Some(hold) = self.vips[vip].hold.take() {
            hold.end();
        }
        // At once, whatever the kernel's network configuration is locked for.
        self.shut_fence(vip).await;
        let interface = self.interfaces[self.vips[vip].interface].index;
        let mut gone = true;
        for at in 0..self.vips[vip].addresses.len() {
            let address = self.vips[vip].addresses[at];
            if let Err(error) = self.patiently(self.kernel.remove(interface, address)).await {
                // The lease will end it.
                self.trouble(&format!("{address} can't be removed: {error}"));
                gone = false;
            }
        }
        if gone {
            self.leave_fence(vip);
        }
        gone
    }

    /// Lets go of what nobody has fed: the daemon hangs, or is too late to be believed.
    pub(super) async fn expire(&mut self) {
        let now = now();
        for vip in 0..self.vips.len() {
            if self.vips[vip].hold.as_ref().is_some_and(|hold| hold.left(now).is_zero()) {
                self.expire_one(vip).await;
            }
        }
    }

    /// Lets go of a VIP, and resigns from it.
    pub(super) async fn expire_one(&mut self, vip: usize) {
        if let Some(word) = self.last_word(vip).await {
            self.report(&Report::Expired { vip });
            self.tell_peers(&word);
        }
    }

    pub(super) async fn address_removed(&mut self, interface: u32, address: IpAddr) {
        let ours =
            |v: &Vip| self.interfaces[v.interface].index == interface && v.addresses.contains(&address);
        // What is over isn't added again, not even until its end is dealt with.
        let is_held = |v: &Vip| v.hold.as_ref().is_some_and(|hold| !hold.left(now()).is_zero());
        let Some(vip) = self.vips.iter().position(|v| is_held(v) && ours(v)) else { return };
        // The message may be about an address that is there again: ask the kernel.
        let there = self.kernel.addresses(interface).await.is_ok_and(|all| all.contains(&address));
        if there || !is_held(&self.vips[vip]) {
            return;
        }
        if self.vips[vip].removed_too_often(now()) {
            self.let_go(vip).await;
            self.report(&Report::Removed { vip });
        } else {
            match self.kernel.add(interface, address).await {
                Ok(()) => {
                    let _said_in_trouble = self.say_where(vip);
                    self.report(&Report::Restored { vip });
                }
                Err(error) => {
                    self.trouble(&format!("{address} was removed and can't be added again: {error}"));
                    self.let_go(vip).await;
                    self.report(&Report::Removed { vip });
                }
            }
        }
    }

    /// The daemon is dead: nothing it held may outlive it.
    pub(super) async fn bury(mut self) {
        let mut words = Vec::new();
        for vip in 0..self.vips.len() {
            words.extend(self.last_word(vip).await);
        }
        for round in 0..LAST_WORDS {
            if round > 0 {
                tokio::time::sleep(BETWEEN_LAST_WORDS * round).await;
            }
            for word in &words {
                self.tell_peers(word);
            }
            if round == 0
                && let Some(fence) = &self.fence
            {
                // Without it, or with one that stays, nothing is fenced that anybody holds.
                let _ = fence.take_down().await;
            }
        }
    }

    /// Lets go of a VIP that is held, and returns the resignation from it. `None` when it isn't held, and when
    /// the kernel may still have it: then the lease ends it, and peers see that it answers until then.
    async fn last_word(&mut self, vip: usize) -> Option<Vec<u8>> {
        let term = self.vips[vip].hold.as_ref()?.term;
        let resignation = Resignation { id: 0, vip: VipId(self.vips[vip].id), term, successor: None };
        self.let_go(vip).await.then(|| message::encode(&Message::Resignation(resignation)))
    }

    fn tell_peers(&mut self, word: &[u8]) {
        let sealed = self.voice.seal(word);
        for peer in &self.peers {
            let _ = self.mouth.send_to(&sealed, peer);
        }
    }
}

/// Waits until the end of any hold has come.
pub(super) async fn any_end(vips: &[Vip]) {
    poll_fn(|context| {
        let holds = vips.iter().filter_map(|vip| vip.hold.as_ref());
        // All of them: each has to know whom to wake.
        let ended = holds.filter(|hold| hold.poll_end(context).is_ready()).count();
        if ended > 0 { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}
