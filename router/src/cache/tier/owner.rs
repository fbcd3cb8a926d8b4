//! Which node keeps a URI for its PoP: rendezvous hashing (Thaler and Ravishankar 1998). Every node comes
//! to the same answer from the same members, and when one comes or goes only its own URIs change hands.
//! Pure.

use hexpop_edge_config::NodeId;
use hexpop_shard::hash_point;

use crate::cache::key::CacheKey;

/// The node that keeps a URI, of these; `None` of none.
pub(crate) fn owner_of(key: &CacheKey, nodes: impl IntoIterator<Item = NodeId>) -> Option<NodeId> {
    let key = hash_point(key.as_str().as_bytes());
    nodes.into_iter().max_by_key(|node| (score(key, *node), *node))
}

/// How much a node is the one for a key.
fn score(key: u64, node: NodeId) -> u64 {
    mix(key ^ mix(u64::from(node.0)))
}

/// The finaliser of `SplitMix64`, one step on: every bit of the outcome depends on all bits.
const fn mix(value: u64) -> u64 {
    let mut mixed = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn key(number: usize) -> CacheKey {
        CacheKey::new("https", "www.example.com", &format!("/it/vendita/{number}?p=1"))
    }

    fn any_nodes() -> impl Strategy<Value = BTreeSet<NodeId>> {
        proptest::collection::btree_set((1_u32..1000).prop_map(NodeId), 2..9)
    }

    #[test]
    fn nobody_keeps_anything_where_nobody_is_and_one_node_keeps_everything() {
        assert_eq!(owner_of(&key(1), []), None);
        assert!((0..100).all(|number| owner_of(&key(number), [NodeId(7)]) == Some(NodeId(7))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn every_node_keeps_its_share(nodes in any_nodes()) {
            const KEYS: usize = 4000;
            let mut kept: BTreeMap<NodeId, usize> = BTreeMap::new();
            for number in 0..KEYS {
                let owner = owner_of(&key(number), nodes.iter().copied()).unwrap();
                *kept.entry(owner).or_default() += 1;
            }
            let share = KEYS / nodes.len();
            for node in &nodes {
                let own = kept.get(node).copied().unwrap_or_default();
                // Five standard deviations of a fair draw are less than that.
                prop_assert!(own * 10 > share * 7 && own * 10 < share * 13, "{own} of {share}");
            }
        }

        #[test]
        fn only_what_a_node_kept_changes_hands_when_it_goes(
            nodes in any_nodes(),
            gone in any::<proptest::sample::Index>(),
        ) {
            let gone = *gone.get(&nodes.iter().copied().collect::<Vec<_>>());
            let left = || nodes.iter().copied().filter(|node| *node != gone);
            for number in 0..500 {
                let before = owner_of(&key(number), nodes.iter().copied()).unwrap();
                let after = owner_of(&key(number), left()).unwrap();
                prop_assert!(before == gone || before == after);
                prop_assert_ne!(after, gone);
            }
        }

        #[test]
        fn the_order_in_which_nodes_are_named_means_nothing(
            nodes in any_nodes(),
            number in 0_usize..1_000_000,
        ) {
            let forwards = owner_of(&key(number), nodes.iter().copied());
            prop_assert_eq!(forwards, owner_of(&key(number), nodes.iter().rev().copied()));
        }
    }
}
