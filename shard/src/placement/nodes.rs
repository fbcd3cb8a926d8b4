//! The members as the plan asks for them, again and again: by node, by what they may hold.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{NodeId, PopId};

use super::{Member, PlacementPolicy, Policy, per_node::ByNode};
use crate::Replica;

/// The members, by node and by the labels that policies ask for.
#[derive(Debug)]
pub(super) struct Nodes<'m> {
    all: ByNode<'m>,
    holders: BTreeMap<&'m BTreeSet<String>, Holders<'m>>,
}

/// Who may hold what needs certain labels.
#[derive(Debug, Default)]
pub(super) struct Holders<'m> {
    /// The number of these labels among those that policies ask for, from 0.
    pub(super) class: usize,
    /// The live members that may take another replica, by node.
    pub(super) allowed: ByNode<'m>,
    /// How many they would be if none were being emptied.
    pub(super) alive: usize,
    /// Where they are.
    pub(super) pops: BTreeSet<&'m PopId>,
}

impl<'m> Holders<'m> {
    fn of(labels: &BTreeSet<String>, members: &'m [Member]) -> Self {
        let alive = || members.iter().filter(|member| member.alive && member.carries(labels));
        let allowed: ByNode<'m> = alive().filter(|member| !member.draining).collect();
        let pops = allowed.iter().map(|member| &member.pop).collect();
        Self { class: 0, allowed, alive: alive().count(), pops }
    }
}

impl<'m> Nodes<'m> {
    /// The members, for the shards of a policy.
    pub(super) fn new(members: &'m [Member], policy: &'m PlacementPolicy) -> Self {
        Self::of(members, std::iter::once(&policy.default).chain(policy.territories.values()))
    }

    /// The members, for shards under some policies.
    pub(super) fn of(
        members: &'m [Member],
        policies: impl IntoIterator<Item = &'m Policy>,
    ) -> Self {
        let mut holders = BTreeMap::new();
        for policy in policies {
            let labels = &policy.labels;
            holders.entry(labels).or_insert_with(|| Holders::of(labels, members));
        }
        for (class, holders) in holders.values_mut().enumerate() {
            holders.class = class;
        }
        Self { all: members.iter().collect(), holders }
    }

    /// Has nodes not take another replica of anything.
    pub(super) fn pass_over(&mut self, is_passed_over: impl Fn(&Member) -> bool) {
        for holders in self.holders.values_mut() {
            let allowed = holders.allowed.iter().filter(|member| !is_passed_over(member));
            holders.allowed = allowed.collect();
            holders.pops = holders.allowed.iter().map(|member| &member.pop).collect();
        }
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&'m Member> {
        self.all.get(node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'m Member> {
        self.all.iter()
    }

    /// Who may hold shards under one of the policies that this was made for.
    pub(super) fn holders(&self, policy: &Policy) -> Option<&Holders<'m>> {
        self.holders.get(&policy.labels)
    }

    /// Who may hold what, for each set of labels, by their number.
    pub(super) fn all_holders(&self) -> impl Iterator<Item = (&'m BTreeSet<String>, &Holders<'m>)> {
        self.holders.iter().map(|(labels, holders)| (*labels, holders))
    }

    /// Whether a replica's node is up, on the replica's data directory.
    pub(super) fn is_live(&self, replica: &Replica) -> bool {
        self.get(replica.node).is_some_and(|member| member.alive && member.raft == replica.raft)
    }

    /// Whether a replica's node is up on another data directory than the replica's.
    pub(super) fn is_wiped(&self, replica: &Replica) -> bool {
        self.get(replica.node).is_some_and(|member| member.alive && member.raft != replica.raft)
    }
}
