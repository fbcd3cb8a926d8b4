//! The erasures of a world: their receipts are followed at the end until all are complete, and then the
//! disks are searched.

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_edge_config::NodeId;
use hexpop_router::{Context, DiskState, Erasure, OriginState, Router};
use openraft_rt::AsyncRuntime;

use super::{clients::Begun, runtime::SimRuntime, world::World};
use crate::history::{Action, Outcome};

/// How long before receipts are asked for again.
const PAUSE: Duration = Duration::from_millis(500);

/// Whether nothing is left to do. A replica on a disk that was lost never says that it has nothing.
fn is_over(erasure: &Erasure, lost: &BTreeSet<NodeId>) -> bool {
    let shards = erasure.territories.iter().flat_map(|territory| &territory.shards);
    let mut replicas = shards.flat_map(|shard| &shard.replicas);
    erasure.is_complete()
        && erasure.origin == OriginState::Told
        && replicas.all(|replica| match replica.disk {
            DiskState::Compacted => true,
            DiskState::Unconfirmed => lost.contains(&replica.node),
            DiskState::Pending => false,
        })
}

/// Follows the receipts of erasures until all are over.
async fn follow(
    router: Arc<Router<SimRuntime>>,
    mut open: Vec<Begun>,
    lost: BTreeSet<NodeId>,
    left: Arc<std::sync::atomic::AtomicUsize>,
) {
    while !open.is_empty() {
        let mut still = Vec::new();
        for begun in open {
            let receipt = router.erasure(&begun.user, &begun.id, &Context::default()).await;
            if !receipt.is_ok_and(|receipt| is_over(&receipt, &lost)) {
                still.push(begun);
            }
        }
        left.store(still.len(), Ordering::Relaxed);
        open = still;
        SimRuntime::sleep(PAUSE).await;
    }
}

impl World {
    /// Begins to follow the receipts of all erasures.
    pub(super) fn follow_receipts(&self) {
        let begun = self.clients.erasures.lock().clone();
        self.trace.count("erasures-begun", begun.len() as u64);
        self.open_erasures.store(begun.len(), Ordering::Relaxed);
        let lost: BTreeSet<NodeId> =
            self.slots.iter().filter(|(_, slot)| slot.was_wiped).map(|(node, _)| *node).collect();
        if let Some((_, process)) = self.processes().next() {
            let (router, left) = (Arc::clone(&process.router), Arc::clone(&self.open_erasures));
            self.executor.within(process.home, || {
                drop(SimRuntime::spawn(follow(router, begun, lost, left)));
            });
        }
    }

    /// Whether every erasure is over, and no disk is to be rid of anything.
    pub(super) fn is_erased(&self) -> bool {
        self.open_erasures.load(Ordering::Relaxed) == 0
            && self.processes().all(|(_, process)| {
                let erased = &self.checks.state.lock().erased;
                let replicas = process.host.replicas();
                !replicas.iter().any(|replica| erased.is_due(process.raft, replica.shard))
            })
    }

    /// Searches the disks for what was written, and erased afterwards.
    pub(super) fn search_disks(&self) {
        let begun = self.clients.erasures.lock().clone();
        let operations = self.clients.operations.lock();
        let written = operations.iter().filter_map(|operation| {
            let (Action::Create { write, .. } | Action::Put { write, .. }) = &operation.action
            else {
                return None;
            };
            let (user, end) = (write.user.as_ref()?, operation.end_us?);
            let is_erased =
                begun.iter().any(|erasure| erasure.user == *user && erasure.start_us > end);
            (operation.outcome == Outcome::Ok && is_erased).then_some(write.value.as_str())
        });
        let gone = self.checks.state.lock().erased.gone(written);
        self.trace.count("erasures-completed", begun.len() as u64);
        self.trace.count("keys-destroyed", gone.keys());
        for (node, slot) in &self.slots {
            let disks = [("log", &slot.machine.log), ("snapshots", &slot.machine.snapshots)];
            for (what, disk) in disks {
                let searched = gone.search(&format!("the disk of the {what} of node {node}"), disk);
                self.checks.take("what was erased leaves the disks", searched);
            }
        }
    }
}
