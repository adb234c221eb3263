//! One run that is to be made: which fault, to whom, for how long, and beside which others.

use std::time::Duration;

use crate::contender::{Contender, Kind};
use crate::fault::Fault;

/// One fault, to be done to one contender once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trial {
    pub(crate) fault: Fault,
    pub(crate) contender: Contender,
    /// 0, 1, …
    pub(crate) number: usize,
    /// No fault lasts longer.
    pub(crate) longest: Duration,
    pub(crate) turn: Turn,
}

/// Whose failover comes before one's own and after it, of labs that share the machine and are measured in
/// milliseconds: each has its turn when all of them are up, and none is taken down before the last one is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Turn {
    /// So many have theirs before it,
    pub(crate) before: u32,
    /// and so many after it.
    pub(crate) after: u32,
}

impl Turn {
    /// The turns of so many labs, in the order of their start.
    pub(crate) fn all(labs: usize) -> impl Iterator<Item = Self> {
        let labs = labs as u32;
        (0..labs).map(move |before| Self { before, after: labs - before - 1 })
    }

    /// How long a lab that is up waits for its turn.
    pub(crate) fn wait(self) -> Duration {
        if self == Self::default() {
            return Duration::ZERO;
        }
        APART * self.after + COMING_UP + TURN * self.before
    }

    /// How long it stays for the others.
    pub(crate) fn stay(self) -> Duration {
        TURN * self.after
    }
}

/// Whose runs share the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// All that suffer this fault and aren't in a company of their own.
    All(Fault),
    /// chinthe's that suffer it.
    Own(Fault),
}

/// How long a phase is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Watch {
    /// At least so long, settled or not.
    pub(crate) least: Duration,
    /// At most so long, settled or not.
    pub(crate) most: Duration,
}

impl Watch {
    const fn exactly(time: Duration) -> Self {
        Self { least: time, most: time }
    }
}

/// How long whatever is frozen stays so.
const FROZEN: Duration = Duration::from_secs(20);
/// How long a fifth of all packets between nodes is lost.
const LOSSY: Duration = Duration::from_secs(60);
/// How long a third of them is.
const VERY_LOSSY: Duration = Duration::from_secs(300);
/// How long every core is kept busy.
const BUSY: Duration = Duration::from_secs(600);
/// How long the cost of doing nothing is measured.
const IDLE: Duration = Duration::from_secs(12);
/// After a daemon was killed and started again: for its return, and whatever second gap that makes.
const RESTARTED: Duration = Duration::from_millis(2500);
/// A failover is looked at for a while after it is over.
const AFTERWARDS: Duration = Duration::from_millis(700);
/// And so is a VIP's way home: longer than the way to a second thought.
const AT_HOME: Duration = Duration::from_millis(1200);
/// For that way.
const HOME: Duration = Duration::from_secs(20);
/// How long a holder is cut off: long enough for both sides to have made up their minds.
const CUT_OFF: Duration = Duration::from_secs(2);
/// Of two sides that have found each other again, whose announcements come for a while.
const HEALED: Duration = Duration::from_secs(4);
const HEALED_EXPERTLY: Duration = Duration::from_secs(10);
/// The same with the post's intervals: its clients are served, or not, until their ARP entries have run out.
const HEALED_SLOWLY: Duration = Duration::from_secs(60);
/// Labs that share the machine begin so much one after the other.
pub(crate) const APART: Duration = Duration::from_millis(300);
/// By how much one may come up more slowly than another.
const COMING_UP: Duration = Duration::from_secs(1);
/// From one's failover to the next one's.
const TURN: Duration = Duration::from_millis(1200);
/// To come up, to listen to the noise, and to end.
const BESIDE: Duration = Duration::from_millis(1900);
/// For what is beside the phases, if it must be; more makes a run broken.
const MOST_BESIDE: Duration = Duration::from_secs(90);

impl Trial {
    /// How long the fault lasts.
    pub(crate) fn watch(&self) -> Watch {
        let most = self.contender.patience();
        let exactly = |time: Duration| Watch::exactly(time.min(self.longest));
        match self.fault {
            Fault::Freeze | Fault::FreezeBoth => exactly(FROZEN),
            Fault::CutOff => match self.contender.kind {
                Kind::Post | Kind::Expert => Watch::exactly(most),
                Kind::Chinthe { .. } => exactly(CUT_OFF),
            },
            Fault::Loss => exactly(LOSSY),
            Fault::HeavyLoss => exactly(VERY_LOSSY),
            Fault::Busy => exactly(BUSY),
            Fault::Idle => exactly(IDLE),
            Fault::Restart => match self.contender.kind {
                Kind::Post => Watch::exactly(most),
                Kind::Expert | Kind::Chinthe { .. } => Watch { least: RESTARTED, most: most.max(RESTARTED) },
            },
            Fault::Terminate
            | Fault::Kill
            | Fault::KillBoth
            | Fault::NoProxy
            | Fault::NoBackends
            | Fault::PowerOff
            | Fault::Cable => Watch { least: AFTERWARDS, most },
        }
    }

    /// How long its end is looked at; `None` when there is nothing to be seen.
    pub(crate) fn watch_of_the_end(&self) -> Option<Watch> {
        let least = match (self.fault, self.contender.kind) {
            (Fault::Loss | Fault::HeavyLoss | Fault::Busy | Fault::Idle | Fault::Restart, _) => return None,
            (Fault::CutOff, Kind::Post) => HEALED_SLOWLY,
            (Fault::CutOff, Kind::Expert) => HEALED_EXPERTLY,
            (Fault::CutOff, Kind::Chinthe { .. }) => HEALED,
            // Longer than a script's period.
            (_, Kind::Post) => self.contender.patience(),
            (_, Kind::Expert | Kind::Chinthe { .. }) => AT_HOME,
        };
        Some(Watch { least, most: least.max(HOME) })
    }

    /// From one connection of the client to the next.
    pub(crate) fn pace(&self) -> Duration {
        Duration::from_millis(match (self.fault, self.contender.kind) {
            // A gap of seconds is seen as well by few questions, and a question of whether anything moves at all.
            (Fault::Loss | Fault::HeavyLoss | Fault::Busy, _) | (_, Kind::Post) => 20,
            (Fault::Freeze | Fault::FreezeBoth, _) => 10,
            _ if self.contender.is_fast() => 2,
            _ => 4,
        })
    }

    /// With which runs it shares the machine: all contenders suffer what lasts long at the same time, and what is
    /// measured in seconds doesn't mind. `None` when it has the machine for itself.
    pub(crate) fn shares(&self) -> Option<Company> {
        let fault = match self.fault {
            // The expert's keepalived has a real-time priority above everybody else's, and after having been frozen for
            // long it has a core for itself for a second.
            Fault::Freeze | Fault::FreezeBoth | Fault::Loss | Fault::HeavyLoss
                if self.contender.is_ours() =>
            {
                Some(Company::Own(self.fault))
            }
            Fault::Freeze | Fault::FreezeBoth | Fault::Loss | Fault::HeavyLoss | Fault::Idle => {
                Some(Company::All(self.fault))
            }
            Fault::Terminate
            | Fault::Kill
            | Fault::KillBoth
            | Fault::NoProxy
            | Fault::NoBackends
            | Fault::PowerOff
            | Fault::Cable
            | Fault::CutOff
            | Fault::Restart
            | Fault::Busy => None,
        };
        // The longest that there usually is.
        let longest = Some(Company::All(Fault::Loss));
        match (self.contender.kind, self.fault) {
            (Kind::Post, _) | (Kind::Expert, Fault::CutOff) => fault.or(longest),
            (Kind::Expert | Kind::Chinthe { .. }, _) => fault,
        }
    }

    /// How long it will take, going by what such runs have taken.
    pub(crate) fn estimate(&self) -> Duration {
        let end = self.watch_of_the_end().map_or(Duration::ZERO, |watch| watch.least);
        // keepalived's start and a failover take three of its intervals each; its way home does, too.
        let turn = self.turn.wait() + self.turn.stay();
        self.watch().least + end + BESIDE + turn + self.contender.interval * 6
    }

    /// After this time it is broken.
    pub(crate) fn deadline(&self) -> Duration {
        self.watch().most + self.watch_of_the_end().map_or(Duration::ZERO, |watch| watch.most) + MOST_BESIDE
    }

    /// As arguments of the process that makes it.
    pub(crate) fn words(&self) -> [String; 6] {
        let (number, longest) = (self.number.to_string(), self.longest.as_secs().to_string());
        let (before, after) = (self.turn.before.to_string(), self.turn.after.to_string());
        [self.fault.name().into(), self.contender.name.into(), number, longest, before, after]
    }

    /// The one that these arguments mean.
    pub(crate) fn read(words: [&str; 6]) -> Option<Self> {
        let [fault, contender, number, longest, before, after] = words;
        Some(Self {
            fault: Fault::named(fault)?,
            contender: Contender::named(contender)?,
            number: number.parse().ok()?,
            longest: Duration::from_secs(longest.parse().ok()?),
            turn: Turn { before: before.parse().ok()?, after: after.parse().ok()? },
        })
    }
}
