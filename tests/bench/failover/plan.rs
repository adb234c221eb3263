//! In which order all runs are made, and which of them at the same time.

use std::time::Duration;

use crate::contender::Contender;
use crate::fault::{FAULTS, Fault};
use crate::options::Options;
use crate::trial::{Company, Trial, Turn};

/// Runs that are made together.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) trials: Vec<Trial>,
    /// So many at a time.
    pub(crate) at_a_time: usize,
}

impl Batch {
    fn estimate(&self) -> Duration {
        let each = || self.trials.iter().map(Trial::estimate);
        let longest = each().max().unwrap_or_default();
        longest.max(each().sum::<Duration>() / self.at_a_time.max(1) as u32)
    }
}

/// Labs that share the machine at most: more would be measured waiting for each other.
const MOST_TOGETHER: usize = 20;

/// Every row as often as asked for; each round tries every fault on every contender, so that a machine that is busy
/// for a while is so for all of them.
pub(crate) fn plan(options: &Options, faults: &[Fault], contenders: &[Contender]) -> Vec<Batch> {
    (0..options.runs).flat_map(|number| round(options, faults, contenders, number)).collect()
}

fn round(options: &Options, faults: &[Fault], contenders: &[Contender], number: usize) -> Vec<Batch> {
    // Another begins each round: labs that share the machine start one after the other, a whole number of intervals
    // apart, so that who came first is woken first at every beat, from the deepest sleep.
    let turned = || contenders.iter().cycle().skip(number % contenders.len().max(1)).take(contenders.len());
    let trials: Vec<Trial> = faults
        .iter()
        .flat_map(|&fault| turned().map(move |&contender| (fault, contender)))
        .filter(|(fault, contender)| contender.suffers(*fault))
        .map(|(fault, contender)| Trial {
            fault,
            contender,
            number,
            longest: options.longest,
            turn: Turn::default(),
        })
        .collect();
    let sharing = |with: Option<Company>, at_a_time: usize| {
        let mut trials: Vec<Trial> = trials.iter().filter(|trial| trial.shares() == with).copied().collect();
        if trials.iter().all(|trial| matches!(trial.fault, Fault::Freeze | Fault::FreezeBoth)) {
            let turns = Turn::all(trials.len());
            trials.iter_mut().zip(turns).for_each(|(trial, turn)| trial.turn = turn);
        }
        Batch { trials, at_a_time }
    };
    let alone = sharing(None, options.jobs);
    let companies = FAULTS.into_iter().flat_map(|fault| [Company::All(fault), Company::Own(fault)]);
    let together = companies.map(|company| sharing(Some(company), MOST_TOGETHER));
    [alone].into_iter().chain(together).filter(|batch| !batch.trials.is_empty()).collect()
}

/// How long all of it will take.
pub(crate) fn estimate(batches: &[Batch]) -> Duration {
    batches.iter().map(Batch::estimate).sum()
}
