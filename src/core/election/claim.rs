//! From the decision to take a VIP to the order to hold it.
//!
//! Two nodes can come to that decision at once, each before the other's word arrives. So a claim is told first, and
//! goes on when everybody else who is heard has answered it: whoever answers knows of it and begins none of its own;
//! whoever had begun by then says so, and the better one goes on once the other has withdrawn. Who hears a holder
//! says that, too. A successor that the holder has named needs no answers: there is one, and it begins nothing
//! while somebody else claims.

use std::time::Duration;

use super::{Election, GUARD_ANSWER, Orders, Surroundings, Watch, hold_time};
use crate::core::contract::Output;
use crate::core::loss::enough;
use crate::core::suspicion::{Suspicion, gap};
use crate::core::time::Time;
use crate::core::transition::{Cause, Phases};

/// A claim that has neither been answered nor beaten by then begins anew.
const UNDECIDED: Duration = Duration::from_millis(500);

/// A claim that the others have been told of.
#[derive(Debug, Clone)]
pub(super) struct Asking {
    cause: Cause,
    detect: Duration,
    /// From when on it has been a question of who takes it.
    open_since: Time,
    since: Time,
    /// Advertisements after this number tell of it.
    told_after: u64,
    asked: u32,
    ask_at: Time,
    /// What to go on with if it is withdrawn.
    suspicion: Option<Suspicion>,
}

impl Asking {
    fn new(
        suspicion: Option<Suspicion>,
        cause: Cause,
        detect: Duration,
        open_since: Time,
        around: &Surroundings<'_>,
    ) -> Self {
        let (since, told_after) = (around.now, around.sequence);
        // A claim is answered by itself; who has to be asked has lost it, or its answer got lost.
        let (asked, ask_at) = (0, since + gap(around.interval));
        Self { cause, detect, open_since, since, told_after, asked, ask_at, suspicion }
    }

    pub(super) fn deadline(&self) -> Time {
        self.ask_at
    }

    pub(super) fn suspicion_mut(&mut self) -> Option<&mut Suspicion> {
        self.suspicion.as_mut()
    }
}

impl Election {
    /// Claims a VIP that a suspicion has found free.
    pub(super) fn ask_after(
        &mut self,
        suspicion: Suspicion,
        cause: Cause,
        detect: Duration,
        around: &Surroundings<'_>,
        out: &mut Orders,
    ) -> Watch {
        let open_since = suspicion.since();
        let asking = Asking::new(Some(suspicion), cause, detect, open_since, around);
        self.go_on(asking, around, out)
    }

    /// Claims a VIP that was released at `open_since`.
    pub(super) fn ask_released(
        &mut self,
        open_since: Time,
        around: &Surroundings<'_>,
        out: &mut Orders,
    ) -> Watch {
        let asking = Asking::new(None, Cause::Resignation, Duration::ZERO, open_since, around);
        self.go_on(asking, around, out)
    }

    /// Asks on, goes on or gives up, by what the others have said so far.
    pub(super) fn go_on(&mut self, mut asking: Asking, around: &Surroundings<'_>, out: &mut Orders) -> Watch {
        let now = around.now;
        if !around.grants.are_unneeded() {
            // A majority has granted it: that was the question.
            let Asking { cause, detect, open_since, .. } = asking;
            return self.claim(cause, detect, now.since(open_since), around, out);
        }
        let claims = self.claimants(around);
        let undecided = now.since(asking.since) >= UNDECIDED;
        if claims.better || undecided || self.contradicted(around) {
            return self.withdraw(asking, around);
        }
        // That the suspect is silent has been proven.
        let suspect = asking.suspicion.as_ref().and_then(Suspicion::holder);
        let unanswered = Self::unanswered(asking.told_after, asking.since, around);
        let unanswered: Vec<_> = unanswered.filter(|id| Some(*id) != suspect).collect();
        let due = now >= asking.ask_at;
        let patience = enough(around.loss(), 1);
        if !claims.worse && (unanswered.is_empty() || due && asking.asked >= patience) {
            let Asking { cause, detect, open_since, .. } = asking;
            return self.claim(cause, detect, now.since(open_since), around, out);
        }
        if due {
            asking.asked += 1;
            asking.ask_at = now + gap(around.interval);
            out.outputs.extend(unanswered.into_iter().map(|to| Output::Probe { to }));
        }
        Watch::Asking(asking)
    }

    /// Somebody else takes it, or has it.
    pub(super) fn withdraw(&self, asking: Asking, around: &Surroundings<'_>) -> Watch {
        match asking.suspicion {
            Some(mut suspicion) => {
                suspicion.start_afresh(around.now);
                Watch::Suspecting(suspicion)
            }
            None => self.look_again(None, around),
        }
    }

    /// Has the guard hold it.
    pub(super) fn claim(
        &mut self,
        cause: Cause,
        detect: Duration,
        elect: Duration,
        around: &Surroundings<'_>,
        out: &mut Orders,
    ) -> Watch {
        let now = around.now;
        self.canvass = None;
        self.term = self.term.saturating_add(1);
        let until = around.grants.bound(now + hold_time(around.interval));
        out.push(Output::Hold { vip: self.index, until, term: self.term });
        let phases = Phases { detect, elect, assign: Duration::ZERO };
        Watch::Claiming { cause, phases, decided_at: now, until: now + GUARD_ANSWER }
    }
}
