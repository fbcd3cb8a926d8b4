//! One listing by id.

use std::time::Duration;

use bytes::Bytes;
use hexpop_edge_config::ShardId;
use hexpop_shard::{
    DirectoryEntry, DirectoryTarget, ListingVersion, LogPosition, ReadAnswer, ReadOp, ShardKey,
    Status, StoredListing,
};
use openraft_rt::AsyncRuntime;

use crate::{
    ask::{Answered, Call, Place, ReadTerms, random},
    consistency::{Level, with_token},
    error::{Problem, RouteError},
    retry::{Retry, RetryPolicy},
    router::{Context, Routed, Router, ShardTime},
};

/// How long a listing is waited for that the directory points to and that is not there.
const MOVING: RetryPolicy = RetryPolicy {
    attempts_max: 5,
    backoff_first: Duration::from_millis(10),
    backoff_max: Duration::from_millis(100),
};

/// A listing as it is given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingDocument {
    /// Its JSON text.
    pub json: Bytes,
    /// The entity tag, quotes included: the shard and the entry of its log that wrote it. Alike at every
    /// node, and another one for other content: an entry never writes a listing twice.
    pub etag: String,
}

impl ListingDocument {
    fn new(shard: ShardId, position: LogPosition, document: String) -> Self {
        let etag = format!("\"{shard}-{position}\"");
        Self { json: Bytes::from(document), etag }
    }
}

/// What the mesh knows of an id.
enum Looked {
    Found(Answered<ListingDocument>),
    /// It is there, but its status is not for the public.
    Private,
    /// The directory says, at `strong`, that it was deleted.
    Deleted,
    /// The directory says, at `strong`, that there is none.
    Absent,
    /// The directory points to where there is none: it is on its way to another place, and whoever
    /// moves it is slow, or gone.
    Moving,
}

impl<R: AsyncRuntime> Router<R> {
    /// Reads a listing; `eventual` unless asked otherwise. What the mesh does not have is asked of
    /// the origin.
    ///
    /// # Errors
    /// 404 when neither has it; 503 when the mesh does not have it and the origin cannot be asked.
    pub async fn get_listing(
        &self,
        id: &str,
        context: &Context,
    ) -> Result<Routed<ListingDocument>, RouteError> {
        let call = self.call(context, self.options.read_timeout);
        let began = self.uptime.now();
        let not_found = || RouteError::not_found("listing with this id");
        match self.look_up(id, context, &call).await {
            Ok(Looked::Found(answered)) => {
                let took = self.uptime.now().saturating_sub(began);
                let document = answered.body.clone();
                let mut answer = self.answer_of(&answered, document);
                let (shard, node) = (answered.point.shard, answered.by);
                answer.times.push(ShardTime { shard, node, took });
                return Ok(Routed::Mesh(answer));
            }
            Ok(Looked::Private | Looked::Deleted) => return Err(not_found()),
            Ok(Looked::Absent) => {}
            Ok(Looked::Moving) => {
                let error = RouteError::new(
                    Problem::ShardUnavailable,
                    "the listing is on its way to another place; try again",
                );
                let response = self.ask_origin(context.fallback.as_ref(), error, &call).await?;
                return match response.status() {
                    http::StatusCode::NOT_FOUND => Err(not_found()),
                    _ => Ok(Routed::Origin(response)),
                };
            }
            Err(error) if error.status < 500 => return Err(error),
            Err(error) => {
                let response = self.ask_origin(context.fallback.as_ref(), error, &call).await?;
                return Ok(Routed::Origin(response));
            }
        }
        match self.ask_origin(context.fallback.as_ref(), not_found(), &call).await {
            Ok(response) if response.status() == http::StatusCode::NOT_FOUND => Err(not_found()),
            Ok(response) => Ok(Routed::Origin(response)),
            // Without the origin, a mesh that holds everything is sure that there is none.
            Err(error) if error.status >= 500 && self.is_complete(&call).await => {
                tracing::debug!(%error, "the origin was not asked for an absent listing");
                Err(not_found())
            }
            Err(error) => Err(error),
        }
    }

    async fn look_up(
        &self,
        id: &str,
        context: &Context,
        call: &Call<R>,
    ) -> Result<Looked, RouteError> {
        let level = context.level.unwrap_or_default();
        if level != Level::Strong {
            let remembered = self.ids.get(id);
            let place = match remembered {
                Some(key) => Some((key, None)),
                None => match self.directory(id, ReadTerms::at(Level::Eventual), call).await {
                    Ok(entry) => entry.and_then(|entry| {
                        Some((entry.key()?.clone(), Some(entry.listing_version)))
                    }),
                    // Perhaps the leader can be asked.
                    Err(_unavailable) => None,
                },
            };
            if let Some((key, committed)) = place {
                match self.read_listing(id, (&key, committed), context, level, call).await? {
                    Some(found) => {
                        self.ids.put(id, key);
                        return Ok(found);
                    }
                    None => self.ids.forget(id),
                }
            }
        }
        let mut retry = Retry::new(MOVING);
        while retry.attempt() {
            let Some(entry) = self.directory(id, ReadTerms::at(Level::Strong), call).await? else {
                return Ok(Looked::Absent);
            };
            let DirectoryTarget::At(key) = entry.target else { return Ok(Looked::Deleted) };
            // The replica that is near may not have it yet, where the leader has.
            let place = (&key, Some(entry.listing_version));
            let found = match self.read_listing(id, place, context, level, call).await? {
                None if level != Level::Strong => {
                    self.read_listing(id, place, context, Level::Strong, call).await?
                }
                found => found,
            };
            if let Some(found) = found {
                self.ids.put(id, key);
                return Ok(found);
            }
            // A listing on its way to another place is at none for a moment.
            if !call.deadline.sleep(retry.pause(random::<R>())).await {
                break;
            }
        }
        Ok(Looked::Moving)
    }

    /// The directory's entry of an id.
    pub(crate) async fn directory(
        &self,
        id: &str,
        terms: ReadTerms,
        call: &Call<R>,
    ) -> Result<Option<DirectoryEntry>, RouteError> {
        let place = Place::Key(ShardKey::directory(id));
        let op = ReadOp::Directory { ids: vec![id.to_owned()] };
        let answered = self.asker.read(&place, terms, op, call).await?;
        let answered = answered.expect_body(|body| match body {
            ReadAnswer::Directory(entries) => Some(entries),
            _ => None,
        })?;
        Ok(answered.body.into_iter().next().flatten())
    }

    /// The listing at a place; `None` if there is none. A copy that searches do not find yet counts
    /// only if the directory points to that version of it: else its writer has not got there, and may
    /// never.
    async fn read_listing(
        &self,
        id: &str,
        (key, committed): (&ShardKey, Option<ListingVersion>),
        context: &Context,
        level: Level,
        call: &Call<R>,
    ) -> Result<Option<Looked>, RouteError> {
        let map = self.asker.map();
        let shard = map.locate(key).ok_or_else(|| RouteError::no_shard(&map))?;
        let (level, min_position) =
            with_token(level, context.token.as_ref(), shard.id, shard.epoch, &map);
        let terms = ReadTerms { level, min_position };
        let found = self.stored(id, key, terms, call).await?;
        let Answered { body: Some(stored), by, level, point } = found else { return Ok(None) };
        if stored.hidden && committed != Some(stored.version) {
            return Ok(None);
        }
        if matches!(stored.status, Status::Draft | Status::PendingReview) {
            return Ok(Some(Looked::Private));
        }
        let body = match stored.document {
            Some(document) => ListingDocument::new(point.shard, stored.at.position, document),
            // This replica's store lost it; the leader is likelier to have it than any other.
            None => {
                let again = self.stored(id, key, ReadTerms::at(Level::Strong), call).await?;
                let shard = again.point.shard;
                let whole = again.body.and_then(|stored| {
                    Some(ListingDocument::new(shard, stored.at.position, stored.document?))
                });
                whole.ok_or_else(|| {
                    let detail = "the listing's document is being restored from another replica";
                    RouteError::new(Problem::ShardUnavailable, detail)
                })?
            }
        };
        Ok(Some(Looked::Found(Answered { body, by, level, point })))
    }

    async fn stored(
        &self,
        id: &str,
        key: &ShardKey,
        terms: ReadTerms,
        call: &Call<R>,
    ) -> Result<Answered<Option<Box<StoredListing>>>, RouteError> {
        let op = ReadOp::Listing { id: id.to_owned() };
        let answered = self.asker.read(&Place::Key(key.clone()), terms, op, call).await?;
        answered.expect_body(|body| match body {
            ReadAnswer::Listing(listing) => Some(listing),
            _ => None,
        })
    }
}
