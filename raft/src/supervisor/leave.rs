//! Leaving groups that this data directory is no replica of any more: what it has of them would outlive
//! every erasure, and no one would tell of it.
//!
//! ```text
//!  the map, or what is known of a group that is in none, does not list it ── a leader, confirmed by a quorum, says it is no member ── it stops
//!    ── a leader says so once more ── log, snapshots and documents go ── the log's files are scrubbed
//! ```
//!
//! **Why asked twice.** A map may be old, so that it is asked at all. A replica that is added again
//! between question and answer could acknowledge entries meanwhile, which its leader would count on;
//! stopped, it acknowledges nothing, so that what the second answer says of before it stays true of it.
//!
//! **Why it may come back.** It is created anew then, and knows nothing of what it had acknowledged.
//! Somebody else who lacks those entries too, and has an older membership, might be elected by its vote:
//! so it gives none before it has the entry that made it a member again, behind which all those are
//! ([`Birth::votes_from_conf`]).
//!
//! The shard counts a replica that left as open until its leader has heard that nothing is there. What was
//! left before a restart and is in the log's files still, those tell when they are read: they are scrubbed
//! without being asked.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::StreamExt;
use hexpop_edge_config::{Epoch, GroupId, NodeId, RaftId};
use hexpop_shard::{LeftReplica, Op, RetiredReplica, SessionOp, ShardDescriptor, ShardMap};
use openraft::AsyncRuntime;

use super::ASK;
use crate::{
    group::Group,
    host::{Birth, Inner, Seats},
    port::Lane,
    rpc::{Refused, Request, Response, Standing},
    wire::WireError,
};

/// How often the map is compared with what is here, and those that left are asked.
const PAUSE: Duration = Duration::from_secs(5);

/// How long a leader may take to say who its group's members are.
const STANDING: Duration = Duration::from_secs(5);

/// How long the files of the log may take before other things are looked at meanwhile.
const SCRUB: Duration = Duration::from_secs(60);

/// How long it may take to write down that a replica has nothing any more.
const NOTE: Duration = Duration::from_secs(5);

/// How many groups are left, and replicas asked, at a time.
const AT_ONCE: usize = 16;

/// How many groups that were left are kept account of.
const GROUPS_MAX: usize = 65_536;

/// How far the files of the log are with a group that is here no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Files {
    /// Somebody wants to know.
    Asked,
    /// The log was asked to rid them of it by the demand of this number.
    Demanded(u64),
    /// They hold nothing of it.
    Rid,
}

impl Files {
    const fn demand(&self) -> Option<u64> {
        match self {
            Self::Demanded(demand) => Some(*demand),
            Self::Asked | Self::Rid => None,
        }
    }
}

/// The groups that somebody asked for and that are not here.
pub(crate) type LeftGroups = BTreeMap<GroupId, Files>;

/// Takes account of what was left before a restart and may still be in the files of the log.
pub(crate) fn remember<R: AsyncRuntime>(inner: &Inner<R>) {
    let remains = inner.wal.remains().into_iter().take(GROUPS_MAX);
    inner.left.lock().extend(remains.map(|group| (group, Files::Asked)));
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let map = inner.map();
    let unlisted: Vec<ShardDescriptor> =
        inner.leavable().into_iter().filter_map(|id| left(&inner, &map, id)).collect();
    futures::stream::iter(unlisted)
        .for_each_concurrent(AT_ONCE, |shard| {
            let inner = Arc::clone(&inner);
            async move { leave(&inner, &shard).await }
        })
        .await;
    for id in inner.leavable().into_iter().filter(|id| inner.is_retired(*id)) {
        retire(&inner, id).await;
    }
    rid_files(&inner).await;
    ask_left(&inner).await;
    ask_retired(&inner).await;
    PAUSE
}

/// A group that does not list this data directory, as far as is known here.
fn left<R: AsyncRuntime>(inner: &Inner<R>, map: &ShardMap, id: GroupId) -> Option<ShardDescriptor> {
    if id.is_of_shard() {
        return not_listed(map, id, inner.raft).cloned();
    }
    let seats = inner.seats(id).filter(|seats| !seats.lists(inner.raft));
    seats.map(Seats::descriptor)
}

/// The descriptor of a shard that the map has and that does not list this data directory. A shard that
/// the map does not have is no reason for anything.
fn not_listed(map: &ShardMap, id: GroupId, own: RaftId) -> Option<&ShardDescriptor> {
    map.get(id).filter(|shard| shard.replicas.iter().all(|replica| replica.raft != own))
}

async fn leave<R: AsyncRuntime>(inner: &Arc<Inner<R>>, shard: &ShardDescriptor) {
    let id = shard.id;
    let is_member = async || standing(inner, shard).await.is_none_or(|it| it.is_member);
    if is_member().await {
        return;
    }
    let Some(stopped) = inner.stop_to_leave(id).await else { return };
    if is_member().await {
        inner.stay(id, stopped).await;
        return;
    }
    tracing::info!(group = %id, "no replica of the group any more: what was here of it goes");
    inner.destroy(id).await;
    if inner.is_gone(id) {
        inner.left.lock().insert(id, Files::Asked);
    }
}

/// Destroys a replica of a shard that another one has absorbed: the map, which says so, had it in the step
/// that widened that one.
async fn retire<R: AsyncRuntime>(inner: &Arc<Inner<R>>, id: GroupId) {
    let range = inner.group(id).and_then(|group| group.replica.state().range().cloned());
    if let Some(range) = range {
        let mut retired = inner.retired.lock();
        if retired.len() < GROUPS_MAX {
            retired.insert(id, range);
        }
    }
    if inner.stop_to_leave(id).await.is_none() {
        return;
    }
    tracing::info!(group = %id, "another shard has absorbed this one: what was here of it goes");
    inner.destroy(id).await;
    if inner.is_gone(id) {
        inner.left.lock().insert(id, Files::Asked);
    }
}

/// What this data directory is to a group, by its leader. `None` when no leader says so.
pub(super) async fn standing<R: AsyncRuntime>(
    inner: &Inner<R>,
    shard: &ShardDescriptor,
) -> Option<Standing> {
    let surveyed = inner.surveyed_leaders().get(&shard.id).copied();
    let replicas = shard.replicas.iter().map(|replica| replica.node);
    let mut asked: Vec<NodeId> = Vec::new();
    let mut to_ask: Vec<NodeId> = surveyed.into_iter().chain(replicas).rev().collect();
    while let Some(node) = to_ask.pop() {
        if node == inner.options.node || asked.contains(&node) {
            continue;
        }
        asked.push(node);
        let request = Request::<R>::Standing { group: shard.id };
        match inner.wire.call(node, None, Lane::Bulk, request, STANDING).await {
            Ok(Response::Standing(standing)) => return Some(standing),
            Err(WireError::Refused(Refused::NotLeader { leader })) => to_ask.extend(leader),
            Ok(_) | Err(_) => {}
        }
    }
    None
}

/// With what a replica begins that the map places here. `None` when it was here before and no leader
/// says that it is a member again: the map may be from before it left.
pub(crate) async fn birth<R: AsyncRuntime>(
    inner: &Inner<R>,
    shard: ShardDescriptor,
) -> Option<Birth> {
    let votes_from_conf = votes_from_conf(inner, &shard).await?;
    // Its log begins with the range that the shard had then, however often it divided or was merged since.
    let founded = inner.map().founded_otherwise(shard.id).cloned();
    let shard = match founded {
        Some(range) => ShardDescriptor { range, epoch: Epoch::FIRST, ..shard },
        None => shard,
    };
    Some(Birth { shard: Some(shard), votes_from_conf })
}

/// As [`birth`], for a group without a range whose leader speaks to this data directory.
pub(super) async fn birth_without_range<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: GroupId,
) -> Option<Birth> {
    let seats = inner.seats(group)?;
    let votes_from_conf = votes_from_conf(inner, &seats.descriptor()).await?;
    Some(Birth { shard: None, votes_from_conf })
}

/// How often the members must have changed before a replica that begins here votes. `None` when there
/// was one here before, and no leader says that this data directory is a member again.
async fn votes_from_conf<R: AsyncRuntime>(
    inner: &Inner<R>,
    shard: &ShardDescriptor,
) -> Option<u64> {
    if !inner.was_here(shard.id) {
        return Some(0);
    }
    Some(standing(inner, shard).await.filter(|standing| standing.is_member)?.conf)
}

/// Whether anything of a group may be on this node's disk. The files of the log are asked to get rid of
/// it when nothing else is.
pub(crate) fn holds<R: AsyncRuntime>(inner: &Inner<R>, group: GroupId) -> bool {
    if !inner.is_gone(group) || inner.staging.concerns(group) {
        return true;
    }
    let mut left = inner.left.lock();
    if left.len() < GROUPS_MAX {
        left.entry(group).or_insert(Files::Asked);
    }
    let is_rid = left.get(&group) == Some(&Files::Rid);
    drop(left);
    if !is_rid {
        inner.wake_leave.notify_one();
    }
    !is_rid
}

/// The groups that are here no more, and that the files of the log may still hold.
pub(crate) fn unrid_groups<R: AsyncRuntime>(inner: &Inner<R>) -> Vec<GroupId> {
    let left = inner.left.lock();
    left.iter().filter(|(_, files)| **files != Files::Rid).map(|(group, _)| *group).collect()
}

/// Rids the files of the log of groups that are here no more.
async fn rid_files<R: AsyncRuntime>(inner: &Inner<R>) {
    let is_open = |files: &Files| *files != Files::Rid;
    if !inner.left.lock().values().any(is_open) {
        return;
    }
    // One that is under way is waited for: with a new one each time, a log that takes longer than the
    // wait would never be done.
    let under_way = inner.left.lock().values().filter_map(Files::demand).min();
    let demand = match under_way.map_or_else(|| inner.wal.demand_scrub(), Ok) {
        Ok(demand) => demand,
        Err(error) => {
            tracing::warn!(%error, "groups that were left are still in the files of the log");
            return;
        }
    };
    if under_way.is_none() {
        for (_, files) in inner.left.lock().iter_mut().filter(|(_, files)| is_open(files)) {
            *files = Files::Demanded(demand);
        }
    }
    match R::timeout(SCRUB, inner.wal.scrubbed(demand)).await {
        Ok(Ok(())) => {
            for files in inner.left.lock().values_mut() {
                // One that was here again meanwhile has been asked for anew.
                if files.demand().is_some_and(|of| of <= demand) {
                    *files = Files::Rid;
                }
            }
        }
        Ok(Err(error)) => {
            tracing::warn!(%error, "groups that were left are still in the files of the log");
        }
        Err(_elapsed) => tracing::warn!("the log takes its time to rid its files of groups"),
    }
}

/// As a leader: asks the replicas that left whether anything is there still, and notes who has nothing.
async fn ask_left<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let led = inner.running().into_iter().filter(|group| group.leads());
    let left: Vec<(Arc<Group<R>>, LeftReplica)> = led
        .flat_map(|group| {
            let left: Vec<LeftReplica> = match group.replica.state().as_sessions() {
                Some(sessions) => sessions.left_replicas().collect(),
                None => Vec::new(),
            };
            left.into_iter().map(move |left| (Arc::clone(&group), left))
        })
        .collect();
    futures::stream::iter(left)
        .for_each_concurrent(AT_ONCE, |(group, left)| {
            let inner = Arc::clone(inner);
            async move {
                if holds_nothing(&inner, group.id, (left.raft, left.node)).await {
                    let (raft, left_at) = (left.raft, left.left_at);
                    note(&inner, &group, SessionOp::Destroyed { raft, left_at }).await;
                }
            }
        })
        .await;
}

/// The same of the replicas of shards that were absorbed.
async fn ask_retired<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let led = inner.running().into_iter().filter(|group| group.leads());
    let retired: Vec<(Arc<Group<R>>, RetiredReplica)> = led
        .flat_map(|group| {
            let retired: Vec<RetiredReplica> = match group.replica.state().as_sessions() {
                Some(sessions) => sessions.retired_replicas().collect(),
                None => Vec::new(),
            };
            retired.into_iter().map(move |retired| (Arc::clone(&group), retired))
        })
        .collect();
    futures::stream::iter(retired)
        .for_each_concurrent(AT_ONCE, |(group, retired)| {
            let inner = Arc::clone(inner);
            async move {
                let RetiredReplica { shard, raft, node } = retired;
                if holds_nothing(&inner, shard, (raft, node)).await {
                    note(&inner, &group, SessionOp::Withdrawn { shard, raft }).await;
                }
            }
        })
        .await;
}

async fn holds_nothing<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: GroupId,
    (raft, node): (RaftId, NodeId),
) -> bool {
    if raft == inner.raft {
        return !holds(inner, group);
    }
    // For that data directory only: a node that has another one now knows nothing of the former.
    let request = Request::<R>::Holds { group };
    let answer = inner.wire.call(node, Some(raft), Lane::Bulk, request, ASK).await;
    matches!(answer, Ok(Response::Holds(false)))
}

async fn note<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>, op: SessionOp) {
    let epoch = group.replica.state().epoch();
    if let Err(error) = inner.propose(group.id, epoch, None, Op::Session(op), NOTE).await {
        tracing::debug!(group = %group.id, %error, "not noted that a replica has nothing");
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;
    use hexpop_shard::{KeyRange, Replica, ReplicaRole, Space};

    use super::*;

    #[test]
    fn only_a_shard_that_the_map_has_without_this_directory_is_a_reason_to_ask() {
        let replica =
            |raft| Replica { raft: RaftId(raft), node: NodeId(1), role: ReplicaRole::Learner };
        let shards = [Space::Listings, Space::Directory, Space::Sessions];
        let descriptors = (1..).zip(shards).map(|(id, space)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: vec![replica(11), replica(22)],
        });
        let map = ShardMap::create(descriptors.collect()).unwrap();
        let found = |id, own| not_listed(&map, ShardId(id), RaftId(own)).is_some();
        assert!(found(1, 33));
        assert!(!found(1, 22));
        assert!(!found(9, 33), "of a shard that is not in the map nobody can be asked");
        assert!(not_listed(&ShardMap::default(), GroupId::META, RaftId(33)).is_none());
    }
}
