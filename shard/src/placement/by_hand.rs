//! What an operator may have moved.

use hexpop_edge_config::{NodeId, PopId};

use super::{Member, World, nodes::Nodes};
use crate::{ReplicaRole, ShardDescriptor};

impl World<'_> {
    /// Whether an operator may have a replica moved from one node to another: not where it must not be, and not
    /// out of the ring of the shard's other voters while a PoP in there would be left without one. Placement
    /// would bring that back as soon as it is there, and whoever asked for it would wonder.
    ///
    /// # Errors
    /// Why not, and what to do instead, in words.
    pub fn may_move(
        &self,
        shard: &ShardDescriptor,
        from: NodeId,
        to: NodeId,
    ) -> Result<(), String> {
        let member = self.may_hold(shard, to)?;
        let votes = shard.replica_on(from).is_some_and(|it| it.role == ReplicaRole::Voter);
        if !votes || !self.rings.are_told_apart() {
            return Ok(());
        }
        let nodes = Nodes::new(self.members, self.policy);
        let Some(holders) = nodes.holders(self.policy.of(&shard.range)) else { return Ok(()) };
        let staying = shard.voters().filter(|voter| voter.node != from);
        let mut after: Vec<&Member> = staying.filter_map(|voter| nodes.get(voter.node)).collect();
        after.push(member);
        let home = self.rings.home(&shard.range, after.iter().copied(), &holders.pops);
        if home.has(&member.pop) {
            return Ok(());
        }
        let is_free = |pop: &PopId| after.iter().all(|it| it.pop != *pop);
        let free = holders.pops.iter().filter(|pop| home.has(pop) && is_free(pop));
        let free: Vec<&str> = free.map(|pop| pop.as_str()).collect();
        if free.is_empty() {
            return Ok(());
        }
        Err(format!(
            "placement would move it back: PoP {} is outside of the ring of the voters of shard {}, and {} in there \
             would have none; move it there, or change `placement.rings` (or `near` of its territory) first, on all \
             nodes",
            member.pop,
            shard.id,
            free.join(", "),
        ))
    }
}
