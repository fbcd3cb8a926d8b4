//! Whether a world is as it should be: founded, recovered, level. And the last looks at it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::atomic::AtomicBool,
};

use hexpop_edge_config::{NodeId, RaftId, ShardId};
use hexpop_raft::ReplicaState;
use hexpop_router::Context;
use hexpop_shard::{Replica, ShardDescriptor};
use openraft_rt::AsyncRuntime;

use super::{node::Process, runtime::SimRuntime, trace::Trace, world::World};
use crate::history::{self, Head, History, Verdict};

impl World {
    pub(super) fn processes(&self) -> impl Iterator<Item = (&NodeId, &Process)> {
        self.slots.iter().filter_map(|(node, slot)| Some((node, slot.process.as_ref()?)))
    }

    /// Every node runs, has the newest map, and every replica of it runs under a leader.
    pub(super) fn is_whole(&self) -> bool {
        let newest = self.processes().map(|(_, process)| process.host.shard_map().version()).max();
        self.processes().count() == self.slots.len()
            && self.processes().all(|(_, process)| {
                let map = process.host.shard_map();
                !map.is_empty()
                    && Some(map.version()) == newest
                    && map.shards().all(|shard| {
                        !shard.replicas.iter().any(|replica| replica.raft == process.raft)
                            || process.host.replica(shard.id).is_some_and(|status| {
                                status.leader.is_some()
                                    && !matches!(
                                        status.state,
                                        ReplicaState::Candidate | ReplicaState::Halted
                                    )
                            })
                    })
            })
    }

    /// Whole; every member sees every other one as it is; no shard keeps a replica of a lost disk.
    pub(super) fn is_recovered(&self) -> bool {
        self.is_whole() && self.agrees_on_members() && self.has_living_replicas()
    }

    fn agrees_on_members(&self) -> bool {
        let truth: BTreeMap<NodeId, RaftId> =
            self.processes().map(|(node, process)| (*node, process.raft)).collect();
        self.processes().all(|(_, process)| {
            let view = process.members.view();
            let seen: BTreeMap<NodeId, RaftId> =
                view.up().map(|member| (member.identity.node, member.identity.raft)).collect();
            seen == truth
        })
    }

    fn has_living_replicas(&self) -> bool {
        let living: BTreeSet<RaftId> = self.processes().map(|(_, process)| process.raft).collect();
        let led = self.processes().flat_map(|(_, process)| process.host.replicas());
        let mut without_range = led.filter(|replica| {
            !replica.shard.is_of_shard() && replica.state == ReplicaState::Leader
        });
        let lives = |replica: &Replica| living.contains(&replica.raft);
        without_range.all(|group| group.replicas.iter().all(lives))
            && self.processes().all(|(_, process)| {
                let map = process.host.shard_map();
                map.shards().all(|shard| {
                    shard.voters().count() == 3
                        && shard.replicas.iter().all(|replica| living.contains(&replica.raft))
                })
            })
    }

    /// All replicas of each group have applied the same.
    pub(super) fn is_level(&self) -> bool {
        let mut positions: BTreeMap<ShardId, BTreeSet<_>> = BTreeMap::new();
        for (_, process) in self.processes() {
            for replica in process.host.replicas() {
                if replica.replicas.iter().any(|known| known.raft == process.raft) {
                    let position = (replica.applied.term, replica.applied.index);
                    positions.entry(replica.shard).or_default().insert(position);
                }
            }
        }
        self.is_recovered()
            && positions.values().all(|positions| positions.len() == 1)
            && self.checks.state.lock().merges.open().is_empty()
    }

    /// Says of the listings shards that they are complete, so that searches are answered here.
    pub(super) fn begin_searches(&self) {
        for (_, process) in self.processes() {
            let router = std::sync::Arc::clone(&process.router);
            self.executor.within(process.home, || {
                drop(SimRuntime::spawn(async move {
                    // Repeating it is harmless, and every node tries: one of them gets through.
                    router.mark_complete(&Context::default()).await.ok();
                }));
            });
        }
    }

    /// What the history says in the end.
    pub(super) fn last_look(&self) {
        let places = self.checks.state.lock().places.agree();
        self.checks.take("where a listing is found, the directory points", places);
        let operations = self.clients.operations.lock().clone();
        self.trace.count("operations-recorded", operations.len() as u64);
        let head = Head { clock_bound_ms: 3_000, ..Head::default() };
        let history = History { head, operations };
        let options = history::Options { states_max: 400_000, explained_max: 2, threads: 1 };
        let report = history::check(&history, &options, &AtomicBool::new(false));
        self.trace.count("history-keys-held", report.held as u64);
        self.trace.count("history-keys-undecided", report.undecided.len() as u64);
        if report.verdict() == Verdict::Violated {
            let mut text = format!("{} keys are violated\n", report.violated);
            for violation in &report.violations {
                // Writing into a string cannot fail.
                writeln!(text, "{violation}").ok();
            }
            self.checks.report("the history of clients", text);
        }
    }

    /// What is still running, and its disks, goes into the coverage.
    pub(super) fn collect(&self) {
        for slot in self.slots.values() {
            slot.machine.collect(&self.trace);
            if let Some(process) = &slot.process {
                collect_metrics(process, &self.trace);
            }
        }
    }

    /// Where everything stands, for people.
    pub(super) fn describe(&self) -> String {
        let mut text = String::new();
        let living: BTreeSet<RaftId> = self.processes().map(|(_, process)| process.raft).collect();
        for (node, slot) in &self.slots {
            let Some(process) = &slot.process else {
                writeln!(text, "\n  node {node}: down").ok();
                continue;
            };
            let map = process.host.shard_map();
            let view = process.members.view();
            let seen: Vec<String> = view
                .members
                .values()
                .map(|member| {
                    let identity = member.identity;
                    let node = identity.node;
                    format!("{node}.{} {:?}", identity.incarnation, member.liveness)
                })
                .collect();
            writeln!(
                text,
                "\n  node {node} as {}: map {}, sees {seen:?}",
                process.raft,
                map.version()
            )
            .ok();
            let here: BTreeSet<ShardId> =
                process.host.replicas().iter().map(|replica| replica.shard).collect();
            let is_here = |shard: &&ShardDescriptor| {
                shard.replicas.iter().any(|replica| replica.raft == process.raft)
            };
            let listed: BTreeSet<ShardId> =
                map.shards().filter(is_here).map(|shard| shard.id).collect();
            let lacking: Vec<_> = listed.difference(&here).collect();
            let unlisted: Vec<_> = here.difference(&listed).filter(|id| id.is_of_shard()).collect();
            writeln!(text, "    the map has {lacking:?} here, and not {unlisted:?}").ok();
            for replica in process.host.replicas() {
                let members: Vec<String> = replica
                    .replicas
                    .iter()
                    .map(|known| {
                        let lost = if living.contains(&known.raft) { "" } else { " lost" };
                        format!("{}{:?}{lost}", known.node, known.role)
                    })
                    .collect();
                writeln!(
                    text,
                    "    group {} {:?} term {} last {} applied {} leader {:?} of {members:?} {}",
                    replica.shard,
                    replica.state,
                    replica.term,
                    replica.last_index,
                    replica.applied.index,
                    replica.leader,
                    replica.fault.as_deref().unwrap_or("")
                )
                .ok();
            }
        }
        text
    }
}

/// What a process counted itself goes into the coverage.
pub(super) fn collect_metrics(process: &Process, trace: &Trace) {
    trace.count("log-truncations", process.log.stats().truncations);
    trace.count("log-records-moved", process.log.stats().records_moved);
    let counted = [
        ("hexpop_raft_snapshots_total", "written", "snapshots-written"),
        ("hexpop_raft_snapshots_total", "failed", "snapshots-failed"),
    ];
    for family in process.registry.gather() {
        if family.name() == "hexpop_raft_splits_total" {
            let sum: f64 =
                family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counters are small whole numbers"
            )]
            trace.count("splits-applied", sum as u64);
        }
    }
    for family in process.registry.gather() {
        for (_, label, counter) in counted.iter().filter(|(name, ..)| family.name() == *name) {
            let metrics = family
                .get_metric()
                .iter()
                .filter(|metric| metric.get_label().iter().any(|pair| pair.value() == *label));
            let sum: f64 = metrics.map(|metric| metric.get_counter().get_value()).sum();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "counters are small whole numbers"
            )]
            trace.count(counter, sum as u64);
        }
    }
}
