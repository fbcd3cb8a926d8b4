//! How faults strike a world, and how they end.

use std::sync::atomic::Ordering;

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_raft::ReplicaState;
use hexpop_shard::{ReplicaRole, Space};

use super::{
    executor::Nanos,
    net::Quality,
    plan::{self, Cut, Fault, FaultKind, Led},
    world::{MS, World},
};

impl World {
    /// Something goes wrong.
    pub(super) fn strike(&mut self, fault: &Fault) {
        let now = self.now();
        match &fault.kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Mute(_)
            | FaultKind::Apart(..) => self.cut_links(&fault.kind, true),
            FaultKind::BadLinks(badness) => self.around.net.set_quality(plan::bad(*badness)),
            FaultKind::LateMessages(per_mille) => self.around.net.set_late(*per_mille),
            FaultKind::CutLeader(led, cut) => {
                match self.apart(*led, *cut) {
                    Some(kind) => self.strike(&Fault { kind, ..fault.clone() }),
                    // Nobody leads: it waits for the next one who does.
                    None => self.deferred.push(fault.clone()),
                }
                return;
            }
            FaultKind::Kill(node) => self.stop(*node, false, fault.for_ms * MS),
            FaultKind::PowerCut(node, change) => self.cut_power(*node, *change),
            FaultKind::Blackout => {
                for node in self.slots.keys().copied().collect::<Vec<_>>() {
                    let after = fault.for_ms.min(3_000) * MS + self.random.below(500) * MS;
                    self.stop(node, true, after);
                }
            }
            FaultKind::Wipe(node) => {
                // What two lost disks held, nobody has any more: the last one must be replaced first.
                if !self.is_recovered() {
                    self.deferred.push(fault.clone());
                    return;
                }
                self.stop(*node, false, fault.for_ms * MS);
                if let Some(slot) = self.slots.get_mut(node) {
                    slot.wipe = true;
                }
            }
            FaultKind::Pause(node) => {
                if let Some(home) = self.slots.get(node).and_then(|slot| slot.home) {
                    self.executor.pause(home, true);
                }
            }
            FaultKind::SlowDisk(node, _)
            | FaultKind::FullDisk(node, _)
            | FaultKind::LogError(node, _)
            | FaultKind::SnapshotError(node, _)
            | FaultKind::Skew(node, _) => self.hurt_machine(*node, &fault.kind),
            FaultKind::OriginDown => self.around.origin.is_down.store(true, Ordering::Relaxed),
            FaultKind::OriginSlow(ms) => self.around.origin.slow_ms.store(*ms, Ordering::Relaxed),
            FaultKind::Divide(space) => self.divide(*space),
            FaultKind::Move(node) => self.move_to(*node),
            FaultKind::Merge(space) => self.merge(*space),
            FaultKind::CancelMerges => self.cancel_merges(),
        }
        self.trace.note(now, fault.kind.name(), &[fault.for_ms], || fault.to_string());
        self.ending.push((now + fault.for_ms * MS, fault.kind.clone()));
    }

    /// What a cut of a leader comes to now, if there is one to be cut off.
    fn apart(&self, led: Led, cut: Cut) -> Option<FaultKind> {
        let replicas = self.processes().flat_map(|(node, process)| {
            process.host.replicas().into_iter().map(move |replica| (*node, process, replica))
        });
        let leader = replicas
            .filter(|(_, process, replica)| {
                let map = process.host.shard_map();
                let space = map.get(replica.shard).map(|shard| shard.range.space_of());
                replica.state == ReplicaState::Leader
                    && match led {
                        Led::Meta => replica.shard == ShardId::META,
                        Led::Sessions => space == Some(Space::Sessions),
                    }
            })
            .max_by_key(|(node, _, replica)| (replica.keys, replica.term, *node));
        let (leader, _, replica) = leader?;
        let holds = |node: &NodeId| replica.replicas.iter().any(|known| known.node == *node);
        let others = self.slots.keys().filter(|node| **node != leader);
        let spared = others.clone().find(|node| !holds(node));
        let one = || {
            let mut voters: Vec<NodeId> = replica
                .replicas
                .iter()
                .filter(|known| known.role == ReplicaRole::Voter && known.node != leader)
                .map(|known| known.node)
                .collect();
            voters.sort_unstable();
            // Another one each time, as a rule.
            let nth = usize::try_from(replica.term).unwrap_or(0).checked_rem(voters.len())?;
            voters.get(nth).copied()
        };
        let one = (cut == Cut::FromOne).then(one).flatten();
        let from = others.filter(|node| match cut {
            Cut::FromMost => Some(*node) != spared,
            Cut::FromReplicas => holds(node),
            Cut::FromOne => Some(**node) == one,
        });
        Some(FaultKind::Apart(leader, from.copied().collect()))
    }

    /// Cuts links, or lets go of them.
    fn cut_links(&self, kind: &FaultKind, cut: bool) {
        let net = &self.around.net;
        let nodes: Vec<NodeId> = self.slots.keys().copied().collect();
        match kind {
            FaultKind::Partition(side) => {
                for one in &nodes {
                    let across =
                        nodes.iter().filter(|other| side.contains(one) != side.contains(other));
                    across.for_each(|other| net.cut(*one, *other, cut));
                }
            }
            FaultKind::OneWay(from, to) => net.cut(*from, *to, cut),
            FaultKind::Mute(node) => nodes.iter().for_each(|other| net.cut(*node, *other, cut)),
            FaultKind::Apart(node, others) => {
                for other in others {
                    net.cut(*node, *other, cut);
                    net.cut(*other, *node, cut);
                }
                *self.clients.cut_off.lock() = cut.then_some(*node);
                *self.clients.cut_from.lock() = if cut { others.clone() } else { Vec::new() };
            }
            _ => {}
        }
    }

    /// The power goes at a certain change of the log's disk.
    fn cut_power(&self, node: NodeId, change: u64) {
        let Some(slot) = self.slots.get(&node) else { return };
        let Some(home) = slot.home else { return };
        slot.machine.log.die_in(change, move || {
            if let Some(executor) = super::executor::current() {
                executor.doom(home);
            }
        });
    }

    fn hurt_machine(&self, node: NodeId, kind: &FaultKind) {
        let Some(slot) = self.slots.get(&node) else { return };
        let machine = &slot.machine;
        match kind {
            FaultKind::SlowDisk(_, ms) => machine.flush_ms.store(*ms, Ordering::Relaxed),
            FaultKind::FullDisk(_, room) => {
                for disk in [&machine.log, &machine.snapshots] {
                    disk.set_capacity(disk.used().max(1) + room);
                }
            }
            FaultKind::LogError(_, change) => machine.log.fail_in(*change),
            FaultKind::SnapshotError(_, change) => machine.snapshots.fail_in(*change),
            FaultKind::Skew(_, ms) => machine.skew_ms.store(*ms, Ordering::Relaxed),
            _ => {}
        }
    }

    /// Faults whose time is over end.
    pub(super) fn end_faults(&mut self) {
        let now = self.now();
        let (over, left) =
            std::mem::take(&mut self.ending).into_iter().partition(|(at, _)| *at <= now);
        self.ending = left;
        let over: Vec<(Nanos, FaultKind)> = over;
        for (_, kind) in over {
            self.end(&kind);
        }
    }

    fn end(&self, kind: &FaultKind) {
        let net = &self.around.net;
        match kind {
            FaultKind::Partition(_)
            | FaultKind::OneWay(..)
            | FaultKind::Mute(_)
            | FaultKind::Apart(..) => self.cut_links(kind, false),
            FaultKind::LateMessages(_) => net.set_late(0),
            FaultKind::BadLinks(_) => net.set_quality(Quality::CALM),
            FaultKind::Pause(node) => {
                if let Some(home) = self.slots.get(node).and_then(|slot| slot.home)
                    && self.executor.is_paused(home)
                {
                    self.executor.pause(home, false);
                    net.resumed(*node);
                }
            }
            FaultKind::SlowDisk(node, _) => {
                if let Some(slot) = self.slots.get(node) {
                    slot.machine.flush_ms.store(0, Ordering::Relaxed);
                }
            }
            FaultKind::FullDisk(node, _) => {
                if let Some(slot) = self.slots.get(node) {
                    slot.machine.log.set_capacity(0);
                    slot.machine.snapshots.set_capacity(0);
                }
            }
            FaultKind::LogError(node, _) => {
                if let Some(slot) = self.slots.get(node) {
                    slot.machine.log.fail_in(0);
                }
            }
            FaultKind::SnapshotError(node, _) => {
                if let Some(slot) = self.slots.get(node) {
                    slot.machine.snapshots.fail_in(0);
                }
            }
            FaultKind::Skew(node, _) => {
                // A step back.
                if let Some(slot) = self.slots.get(node) {
                    slot.machine.skew_ms.store(0, Ordering::Relaxed);
                }
            }
            FaultKind::OriginDown => self.around.origin.is_down.store(false, Ordering::Relaxed),
            FaultKind::OriginSlow(_) => self.around.origin.slow_ms.store(0, Ordering::Relaxed),
            FaultKind::Kill(_)
            | FaultKind::CutLeader(..)
            | FaultKind::PowerCut(..)
            | FaultKind::Blackout
            | FaultKind::Wipe(_)
            | FaultKind::Divide(_)
            | FaultKind::Move(_)
            | FaultKind::Merge(_)
            | FaultKind::CancelMerges => {}
        }
    }

    /// Everything that goes wrong ends.
    pub(super) fn heal(&mut self) {
        for (_, kind) in std::mem::take(&mut self.ending) {
            self.end(&kind);
        }
        self.around.net.set_quality(Quality::CALM);
        let now = self.now();
        for slot in self.slots.values_mut() {
            slot.machine.log.die_in(0, || {});
            if let Some(at) = &mut slot.start_at {
                *at = now;
            }
        }
        self.trace.note(now, "healed", &[], String::new);
    }
}
