//! The end of a request's way: an answer out of what a fetch brought, or of what is stored.

use http::{HeaderMap, Response};
use openraft_rt::AsyncRuntime;

use super::{
    exchange::Exchange,
    fetch::Fetched,
    flight::Arriving,
    policy::{
        reuse::{Asked, Why, usable_if_error},
        storing::is_origin_error,
    },
    proxy::{HttpCache, Passage},
    respond::{self, Respondent, Signature},
    stored::{Payload, Stored},
};
use crate::{error::RouteError, port::Body, status::Source};

impl<R: AsyncRuntime> HttpCache<R> {
    /// The answer out of what a fetch brought, or out of a stale response if that may stand in.
    pub(super) fn conclude(
        &self,
        passage: &Passage<R>,
        fetched: Fetched,
    ) -> Result<Response<Body>, RouteError> {
        let Passage { exchange, asked, why, before, .. } = passage;
        let stand_in = |status: Option<u16>| {
            let stale = before.as_ref().filter(|stale| {
                let resident = stale.resident(self.uptime.now());
                *why != Why::Partial
                    && self.may_stand_in(passage, stale)
                    && usable_if_error(&stale.freshness, &asked.control, resident, self.stale_max())
            })?;
            Some(self.answer(exchange, asked, stale, Source::StaleIfError { status }, None))
        };
        match fetched {
            Fetched::Arriving { arriving, own, body } => {
                let status =
                    if arriving.part.is_some() { 206 } else { arriving.stored.status.as_u16() };
                let source = why.source(status, true);
                Ok(self.arriving(exchange, asked, &arriving, source, Some(own), body))
            }
            Fetched::Confirmed { stored, own, via } => {
                let own = Stored { headers: own, ..Stored::clone(&stored) };
                Ok(self.answer(exchange, asked, &own, Source::Revalidated, via.as_deref()))
            }
            Fetched::Passed { response, bypass, via } => {
                let status = response.status();
                let stale = is_origin_error(status).then(|| stand_in(Some(status.as_u16())));
                Ok(stale.flatten().unwrap_or_else(|| {
                    let source = match why {
                        Why::Request => Source::Request { status: status.as_u16(), stored: false },
                        _ => Source::Bypass(bypass),
                    };
                    self.passed(exchange, response, source, via.as_deref())
                }))
            }
            Fetched::Failed(error) => stand_in(None).ok_or(error),
        }
    }

    /// Whether no purge since a request came, known or not, may be about what was stored for it then.
    fn may_stand_in(&self, passage: &Passage<R>, stored: &Stored) -> bool {
        self.followed.trusts_store(self.uptime.now())
            && !self.store.is_purged(passage.began, &passage.exchange.key, &stored.tags)
    }

    /// Counts what a client is answered with. What another node gets is counted there.
    fn count(&self, exchange: &Exchange, source: Source) {
        if !exchange.for_peer {
            self.metrics.answered_from(source);
        }
    }

    fn signature<'a>(
        &'a self,
        exchange: &'a Exchange,
        source: Source,
        via: Option<&'a str>,
    ) -> Signature<'a> {
        Signature {
            source,
            name: &self.name,
            via,
            debugged: exchange.debugged.then_some(&exchange.key),
            for_peer: exchange.for_peer,
        }
    }

    fn respondent<'a>(
        &'a self,
        exchange: &'a Exchange,
        asked: &'a Asked,
        signature: Signature<'a>,
    ) -> Respondent<'a> {
        Respondent {
            method: &exchange.method,
            request: &exchange.headers,
            ranges: asked.ranges.as_deref(),
            now: self.uptime.now(),
            now_ms: self.now_ms(),
            coder: &self.coder,
            signature,
        }
    }

    /// The answer out of a stored response; `via`: what the node says that confirmed it.
    pub(super) fn answer(
        &self,
        exchange: &Exchange,
        asked: &Asked,
        stored: &Stored,
        source: Source,
        via: Option<&str>,
    ) -> Response<Body> {
        self.count(exchange, source);
        let signature = self.signature(exchange, source, via);
        let respondent = self.respondent(exchange, asked, signature);
        match &stored.payload {
            Payload::Whole(_) | Payload::Pieces(_) => respond::of_stored(&respondent, stored),
            Payload::Disk(body) => {
                let payload = Payload::Disk(self.or_from_origin(body, exchange, stored));
                respond::of_stored(&respondent, &Stored { payload, ..stored.clone() })
            }
        }
    }

    /// The answer out of a response that is arriving; `own`: the fields for the one who caused it.
    pub(super) fn arriving(
        &self,
        exchange: &Exchange,
        asked: &Asked,
        arriving: &Arriving,
        source: Source,
        own: Option<HeaderMap>,
        body: Body,
    ) -> Response<Body> {
        self.count(exchange, source);
        let via = arriving.hop.as_ref().map(|hop| hop.member.as_str());
        let signature = self.signature(exchange, source, via);
        respond::of_arriving(&self.respondent(exchange, asked, signature), arriving, own, body)
    }

    /// A response that is not stored here, on its way through; `via`: what the node says that it came from.
    pub(super) fn passed(
        &self,
        exchange: &Exchange,
        response: Response<Body>,
        source: Source,
        via: Option<&str>,
    ) -> Response<Body> {
        self.count(exchange, source);
        let source = match source {
            Source::Request { stored, .. } => {
                Source::Request { status: response.status().as_u16(), stored }
            }
            source => source,
        };
        respond::of_passed(response, self.signature(exchange, source, via))
    }

    pub(super) fn with_status(&self, error: RouteError) -> RouteError {
        self.metrics.answered_from(Source::Failed);
        if error.cache_status.is_some() {
            return error;
        }
        error.with_cache_status(Source::Failed.member(&self.name))
    }
}
