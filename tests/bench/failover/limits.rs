//! What chinthe has to keep to, fault by fault. keepalived has no limits, only figures.

use crate::contender::{Contender, Quorum};
use crate::fault::Fault;

/// Which part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// From the fault until it is got over.
    Fault,
    /// From its end until the VIP is home.
    End,
}

/// What a row is judged by.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Limits {
    /// Of the client's gap, in milliseconds: the median's and the longest one's.
    pub(crate) gap_ms: Option<(f64, f64)>,
    /// Of the requests that fail: only what was in flight at one moment, so long.
    pub(crate) failed_for_ms: Option<f64>,
    /// Of how many fail.
    pub(crate) failed: Option<usize>,
    /// Of the seconds with two answerers.
    pub(crate) two_answerers_s: Option<f64>,
    /// Of how often a node becomes the holder.
    pub(crate) takeovers: Option<u64>,
}

/// The moment of a planned move lasts as long as release, message and announcement take.
const MOMENT_MS: f64 = 20.0;
/// The lease, what the kernel adds to it, and the takeover.
const LEASE_MS: f64 = 3500.0;

impl Limits {
    /// One answerer at all times; the rest as it comes.
    const ONE_ANSWERER: Self =
        Self { gap_ms: None, failed_for_ms: None, failed: None, two_answerers_s: Some(0.0), takeovers: None };
    const IN_FLIGHT: Self = Self { failed_for_ms: Some(MOMENT_MS), ..Self::ONE_ANSWERER };

    const fn gap(most: f64) -> Self {
        Self { gap_ms: Some((most, most)), ..Self::ONE_ANSWERER }
    }

    /// Those of this row; `None` where there is nothing to keep to.
    pub(crate) fn of(contender: &Contender, fault: Fault, part: Part) -> Option<Self> {
        if !contender.is_ours() {
            return None;
        }
        let majority = contender.quorum() == Quorum::Majority;
        // Grants and promises have to run out first.
        let or_grants = |none: (f64, f64)| if majority { (600.0, 600.0) } else { none };
        let of_a_hang = || match (contender.fenced(), majority) {
            (_, true) => 600.0,
            (true, false) => 400.0,
            (false, false) => LEASE_MS,
        };
        Some(match (part, fault) {
            (Part::Fault, Fault::PowerOff) if contender.is_fast() => {
                Self { gap_ms: Some((30.0, f64::INFINITY)), ..Self::ONE_ANSWERER }
            }
            (Part::Fault, Fault::Cable) if contender.is_fast() => Self::ONE_ANSWERER,
            (Part::Fault, Fault::Terminate) => Self { failed_for_ms: Some(MOMENT_MS), ..Self::gap(20.0) },
            (Part::Fault, Fault::Kill) => Self::gap(20.0),
            (Part::Fault, Fault::NoBackends) => Self::gap(30.0),
            (Part::Fault, Fault::Restart) => {
                // There, and home again.
                Self { takeovers: Some(2), ..Self::gap(50.0) }
            }
            (Part::Fault, Fault::KillBoth | Fault::Freeze | Fault::FreezeBoth) => Self::gap(of_a_hang()),
            (Part::Fault, Fault::PowerOff | Fault::Cable) => {
                Self { gap_ms: Some(or_grants((150.0, 220.0))), ..Self::ONE_ANSWERER }
            }
            (Part::Fault, Fault::CutOff) if majority => Self::gap(600.0),
            // Without a quorum each side has a holder, as with VRRP.
            (Part::Fault, Fault::CutOff) => Self::default(),
            (Part::End, Fault::CutOff) => {
                Self { failed: Some(1), two_answerers_s: majority.then_some(0.0), ..Self::default() }
            }
            (Part::Fault, Fault::Loss | Fault::HeavyLoss | Fault::Busy) => {
                Self { takeovers: Some(0), ..Self::ONE_ANSWERER }
            }
            (Part::End, Fault::Freeze | Fault::FreezeBoth) => Self::ONE_ANSWERER,
            (
                Part::End,
                Fault::Terminate
                | Fault::Kill
                | Fault::KillBoth
                | Fault::NoBackends
                | Fault::PowerOff
                | Fault::Cable,
            ) => Self::IN_FLIGHT,
            (_, Fault::Idle | Fault::NoProxy)
            | (Part::End, Fault::Loss | Fault::HeavyLoss | Fault::Busy | Fault::Restart) => return None,
        })
    }
}
