//! Sessions: created, read, replaced, renewed, deleted; and all of one user's at once.

mod condition;
mod erasure;
mod follow;
mod read;
mod receipt;
mod reply;
mod touch;
mod users;
mod write;

pub use condition::condition_of;
pub use follow::ErasureHandle;
pub use receipt::{
    DiskState, ErasedReplica, ErasedShard, ErasedTerritory, Erasure, ErasureState, OriginState,
};
pub use reply::{SessionBody, SessionOrigin, SessionReply};
pub(crate) use touch::Touches;
pub use users::UserExport;
pub use write::{NewSession, PutBody};

use hexpop_edge_config::ShardId;
use hexpop_shard::SessionId;

use crate::{ask::Place, error::RouteError, port::SealAt};

/// Reads an id out of a path.
///
/// # Errors
/// 404: a text that is no id names no session.
pub(crate) fn parse_id(text: &str) -> Result<SessionId, RouteError> {
    text.parse().map_err(|_not_an_id| RouteError::not_found("session with this id"))
}

pub(crate) fn place_of(id: &SessionId) -> Place {
    Place::Key(id.key())
}

/// Where the value of a session is sealed.
pub(crate) fn seal_at<'a>(shard: ShardId, id: &'a SessionId, user: &'a str) -> SealAt<'a> {
    SealAt { shard, territory: Some(id.territory()), name: id.as_str(), user }
}
