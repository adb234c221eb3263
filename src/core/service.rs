//! The services' backends as this node sees them: which may be used, and whether a service is well.

use std::time::Duration;

use super::administration::AdminState;
use super::health::Health;
use super::message::MemberId;
use super::transition::Verdict;
use super::view::Views;

/// What the core knows of one `[[service]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceSettings {
    /// The service's name, for what operators say of it.
    pub name: String,
    /// The backends' names, in the file's order.
    pub backends: Vec<String>,
    /// The longest time between two results of a backend's probes: interval and timeout.
    pub interval: Duration,
    /// Successes in a row that bring a backend back.
    pub rise: u32,
    /// Failures in a row that take it out.
    pub fall: u32,
}

/// One service's state on this node.
#[derive(Debug, Clone)]
pub struct Service {
    listening: bool,
    /// Whether it was well when its backends became others: until these are known that holds.
    well_before: Option<bool>,
    backends: Vec<Backend>,
}

/// One backend's state on this node.
#[derive(Debug, Clone)]
pub struct Backend {
    health: Health,
    passed_over: bool,
    probed_in_round: bool,
    views: Views,
    admin: AdminState,
    /// What operators say in place of the configured weight.
    weight: Option<u16>,
}

impl Service {
    /// Not listening, nothing probed.
    pub fn new(settings: &ServiceSettings) -> Self {
        let backend = Backend::new(settings);
        Self { listening: false, well_before: None, backends: vec![backend; settings.backends.len()] }
    }

    /// One that joins those of a node that runs.
    pub fn added(settings: &ServiceSettings, listening: bool, round_complete: bool) -> Self {
        let mut service = Self { listening, ..Self::new(settings) };
        service.backends.iter_mut().for_each(|backend| backend.probed_in_round = round_complete);
        service
    }

    /// Goes on with other settings. A backend of the same name keeps all that is known of it, unless it `has_moved`
    /// to another address; a new one is unknown, and no round waits for it that was complete before.
    pub fn reconfigure(
        &mut self,
        before: &ServiceSettings,
        settings: &ServiceSettings,
        has_moved: impl Fn(usize) -> bool,
        me: MemberId,
    ) {
        let (well, round_complete) = (self.well(), self.round_complete());
        let known: Vec<Backend> = std::mem::take(&mut self.backends);
        for (at, name) in settings.backends.iter().enumerate() {
            let kept = before.backends.iter().position(|before| before == name).map(|at| known[at].clone());
            let mut backend =
                kept.unwrap_or_else(|| Backend { probed_in_round: round_complete, ..Backend::new(settings) });
            backend.health.adjust(settings.rise, settings.fall);
            if has_moved(at) {
                backend.health.forget();
                backend.passed_over = false;
            }
            // The others count the backends as their own files have them.
            backend.views = Views::default();
            backend.views.record(me, backend.verdict());
            self.backends.push(backend);
        }
        self.well_before = well;
    }

    /// The proxy's listeners accept, or no longer do.
    pub fn set_listening(&mut self, listening: bool) {
        self.listening = listening;
    }

    /// Whether the proxy's listeners accept.
    pub fn listening(&self) -> bool {
        self.listening
    }

    /// Takes in a probe's result; the verdict before and after when what may be used changed.
    pub fn probed(&mut self, backend: usize, success: bool, me: MemberId) -> Option<Change> {
        let backend = self.backends.get_mut(backend)?;
        if backend.admin == AdminState::Maint {
            // A probe that was under way: it says nothing about what comes after.
            return None;
        }
        let before = (backend.health.verdict(), backend.usable());
        backend.probed_in_round = true;
        backend.health.record(success);
        if success {
            backend.passed_over = false;
        }
        backend.views.record(me, backend.health.verdict());
        let after = (backend.health.verdict(), backend.usable());
        (before != after).then_some(Change { from: before.0, to: after.0 })
    }

    /// A connection to it failed: it is passed over until a probe of it succeeds. True when that is news.
    pub fn pass_over(&mut self, backend: usize) -> bool {
        // A connection that was under way to one in maintenance, which nobody probes: it would be passed over for good.
        let probed = self.backends.get_mut(backend).filter(|b| b.admin != AdminState::Maint);
        probed.is_some_and(|b| !std::mem::replace(&mut b.passed_over, true))
    }

    /// Takes in what operators have come to say of a backend. `None` when that is no news.
    pub fn administer(
        &mut self,
        backend: usize,
        admin: AdminState,
        weight: Option<u16>,
        me: MemberId,
    ) -> Option<Administered> {
        let backend = self.backends.get_mut(backend)?;
        if (backend.admin, backend.weight) == (admin, weight) {
            return None;
        }
        let (was, is) = (backend.admin == AdminState::Maint, admin == AdminState::Maint);
        (backend.admin, backend.weight) = (admin, weight);
        if was != is {
            // Nobody has looked meanwhile, or will.
            backend.health.forget();
            backend.passed_over = false;
            backend.views.record(me, backend.health.verdict());
        }
        Some(match (was, is) {
            (false, true) => Administered::PauseProbes,
            (true, false) => Administered::ResumeProbes,
            (true, true) | (false, false) => Administered::Routes,
        })
    }

    /// Takes in what another member sees of each backend, in the file's order; the backends it sees otherwise.
    pub fn hear_views(&mut self, member: MemberId, verdicts: &[Verdict]) -> Vec<usize> {
        let mut otherwise = Vec::new();
        for (at, (backend, verdict)) in self.backends.iter_mut().zip(verdicts).enumerate() {
            let news = backend.views.of(member) != *verdict;
            backend.views.record(member, *verdict);
            if news && *verdict != Verdict::Unknown && *verdict != backend.verdict() {
                otherwise.push(at);
            }
        }
        otherwise
    }

    /// Forgets what a member saw that is gone.
    pub fn forget(&mut self, member: MemberId) {
        for backend in &mut self.backends {
            backend.views.forget(member);
        }
    }

    /// How many backends a member reaches, of those that operators want used.
    pub fn reached_by(&self, member: MemberId) -> usize {
        let wanted = self.backends.iter().filter(|b| b.admin == AdminState::Ready);
        wanted.filter(|b| b.views.of(member) == Verdict::Up).count()
    }

    /// Whether a member has said anything of this service's backends.
    pub fn is_seen_by(&self, member: MemberId) -> bool {
        self.backends.iter().any(|b| b.views.of(member) != Verdict::Unknown)
    }

    /// From now on a round is complete only once every backend has been probed again.
    pub fn start_round(&mut self) {
        for backend in &mut self.backends {
            backend.probed_in_round = false;
        }
    }

    /// Whether every backend has had a result since the round began.
    pub fn round_complete(&self) -> bool {
        self.backends.iter().all(|b| b.probed_in_round || b.admin == AdminState::Maint)
    }

    /// Listening, and a backend is usable from here; `None` while that can't be said yet.
    pub fn well(&self) -> Option<bool> {
        if !self.listening {
            return Some(false);
        }
        if self.usable() {
            return Some(true);
        }
        let unknown =
            self.backends.iter().any(|b| b.verdict() == Verdict::Unknown && b.admin == AdminState::Ready);
        if unknown { self.well_before } else { Some(false) }
    }

    /// Whether any backend is usable from here.
    pub fn usable(&self) -> bool {
        self.backends.iter().any(Backend::usable)
    }

    /// In the file's order.
    pub fn backends(&self) -> &[Backend] {
        &self.backends
    }
}

impl Backend {
    /// Unknown, and wanted.
    fn new(settings: &ServiceSettings) -> Self {
        Self {
            health: Health::new(settings.rise, settings.fall),
            passed_over: false,
            probed_in_round: false,
            views: Views::default(),
            admin: AdminState::Ready,
            weight: None,
        }
    }

    /// This node's verdict.
    pub fn verdict(&self) -> Verdict {
        self.health.verdict()
    }

    /// A connection to it failed, and no probe has succeeded since.
    pub fn passed_over(&self) -> bool {
        self.passed_over
    }

    /// Up, not passed over, and wanted.
    pub fn usable(&self) -> bool {
        self.is_reached() && self.admin == AdminState::Ready
    }

    /// Up and not passed over, whatever operators want of it.
    pub fn is_reached(&self) -> bool {
        self.verdict() == Verdict::Up && !self.passed_over
    }

    /// Down or passed over: somebody has tried.
    pub fn has_failed(&self) -> bool {
        self.verdict() == Verdict::Down || self.passed_over
    }

    /// Up and wanted, though a connection to it has failed lately: better than nothing.
    pub fn in_reserve(&self) -> bool {
        self.verdict() == Verdict::Up && self.passed_over && self.admin == AdminState::Ready
    }

    /// What operators say of it.
    pub fn admin(&self) -> AdminState {
        self.admin
    }

    /// What operators say in place of its configured weight.
    pub fn weight(&self) -> Option<u16> {
        self.weight
    }

    /// What the members see of it.
    pub fn views(&self) -> &Views {
        &self.views
    }
}

/// A backend's verdict, or its being passed over, changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The verdict before.
    pub from: Verdict,
    /// The verdict now; the same as before when only the passing over ended.
    pub to: Verdict,
}

/// What follows from an operator's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Administered {
    /// New connections go elsewhere, or in other shares.
    Routes,
    /// And it isn't probed any more.
    PauseProbes,
    /// It is probed again, from unknown, at once.
    ResumeProbes,
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: MemberId = MemberId(1);

    fn service(backends: usize) -> Service {
        let mut service = Service::new(&ServiceSettings {
            name: "s".into(),
            backends: vec!["b".into(); backends],
            interval: Duration::from_secs(2),
            rise: 2,
            fall: 3,
        });
        service.set_listening(true);
        service
    }

    #[test]
    fn a_service_is_unknown_until_one_backend_is_up_or_all_are_down() {
        let mut service = service(2);
        assert_eq!(service.well(), None);
        service.probed(0, false, ME);
        assert_eq!(service.well(), None, "the second may still be up");
        service.probed(1, false, ME);
        assert_eq!(service.well(), Some(false));
        let mut service = self::service(2);
        service.probed(1, true, ME);
        assert_eq!(service.well(), Some(true));
    }

    #[test]
    fn a_service_that_does_not_listen_is_not_well() {
        let mut service = service(1);
        service.probed(0, true, ME);
        service.set_listening(false);
        assert_eq!(service.well(), Some(false));
    }

    #[test]
    fn a_service_all_of_whose_backends_are_passed_over_is_not_well_at_once() {
        let mut service = service(2);
        service.probed(0, true, ME);
        service.probed(1, true, ME);
        assert!(service.pass_over(0));
        assert!(!service.pass_over(0), "no news");
        assert_eq!(service.well(), Some(true));
        service.pass_over(1);
        assert_eq!(service.well(), Some(false));
        assert!(service.probed(1, true, ME).is_some(), "a probe that succeeds brings it back");
        assert_eq!(service.well(), Some(true));
    }

    #[test]
    fn a_round_is_complete_when_every_backend_has_had_a_result_since_it_began() {
        let mut service = service(2);
        service.probed(0, true, ME);
        assert!(!service.round_complete());
        service.probed(1, false, ME);
        assert!(service.round_complete());
        service.start_round();
        assert!(!service.round_complete());
        assert_eq!(service.well(), Some(true), "what is known stays known");
    }

    #[test]
    fn a_draining_backend_takes_no_new_connection_and_is_probed_on() {
        let mut service = service(2);
        service.probed(0, true, ME);
        service.probed(1, true, ME);
        assert_eq!(service.administer(0, AdminState::Drain, None, ME), Some(Administered::Routes));
        assert_eq!(service.administer(0, AdminState::Drain, None, ME), None, "no news");
        assert!(!service.backends()[0].usable());
        service.probed(0, false, ME);
        service.administer(0, AdminState::Ready, None, ME);
        assert!(service.backends()[0].usable(), "one failure of three");
    }

    #[test]
    fn a_backend_back_from_maintenance_is_unknown_until_it_has_been_probed() {
        let mut service = service(1);
        service.probed(0, true, ME);
        assert_eq!(service.administer(0, AdminState::Maint, None, ME), Some(Administered::PauseProbes));
        assert!(service.probed(0, true, ME).is_none(), "a probe that was under way doesn't count");
        assert!(!service.pass_over(0), "nor does a connection");
        assert!(!service.backends()[0].has_failed());
        assert_eq!(service.administer(0, AdminState::Ready, None, ME), Some(Administered::ResumeProbes));
        assert_eq!(service.backends()[0].verdict(), Verdict::Unknown);
        assert!(!service.backends()[0].usable());
        service.probed(0, true, ME);
        assert!(service.backends()[0].usable(), "the first result decides");
    }

    #[test]
    fn what_another_member_sees_otherwise_is_told_once() {
        let mut service = service(2);
        service.probed(0, true, ME);
        service.probed(1, true, ME);
        let other = MemberId(2);
        assert_eq!(service.hear_views(other, &[Verdict::Up, Verdict::Down]), [1]);
        assert!(service.hear_views(other, &[Verdict::Up, Verdict::Down]).is_empty());
        assert_eq!((service.reached_by(ME), service.reached_by(other)), (2, 1));
        assert_eq!(service.backends()[1].views().agreed(), Verdict::Up);
        service.forget(other);
        assert!(!service.is_seen_by(other));
    }
}
