//! Encryption of session values at rest.
//!
//! ```text
//!  session key file ── territory key of a label ──wraps──▶ data key of (shard, user) ──seals──▶ values
//!  (nodes with the label)                                  in the shard, wrapped               in the shard
//! ```
//!
//! AES-256-GCM twice. A *data key* is random and seals the values of one user in one sessions shard;
//! the shard keeps it wrapped, and destroys it when the user is erased. A *territory key* wraps data
//! keys; it comes from a file that only nodes with the territory's residency labels are given
//! ([`Keyring`]), and never enters the mesh. What is bound to a value besides its key: the session's
//! id, the user and the key's number.
//!
//! **Why so.** A key of its own for each user makes an erasure one small deletion, whatever copies of
//! values are left anywhere. A key per user *and node that writes* lets a write take its key along: no
//! question goes before it. A candidate key is used by one request only, so that no repeat brings an
//! erased key back. Territory keys are not derived from node keys, which come and go with machines.
//!
//! **What an erasure reaches.** The state of every sessions shard at once; the logs and snapshots of live
//! replicas within [`compact_after_erasure`](hexpop_edge_config::config::Raft::compact_after_erasure) and the
//! time of the work (`hexpop_raft`'s supervisor); a replica that is down when it is back. A node that
//! opened the user's values forgets the key ten minutes after its last use. A copy of a data directory
//! that is older than the erasure still has the wrapped key: such copies are to be destroyed, or the
//! territory key rotated and the old one destroyed, once no session is left under it.
//!
//! **It is not** a protection against a node that is broken into while it runs: such a node holds the
//! keys of its labels. Ids, users' ids and times of sessions are not sealed: shards work with them.

mod cache;
mod crypto;
mod keyring;
mod sealer;

pub use keyring::{Keyring, KeyringError, generate};
pub use sealer::{KeyringSealer, Scopes};
