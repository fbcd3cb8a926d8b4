//! What makes the cache forget: writes that pass through, answers to HEAD, purges.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode, header};
use openraft_rt::AsyncRuntime;

use super::{
    exchange::Exchange,
    key::{CacheKey, same_origin_target},
    policy::{
        freshness::FetchTimes,
        storing::may_store,
        tags,
        validation::{HeadSays, compare_head, freshen},
    },
    proxy::HttpCache,
    purge::{Moment, Purge},
    stored::Stored,
    tier::Forgotten,
};

impl<R: AsyncRuntime> HttpCache<R> {
    /// Forgets what a purge is about; a soft one only makes it stale. Answers how many responses it
    /// hit. Who asks after this gets nothing of what was fetched before.
    pub(crate) fn purge(&self, purge: &Purge, soft: bool) -> usize {
        let hit = self.store.purge(purge, soft, self.uptime.now());
        self.flights.close_hit_by(purge);
        hit
    }

    /// Forgets what is stored under a target.
    pub(crate) fn invalidate(&self, scheme: &str, authority: &str, target: &str) {
        let target = self.options.query.apply(target);
        self.purge(&Purge::Uri(CacheKey::new(scheme, authority, &target)), false);
    }

    /// RFC 9111 §4.4, RFC 9875 §3: at this node, and at the others of its PoP, which are waited for so that
    /// whoever wrote reads it everywhere.
    pub(super) async fn invalidate_after_write(
        self: &Arc<Self>,
        exchange: &Exchange,
        response: &HeaderMap,
    ) {
        let changed = self.changed_by(exchange, response);
        // Before it is forgotten here, or it could be fetched again from who has not heard yet.
        let told = self.to_be_told(&changed);
        for one in &changed {
            self.purge(&one.purge(), false);
        }
        self.tell(told, changed).await;
    }

    /// What the answer to a write says that it changed.
    fn changed_by(&self, exchange: &Exchange, response: &HeaderMap) -> Vec<Forgotten> {
        let mut changed = vec![Forgotten::uri(&exchange.key)];
        let (scheme, authority) = (exchange.client.scheme, &exchange.authority);
        for field in [header::LOCATION, header::CONTENT_LOCATION] {
            let reference = response.get(field).and_then(|value| value.to_str().ok());
            let target = reference.and_then(|reference| {
                same_origin_target(scheme, authority, &exchange.target, reference)
            });
            if let Some(target) = target {
                let target = self.options.query.apply(&target);
                changed.push(Forgotten::uri(&CacheKey::new(scheme, authority, &target)));
            }
        }
        let tags = tags::invalidated_by(exchange.key.origin(), response);
        changed.extend(tags.iter().map(|tag| Forgotten::Tag(tag.to_string())));
        changed
    }

    /// RFC 9111 §4.3.5. The request was sent at `sent`, after the purges up to `began`.
    pub(super) fn update_by_head(
        &self,
        exchange: &Exchange,
        head: &HeaderMap,
        began: Moment,
        sent: Duration,
    ) {
        let now = self.uptime.now();
        let times =
            FetchTimes { received_ms: self.clock.wall_ms(), delay: now.saturating_sub(sent) };
        if self.store.is_purged(began, &exchange.key, &[]) {
            return;
        }
        let mut has_changed = false;
        self.store.change(&exchange.key, |stored| {
            if !stored.matches(&exchange.headers) {
                return Some(Arc::clone(stored));
            }
            match compare_head(&stored.headers, stored.length(), StatusCode::OK, head) {
                HeadSays::Nothing => Some(Arc::clone(stored)),
                HeadSays::Changed => {
                    has_changed = true;
                    let freshness = stored.freshness.expired(stored.resident(now));
                    Some(Arc::new(Stored { freshness, ..Stored::clone(stored) }))
                }
                HeadSays::Same => {
                    let mut headers = stored.headers.clone();
                    freshen(&mut headers, head);
                    let request = &exchange.headers;
                    let how = may_store(request, stored.status, &headers, times, self.guesses());
                    let how = how.ok()?;
                    let new = self.stored(exchange, stored.status, &headers, how, times, now);
                    let (payload, number) = (stored.payload.clone(), stored.number);
                    Some(Arc::new(Stored { payload, number, ..Stored::clone(&new) }))
                }
            }
        });
        if has_changed {
            // Or what is stale here now would come back from there as fresh.
            self.have_owner_forget(&exchange.key);
        }
    }
}
