//! Placement: which nodes hold which shards.
//!
//! Pure functions of the policy, the members and the map. Hard rules, never relaxed: a replica is only
//! on a node that has every label of the shard's policy, and no two replicas of a shard are in one PoP
//! while another PoP that may hold it has none. Soft: even counts of replicas, even counts of leaders.
//! What cannot be met is reported.

mod first_map;
mod members;
mod plan;
mod policy;
mod spread;
mod step;
#[cfg(test)]
mod tests;

pub use first_map::{PlacementError, Unplaceable, plan_first_map};
pub use members::Member;
pub use plan::{plan, plan_meta_group};
pub use policy::{PlacementPolicy, Policy};
pub use step::{Finding, Plan, Step, StepKind};
