//! What the loops decide, as functions of what they saw.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hexpop_edge_config::{Epoch, NodeId, RaftId};
use hexpop_shard::{Member, ShardDescriptor, ShardMap, Step};

/// How long the first replica of a shard has for itself before the others initialise the group too.
const INITIALISE_AFTER: Duration = Duration::from_secs(5);

/// How many entries a replica may lack to count as caught up.
pub(super) const CAUGHT_UP_ENTRIES: u64 = 128;

/// A learner of a shard that lacks more for too long is slow: seconds of the busiest shards, so that one that
/// follows from far away is none of those.
pub(super) const FAR_BEHIND_ENTRIES: u64 = 16_384;

/// Whether two bootstrap lists name the same nodes.
pub(super) fn same_list(a: &[NodeId], b: &[NodeId]) -> bool {
    let a: BTreeSet<_> = a.iter().collect();
    a == b.iter().collect()
}

/// Which nodes to ask for a map, in order: whoever mentioned a newer one, a voter of the meta group,
/// any live member. `turn` makes the choice go round.
pub(super) fn whom_to_ask(
    own: NodeId,
    hint: Option<(u64, NodeId)>,
    meta_voters: &[NodeId],
    members: &[Member],
    turn: usize,
) -> Vec<NodeId> {
    let alive: Vec<NodeId> = members
        .iter()
        .filter(|member| member.alive && member.node != own)
        .map(|member| member.node)
        .collect();
    let voters: Vec<NodeId> =
        meta_voters.iter().filter(|voter| alive.contains(voter)).copied().collect();
    let pick = |from: &[NodeId]| turn.checked_rem(from.len()).and_then(|at| from.get(at).copied());
    let mut asked: Vec<NodeId> = Vec::new();
    let candidates = [hint.map(|(_, node)| node), pick(&voters), pick(&alive)];
    for node in candidates.into_iter().flatten() {
        if node != own && !asked.contains(&node) {
            asked.push(node);
        }
    }
    asked
}

/// The steps to take now: of learners for readers only so many that, with those that are `filling` already,
/// `at_most` are on their way; the others come later. Nothing else waits.
pub(super) fn ration(
    steps: impl Iterator<Item = Step>,
    filling: usize,
    at_most: usize,
) -> impl Iterator<Item = Step> {
    let mut room = at_most.saturating_sub(filling);
    steps.filter(move |step| {
        if !step.for_readers {
            return true;
        }
        let fits = room > 0;
        room = room.saturating_sub(1);
        fits
    })
}

/// Whether this replica may give its group the first membership: only at the shard's first epoch (one
/// that split off another has members from the start, and a later version), as a voter, with an empty log; the first replica at once, the others when it did not.
///
/// Safe whoever does it and however often, since all use the same membership. Later, too: voters that
/// moved on from it were a majority of it, and refuse their votes to a log that ends at its start.
pub(super) fn may_initialise(
    shard: &ShardDescriptor,
    own: RaftId,
    log_is_empty: bool,
    age: Duration,
) -> bool {
    let is_voter = shard.voters().any(|voter| voter.raft == own);
    let is_first = shard.voters().next().is_some_and(|voter| voter.raft == own);
    log_is_empty && is_voter && shard.epoch == Epoch::FIRST && (is_first || age >= INITIALISE_AFTER)
}

/// Whether a replica that has `matching` of a log with `last` entries lacks more than so many of them; one that has
/// none, and so gets a snapshot, does.
pub(super) fn lacks_more(last: Option<u64>, matching: Option<u64>, entries: u64) -> bool {
    match (last, matching) {
        (None, _) => false,
        (Some(last), Some(matching)) => last.saturating_sub(matching) > entries,
        (Some(_), None) => true,
    }
}

/// Keeps since when each data directory that has a replica, by the map or as one of `others`, has had no
/// live member.
pub(super) fn note_away<I: Copy>(
    since: &mut BTreeMap<RaftId, I>,
    map: &ShardMap,
    others: impl IntoIterator<Item = RaftId>,
    members: &[Member],
    now: I,
) {
    let live: BTreeSet<RaftId> =
        members.iter().filter(|member| member.alive).map(|member| member.raft).collect();
    let listed = map.shards().flat_map(|shard| &shard.replicas).map(|replica| replica.raft);
    let listed = listed.chain(others);
    let away: BTreeSet<RaftId> = listed.filter(|raft| !live.contains(raft)).collect();
    since.retain(|raft, _| away.contains(raft));
    for raft in away {
        since.entry(raft).or_insert(now);
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;
    use hexpop_shard::{KeyRange, Replica, ReplicaRole, Space, StepKind};

    use super::*;

    fn member(node: u32, raft: u64, alive: bool) -> Member {
        Member {
            node: NodeId(node),
            raft: RaftId(raft),
            pop: "mil".parse().unwrap(),
            labels: BTreeSet::new(),
            alive,
            draining: false,
        }
    }

    fn replica(node: u32, raft: u64, role: ReplicaRole) -> Replica {
        Replica { raft: RaftId(raft), node: NodeId(node), role }
    }

    const BOOTSTRAP: [NodeId; 3] = [NodeId(1), NodeId(2), NodeId(3)];

    fn voters() -> Vec<Replica> {
        vec![
            replica(1, 11, ReplicaRole::Voter),
            replica(2, 22, ReplicaRole::Voter),
            replica(3, 33, ReplicaRole::Voter),
        ]
    }

    #[test]
    fn learners_for_readers_come_a_few_at_a_time_and_hold_nothing_else_up() {
        let step = |shard, for_readers| Step {
            shard: ShardId(shard),
            kind: StepKind::AddLearner { node: NodeId(1), raft: RaftId(1) },
            reason: String::new(),
            for_readers,
        };
        let steps = [step(1, true), step(2, false), step(3, true), step(4, true), step(5, false)];
        let due = |filling, at_most| {
            let due = ration(steps.iter().cloned(), filling, at_most);
            due.map(|step| step.shard.0).collect::<Vec<_>>()
        };
        assert_eq!(due(0, 2), [1, 2, 3, 5]);
        assert_eq!(due(1, 2), [1, 2, 5]);
        assert_eq!(due(3, 2), [2, 5]);
    }

    #[test]
    fn a_replica_lacks_what_its_leader_does_not_know_it_to_have() {
        assert!(!lacks_more(Some(500), Some(372), 128));
        assert!(lacks_more(Some(500), Some(371), 128));
        assert!(!lacks_more(Some(500), Some(371), 129));
        assert!(lacks_more(Some(1), None, u64::MAX), "it gets a snapshot first");
        assert!(!lacks_more(None, None, 0));
    }

    #[test]
    fn the_first_replica_initialises_at_once_and_the_others_wait() {
        let mut shard = ShardDescriptor {
            id: ShardId(4),
            range: KeyRange::space(Space::Listings),
            epoch: Epoch::FIRST,
            replicas: voters(),
        };
        let soon = Duration::ZERO;
        assert!(may_initialise(&shard, RaftId(11), true, soon));
        assert!(!may_initialise(&shard, RaftId(11), false, soon));
        assert!(!may_initialise(&shard, RaftId(22), true, soon));
        assert!(may_initialise(&shard, RaftId(22), true, INITIALISE_AFTER));
        assert!(!may_initialise(&shard, RaftId(44), true, INITIALISE_AFTER));
        shard.epoch = Epoch { version: 2, ..Epoch::FIRST };
        assert!(!may_initialise(&shard, RaftId(11), true, INITIALISE_AFTER));
        shard.epoch = Epoch { conf: 2, ..Epoch::FIRST };
        assert!(!may_initialise(&shard, RaftId(11), true, INITIALISE_AFTER));
    }

    #[test]
    fn who_is_away_is_away_since_then_and_who_comes_back_is_not() {
        let shards = Space::ALL.into_iter().zip(1..).map(|(space, id)| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch::FIRST,
            replicas: voters(),
        });
        let map = ShardMap::create(shards.collect()).unwrap();
        let mut members = vec![member(1, 11, true), member(2, 22, false), member(4, 44, false)];
        let mut since = BTreeMap::new();
        note_away(&mut since, &map, [], &members, 5);
        // Node 3 is unknown, which is no better; node 4 holds nothing.
        assert_eq!(since, BTreeMap::from([(RaftId(22), 5), (RaftId(33), 5)]));
        members.push(member(3, 33, true));
        note_away(&mut since, &map, [RaftId(11)], &members, 9);
        assert_eq!(since, BTreeMap::from([(RaftId(22), 5)]));
        // Back with another data directory: the former is gone still.
        members[1] = member(2, 23, true);
        note_away(&mut since, &map, [RaftId(44)], &members, 12);
        assert_eq!(since, BTreeMap::from([(RaftId(22), 5), (RaftId(44), 12)]));
    }

    #[test]
    fn the_map_is_asked_of_whoever_has_news_first() {
        let members = [member(1, 11, true), member(2, 22, true), member(3, 33, false)];
        let asked = whom_to_ask(NodeId(1), Some((4, NodeId(3))), &BOOTSTRAP, &members, 7);
        assert_eq!(asked, [NodeId(3), NodeId(2)]);
        assert!(whom_to_ask(NodeId(2), None, &[], &members[1..2], 0).is_empty());
    }
}
