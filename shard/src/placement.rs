//! Placement: which nodes hold which shards.
//!
//! Pure functions of the policy, the members and the map. Hard rules, never relaxed: a replica is only
//! on a node that has every label of the shard's policy, and no two replicas of a shard are in one PoP
//! while another PoP that may hold it has none. Soft: even counts of replicas, even counts of leaders.
//! What cannot be met is reported.

mod first_map;
mod growth;
mod members;
mod plan;
mod policy;
mod split_point;
mod spread;
mod step;
#[cfg(test)]
mod tests;

pub use first_map::{PlacementError, Unplaceable, plan_first_map};
pub use growth::{Growth, ShardLoad, SplitLimits};
pub use members::Member;
pub use plan::{plan, plan_meta_group};
pub use policy::{PlacementPolicy, Policy};
pub use split_point::{Places, bound_of, split_point};
pub use step::{Finding, Plan, Step, StepKind};
