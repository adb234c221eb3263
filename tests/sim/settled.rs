//! What must be true once everything has healed, by what is so rather than by what any core believes.

use std::time::Duration;

use chinthe::core::priority::standing;
use chinthe::core::{AdminState, Administration, Placement, VipState};

use crate::machine::{SERVICE, backend_name, member, node_name, vip_name, weight_of};
use crate::world::World;

/// Says why `world`, after everything has healed, isn't as it should be; else who holds each VIP.
pub(crate) fn converged(world: &World) -> Result<Vec<Option<usize>>, String> {
    words(world)?;
    views(world)?;
    let holders: Result<Vec<Option<usize>>, String> =
        (0..world.common.vips).map(|vip| holder(world, vip)).collect();
    let holders = holders?;
    evenly_spread(world, &holders)?;
    Ok(holders)
}

/// A candidate for a VIP, and what it stands with.
type Candidate = (usize, u8);

fn holder(world: &World, vip: usize) -> Result<Option<usize>, String> {
    let machines = world.machines.iter().enumerate();
    let holders: Vec<usize> = machines.filter(|(_, m)| m.answers(vip)).map(|(index, _)| index).collect();
    let candidates = candidates(world, vip);
    let running = world.machines.iter().filter(|machine| machine.daemon_runs() && machine.link).count();
    let lacks_majority = world.common.majority && running <= world.machines.len() / 2;
    let holder = match *holders {
        [] if candidates.is_empty() || lacks_majority => None,
        [holder] if lacks_majority => return Err(format!("n{} holds it without a majority", holder + 1)),
        [] => return Err(format!("nobody holds it, of {candidates:?}")),
        [holder] => Some(holder),
        _ => return Err(format!("{holders:?} hold it")),
    };
    if let Some(holder) = holder {
        is_right(world, vip, holder, &candidates)?;
    }
    for (index, machine) in world.machines.iter().enumerate() {
        let Some(daemon) = &machine.daemon else { continue };
        let (seen, active) = (
            daemon.core.holder(vip, world.local(index)),
            daemon.core.elections()[vip].state() == VipState::Active,
        );
        if seen != holder.map(member) || active != (holder == Some(index)) {
            return Err(format!("n{} sees {seen:?} as the holder, not {holder:?}", index + 1));
        }
    }
    Ok(holder)
}

/// Whether it is the one that should hold it: whom operators have pinned it to, else the best, or the incumbent.
fn is_right(world: &World, vip: usize, holder: usize, candidates: &[Candidate]) -> Result<(), String> {
    let Some((_, mine)) = candidates.iter().find(|(index, _)| *index == holder) else {
        return Err(format!("n{} holds it and must not", holder + 1));
    };
    if let Some(pinned) =
        candidates.iter().map(|(index, _)| *index).find(|index| is_pinned(world, vip, *index))
    {
        let not_there = format!("n{} holds it, and operators want it on n{}", holder + 1, pinned + 1);
        return if pinned == holder { Ok(()) } else { Err(not_there) };
    }
    let preempts = |index: usize, priority| priority == 255 || world.machines[index].node.preempt;
    let better = candidates.iter().filter(|(index, theirs)| theirs > mine && preempts(*index, *theirs));
    match better.max_by_key(|(_, theirs)| *theirs) {
        // "Hand-backs are damped when they repeat."
        Some((better, _)) if !waits(world, vip, holder, *better) => {
            Err(format!("n{} holds it, not n{}", holder + 1, better + 1))
        }
        Some(_) | None => Ok(()),
    }
}

/// Equal nodes hold as many VIPs each, to within one.
pub(crate) fn evenly_spread(world: &World, holders: &[Option<usize>]) -> Result<(), String> {
    if world.common.placement != Placement::Spread {
        return Ok(());
    }
    // All VIPs are configured alike.
    let candidates = candidates(world, 0);
    let best = candidates.iter().map(|(_, priority)| *priority).max();
    let equals =
        || candidates.iter().filter(|(_, priority)| Some(*priority) == best).map(|(index, _)| *index);
    let share = |index: usize| holders.iter().filter(|holder| **holder == Some(index)).count();
    let could_go = |index: usize| {
        (0..holders.len()).any(|vip| holders[vip] == Some(index) && !is_pinned(world, vip, index))
    };
    for (most, least) in equals().flat_map(|most| equals().map(move |least| (most, least))) {
        let waits = (0..holders.len()).any(|vip| waits(world, vip, most, least));
        let takes = world.machines[least].node.preempt && could_go(most);
        if share(most) > share(least) + 1 && takes && !waits {
            return Err(format!("n{} holds more than its share, of {holders:?}", most + 1));
        }
    }
    Ok(())
}

/// Everybody knows the same of what operators have said.
fn words(world: &World) -> Result<(), String> {
    let mut known = running(world).map(|(index, _)| {
        let words = administration(world, index).into_iter().flat_map(Administration::words);
        let words = words.map(|(target, word)| (target.clone(), word.setting, word.stamp, word.expires));
        (index, words.collect::<Vec<_>>())
    });
    let Some((first, words)) = known.next() else { return Ok(()) };
    match known.find(|(_, theirs)| *theirs != words) {
        Some((other, _)) => Err(format!("n{} and n{} know different words", first + 1, other + 1)),
        None => Ok(()),
    }
}

/// Everybody with the same file knows what the others see of each backend; what the cluster agrees on follows from it.
fn views(world: &World) -> Result<(), String> {
    if world.common.gossip.is_none() {
        return Ok(());
    }
    for (at, one) in running(world) {
        for (of, other) in running(world).filter(|(of, other)| *of != at && other.config == one.config) {
            let (Some(here), Some(there)) = (&one.daemon, &other.daemon) else { continue };
            for (known, own) in here.core.services().iter().zip(there.core.services()) {
                for (backend, (known, own)) in known.backends().iter().zip(own.backends()).enumerate() {
                    if known.views().of(member(of)) != own.verdict() {
                        let (at, of) = (at + 1, of + 1);
                        return Err(format!("n{at} doesn't know what n{of} sees of backend {backend}"));
                    }
                }
            }
        }
    }
    Ok(())
}

fn running(world: &World) -> impl Iterator<Item = (usize, &crate::machine::Machine)> {
    world.machines.iter().enumerate().filter(|(_, machine)| machine.daemon_runs() && machine.link)
}

fn administration(world: &World, index: usize) -> Option<&Administration> {
    world.machines[index].daemon.as_ref().map(|daemon| daemon.core.administration())
}

/// Whether operators want a VIP on a machine, as that machine knows.
fn is_pinned(world: &World, vip: usize, index: usize) -> bool {
    let pin = administration(world, index).and_then(|said| said.pin(&vip_name(vip), world.local(index)));
    pin == Some(member(index))
}

/// From the end of a wait to the end of the hand-back.
const HAND_BACK: Duration = Duration::from_secs(1);

/// Whether a holder has handed a VIP back to another node so often that the next time has to wait, or had to until just
/// now.
pub(crate) fn waits(world: &World, vip: usize, holder: usize, to: usize) -> bool {
    let daemon = world.machines[holder].daemon.as_ref().filter(|_| world.common.damped);
    let damping = daemon.map(|daemon| daemon.core.elections()[vip].damping());
    damping.is_some_and(|damping| damping.waits_until(member(to), world.local(holder) - HAND_BACK).is_some())
}

/// Who could hold a VIP, and what each stands with: less than whoever reaches more backends.
fn candidates(world: &World, vip: usize) -> Vec<Candidate> {
    let alone: Vec<Candidate> =
        (0..world.machines.len()).filter_map(|index| Some((index, stands(world, vip, index)?))).collect();
    let tracks =
        |index: &usize| world.common.gossip.is_some() && world.machines[*index].node.service.is_some();
    let yielding = |(index, priority): &Candidate| {
        let config = world.machines[*index].config;
        let theirs =
            |n: &usize| reached(world, *n) > reached(world, *index) && world.machines[*n].config == config;
        let more = alone.iter().filter(|(other, _)| theirs(other));
        // Whoever reaches the most yields to nobody: it is what the others stand below.
        let most = more.clone().map(|(other, _)| reached(world, *other)).max();
        let best =
            more.filter(|(other, _)| Some(reached(world, *other)) == most).map(|(_, theirs)| *theirs).max();
        let below = best.filter(|_| tracks(index)).map_or(u8::MAX, |theirs| theirs.saturating_sub(1).max(1));
        (*index, (*priority).min(below))
    };
    alone.iter().map(yielding).collect()
}

/// How many of the backends that operators want used a machine reaches.
fn reached(world: &World, index: usize) -> usize {
    let machine = &world.machines[index];
    let wanted = |backend: usize| {
        let said = administration(world, index);
        let said = said.map(|said| said.backend(SERVICE, &backend_name(backend), world.local(index)).0);
        said.unwrap_or_default() == AdminState::Ready
    };
    let reaches = |backend: usize| machine.reaches[backend] && world.backends[backend];
    (0..world.backends.len()).filter(|backend| wanted(*backend) && reaches(*backend)).count()
}

/// With what priority a machine stands by itself.
fn stands(world: &World, vip: usize, index: usize) -> Option<u8> {
    let machine = &world.machines[index];
    if !machine.daemon_runs() || !machine.link || world.common.witness == Some(index) {
        return None;
    }
    let local = world.local(index);
    let daemon = machine.daemon.as_ref()?;
    // Somebody has removed the address there again and again: for a while it stands back.
    if daemon.core.elections()[vip].is_barred(local) {
        return None;
    }
    if daemon.core.administration().node(&node_name(index), local) != AdminState::Ready {
        return None;
    }
    let service = reached(world, index) > 0;
    let service = machine.node.service.map(|w| weight_of(w, false).contribution(Some(service)));
    let checks = machine.node.checks.iter().zip(&machine.checks);
    let checks =
        checks.map(|((weight, reverse), well)| weight_of(*weight, *reverse).contribution(Some(*well)));
    let standing = standing(machine.node.base, service.into_iter().chain(checks));
    standing.eligible.then_some(standing.effective)
}
