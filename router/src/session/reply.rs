//! A session as clients see it.

use hexpop_shard::SessionHead;
use serde::Serialize;
use serde_json::value::RawValue;

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
    pub fn body(&self) -> SessionBody<&RawValue> {
        SessionBody::new(&self.head, &self.data)
    }
}

/// A session as it stands in bodies. `D` is JSON text: the value as it was given.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionBody<D> {
    id: String,
    user_id: String,
    territory: String,
    version: String,
    created_at: String,
    expires_at: String,
    ttl_seconds: u64,
    data: D,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    sliding: bool,
}

impl<D> SessionBody<D> {
    pub(super) fn new(head: &SessionHead, data: D) -> Self {
        Self {
            id: head.id.as_str().to_owned(),
            user_id: head.user.clone(),
            territory: head.id.territory().to_string(),
            version: head.version.to_string(),
            created_at: rfc3339(head.created_ms),
            expires_at: rfc3339(head.expires_ms),
            ttl_seconds: head.ttl_ms / 1000,
            data,
            sliding: head.sliding,
        }
    }
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC.
pub(super) fn rfc3339(ms: u64) -> String {
    let ms = i64::try_from(ms).unwrap_or(i64::MAX);
    // Times beyond the year 9999 do not occur; they would show as the greatest time there is.
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::MAX).to_string()
}
