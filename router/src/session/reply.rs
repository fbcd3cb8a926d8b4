//! A session as clients see it.

use hexpop_shard::SessionHead;
use serde_json::{Value, json, value::RawValue};

use crate::{consistency::Given, token::Token};

/// How an answer with a session came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionOrigin {
    /// It was read.
    Read,
    /// It is new: 201.
    Created,
    /// It has a new value: 200.
    Replaced,
    /// The first answer to a repeated create: 201 with `Hexpop-Replayed: ?1`.
    Repeated,
}

/// One session.
#[derive(Debug, Clone)]
pub struct SessionReply {
    /// How this answer came about.
    pub origin: SessionOrigin,
    /// Everything but the value.
    pub head: SessionHead,
    /// The value: JSON text.
    pub data: Box<RawValue>,
    /// Makes later reads include this state: `Hexpop-Token`.
    pub token: Token,
    /// What a read was given; `None` for writes.
    pub given: Option<Given>,
    /// `Cache-Status` of a read.
    pub cache_status: Option<String>,
}

impl SessionReply {
    /// The entity tag, quotes included.
    #[must_use]
    pub fn etag(&self) -> String {
        format!("\"{}\"", self.head.version)
    }

    /// The body.
    #[must_use]
    pub fn to_json(&self) -> Value {
        session_json(&self.head, &self.data)
    }
}

/// A session as it stands in bodies.
pub(super) fn session_json(head: &SessionHead, data: &RawValue) -> Value {
    let mut body = json!({
        "id": head.id.as_str(),
        "userId": head.user,
        "territory": head.id.territory().to_string(),
        "version": head.version.to_string(),
        "createdAt": rfc3339(head.created_ms),
        "expiresAt": rfc3339(head.expires_ms),
        "ttlSeconds": head.ttl_ms / 1000,
        // What was stored is JSON; anything else would have been refused on the way in.
        "data": serde_json::from_str::<Value>(data.get()).unwrap_or_default(),
    });
    if head.sliding
        && let Some(body) = body.as_object_mut()
    {
        body.insert("sliding".to_owned(), true.into());
    }
    body
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub(super) fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    // Times beyond the year 9999 do not occur; they would show as the greatest time there is.
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}
