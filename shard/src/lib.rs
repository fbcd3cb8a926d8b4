//! What a shard is and what it does: the keyspace, the shard map, placement, and the state machines
//! of listings, directory, sessions and the meta group.
//!
//! **It is** pure: no IO, no clock, no task, no randomness. Time comes in with the commands, documents
//! sit behind a port, and everything replicated is a deterministic function of the log.
//!
//! **It is not** aware of consensus or of the network: whoever applies commands has made sure that
//! they are committed.

mod cell;
mod directory;
mod geo;
mod key;
mod listing;
mod map;
mod meta;
mod placement;
mod position;
mod refusal;
mod session;
mod version;

pub use directory::{
    DirectoryChange, DirectoryChangeOutcome, DirectoryEntry, DirectoryOp, DirectoryOutcome,
    DirectoryState, DirectoryTarget,
};
pub use key::{KeyRange, POINT_END, ShardKey, Space, hash_point};
pub use map::{MapError, Replica, ReplicaRole, ShardDescriptor, ShardMap};
pub use meta::{
    ClusterSecret, MetaOp, MetaOutcome, MetaState, OPERATIONS_MAX, Operation, OperationId,
    OperationKind, OperationState, OperationStep, OperationUpdate,
};
pub use placement::{
    Finding, Member, PlacementError, PlacementPolicy, Plan, Policy, Step, StepKind, Unplaceable, plan,
    plan_first_map,
};
pub use position::LogPosition;
pub use refusal::Refusal;
pub use session::{
    Condition, CreateSession, IDEMPOTENCY_RETENTION_MS, IdempotencyKey, PutSession,
    SESSION_TTL_MAX_MS, Sealed, SessionHead, SessionId, SessionLimits, SessionOp, SessionOutcome,
    SessionPage, SessionRecord, SessionState, SessionTouch, USER_ID_MAX_BYTES,
};
pub use version::RecordVersion;
