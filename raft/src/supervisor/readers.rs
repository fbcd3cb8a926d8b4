//! Telling the voters of shards what is read of them here: a PoP that reads much of a shard and has no voter
//! of it gets a learner from its leader ([`ReadDemand`](hexpop_shard::ReadDemand)). All voters are told, so that
//! a new leader knows as much as the one before.
//!
//! Every read that comes in at this node counts, whoever answers it: those that a learner of this PoP answers
//! keep it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use hexpop_edge_config::{NodeId, RaftId, ShardId};
use hexpop_shard::{Member, PlacementPolicy, ShardDescriptor, ShardMap};
use openraft::{AsyncRuntime, Instant as _};
use parking_lot::{Mutex, RwLock};

use super::ASK;
use crate::{
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// How often voters are told.
const PAUSE: Duration = Duration::from_secs(3);

/// Over how many locks the counters are spread, by shard.
const STRIPES: usize = 16;

/// Of how many shards of one stripe reads are counted between two looks.
const STRIPE_MAX: usize = 256;

/// Of how many shards one node is told, those that are read most: of some three times as many as it leads.
const TOLD_MAX: usize = 1_536;

/// How many nodes are told at a time.
const TOLD_AT_ONCE: usize = 16;

/// The reads that came in here since voters were told last. Every read comes by, so that counting one keeps no
/// other waiting, but where a shard is read for the first time, and while it is looked.
#[derive(Debug)]
pub(crate) struct ReadHere<I> {
    stripes: [RwLock<BTreeMap<ShardId, AtomicU64>>; STRIPES],
    since: Mutex<I>,
}

impl<I> ReadHere<I> {
    pub(crate) fn new(now: I) -> Self {
        Self { stripes: Default::default(), since: Mutex::new(now) }
    }

    fn stripe(&self, shard: ShardId) -> Option<&RwLock<BTreeMap<ShardId, AtomicU64>>> {
        self.stripes.get(usize::try_from(shard.0).unwrap_or(0) % STRIPES)
    }

    /// Counts one.
    pub(crate) fn note(&self, shard: ShardId) {
        let Some(stripe) = self.stripe(shard) else { return };
        if let Some(count) = stripe.read().get(&shard) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let mut counts = stripe.write();
        if counts.len() < STRIPE_MAX || counts.contains_key(&shard) {
            *counts.entry(shard).or_default().get_mut() += 1;
        }
    }

    /// What was counted, of how many reads since when; counts anew from `now` on. Shards that nobody read are
    /// forgotten; the others keep their counters.
    fn take(&self, now: I) -> (BTreeMap<ShardId, u64>, I) {
        let mut taken = BTreeMap::new();
        for stripe in &self.stripes {
            stripe.write().retain(|shard, count| {
                let count = std::mem::take(count.get_mut());
                if count > 0 {
                    taken.insert(*shard, count);
                }
                count > 0
            });
        }
        (taken, std::mem::replace(&mut *self.since.lock(), now))
    }
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    if !inner.options.reader_limits.are_any() {
        return PAUSE;
    }
    let now = R::Instant::now();
    let (counts, since) = inner.read_here.take(now);
    if counts.is_empty() {
        return PAUSE;
    }
    let (members, map) = (inner.membership.members(), inner.map());
    let elapsed = now.saturating_duration_since(since);
    let few = inner.options.reader_limits.few();
    let here = Here { members: &members, own: inner.options.node, few };
    let read = here.unanswered(&map, &counts, elapsed);
    let tell = here.by_voter(&map, &read);
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

/// A node tells how many reads a second of shards with a voter here come in there.
pub(crate) fn note_reads<R: AsyncRuntime>(
    inner: &Inner<R>,
    from: NodeId,
    reads: Vec<(ShardId, u64)>,
) {
    for (shard, reads_per_s) in reads.into_iter().take(TOLD_MAX) {
        if let Some(group) = inner.group(shard) {
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

    /// Whom to tell what: all voters that are up.
    fn by_voter(
        &self,
        map: &ShardMap,
        read: &[(ShardId, u64)],
    ) -> BTreeMap<NodeId, Vec<(ShardId, u64)>> {
        let others = self.members.iter().filter(|it| it.alive && it.node != self.own);
        let others: BTreeSet<RaftId> = others.map(|member| member.raft).collect();
        let mut tell: BTreeMap<NodeId, Vec<(ShardId, u64)>> = BTreeMap::new();
        for (id, reads) in read {
            let voters = map.get(*id).into_iter().flat_map(ShardDescriptor::voters);
            for voter in voters.filter(|voter| others.contains(&voter.raft)) {
                tell.entry(voter.node).or_default().push((*id, *reads));
            }
        }
        tell.into_iter().map(|(node, reads)| (node, most_read(reads))).collect()
    }
}

/// As much as is told of, the most first.
fn most_read(mut reads: Vec<(ShardId, u64)>) -> Vec<(ShardId, u64)> {
    reads.sort_by_key(|(shard, reads)| (std::cmp::Reverse(*reads), *shard));
    reads.truncate(TOLD_MAX);
    reads
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::Epoch;
    use hexpop_shard::{KeyRange, Replica, ReplicaRole, Space};

    use super::*;

    #[test]
    fn voters_hear_of_what_no_voter_of_the_pop_has_and_the_directory_is_not_told_of() {
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
        let tell =
            |members: &[Member]| Here { members, own: NodeId(3), few: 1 }.by_voter(&map, &of_par);
        assert_eq!(tell(&members), BTreeMap::new(), "that is lost");
        members[0].raft = RaftId(1);
        let tell = tell(&members);
        assert_eq!(tell, BTreeMap::from([(NodeId(1), of_par.clone())]));
    }

    #[test]
    fn no_read_is_lost_or_counted_twice_while_others_count_and_look() {
        const READS: u64 = 20_000;
        let here = ReadHere::new(());
        let mut sums = BTreeMap::<ShardId, u64>::new();
        let mut add = |counts: BTreeMap<ShardId, u64>| {
            for (shard, count) in counts {
                *sums.entry(shard).or_default() += count;
            }
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| (0..READS).for_each(|at| here.note(ShardId(at % 7)))))
                .collect();
            while !readers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
                add(here.take(()).0);
            }
        });
        add(here.take(()).0);
        let of_one = |shard| (0..READS).filter(|at| at % 7 == shard).count() as u64;
        let wanted = (0..7).map(|shard| (ShardId(shard), 4 * of_one(shard))).collect();
        assert_eq!(sums, wanted);
    }

    #[test]
    fn what_is_counted_and_told_is_bounded_and_the_most_read_comes_first() {
        let here = ReadHere::new(1);
        let most = (STRIPES * STRIPE_MAX) as u64;
        for shard in 0..2 * most {
            here.note(ShardId(shard));
        }
        here.note(ShardId(0));
        let (counts, since) = here.take(2);
        assert_eq!((counts.len() as u64, counts[&ShardId(0)], since), (most, 2, 1));
        // Those that nobody reads any more make room for others.
        here.note(ShardId(0));
        let (counts, since) = here.take(3);
        assert_eq!((counts, since), (BTreeMap::from([(ShardId(0), 1)]), 2));
        here.note(ShardId(STRIPES as u64));
        here.note(ShardId(2 * most));
        assert_eq!(here.take(4).0.len(), 2);
        assert!(here.take(5).0.is_empty());
        let read: Vec<_> = (0..2_000).map(|shard| (ShardId(shard), shard)).collect();
        let told = most_read(read);
        assert_eq!((told.len(), told[0].1), (TOLD_MAX, 1_999));
    }
}
