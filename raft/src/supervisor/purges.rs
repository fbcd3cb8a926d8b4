//! The purge group: founding it, proposing to it, and reading what is behind a position.
//!
//! Its first voters are those that the meta group has when its leader records them there, so that they are
//! the same for whoever initialises the group, and nobody with another data directory is one of them.
//! Later changes are as those of the meta group, each on its own. A data directory that left the group never
//! gives it its first members again: those may have moved on meanwhile, as far as a majority of them.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hexpop_edge_config::{Epoch, GroupId, NodeId};
use hexpop_shard::{
    KeyRange, MetaOp, Op, PurgeId, PurgeOp, PurgeOutcome, PurgeTail, ReadAnswer, ReadOp, Replica,
    ReplicaRole, Reply, ShardDescriptor, Space,
};
use openraft::{AsyncRuntime, Instant as _};

use super::{
    decide,
    meta::{COMMIT, at_leader, other_kind, propose_meta_here, there},
};
use crate::{
    api::ReadLevel,
    error::{ProposeError, ReadError},
    group::Group,
    host::{Birth, Inner, first_voters, replicas_of},
    port::Lane,
    rpc::{Request, Response, millis_up},
};

/// How long one replica may take to say what is behind a position.
const PULL: Duration = Duration::from_secs(1);

/// Bytes of purges in one answer, about.
const TAIL_BYTES_MAX: u64 = 1 << 20;

/// Brings the founding of the group forward, on a node with a replica of the meta group. Answers whether
/// nothing is left to do here.
pub(super) async fn found<R: AsyncRuntime>(inner: &Arc<Inner<R>>) -> bool {
    let Some(meta) = inner.group(GroupId::META) else { return false };
    let known = meta.replica.state().as_meta().map(|meta| meta.purge_voters().to_vec());
    let Some(replicas) = known.filter(|voters| !voters.is_empty()) else {
        name_voters(inner, &meta).await;
        return false;
    };
    if replicas.iter().all(|replica| replica.raft != inner.raft) || inner.was_here(GroupId::PURGES)
    {
        return true;
    }
    if !inner.has_slot(GroupId::PURGES) {
        inner.start(GroupId::PURGES, Birth::default()).await;
    }
    let Some(group) = inner.group(GroupId::PURGES) else {
        return inner.has_failed(GroupId::PURGES);
    };
    let founded = ShardDescriptor {
        id: GroupId::PURGES,
        range: KeyRange::space(Space::Listings),
        epoch: Epoch::FIRST,
        replicas,
    };
    let empty = group.with_metrics(|metrics| metrics.last_log_index.is_none());
    if decide::may_initialise(&founded, inner.raft, empty, group.leader_age()) {
        inner.initialise(&group, first_voters(&founded)).await;
    }
    !empty
}

/// As the leader of the meta group: records its voters as the first ones of the purge group.
async fn name_voters<R: AsyncRuntime>(inner: &Arc<Inner<R>>, meta: &Group<R>) {
    if !meta.leads() {
        return;
    }
    let voters: Vec<Replica> = meta.with_metrics(|metrics| {
        let membership = metrics.committed_membership_config.as_ref();
        let settled = membership.membership().get_joint_config().len() == 1;
        let replicas = replicas_of(membership.membership(), &[]);
        let is_voter = |replica: &Replica| replica.role == ReplicaRole::Voter;
        if settled { replicas.into_iter().filter(is_voter).collect() } else { Vec::new() }
    });
    if voters.is_empty() {
        return;
    }
    if let Err(error) = propose_meta_here(inner, MetaOp::FoundPurges { voters }).await {
        tracing::info!(%error, "the voters of the purge group are not recorded yet");
    }
}

/// Proposes to the purge group if it is led here.
pub(crate) async fn propose_purge_here<R: AsyncRuntime>(
    inner: &Inner<R>,
    op: PurgeOp,
) -> Result<PurgeOutcome, ProposeError> {
    let (group, op) = (GroupId::PURGES, Op::Purge(op));
    let proposed = inner.propose(group, Epoch::FIRST, None, op, COMMIT).await?;
    match proposed.reply {
        Reply::Purge(outcome) => Ok(outcome),
        Reply::Refused(refusal) => Err(ProposeError::Invalid(refusal.to_string())),
        other => Err(ProposeError::Unknown(format!("an unexpected reply: {other:?}"))),
    }
}

/// Proposes to the purge group: here, or at whoever leads it. A repeat forgets the same once more.
pub(crate) async fn propose_purge<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    op: PurgeOp,
    deadline: Duration,
) -> Result<PurgeOutcome, ProposeError> {
    let ask = |node| {
        let (inner, op) = (Arc::clone(inner), op.clone());
        Box::pin(async move {
            if node == inner.options.node {
                return propose_purge_here(&inner, op).await;
            }
            match there(&inner, node, Request::<R>::ProposePurge { op }).await? {
                Response::Purge(outcome) => Ok(outcome),
                _ => Err(other_kind()),
            }
        }) as BoxFuture<'static, _>
    };
    at_leader(inner, GroupId::PURGES, deadline, ask).await
}

/// What is behind a position, read from the replica here after its leader was confirmed.
pub(crate) async fn pull_purges_here<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    position: Option<PurgeId>,
    wait: Duration,
) -> Result<PurgeTail, ReadError> {
    let op = ReadOp::PurgesAfter { position, max_bytes: TAIL_BYTES_MAX };
    let (group, wait) = (GroupId::PURGES, wait.min(PULL));
    let read = inner.read(group, Epoch::FIRST, ReadLevel::Strong, None, wait, &op).await?;
    match read.answer {
        ReadAnswer::Purges(tail) => Ok(tail),
        _ => Err(ReadError::Unavailable("an answer of another kind".to_owned())),
    }
}

/// What is behind a position as of a time after this was called, from any replica that can prove it.
pub(crate) async fn pull_purges<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    position: Option<PurgeId>,
    deadline: Duration,
) -> Result<PurgeTail, ReadError> {
    let until = R::Instant::now() + deadline;
    let mut last = ReadError::NotHere;
    for node in sources(inner) {
        let wait = until.saturating_duration_since(R::Instant::now()).min(PULL);
        if wait.is_zero() {
            break;
        }
        let pulled = if node == inner.options.node {
            pull_purges_here(inner, position, wait).await
        } else {
            let request = Request::<R>::PullPurges { position, wait_ms: millis_up(wait) };
            match inner.wire.call(node, None, Lane::Bulk, request, wait).await {
                Ok(Response::Purges(tail)) => Ok(tail),
                Ok(_) => Err(ReadError::Unavailable("an answer of another kind".to_owned())),
                Err(error) => Err(ReadError::Unavailable(error.to_string())),
            }
        };
        match pulled {
            Ok(tail) => {
                *inner.purges_from.lock() = Some(node);
                return Ok(tail);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// The nodes to ask for purges: whoever answered last, then this one, then the others in turn.
fn sources<R: AsyncRuntime>(inner: &Inner<R>) -> Vec<NodeId> {
    let last = *inner.purges_from.lock();
    let own = inner.group(GroupId::PURGES).map(|_group| inner.options.node);
    let mut voters = inner.voters_without_range(GroupId::PURGES);
    let turn = inner.next_turn().checked_rem(voters.len()).unwrap_or_default();
    voters.rotate_left(turn);
    let mut sources: Vec<NodeId> = Vec::new();
    for node in last.into_iter().chain(own).chain(voters) {
        if !sources.contains(&node) {
            sources.push(node);
        }
    }
    sources
}
