//! Sessions: created, read, replaced, renewed, deleted; and all of one user's at once.

mod condition;
mod read;
mod reply;
mod touch;
mod users;
mod write;

pub use condition::condition_of;
pub use reply::{SessionOrigin, SessionReply};
pub(crate) use touch::Touches;
pub use users::{ErasedTerritory, Erasure, ErasureState, OriginState, UserExport};
pub use write::{NewSession, PutBody};

use hexpop_shard::SessionId;

use crate::{ask::Place, error::RouteError};

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
