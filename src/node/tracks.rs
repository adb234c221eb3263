//! What VIPs track, named for a scrape.

use crate::config::Config;
use crate::core::priority::Contribution;
use crate::core::{Core, Tracked};
use crate::telemetry::TrackSample;

/// What each thing that a VIP tracks adds to this node's priority now, in the file's order.
pub(super) fn tracks(core: &Core, vip: usize, config: &Config) -> Vec<TrackSample> {
    let tracks = core.contributions(vip).map(|(tracked, contribution)| {
        let (kind, tracked) = match tracked {
            Tracked::Service(at) => ("service", config.services[at].name.clone()),
            Tracked::Check(at) => ("check", config.checks[at].name.clone()),
        };
        let weight = match contribution {
            Contribution::Points(points) => points,
            Contribution::Ineligible => 0,
        };
        TrackSample { kind, tracked, weight }
    });
    tracks.collect()
}
