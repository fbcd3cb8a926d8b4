//! What is stored under a URI, for people, and purges as people ask for them.

use std::time::Duration;

use hexpop_shard::PurgeTarget;
use http::{HeaderName, Uri};
use openraft_rt::AsyncRuntime;
use serde::Serialize;

use super::{
    disk::DiskEntry,
    key::{CacheKey, origin_of},
    options::OriginHost,
    policy::{freshness::Freshness, tags::Tag},
    proxy::HttpCache,
    purge::Purge,
    stored::{Payload, Stored},
};

/// A URL is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an absolute http or https URL nor a path")]
pub struct NotAUrl(pub String);

/// One stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredView {
    /// What it is stored under: scheme, authority, path and query.
    pub key: String,
    /// Its status.
    pub status: u16,
    /// Bytes of its body that are stored.
    pub bytes: u64,
    /// How long the body is, where only parts of it are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub complete_bytes: Option<u64>,
    /// The request headers by which it was chosen, with the values they had.
    pub vary: Vec<(String, Option<String>)>,
    /// What it can be purged by besides its URL.
    pub tags: Vec<String>,
    /// Seconds since it was made.
    pub age: u64,
    /// Seconds for which it is fresh still; negative = stale.
    pub ttl: i64,
    /// What decides how it is used.
    pub rule: &'static str,
    /// Whether it is on disk only.
    #[serde(rename = "onDisk", skip_serializing_if = "std::ops::Not::not")]
    pub on_disk: bool,
}

impl<R: AsyncRuntime> HttpCache<R> {
    /// The purges that a target stands for.
    ///
    /// # Errors
    /// [`NotAUrl`].
    pub(crate) fn purges_of(&self, target: &PurgeTarget) -> Result<Vec<Purge>, NotAUrl> {
        Ok(match target {
            PurgeTarget::Url(url) => match self.located(url)? {
                (Some(origins), target) => origins
                    .into_iter()
                    .map(|origin| Purge::Uri(CacheKey::of_parts(&origin, &target)))
                    .collect(),
                (None, target) => vec![Purge::Target(target)],
            },
            PurgeTarget::Prefix(url) => match self.located(url)? {
                (Some(origins), path) => origins
                    .into_iter()
                    .map(|origin| Purge::Prefix { origin: Some(origin), path: path.clone() })
                    .collect(),
                (None, path) => vec![Purge::Prefix { origin: None, path }],
            },
            PurgeTarget::Tag(tag) => vec![Purge::Tag(tag.as_str().into())],
            PurgeTarget::All => vec![Purge::All],
        })
    }

    /// The origins that a URL may be stored under, and its path and query. A URL means both schemes:
    /// few think of the other one.
    fn located(&self, url: &str) -> Result<(Option<[String; 2]>, String), NotAUrl> {
        let wrong = || NotAUrl(url.to_owned());
        let url = url.split('#').next().unwrap_or(url);
        if url.starts_with('/') && !url.starts_with("//") {
            let target: http::uri::PathAndQuery = url.parse().map_err(|_invalid| wrong())?;
            return Ok((None, self.options.query.apply(target.as_str())));
        }
        let uri: Uri = url.parse().map_err(|_invalid| wrong())?;
        let authority = match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(authority)) => authority.as_str(),
            _ => return Err(wrong()),
        };
        let target = uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let authority = match &self.options.host {
            OriginHost::Pass => authority,
            OriginHost::Fixed(fixed) => fixed,
        };
        let origins = ["http", "https"].map(|scheme| origin_of(scheme, authority));
        Ok((Some(origins), self.options.query.apply(target)))
    }

    /// What is stored under an absolute URL.
    ///
    /// # Errors
    /// [`NotAUrl`].
    pub(crate) fn inspect(&self, url: &str) -> Result<Vec<StoredView>, NotAUrl> {
        let (origins, target) = self.located(url)?;
        let origins = origins.ok_or_else(|| NotAUrl(url.to_owned()))?;
        let keys = origins.iter().map(|origin| CacheKey::of_parts(origin, &target));
        Ok(keys.flat_map(|key| self.views(&key)).collect())
    }

    fn views(&self, key: &CacheKey) -> Vec<StoredView> {
        let now = self.uptime.now();
        let in_memory = self.store.get(key);
        let mut views: Vec<StoredView> =
            in_memory.iter().map(|stored| in_memory_view(key, stored, now)).collect();
        let on_disk = self.store.disk().map_or_else(Vec::new, |disk| disk.entries(key));
        let only = on_disk
            .iter()
            .filter(|entry| !in_memory.iter().any(|stored| entry.is_variant_of(stored)));
        views.extend(only.map(|entry| on_disk_view(key, entry, now)));
        views
    }
}

fn in_memory_view(key: &CacheKey, stored: &Stored, now: Duration) -> StoredView {
    let (bytes, complete_bytes) = match &stored.payload {
        Payload::Whole(bytes) => (bytes.len() as u64, None),
        Payload::Pieces(pieces) => (pieces.held(), Some(pieces.length())),
        Payload::Disk(body) => (body.length(), None),
    };
    let (freshness, resident) = (&stored.freshness, stored.resident(now));
    StoredView {
        key: format!("{}{}", key.origin(), key.target()),
        status: stored.status.as_u16(),
        bytes,
        complete_bytes,
        vary: vary_view(&stored.vary, &stored.selected_by),
        tags: tags_view(&stored.tags),
        age: freshness.age(resident).as_secs(),
        ttl: freshness.ttl(resident),
        rule: rule(freshness, freshness.is_fresh(resident)),
        on_disk: false,
    }
}

fn on_disk_view(key: &CacheKey, entry: &DiskEntry, now: Duration) -> StoredView {
    let (freshness, resident) = (&entry.freshness, entry.resident(now));
    StoredView {
        key: format!("{}{}", key.origin(), key.target()),
        status: entry.status.as_u16(),
        bytes: entry.place.body_bytes,
        complete_bytes: None,
        vary: vary_view(&entry.vary, &entry.selected_by),
        tags: tags_view(&entry.tags),
        age: freshness.age(resident).as_secs(),
        ttl: freshness.ttl(resident),
        rule: rule(freshness, freshness.is_fresh(resident)),
        on_disk: true,
    }
}

fn vary_view(
    names: &[HeaderName],
    selected_by: &[Option<Vec<u8>>],
) -> Vec<(String, Option<String>)> {
    let values = selected_by
        .iter()
        .map(|value| value.as_ref().map(|value| String::from_utf8_lossy(value).into_owned()));
    names.iter().map(ToString::to_string).zip(values).collect()
}

fn tags_view(tags: &[Tag]) -> Vec<String> {
    // A group that only answers of its origin can name is not shown twice.
    tags.iter().filter(|tag| !tag.starts_with("group ")).map(ToString::to_string).collect()
}

/// What decides about a stored response, in the words of `Cache-Control`.
fn rule(freshness: &Freshness, fresh: bool) -> &'static str {
    match (freshness.no_cache, fresh) {
        (true, _) => "no-cache",
        (false, true) if freshness.immutable => "immutable",
        (false, true) => "fresh",
        (false, false) if freshness.never_stale => "must-revalidate",
        (false, false) if !freshness.stale_while_revalidate.is_zero() => "stale-while-revalidate",
        (false, false) if !freshness.stale_if_error.is_zero() => "stale-if-error",
        (false, false) => "stale",
    }
}
