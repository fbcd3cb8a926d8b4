//! The meta group: truth for shard ids, operations and policy; keeps the newest descriptor that each
//! shard reported.

mod drive;
mod merging;
mod op;
mod operation;
mod setbacks;
mod state;

pub use drive::{Errand, Next};
pub use merging::Together;
pub use op::{ClusterSecret, MetaOp, MetaOutcome};
pub use operation::{
    Operation, OperationId, OperationKind, OperationState, OperationStep, OperationUpdate,
};
pub use setbacks::Setbacks;
pub(crate) use state::MetaItem;
pub use state::{MetaState, OPERATIONS_MAX};
