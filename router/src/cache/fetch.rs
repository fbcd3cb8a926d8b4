//! One fetch on behalf of the cache, from the node that keeps the URI or from the origin: what of the
//! answer is stored, and who learns of it.

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::NodeId;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use openraft_rt::AsyncRuntime;

use super::{
    body::{full, not_stalling},
    exchange::Exchange,
    flight::{Arriving, Landing, Ticket},
    headers::{is_of_connection, strip_hop_by_hop},
    interim::Interims,
    policy::{
        date,
        freshness::{FetchTimes, Guesses},
        range::parse_content_range,
        reuse::{Asked, usable_if_error},
        storing::{Storable, is_origin_error, may_store},
        tags::{self, Tag},
        validation::{confirms, freshen},
    },
    proxy::HttpCache,
    purge::Moment,
    stored::{Payload, Stored},
    tier::{FromOwner, Hop},
    transfer::Transfer,
};
use crate::{
    breakers::Class,
    deadline::Deadline,
    error::{Problem, RouteError},
    port::Body,
    status::Bypass,
};

/// What a fetch brought.
pub(super) enum Fetched {
    /// A response that is on its way into the store.
    Arriving {
        arriving: Arc<Arriving>,
        /// The fields for the one who asked.
        own: HeaderMap,
        /// The body for the one who asked.
        body: Body,
    },
    /// What was stored, confirmed by the origin.
    Confirmed {
        stored: Arc<Stored>,
        /// The fields for the one who asked.
        own: HeaderMap,
        /// What the node says that confirmed it, if it was not the origin.
        via: Option<String>,
    },
    /// A response that is not stored.
    Passed {
        response: Response<Body>,
        bypass: Bypass,
        /// What the node says that it came through, if it did.
        via: Option<String>,
    },
    /// Nothing.
    Failed(RouteError),
}

/// An answer of the origin, or of the node that keeps the URI.
struct Answered {
    /// What that node says; `None` = the origin answered.
    hop: Option<Hop>,
    status: StatusCode,
    head: HeaderMap,
    body: Body,
    times: FetchTimes,
    arrived: Duration,
}

/// What a fetch is about.
pub(super) struct Task {
    pub(super) exchange: Arc<Exchange>,
    /// The response that is stored for this request.
    pub(super) before: Option<Arc<Stored>>,
    /// Whether the client's ranges are asked for.
    pub(super) ranged: bool,
    /// When it began.
    pub(super) began: Moment,
    /// The node that is asked before the origin.
    pub(super) owner: Option<NodeId>,
    /// Whether it refreshes what may be used still, so that another stale one is of no use.
    pub(super) refreshes: bool,
    /// What comes before the response.
    pub(super) interims: Interims,
}

/// A response that may be stored, and its body.
struct Opened {
    arriving: Arc<Arriving>,
    own: HeaderMap,
    body: Body,
}

impl<R: AsyncRuntime> HttpCache<R> {
    /// Fetches, and tells those who wait on `ticket` what comes of it. The body is stored by a task of
    /// its own.
    pub(super) async fn fetch(self: &Arc<Self>, task: Task, ticket: Option<Ticket>) -> Fetched {
        let Opened { arriving, own, body } = match self.open(&task).await {
            Ok(opened) => opened,
            Err(fetched) => {
                let landing = self.landing(&task.exchange, &fetched);
                if let Some(ticket) = ticket {
                    ticket.land(landing);
                }
                return *fetched;
            }
        };
        // The transfer is new: its beginning is there.
        let Some(reader) = arriving.transfer.reader(arriving.length) else {
            return Fetched::Failed(gone());
        };
        if let Some(ticket) = &ticket {
            ticket.announce(Landing::Arriving(Arc::clone(&arriving)));
        }
        if arriving.length == Some(0) {
            // There is nothing to wait for.
            self.fill(&task, &arriving, body, ticket).await;
        } else {
            let (this, shared) = (Arc::clone(self), Arc::clone(&arriving));
            drop(R::spawn(async move { this.fill(&task, &shared, body, ticket).await }));
        }
        Fetched::Arriving { arriving, own, body: reader }
    }

    /// What those who wait learn of a fetch that stores no new response.
    fn landing(&self, exchange: &Exchange, fetched: &Fetched) -> Landing {
        match fetched {
            Fetched::Arriving { arriving, .. } => Landing::Arriving(Arc::clone(arriving)),
            Fetched::Confirmed { stored, .. } => Landing::Confirmed(Arc::clone(stored)),
            Fetched::Passed { response, .. } if is_origin_error(response.status()) => {
                let detail = format!("the origin answered {}", response.status().as_u16());
                Landing::Failed(Box::new(RouteError::new(Problem::OriginUnavailable, detail)))
            }
            Fetched::Passed { bypass, .. } => {
                if is_about_uri(*bypass) {
                    self.remember_uncacheable(&exchange.key);
                }
                Landing::Uncacheable
            }
            Fetched::Failed(error) => Landing::Failed(Box::new(error.clone())),
        }
    }

    /// Asks, and opens a transfer for what is answered, if that may be stored.
    async fn open(&self, task: &Task) -> Result<Opened, Box<Fetched>> {
        let exchange = &task.exchange;
        let whole = |stored: &&Arc<Stored>| stored.payload.is_whole();
        let validated = task.before.as_ref().filter(whole);
        let mut answered = self.ask(task, validated.map(AsRef::as_ref)).await?;
        if let Some(before) = validated.filter(|_| answered.status == StatusCode::NOT_MODIFIED) {
            if confirms(&before.headers, &answered.head) {
                return Err(Box::new(self.confirm(task, before, answered)));
            }
            // It speaks of something else than what is stored (RFC 9111 §4.3.4).
            answered = self.ask(task, None).await?;
        }
        let Answered { hop, status, mut head, body, times, arrived } = answered;
        let length = content_length(&head).or_else(|| body.size_hint().exact());
        let how = match self.may_keep(task, status, &head, times, length) {
            Ok(how) => how.no_longer_than(hop.as_ref().and_then(|hop| hop.lifetime)),
            Err(bypass) => {
                // What was stored is no longer what the origin gives, unless it is just failing.
                if !is_origin_error(status) && is_about_uri(bypass) {
                    self.drop_variant(task);
                }
                let body = not_stalling::<R>(body, self.options.origin_timeout);
                let response = rebuild(status, head, body);
                let via = hop.map(|hop| hop.member);
                return Err(Box::new(Fetched::Passed { response, bypass, via }));
            }
        };
        // Of any other status the field says nothing (RFC 9110 §14.4), and goes along.
        let part = (status == StatusCode::PARTIAL_CONTENT)
            .then(|| head.remove(header::CONTENT_RANGE))
            .flatten();
        let stored_status = if part.is_some() { StatusCode::OK } else { status };
        let stored = self.stored(exchange, stored_status, &head, how, times, arrived);
        let arriving = Arriving { stored, part, length, hop, transfer: Transfer::default() };
        Ok(Opened { arriving: Arc::new(arriving), own: head, body })
    }

    /// Whether an answer is a stale one that stands in for an origin that failed, and what is stored here
    /// does that as well, or it may be what was purged since.
    fn is_stand_in_of_no_use(&self, task: &Task, answered: &Answered) -> bool {
        if !answered.hop.as_ref().is_some_and(|hop| hop.stands_in) {
            return false;
        }
        let key = &task.exchange.key;
        let is_purged = |tags: &[Tag]| self.store.is_purged(task.began, key, tags);
        let tags = tags::of_response(key.origin(), &answered.head).unwrap_or_default();
        let is_of_no_use = |before: &Arc<Stored>| {
            if is_purged(&before.tags) {
                answered.status == StatusCode::NOT_MODIFIED
            } else {
                self.may_stand_in_itself(&task.exchange, before)
            }
        };
        is_purged(&tags) || task.before.as_ref().is_some_and(is_of_no_use)
    }

    /// Whether a stored response may be used where the origin fails, by all that is known here.
    fn may_stand_in_itself(&self, exchange: &Exchange, before: &Stored) -> bool {
        let now = self.uptime.now();
        let Ok(asked) = Asked::of(&Method::GET, &exchange.headers) else { return false };
        before.payload.is_whole()
            && self.followed.trusts_store(now)
            && usable_if_error(
                &before.freshness,
                &asked.control,
                before.resident(now),
                self.stale_max(),
            )
    }

    async fn ask(&self, task: &Task, validated: Option<&Stored>) -> Result<Answered, Box<Fetched>> {
        let failed = |error| Box::new(Fetched::Failed(error));
        let request = task
            .exchange
            .upstream_for_store(validated, task.ranged, &self.name)
            .ok_or_else(|| failed(bad_target()))?;
        // A body cannot be lent to a task that moves between threads.
        let (mut head, body) = request.into_parts();
        let mut sent = self.uptime.now();
        let asked = match task.owner {
            Some(owner) => self.ask_owner(owner, task, &head).await,
            None => FromOwner::Nothing,
        };
        let (response, hop) = match asked {
            FromOwner::Answered(response, hop) => (response, Some(hop)),
            FromOwner::Failed(error) => return Err(failed(error)),
            FromOwner::Nothing => {
                sent = self.uptime.now();
                head.extensions.insert(task.interims.sink(&self.name));
                let deadline = Deadline::after(self.options.origin_timeout);
                let request = Request::from_parts(head, body);
                let response = self.origin.fetch(Class::Proxy, request, deadline).await;
                (response.map_err(|failure| failed(failure.to_error(false)))?, None)
            }
        };
        let arrived = self.uptime.now();
        let mut delay = arrived.saturating_sub(sent);
        if let Some(hop) = &hop {
            // Its age has how long the owner waited for the origin; only the way adds to that.
            delay = delay.saturating_sub(hop.worked).saturating_add(hop.age_rest);
        }
        let times = FetchTimes { received_ms: self.clock.wall_ms(), delay };
        let (parts, body) = response.into_parts();
        let mut head = parts.headers;
        strip_hop_by_hop(&mut head);
        // RFC 9110 §6.6.1: what has no date gets the one it was received at.
        if date::valid(&head, &header::DATE, times.received()).is_none()
            && let Some(now) = date::format(times.received())
            && let Ok(now) = HeaderValue::from_str(&now)
        {
            head.insert(header::DATE, now);
        }
        let answered = Answered { hop, status: parts.status, head, body, times, arrived };
        if self.is_stand_in_of_no_use(task, &answered) {
            let detail = "the origin failed when the node that keeps the URI asked it";
            return Err(failed(RouteError::new(Problem::OriginUnavailable, detail)));
        }
        Ok(answered)
    }

    /// What was stored, with the fields of a 304.
    fn confirm(&self, task: &Task, before: &Arc<Stored>, answered: Answered) -> Fetched {
        let mut own = before.headers.clone();
        freshen(&mut own, &answered.head);
        let request = &task.exchange.headers;
        let how = may_store(request, before.status, &own, answered.times, self.guesses());
        match how {
            Ok(how) => {
                let lifetime = answered.hop.as_ref().and_then(|hop| hop.lifetime);
                let how = how.no_longer_than(lifetime);
                let via = answered.hop.map(|hop| hop.member);
                let new = self.stored(
                    &task.exchange,
                    before.status,
                    &own,
                    how,
                    answered.times,
                    answered.arrived,
                );
                let (payload, number) = (before.payload.clone(), before.number);
                let stored = Arc::new(Stored { payload, number, ..Stored::clone(&new) });
                self.store.put(task.exchange.key.clone(), Arc::clone(&stored), task.began);
                Fetched::Confirmed { stored, own, via }
            }
            Err(bypass) => {
                self.drop_variant(task);
                let body = match &before.payload {
                    Payload::Whole(bytes) => full(bytes.clone()),
                    Payload::Disk(body) => body.part(0..body.length()),
                    Payload::Pieces(_) => return Fetched::Failed(gone()),
                };
                let via = answered.hop.map(|hop| hop.member);
                Fetched::Passed { response: rebuild(before.status, own, body), bypass, via }
            }
        }
    }

    /// Whether the answer to a task may be stored.
    fn may_keep(
        &self,
        task: &Task,
        status: StatusCode,
        head: &HeaderMap,
        times: FetchTimes,
        length: Option<u64>,
    ) -> Result<Storable, Bypass> {
        let how = may_store(&task.exchange.headers, status, head, times, self.guesses())?;
        if is_origin_error(status) && task.before.is_some() {
            return Err(Bypass::Rule("origin-error"));
        }
        let is_part = status == StatusCode::PARTIAL_CONTENT;
        if is_part && (!task.ranged || parse_content_range(head).is_none()) {
            return Err(Bypass::Rule("partial"));
        }
        if tags::of_response(task.exchange.key.origin(), head).is_err() {
            return Err(Bypass::Rule("tags"));
        }
        if length.is_some_and(|length| !self.takes(task, &how, is_part, length)) {
            return Err(Bypass::Rule("size"));
        }
        Ok(how)
    }

    /// Whether a body of such a length may be stored: in memory, or, if it is no part, on disk.
    fn takes(&self, task: &Task, how: &Storable, is_part: bool, length: u64) -> bool {
        if length <= self.options.object_bytes_max as u64 {
            return true;
        }
        let disk = self.store.disk().filter(|_| !is_part);
        disk.is_some_and(|disk| disk.takes(&task.exchange.key, &how.vary, length))
    }

    pub(super) const fn guesses(&self) -> Guesses {
        Guesses { heuristic_max: self.options.heuristic_max, negative: self.options.negative }
    }

    /// A response as it is stored, without a body yet.
    pub(super) fn stored(
        &self,
        exchange: &Exchange,
        status: StatusCode,
        head: &HeaderMap,
        how: Storable,
        times: FetchTimes,
        arrived: Duration,
    ) -> Arc<Stored> {
        let mut headers = head.clone();
        // Its age is counted from here on, and its length from its body.
        for name in [header::AGE, header::CONTENT_LENGTH] {
            headers.remove(name);
        }
        let named: Vec<_> = headers.keys().filter(|name| is_of_connection(name)).cloned().collect();
        for name in how.withheld.iter().chain(&named) {
            headers.remove(name);
        }
        let tags = tags::of_response(exchange.key.origin(), head).unwrap_or_default();
        let date_ms = date::valid(head, &header::DATE, times.received());
        Arc::new(Stored {
            status,
            headers,
            payload: Payload::Whole(bytes::Bytes::new()),
            number: self.coder.number(),
            freshness: how.freshness,
            arrived,
            date_ms: date_ms.unwrap_or_else(|| times.received()),
            vary: how.vary,
            selected_by: how.selected_by,
            tags: tags.into(),
        })
    }

    /// Forgets the response that was stored for a request.
    fn drop_variant(&self, task: &Task) {
        if let Some(before) = &task.before {
            self.store.forget_variant(&task.exchange.key, before);
        }
    }
}

/// Whether a response that is not stored says something about its URI: not what one gets who has credentials,
/// or asks for several parts at once.
fn is_about_uri(bypass: Bypass) -> bool {
    !matches!(bypass, Bypass::Authorization | Bypass::Rule("partial"))
}

pub(super) fn content_length(head: &HeaderMap) -> Option<u64> {
    head.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

pub(super) fn rebuild(status: StatusCode, headers: HeaderMap, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

pub(super) fn bad_target() -> RouteError {
    RouteError::new(Problem::InvalidRequest, "the target or the authority is not valid")
        .with_status(400)
}

pub(super) fn gone() -> RouteError {
    RouteError::new(Problem::OriginUnavailable, "the request to the origin was given up")
}
