//! Another configuration, while everything goes on.

use super::contract::Settings;
use super::health::Health;
use super::service::Service;
use super::time::Time;
use super::{Core, Output};

impl Core {
    /// Goes on with other settings: those of the same node, whose VIPs are the same in the same order.
    ///
    /// Nothing is released by this in itself. Elections keep state, term and hold; what is known of members, of
    /// operators' words, of services, backends and checks stays with their names. Other priorities, weights and terms
    /// then have the effect that they always have. `moved` names the backends, by their new indices, whose names stand
    /// for other addresses than before: they are unknown, as new ones are, until they have been probed.
    ///
    /// A service that is new listens already, as the others do, and no round waits for it that was complete before.
    ///
    /// From here on inputs and outputs count services, backends and checks as `settings` does.
    pub fn reconfigure(&mut self, settings: Settings, moved: &[(usize, usize)], now: Time) {
        debug_assert!(self.settings.vips.iter().map(|v| v.id).eq(settings.vips.iter().map(|v| v.id)));
        let before = std::mem::replace(&mut self.settings, settings);
        let settings = &self.settings;

        let mut services = Vec::with_capacity(settings.services.len());
        let mut connections = Vec::with_capacity(settings.services.len());
        let round_complete = self.services.iter().all(Service::round_complete);
        for (at, new) in settings.services.iter().enumerate() {
            let known = before.services.iter().position(|old| old.name == new.name);
            services.push(if let Some(known) = known {
                let mut service = self.services[known].clone();
                let has_moved = |backend| moved.contains(&(at, backend));
                service.reconfigure(&before.services[known], new, has_moved, settings.me);
                service
            } else {
                Service::added(new, self.services.iter().all(Service::listening), round_complete)
            });
            connections.push(known.map_or(0, |known| self.connections[known]));
        }
        (self.services, self.connections) = (services, connections);

        let checks = settings.checks.iter().map(|new| {
            let known = before.checks.iter().position(|old| old.name == new.name);
            let mut check =
                known.map_or_else(|| Health::new(new.rise, new.fall), |known| self.checks[known].clone());
            check.adjust(new.rise, new.fall);
            check
        });
        self.checks = checks.collect();

        for (election, vip) in self.elections.iter_mut().zip(&settings.vips) {
            election.reconfigure(vip);
        }
        self.readiness.expect(settings.expected_peers);
        // What was said of a name that is new here holds from the first moment.
        self.administer_at = Some(now);
        self.advertise_now = true;
        self.revision += 1;
        self.outputs.push_back(Output::RoutesChanged);
        self.caught_up = false;
        self.settle(now);
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Duration;

    use super::*;
    use crate::core::priority::Weight;
    use crate::core::{
        AdminState, Backend, Boot, CheckSettings, Input, Mac, MemberId, Proof, ServiceSettings, Setting,
        Stamp, Target, Terms, Tracked, Verdict, VipId, VipSettings, VipState, Word,
    };

    fn settings(priority: u8, backends: &[&str], checks: &[&str]) -> Settings {
        let weight = |weight| Weight { weight, reverse: false };
        let on_checks = (0..checks.len()).map(|at| (Tracked::Check(at), weight(-10)));
        Settings {
            me: MemberId(1),
            name: "ha1".into(),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)),
            version: String::new(),
            sync_patience: Duration::ZERO,
            config: [0; 8],
            majority_of: None,
            witness: false,
            crowd: 10,
            expected_peers: 0,
            vips: vec![VipSettings {
                id: VipId(1),
                name: "vi_1".into(),
                base_priority: priority,
                advertisement_interval: Duration::from_millis(100),
                terms: Terms::default(),
                proof: Proof::Answers,
                track: [(Tracked::Service(0), weight(2))].into_iter().chain(on_checks).collect(),
            }],
            services: vec![ServiceSettings {
                name: "web".into(),
                backends: backends.iter().map(ToString::to_string).collect(),
                interval: Duration::from_secs(2),
                rise: 2,
                fall: 3,
            }],
            checks: checks
                .iter()
                .map(|name| CheckSettings { name: (*name).into(), rise: 1, fall: 1 })
                .collect(),
        }
    }

    /// A lone node, and a guard that does what it is asked.
    struct Node {
        core: Core,
        now: Time,
        asked: Vec<Output>,
    }

    impl Node {
        /// It holds its VIP; its backends are up, and its checks succeed.
        fn holding(settings: Settings) -> Self {
            let (backends, checks) = (settings.services[0].backends.len(), settings.checks.len());
            let mut node = Self { core: Core::new(settings, Time::ZERO), now: Time::ZERO, asked: Vec::new() };
            node.core.set_guard(Boot([1; 16]));
            node.handle(Input::Listening { service: 0, listening: true });
            node.handle(Input::Link { vip: 0, up: true, mac: Mac([2; 6]) });
            (0..backends).for_each(|backend| node.probe(backend, true));
            (0..checks).for_each(|check| node.handle(Input::Checked { check, success: true }));
            node.pass(Duration::from_secs(5));
            assert_eq!(node.core.elections()[0].state(), VipState::Active);
            node
        }

        fn handle(&mut self, input: Input) {
            self.core.handle(input, self.now);
            self.obey();
        }

        fn reconfigure(&mut self, settings: Settings, moved: &[(usize, usize)]) {
            self.asked.clear();
            self.core.reconfigure(settings, moved, self.now);
            self.obey();
        }

        fn obey(&mut self) {
            while let Some(output) = self.core.poll_output() {
                self.asked.push(output.clone());
                match output {
                    Output::Hold { vip, until, .. } => self.core.handle(Input::Held { vip, until }, self.now),
                    Output::Release { vip } => self.core.handle(Input::Released { vip }, self.now),
                    Output::ProbeAddress { vip, .. } => {
                        self.core.handle(Input::AddressProbed { vip }, self.now);
                    }
                    _other => {}
                }
            }
        }

        fn pass(&mut self, time: Duration) {
            let end = self.now + time;
            while self.now < end {
                self.now = self.core.next_deadline(self.now).max(self.now + Duration::from_millis(1));
                self.handle(Input::Deadline);
            }
        }

        fn probe(&mut self, backend: usize, success: bool) {
            self.handle(Input::Probed { service: 0, backend, success });
        }

        fn verdicts(&self) -> Vec<Verdict> {
            self.core.services()[0].backends().iter().map(Backend::verdict).collect()
        }

        fn priority(&self) -> u8 {
            self.core.elections()[0].standing().effective
        }

        /// It has held the VIP all the time, and nobody asked it to let go.
        fn has_kept_it(&self) -> bool {
            self.core.elections()[0].state() == VipState::Active
                && !self.asked.iter().any(|asked| matches!(asked, Output::Release { .. }))
        }
    }

    #[test]
    fn the_same_settings_change_nothing_that_others_see() {
        let same = || settings(101, &["web1", "web2"], &["disk"]);
        let mut node = Node::holding(same());
        let (term, priority) = (node.core.elections()[0].term(), node.priority());
        for _ in 0..3 {
            node.reconfigure(same(), &[]);
            node.pass(Duration::from_secs(1));
            assert!(node.has_kept_it() && node.core.is_ready());
        }
        assert_eq!((node.core.elections()[0].term(), node.priority()), (term, priority));
        assert_eq!(node.verdicts(), [Verdict::Up; 2]);
    }

    #[test]
    fn a_priority_has_its_effect_at_once_and_moves_nothing_by_itself() {
        let mut node = Node::holding(settings(101, &["web1"], &[]));
        node.reconfigure(settings(90, &["web1"], &[]), &[]);
        assert_eq!(node.priority(), 92);
        node.pass(Duration::from_secs(1));
        assert!(node.has_kept_it());
    }

    #[test]
    fn backends_keep_their_health_with_their_names_and_new_ones_are_unknown() {
        let mut node = Node::holding(settings(101, &["web1", "web2"], &[]));
        (0..3).for_each(|_| node.probe(0, false));
        node.reconfigure(settings(101, &["web3", "web2", "web1"], &[]), &[]);
        assert_eq!(node.verdicts(), [Verdict::Unknown, Verdict::Up, Verdict::Down]);
        assert!(node.core.is_ready(), "a round that was complete stays so");
        assert!(node.has_kept_it());
        node.probe(0, true);
        assert_eq!(node.verdicts()[0], Verdict::Up);
        node.probe(2, true);
        assert_eq!(node.verdicts()[2], Verdict::Down, "one success of two");
    }

    #[test]
    fn a_backend_that_has_moved_is_unknown_until_it_has_been_probed_there() {
        let mut node = Node::holding(settings(101, &["web1", "web2"], &[]));
        node.reconfigure(settings(101, &["web1", "web2"], &[]), &[(0, 1)]);
        assert_eq!(node.verdicts(), [Verdict::Up, Verdict::Unknown]);
    }

    #[test]
    fn a_service_whose_backends_are_all_new_stays_well_until_they_are_known() {
        let mut node = Node::holding(settings(101, &["web1"], &[]));
        node.reconfigure(settings(101, &["web2", "web3"], &[]), &[]);
        assert_eq!(node.priority(), 103);
        node.probe(0, false);
        assert_eq!(node.priority(), 103, "the other one may be up");
        node.probe(1, false);
        assert_eq!(node.priority(), 101);
    }

    #[test]
    fn services_keep_their_backends_with_their_names_and_a_new_one_takes_nothing_from_the_node() {
        let mut node = Node::holding(settings(101, &["web1"], &[]));
        let mut other = settings(101, &["web1"], &[]);
        let mail = ServiceSettings { name: "mail".into(), ..other.services[0].clone() };
        other.services.insert(0, mail);
        other.vips[0].track = vec![(Tracked::Service(1), Weight { weight: 2, reverse: false })];
        node.reconfigure(other, &[]);
        assert!(node.has_kept_it() && node.core.is_ready());
        assert_eq!((node.priority(), node.core.services().len()), (103, 2));
        assert_eq!(node.verdicts(), [Verdict::Unknown], "the new one's");
        assert_eq!(node.core.services()[1].backends()[0].verdict(), Verdict::Up);
        node.reconfigure(settings(101, &["web1"], &[]), &[]);
        assert!(node.has_kept_it());
        assert_eq!((node.priority(), node.verdicts()), (103, vec![Verdict::Up]));
    }

    #[test]
    fn a_round_that_was_not_complete_waits_for_new_backends_too() {
        let mut core = Core::new(settings(101, &["web1", "web2"], &[]), Time::ZERO);
        core.handle(Input::Probed { service: 0, backend: 0, success: true }, Time::ZERO);
        core.reconfigure(settings(101, &["web1", "web3"], &[]), &[], Time::ZERO);
        assert!(!core.services()[0].round_complete());
    }

    #[test]
    fn checks_keep_their_verdicts_with_their_names() {
        let mut node = Node::holding(settings(101, &["web1"], &["disk", "link"]));
        node.handle(Input::Checked { check: 1, success: false });
        assert_eq!(node.priority(), 93);
        node.reconfigure(settings(101, &["web1"], &["link", "new", "disk"]), &[]);
        let verdicts: Vec<Verdict> = node.core.checks().iter().map(Health::verdict).collect();
        assert_eq!(verdicts, [Verdict::Down, Verdict::Unknown, Verdict::Up]);
        assert_eq!(node.priority(), 93);
        node.reconfigure(settings(101, &["web1"], &["disk"]), &[]);
        assert_eq!(node.priority(), 103);
    }

    #[test]
    fn what_operators_have_said_still_holds() {
        let mut node = Node::holding(settings(101, &["web1", "web2"], &[]));
        let said = |backend: &str, at| Input::Said {
            target: Target::Backend { service: "web".into(), backend: backend.into() },
            word: Word {
                setting: Setting::State(AdminState::Drain),
                stamp: Stamp { milliseconds: at, writer: MemberId(1) },
                expires: None,
                ends: None,
            },
        };
        node.handle(said("web2", 1));
        node.handle(said("web3", 2));
        node.reconfigure(settings(101, &["web3", "web2"], &[]), &[]);
        let states = node.core.services()[0].backends().iter().map(Backend::admin);
        assert_eq!(states.collect::<Vec<_>>(), [AdminState::Drain; 2], "of the new one it was said before");
    }
}
