//! One stored response as bytes of a segment file. Pure.
//!
//! ```text
//! header  40 bytes: magic, live or dead, id, lengths, checksums of the head and of itself
//! head    what is stored beside the body, as the codec has it
//! body    chunks of 64 KiB, the last one shorter, each with its checksum behind it
//! ```
//!
//! The one byte that says whether a record is dead is under no checksum: it is written over when the
//! response is forgotten. The checksum of a chunk is also of its record and of its place there, so that
//! no other chunk passes for it.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use hexpop_edge_config::codec;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};

use crate::cache::{
    key::CacheKey,
    policy::{freshness::Freshness, tags::Tag},
    stored::{Payload, Stored},
};

/// Bytes of a header.
pub(crate) const HEADER_BYTES: u64 = 40;

/// Bytes of a head at most; a response that has a longer one is not stored.
pub(crate) const HEAD_BYTES_MAX: u32 = 256 << 10;

/// Bytes of a body under one checksum.
pub(crate) const CHUNK_BYTES: u64 = 64 << 10;

const CHECKSUM_BYTES: u64 = 4;

/// Where in a header it says whether the record is dead.
pub(crate) const STATE_AT: u64 = 4;

/// What it says then.
pub(crate) const DEAD: [u8; 1] = [0];

/// What it says until then, from when it is entered in the catalogue.
pub(crate) const LIVE: [u8; 1] = [1];

const MAGIC: u32 = 0x6876_7031;

/// What a record begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    /// No other record has it.
    pub(crate) id: u64,
    pub(crate) head_bytes: u32,
    pub(crate) head_checksum: u32,
    pub(crate) body_bytes: u64,
    pub(crate) dead: bool,
}

/// A record is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the record is damaged")]
pub(crate) struct Damaged;

impl Header {
    /// As bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(40);
        bytes.extend_from_slice(&MAGIC.to_le_bytes());
        bytes.extend_from_slice(if self.dead { &DEAD } else { &LIVE });
        bytes.extend_from_slice(&[0; 3]);
        bytes.extend_from_slice(&self.id.to_le_bytes());
        bytes.extend_from_slice(&self.head_bytes.to_le_bytes());
        bytes.extend_from_slice(&self.head_checksum.to_le_bytes());
        bytes.extend_from_slice(&self.body_bytes.to_le_bytes());
        let checksum = crc32fast::hash(bytes.get(8..).unwrap_or_default());
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes
    }

    /// Out of the bytes at the beginning.
    ///
    /// # Errors
    /// [`Damaged`]: there is none.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u32::from_le_bytes).ok_or(Damaged)
        };
        let long = |at: usize| {
            let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or(Damaged)
        };
        let covered = bytes.get(8..32).ok_or(Damaged)?;
        if word(0)? != MAGIC || word(32)? != crc32fast::hash(covered) {
            return Err(Damaged);
        }
        let (id, head_bytes, head_checksum, body_bytes) =
            (long(8)?, word(16)?, word(20)?, long(24)?);
        if head_bytes > HEAD_BYTES_MAX {
            return Err(Damaged);
        }
        Ok(Self {
            id,
            head_bytes,
            head_checksum,
            body_bytes,
            dead: bytes.get(4..5) != Some(&LIVE[..]),
        })
    }

    /// Bytes of the whole record; saturating, for lengths that nothing has.
    pub(crate) fn record_bytes(&self) -> u64 {
        HEADER_BYTES
            .saturating_add(u64::from(self.head_bytes))
            .saturating_add(coded_bytes(self.body_bytes))
    }
}

/// Bytes that a body takes with its checksums.
pub(crate) const fn coded_bytes(body_bytes: u64) -> u64 {
    let chunks = body_bytes.div_ceil(CHUNK_BYTES);
    body_bytes.saturating_add(chunks.saturating_mul(CHECKSUM_BYTES))
}

fn checksum(id: u64, number: u64, chunk: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(&number.to_le_bytes());
    hasher.update(chunk);
    hasher.finalize()
}

/// Appends the chunk with a number, and its checksum.
pub(crate) fn write_chunk(out: &mut Vec<u8>, id: u64, number: u64, chunk: &[u8]) {
    out.extend_from_slice(chunk);
    out.extend_from_slice(&checksum(id, number, chunk).to_le_bytes());
}

/// Where the chunks from one number up to another lie, counted from where the coded body begins.
pub(crate) fn place_of(chunks: Range<u64>, body_bytes: u64) -> Range<u64> {
    let at = |chunk: u64| {
        coded_bytes(body_bytes).min(chunk.saturating_mul(CHUNK_BYTES + CHECKSUM_BYTES))
    };
    at(chunks.start)..at(chunks.end)
}

/// The bytes of the chunks from a number on, without their checksums.
///
/// # Errors
/// [`Damaged`].
pub(crate) fn read_chunks(id: u64, first: u64, mut coded: Bytes) -> Result<Vec<Bytes>, Damaged> {
    let mut chunks = Vec::new();
    let mut number = first;
    while !coded.is_empty() {
        let whole = usize::try_from(CHUNK_BYTES + CHECKSUM_BYTES).map_err(|_narrow| Damaged)?;
        let mut chunk = coded.split_to(whole.min(coded.len()));
        let end = chunk.len().checked_sub(size_of::<u32>()).ok_or(Damaged)?;
        let said = chunk.split_off(end);
        if *said != checksum(id, number, &chunk).to_le_bytes() {
            return Err(Damaged);
        }
        chunks.push(chunk);
        number += 1;
    }
    Ok(chunks)
}

/// What is stored beside a body. Final but for its end: it is on disks. A change of it is a new [`MAGIC`], and
/// what has another is dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) origin: String,
    pub(crate) target: String,
    status: u16,
    fields: Vec<(String, Bytes)>,
    lifetime: Duration,
    initial_age: Duration,
    stale_while_revalidate: Duration,
    stale_if_error: Duration,
    never_stale: bool,
    no_cache: bool,
    immutable: bool,
    for_authorized: bool,
    /// When it arrived, in milliseconds since the Unix epoch.
    arrived_ms: u64,
    date_ms: i64,
    vary: Vec<String>,
    selected_by: Vec<Option<Vec<u8>>>,
    tags: Vec<String>,
}

impl Head {
    /// That of a response which arrived at a time of the wall clock.
    pub(crate) fn of(key: &CacheKey, stored: &Stored, arrived_ms: u64) -> Self {
        let Freshness {
            lifetime,
            initial_age,
            stale_while_revalidate,
            stale_if_error,
            never_stale,
            no_cache,
            immutable,
            for_authorized,
        } = stored.freshness;
        let field = |(name, value): (&HeaderName, &HeaderValue)| {
            (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
        };
        Self {
            origin: key.origin().to_owned(),
            target: key.target().to_owned(),
            status: stored.status.as_u16(),
            fields: stored.headers.iter().map(field).collect(),
            lifetime,
            initial_age,
            stale_while_revalidate,
            stale_if_error,
            never_stale,
            no_cache,
            immutable,
            for_authorized,
            arrived_ms,
            date_ms: stored.date_ms,
            vary: stored.vary.iter().map(|name| name.as_str().to_owned()).collect(),
            selected_by: stored.selected_by.clone(),
            tags: stored.tags.iter().map(|tag| tag.to_string()).collect(),
        }
    }

    /// As bytes; `None` if it is too long.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let bytes = codec::encode(self).ok()?;
        (bytes.len() <= HEAD_BYTES_MAX as usize).then_some(bytes)
    }

    /// Out of bytes that a header tells of.
    ///
    /// # Errors
    /// [`Damaged`].
    pub(crate) fn decode(bytes: &[u8], header: &Header) -> Result<Self, Damaged> {
        if crc32fast::hash(bytes) != header.head_checksum {
            return Err(Damaged);
        }
        codec::decode(bytes).map_err(|_odd| Damaged)
    }

    pub(crate) fn key(&self) -> CacheKey {
        CacheKey::of_parts(&self.origin, &self.target)
    }

    /// The response with a payload.
    ///
    /// # Errors
    /// [`Damaged`]: what it says is no response.
    pub(crate) fn stored(&self, payload: Payload, number: u64) -> Result<Stored, Damaged> {
        let mut headers = HeaderMap::with_capacity(self.fields.len());
        for (name, value) in &self.fields {
            let name = HeaderName::try_from(name).map_err(|_odd| Damaged)?;
            let value = HeaderValue::from_maybe_shared(value.clone()).map_err(|_odd| Damaged)?;
            headers.append(name, value);
        }
        let vary: Result<Vec<HeaderName>, _> = self
            .vary
            .iter()
            .map(|name| HeaderName::try_from(name).map_err(|_odd| Damaged))
            .collect();
        let tags: Vec<Tag> = self.tags.iter().map(|tag| Tag::from(tag.as_str())).collect();
        Ok(Stored {
            status: StatusCode::from_u16(self.status).map_err(|_odd| Damaged)?,
            headers,
            payload,
            number,
            freshness: Freshness {
                lifetime: self.lifetime,
                initial_age: self.initial_age,
                stale_while_revalidate: self.stale_while_revalidate,
                stale_if_error: self.stale_if_error,
                never_stale: self.never_stale,
                no_cache: self.no_cache,
                immutable: self.immutable,
                for_authorized: self.for_authorized,
            },
            arrived: Duration::ZERO,
            date_ms: self.date_ms,
            vary: vary?,
            selected_by: self.selected_by.clone(),
            tags: Arc::from(tags),
        })
    }

    /// The same of an earlier process: as old as the wall clock says, and not to be used before the origin has
    /// confirmed it. What passed through other nodes of the PoP meanwhile may have changed it, and nobody
    /// here has heard of that.
    pub(crate) fn unproven(mut self, now_ms: u64) -> Self {
        let since = Duration::from_millis(now_ms.saturating_sub(self.arrived_ms));
        self.initial_age = self.initial_age.saturating_add(since);
        self.lifetime = self.lifetime.min(self.initial_age);
        self.never_stale = true;
        self
    }
}
