//! Membership: which nodes are up, and the small facts that all of them should know.
//!
//! SWIM with suspicion (over `foca`), as a value: [`Gossip::handle_datagram`] and
//! [`Gossip::handle_timer`] in; datagrams to send, the next deadline and [`Event`]s out. It opens no
//! socket, reads no clock and has its own seeded random numbers, so that a whole cluster of it runs
//! in a test in virtual time.
//!
//! ```text
//!            handle_datagram(now, from, bytes)      poll_output() -> Send | Event | AskSeeds
//!   mesh ──────────────────────────────► Gossip ──────────────────────────────► mesh, node
//!   clock ─────────────────────────────►   │
//!            handle_timer(now)             └──► poll_timeout() -> when to call handle_timer
//! ```
//!
//! **It is not** a failure detector for failover: its suspicion takes seconds, and Raft has its own.
//! It is no carrier of anything large: facts are a few hundred bytes, with a version, and the newest
//! wins; what is larger is pulled by whoever learns that there is a newer one. It decides nothing
//! about shards: a shard-map version heard here is a hint to fetch the map.
//!
//! Invariants: a node's incarnation only grows; of two identities of one node the one with the higher
//! incarnation is the node; a fact never gives way to an older one; memory is bounded by
//! [`Options::members_max`].
//!
//! | SWIM | here |
//! |---|---|
//! | member, incarnation | [`Member`]; the identity's [`incarnation`](Identity::incarnation) counts starts, and SWIM's own refutation counter stays inside |
//! | alive, suspect, confirmed | [`Liveness::Alive`], [`Liveness::Suspect`], [`Liveness::Down`] |
//! | piggybacked update | part of each datagram; facts ride behind them |

mod codec;
mod error;
mod event;
mod facts;
mod identity;
mod info;
mod members;
mod membership;
mod metrics;
mod options;
mod packet;
mod sync;
mod timers;
mod upkeep;
mod view;

pub use error::{Error, PacketError};
pub use event::{Event, Output};
pub use identity::Identity;
pub use info::{NodeInfo, NodeState};
pub use membership::Gossip;
pub use metrics::{Counters, Metrics};
pub use options::Options;
pub use view::{Liveness, Member, View};
