//! The shard map: every shard, its range, epoch and replicas.
//!
//! The truth of a shard is its own log; the map is the newest that was reported of each. Invariants,
//! checked at every change: the ranges of each space tile it with no gap and no overlap; an epoch
//! never goes back; a shard id is never used twice.
//!
//! A shard that divided comes into the map together with its other half, in one step
//! ([`ShardMap::report`]): until both are told of, the map shows the whole.

mod merged;

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{
    Epoch, NodeId, RaftId, ShardId,
    planted::{self, Bug},
};
use serde::{Deserialize, Serialize};

use crate::key::{KeyRange, ShardKey, Space};

/// Whether a replica counts in quorums.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReplicaRole {
    /// Votes and counts.
    Voter,
    /// Receives the log only.
    Learner,
}

/// One replica of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Replica {
    /// The data directory that holds it.
    pub raft: RaftId,
    /// The node which that directory belonged to when this was reported.
    pub node: NodeId,
    /// Voter or learner.
    pub role: ReplicaRole,
}

/// What the mesh knows of one shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardDescriptor {
    /// The shard, and its Raft group.
    pub id: ShardId,
    /// Its keys.
    pub range: KeyRange,
    /// How new this is.
    pub epoch: Epoch,
    /// Its replicas, the one that should lead at first in front.
    pub replicas: Vec<Replica>,
}

impl ShardDescriptor {
    /// Replicas that vote.
    pub fn voters(&self) -> impl Iterator<Item = &Replica> {
        self.replicas.iter().filter(|replica| replica.role == ReplicaRole::Voter)
    }

    /// The replica on a node, if it has one.
    #[must_use]
    pub fn replica_on(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }
}

/// A change of the map that would break one of its invariants; the map stays as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum MapError {
    /// Two shards would hold one key.
    #[error("shards {a} and {b} overlap")]
    Overlap {
        /// One of them.
        a: ShardId,
        /// The other.
        b: ShardId,
    },
    /// A key would belong to no shard.
    #[error("no shard would hold {at}")]
    Gap {
        /// The first key without one.
        at: String,
    },
    /// A shard's range is empty, or its bounds lie in two spaces.
    #[error("shard {0} has an empty range")]
    EmptyRange(ShardId),
    /// The shard id was used before.
    #[error("shard id {0} was used before")]
    ReusedId(ShardId),
    /// No shard has this id.
    #[error("there is no shard {0}")]
    Unknown(ShardId),
    /// The range changed, but not the epoch's version.
    #[error("the range of shard {0} changed without a newer version")]
    RangeWithoutVersion(ShardId),
}

/// All shards. `Default` is the empty map that a node has before it heard of any.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "MapParts", into = "MapParts")]
pub struct ShardMap {
    version: u64,
    shards: BTreeMap<ShardId, ShardDescriptor>,
    /// Shards that are no more.
    retired: BTreeSet<ShardId>,
    /// With which range the shards began whose range has changed since: the state before the first entry
    /// of their logs.
    founded: BTreeMap<ShardId, KeyRange>,
    /// The shards by where their ranges start. The ranges tile each space, so that the shard of a key
    /// is the last one that does not start behind it.
    by_start: BTreeMap<ShardKey, ShardId>,
}

/// A map on the wire and on disk.
#[derive(Serialize, Deserialize)]
struct MapParts {
    version: u64,
    shards: Vec<ShardDescriptor>,
    retired: BTreeSet<ShardId>,
    founded: BTreeMap<ShardId, KeyRange>,
}

impl From<ShardMap> for MapParts {
    fn from(map: ShardMap) -> Self {
        Self {
            version: map.version,
            shards: map.shards.into_values().collect(),
            retired: map.retired,
            founded: map.founded,
        }
    }
}

impl TryFrom<MapParts> for ShardMap {
    type Error = MapError;

    /// Takes only a map that tiles the keyspace, or the empty one.
    fn try_from(parts: MapParts) -> Result<Self, MapError> {
        if parts.version == 0 && parts.shards.is_empty() {
            return Ok(Self::default());
        }
        let mut map = Self::create(parts.shards)?;
        map.version = parts.version;
        map.retired = parts.retired;
        map.founded = parts.founded;
        Ok(map)
    }
}

impl ShardMap {
    /// The first map.
    ///
    /// # Errors
    /// [`MapError`] unless the descriptors tile every space.
    pub fn create(descriptors: Vec<ShardDescriptor>) -> Result<Self, MapError> {
        let mut shards = BTreeMap::new();
        for descriptor in descriptors {
            let id = descriptor.id;
            if shards.insert(id, descriptor).is_some() {
                return Err(MapError::ReusedId(id));
            }
        }
        let mut map = Self { version: 1, shards, ..Self::default() };
        map.check()?;
        map.index();
        Ok(map)
    }

    /// Grows with every change; 0 = the empty map.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// Whether no map has been made yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// All shards, by id.
    pub fn shards(&self) -> impl Iterator<Item = &ShardDescriptor> {
        self.shards.values()
    }

    /// A shard by id.
    #[must_use]
    pub fn get(&self, id: ShardId) -> Option<&ShardDescriptor> {
        self.shards.get(&id)
    }

    /// Whether a shard has, or had, this id.
    #[must_use]
    pub fn was_used(&self, id: ShardId) -> bool {
        self.shards.contains_key(&id) || self.retired.contains(&id)
    }

    /// The shard that holds `key`.
    #[must_use]
    pub fn locate(&self, key: &ShardKey) -> Option<&ShardDescriptor> {
        let (_start, id) = self.by_start.range(..=key).next_back()?;
        self.shards.get(id).filter(|shard| shard.range.contains(key))
    }

    /// The shards that share a key with `range`, in key order.
    #[must_use]
    pub fn overlapping(&self, range: &KeyRange) -> Vec<&ShardDescriptor> {
        let first = self.by_start.range(..=&range.start).next_back().map(|(start, _id)| start);
        self.by_start
            .range(first.unwrap_or(&range.start)..)
            .take_while(|(start, _id)| {
                start.space <= range.space_of() && range.end.as_ref().is_none_or(|end| *start < end)
            })
            .filter_map(|(_start, id)| self.shards.get(id))
            .filter(|shard| shard.range.overlaps(range))
            .collect()
    }

    /// The range that a shard began with, before the first entry of its log.
    #[must_use]
    pub fn founded_with(&self, id: ShardId) -> Option<&KeyRange> {
        self.founded.get(&id).or_else(|| self.shards.get(&id).map(|shard| &shard.range))
    }

    /// The range that a shard began with, if that has changed since: also when it is the same again, of a
    /// shard that divided and absorbed what had split off.
    #[must_use]
    pub fn founded_otherwise(&self, id: ShardId) -> Option<&KeyRange> {
        self.founded.get(&id)
    }

    /// Takes over newer descriptors; older and equal ones are ignored. Where ranges changed, the shards
    /// that were split off come along, and all of it is taken over in one step or none. Answers how many
    /// were newer.
    ///
    /// # Errors
    /// [`MapError::Unknown`] of a shard that is not known and came with no known one's change of range;
    /// [`MapError::RangeWithoutVersion`]; and what keeps changed ranges from tiling the keyspace. The map
    /// is then unchanged.
    pub fn report(&mut self, descriptors: Vec<ShardDescriptor>) -> Result<u32, MapError> {
        let (mut same, mut changed) = (Vec::new(), Vec::new());
        for descriptor in descriptors {
            match self.shards.get(&descriptor.id) {
                Some(known) if descriptor.epoch == known.epoch => {}
                Some(known)
                    if descriptor.epoch < known.epoch && !planted::has(Bug::AcceptOldEpoch) => {}
                Some(known) if descriptor.range == known.range => same.push(descriptor),
                Some(known) if descriptor.epoch.version == known.epoch.version => {
                    return Err(MapError::RangeWithoutVersion(descriptor.id));
                }
                None if self.retired.contains(&descriptor.id) => {}
                Some(_) | None => changed.push(descriptor),
            }
        }
        let removed: Vec<ShardId> = changed
            .iter()
            .map(|descriptor| descriptor.id)
            .filter(|id| self.shards.contains_key(id))
            .collect();
        if let (Some(unknown), true) = (changed.first(), removed.is_empty()) {
            return Err(MapError::Unknown(unknown.id));
        }
        let newer = same.len().saturating_add(changed.len());
        if !changed.is_empty() {
            self.replace(&removed, changed)?;
        } else if !same.is_empty() {
            self.version += 1;
        }
        for descriptor in same {
            self.shards.insert(descriptor.id, descriptor);
        }
        Ok(u32::try_from(newer).unwrap_or(u32::MAX))
    }

    /// Replaces shards: `removed` go, `added` come, in one step (a split or a merge). A shard that stays
    /// with another range is in both, with a newer version; every other added id is a new one.
    ///
    /// # Errors
    /// [`MapError`] when the result would not tile the keyspace; the map is then unchanged.
    pub fn replace(
        &mut self,
        removed: &[ShardId],
        added: Vec<ShardDescriptor>,
    ) -> Result<(), MapError> {
        let mut next = self.clone();
        let mut before = BTreeMap::new();
        for id in removed {
            before.insert(*id, next.shards.remove(id).ok_or(MapError::Unknown(*id))?);
        }
        for descriptor in added {
            let id = descriptor.id;
            match before.get(&id) {
                Some(old) if descriptor.epoch.version <= old.epoch.version => {
                    return Err(MapError::RangeWithoutVersion(id));
                }
                Some(old) if descriptor.range != old.range => {
                    next.founded.entry(id).or_insert_with(|| old.range.clone());
                }
                None if self.retired.contains(&id) => return Err(MapError::ReusedId(id)),
                Some(_) | None => {}
            }
            if next.shards.insert(id, descriptor).is_some() {
                return Err(MapError::ReusedId(id));
            }
        }
        for id in before.into_keys().filter(|id| !next.shards.contains_key(id)) {
            next.retired.insert(id);
            next.founded.remove(&id);
        }
        next.version += 1;
        next.check()?;
        next.index();
        *self = next;
        Ok(())
    }

    fn index(&mut self) {
        self.by_start =
            self.shards.values().map(|shard| (shard.range.start.clone(), shard.id)).collect();
    }

    /// Checks that the ranges of each space tile it.
    ///
    /// # Errors
    /// The first [`MapError`] found.
    pub fn check(&self) -> Result<(), MapError> {
        for space in Space::ALL {
            let mut shards: Vec<_> =
                self.shards.values().filter(|shard| shard.range.space_of() == space).collect();
            shards.sort_by(|a, b| a.range.start.cmp(&b.range.start));
            let mut expected = Some(ShardKey::space_start(space));
            let mut before = ShardId::META;
            for shard in shards {
                if shard.range.is_empty() {
                    return Err(MapError::EmptyRange(shard.id));
                }
                match &expected {
                    Some(key) if *key == shard.range.start => {}
                    Some(key) if *key < shard.range.start => {
                        return Err(MapError::Gap { at: key.to_string() });
                    }
                    _ => return Err(MapError::Overlap { a: before, b: shard.id }),
                }
                expected.clone_from(&shard.range.end);
                before = shard.id;
            }
            if let Some(key) = expected {
                return Err(MapError::Gap { at: key.to_string() });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(id: u64, range: KeyRange) -> ShardDescriptor {
        ShardDescriptor { id: ShardId(id), range, epoch: Epoch::FIRST, replicas: Vec::new() }
    }

    fn whole() -> Vec<ShardDescriptor> {
        Space::ALL
            .into_iter()
            .zip(1..)
            .map(|(space, id)| shard(id, KeyRange::space(space)))
            .collect()
    }

    #[test]
    fn one_shard_per_space_is_a_map() {
        let map = ShardMap::create(whole()).unwrap();
        let key = ShardKey::directory("lst_1");
        assert_eq!(map.locate(&key).unwrap().id, ShardId(2));
    }

    #[test]
    fn gaps_and_overlaps_are_refused() {
        let italy = KeyRange::territory(Space::Listings, &"IT:lazio".parse().unwrap());
        let mut gap = whole();
        gap[0].range = italy.clone();
        assert!(matches!(ShardMap::create(gap), Err(MapError::Gap { .. })));
        let mut overlap = whole();
        overlap.push(shard(9, italy));
        assert!(matches!(ShardMap::create(overlap), Err(MapError::Overlap { .. })));
    }

    #[test]
    fn a_split_that_tiles_is_taken_and_another_leaves_the_map_alone() {
        let mut map = ShardMap::create(whole()).unwrap();
        let italy = KeyRange::territory(Space::Listings, &"IT:lazio".parse().unwrap());
        let before = KeyRange {
            start: ShardKey::space_start(Space::Listings),
            end: Some(italy.start.clone()),
        };
        let after = KeyRange { start: italy.end.clone().unwrap(), end: None };
        let old = map.clone();
        assert!(map.replace(&[ShardId(1)], vec![shard(4, before.clone())]).is_err());
        assert_eq!(map, old);
        map.replace(
            &[ShardId(1)],
            vec![shard(4, before.clone()), shard(5, italy), shard(6, after)],
        )
        .unwrap();
        assert_eq!(map.version(), 2);
        let reused = map.replace(&[ShardId(4)], vec![shard(1, before.clone())]);
        assert_eq!(reused, Err(MapError::ReusedId(ShardId(1))));
        let same_version = map.replace(&[ShardId(4)], vec![shard(4, before)]);
        assert_eq!(same_version, Err(MapError::RangeWithoutVersion(ShardId(4))));
        assert_eq!(map.overlapping(&KeyRange::space(Space::Listings)).len(), 3);
    }

    #[test]
    fn older_reports_are_ignored() {
        let mut map = ShardMap::create(whole()).unwrap();
        let mut newer = map.get(ShardId(1)).unwrap().clone();
        newer.epoch.conf = 5;
        assert_eq!(map.report(vec![newer.clone()]), Ok(1));
        newer.epoch.conf = 4;
        assert_eq!(map.report(vec![newer]), Ok(0));
        assert_eq!(map.get(ShardId(1)).unwrap().epoch.conf, 5);
    }

    #[test]
    fn both_halves_of_a_shard_come_together_or_not_at_all() {
        let mut map = ShardMap::create(whole()).unwrap();
        let at = ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), 7);
        let whole = map.get(ShardId(3)).unwrap().clone();
        let (left, right) = crate::split::halves(&whole.range, &at);
        let epoch = Epoch { version: 2, conf: 4 };
        let left = ShardDescriptor { range: left, epoch, ..whole.clone() };
        let right = ShardDescriptor { id: ShardId(9), range: right, epoch, ..whole.clone() };
        let before = map.clone();
        assert!(map.report(vec![left.clone()]).is_err());
        assert_eq!(map.report(vec![right.clone()]), Err(MapError::Unknown(ShardId(9))));
        let same_version = ShardDescriptor { epoch: Epoch { version: 1, conf: 9 }, ..left.clone() };
        assert_eq!(
            map.report(vec![same_version, right.clone()]),
            Err(MapError::RangeWithoutVersion(ShardId(3)))
        );
        assert_eq!(map, before);
        assert_eq!(map.report(vec![right.clone(), left.clone()]), Ok(2));
        assert_eq!(map.locate(&at).unwrap(), &right);
        assert_eq!(map.report(vec![left, right]), Ok(0), "a repeat changes nothing");
        assert_eq!(map.version(), before.version() + 1);
        assert_eq!(map.founded_with(ShardId(3)), Some(&whole.range));
        assert_eq!(map.founded_with(ShardId(9)).unwrap().start, at);
        let bytes = hexpop_edge_config::codec::encode(&map).unwrap();
        assert_eq!(hexpop_edge_config::codec::decode::<ShardMap>(&bytes).unwrap(), map);
    }

    /// Cuts every space at the same random places.
    fn cut(cuts: &BTreeSet<(u8, u64)>) -> Vec<ShardDescriptor> {
        let mut shards = Vec::new();
        for space in Space::ALL {
            let mut start = ShardKey::space_start(space);
            for (region, point) in cuts {
                let territory = format!("IT:r{region}").parse().unwrap();
                let end = ShardKey::new(space, &territory, *point);
                shards.push(KeyRange { start, end: Some(end.clone()) });
                start = end;
            }
            shards.push(KeyRange { start, end: None });
        }
        (1..).zip(shards).map(|(id, range)| shard(id, range)).collect()
    }

    proptest::proptest! {
        #[test]
        fn keys_are_found_as_a_scan_of_all_ranges_finds_them(
            cuts in proptest::collection::btree_set((0_u8..4, 0_u64..20), 0..12),
            keys in proptest::collection::vec((0_usize..3, 0_u8..5, 0_u64..25), 1..30),
            splits in proptest::collection::vec((0_u8..4, 0_u64..20), 0..6),
        ) {
            let mut map = ShardMap::create(cut(&cuts)).unwrap();
            let mut next_id = map.shards().count() as u64 + 1;
            for (region, point) in splits {
                let territory = format!("IT:r{region}").parse().unwrap();
                let at = ShardKey::new(Space::Listings, &territory, point);
                let parent = map.locate(&at).unwrap().clone();
                let mut left = parent.clone();
                left.range.end = Some(at.clone());
                left.epoch.version += 1;
                let right = shard(next_id, KeyRange { start: at, end: parent.range.end.clone() });
                let version = map.version();
                // At the start of a shard there is nothing to split off.
                let fits = !left.range.is_empty();
                let done = map.replace(&[parent.id], vec![left, right]);
                proptest::prop_assert_eq!(done.is_ok(), fits);
                proptest::prop_assert_eq!(map.version(), version + u64::from(fits));
                next_id += u64::from(fits);
            }
            proptest::prop_assert_eq!(map.check(), Ok(()));
            let keys: Vec<ShardKey> = keys.into_iter().map(|(space, region, point)| {
                ShardKey::new(Space::ALL[space], &format!("IT:r{region}").parse().unwrap(), point)
            }).collect();
            for key in &keys {
                let scanned: Vec<_> =
                    map.shards().filter(|shard| shard.range.contains(key)).map(|s| s.id).collect();
                proptest::prop_assert_eq!(vec![map.locate(key).unwrap().id], scanned);
            }
            for (start, end) in keys.iter().zip(keys.iter().skip(1)) {
                let range = KeyRange { start: start.clone(), end: Some(end.clone()) };
                if range.is_empty() {
                    continue;
                }
                let mut scanned: Vec<_> =
                    map.shards().filter(|shard| shard.range.overlaps(&range)).collect();
                scanned.sort_by(|a, b| a.range.start.cmp(&b.range.start));
                proptest::prop_assert_eq!(map.overlapping(&range), scanned);
            }
            let bytes = hexpop_edge_config::codec::encode(&map).unwrap();
            proptest::prop_assert_eq!(hexpop_edge_config::codec::decode::<ShardMap>(&bytes).unwrap(), map);
        }
    }

    #[test]
    fn a_map_with_a_gap_does_not_decode() {
        let mut shards = whole();
        shards.pop();
        let parts =
            MapParts { version: 3, shards, retired: BTreeSet::new(), founded: BTreeMap::new() };
        let bytes = hexpop_edge_config::codec::encode(&parts).unwrap();
        assert!(hexpop_edge_config::codec::decode::<ShardMap>(&bytes).is_err());
        let none = hexpop_edge_config::codec::encode(&ShardMap::default()).unwrap();
        assert!(hexpop_edge_config::codec::decode::<ShardMap>(&none).unwrap().is_empty());
    }
}
