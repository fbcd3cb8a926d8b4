//! One shard's follower.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::future::{BoxFuture, join_all};
use hexpop_edge_config::Territory;
use hexpop_shard::{
    FeedCursor, KeyRange, ListingFormat, ListingsOp, Op, ReadAnswer, ReadOp, ShardDescriptor, Space,
};
use http::Response;
use openraft_rt::AsyncRuntime;

use super::client::{Change, FeedError};
use crate::{
    ask::{Call, Place, ReadTerms, random},
    consistency::Level,
    deadline::Deadline,
    ingest::{IngestReport, Window},
    ndjson::{Line, LineReader},
    port::Body,
    retry::{Retry, RetryPolicy},
    router::{Context, Router},
};

/// The header field of an export that says from where on changes are not in it.
const CURSOR_HEADER: &str = "hexpop-feed-cursor";

/// A cursor that moved without a change (heartbeats) is logged no more often than this.
const IDLE_CURSOR_INTERVAL: Duration = Duration::from_secs(30);

/// Changes that are taken in together at most, when they come quickly.
const CHANGES_MAX: usize = 512;

/// The pauses between failures.
struct Backoff<R: AsyncRuntime> {
    retry: Retry,
    policy: RetryPolicy,
    runtime: std::marker::PhantomData<fn() -> R>,
}

impl<R: AsyncRuntime> Backoff<R> {
    const fn new(policy: RetryPolicy) -> Self {
        Self { retry: Retry::new(policy), policy, runtime: std::marker::PhantomData }
    }

    async fn pause(&mut self) {
        let pause = self.retry.pause(random::<R>());
        R::sleep(pause).await;
    }

    const fn reset(&mut self) {
        self.retry = Retry::new(self.policy);
    }
}

impl<R: AsyncRuntime> Router<R> {
    /// Follows the origin for one shard, until dropped.
    pub(super) fn follow(self: Arc<Self>, shard: ShardDescriptor) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let cursors = Arc::clone(&self).load_until_done(shard.clone()).await;
            let mut followed = Vec::new();
            for (territory, cursor) in cursors {
                let (this, shard) = (Arc::clone(&self), shard.clone());
                let following: BoxFuture<'static, ()> = Box::pin(async move {
                    this.follow_changes(&shard, &territory, cursor).await;
                });
                followed.push(following);
            }
            join_all(followed).await;
            // What is not followed stays as it is, for as long as this node leads.
            std::future::pending::<()>().await;
        })
    }

    fn load_until_done(
        self: Arc<Self>,
        shard: ShardDescriptor,
    ) -> BoxFuture<'static, BTreeMap<Territory, String>> {
        let holds = |territory: &&Territory| {
            shard.range.overlaps(&KeyRange::territory(Space::Listings, territory))
        };
        let territories = self.options.feed.territories.iter().filter(holds);
        let territories: Vec<Territory> = territories.cloned().collect();
        Box::pin(async move {
            let mut backoff = self.feed_backoff();
            loop {
                match self.load(&shard, &territories).await {
                    Ok(cursors) => return cursors,
                    Err(error) => {
                        let shard = shard.id;
                        tracing::warn!(%shard, %error, "the first load failed; it is tried again");
                        backoff.pause().await;
                    }
                }
            }
        })
    }

    /// The cursors from which the territories' feeds go on: those in the log, else those of a
    /// first load.
    async fn load(
        &self,
        shard: &ShardDescriptor,
        territories: &[Territory],
    ) -> Result<BTreeMap<Territory, String>, FeedError> {
        let (complete, mut cursors) = self.read_feeds(shard).await?;
        cursors.retain(|territory, _cursor| territories.contains(territory));
        if complete {
            return Ok(cursors);
        }
        for territory in territories {
            if cursors.contains_key(territory) {
                continue;
            }
            match self.load_export(territory).await {
                Ok(Some(cursor)) => {
                    cursors.insert(territory.clone(), cursor);
                }
                Ok(None) => {
                    tracing::warn!(%territory, "the origin's export names no cursor, so changes \
                         cannot be followed; listings come through the ingest interface only");
                }
                Err(FeedError::Missing(what)) => {
                    tracing::warn!(%territory, "the origin has no {what}; listings come through \
                         the ingest interface only");
                }
                Err(error) => return Err(error),
            }
        }
        self.mark(shard, true, &cursors).await?;
        Ok(cursors)
    }

    /// Whether a shard is complete, and the cursors in its log.
    async fn read_feeds(
        &self,
        shard: &ShardDescriptor,
    ) -> Result<(bool, BTreeMap<Territory, String>), FeedError> {
        let call = Call::own(self.options.read_timeout);
        let place = Place::Shard(shard.clone());
        let terms = ReadTerms::at(Level::Strong);
        let mesh = |detail: String| FeedError::Mesh(detail);
        let counts = self.asker.read(&place, terms, ReadOp::Counts, &call).await;
        let feeds = self.asker.read(&place, terms, ReadOp::Feeds, &call).await;
        let counts = counts.map_err(|error| mesh(error.detail))?.body;
        let feeds = feeds.map_err(|error| mesh(error.detail))?.body;
        match (counts, feeds) {
            (ReadAnswer::Counts(stats), ReadAnswer::Feeds(feeds)) => {
                let cursors = feeds.into_iter().map(|feed| (feed.territory, feed.cursor));
                Ok((stats.complete, cursors.collect()))
            }
            _ => Err(mesh("the shard gave an answer out of place".to_owned())),
        }
    }

    /// Takes in the whole export of a territory; the cursor is the one of its first page.
    async fn load_export(&self, territory: &Territory) -> Result<Option<String>, FeedError> {
        let mut cursor = None;
        let mut after: Option<String> = None;
        loop {
            let response = self.export_page(territory, after.as_deref()).await?;
            if after.is_none() {
                cursor = cursor_of(&response);
            }
            let last = self.take_in_page(response).await?;
            match last {
                Some(last) if after.as_ref() != Some(&last) => after = Some(last),
                Some(_) | None => return Ok(cursor),
            }
        }
    }

    /// Takes in one page; answers the id behind which the next one begins, `None` when it was
    /// empty.
    async fn take_in_page(&self, response: Response<Body>) -> Result<Option<String>, FeedError> {
        let mut lines = self.lines(response);
        let mut report = IngestReport::default();
        let mut window = Window::default();
        let mut last = None;
        while let Some((number, line)) = self.next_line(&mut lines).await? {
            if let Line::Whole(bytes) = &line
                && let Some(id) = id_of(bytes)
            {
                last = Some(id);
            }
            if let Some(full) =
                self.add_line(&mut window, &mut report, ListingFormat::Native, number, line)
            {
                self.take_in(full, &mut report).await?;
            }
        }
        self.take_in(window, &mut report).await?;
        Ok(last)
    }

    /// Settles a window until nothing of it is to be repeated.
    async fn take_in(&self, window: Window, report: &mut IngestReport) -> Result<(), FeedError> {
        let mut once = IngestReport::default();
        self.settle_window(window, &mut once, &Context::default()).await;
        if let Some(line) = once.rejected.iter().find(|line| line.retryable) {
            return Err(FeedError::Mesh(line.error.clone()));
        }
        for line in &once.rejected {
            tracing::warn!(line = line.line, error = %line.error, "a line of the feed was rejected");
        }
        report.accepted += once.accepted;
        report.ignored += once.ignored;
        Ok(())
    }

    /// Follows a territory's change feed, until dropped or until the origin has none.
    async fn follow_changes(&self, shard: &ShardDescriptor, territory: &Territory, first: String) {
        let mut cursor = first;
        let mut backoff = self.feed_backoff();
        let label = shard.id.to_string();
        let mut behind_since = self.uptime.now();
        loop {
            let followed = self.follow_stream(shard, territory, &mut cursor, &mut backoff).await;
            let now = self.uptime.now();
            match followed {
                // The origin ends its answer now and then; that is not being behind.
                Ok(()) => behind_since = now,
                Err(FeedError::Missing(what)) => {
                    tracing::warn!(%territory, "the origin has no {what}; listings come through \
                         the ingest interface only");
                    self.metrics.feed_lag(&label, 0.0);
                    return;
                }
                Err(FeedError::Expired) => {
                    tracing::warn!(%territory, "the origin's changes since the cursor are gone; \
                         everything is loaded again");
                    match self.load_export(territory).await {
                        Ok(Some(fresh)) => cursor = fresh,
                        Ok(None) => return,
                        Err(error) => tracing::warn!(%territory, %error, "the load failed"),
                    }
                }
                Err(error) => {
                    tracing::warn!(%territory, %error, "the change feed broke off");
                    let lag = now.saturating_sub(behind_since).as_secs_f64();
                    self.metrics.feed_lag(&label, lag);
                }
            }
            backoff.pause().await;
        }
    }

    /// Follows one response of the change feed to its end.
    async fn follow_stream(
        &self,
        shard: &ShardDescriptor,
        territory: &Territory,
        cursor: &mut String,
        backoff: &mut Backoff<R>,
    ) -> Result<(), FeedError> {
        let response = self.changes(territory, cursor).await?;
        let mut lines = self.lines(response);
        let mut logged = (cursor.clone(), self.uptime.now());
        let label = shard.id.to_string();
        while let Some(line) = self.next_line(&mut lines).await? {
            let (batch, seen) = self.gather_changes(line, &mut lines).await?;
            let changed = !batch.is_empty();
            for window in batch {
                self.take_in(window, &mut IngestReport::default()).await?;
            }
            *cursor = seen;
            let now = self.uptime.now();
            let due = changed || now.saturating_sub(logged.1) >= IDLE_CURSOR_INTERVAL;
            if due && logged.0 != *cursor {
                let feeds = vec![feed(territory, cursor)];
                self.log_feeds(shard, ListingsOp::AdvanceFeeds { feeds }).await?;
                logged = (cursor.clone(), now);
            }
            backoff.reset();
            self.metrics.feed_lag(&label, 0.0);
        }
        Ok(())
    }

    /// A line and those that are here already behind it, as windows, and the last cursor.
    async fn gather_changes(
        &self,
        first: (u64, Line),
        lines: &mut LineReader,
    ) -> Result<(Vec<Window>, String), FeedError> {
        let (mut windows, mut window) = (Vec::new(), Window::default());
        let mut line = Some(first);
        let mut cursor = String::new();
        let mut count = 0;
        while let Some((number, content)) = line {
            let bytes = match content {
                Line::Whole(bytes) => bytes,
                Line::TooLong { .. } => {
                    return Err(FeedError::Malformed("it is too long".to_owned()));
                }
            };
            let change = Change::parse(number, &bytes)?;
            cursor = change.cursor;
            if let Some(error) = change.refused {
                tracing::warn!(cursor, error, "a line of the feed was rejected");
            }
            if let Some(item) = change.item {
                windows.extend(self.add_item(&mut window, item));
            }
            count += 1;
            line = if count < CHANGES_MAX && lines.has_line() {
                self.next_line(lines).await?
            } else {
                None
            };
        }
        if !window.is_empty() {
            windows.push(window);
        }
        Ok((windows, cursor))
    }

    async fn mark(
        &self,
        shard: &ShardDescriptor,
        complete: bool,
        cursors: &BTreeMap<Territory, String>,
    ) -> Result<(), FeedError> {
        let feeds = cursors.iter().map(|(territory, cursor)| feed(territory, cursor)).collect();
        self.log_feeds(shard, ListingsOp::MarkComplete { complete, feeds }).await
    }

    async fn log_feeds(&self, shard: &ShardDescriptor, op: ListingsOp) -> Result<(), FeedError> {
        let call = Call::own(self.options.write_timeout);
        let place = Place::Shard(shard.clone());
        let written = self.asker.write(&place, None, Op::Listings(op), &call).await;
        written.map(drop).map_err(|error| FeedError::Mesh(error.detail))
    }

    fn lines(&self, response: Response<Body>) -> LineReader {
        LineReader::new(response.into_body(), self.options.feed.line_bytes_max)
    }

    async fn next_line(&self, lines: &mut LineReader) -> Result<Option<(u64, Line)>, FeedError> {
        match Deadline::<R>::after(self.options.feed.idle_timeout).bound(lines.next()).await {
            Ok(Ok(line)) => Ok(line),
            Ok(Err(error)) => Err(FeedError::Origin(format!("the answer broke off: {error}"))),
            Err(_elapsed) => Err(FeedError::Origin("no line came for too long".to_owned())),
        }
    }

    const fn feed_backoff(&self) -> Backoff<R> {
        let feed = &self.options.feed;
        Backoff::new(RetryPolicy {
            attempts_max: u32::MAX,
            backoff_first: feed.backoff_first,
            backoff_max: feed.backoff_max,
        })
    }
}

fn feed(territory: &Territory, cursor: &str) -> FeedCursor {
    FeedCursor { territory: territory.clone(), cursor: cursor.to_owned() }
}

fn cursor_of(response: &Response<Body>) -> Option<String> {
    let value = response.headers().get(CURSOR_HEADER)?.to_str().ok()?.trim();
    (!value.is_empty()).then(|| value.to_owned())
}

/// The id of a line of an export, whether or not the listing is valid.
fn id_of(line: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct OnlyId {
        id: String,
    }
    serde_json::from_slice::<OnlyId>(line).ok().map(|only| only.id)
}
