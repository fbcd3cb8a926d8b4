//! The meta group: truth for shard ids, operations and policy; keeps the newest descriptor that each
//! shard reported.

mod op;
mod operation;

pub use op::{ClusterSecret, MetaOp, MetaOutcome};
pub use operation::{
    Operation, OperationId, OperationKind, OperationState, OperationStep, OperationUpdate,
};
