//! The shard map tiles the keyspace, two maps of one version are the same, and epochs never go back.

use std::{collections::BTreeMap, fmt};

use hexpop_shard::{ShardMap, Space};

/// The maps that were seen.
#[derive(Debug, Default)]
pub(in crate::sim) struct ShardMaps {
    by_version: BTreeMap<u64, ShardMap>,
}

impl ShardMaps {
    /// Somebody has this map; answers whether it is news.
    pub(in crate::sim) fn seen(
        &mut self,
        who: impl fmt::Display,
        map: &ShardMap,
    ) -> Result<bool, String> {
        if map.is_empty() {
            return Ok(false);
        }
        let version = map.version();
        if let Some(known) = self.by_version.get(&version) {
            return if known == map {
                Ok(false)
            } else {
                Err(format!("{who} has another map of version {version} than was seen before"))
            };
        }
        tiles(map)?;
        for (later, other) in self.by_version.range(version..).take(1) {
            older(map, other).map_err(|what| format!("versions {version} and {later}: {what}"))?;
        }
        if let Some((earlier, other)) = self.by_version.range(..version).next_back() {
            older(other, map)
                .map_err(|what| format!("versions {earlier} and {version}: {what}"))?;
        }
        self.by_version.insert(version, map.clone());
        Ok(true)
    }
}

/// Whether the earlier map has no newer epoch than the later one.
fn older(earlier: &ShardMap, later: &ShardMap) -> Result<(), String> {
    for shard in earlier.shards() {
        if let Some(next) = later.get(shard.id)
            && next.epoch < shard.epoch
        {
            let (from, to) = (shard.epoch, next.epoch);
            return Err(format!("the epoch of shard {} goes back from {from} to {to}", shard.id));
        }
    }
    Ok(())
}

/// Whether the ranges of each space cover it once.
fn tiles(map: &ShardMap) -> Result<(), String> {
    for space in Space::ALL {
        let mut ranges: Vec<_> = map
            .shards()
            .map(|shard| &shard.range)
            .filter(|range| range.space_of() == space)
            .collect();
        ranges.sort_by(|one, other| one.start.cmp(&other.start));
        let starts = ranges.first().map(|range| range.start.clone());
        if starts != Some(hexpop_shard::ShardKey::space_start(space)) {
            return Err(format!("the ranges of {space:?} begin at {starts:?}"));
        }
        for (one, next) in ranges.iter().zip(ranges.iter().skip(1)) {
            if one.end.as_ref() != Some(&next.start) {
                return Err(format!("the ranges of {space:?} do not meet at {:?}", next.start));
            }
        }
        if ranges.last().is_none_or(|range| range.end.is_some()) {
            return Err(format!("the ranges of {space:?} do not reach its end"));
        }
    }
    Ok(())
}
