//! A shard that has absorbed its neighbour comes into the map.

use hexpop_edge_config::ShardId;

use super::{MapError, ShardDescriptor, ShardMap};

impl ShardMap {
    /// Takes over that a shard has absorbed its neighbour: that one retires in the step that widens the
    /// shard. Told again, or later than of a newer epoch, it is a [`report`](Self::report) of the shard.
    /// Answers whether anything was newer.
    ///
    /// # Errors
    /// [`MapError::Unknown`] of a shard that is not known; [`MapError::RangeWithoutVersion`] when the shard
    /// that is absorbed has a version as new, so that it is another one than was; what keeps the result
    /// from tiling the keyspace. The map is then unchanged.
    pub fn report_merged(
        &mut self,
        shard: ShardDescriptor,
        absorbed: ShardId,
    ) -> Result<bool, MapError> {
        let known = self.shards.get(&shard.id).ok_or(MapError::Unknown(shard.id))?;
        let Some(right) = self.shards.get(&absorbed) else {
            let was = self.retired.contains(&absorbed);
            let told = |newer| newer > 0;
            return if was {
                self.report(vec![shard]).map(told)
            } else {
                Err(MapError::Unknown(absorbed))
            };
        };
        if shard.epoch.version <= known.epoch.version.max(right.epoch.version) {
            return Err(MapError::RangeWithoutVersion(shard.id));
        }
        self.replace(&[shard.id, absorbed], vec![shard])?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::Epoch;

    use super::*;
    use crate::{KeyRange, ShardKey, Space, split::halves};

    fn shard(id: u64, range: KeyRange) -> ShardDescriptor {
        ShardDescriptor { id: ShardId(id), range, epoch: Epoch::FIRST, replicas: Vec::new() }
    }

    #[test]
    fn a_merge_retires_a_shard_in_the_step_that_widens_the_other() {
        let territory = "IT:lazio".parse().unwrap();
        let middle = ShardKey::new(Space::Sessions, &territory, 7);
        let (left, right) = halves(&KeyRange::space(Space::Sessions), &middle);
        let spaces = [KeyRange::space(Space::Listings), KeyRange::space(Space::Directory), left];
        let mut shards: Vec<_> =
            spaces.into_iter().zip(1..).map(|(range, id)| shard(id, range)).collect();
        shards.push(shard(9, right));
        let mut map = ShardMap::create(shards).unwrap();
        let mut merged = shard(3, KeyRange::space(Space::Sessions));
        assert!(map.report_merged(merged.clone(), ShardId(9)).is_err(), "no newer version");
        merged.epoch.version = 2;
        assert!(map.report_merged(merged.clone(), ShardId(2)).is_err(), "not its neighbour");
        assert_eq!(
            map.report_merged(merged.clone(), ShardId(7)),
            Err(MapError::Unknown(ShardId(7)))
        );
        assert_eq!(map.version(), 1);
        assert_eq!(map.report_merged(merged.clone(), ShardId(9)), Ok(true));
        assert_eq!(map.locate(&middle).unwrap().id, ShardId(3));
        assert!(map.get(ShardId(9)).is_none() && map.was_used(ShardId(9)));
        assert_eq!(map.founded_otherwise(ShardId(3)).unwrap().end, Some(middle));
        assert_eq!(map.founded_otherwise(ShardId(9)), None);
        // Told again, and of a later change of its replicas.
        assert_eq!(map.report_merged(merged.clone(), ShardId(9)), Ok(false));
        merged.epoch.conf = 5;
        assert_eq!(map.report_merged(merged, ShardId(9)), Ok(true));
        // What the retired shard said comes late.
        let late = shard(9, KeyRange::space(Space::Sessions));
        assert_eq!(map.report(vec![late]), Ok(0));
    }
}
