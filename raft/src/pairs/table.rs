//! Who was heard when, and whose turn it is: pure, with the time passed in.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hexpop_edge_config::{GroupId, NodeId, RaftId};
use openraft::Instant;

/// The other nodes that share a group with this one or are asked by it, by their data directories.
#[derive(Debug)]
pub(crate) struct Pairs<I> {
    peers: BTreeMap<RaftId, Peer<I>>,
    /// When which node was last asked for something.
    asked: BTreeMap<NodeId, I>,
    /// When it was looked at last.
    looked: Option<I>,
}

#[derive(Debug)]
struct Peer<I> {
    node: NodeId,
    heard: I,
    is_lost: bool,
    /// Which of its lives was heard last, if it says so.
    start: Option<u64>,
    /// When that was heard first, unless it is the first that is known.
    reborn: Option<I>,
}

impl<I> Default for Pairs<I> {
    fn default() -> Self {
        Self { peers: BTreeMap::new(), asked: BTreeMap::new(), looked: None }
    }
}

impl<I: Instant> Pairs<I> {
    /// From now on these are the peers; a new one counts as heard `now`.
    pub(super) fn keep(&mut self, peers: &BTreeMap<RaftId, NodeId>, now: I) {
        self.peers.retain(|raft, _| peers.contains_key(raft));
        for (raft, node) in peers {
            let peer = Peer { node: *node, heard: now, is_lost: false, start: None, reborn: None };
            self.peers.entry(*raft).or_insert(peer).node = *node;
        }
    }

    /// A node is asked for something.
    pub(crate) fn ask(&mut self, node: NodeId, now: I) {
        self.asked.insert(node, now);
    }

    /// The nodes that were asked less than `within` ago.
    pub(super) fn asked(&mut self, now: I, within: Duration) -> BTreeSet<NodeId> {
        self.asked.retain(|_, at| now < *at + within);
        self.asked.keys().copied().collect()
    }

    /// All peers.
    pub(super) fn peers(&self) -> Vec<(RaftId, NodeId)> {
        self.peers.iter().map(|(raft, peer)| (*raft, peer.node)).collect()
    }

    /// A peer said something, `now` or since, in its life `start` if it says so. Answers whether that
    /// is another than before.
    pub(super) fn heard(&mut self, raft: RaftId, start: Option<u64>, now: I) -> bool {
        let Some(peer) = self.peers.get_mut(&raft) else { return false };
        peer.heard = peer.heard.max(now);
        peer.is_lost = false;
        let before = peer.start;
        peer.start = start.or(before);
        let is_reborn = before.is_some() && before != peer.start;
        if is_reborn {
            peer.reborn = Some(now);
        }
        is_reborn
    }

    /// Whether what a peer led when a leader was `heard` last is led by it no more: it is lost, or lives
    /// another life since.
    pub(super) fn is_gone(&self, raft: RaftId, heard: I) -> bool {
        let peer = self.peers.get(&raft);
        peer.is_some_and(|peer| peer.is_lost || peer.reborn.is_some_and(|at| at > heard))
    }

    /// The peers that are heard.
    pub(super) fn live(&self) -> Vec<(RaftId, NodeId)> {
        let live = self.peers.iter().filter(|(_, peer)| !peer.is_lost);
        live.map(|(raft, peer)| (*raft, peer.node)).collect()
    }

    /// Whether a peer is heard, and known to tell its lives apart.
    pub(super) fn can_promise(&self, raft: RaftId) -> bool {
        self.peers.get(&raft).is_some_and(|peer| !peer.is_lost && peer.start.is_some())
    }

    /// Whether nothing was heard of a peer for too long. Others are not.
    pub(super) fn is_lost(&self, raft: RaftId) -> bool {
        self.peers.get(&raft).is_some_and(|peer| peer.is_lost)
    }

    /// Whether this peer is heard.
    pub(crate) fn is_live(&self, raft: RaftId) -> bool {
        self.peers.get(&raft).is_some_and(|peer| !peer.is_lost)
    }

    /// Whether a node is heard on one of its data directories, or is nobody's peer.
    pub(crate) fn hears(&self, node: NodeId) -> bool {
        let mut of_node = self.peers.values().filter(|peer| peer.node == node).peekable();
        of_node.peek().is_none() || of_node.any(|peer| !peer.is_lost)
    }

    /// The peers that nothing was heard of for longer than `after`, and that were not lost before.
    ///
    /// If this was not asked for that long either, it was this node that stood still: everybody gets a
    /// fresh start.
    pub(super) fn lose(&mut self, now: I, after: Duration) -> Vec<RaftId> {
        let stood_still = self.looked.is_some_and(|looked| now > looked + after);
        self.looked = Some(now);
        let mut lost = Vec::new();
        for (raft, peer) in &mut self.peers {
            if stood_still {
                peer.heard = peer.heard.max(now);
            } else if !peer.is_lost && now > peer.heard + after {
                peer.is_lost = true;
                lost.push(*raft);
            }
        }
        lost
    }
}

/// The place of `own` among the voters that can take a group over from a dead leader, and how many they
/// are. Every one of them comes to the same order; it differs from group to group, so that the groups
/// of a dead node spread over those that are left. `None` for who is no such voter.
pub(super) fn rank(own: RaftId, group: GroupId, able: &[RaftId]) -> Option<(u32, u32)> {
    let order = |raft: RaftId| (mix(raft.0 ^ mix(group.0)), raft);
    let place = able.iter().filter(|raft| order(**raft) < order(own)).count();
    let all = u32::try_from(able.len()).ok()?;
    able.contains(&own).then_some((u32::try_from(place).ok()?, all))
}

/// The finaliser of `SplitMix64` (Steele, Lea, Flood 2014): neighbouring numbers come apart.
pub(super) const fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;
    use openraft_rt_tokio::TokioInstant;

    use super::*;

    const AFTER: Duration = Duration::from_millis(225);
    const BEAT: Duration = Duration::from_millis(75);

    fn pairs(now: TokioInstant) -> Pairs<TokioInstant> {
        let mut pairs = Pairs::default();
        let peers = BTreeMap::from([(RaftId(11), NodeId(1)), (RaftId(22), NodeId(2))]);
        pairs.keep(&peers, now);
        pairs
    }

    #[test]
    fn a_peer_is_lost_once_and_found_again() {
        let start = TokioInstant::now();
        let mut pairs = pairs(start);
        let mut lost = Vec::new();
        for beat in 0..10 {
            let now = start + BEAT * beat;
            pairs.heard(RaftId(22), Some(1), now);
            lost.extend(pairs.lose(now, AFTER));
        }
        assert_eq!(lost, [RaftId(11)]);
        assert!(pairs.is_gone(RaftId(11), start) && pairs.live() == [(RaftId(22), NodeId(2))]);
        assert!(pairs.is_lost(RaftId(11)) && !pairs.is_lost(RaftId(22)));
        assert!(!pairs.hears(NodeId(1)) && pairs.hears(NodeId(2)) && pairs.hears(NodeId(3)));
        assert!(!pairs.heard(RaftId(11), None, start + BEAT * 10));
        assert!(!pairs.is_lost(RaftId(11)) && !pairs.is_gone(RaftId(11), start));
        // A stranger is nobody's peer.
        assert!(!pairs.heard(RaftId(33), Some(1), start));
        assert_eq!(pairs.peers().len(), 2);
    }

    #[test]
    fn who_is_asked_is_listened_to_for_a_while() {
        let start = TokioInstant::now();
        let mut pairs = pairs(start);
        pairs.ask(NodeId(3), start);
        pairs.ask(NodeId(4), start + BEAT);
        assert_eq!(pairs.asked(start + BEAT, AFTER), BTreeSet::from([NodeId(3), NodeId(4)]));
        assert_eq!(pairs.asked(start + AFTER, AFTER), BTreeSet::from([NodeId(4)]));
        pairs.ask(NodeId(4), start + AFTER);
        assert_eq!(pairs.asked(start + AFTER + BEAT, AFTER), BTreeSet::from([NodeId(4)]));
    }

    #[test]
    fn a_peer_that_started_again_is_another_life() {
        let start = TokioInstant::now();
        let mut pairs = pairs(start);
        assert!(!pairs.can_promise(RaftId(11)));
        assert!(!pairs.heard(RaftId(11), Some(7), start));
        assert!(pairs.can_promise(RaftId(11)));
        // An answer that does not say so changes nothing.
        assert!(!pairs.heard(RaftId(11), None, start));
        assert!(pairs.heard(RaftId(11), Some(8), start + BEAT));
        // What it led before it leads no more; what was heard of it since is of this life.
        assert!(pairs.is_gone(RaftId(11), start) && !pairs.is_lost(RaftId(11)));
        assert!(!pairs.is_gone(RaftId(11), start + BEAT));
        assert!(!pairs.heard(RaftId(11), Some(8), start + BEAT));
    }

    #[test]
    fn who_stood_still_blames_nobody() {
        let start = TokioInstant::now();
        let mut pairs = pairs(start);
        assert!(pairs.lose(start, AFTER).is_empty());
        assert!(pairs.lose(start + Duration::from_secs(5), AFTER).is_empty());
        let silent = start + Duration::from_secs(5) + AFTER;
        assert!(pairs.lose(silent, AFTER).is_empty());
        assert_eq!(pairs.lose(silent + BEAT, AFTER), [RaftId(11), RaftId(22)]);
    }

    #[test]
    fn every_voter_has_a_place_of_its_own_and_groups_spread() {
        let voters = [RaftId(4), RaftId(5), RaftId(900)];
        let mut first: BTreeSet<RaftId> = BTreeSet::new();
        for group in 0..64 {
            let group: GroupId = ShardId(group);
            let mut places: Vec<_> =
                voters.iter().filter_map(|own| rank(*own, group, &voters)).collect();
            first.extend(voters.iter().filter(|own| rank(**own, group, &voters) == Some((0, 3))));
            places.sort_unstable();
            assert_eq!(places, [(0, 3), (1, 3), (2, 3)]);
        }
        assert_eq!(first.len(), 3);
        assert_eq!(rank(RaftId(7), ShardId(1), &voters), None);
    }
}
