//! `/api/v1/listings`, `/api/v1/search` and what belongs to them.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use hexpop_router::{
    Answer as Answered, Context as Ask, Fallback, ListingDocument, Problem as ProblemType,
    RouteError, Routed,
};
use hexpop_shard::{MapRequest, SearchRequest, SuggestRequest, hash_point};
use http::{HeaderMap, HeaderValue, Method, Response, header};
use serde::Serialize;

use super::{
    Answer, DataPort, Exchange, client_of,
    fields::{Shape, ask_for_plain, hits_without, origin_without, without},
    headers::{ask, set},
    respond::{Said, To, VARIES_BY, gathered_tag, lifetime_of, listing_tag, respond},
};
use crate::{
    http::{
        body::{Body, read_bounded},
        guard::expect_media_type,
        language::accepted_languages,
        problem::Problem,
    },
    live::Live,
};

/// A question to the mesh: what the router is told, with the client's own request in case the origin
/// has to answer it.
struct Question {
    context: Ask,
    /// `GET` where it was `HEAD`.
    method: Method,
    headers: HeaderMap,
    body: Bytes,
    /// Whether the question is in the body.
    takes_body: bool,
    live: Arc<Live>,
    /// Whether the client is shown more.
    debugged: bool,
}

/// What is told of an answer besides what the router says.
struct Telling<'a> {
    lifetime: Duration,
    languages: Option<&'a [String]>,
    /// What equal questions have in common.
    canonical: String,
}

impl DataPort {
    /// `GET /api/v1/listings/{id}`.
    pub(super) async fn listing(&self, exchange: Exchange, id: &str) -> Answer {
        let question = self.question(exchange, false).await?;
        let answered = match self.context.router.get_listing(id, &question.context).await? {
            Routed::Origin(response) => return question.of_origin(response, Shape::Listing).await,
            Routed::Mesh(answered) => answered,
        };
        let document = question.shown(answered.value)?;
        let lifetime = question.live.data.answers.listing;
        let said = Said {
            body: document.json,
            tag: self.context.tag_salt().map(|salt| listing_tag(&document.etag, salt)),
            lifetime: lifetime_of(&question.context, lifetime, false),
            given: &answered.given,
            cache_status: &answered.cache_status,
            times: &answered.times,
            languages: None,
            key: format!("listing/{id}"),
        };
        Ok(respond(question.to(), said, self.context.router.coder()).await)
    }

    /// `GET /api/v1/listings?…`.
    pub(super) async fn search_by_query(&self, exchange: Exchange) -> Answer {
        let query = exchange.query.clone().unwrap_or_default();
        let request = SearchRequest::from_query_string(&query, &exchange.live.data.search)
            .map_err(RouteError::from)?;
        let question = self.question(exchange, false).await?;
        self.run_search(request, &question).await
    }

    /// `POST /api/v1/search`.
    pub(super) async fn search(&self, exchange: Exchange) -> Answer {
        let question = self.question(exchange, true).await?;
        let request = SearchRequest::from_json(&question.body, &question.live.data.search)
            .map_err(RouteError::from)?;
        self.run_search(request, &question).await
    }

    async fn run_search(&self, mut request: SearchRequest, question: &Question) -> Answer {
        request.accept_language(&accepted_languages(&question.headers), &question.live.data.search);
        match self.context.router.search(&request, &question.context).await? {
            Routed::Origin(response) => question.of_origin(response, Shape::Hits).await,
            Routed::Mesh(mut answered) => {
                let drop = &question.live.data.drop_fields;
                if !drop.is_empty() {
                    answered.value.data = hits_without(&answered.value.data, drop)
                        .map_err(|error| unreadable(&error))?;
                }
                let answers = &question.live.data.answers;
                let has_facets = !request.query.facets.is_empty();
                let telling = Telling {
                    lifetime: if has_facets { answers.facets } else { answers.search },
                    languages: Some(&request.query.languages),
                    canonical: format!("search {}", request.query.canonical()),
                };
                self.tell(&answered, question, telling).await
            }
        }
    }

    /// `POST /api/v1/search/map`.
    pub(super) async fn map(&self, exchange: Exchange) -> Answer {
        let question = self.question(exchange, true).await?;
        let request = MapRequest::from_json(&question.body, &question.live.data.search)
            .map_err(RouteError::from)?;
        match self.context.router.map_clusters(&request, &question.context).await? {
            Routed::Origin(response) => Ok(question.in_its_place(response)),
            Routed::Mesh(answered) => {
                let telling = Telling {
                    lifetime: question.live.data.answers.clusters,
                    languages: None,
                    canonical: format!("map {}", request.query.canonical()),
                };
                self.tell(&answered, &question, telling).await
            }
        }
    }

    /// `GET /api/v1/search/suggest`.
    pub(super) async fn suggest(&self, exchange: Exchange) -> Answer {
        if exchange.method != Method::GET {
            return Err(Problem::method_not_allowed("GET, HEAD"));
        }
        let query = exchange.query.clone().unwrap_or_default();
        let request = SuggestRequest::from_query_string(&query).map_err(RouteError::from)?;
        let question = self.question(exchange, false).await?;
        match self.context.router.suggest(&request, &question.context).await? {
            Routed::Origin(response) => Ok(question.in_its_place(response)),
            Routed::Mesh(answered) => {
                let telling = Telling {
                    lifetime: question.live.data.answers.search,
                    languages: None,
                    canonical: format!("suggest {}", request.query.canonical()),
                };
                self.tell(&answered, &question, telling).await
            }
        }
    }

    /// The response to a question that several shards may have answered.
    async fn tell<T: Serialize>(
        &self,
        answered: &Answered<T>,
        question: &Question,
        telling: Telling<'_>,
    ) -> Answer {
        let body = serde_json::to_vec(&answered.value)
            .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
        let Telling { lifetime, languages, canonical } = telling;
        // Another node may know more.
        let partial = answered.validator.is_none();
        let salt = self.context.tag_salt();
        let said = Said {
            body: body.into(),
            tag: salt.and_then(|salt| gathered_tag(answered, question.shown_by(), salt)),
            lifetime: lifetime_of(&question.context, lifetime, partial),
            given: &answered.given,
            cache_status: &answered.cache_status,
            times: &answered.times,
            languages,
            key: format!("{:016x}", hash_point(canonical.as_bytes())),
        };
        let mut response = respond(question.to(), said, self.context.router.coder()).await;
        if question.takes_body {
            // RFC 10008: what QUERY takes here.
            set(response.headers_mut(), "accept-query", "\"application/json\"");
        }
        Ok(response)
    }

    /// Reads what the router needs of a request; `with_body` for those that are sent with `POST`, or with
    /// `QUERY` (RFC 10008), which says that it only reads.
    async fn question(&self, exchange: Exchange, with_body: bool) -> Result<Question, Problem> {
        let is_query = exchange.method.as_str() == "QUERY";
        if with_body && exchange.method != Method::POST && !is_query {
            return Err(Problem::method_not_allowed("POST, QUERY"));
        }
        let mut context = ask(&exchange)?;
        let client = client_of(exchange.peer, exchange.authority.as_deref(), &exchange.headers)?;
        let body = if with_body {
            expect_media_type(&exchange.headers, "application/json")?;
            let options = &exchange.live.data;
            read_bounded(exchange.body, options.body_bytes_max, options.body_idle).await?
        } else {
            Bytes::new()
        };
        let target = match &exchange.query {
            Some(query) => format!("{}?{query}", exchange.path),
            None => exchange.path,
        };
        let mut headers = exchange.headers.clone();
        if exchange.debugged && exchange.live.guard.knows(&headers) {
            // A token for this node is nothing for the origin.
            headers.remove(header::AUTHORIZATION);
        }
        if !exchange.live.data.drop_fields.is_empty() {
            ask_for_plain(&mut headers);
        }
        // Few origins know QUERY.
        let method = if is_query { Method::POST } else { exchange.method.clone() };
        context.fallback = Some(Fallback { method, target, headers, body: body.clone(), client });
        Ok(Question {
            context,
            method: exchange.method,
            headers: exchange.headers,
            body,
            takes_body: with_body,
            live: exchange.live,
            debugged: exchange.debugged,
        })
    }
}

impl Question {
    const fn to(&self) -> To<'_> {
        To { method: &self.method, headers: &self.headers, debugged: self.debugged }
    }

    /// A number for the fields that are left out; 0 = none.
    fn shown_by(&self) -> u64 {
        let drop = &self.live.data.drop_fields;
        if drop.is_empty() { 0 } else { hash_point(drop.join(",").as_bytes()) }
    }

    /// A listing as the public sees it.
    fn shown(&self, document: ListingDocument) -> Result<ListingDocument, Problem> {
        let drop = &self.live.data.drop_fields;
        if drop.is_empty() {
            return Ok(document);
        }
        let json = without(&document.json, drop).map_err(|error| unreadable(&error))?;
        // Another content is another entity.
        let open = document.etag.trim_end_matches('"');
        let etag = format!("{open}-{:08x}\"", self.shown_by() & 0xffff_ffff);
        Ok(ListingDocument { json: json.into(), etag })
    }

    /// The origin's answer in the mesh's place, as the public sees it.
    async fn of_origin(&self, response: Response<Body>, shape: Shape) -> Answer {
        let response = origin_without(response, shape, &self.live.data.drop_fields).await?;
        Ok(self.in_its_place(response))
    }

    /// The origin's answer varies by what the mesh's would: a cache may give it to nobody who asks for
    /// another level, or with a token that it knows nothing of.
    fn in_its_place(&self, mut response: Response<Body>) -> Response<Body> {
        let headers = response.headers_mut();
        headers.append(header::VARY, HeaderValue::from_static(VARIES_BY));
        if lifetime_of(&self.context, Duration::MAX, false).is_none() {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }
}

/// What the mesh holds is JSON; if it were not, nothing of it may leave unread.
fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemType::Internal, format!("a stored listing cannot be read: {error}"))
}
