//! The origin's export and change feed, as requests and lines.

use bytes::Bytes;
use hexpop_edge_config::Territory;
use hexpop_shard::ListingFormat;
use http::{Request, Response, StatusCode};
use openraft_rt::AsyncRuntime;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::{
    cache::empty,
    deadline::Deadline,
    ingest::{Item, parse},
    port::Body,
    router::Router,
};

/// Why the feed cannot be followed right now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FeedError {
    /// The origin has no such interface.
    #[error("the origin has no {0}")]
    Missing(&'static str),
    /// The cursor is too old: everything has to be loaded again.
    #[error("the origin no longer has the changes since this cursor")]
    Expired,
    /// The origin cannot be reached, or answered with an error.
    #[error("the origin: {0}")]
    Origin(String),
    /// What it sent is not understood.
    #[error("the origin sent a line that is not understood: {0}")]
    Malformed(String),
    /// The mesh could not take it in.
    #[error("the mesh: {0}")]
    Mesh(String),
}

/// One line of a change feed.
#[derive(Debug)]
pub(super) struct Change {
    /// Where the feed goes on behind it.
    pub(super) cursor: String,
    /// What changed; `None` for a heartbeat, and for what can never be taken in.
    pub(super) item: Option<Item>,
    /// Why the line can never be taken in.
    pub(super) refused: Option<String>,
}

/// The shape of a line of a change feed. Other fields may come with it.
#[derive(Debug, Deserialize)]
struct ChangeLine<'a> {
    cursor: String,
    #[serde(borrow, default)]
    listing: Option<&'a RawValue>,
    #[serde(default)]
    delete: Option<String>,
}

impl Change {
    /// Understands one line.
    ///
    /// # Errors
    /// [`FeedError::Malformed`] when it has no cursor: the feed cannot go on behind it. A listing
    /// that is not valid is no error of the feed.
    pub(super) fn parse(number: u64, line: &Bytes) -> Result<Self, FeedError> {
        let parsed: ChangeLine<'_> = serde_json::from_slice(line)
            .map_err(|error| FeedError::Malformed(error.to_string()))?;
        let item = match (parsed.listing, &parsed.delete) {
            (Some(listing), _) => {
                let listing = Bytes::copy_from_slice(listing.get().as_bytes());
                Some(parse(number, ListingFormat::Native, &listing))
            }
            // The line has the shape of a deletion, besides its cursor.
            (None, Some(_id)) => Some(parse(number, ListingFormat::Native, line)),
            (None, None) => None,
        };
        let (item, refused) = match item {
            Some(Ok(item)) => (Some(item), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        Ok(Self { cursor: parsed.cursor, item, refused })
    }
}

impl<R: AsyncRuntime> Router<R> {
    /// One page of the export.
    pub(super) async fn export_page(
        &self,
        territory: &Territory,
        after: Option<&str>,
    ) -> Result<Response<Body>, FeedError> {
        let after = after.map(|after| format!("&after={}", percent(after))).unwrap_or_default();
        let limit = self.options.feed.page_lines;
        let territory = percent(&territory.to_string());
        let target = format!("/edge/v1/listings?territory={territory}&limit={limit}{after}");
        self.get_feed(&target, "export").await
    }

    /// The changes since a cursor; the response stays open.
    pub(super) async fn changes(
        &self,
        territory: &Territory,
        since: &str,
    ) -> Result<Response<Body>, FeedError> {
        let territory = percent(&territory.to_string());
        let target = format!("/edge/v1/changes?since={}&territory={territory}", percent(since));
        self.get_feed(&target, "change feed").await
    }

    async fn get_feed(
        &self,
        target: &str,
        what: &'static str,
    ) -> Result<Response<Body>, FeedError> {
        let mut request = Request::new(empty());
        *request.uri_mut() =
            target.parse().map_err(|error| FeedError::Origin(format!("{target}: {error}")))?;
        let deadline = Deadline::after(self.options.feed.head_timeout);
        let response = self
            .origin
            .fetch_feed(request, deadline)
            .await
            .map_err(|error| FeedError::Origin(error.to_string()))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::GONE => Err(FeedError::Expired),
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::NOT_IMPLEMENTED => Err(FeedError::Missing(what)),
            status => Err(FeedError::Origin(format!("{what} answered {}", status.as_u16()))),
        }
    }
}

/// Percent-encodes what is not unreserved (RFC 3986 §2.3).
fn percent(text: &str) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let hex = |digit: u8| char::from(HEX.get(usize::from(digit)).copied().unwrap_or(b'0'));
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex(byte >> 4), hex(byte & 15)]);
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(line: &str) -> Result<Change, FeedError> {
        Change::parse(1, &Bytes::copy_from_slice(line.as_bytes()))
    }

    #[test]
    fn lines_of_a_change_feed_are_understood() {
        let upsert = r#"{"cursor":"17","listing":{"id":"a","listingType":"sale","status":"active","country":"IT","region":"lazio"}}"#;
        let upsert = change(upsert).unwrap();
        assert_eq!((upsert.cursor.as_str(), upsert.item.unwrap().id()), ("17", "a"));
        let delete = change(r#"{"cursor":"18","delete":"a","version":8}"#).unwrap();
        assert_eq!(delete.item.unwrap().id(), "a");
        let heartbeat = change(r#"{"cursor":"18","heartbeat":true}"#).unwrap();
        assert!(heartbeat.item.is_none() && heartbeat.refused.is_none());
        let invalid = change(r#"{"cursor":"19","listing":{"id":"a"}}"#).unwrap();
        assert!(invalid.item.is_none() && invalid.refused.is_some());
        for wrong in ["", "{}", "[1]", r#"{"cursor":17}"#] {
            assert!(matches!(change(wrong), Err(FeedError::Malformed(_))), "{wrong}");
        }
    }

    #[test]
    fn query_values_are_encoded() {
        assert_eq!(percent("IT:valle d'aosta&x=è"), "IT%3Avalle%20d%27aosta%26x%3D%C3%A8");
    }
}
