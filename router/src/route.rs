//! Which replicas to ask, in which order. Pure.

use std::time::Duration;

use hexpop_edge_config::NodeId;
use hexpop_shard::{KeyRange, ShardDescriptor, ShardMap};

/// What is known of one replica's node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The node.
    pub node: NodeId,
    /// It is this node, and its replica can answer.
    pub local: bool,
    /// It is in this node's PoP.
    pub same_pop: bool,
    /// Membership believes it to be up.
    pub alive: bool,
    /// Its breaker lets requests through.
    pub admitted: bool,
    /// The round-trip time to it, if known.
    pub rtt: Option<Duration>,
    /// It can lead.
    pub voter: bool,
}

/// The order for reads that any replica may answer: the local one, then those that seem to be well
/// (same PoP first, then the shortest round trip), then the rest as a last resort.
pub(crate) fn for_read(mut candidates: Vec<Candidate>) -> Vec<NodeId> {
    candidates.sort_by_key(|candidate| {
        (
            !candidate.local,
            !(candidate.alive && candidate.admitted),
            !candidate.same_pop,
            candidate.rtt.unwrap_or(Duration::MAX),
            candidate.node,
        )
    });
    candidates.into_iter().map(|candidate| candidate.node).collect()
}

/// The order for what only the leader can do: whom somebody believes to lead (the latest hint
/// first), then the voters as the descriptor has them, which is who should lead first.
pub(crate) fn for_leader(
    hints: &[NodeId],
    descriptor: &ShardDescriptor,
    usable: impl Fn(NodeId) -> bool,
) -> Vec<NodeId> {
    let voters: Vec<NodeId> = descriptor.voters().map(|replica| replica.node).collect();
    let hinted = hints.iter().copied().filter(|node| voters.contains(node));
    let (well, rest): (Vec<_>, Vec<_>) = voters.iter().copied().partition(|node| usable(*node));
    let mut order = Vec::with_capacity(voters.len());
    for node in hinted.chain(well).chain(rest) {
        if !order.contains(&node) {
            order.push(node);
        }
    }
    order
}

/// The shards that share a key with one of the ranges, each once, in key order.
pub(crate) fn shards_of(map: &ShardMap, ranges: &[KeyRange]) -> Vec<ShardDescriptor> {
    let mut found: Vec<&ShardDescriptor> =
        ranges.iter().flat_map(|range| map.overlapping(range)).collect();
    found.sort_by(|a, b| a.range.start.cmp(&b.range.start));
    found.dedup_by_key(|descriptor| descriptor.id);
    found.into_iter().cloned().collect()
}

/// As [`shards_of`], by a map and by what shards said that they have become since: what one of those holds
/// takes the place of the shards that it is the whole of.
pub(crate) fn with_news(
    map: &ShardMap,
    ranges: &[KeyRange],
    news: &[ShardDescriptor],
) -> Vec<ShardDescriptor> {
    let mut shards = shards_of(map, ranges);
    let mut news: Vec<&ShardDescriptor> = news.iter().collect();
    news.sort_by_key(|told| std::cmp::Reverse(told.epoch));
    let mut taken: Vec<&ShardDescriptor> = Vec::new();
    for told in news {
        let mut before = map.overlapping(&told.range);
        before.sort_by(|a, b| a.range.start.cmp(&b.range.start));
        let (Some(first), Some(last)) = (before.first(), before.last()) else { continue };
        let is_whole = first.range.start == told.range.start && last.range.end == told.range.end;
        let is_newer = before.iter().all(|known| known.epoch.version < told.epoch.version);
        let is_first = taken.iter().all(|other| !other.range.overlaps(&told.range));
        let is_asked = shards.iter().any(|shard| shard.range.overlaps(&told.range));
        if is_whole && is_newer && is_first && is_asked {
            shards.retain(|shard| !shard.range.overlaps(&told.range));
            shards.push(told.clone());
            taken.push(told);
        }
    }
    shards.sort_by(|a, b| a.range.start.cmp(&b.range.start));
    shards
}

/// The descriptor to go on with after a replica said that the epoch is stale: the newest of those
/// that hold what was asked for.
pub(crate) fn newer_of<'a>(
    asked: &ShardDescriptor,
    newer: &'a [ShardDescriptor],
    holds: impl Fn(&ShardDescriptor) -> bool,
) -> Option<&'a ShardDescriptor> {
    newer
        .iter()
        .filter(|descriptor| holds(descriptor))
        .filter(|descriptor| descriptor.id != asked.id || descriptor.epoch > asked.epoch)
        .max_by_key(|descriptor| descriptor.epoch)
}

/// The shards to ask in place of one whose range has changed, by what it said and what the map has: they
/// tile its range exactly, so that nothing of it is missed and nothing counted twice. `None` if what is
/// known does not.
pub(crate) fn cover(
    asked: &ShardDescriptor,
    newer: &[ShardDescriptor],
    map: &ShardMap,
) -> Option<Vec<ShardDescriptor>> {
    let known = map.overlapping(&asked.range);
    let is_news = |shard: &&ShardDescriptor| {
        shard.id != asked.id || shard.epoch.version > asked.epoch.version
    };
    let candidates: Vec<&ShardDescriptor> = newer.iter().chain(known).filter(is_news).collect();
    let mut parts: Vec<ShardDescriptor> = Vec::new();
    let mut from = asked.range.start.clone();
    loop {
        let next = candidates
            .iter()
            .filter(|shard| shard.range.start == from)
            .max_by_key(|shard| shard.epoch)?;
        parts.push((*next).clone());
        match (&next.range.end, &asked.range.end) {
            (end, wanted) if end == wanted => return Some(parts),
            (Some(end), None) => from = end.clone(),
            (Some(end), Some(wanted)) if end < wanted => from = end.clone(),
            // It holds more than was asked for.
            _ => return None,
        }
    }
}

/// Whether a shard has become more than was asked, or part of another one: whoever asked it among others
/// has to ask anew, or its keys would be counted twice. Whatever holds a key later has a newer version, and
/// what only divides holds no more than was asked.
pub(crate) fn is_outgrown(
    asked: &ShardDescriptor,
    newer: &[ShardDescriptor],
    map: &ShardMap,
) -> bool {
    let holds_more = |now: &ShardDescriptor| {
        let ends_behind = match (&now.range.end, &asked.range.end) {
            (None, Some(_)) => true,
            (Some(now), Some(asked)) => now > asked,
            (_, None) => false,
        };
        let begins_before = now.range.start < asked.range.start;
        let is_newer = now.epoch.version > asked.epoch.version;
        is_newer && (begins_before || ends_behind) && now.range.overlaps(&asked.range)
    };
    let known = map.overlapping(&asked.range);
    let is_retired = map.get(asked.id).is_none() && map.was_used(asked.id);
    newer.iter().chain(known).any(holds_more) || is_retired
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{Epoch, RaftId, ShardId};
    use hexpop_shard::{Replica, ReplicaRole, ShardKey, Space};

    use super::*;

    fn candidate(node: u32) -> Candidate {
        Candidate {
            node: NodeId(node),
            local: false,
            same_pop: false,
            alive: true,
            admitted: true,
            rtt: None,
            voter: true,
        }
    }

    fn nodes(order: &[NodeId]) -> Vec<u32> {
        order.iter().map(|node| node.0).collect()
    }

    fn descriptor(id: u64, range: KeyRange, voters: &[u32]) -> ShardDescriptor {
        let replica = |node: &u32| Replica {
            raft: RaftId(u64::from(*node)),
            node: NodeId(*node),
            role: if *node < 9 { ReplicaRole::Voter } else { ReplicaRole::Learner },
        };
        let replicas = voters.iter().map(replica).collect();
        ShardDescriptor { id: ShardId(id), range, epoch: Epoch::FIRST, replicas }
    }

    #[test]
    fn the_local_replica_then_the_pop_then_the_nearest_then_the_unwell() {
        let ms = |ms| Some(Duration::from_millis(ms));
        let order = for_read(vec![
            Candidate { admitted: false, rtt: ms(1), ..candidate(1) },
            Candidate { rtt: ms(30), ..candidate(2) },
            Candidate { rtt: ms(10), ..candidate(3) },
            candidate(4),
            Candidate { same_pop: true, rtt: ms(40), ..candidate(5) },
            Candidate { alive: false, same_pop: true, ..candidate(6) },
            Candidate { local: true, ..candidate(7) },
        ]);
        assert_eq!(nodes(&order), [7, 5, 3, 2, 4, 6, 1]);
    }

    #[test]
    fn hints_lead_then_the_voters_in_their_order_and_learners_never() {
        let shard = descriptor(1, KeyRange::space(Space::Sessions), &[2, 9, 1, 3]);
        assert_eq!(nodes(&for_leader(&[], &shard, |_| true)), [2, 1, 3]);
        let hints = [NodeId(3), NodeId(9), NodeId(42), NodeId(1)];
        assert_eq!(nodes(&for_leader(&hints, &shard, |_| true)), [3, 1, 2]);
        assert_eq!(nodes(&for_leader(&[], &shard, |node| node != NodeId(2))), [1, 3, 2]);
    }

    #[test]
    fn a_shard_is_asked_once_however_many_ranges_it_holds() {
        let whole = |id, space| descriptor(id, KeyRange::space(space), &[1]);
        let map = ShardMap::create(vec![
            whole(1, Space::Listings),
            whole(2, Space::Directory),
            whole(3, Space::Sessions),
        ])
        .unwrap();
        let ranges = ["IT:lazio", "IT:lombardia"]
            .map(|text| KeyRange::territory(Space::Listings, &text.parse().unwrap()));
        let ids: Vec<_> = shards_of(&map, &ranges).iter().map(|shard| shard.id.0).collect();
        assert_eq!(ids, [1]);
    }

    #[test]
    fn a_shard_that_divided_is_covered_by_what_holds_its_keys_now_or_not_at_all() {
        let whole = descriptor(3, KeyRange::space(Space::Sessions), &[1]);
        let map = ShardMap::create(vec![
            descriptor(1, KeyRange::space(Space::Listings), &[1]),
            descriptor(2, KeyRange::space(Space::Directory), &[1]),
            whole.clone(),
        ])
        .unwrap();
        let key = |point| ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), point);
        let part = |id, start: Option<u64>, end: Option<u64>, version| {
            let start = start.map_or_else(|| whole.range.start.clone(), key);
            let range = KeyRange { start, end: end.map(key) };
            let epoch = Epoch { version, conf: 1 };
            ShardDescriptor { epoch, ..descriptor(id, range, &[1]) }
        };
        let ids = |newer: &[ShardDescriptor]| {
            let parts = cover(&whole, newer, &map)?;
            Some(parts.into_iter().map(|part| part.id.0).collect::<Vec<_>>())
        };
        let (left, right) = (part(3, None, Some(9), 2), part(7, Some(9), None, 2));
        assert_eq!(ids(&[right.clone(), left.clone()]), Some(vec![3, 7]));
        assert_eq!(ids(std::slice::from_ref(&left)), None, "the other half is missing");
        assert_eq!(ids(&[]), None);
        // Twice since: the last half that was split off, and the one before as it was born.
        let left = part(3, None, Some(5), 3);
        assert_eq!(
            ids(&[left.clone(), right.clone(), part(8, Some(5), Some(9), 3)]),
            Some(vec![3, 8, 7])
        );
        assert_eq!(ids(&[left, right]), None);
    }

    #[test]
    fn a_shard_that_absorbed_another_one_or_was_absorbed_is_outgrown() {
        let key = |point| ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), point);
        let whole = KeyRange::space(Space::Sessions);
        let before = KeyRange { end: Some(key(9)), ..whole.clone() };
        let behind = KeyRange { start: key(9), ..whole.clone() };
        let (left, right) = (descriptor(3, before, &[1]), descriptor(7, behind, &[1]));
        let mut map = ShardMap::create(vec![
            descriptor(1, KeyRange::space(Space::Listings), &[1]),
            descriptor(2, KeyRange::space(Space::Directory), &[1]),
            left.clone(),
            right.clone(),
        ])
        .unwrap();
        let epoch = Epoch { version: 2, conf: 1 };
        let merged = ShardDescriptor { range: whole, epoch, ..left.clone() };
        assert!(!is_outgrown(&left, &[], &map) && !is_outgrown(&right, &[], &map));
        assert!(is_outgrown(&left, std::slice::from_ref(&merged), &map));
        assert!(is_outgrown(&right, std::slice::from_ref(&merged), &map), "the map is old");
        let narrow = KeyRange { end: Some(key(5)), ..merged.range.clone() };
        let divided = ShardDescriptor { range: narrow, ..merged.clone() };
        assert!(!is_outgrown(&left, &[divided], &map), "it has less");
        map.report_merged(merged.clone(), right.id).unwrap();
        assert!(is_outgrown(&left, &[], &map) && is_outgrown(&right, &[], &map));
        assert!(!is_outgrown(&merged, &[], &map));
    }

    #[test]
    fn what_a_shard_has_become_goes_before_the_map_if_it_is_the_whole_of_others() {
        let key = |point| ShardKey::new(Space::Sessions, &"IT:lazio".parse().unwrap(), point);
        let whole = KeyRange::space(Space::Sessions);
        let cut = |start: Option<u64>, end: Option<u64>| KeyRange {
            start: start.map_or_else(|| whole.start.clone(), key),
            end: end.map(key),
        };
        let map = ShardMap::create(vec![
            descriptor(1, KeyRange::space(Space::Listings), &[1]),
            descriptor(2, KeyRange::space(Space::Directory), &[1]),
            descriptor(3, cut(None, Some(5)), &[1]),
            descriptor(7, cut(Some(5), Some(9)), &[1]),
            descriptor(8, cut(Some(9), None), &[1]),
        ])
        .unwrap();
        let told = |id, range, version| {
            let epoch = Epoch { version, conf: 1 };
            ShardDescriptor { epoch, ..descriptor(id, range, &[1]) }
        };
        let asked = [cut(None, Some(4)), cut(Some(9), None)];
        let ids = |news: &[ShardDescriptor]| {
            let shards = with_news(&map, &asked, news);
            shards.into_iter().map(|shard| (shard.id.0, shard.epoch.version)).collect::<Vec<_>>()
        };
        assert_eq!(ids(&[]), [(3, 1), (8, 1)]);
        let merged = told(3, cut(None, Some(9)), 2);
        assert_eq!(ids(std::slice::from_ref(&merged)), [(3, 2), (8, 1)]);
        let all = told(3, whole.clone(), 3);
        assert_eq!(ids(&[merged, all]), [(3, 3)], "the newest counts");
        assert_eq!(ids(&[told(3, cut(None, Some(7)), 2)]), [(3, 1), (8, 1)], "half of another one");
        assert_eq!(ids(&[told(3, cut(None, Some(9)), 1)]), [(3, 1), (8, 1)], "as old");
        assert_eq!(ids(&[told(9, KeyRange::space(Space::Listings), 5)]), [(3, 1), (8, 1)]);
    }

    #[test]
    fn only_a_newer_descriptor_that_holds_the_key_is_gone_on_with() {
        let asked = descriptor(1, KeyRange::space(Space::Sessions), &[1]);
        let mut newer = asked.clone();
        assert!(newer_of(&asked, std::slice::from_ref(&newer), |_| true).is_none());
        newer.epoch.conf += 1;
        assert!(newer_of(&asked, std::slice::from_ref(&newer), |_| false).is_none());
        assert_eq!(newer_of(&asked, std::slice::from_ref(&newer), |_| true), Some(&newer));
        let other = descriptor(7, KeyRange::space(Space::Sessions), &[1]);
        assert_eq!(newer_of(&asked, std::slice::from_ref(&other), |_| true), Some(&other));
    }
}
