//! What a mesh fetches to hold a copy of the platform: the bulk export, the change feed, and the
//! other way round the news of erased users.
//!
//! A first load reads pages of `GET /edge/v1/listings?after=` until one is empty, then follows
//! `GET /edge/v1/changes?since=` from the `Hexpop-Feed-Cursor` of the *first* page: a change made
//! during the export comes again in the feed, which does no harm, since versions decide.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use futures::{Stream, StreamExt as _, stream};
use hexpop_edge_config::Territory;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use http::{HeaderName, HeaderValue, Response, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::Instant,
};

use super::{
    feed::{Cursor, CursorError, heartbeat},
    platform::{ERASURES_MAX, Erasure, Platform},
    record::Record,
    reply,
    request::{Request, wrong_parameter},
    routes::Outcome,
};
use crate::http::{
    body::{Body, BodyError},
    problem::Problem,
};

const NDJSON: &str = "application/x-ndjson";
const FEED_CURSOR: HeaderName = HeaderName::from_static("hexpop-feed-cursor");

/// Listings of an export page when the client does not say.
const PAGE_DEFAULT: u64 = 1_000;
/// The most listings of an export page.
const PAGE_MAX: u64 = 10_000;
/// Listings of a page that are sent in one piece.
const PIECE: usize = 64;
/// Changes read from the feed at once.
const BATCH: usize = 256;
/// How long a feed answer lasts when the client does not say, in seconds.
const WAIT_DEFAULT_S: u64 = 30;
/// The longest a feed answer lasts, in seconds.
const WAIT_MAX_S: u64 = 300;
/// The pause between heartbeats when the client does not say, in milliseconds.
const HEARTBEAT_DEFAULT_MS: u64 = 5_000;
/// The shortest and longest pause between heartbeats, in milliseconds.
const HEARTBEAT_RANGE_MS: (u64, u64) = (50, 60_000);
/// The longest user id, in bytes.
const USER_BYTES_MAX: usize = 256;

/// `GET /edge/v1/listings?territory=&after=&limit=`: listings in the order of their ids, those
/// behind `after`; an empty page is the end. Drafts are among them.
pub(super) fn export(platform: &Platform, request: &Request) -> Outcome {
    let territory = territory(request)?;
    let limit = request.number("limit", PAGE_DEFAULT, (1, PAGE_MAX))?;
    let after = request.parameter("after").unwrap_or_default();
    let (page, cursor) = {
        let store = platform.store.read();
        let count = usize::try_from(limit).unwrap_or(usize::MAX);
        (store.page(territory.as_ref(), after, count), store.feed().head())
    };
    let pieces: Vec<Bytes> = page.chunks(PIECE).map(lines).collect();
    let mut response = ndjson(stream::iter(pieces));
    reply::set_text(&mut response, FEED_CURSOR, &cursor.to_string());
    Ok(response)
}

fn lines(records: &[Arc<Record>]) -> Bytes {
    let bytes = records.iter().map(|record| record.body().len() + 1).sum();
    let mut lines = BytesMut::with_capacity(bytes);
    for record in records {
        lines.extend_from_slice(record.body());
        lines.extend_from_slice(b"\n");
    }
    lines.freeze()
}

/// `GET /edge/v1/changes?since=&territory=&wait=&heartbeatMs=`: one change or heartbeat a line, each
/// with its cursor, for `wait` seconds (0 = only what is there). Without `since` from now on.
pub(super) fn changes(platform: &Arc<Platform>, request: &Request) -> Outcome {
    let territory = territory(request)?;
    let wait = request.number("wait", WAIT_DEFAULT_S, (0, WAIT_MAX_S))?;
    let pause = request.number("heartbeatMs", HEARTBEAT_DEFAULT_MS, HEARTBEAT_RANGE_MS)?;
    let cursor = since(platform, request.parameter("since"))?;
    let slot = Arc::clone(&platform.feed_slots).try_acquire_owned().map_err(|_full| {
        Problem::new(ProblemType::Overloaded, "too many clients follow the feed")
    })?;
    let now = Instant::now();
    let follower = Follower {
        changes: platform.changes.subscribe(),
        platform: Arc::clone(platform),
        territory,
        cursor,
        pause: Duration::from_millis(pause),
        // At once, so that the client sees that it is connected and where it is.
        next_heartbeat: now,
        end: now + Duration::from_secs(wait),
        caught_up: false,
        _slot: slot,
    };
    let lines = stream::unfold(follower, |mut follower| async move {
        follower.next().await.map(|lines| (lines, follower))
    });
    let mut response = ndjson(lines);
    reply::set_text(&mut response, FEED_CURSOR, &cursor.to_string());
    Ok(response)
}

fn since(platform: &Platform, text: Option<&str>) -> Result<Cursor, Problem> {
    let store = platform.store.read();
    let feed = store.feed();
    match text {
        None => Ok(feed.head()),
        Some(text) => feed.parse(text).map_err(|error| match error {
            CursorError::Malformed => {
                let expected = "must be a cursor that this origin gave";
                Problem::new(ProblemType::InvalidCursor, expected)
                    .at(Place::Parameter("since".to_owned()), expected)
            }
            CursorError::Expired => Problem::new(
                ProblemType::CursorExpired,
                "changes behind this cursor are gone; export all listings again",
            ),
        }),
    }
}

/// One client of the feed.
struct Follower {
    platform: Arc<Platform>,
    changes: watch::Receiver<u64>,
    territory: Option<Territory>,
    cursor: Cursor,
    pause: Duration,
    next_heartbeat: Instant,
    end: Instant,
    /// Whether the last look at the feed reached its head.
    caught_up: bool,
    _slot: OwnedSemaphorePermit,
}

impl Follower {
    /// The next lines; `None` when the answer is over. It is also over, without a word, when the
    /// client was so slow that the ring passed it by: its next request will be answered with 410.
    async fn next(&mut self) -> Option<Bytes> {
        let platform = Arc::clone(&self.platform);
        loop {
            let now = Instant::now();
            if self.caught_up && now >= self.end {
                return None;
            }
            // Marked before reading, so that a change in between wakes the wait below.
            self.changes.mark_unchanged();
            let batch = {
                let store = platform.store.read();
                store.feed().after(self.cursor, self.territory.as_ref(), BATCH).ok()?
            };
            self.cursor = batch.cursor;
            self.caught_up = !batch.more;
            if !batch.lines.is_empty() {
                self.next_heartbeat = now + self.pause;
                return Some(batch.lines);
            }
            if batch.more {
                continue;
            }
            if now >= self.next_heartbeat {
                self.next_heartbeat = now + self.pause;
                return Some(heartbeat(self.cursor));
            }
            tokio::select! {
                changed = self.changes.changed() => changed.ok()?,
                () = tokio::time::sleep_until(self.next_heartbeat.min(self.end)) => {}
                () = platform.faults.until_down("/edge/v1/changes") => return None,
                () = platform.stopping.cancelled() => return None,
            }
        }
    }
}

/// `POST /edge/v1/erasures` `{"userId":"u1"}`: the edge erased all it held of this user.
pub(super) async fn erase(platform: &Platform, request: Request) -> Outcome {
    let body = request.into_object().await?;
    let user = body.get("userId").and_then(Value::as_str);
    let Some(user) = user.filter(|user| (1..=USER_BYTES_MAX).contains(&user.len())) else {
        let expected = "must be a text of 1 to 256 bytes";
        return Err(Problem::new(ProblemType::InvalidRequest, format!("`userId` {expected}"))
            .at(Place::Pointer("#/userId".to_owned()), expected));
    };
    let erasure = Erasure { user: user.to_owned(), at: jiff::Timestamp::now() };
    let answer = json!({"userId": erasure.user, "state": "erased"});
    let mut erasures = platform.erasures.lock();
    erasures.push_front(erasure);
    erasures.truncate(ERASURES_MAX);
    Ok(reply::json(&answer))
}

/// `GET /edge/v1/erasures`: newest first.
pub(super) fn erasures(platform: &Platform) -> Response<Body> {
    let erasures: Vec<Value> = platform
        .erasures
        .lock()
        .iter()
        .map(|erasure| json!({"userId": erasure.user, "at": erasure.at.to_string()}))
        .collect();
    reply::json(&json!({"erasures": erasures}))
}

fn territory(request: &Request) -> Result<Option<Territory>, Problem> {
    request
        .parameter("territory")
        .filter(|text| !text.is_empty())
        .map(|text| text.parse())
        .transpose()
        .map_err(|_invalid| wrong_parameter("territory", "must be one such as IT:lombardia"))
}

fn ndjson(pieces: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let frames = pieces.map(|piece| Ok::<_, BodyError>(Frame::data(piece)));
    let mut response = reply::streamed(NDJSON, StreamBody::new(frames).boxed_unsync());
    reply::set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
