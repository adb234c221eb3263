//! A daemon that goes on by another file, on one node or on all of them, while everything else happens.

use std::time::Duration;

use crate::faults::{Fault, Faults};
use crate::machine::{Node, settings};
use crate::random::Random;
use crate::world::World;

impl Faults {
    /// One node reads another file, and mostly, later, the same one as the others again; or reads what it has anew.
    pub(crate) fn add_reloads(&mut self, random: &mut Random, nodes: &[Node]) {
        for config in 2..2 + random.below(3) as u64 {
            let machine = random.below(nodes.len());
            let (at, before) = (random.up_to(self.heal_at), &nodes[machine]);
            let base = 90 + random.below(20) as u8;
            let other = Node {
                base: random.pick(&[before.base, base]),
                preempt: random.coin(),
                service: before.service.and_then(|_| random.pick(&[None, Some(0), Some(-30), Some(20)])),
                checks: before
                    .checks
                    .iter()
                    .map(|(_, reverse)| (random.pick(&[0, -15, 7]), *reverse))
                    .collect(),
            };
            let mut read = |at: Duration, node: Node, config: u64| {
                self.events.push((at, Fault::Configure { machine, node, config }));
                self.events.push((at, Fault::Reload(machine)));
            };
            match random.below(4) {
                0 => self.events.push((at, Fault::Reload(machine))),
                1 => read(at, other, config),
                _ => {
                    read(at, other, config);
                    read(at + random.up_to(self.heal_at), before.clone(), 0);
                }
            }
        }
        self.events.retain(|(at, _)| *at < self.heal_at);
        self.events.sort_by_key(|(at, _)| *at);
    }
}

impl World {
    /// A daemon that runs reads its file again.
    pub(crate) fn reload(&mut self, index: usize) {
        if !self.machines[index].daemon_runs() {
            return;
        }
        let (local, machines) = (self.local(index), self.machines.len());
        let machine = &mut self.machines[index];
        (machine.node, machine.config) = machine.file.clone();
        let settings = settings(index, machines, &machine.node, &self.common);
        let Some(daemon) = &mut machine.daemon else { return };
        self.trace.note(self.now, || format!("n{} reads its file again", index + 1));
        daemon.core.reconfigure(settings, &[], local);
        self.carry_out_all(index);
        self.stir(index);
        self.learn_again(index);
        self.turn_daemon(index);
    }
}
