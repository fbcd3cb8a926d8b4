//! `/api/v1/listings`, `/api/v1/search` and what belongs to them.

use std::sync::Arc;

use bytes::Bytes;
use hexpop_router::{
    Answer as Answered, Context as Ask, Fallback, Level, ListingDocument, Problem as ProblemType,
    RouteError, Routed,
};
use hexpop_shard::{MapRequest, SearchRequest, SuggestRequest, hash_point};
use http::{HeaderMap, Method, Response, StatusCode};
use serde::Serialize;

use super::{
    Answer, DataPort, Exchange, client_of,
    fields::{Shape, ask_for_plain, hits_without, origin_without, without},
    headers::{ask, describe, json, json_bytes, none_match_hits, set},
};
use crate::{
    http::{
        body::{Body, empty, read_bounded},
        guard::expect_media_type,
        language::{accepted_languages, describe_language},
        problem::Problem,
    },
    live::Live,
};

/// For how long clients and caches may keep answers without asking again.
const LISTING_CACHE_CONTROL: &str = "public, max-age=60";
const SEARCH_CACHE_CONTROL: &str = "public, max-age=30";
const CLUSTERS_CACHE_CONTROL: &str = "public, max-age=300";
/// Answers to those who asked for more than `eventual`, and partial ones, are not to be kept.
const NO_STORE: &str = "no-store";

/// A question to the mesh: what the router is told, with the client's own request in case the origin
/// has to answer it.
struct Question {
    context: Ask,
    headers: HeaderMap,
    body: Bytes,
    live: Arc<Live>,
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
        let mut response = if none_match_hits(&question.headers, &document.etag) {
            let mut response = Response::new(empty());
            *response.status_mut() = StatusCode::NOT_MODIFIED;
            response
        } else {
            json_bytes(StatusCode::OK, document.json)
        };
        let headers = response.headers_mut();
        set(headers, "etag", &document.etag);
        describe(headers, Some(&answered.given), Some(&answered.cache_status));
        set(
            headers,
            "cache-control",
            cache_control(&question.context, LISTING_CACHE_CONTROL, false),
        );
        Ok(response)
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
                let partial = answered.value.partial;
                let mut response = respond(&answered, question, SEARCH_CACHE_CONTROL, partial)?;
                describe_language(response.headers_mut(), &request.query.languages);
                Ok(response)
            }
        }
    }

    /// `POST /api/v1/search/map`.
    pub(super) async fn map(&self, exchange: Exchange) -> Answer {
        let question = self.question(exchange, true).await?;
        let request = MapRequest::from_json(&question.body, &question.live.data.search)
            .map_err(RouteError::from)?;
        match self.context.router.map_clusters(&request, &question.context).await? {
            Routed::Origin(response) => Ok(response),
            Routed::Mesh(answered) => {
                let partial = answered.value.partial;
                respond(&answered, &question, CLUSTERS_CACHE_CONTROL, partial)
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
            Routed::Origin(response) => Ok(response),
            Routed::Mesh(answered) => respond(&answered, &question, SEARCH_CACHE_CONTROL, false),
        }
    }

    /// Reads what the router needs of a request; `with_body` for those that are sent with `POST`.
    async fn question(&self, exchange: Exchange, with_body: bool) -> Result<Question, Problem> {
        if with_body && exchange.method != Method::POST {
            return Err(Problem::method_not_allowed("POST"));
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
        if !exchange.live.data.drop_fields.is_empty() {
            ask_for_plain(&mut headers);
        }
        context.fallback =
            Some(Fallback { method: exchange.method, target, headers, body: body.clone(), client });
        Ok(Question { context, headers: exchange.headers, body, live: exchange.live })
    }
}

impl Question {
    /// A listing as the public sees it.
    fn shown(&self, document: ListingDocument) -> Result<ListingDocument, Problem> {
        let drop = &self.live.data.drop_fields;
        if drop.is_empty() {
            return Ok(document);
        }
        let json = without(&document.json, drop).map_err(|error| unreadable(&error))?;
        // Another content is another entity.
        let etag = format!("\"{:016x}\"", hash_point(json.as_bytes()));
        Ok(ListingDocument { json: json.into(), etag })
    }

    /// The origin's answer in the mesh's place, as the public sees it.
    async fn of_origin(&self, response: Response<Body>, shape: Shape) -> Answer {
        origin_without(response, shape, &self.live.data.drop_fields).await
    }
}

/// What the mesh holds is JSON; if it were not, nothing of it may leave unread.
fn unreadable(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemType::Internal, format!("a stored listing cannot be read: {error}"))
}

fn respond<T: Serialize>(
    answered: &Answered<T>,
    question: &Question,
    cacheable: &'static str,
    partial: bool,
) -> Answer {
    let mut response = json(StatusCode::OK, &answered.value)?;
    let headers = response.headers_mut();
    describe(headers, Some(&answered.given), Some(&answered.cache_status));
    set(headers, "cache-control", cache_control(&question.context, cacheable, partial));
    Ok(response)
}

fn cache_control(context: &Ask, cacheable: &'static str, partial: bool) -> &'static str {
    let as_usual = context.token.is_none() && matches!(context.level, None | Some(Level::Eventual));
    if as_usual && !partial { cacheable } else { NO_STORE }
}
