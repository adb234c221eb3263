//! What operators say in one run, where and when: drawn from its seed as the faults are.

use std::time::Duration;

use chinthe::core::{AdminState, Input, Setting, Target, Word};

use crate::faults::Fault;
use crate::machine::{Common, SERVICE, backend_name, member, node_name, vip_name};
use crate::random::Random;
use crate::world::World;

/// No word that runs out within a run lasts longer.
const LONGEST: Duration = Duration::from_secs(4);
/// Others outlast it.
const FOR_LONG: Duration = Duration::from_secs(3600);
/// Wall clocks differ by no more than this.
pub(crate) const SKEW: Duration = Duration::from_secs(1);

/// One command, typed on one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) machine: usize,
    pub(crate) target: Target,
    pub(crate) setting: Setting,
    pub(crate) lasting: Option<Duration>,
}

/// Draws what operators say until `end`.
pub(crate) fn draw(
    random: &mut Random,
    nodes: usize,
    common: &Common,
    end: Duration,
) -> Vec<(Duration, Fault)> {
    let mut said = Vec::new();
    // Few registers, so that words meet.
    let targets: Vec<(Target, Setting)> =
        (0..=random.below(3)).map(|_| subject(random, nodes, common)).collect();
    for _ in 0..random.below(8) {
        let at = random.up_to(end);
        let (target, setting) = targets[random.below(targets.len())].clone();
        let setting = said_of(setting, random, nodes);
        let lasting = match random.below(4) {
            0 => Some(random.between(Duration::from_millis(50), LONGEST)),
            1 => Some(FOR_LONG),
            _ => None,
        };
        let command = |machine| Fault::Command(Command { machine, target: target.clone(), setting, lasting });
        let machine = random.below(nodes);
        said.push((at, command(machine)));
        if random.below(4) == 0 {
            // At the same time, on another node, and mostly something else.
            let setting = said_of(setting, random, nodes);
            let machine = random.below(nodes);
            said.push((at, Fault::Command(Command { machine, target, setting, lasting: None })));
        }
    }
    said
}

/// How long after the heal the last of the words has run out everywhere, of those that don't outlast the run.
pub(crate) fn outlast(events: &[(Duration, Fault)], heal_at: Duration) -> Duration {
    let ends = events.iter().filter_map(|(at, fault)| match fault {
        Fault::Command(Command { lasting: Some(lasting), .. }) if *lasting <= LONGEST => Some(*at + *lasting),
        _ => None,
    });
    let last = ends.max().map(|last| last + SKEW).unwrap_or_default();
    last.saturating_sub(heal_at)
}

/// A register, and some setting of its kind.
fn subject(random: &mut Random, nodes: usize, common: &Common) -> (Target, Setting) {
    let state = Setting::State(AdminState::Drain);
    let node = Target::Node { node: node_name(random.below(nodes)) };
    let backend = backend_name(random.below(common.backends));
    match random.below(if common.backends > 0 { 6 } else { 3 }) {
        0 | 1 => (node, state),
        2 => {
            let vip = vip_name(random.below(common.vips));
            (Target::Vip { vip }, Setting::Holder(None))
        }
        3 => (Target::Everywhere { backend }, state),
        4 => (Target::Backend { service: SERVICE.into(), backend }, Setting::Weight(None)),
        _ => (Target::Backend { service: SERVICE.into(), backend }, state),
    }
}

/// Another word of the same kind.
fn said_of(setting: Setting, random: &mut Random, nodes: usize) -> Setting {
    match setting {
        Setting::State(_) => {
            Setting::State(random.pick(&[AdminState::Drain, AdminState::Maint, AdminState::Ready]))
        }
        Setting::Weight(_) => Setting::Weight(random.pick(&[None, Some(0), Some(256)])),
        Setting::Holder(_) => {
            let to = member(random.below(nodes));
            Setting::Holder(random.pick(&[None, Some(to), Some(to)]))
        }
    }
}

impl World {
    /// An operator types a command: whoever runs takes it in, and passes it on.
    pub(crate) fn command(&mut self, command: &Command) {
        let Command { machine, target, setting, lasting } = command;
        if !self.machines[*machine].daemon_runs() {
            return;
        }
        let (wall, local) = (self.wall_clock(*machine), self.local(*machine));
        let Some(daemon) = &self.machines[*machine].daemon else { return };
        let word = Word {
            setting: *setting,
            stamp: daemon.core.administration().stamp(wall, member(*machine)),
            expires: lasting.map(|lasting| wall + lasting.as_millis() as u64),
            ends: lasting.map(|lasting| local + lasting),
        };
        let life = daemon.life;
        self.mail(*machine, life, Input::Said { target: target.clone(), word });
    }
}
