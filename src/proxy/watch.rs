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
        Self { seen: connects(proxy).map(|(_, count, _)| count).collect() }
    }

    /// The service and the duration of the latest connect in each bucket in which there were any since the last
    /// look. `proxy` has to be the one of the first look.
    pub fn look(&mut self, proxy: &Proxy) -> Vec<(usize, Duration)> {
        let mut new = Vec::new();
        for (seen, (service, count, latest)) in self.seen.iter_mut().zip(connects(proxy)) {
            if std::mem::replace(seen, count) != count {
                new.push((service, latest));
            }
        }
        new
    }
}

/// Of every worker, service and bucket: the service, how many connects, and how long the latest took.
fn connects(proxy: &Proxy) -> impl Iterator<Item = (usize, u64, Duration)> {
    proxy.workers.iter().flat_map(|worker| {
        let services = worker.desk.tally.services.iter().enumerate();
        services.flat_map(|(at, tally)| tally.connects().map(move |(count, latest)| (at, count, latest)))
    })
}
