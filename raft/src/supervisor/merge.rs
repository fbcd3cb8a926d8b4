//! Merges: the leader of the left shard looks at both, and has done what is next
//! ([`MergeSight::next`]); the leader of the right one takes the steps of its own log.
//!
//! Nothing is kept in between: whoever leads the left shard when the meta group's leader asks again goes
//! on from what the two logs say. One errand takes as many steps as it can, so that the right shard takes
//! no writes for as short as may be.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hexpop_edge_config::{ByteSize, NodeId, RaftId, ShardId};
use hexpop_shard::{
    ABSORBED_BYTES_MAX, Errand, MERGE_OPEN_MAX_MS, Merge, MergeGoal, MergeNext, MergeOp,
    MergeSight, MetaOp, MetaOutcome, Op, OperationId, OperationUpdate, Refusal, Reply, RightSight,
    SealMark, ShardState, Together,
};
use openraft::{AsyncRuntime, Instant as _};

use super::{
    lead::{is_reported, report, settled_replicas},
    meta::propose_meta,
    operate::{ask, see},
};
use crate::{
    error::ProposeError,
    group::Group,
    host::Inner,
    port::Lane,
    rpc::{ErrandAnswer, Request, Response},
    staging::{Staged, Wanted},
};

/// How long one errand goes on with a merge: less than whoever asked waits for it.
const ERRAND: Duration = Duration::from_secs(20);

/// How many steps one errand takes at most; a merge has five, of which one may have to be waited for.
const STEPS_MAX: u32 = 64;

/// How long a step may take to commit.
pub(super) const COMMIT: Duration = Duration::from_secs(5);

/// How long before replicas that lacked what was sealed are asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// How long a replica may take to have what was sealed, before it is asked again.
const STAGE: Duration = Duration::from_secs(3);

/// One look at a merge, and what follows from it.
struct Task<'a, R: AsyncRuntime> {
    inner: &'a Arc<Inner<R>>,
    /// The left shard, which is led here.
    group: &'a Arc<Group<R>>,
    operation: OperationId,
    merge: Merge,
    goal: MergeGoal,
    committed: bool,
    /// What was not there yet.
    lacks: Option<String>,
}

/// As the leader of the left shard: goes on with a merge, or undoes it.
pub(super) async fn go_on<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Arc<Group<R>>,
    (operation, merge): (OperationId, Merge),
    goal: MergeGoal,
    committed: bool,
) -> ErrandAnswer {
    let mut task = Task { inner, group, operation, merge, goal, committed, lacks: None };
    let until = R::Instant::now() + ERRAND;
    for _step in 0..STEPS_MAX {
        if R::Instant::now() >= until {
            break;
        }
        if let Err(answer) = task.step().await {
            return answer;
        }
    }
    ErrandAnswer::Waiting(task.lacks.unwrap_or_else(|| "it goes on".to_owned()))
}

impl<R: AsyncRuntime> Task<'_, R> {
    /// Takes a step.
    ///
    /// # Errors
    /// What to answer when nothing more is to be done now.
    async fn step(&mut self) -> Result<(), ErrandAnswer> {
        if !self.group.has_applied_own_term() {
            return Err(waiting("the shard has a new leader"));
        }
        let right = match self.needs_right() {
            true => self.look_right().await.map_err(ErrandAnswer::Waiting)?,
            false => None,
        };
        // It was not committed before all had it staged. Who has lost it since, fetches it.
        let mut next = self.next(right, self.committed);
        if let MergeNext::Stage(seal) = next {
            self.lacks = self.stage(seal).await.err();
            // The shard takes no writes: it is asked again soon.
            if self.lacks.is_some() {
                R::sleep(AGAIN).await;
                return Ok(());
            }
            next = self.next(right, true);
        }
        match next {
            MergeNext::OnLeft(op) => self.on_left(op).await,
            MergeNext::OnRight(op) => self.on_right(op).await,
            MergeNext::Stage(_) => Err(waiting("sealed: it is being staged")),
            MergeNext::Report => Err(self.report().await),
            MergeNext::GiveUp(why) => Err(ErrandAnswer::Never(why.to_owned())),
            MergeNext::Cancelled => Err(ErrandAnswer::Done),
        }
    }

    fn next(&self, right: Option<RightSight>, is_staged: bool) -> MergeNext {
        let now_ms = self.inner.clock.wall_ms();
        let state = self.group.replica.state();
        let open = state.open_merge().filter(|open| open.operation == self.operation);
        let is_overdue = |at_ms: u64| now_ms > at_ms.saturating_add(MERGE_OPEN_MAX_MS);
        let sight = MergeSight {
            operation: self.operation,
            merge: &self.merge,
            left_state: &state,
            right,
            is_staged,
            is_late: !self.committed && open.is_some_and(|open| is_overdue(open.at_ms)),
        };
        sight.next(self.goal)
    }

    /// Whether what is next depends on the right shard: not once it is absorbed, nor before what is to be
    /// undone is over here.
    fn needs_right(&self) -> bool {
        let state = self.group.replica.state();
        let is_absorbed = state.absorbed().is_some_and(|it| it.operation == self.operation);
        let is_closed = state.merges_closed() >= self.operation;
        !is_absorbed && (self.goal == MergeGoal::Merge || is_closed)
    }

    /// What is seen of the right shard; `None` once the map has it no more. That it is sealed, the replica
    /// here may say: as long as this shard has not cancelled, that stays so.
    async fn look_right(&self) -> Result<Option<RightSight>, String> {
        let right = self.merge.right;
        if self.inner.is_retired(right) {
            return Ok(None);
        }
        let here = self.inner.group(right).map(|group| group.replica.state().as_right());
        let is_sealed = |sight: &RightSight| {
            sight.sealed.is_some_and(|sealed| sealed.operation == self.operation)
        };
        if self.goal == MergeGoal::Merge
            && let Some(sight) = here.filter(is_sealed)
        {
            return Ok(Some(sight));
        }
        match ask_there(self.inner, right, Errand::LookRight).await? {
            ErrandAnswer::Right(sight) => Ok(Some(sight)),
            ErrandAnswer::Waiting(why) | ErrandAnswer::Never(why) => Err(why),
            ErrandAnswer::Done => Err("an answer out of place".to_owned()),
        }
    }

    async fn on_left(&mut self, op: MergeOp) -> Result<(), ErrandAnswer> {
        match op {
            MergeOp::Prepare { .. } if !is_reported(self.inner, self.group) => {
                return Err(waiting("the map does not have the shard's last change"));
            }
            MergeOp::Prepare { .. } => self.bring_together().await?,
            MergeOp::Absorb { .. } if !self.committed => self.commit().await?,
            _ => {}
        }
        propose(self.inner, self.group, op).await
    }

    /// Has it recorded that it cannot be cancelled any more.
    async fn commit(&mut self) -> Result<(), ErrandAnswer> {
        let op = MetaOp::UpdateOperation { id: self.operation, update: OperationUpdate::Commit };
        match propose_meta(self.inner, op, COMMIT).await {
            Ok(MetaOutcome::OperationUpdated) => {
                self.committed = true;
                Ok(())
            }
            Ok(_) => Err(waiting("it is to be undone")),
            Err(error) => Err(ErrandAnswer::Waiting(error.to_string())),
        }
    }

    async fn on_right(&self, op: MergeOp) -> Result<(), ErrandAnswer> {
        let errand = Errand::MergeRight(op);
        match ask_there(self.inner, self.merge.right, errand).await {
            Ok(ErrandAnswer::Done) => Ok(()),
            Ok(ErrandAnswer::Right(_)) => Err(waiting("an answer out of place")),
            Ok(other) => Err(other),
            Err(why) => Err(ErrandAnswer::Waiting(why)),
        }
    }

    /// Has the replicas of the right shard come to where those of this one are.
    async fn bring_together(&self) -> Result<(), ErrandAnswer> {
        let map = self.inner.map();
        let (left, right) = (map.get(self.group.id), map.get(self.merge.right));
        let (Some(left), Some(right)) = (left, right) else {
            return Err(waiting("the map does not have both"));
        };
        let answer = match see(self.inner, |world| world.bring_together(left, right)) {
            None if self.is_together() => return Ok(()),
            None => waiting("the members of the shard are changing"),
            Some(Together::Step(step)) => {
                let errand = Errand::Step { step, epoch: right.epoch };
                match ask_there(self.inner, right.id, errand).await {
                    Ok(ErrandAnswer::Done) => waiting("the two come together"),
                    Ok(answer) => answer,
                    Err(why) => ErrandAnswer::Waiting(why),
                }
            }
            Some(Together::Never(why)) => ErrandAnswer::Never(why),
        };
        Err(answer)
    }

    /// Whether the replicas of both are on the same data directories, as far as the map tells of the right
    /// shard, whose leader looks for itself when it seals.
    fn is_together(&self) -> bool {
        let Some(members) = self.group.replica.settled_members() else { return false };
        let members: BTreeSet<RaftId> = members.into_keys().collect();
        let map = self.inner.map();
        let right = map.get(self.merge.right).into_iter().flat_map(|right| &right.replicas);
        right.map(|replica| replica.raft).collect::<BTreeSet<_>>() == members
    }

    /// Has every replica here get what the right shard was sealed as.
    ///
    /// # Errors
    /// Where it is not yet, in words.
    async fn stage(&self, seal: SealMark) -> Result<(), String> {
        let staged = Staged {
            operation: self.operation,
            right: self.merge.right,
            left: self.group.id,
            seal,
        };
        let Some(members) = self.group.replica.settled_members() else {
            return Err("sealed: the members of the shard are changing".to_owned());
        };
        let asked = members
            .into_iter()
            .map(|(raft, node)| async move { (node, self.has_staged(raft, node, staged).await) });
        let answers = futures::future::join_all(asked).await;
        let lacking: Vec<String> =
            answers.iter().filter(|(_, has)| !has).map(|(node, _)| node.to_string()).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        let nodes = lacking.join(", ");
        Err(format!("sealed: to be staged on node {nodes}"))
    }

    async fn has_staged(&self, raft: RaftId, node: NodeId, staged: Staged) -> bool {
        if raft == self.inner.raft {
            return have_staged(self.inner, staged, STAGE).await;
        }
        let wait_ms = u64::try_from(STAGE.as_millis()).unwrap_or(u64::MAX);
        let request = Request::<R>::Stage { staged, wait_ms };
        let wire = &self.inner.wire;
        let answer = wire.call(node, Some(raft), Lane::Bulk, request, STAGE + super::ASK).await;
        matches!(answer, Ok(Response::Staged(true)))
    }

    /// The shard has absorbed its neighbour: the map is to have it.
    async fn report(&self) -> ErrandAnswer {
        if self.inner.map().get(self.merge.right).is_some() {
            let known = self.inner.descriptor(self.group);
            if let Some(replicas) = settled_replicas(self.group, &known.replicas) {
                report(self.inner, self.group, &known, replicas).await;
            }
        }
        // The map alone says that it is done, also where it was to be undone and that came too late.
        waiting("absorbed: the map is to have it")
    }
}

/// As [`ask`], which leads back here where both shards are led by one node.
fn ask_there<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    shard: ShardId,
    errand: Errand,
) -> BoxFuture<'static, Result<ErrandAnswer, String>> {
    let inner = Arc::clone(inner);
    Box::pin(async move { ask(&inner, shard, errand).await })
}

fn waiting(what: &str) -> ErrandAnswer {
    ErrandAnswer::Waiting(what.to_owned())
}

/// As the leader of the right shard: takes a step of a merge. It is not sealed before the map has it as its
/// log does, and its replicas are where those of the left shard are.
pub(super) async fn take_right_step<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Arc<Group<R>>,
    op: MergeOp,
) -> ErrandAnswer {
    if let MergeOp::Seal { left, .. } = &op {
        if !is_reported(inner, group) {
            return waiting("the map does not have the right shard's last change");
        }
        let members = group.replica.settled_members().unwrap_or_default();
        let members: BTreeSet<RaftId> = members.into_keys().collect();
        let map = inner.map();
        let left = map.get(*left).into_iter().flat_map(|left| &left.replicas);
        if left.map(|replica| replica.raft).collect::<BTreeSet<_>>() != members {
            return waiting("the two are not on the same nodes");
        }
        let bytes = group.replica.state().stats().bytes;
        if bytes > ABSORBED_BYTES_MAX {
            return ErrandAnswer::Never(format!(
                "shard {} holds {}: more than {} is not taken in, since nobody writes meanwhile",
                group.id,
                ByteSize::new(bytes),
                ByteSize::new(ABSORBED_BYTES_MAX)
            ));
        }
    }
    match propose(inner, group, op).await {
        Ok(()) => ErrandAnswer::Done,
        Err(answer) => answer,
    }
}

/// As the leader of the right shard: what is seen of it.
pub(super) fn look_right<R: AsyncRuntime>(group: &Group<R>) -> ErrandAnswer {
    if !group.has_applied_own_term() {
        return waiting("the right shard has a new leader");
    }
    ErrandAnswer::Right(group.replica.state().as_right())
}

/// Proposes a step in a shard that is led here.
///
/// # Errors
/// What to answer if it did not do what it says.
async fn propose<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Arc<Group<R>>,
    op: MergeOp,
) -> Result<(), ErrandAnswer> {
    let epoch = group.replica.state().epoch();
    match inner.propose(group.id, epoch, None, Op::Merge(op), COMMIT).await {
        Ok(proposed) => match proposed.reply {
            Reply::Merge(_) => Ok(()),
            Reply::Refused(refusal @ (Refusal::Invalid(_) | Refusal::Unfit(_))) => {
                Err(ErrandAnswer::Never(refusal.to_string()))
            }
            // The next look tells.
            Reply::Refused(refusal) => Err(ErrandAnswer::Waiting(refusal.to_string())),
            _ => Err(waiting("the shard gave an answer out of place")),
        },
        Err(error @ ProposeError::Invalid(_)) => Err(ErrandAnswer::Never(error.to_string())),
        Err(error) => Err(ErrandAnswer::Waiting(error.to_string())),
    }
}

/// Waits until something is staged here, which it is made to be; answers whether it is.
pub(crate) async fn have_staged<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    staged: Staged,
    wait: Duration,
) -> bool {
    let until = R::Instant::now() + wait;
    loop {
        // It notices what comes from here on.
        let news = inner.staging.news();
        if inner.staging.has(&staged) {
            return true;
        }
        // Only who has a replica that is to absorb it may hold it.
        if !inner.has_slot(staged.left) {
            return false;
        }
        inner.staging.want(Wanted { staged, met_at: None });
        inner.births.wake().notify_one();
        if R::timeout_at(until, news).await.is_err() {
            return inner.staging.has(&staged);
        }
    }
}

/// Whether a merge of a shard is under way, at whichever end.
pub(super) fn is_merging<R: AsyncRuntime>(group: &Group<R>) -> bool {
    let state: &ShardState = &group.replica.state();
    state.is_merging()
}
