//! Operations: whoever leads the meta group drives what it has recorded, errand by errand, at the leaders
//! of the shards concerned.
//!
//! What is next follows from the operation, the map and who lives ([`World::next`]); nothing else is kept.
//! A new leader of the meta group goes on where the last one stopped, and whatever is asked twice changes
//! nothing.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures::{StreamExt, future::BoxFuture};
use hexpop_edge_config::{
    GroupId, NodeId, ShardId,
    planted::{self, Bug},
};
use hexpop_shard::{
    Errand, MetaOp, Next, Op, Operation, OperationKind, OperationState, OperationUpdate, ReadersOf,
    Refusal, Reply, Split, StepKind, World,
};
use openraft::{AsyncRuntime, Instant as _};

use super::{
    lead::{Hand, carry_out, is_reported},
    merge,
    meta::propose_meta_here,
    place, shrink,
};
use crate::{
    error::ProposeError,
    group::Group,
    host::Inner,
    port::Lane,
    rpc::{ErrandAnswer, Refused, Request, Response},
    wire::WireError,
};

/// How often operations that run are looked at.
const PAUSE: Duration = Duration::from_millis(500);

/// How often it is looked for operations without being told of one.
const PAUSE_IDLE: Duration = Duration::from_secs(5);

/// How many operations go on at a time.
const AT_ONCE: usize = 16;

/// How long one errand may take: a change of members waits for the state to be sent.
const ERRAND: Duration = Duration::from_secs(30);

/// How long a split may take to commit.
const COMMIT: Duration = Duration::from_secs(10);

/// How long placement leaves a shard alone after an errand, unless it hears that the operation has ended or
/// somebody else leads it meanwhile: whoever drives the operation comes again sooner than that, also when
/// another errand of the same round takes its whole time.
const HELD: Duration = Duration::from_secs(60);

/// A move that has not come nearer to its end for so long makes room for others, and for repair.
const STUCK_MS: u64 = 30 * 60 * 1000;

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let Some(meta) = inner.group(GroupId::META).filter(|meta| meta.leads()) else {
        return PAUSE_IDLE;
    };
    place::step(&inner, &meta).await;
    shrink::step(&inner, &meta).await;
    let running: Vec<Operation> = {
        let state = meta.replica.state();
        let operations = state.as_meta().into_iter().flat_map(|meta| meta.operations());
        operations.filter(|operation| operation.state.is_running()).cloned().collect()
    };
    if running.is_empty() {
        return if inner.options.moves_at_once > 0 { place::PAUSE } else { PAUSE_IDLE };
    }
    futures::stream::iter(running)
        .for_each_concurrent(AT_ONCE, |operation| {
            let inner = Arc::clone(&inner);
            async move { go_on(&inner, &operation).await }
        })
        .await;
    PAUSE
}

async fn go_on<R: AsyncRuntime>(inner: &Arc<Inner<R>>, operation: &Operation) {
    let update = match next(inner, operation) {
        Next::Commit => OperationUpdate::Commit,
        Next::End(state) => OperationUpdate::Finished(state),
        Next::Wait(why) => {
            // What it waits for may be placement, which an errand of before keeps from the shard.
            for shard in operation.shards() {
                if let Err(error) = ask(inner, shard, Errand::Release).await {
                    tracing::debug!(operation = %operation.id, error, "still held");
                }
            }
            OperationUpdate::Step { name: why }
        }
        Next::Ask(errand) => match ask(inner, operation.shard, errand).await {
            Ok(ErrandAnswer::Done)
                if matches!(operation.state, OperationState::Reverting { .. }) =>
            {
                OperationUpdate::Reverted
            }
            Ok(ErrandAnswer::Done) if matches!(operation.kind, OperationKind::Placement(_)) => {
                OperationUpdate::Finished(OperationState::Done)
            }
            Ok(ErrandAnswer::Done | ErrandAnswer::Right(_)) => return,
            Ok(ErrandAnswer::Waiting(what)) => OperationUpdate::Step { name: what },
            Ok(ErrandAnswer::Never(error)) => {
                OperationUpdate::Finished(OperationState::Failed { error })
            }
            Err(why) => OperationUpdate::Step { name: why },
        },
    };
    // What it waits for is told once.
    let update = match (update, operation.steps.last()) {
        (OperationUpdate::Step { name }, Some(last)) if last.name == name => {
            let waited_ms = inner.clock.wall_ms().saturating_sub(last.at_ms);
            let gives_up = matches!(
                operation.kind,
                OperationKind::Relocate(_) | OperationKind::Move { .. } | OperationKind::Merge(_)
            );
            if waited_ms < STUCK_MS || !gives_up {
                return;
            }
            let error = format!("given up after {} minutes: {name}", waited_ms / 60_000);
            OperationUpdate::Finished(OperationState::Failed { error })
        }
        (update, _) => update,
    };
    let (id, shards) = (operation.id, operation.shards().collect::<Vec<_>>());
    tracing::info!(operation = %id, ?shards, ?update, "an operation goes on");
    let has_ended = matches!(update, OperationUpdate::Finished(_) | OperationUpdate::Reverted);
    let op = MetaOp::UpdateOperation { id, update };
    match propose_meta_here(inner, op).await {
        Ok(_) if has_ended => {
            for shard in shards {
                drop(R::spawn(release(Arc::clone(inner), shard)));
            }
        }
        Ok(_) => {}
        Err(error) => tracing::debug!(operation = %id, %error, "not recorded"),
    }
}

/// Lets placement have a shard again whose operation has ended: until whoever leads it has heard so, or the
/// hold has ended by itself.
async fn release<R: AsyncRuntime>(inner: Arc<Inner<R>>, shard: ShardId) {
    let until = R::Instant::now() + HELD;
    while let Err(error) = ask(&inner, shard, Errand::Release).await {
        tracing::debug!(%shard, error, "not released yet");
        // Nobody leads a shard that another one has absorbed.
        if inner.is_closing() || inner.is_retired(shard) || R::Instant::now() >= until {
            return;
        }
        R::sleep(PAUSE).await;
    }
}

fn next<R: AsyncRuntime>(inner: &Inner<R>, operation: &Operation) -> Next {
    see(inner, |world| world.next(operation))
}

/// What operations go by.
pub(super) fn see<R: AsyncRuntime, T>(inner: &Inner<R>, look: impl FnOnce(&World<'_>) -> T) -> T {
    let members = inner.membership.members();
    let (map, leaders, losses) = (inner.map(), place::leaders(inner), place::losses(inner));
    let policy = &inner.options.policy;
    let (map, members, leaders) = (&map, &members, &leaders);
    let (rings, readers) = (&inner.options.rings, &ReadersOf::default());
    look(&World { map, members, policy, leaders, losses: &losses, rings, readers })
}

/// Runs an errand at the leader of a shard, who is found by asking.
pub(super) async fn ask<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    shard: ShardId,
    errand: Errand,
) -> Result<ErrandAnswer, String> {
    let surveyed = inner.surveyed_leaders().get(&shard).copied();
    let map = inner.map();
    let replicas = map.get(shard).into_iter().flat_map(|shard| &shard.replicas);
    let own = inner.group(shard).filter(|group| group.leads()).map(|_led| inner.options.node);
    let known = own.into_iter().chain(surveyed).chain(replicas.map(|replica| replica.node));
    let mut to_ask: Vec<NodeId> = known.collect();
    to_ask.reverse();
    let mut asked: Vec<NodeId> = Vec::new();
    while let Some(node) = to_ask.pop() {
        if asked.contains(&node) {
            continue;
        }
        asked.push(node);
        let answer = if node == inner.options.node {
            run(inner, shard, errand.clone()).await
        } else {
            let request = Request::<R>::Errand { group: shard, errand: errand.clone() };
            match inner.wire.call(node, None, Lane::Bulk, request, ERRAND).await {
                Ok(Response::Errand(answer)) => Ok(answer),
                Ok(_) => Err(Refused::Failed("an answer of another kind".to_owned())),
                Err(WireError::Refused(refused)) => Err(refused),
                Err(error) => Err(Refused::Failed(error.to_string())),
            }
        };
        match answer {
            Ok(answer) => return Ok(answer),
            Err(Refused::NotLeader { leader }) => to_ask.extend(leader),
            Err(refused) => tracing::debug!(%shard, %node, %refused, "an errand is not taken"),
        }
    }
    Err(format!("nobody who leads shard {shard} answers"))
}

/// As the leader of a shard: does what an operation needs.
pub(crate) async fn run<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    id: GroupId,
    errand: Errand,
) -> Result<ErrandAnswer, Refused> {
    let group = inner.group(id).ok_or(Refused::NotYet)?;
    if !group.leads() {
        return Err(Refused::NotLeader { leader: group.leader_node() });
    }
    if let Some(why) = is_late(inner, &group, &errand) {
        return Ok(ErrandAnswer::Waiting(why.to_owned()));
    }
    let (doing, held) = (Arc::clone(inner), Arc::clone(&group));
    let work: BoxFuture<'static, ErrandAnswer> = match errand {
        Errand::Split(split) => Box::pin(async move { divide(&doing, &held, split).await }),
        Errand::Step { step, epoch: _ } => {
            Box::pin(async move { take_step(&doing, &held, step).await })
        }
        Errand::Release => {
            group.hold(Duration::ZERO);
            inner.wake_leading.notify_one();
            return Ok(ErrandAnswer::Done);
        }
        Errand::LookRight => return Ok(merge::look_right(&group)),
        Errand::Merge { operation, merge, goal, committed } => Box::pin(async move {
            merge::go_on(&doing, &held, (operation, merge), goal, committed).await
        }),
        Errand::MergeRight(op) => {
            Box::pin(async move { merge::take_right_step(&doing, &held, op).await })
        }
    };
    group.hold(HELD);
    if group.busy.swap(true, Ordering::AcqRel) {
        return Ok(ErrandAnswer::Waiting("another change of the shard is under way".to_owned()));
    }
    let (inner, held) = (Arc::clone(inner), Arc::clone(&group));
    // It goes on to its end also when nobody waits for it any more.
    let running = R::spawn(async move {
        let answer = work.await;
        held.busy.store(false, Ordering::Release);
        // There may be something to report.
        inner.wake_leading.notify_one();
        answer
    });
    running.await.map_err(|_stopped| Refused::Halted)
}

/// Whether an errand is from before the last change of its shard, in words: it may be late by as much as its
/// operation has ended since, so that nobody would release the shard again.
fn is_late<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Group<R>,
    errand: &Errand,
) -> Option<&'static str> {
    match errand {
        Errand::Step { epoch, .. }
            if group.replica.state().epoch() != *epoch && !planted::has(Bug::StepForAnyEpoch) =>
        {
            Some("the shard has changed since this was asked")
        }
        // Its other half may have been taken in again since.
        Errand::Split(split) if inner.map().was_used(split.child) => {
            Some("the shard is divided already")
        }
        Errand::Merge { merge, .. } if inner.map().get(merge.right).is_none() => {
            Some("the shards are one already")
        }
        Errand::Step { .. }
        | Errand::Split(_)
        | Errand::Release
        | Errand::Merge { .. }
        | Errand::MergeRight(_)
        | Errand::LookRight => None,
    }
}

async fn divide<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Arc<Group<R>>,
    split: Split,
) -> ErrandAnswer {
    let (epoch, is_done) = {
        let state = group.replica.state();
        let is_done = state.children().iter().any(|child| child.descriptor.id == split.child);
        (state.epoch(), is_done)
    };
    if is_done {
        return ErrandAnswer::Waiting("divided: the other half is to have its quorum".to_owned());
    }
    if !is_reported(inner, group) {
        return ErrandAnswer::Waiting("the map does not have the shard's last change".to_owned());
    }
    // Only a map that has what the shard absorbed last tells.
    if inner.map().was_used(split.child) {
        return ErrandAnswer::Waiting("the shard is divided already".to_owned());
    }
    match inner.propose(group.id, epoch, None, Op::Split(split), COMMIT).await {
        Ok(proposed) => match proposed.reply {
            Reply::Split(child) => {
                ErrandAnswer::Waiting(format!("divided: shard {} begins", child.id))
            }
            // Another proposal of it may be on its way: the state will tell.
            Reply::Refused(
                refusal @ (Refusal::StaleEpoch { .. } | Refusal::MembersChange { .. }),
            ) => ErrandAnswer::Waiting(refusal.to_string()),
            Reply::Refused(refusal) => ErrandAnswer::Never(refusal.to_string()),
            _ => ErrandAnswer::Waiting("the shard gave an answer out of place".to_owned()),
        },
        Err(error @ ProposeError::Invalid(_)) => ErrandAnswer::Never(error.to_string()),
        Err(error) => ErrandAnswer::Waiting(error.to_string()),
    }
}

async fn take_step<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Arc<Group<R>>,
    step: StepKind,
) -> ErrandAnswer {
    if !is_reported(inner, group) {
        return ErrandAnswer::Waiting("the map does not have the shard's last change".to_owned());
    }
    if merge::is_merging(group) {
        return ErrandAnswer::Never("a merge of the shard is under way".to_owned());
    }
    let word = step.as_str();
    let hands_over = matches!(step, StepKind::TransferLeader { .. });
    let begun = R::Instant::now();
    carry_out(inner, group, step, Hand::Operator).await;
    if hands_over && !group.leads() {
        return ErrandAnswer::Done;
    }
    tracing::debug!(group = %group.id, word, elapsed = ?begun.elapsed(), "a step by hand");
    ErrandAnswer::Waiting(word.to_owned())
}
