//! What can go wrong between a caller and a group.

use std::io;

use hexpop_edge_config::{NodeId, codec::CodecError};
use hexpop_shard::ShardDescriptor;

/// Why a node's groups could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The data directory cannot be read or written.
    #[error("the data directory: {0}")]
    Io(#[from] io::Error),
    /// The timers or limits are not possible.
    #[error("the options: {0}")]
    Options(String),
    /// The write-ahead log cannot be opened.
    #[error("the write-ahead log: {0}")]
    Log(String),
    /// The document store cannot be opened, not even empty.
    #[error("the document store: {0}")]
    Documents(String),
    /// A record of the data directory does not decode.
    #[error("a record of the data directory: {0}")]
    Codec(#[from] CodecError),
    /// A metric cannot be registered.
    #[error("metrics: {0}")]
    Metrics(String),
}

/// Why a command was not (or not known to be) applied.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ProposeError {
    /// The replica here does not lead the group. Nothing was proposed.
    #[error("this replica does not lead the group")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// The caller believed another range of the shard. Nothing was proposed.
    #[error("the shard has another epoch now")]
    StaleEpoch {
        /// What is newer: the shard, and those that split off it.
        newer: Vec<ShardDescriptor>,
    },
    /// No replica of the group runs here. Nothing was proposed.
    #[error("no replica of the group is here")]
    NotHere,
    /// Too many proposals of the group are under way, or the disk does not keep up. Nothing was
    /// proposed.
    #[error("too many proposals are under way")]
    Overloaded,
    /// The command is too large or cannot be encoded. Nothing was proposed.
    #[error("the command cannot be proposed: {0}")]
    Invalid(String),
    /// The command may or may not be applied, now or later: repeat it only under its request id.
    #[error("the outcome is unknown: {0}")]
    Unknown(String),
    /// The group cannot take commands: halted, or shutting down. Nothing was proposed.
    #[error("the group is unavailable: {0}")]
    Unavailable(String),
}

/// Why a read was not answered.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ReadError {
    /// Only the leader could answer, and it is another node.
    #[error("this replica does not lead the group")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// The caller believed another range of the shard.
    #[error("the shard has another epoch now")]
    StaleEpoch {
        /// What is newer: the shard, and those that split off it.
        newer: Vec<ShardDescriptor>,
    },
    /// No replica of the group runs here.
    #[error("no replica of the group is here")]
    NotHere,
    /// The replica cannot prove to be as fresh as asked, or did not reach the position asked for.
    #[error("the replica is not as fresh as asked")]
    StalenessUnmet {
        /// Who may be fresher, if known.
        leader: Option<NodeId>,
    },
    /// The group cannot answer: halted, or shutting down, or without a quorum.
    #[error("the group is unavailable: {0}")]
    Unavailable(String),
}

/// Why an operation on a group's replicas or leadership failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// No replica of the group runs here.
    #[error("no replica of the group is here")]
    NotHere,
    /// The replica here does not lead the group.
    #[error("this replica does not lead the group")]
    NotLeader {
        /// Who does, if known.
        leader: Option<NodeId>,
    },
    /// The node holds no voter of the group.
    #[error("node {0} holds no voter of the group")]
    NoVoter(NodeId),
    /// It did not happen in time; it still may.
    #[error("not done in time")]
    Timeout,
    /// The group cannot do it now.
    #[error("the group is unavailable: {0}")]
    Unavailable(String),
}
