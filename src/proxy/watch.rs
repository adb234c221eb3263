//! Connects noticed as they come, by whoever looks now and then: at no cost to the workers.

use std::time::Duration;

use super::Proxy;

/// How many connects there were at the last look.
#[derive(Debug)]
pub struct ConnectWatch {
    /// By worker, service and bucket.
    seen: Vec<u64>,
}

impl ConnectWatch {
    /// Looks at `proxy` for the first time; what there was before is nothing new.
    pub fn new(proxy: &Proxy) -> Self {
        Self { seen: connects(proxy).into_iter().map(|(_, count, _)| count).collect() }
    }

    /// The service's number and the duration of the latest connect in each bucket in which there were any since the last
    /// look. `proxy` has to be the one of the first look.
    pub fn look(&mut self, proxy: &Proxy) -> Vec<(usize, Duration)> {
        let mut new = Vec::new();
        let connects = connects(proxy);
        if self.seen.len() != connects.len() {
            // There are other services than at the last look.
            *self = Self::new(proxy);
            return new;
        }
        for (seen, (service, count, latest)) in self.seen.iter_mut().zip(connects) {
            if std::mem::replace(seen, count) != count {
                new.push((service, latest));
            }
        }
        new
    }
}

/// Of every worker, service and bucket: the service's number, how many connects, and how long the latest took.
fn connects(proxy: &Proxy) -> Vec<(usize, u64, Duration)> {
    let mut all = Vec::new();
    for tallies in &proxy.books().tallies {
        for (number, tally) in tallies.services().iter().enumerate() {
            all.extend(tally.connects().map(|(count, latest)| (number, count, latest)));
        }
    }
    all
}
