//! The data port: listings, searches, sessions; everything else goes to the origin through the HTTP
//! cache.

mod admission;
mod fields;
mod headers;
mod listings;
mod respond;
mod sessions;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hexpop_edge_config::config::CacheAnswers;
use hexpop_router::{CACHE_STATUS_HEADER, Client, Debugged, Problem as ProblemType};
use hexpop_shard::{SearchRules, SessionLimits};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;

use self::admission::{Admission, Class};
use super::{
    body::{Body, empty, full},
    guard::constant_time_eq,
    language::reduce_languages,
    problem::Problem,
    server::{Handler, Peer, RequestBody},
    target::decode_segment,
    trace::{RequestIds, TraceContext},
};
use crate::{context::Context, live::Live};

/// The document that describes this port.
const OPENAPI: &str = include_str!("../openapi.json");

/// What an endpoint answers.
type Answer = Result<Response<Body>, Problem>;

/// What one data port is told.
#[derive(Debug, Clone)]
pub struct DataOptions {
    /// Bodies of searches and sessions at most, bytes.
    pub body_bytes_max: usize,
    /// How long the next part of a body may take.
    pub body_idle: Duration,
    /// Request targets at most, bytes.
    pub target_bytes_max: usize,
    /// Header fields of a request at most, bytes.
    pub header_bytes_max: usize,
    /// Requests under way at most.
    pub requests_max: usize,
    /// Bearer tokens for sessions and users; empty = these answer only on loopback.
    pub tokens: Vec<String>,
    /// Top-level fields of listings that are left out of answers.
    pub drop_fields: Vec<String>,
    /// For how long clients may keep answers.
    pub answers: CacheAnswers,
    /// What searches may ask.
    pub search: SearchRules,
    /// What a session may hold.
    pub session_limits: SessionLimits,
}

/// Answers the data port.
#[derive(Debug)]
pub struct DataPort {
    context: Arc<Context>,
    admission: Admission,
    ids: RequestIds,
}

/// One request on its way.
struct Exchange {
    peer: Peer,
    trace: TraceContext,
    method: Method,
    headers: HeaderMap,
    path: String,
    query: Option<String>,
    authority: Option<String>,
    body: RequestBody,
    live: Arc<Live>,
    /// Whether the client is shown more (`Hexpop-Debug`).
    debugged: bool,
}

/// Where a request belongs.
enum Route {
    Listing(String),
    SearchByQuery,
    Search,
    Map,
    Suggest,
    Sessions,
    Session(String),
    Touch(String),
    UserData(String),
    Erasure { user: String, id: String },
    UserExport(String),
    OpenApi,
    Proxy,
}

impl Route {
    fn of(method: &Method, path: &str) -> Self {
        let parts: Vec<&str> = path.split('/').skip(1).collect();
        let safe = matches!(*method, Method::GET | Method::HEAD);
        match parts.as_slice() {
            ["api", "v1", "listings"] if safe => Self::SearchByQuery,
            ["api", "v1", "listings", id] if safe && !id.is_empty() => {
                Self::Listing(decode_segment(id))
            }
            ["api", "v1", "search"] => Self::Search,
            ["api", "v1", "search", "map"] => Self::Map,
            ["api", "v1", "search", "suggest"] => Self::Suggest,
            ["api", "v1", "sessions"] => Self::Sessions,
            ["api", "v1", "sessions", id] => Self::Session(decode_segment(id)),
            ["api", "v1", "sessions", id, "touch"] => Self::Touch(decode_segment(id)),
            ["api", "v1", "users", id, "data"] => Self::UserData(decode_segment(id)),
            ["api", "v1", "users", id, "erasures", erasure] => {
                Self::Erasure { user: decode_segment(id), id: decode_segment(erasure) }
            }
            ["api", "v1", "users", id, "export"] => Self::UserExport(decode_segment(id)),
            ["openapi.json"] => Self::OpenApi,
            _ => Self::Proxy,
        }
    }

    const fn name(&self) -> &'static str {
        match self {
            Self::Listing(_) => "listing",
            Self::SearchByQuery | Self::Search => "search",
            Self::Map => "map",
            Self::Suggest => "suggest",
            Self::Sessions | Self::Session(_) | Self::Touch(_) => "session",
            Self::UserData(_) | Self::Erasure { .. } | Self::UserExport(_) => "user",
            Self::OpenApi => "openapi",
            Self::Proxy => "proxy",
        }
    }

    const fn class(&self) -> Class {
        match self {
            Self::Sessions
            | Self::Session(_)
            | Self::Touch(_)
            | Self::UserData(_)
            | Self::Erasure { .. }
            | Self::UserExport(_) => Class::Session,
            Self::Listing(_) | Self::OpenApi => Class::Listing,
            Self::SearchByQuery | Self::Search | Self::Map | Self::Suggest => Class::Search,
            Self::Proxy => Class::Proxy,
        }
    }
}

impl DataPort {
    /// The data port of a node.
    #[must_use]
    pub fn new(context: Arc<Context>, process: u64) -> Self {
        Self { context, admission: Admission::new(), ids: RequestIds::new(process) }
    }
}

impl Handler for DataPort {
    async fn handle(self: Arc<Self>, peer: Peer, request: Request<RequestBody>) -> Response<Body> {
        let begin = Instant::now();
        let traceparent =
            request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let trace = self.ids.begin(traceparent);
        let id = trace.request_id();
        let method = request.method().clone();
        let route = Route::of(&method, request.uri().path());
        let name = route.name();
        let debugged = self.is_debugged(peer, request.headers());
        let metrics = &self.context.http_metrics;
        metrics.in_flight.inc();
        let outcome = self.answer(route, peer, request, trace, debugged).await;
        metrics.in_flight.dec();
        let mut response = outcome.unwrap_or_else(|problem| {
            if problem.error.problem == ProblemType::Internal {
                tracing::error!(request = id, detail = problem.error.detail, "internal error");
            }
            let status = problem.error.cache_status.clone();
            let status = status.unwrap_or_else(|| {
                format!("{}; detail={}", self.context.router.name(), problem.error.problem.slug())
            });
            let mut response = problem.into_response(&id);
            headers::set(response.headers_mut(), CACHE_STATUS_HEADER, &status);
            response
        });
        if debugged {
            let ms = begin.elapsed().as_secs_f64() * 1000.0;
            if let Ok(value) = HeaderValue::from_str(&format!("route;dur={ms:.3}")) {
                response.headers_mut().append("server-timing", value);
            }
            // Beside what is shown of it: what only debuggers see is for no cache.
            response
                .headers_mut()
                .append(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        if method == Method::HEAD {
            tell_length(name, &mut response);
            *response.body_mut() = empty();
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            response.headers_mut().insert("hexpop-request-id", id);
        }
        let source = headers::source(response.headers());
        metrics.answered(
            name,
            method_label(&method),
            response.status().as_u16(),
            source,
            begin.elapsed(),
        );
        tracing::debug!(
            request = id,
            traceparent = %trace,
            route = name,
            %method,
            status = response.status().as_u16(),
            took = ?begin.elapsed(),
            "answered"
        );
        response
    }
}

/// Methods as a label: a closed set, since clients may send any word.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ if method.as_str() == "QUERY" => "QUERY",
        _ => "other",
    }
}

impl DataPort {
    async fn answer(
        &self,
        route: Route,
        peer: Peer,
        request: Request<RequestBody>,
        trace: TraceContext,
        debugged: bool,
    ) -> Answer {
        let live = self.context.live();
        let options = &live.data;
        let _slot = self.admission.admit(route.class(), options.requests_max)?;
        let target_bytes = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
        if target_bytes > options.target_bytes_max {
            let most = options.target_bytes_max;
            return Err(Problem::new(
                ProblemType::TooLarge,
                format!("the request target has {target_bytes} bytes; at most {most} are taken"),
            )
            .status(StatusCode::URI_TOO_LONG));
        }
        // hyper's own bound is the size of its buffer, which is soft.
        let head_bytes: usize = request
            .headers()
            .iter()
            .map(|(name, value)| name.as_str().len() + value.len() + 4)
            .sum();
        if head_bytes > options.header_bytes_max {
            let most = options.header_bytes_max;
            return Err(Problem::new(
                ProblemType::TooLarge,
                format!("the header fields have {head_bytes} bytes; at most {most} are taken"),
            )
            .status(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE));
        }
        if matches!(route, Route::Proxy) {
            return self.proxy(peer, request, options, debugged).await;
        }
        let (parts, body) = request.into_parts();
        let exchange = Exchange {
            peer,
            trace,
            method: if parts.method == Method::HEAD { Method::GET } else { parts.method },
            headers: parts.headers,
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().map(str::to_owned),
            live,
            authority: parts.uri.authority().map(|authority| authority.as_str().to_owned()),
            body,
            debugged,
        };
        match route {
            Route::Listing(id) => self.listing(exchange, &id).await,
            Route::SearchByQuery => self.search_by_query(exchange).await,
            Route::Search => self.search(exchange).await,
            Route::Map => self.map(exchange).await,
            Route::Suggest => self.suggest(exchange).await,
            Route::Sessions => self.sessions(exchange).await,
            Route::Session(id) => self.session(exchange, &id).await,
            Route::Touch(id) => self.touch(exchange, &id).await,
            Route::UserData(id) => self.user_data(exchange, &id).await,
            Route::Erasure { user, id } => self.erasure(exchange, &user, &id).await,
            Route::UserExport(id) => self.user_export(exchange, &id).await,
            Route::OpenApi => openapi(&exchange),
            Route::Proxy => {
                Err(Problem::new(ProblemType::Internal, "a proxied request went astray"))
            }
        }
    }

    async fn proxy(
        &self,
        peer: Peer,
        mut request: Request<RequestBody>,
        options: &DataOptions,
        debugged: bool,
    ) -> Answer {
        if debugged {
            request.extensions_mut().insert(Debugged);
            // A token for this node is nothing for the origin.
            if self.context.live().guard.knows(request.headers()) {
                request.headers_mut().remove(header::AUTHORIZATION);
            }
        }
        reduce_languages(request.headers_mut(), &options.search.languages);
        let client =
            client_of(peer, request.uri().authority().map(|a| a.as_str()), request.headers())?;
        let request =
            request.map(|body| Body::new(body.idle_after(options.body_idle).map_err(Into::into)));
        Ok(self.context.router.proxy(request, client, None).await?)
    }

    /// Whether a client that asks for it (`Hexpop-Debug: 1`) is shown more: one on this machine, or with a
    /// token of the admin port, whatever its role.
    fn is_debugged(&self, peer: Peer, headers: &HeaderMap) -> bool {
        headers.get("hexpop-debug").is_some_and(|value| value.as_bytes() == b"1")
            && (peer.remote.ip().to_canonical().is_loopback()
                || self.context.live().guard.knows(headers))
    }

    /// Sessions and users are for the platform's servers: a bearer token, or loopback without any
    /// configured.
    fn authorize(exchange: &Exchange) -> Result<(), Problem> {
        let tokens = &exchange.live.data.tokens;
        if tokens.is_empty() {
            return if exchange.peer.remote.ip().to_canonical().is_loopback() {
                Ok(())
            } else {
                Err(Problem::new(
                    ProblemType::Forbidden,
                    "sessions and users answer only on loopback until data.auth is configured",
                ))
            };
        }
        let known = super::guard::bearer(&exchange.headers).is_some_and(|token| {
            tokens.iter().any(|known| constant_time_eq(known.as_bytes(), token.as_bytes()))
        });
        if known {
            return Ok(());
        }
        Err(Problem::new(ProblemType::Unauthorized, "sessions and users need a bearer token")
            .header(header::WWW_AUTHENTICATE, "Bearer realm=\"hexpop\""))
    }
}

/// Says how long the body would be that a HEAD is not given. Of proxied responses the cache has said so.
fn tell_length(route: &str, response: &mut Response<Body>) {
    let length = http_body::Body::size_hint(response.body()).exact();
    if let Some(length) = length.filter(|length| *length > 0 && route != "proxy") {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
}

/// Who sent a request, as the connection says.
fn client_of(peer: Peer, authority: Option<&str>, headers: &HeaderMap) -> Result<Client, Problem> {
    let host = headers.get(header::HOST).map(HeaderValue::to_str);
    let authority = match (authority, host) {
        (Some(authority), _) => authority,
        (None, Some(Ok(host))) => host,
        (None, _) => "",
    };
    // RFC 9112 §3.2: an HTTP/1.1 request has exactly one Host.
    if authority.is_empty() || headers.get_all(header::HOST).iter().count() > 1 {
        return Err(Problem::new(
            ProblemType::MalformedRequest,
            "the request needs one Host field",
        ));
    }
    Ok(Client {
        address: peer.remote.ip(),
        scheme: peer.scheme(),
        authority: authority.to_ascii_lowercase(),
    })
}

fn openapi(exchange: &Exchange) -> Answer {
    if exchange.method != Method::GET {
        return Err(Problem::method_not_allowed("GET, HEAD"));
    }
    let mut response = Response::new(full(OPENAPI));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
    Ok(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(method: &str, path: &str) -> &'static str {
        Route::of(&method.parse().unwrap(), path).name()
    }

    #[test]
    fn requests_are_classified_by_method_and_path() {
        assert_eq!(route("GET", "/api/v1/listings/lst_1"), "listing");
        assert_eq!(route("HEAD", "/api/v1/listings/lst_1"), "listing");
        assert_eq!(route("PATCH", "/api/v1/listings/lst_1"), "proxy");
        assert_eq!(route("POST", "/api/v1/listings"), "proxy");
        assert_eq!(route("GET", "/api/v1/listings"), "search");
        assert_eq!(route("DELETE", "/api/v1/search"), "search");
        assert_eq!(route("GET", "/api/v1/sessions/it-lazio.x"), "session");
        assert_eq!(route("GET", "/it/vendita/milano"), "proxy");
        assert_eq!(route("GET", "/api/v1/listings/"), "proxy");
    }

    #[test]
    fn the_openapi_document_is_json_and_names_every_route() {
        let document: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        assert_eq!(document["openapi"], "3.1.0");
        for path in document["paths"].as_object().unwrap().keys() {
            let concrete = path.replace("{id}", "x").replace("{erasure}", "y");
            for method in document["paths"][path].as_object().unwrap().keys() {
                let found = route(&method.to_ascii_uppercase(), &concrete);
                assert_ne!(found, "proxy", "{method} {path}");
            }
        }
    }
}
