//! Placement: which nodes hold which shards.
//!
//! Pure functions of the policy, the members and the map. Hard rules, never relaxed: a replica is only
//! on a node that has every label of the shard's policy, and no two replicas of a shard are in one PoP
//! while another PoP that may hold it has none. Soft: the voters of a shard within one ring of PoPs, even
//! counts of replicas, even counts of leaders. What cannot be met is reported.
//!
//! What the leader of a shard can do for itself is in [`plan`]; what moves replicas between nodes, and so
//! has to be rationed over the whole mesh, in [`plan_moves`]. The groups that are in no map have a plan of their
//! own, [`plan_system_group`].

mod areas;
mod balance;
mod by_hand;
mod demand;
mod even;
mod explain;
mod first_map;
mod gather;
mod growth;
mod lanes;
mod leaders;
mod learners;
mod members;
mod moves;
mod nodes;
mod per_node;
mod plan;
mod policy;
mod readers;
mod rings;
mod shrink;
mod split_point;
mod spread;
mod step;
mod system;
mod takers;
#[cfg(test)]
mod tests;
mod world;

pub use demand::{Demand, Writers};
pub use explain::{Candidate, Explanation, Verdict, explain};
pub use first_map::{PlacementError, Unplaceable, plan_first_map, plan_first_map_in};
pub use growth::{Growth, ShardLoad, SplitLimits};
pub use learners::Learners;
pub use members::Member;
pub use moves::{Traffic, plan_moves};
pub use plan::{plan, plan_led};
pub use policy::{PlacementPolicy, Policy};
pub use readers::{ReadDemand, ReaderLimits, Readers, ReadersOf};
pub use rings::Rings;
pub use shrink::{ABSORBED_BYTES_MAX, MergeLimits, PlannedMerge, Shrinkage};
pub use split_point::{Places, bound_of, split_point};
pub use step::{Cause, Finding, Move, Moves, Plan, Relocation, Step, StepKind};
pub use system::{SystemGroup, plan_system_group};
pub use world::{Losses, World};
