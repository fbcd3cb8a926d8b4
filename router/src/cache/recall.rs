//! Taking back from disk what memory has no answer for.

use std::{ops::Range, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Request, StatusCode, header, request};
use openraft_rt::AsyncRuntime;

use super::{
    body::{empty, not_stalling},
    disk::{DiskBody, DiskTier},
    exchange::Exchange,
    policy::{range::parse_content_range, text::EntityTag},
    proxy::HttpCache,
    purge::Moment,
    store::Variants,
    stored::Stored,
};
use crate::{breakers::Class, deadline::Deadline, origin::OriginClient, port::Body};

/// How long a request waits for the disk. Too low: what is there is fetched again while the disk is busy. Too high:
/// a disk that hangs costs every miss so much.
const RECALL_WITHIN: Duration = Duration::from_secs(1);

impl<R: AsyncRuntime> HttpCache<R> {
    /// What is stored under a request's URI together with what the request selects of it on disk; `None` if it
    /// selects nothing there, or that cannot be read in time.
    pub(super) async fn recall(
        &self,
        disk: &Arc<DiskTier>,
        exchange: &mut Exchange,
        variants: &Variants,
        began: Moment,
    ) -> Option<Variants> {
        // As the origin would have got it: responses were chosen by that.
        exchange.rewrite();
        let found = disk.find(&exchange.key, &exchange.headers)?;
        if variants.iter().any(|stored| found.is_variant_of(stored)) {
            return None;
        }
        let stored = match Deadline::<R>::after(RECALL_WITHIN).bound(disk.read(found)).await {
            Ok(stored) => stored?,
            Err(_elapsed) => {
                disk.note_late();
                return None;
            }
        };
        if self.store.is_purged(began, &exchange.key, &stored.tags) {
            return None;
        }
        self.store.promote(exchange.key.clone(), &stored, began);
        let in_memory = self.store.get(&exchange.key);
        let others = in_memory.iter().filter(|other| !other.is_variant_of(&stored));
        // One that came meanwhile is newer.
        let newer = in_memory.iter().find(|other| other.is_variant_of(&stored));
        let ours = newer.map_or_else(|| Arc::clone(&stored), Arc::clone);
        Some(std::iter::once(ours).chain(others.cloned()).collect())
    }

    /// A body on disk; if it proves damaged in the middle, the origin gives the rest of it to a request, as long as
    /// it can tell that it is the same (RFC 9110 §13.1.5: by a strong validator).
    pub(super) fn or_from_origin(
        &self,
        body: &DiskBody,
        exchange: &Exchange,
        stored: &Stored,
    ) -> DiskBody {
        let tag = EntityTag::of_response(&stored.headers).filter(|tag| !tag.weak);
        let tag = tag.and_then(|_strong| stored.headers.get(header::ETAG).cloned());
        let request = exchange.upstream_for_store(None, false, &self.name);
        let (Some(tag), Some(request)) = (tag, request) else { return body.clone() };
        let (origin, patience) = (self.origin.clone(), self.options.origin_timeout);
        let (head, _empty) = request.into_parts();
        let length = body.length();
        body.or_from(Arc::new(move |part| {
            let (origin, head, tag) = (origin.clone(), head.clone(), tag.clone());
            Box::pin(async move {
                let body = part_of_origin(&origin, head, tag, part, length, patience).await?;
                Some(not_stalling::<R>(body, patience))
            })
        }))
    }
}

/// A part of a representation with a tag, which is so long; `None` if the origin does not have just that.
async fn part_of_origin<R: AsyncRuntime>(
    origin: &OriginClient<R>,
    mut head: request::Parts,
    tag: HeaderValue,
    part: Range<u64>,
    length: u64,
    within: Duration,
) -> Option<Body> {
    let range = format!("bytes={}-{}", part.start, part.end.checked_sub(1)?);
    head.headers.insert(header::RANGE, range.parse().ok()?);
    head.headers.insert(header::IF_RANGE, tag.clone());
    let request = Request::from_parts(head, empty());
    let response = origin.fetch(Class::Proxy, request, Deadline::after(within)).await.ok()?;
    let is_same = |headers: &HeaderMap| {
        headers.get(header::ETAG) == Some(&tag)
            && parse_content_range(headers) == Some((part.clone(), length))
    };
    let is_it = response.status() == StatusCode::PARTIAL_CONTENT && is_same(response.headers());
    is_it.then(|| response.into_body())
}
