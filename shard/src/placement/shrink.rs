//! When two neighbours have grown so small, and so quiet, that they are to be one again.
//!
//! A pure function of what their leaders say, and of how long that has been so. What both have together must
//! be well below what divides a shard: under a load that stays as it is, what was merged does not divide
//! again, and what was divided is not merged.

use std::collections::BTreeMap;

use hexpop_edge_config::{ByteSize, ShardId};

use super::{ShardLoad, SplitLimits, World};
use crate::{Merge, ShardDescriptor};

/// When neighbours are merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeLimits {
    /// How many percent both together may have of each limit over which a shard divides.
    pub percent: u64,
    /// For how long it must have been so, in milliseconds.
    pub persist_ms: u64,
    /// How long after a merge was asked for no other one is, in milliseconds; of the same two, which the one before
    /// has left as they were, twice as long each time.
    pub rest_ms: u64,
}

/// What the shard that is absorbed may hold. While it is written down, and taken in, its writers and those of
/// the other one wait: in proportion to its bytes.
pub const ABSORBED_BYTES_MAX: u64 = 64 << 20;

/// How many times the rest of a pair is doubled at most.
const REST_DOUBLED_MAX: u32 = 8;

/// How long nobody may have looked, in milliseconds: what was small before is not known to have stayed so.
const LOOK_EVERY_MAX_MS: u64 = 30_000;

/// Two neighbours that are to be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedMerge {
    /// The one that stays.
    pub left: ShardId,
    /// The one that goes.
    pub merge: Merge,
    /// Why, in words.
    pub reason: String,
}

/// Two neighbours, by the versions of their epochs: what divided or was merged since begins anew.
type Pair = [(ShardId, u64); 2];

/// How long neighbours have been small enough, and what was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shrinkage {
    since: BTreeMap<Pair, u64>,
    /// How often for a pair that is there still, and when last.
    asked: BTreeMap<Pair, (u32, u64)>,
    asked_ms: Option<u64>,
    looked_ms: Option<u64>,
}

impl Shrinkage {
    /// Takes what is known at `now_ms`. Answers what is to be merged, if anything is: nothing while a replica
    /// is not up, a node is being emptied, or `is_busy` says that something else goes on in the mesh.
    pub fn look(
        &mut self,
        now_ms: u64,
        world: &World<'_>,
        loads: &BTreeMap<ShardId, ShardLoad>,
        (split, limits): (&SplitLimits, &MergeLimits),
        is_busy: bool,
    ) -> Option<PlannedMerge> {
        let looked_ms = self.looked_ms.replace(now_ms);
        if looked_ms.is_some_and(|at| now_ms.saturating_sub(at) > LOOK_EVERY_MAX_MS) {
            self.since.clear();
        }
        let mut small = BTreeMap::new();
        // Who was asked for least, then who has been small for longest.
        let mut due: Option<((u32, u64), Pair, PlannedMerge)> = None;
        for left in world.map.shards() {
            let Some(right) = neighbour(world, left) else { continue };
            let Some(reason) = is_small(left, right, loads, split, limits.percent) else {
                continue;
            };
            let pair = [left, right].map(|shard| (shard.id, shard.epoch.version));
            let since = self.since.get(&pair).copied().unwrap_or(now_ms);
            small.insert(pair, since);
            let asked = self.asked.get(&pair).copied();
            let has_rested = asked.is_none_or(|(times, at)| {
                let rest = limits.rest_ms.saturating_mul(1 << times.min(REST_DOUBLED_MAX));
                now_ms.saturating_sub(at) >= rest
            });
            let is_due = has_rested && now_ms.saturating_sub(since) >= limits.persist_ms;
            let rank = (asked.map_or(0, |(times, _)| times), since);
            if is_due && due.as_ref().is_none_or(|(other, ..)| rank < *other) {
                let merge = Merge::of(right);
                due = Some((rank, pair, PlannedMerge { left: left.id, merge, reason }));
            }
        }
        self.since = small;
        let is_there = |(id, version): &(ShardId, u64)| {
            world.map.get(*id).map(|it| it.epoch.version) == Some(*version)
        };
        self.asked.retain(|pair, _| pair.iter().all(is_there));
        let rests = self.asked_ms.is_some_and(|at| now_ms.saturating_sub(at) < limits.rest_ms);
        if rests || is_busy || !is_healthy(world) {
            return None;
        }
        let ((times, _), pair, planned) = due?;
        self.asked_ms = Some(now_ms);
        self.asked.insert(pair, (times.saturating_add(1), now_ms));
        Some(planned)
    }
}

/// The right neighbour that a shard may absorb.
fn neighbour<'a>(world: &'a World<'_>, left: &ShardDescriptor) -> Option<&'a ShardDescriptor> {
    let right = world.map.locate(left.range.end.as_ref()?)?;
    Merge::of(right).check(left.id, &left.range).is_ok().then_some(right)
}

fn is_healthy(world: &World<'_>) -> bool {
    let is_up = |raft| world.members.iter().any(|member| member.alive && member.raft == raft);
    let mut replicas = world.map.shards().flat_map(|shard| &shard.replicas);
    replicas.all(|replica| is_up(replica.raft))
        && !world.members.iter().any(|member| member.draining)
}

/// What both have together, in words, if that is little enough: as to every limit that there is, and there
/// must be one. Where shards divide by what any one of their replicas answers, none are merged: what each of
/// them answers is not known.
fn is_small(
    left: &ShardDescriptor,
    right: &ShardDescriptor,
    loads: &BTreeMap<ShardId, ShardLoad>,
    split: &SplitLimits,
    percent: u64,
) -> Option<String> {
    let (one, other) = (loads.get(&left.id)?, loads.get(&right.id)?);
    if other.bytes > ABSORBED_BYTES_MAX {
        return None;
    }
    let keys = one.keys.saturating_add(other.keys);
    let bytes = one.bytes.saturating_add(other.bytes);
    let writes = one.writes_per_s.saturating_add(other.writes_per_s);
    let limited = [(keys, split.keys), (bytes, split.bytes), (writes, split.writes_per_s)];
    let is_within = |(value, limit): &(u64, u64)| {
        *limit == 0 || u128::from(*value) * 100 <= u128::from(*limit) * u128::from(percent)
    };
    let has_limit = (split.keys > 0 || split.bytes > 0) && split.reads_per_s == 0;
    (has_limit && limited.iter().all(is_within)).then(|| {
        format!(
            "together they have {keys} records and {}, at most {percent} % of what divides a shard",
            ByteSize::new(bytes)
        )
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use hexpop_edge_config::{Epoch, NodeId, RaftId};

    use super::*;
    use crate::{
        Growth, KeyRange, Losses, Member, PlacementPolicy, Policy, ReadersOf, Replica, ReplicaRole,
        Rings, ShardKey, ShardMap, Space, split::halves,
    };

    const SPLIT: SplitLimits = SplitLimits {
        keys: 100,
        bytes: 0,
        writes_per_s: 50,
        reads_per_s: 0,
        persist_ms: 1_000,
        rest_ms: 5_000,
    };
    const MERGE: MergeLimits = MergeLimits { percent: 40, persist_ms: 10_000, rest_ms: 20_000 };

    /// A mesh of one territory of sessions, with records at points.
    struct Mesh {
        map: ShardMap,
        points: BTreeMap<u64, u64>,
        members: Vec<Member>,
        next: u64,
        now_ms: u64,
        growth: BTreeMap<ShardId, Growth>,
        shrinkage: Shrinkage,
    }

    impl Mesh {
        fn new(points: BTreeMap<u64, u64>) -> Self {
            let territory = &"IT:lazio".parse().unwrap();
            let range = KeyRange::territory(Space::Sessions, territory);
            let (before, rest) = halves(&KeyRange::space(Space::Sessions), &range.start);
            let (range, behind) = halves(&rest, range.end.as_ref().unwrap());
            let spaces = [Space::Listings, Space::Directory].map(KeyRange::space);
            let ranges = spaces.into_iter().chain([before, range, behind]);
            let replicas =
                vec![Replica { raft: RaftId(1), node: NodeId(1), role: ReplicaRole::Voter }];
            let shards = ranges.zip(1..).map(|(range, id)| ShardDescriptor {
                id: ShardId(id),
                range,
                epoch: Epoch::FIRST,
                replicas: replicas.clone(),
            });
            let member = Member {
                node: NodeId(1),
                raft: RaftId(1),
                pop: "mil".parse().unwrap(),
                labels: BTreeSet::new(),
                alive: true,
                draining: false,
            };
            Self {
                map: ShardMap::create(shards.collect()).unwrap(),
                points,
                members: vec![member],
                next: 6,
                now_ms: 0,
                growth: BTreeMap::new(),
                shrinkage: Shrinkage::default(),
            }
        }

        fn load(&self, shard: &ShardDescriptor) -> ShardLoad {
            let territory = &"IT:lazio".parse().unwrap();
            let here = self.points.iter().filter(|(point, _)| {
                let key = ShardKey::new(Space::Sessions, territory, **point);
                shard.range.contains(&key)
            });
            let (keys, writes) = here.fold((0, 0), |(keys, sum), (_, each)| (keys + 1, sum + each));
            ShardLoad { keys, writes_per_s: writes, ..ShardLoad::default() }
        }

        fn plan(&mut self, is_busy: bool) -> Option<PlannedMerge> {
            let default = Policy { labels: BTreeSet::new(), replicas: 1 };
            let policy = &PlacementPolicy { default, territories: BTreeMap::new() };
            let (losses, leaders) = (&Losses::default(), &BTreeMap::new());
            let (rings, readers) = (&Rings::default(), &ReadersOf::default());
            let loads = self.map.shards().map(|shard| (shard.id, self.load(shard))).collect();
            let (map, members) = (&self.map, &self.members[..]);
            let world = World { map, members, policy, leaders, losses, rings, readers };
            self.shrinkage.look(self.now_ms, &world, &loads, (&SPLIT, &MERGE), is_busy)
        }

        /// Merges what is planned.
        fn merge(&mut self, planned: &PlannedMerge) {
            let left = self.map.get(planned.left).unwrap().clone();
            let version = left.epoch.version.max(planned.merge.version) + 1;
            let range = planned.merge.union(&left.range);
            let epoch = Epoch { version, ..left.epoch };
            let merged = ShardDescriptor { range, epoch, ..left };
            self.map.report_merged(merged, planned.merge.right).unwrap();
        }

        /// Divides a shard that is over its limits in the middle of its records.
        fn divide_one(&mut self) -> bool {
            let territory = &"IT:lazio".parse().unwrap();
            for shard in self.map.shards().cloned().collect::<Vec<_>>() {
                let load = self.load(&shard);
                let growth = self.growth.entry(shard.id).or_default();
                if growth.look(self.now_ms, &load, &SPLIT).is_none() {
                    continue;
                }
                let keys = self.points.keys();
                let keys = keys.map(|at| ShardKey::new(Space::Sessions, territory, *at));
                let keys: Vec<ShardKey> = keys.filter(|key| shard.range.contains(key)).collect();
                let at = keys[keys.len() / 2].clone();
                if at == shard.range.start {
                    continue;
                }
                let (left, right) = halves(&shard.range, &at);
                let epoch = Epoch { version: shard.epoch.version + 1, ..shard.epoch };
                let id = ShardId(self.next);
                self.next += 1;
                let left = ShardDescriptor { range: left, epoch, ..shard.clone() };
                let right = ShardDescriptor { id, range: right, epoch, ..shard };
                self.map.report(vec![left, right]).unwrap();
                return true;
            }
            false
        }
    }

    fn small(count: u64) -> BTreeMap<u64, u64> {
        (1..=count).map(|point| (point * 10, 0)).collect()
    }

    fn divided(points: BTreeMap<u64, u64>) -> Mesh {
        let mut mesh = Mesh::new(points);
        let at = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 55);
        let shard = mesh.map.get(ShardId(4)).unwrap().clone();
        let (left, right) = halves(&shard.range, &at);
        let epoch = Epoch { version: 2, conf: 1 };
        let left = ShardDescriptor { range: left, epoch, ..shard.clone() };
        let right = ShardDescriptor { id: ShardId(6), range: right, epoch, ..shard };
        mesh.map.report(vec![left, right]).unwrap();
        mesh.next = 7;
        mesh
    }

    #[test]
    fn neighbours_that_stay_small_are_merged_once_the_mesh_is_well() {
        let mut mesh = divided(small(10));
        assert_eq!(mesh.plan(false), None);
        mesh.now_ms = 9_999;
        assert_eq!(mesh.plan(false), None);
        mesh.now_ms = 10_000;
        assert_eq!(mesh.plan(true), None, "something else goes on");
        mesh.members[0].draining = true;
        assert_eq!(mesh.plan(false), None);
        mesh.members[0] = Member { draining: false, alive: false, ..mesh.members[0].clone() };
        assert_eq!(mesh.plan(false), None);
        mesh.members[0].alive = true;
        let planned = mesh.plan(false).unwrap();
        assert_eq!((planned.left, planned.merge.right), (ShardId(4), ShardId(6)));
        assert!(planned.reason.contains("10 records"), "{}", planned.reason);
        assert_eq!(mesh.plan(false), None, "it rests");
    }

    #[test]
    fn what_was_not_done_rests_longer_each_time_and_others_come_first() {
        let mut mesh = divided(small(10));
        let asked = |mesh: &mut Mesh, until: u64| {
            let mut asked = Vec::new();
            while mesh.now_ms < until {
                mesh.now_ms += 1_000;
                if let Some(planned) = mesh.plan(false) {
                    asked.push((mesh.now_ms / 1_000, planned.merge.right.0));
                }
            }
            asked
        };
        mesh.plan(false);
        assert_eq!(asked(&mut mesh, 135_000), [(10, 6), (50, 6), (130, 6)]);
        // Another neighbour, which is as small.
        let at = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 85);
        let shard = mesh.map.get(ShardId(6)).unwrap().clone();
        let (left, right) = halves(&shard.range, &at);
        let epoch = Epoch { version: 3, ..shard.epoch };
        let left = ShardDescriptor { range: left, epoch, ..shard.clone() };
        let right = ShardDescriptor { id: ShardId(7), range: right, epoch, ..shard };
        mesh.map.report(vec![left, right]).unwrap();
        assert_eq!(asked(&mut mesh, 200_000), [(150, 6), (170, 7), (190, 6)]);
    }

    #[test]
    fn who_was_not_looked_at_for_long_is_looked_at_anew() {
        let mut mesh = divided(small(10));
        mesh.plan(false);
        mesh.now_ms = LOOK_EVERY_MAX_MS + 1;
        assert_eq!(mesh.plan(false), None, "it may have been busy meanwhile");
        mesh.now_ms += 10_000;
        assert!(mesh.plan(false).is_some());
    }

    #[test]
    fn what_is_absorbed_is_written_down_in_a_moment() {
        let mesh = divided(small(10));
        let [left, right] = [4, 6].map(|id| mesh.map.get(ShardId(id)).unwrap());
        let is_small = |bytes: [u64; 2]| {
            let load = |bytes| ShardLoad { keys: 1, bytes, ..ShardLoad::default() };
            let loads = BTreeMap::from([(left.id, load(bytes[0])), (right.id, load(bytes[1]))]);
            is_small(left, right, &loads, &SPLIT, 40).is_some()
        };
        assert!(is_small([u64::MAX / 2, ABSORBED_BYTES_MAX]));
        assert!(!is_small([0, ABSORBED_BYTES_MAX + 1]));
    }

    #[test]
    fn what_is_large_or_busy_or_was_for_a_moment_is_left_alone() {
        let mut large = divided(small(41));
        let mut busy = divided(BTreeMap::from([(1, 15), (60, 10)]));
        for now_ms in (0..60_000).step_by(1_000) {
            (large.now_ms, busy.now_ms) = (now_ms, now_ms);
            assert_eq!(large.plan(false), None);
            assert_eq!(busy.plan(false), None);
        }
        let mut mesh = divided(small(10));
        mesh.plan(false);
        mesh.now_ms = 9_000;
        mesh.points = small(50);
        assert_eq!(mesh.plan(false), None);
        mesh.now_ms = 10_000;
        mesh.points = small(10);
        assert_eq!(mesh.plan(false), None, "it begins anew");
        mesh.now_ms = 20_000;
        assert!(mesh.plan(false).is_some());
    }

    proptest::proptest! {
        /// Whatever is where: it comes to rest, and nothing that was merged divides, nor the other way round.
        #[test]
        fn under_a_load_that_stays_as_it_is_it_comes_to_rest(
            points in proptest::collection::btree_map(1_u64..100_000, 0_u64..3, 0..300),
            cuts in proptest::collection::btree_set(1_u64..100_000, 0..12),
        ) {
            let mut mesh = Mesh::new(points);
            let territory = &"IT:lazio".parse().unwrap();
            for cut in cuts {
                let at = ShardKey::new(Space::Sessions, territory, cut);
                let shard = mesh.map.locate(&at).unwrap().clone();
                let (left, right) = halves(&shard.range, &at);
                let epoch = Epoch { version: shard.epoch.version + 1, ..shard.epoch };
                let id = ShardId(mesh.next);
                mesh.next += 1;
                let left = ShardDescriptor { range: left, epoch, ..shard.clone() };
                let right = ShardDescriptor { id, range: right, epoch, ..shard };
                mesh.map.report(vec![left, right]).unwrap();
            }
            // What came of a merge, and of a split.
            let (mut merged, mut halves_of): (BTreeSet<ShardId>, Vec<[ShardId; 2]>) = Default::default();
            let (mut quiet, mut steps) = (0, 0);
            while quiet < 60 {
                mesh.now_ms += 1_000;
                steps += 1;
                proptest::prop_assert!(steps < 4_000, "it does not come to rest");
                let before: BTreeSet<ShardId> = mesh.map.shards().map(|shard| shard.id).collect();
                if mesh.divide_one() {
                    quiet = 0;
                    let id = ShardId(mesh.next - 1);
                    let start = mesh.map.get(id).unwrap().range.start.clone();
                    let left = mesh.map.shards().find(|it| it.range.end.as_ref() == Some(&start));
                    let left = left.unwrap().id;
                    proptest::prop_assert!(!merged.contains(&left), "what was merged divides");
                    halves_of.push([left, id]);
                    continue;
                }
                if let Some(planned) = mesh.plan(false) {
                    quiet = 0;
                    let pair = [planned.left, planned.merge.right];
                    proptest::prop_assert!(!halves_of.contains(&pair), "halves are merged");
                    mesh.merge(&planned);
                    merged.insert(planned.left);
                    continue;
                }
                quiet += 1;
                let after: BTreeSet<ShardId> = mesh.map.shards().map(|shard| shard.id).collect();
                proptest::prop_assert_eq!(before, after);
            }
        }
    }
}
