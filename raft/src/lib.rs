//! Consensus groups: many per node, over one write-ahead log.
//!
//! A [`Host`] runs the replicas that the shard map places on its node, one openraft instance each, and
//! looks after them: it founds the cluster, follows the map, replaces replicas whose data directory is
//! gone, and hands leaderships around.
//!
//! ```text
//!   propose, read, transfer                       frames of other nodes
//!          │                                               │
//!        Host ── supervisor (found, follow, lead, …)     handle
//!          ├──── pairs (who lives, who takes over, ─────────┤
//!          │            what is parked)                     │
//!          └───────────────┬───────────────────────────────┘
//!                        Group ── Raft ── network ──▶ PeerTransport
//!                          │       └─ LogStore ──▶ wal ──▶ Disk
//!                       Replica (ShardState, documents) ──▶ snapshots
//! ```
//!
//! **It is not** a transport, and opens no socket; **it is not** the place where a request is routed:
//! it answers for the groups that are here.
//!
//! **Invariants**
//! - A frame is handled only by the data directory that it is addressed to: a node that lost its
//!   directory never answers for the replica it was.
//! - Nobody gets a vote within one election timeout of a start, but of a replica that never gave one.
//! - A proposal whose outcome is not known is reported as unknown, never as failed.
//! - A replica says how old its answer is only if it can prove it.
//! - Who promised the leader of a parked group to vote for nobody keeps that while it hears the leader's
//!   node; a leader counts on it from the time at which it asked, never from when the answer came.
//! - What is on a disk of a group is destroyed only after a leader, confirmed by a quorum, said of the
//!   stopped replica that it is no member; should it be one again, it votes for nobody before it has the
//!   entry that made it one.
//! - A shard that divides is durable in both halves before a replica says that it applied the split; until a
//!   quorum of the child's replicas has the child, nobody leaves the shard, and its log stays from the split on.
//! - What damages one replica (a command that does not decode, a snapshot that does not load) halts
//!   that replica, and no other.

mod api;
mod check_quorum;
mod disk;
mod documents;
mod error;
mod group;
mod host;
pub mod identity;
mod log_store;
mod machine;
mod mem_disk;
mod metrics;
mod network;
mod observe;
mod options;
mod pairs;
mod port;
mod read;
mod rpc;
mod snapshot;
mod staging;
mod supervisor;
pub mod types;
pub mod wal;
mod wire;

pub use api::{Holding, Proposed, ReadLevel, ReadResult, ReplicaState, ReplicaStatus, Standing};
pub use disk::{Disk, DiskFile, FsDisk};
pub use documents::Documents;
pub use error::{ControlError, OpenError, ProposeError, ReadError};
pub use host::{Host, Parts};
pub use log_store::LogStore;
pub use mem_disk::{MemDisk, Split};
pub use metrics::Metrics;
pub use observe::Observer;
pub use options::Options;
pub use port::{Lane, Membership, PeerTransport, TransportError, WallClock};
