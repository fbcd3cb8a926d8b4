//! Telling the leaders of shards what is read of them here: a PoP that reads much of a shard and has no voter
//! of it gets a learner from its leader ([`ReadDemand`](hexpop_shard::ReadDemand)).
//!
//! Every read that comes in at this node counts, whoever answers it: those that a learner of this PoP answers
//! keep it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use futures::StreamExt;
use hexpop_edge_config::{NodeId, RaftId, ShardId};
use hexpop_shard::{Member, PlacementPolicy, ShardMap};
use openraft::{AsyncRuntime, Instant as _};

use super::{ASK, place};
use crate::{
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// How often leaders are told.
const PAUSE: Duration = Duration::from_secs(3);

/// Of how many shards reads are counted between two looks.
const SHARDS_MAX: usize = 4_096;

/// Of how many shards one leader is told, those that are read most.
const TOLD_MAX: usize = 512;

/// How many leaders are told at a time.
const TOLD_AT_ONCE: usize = 16;

/// The reads that came in here since leaders were told last.
#[derive(Debug)]
pub(crate) struct ReadHere<I> {
    counts: BTreeMap<ShardId, u64>,
    since: I,
}

impl<I> ReadHere<I> {
    pub(crate) const fn new(now: I) -> Self {
        Self { counts: BTreeMap::new(), since: now }
    }

    /// Counts one.
    pub(crate) fn note(&mut self, shard: ShardId) {
        if self.counts.len() < SHARDS_MAX || self.counts.contains_key(&shard) {
            *self.counts.entry(shard).or_default() += 1;
        }
    }
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    if !inner.options.reader_limits.are_any() {
        return PAUSE;
    }
    let now = R::Instant::now();
    let taken = std::mem::replace(&mut *inner.read_here.lock(), ReadHere::new(now));
    if taken.counts.is_empty() {
        return PAUSE;
    }
    let (members, map) = (inner.membership.members(), inner.map());
    let elapsed = now.saturating_duration_since(taken.since);
    let few = inner.options.reader_limits.few();
    let here = Here { members: &members, own: inner.options.node, few };
    let read = here.unanswered(&map, &taken.counts, elapsed);
    let tell = by_leader(&read, &place::leaders(&inner));
    futures::stream::iter(tell)
        .for_each_concurrent(TOLD_AT_ONCE, |(node, reads)| {
            let inner = Arc::clone(&inner);
            async move {
                let request = Request::<R>::ReadThere { reads };
                match inner.wire.call(node, None, Lane::Bulk, request, ASK).await {
                    Ok(Response::Noted) => {}
                    Ok(_) => tracing::debug!(%node, "an answer out of place to what is read"),
                    // It is told anew the next time.
                    Err(error) => tracing::debug!(%node, %error, "not told what is read"),
                }
            }
        })
        .await;
    PAUSE
}

/// A node tells how many reads a second of shards that are led here come in there.
pub(crate) fn note_reads<R: AsyncRuntime>(
    inner: &Inner<R>,
    from: NodeId,
    reads: Vec<(ShardId, u64)>,
) {
    for (shard, reads_per_s) in reads.into_iter().take(TOLD_MAX) {
        if let Some(group) = inner.group(shard).filter(|group| group.leads()) {
            group.note_reads(from, reads_per_s);
        }
    }
}

/// Where this node is.
struct Here<'a> {
    members: &'a [Member],
    own: NodeId,
    /// Fewer reads a second of a PoP than that are few.
    few: u64,
}

impl Here<'_> {
    /// How many reads a second of which shards came in, of those that no live voter of this node's PoP has and
    /// that are not in every PoP anyway: where they would be more than few if as many came in at every node of
    /// the PoP. What all nodes leave out is few together.
    fn unanswered(
        &self,
        map: &ShardMap,
        counts: &BTreeMap<ShardId, u64>,
        elapsed: Duration,
    ) -> Vec<(ShardId, u64)> {
        let own = self.members.iter().find(|member| member.node == self.own);
        let Some(pop) = own.map(|own| &own.pop) else { return Vec::new() };
        let near = self.members.iter().filter(|member| member.alive && member.pop == *pop);
        let near: BTreeSet<RaftId> = near.map(|member| member.raft).collect();
        let nodes = near.len().max(1) as u128;
        let millis = elapsed.as_millis().max(1);
        let read = counts.iter().filter_map(|(id, count)| {
            let shard = map.get(*id)?;
            let here = shard.voters().any(|voter| near.contains(&voter.raft));
            if here || PlacementPolicy::in_every_pop(&shard.range) {
                return None;
            }
            let reads = u128::from(*count) * 1_000;
            let per_s = u64::try_from(reads / millis).unwrap_or(u64::MAX);
            let is_few = reads.saturating_mul(nodes) < millis.saturating_mul(self.few.into());
            (per_s > 0 && !is_few).then_some((*id, per_s))
        });
        read.collect()
    }
}

/// Whom to tell what.
fn by_leader(
    read: &[(ShardId, u64)],
    leaders: &BTreeMap<ShardId, NodeId>,
) -> BTreeMap<NodeId, Vec<(ShardId, u64)>> {
    let mut tell: BTreeMap<NodeId, Vec<(ShardId, u64)>> = BTreeMap::new();
    for (shard, reads) in read {
        if let Some(leader) = leaders.get(shard) {
            tell.entry(*leader).or_default().push((*shard, *reads));
        }
    }
    for reads in tell.values_mut() {
        reads.sort_by_key(|(shard, reads)| (std::cmp::Reverse(*reads), *shard));
        reads.truncate(TOLD_MAX);
    }
    tell
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::Epoch;
    use hexpop_shard::{KeyRange, Replica, ReplicaRole, ShardDescriptor, Space};

    use super::*;

    #[test]
    fn leaders_hear_of_what_no_voter_of_the_pop_has_and_the_directory_is_not_told_of() {
        let shards = (1..).zip(Space::ALL).map(|(id, space)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: vec![Replica { raft: RaftId(1), node: NodeId(1), role: ReplicaRole::Voter }],
        });
        let map = ShardMap::create(shards.collect()).unwrap();
        let member = |node, pop: &str| Member {
            node: NodeId(node),
            raft: RaftId(u64::from(node)),
            pop: pop.parse().unwrap(),
            labels: BTreeSet::new(),
            alive: true,
            draining: false,
        };
        let mut members = [member(1, "mil"), member(2, "mil"), member(3, "par")];
        let counts: BTreeMap<ShardId, u64> =
            map.shards().map(|shard| (shard.id, 300)).chain([(ShardId(9), 300)]).collect();
        let told = |members: &[Member], own, few| {
            let here = Here { members, own: NodeId(own), few };
            here.unanswered(&map, &counts, Duration::from_secs(3))
        };
        assert_eq!(told(&members, 2, 1), [], "node 1 of its PoP has them all");
        let of_par = told(&members, 3, 100);
        assert_eq!(told(&members, 3, 101), [], "they are few");
        members[0].alive = false;
        assert_eq!(told(&members, 2, 100).len(), 2, "it answers nothing any more");
        members[0].alive = true;
        members[0].raft = RaftId(7);
        assert_eq!(
            told(&members, 2, 200).len(),
            2,
            "nor does it without its data, and two may read"
        );
        assert_eq!(told(&members, 2, 201), []);
        assert_eq!(of_par.len(), 2, "{of_par:?}");
        assert!(of_par.iter().all(|(shard, reads)| {
            *reads == 100 && map.get(*shard).unwrap().range.space_of() != Space::Directory
        }));
        let leaders = BTreeMap::from([(of_par[0].0, NodeId(1))]);
        let tell = by_leader(&of_par, &leaders);
        assert_eq!(tell, BTreeMap::from([(NodeId(1), vec![of_par[0]])]));
    }

    #[test]
    fn what_is_counted_and_told_is_bounded_and_the_most_read_comes_first() {
        let mut here = ReadHere::new(());
        for shard in 0..2 * SHARDS_MAX as u64 {
            here.note(ShardId(shard));
        }
        here.note(ShardId(0));
        assert_eq!((here.counts.len(), here.counts[&ShardId(0)]), (SHARDS_MAX, 2));
        let read: Vec<_> = (0..1_000).map(|shard| (ShardId(shard), shard)).collect();
        let leaders = read.iter().map(|(shard, _)| (*shard, NodeId(1))).collect();
        let tell = by_leader(&read, &leaders);
        assert_eq!((tell[&NodeId(1)].len(), tell[&NodeId(1)][0].1), (TOLD_MAX, 999));
    }
}
