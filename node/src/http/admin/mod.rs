//! The admin port: health, metrics, the mesh as tables, ingest, the HTTP cache, faults.

mod cache;
mod drain;
mod faults;
mod ingest;
mod operations;
mod purge;
mod ready;
mod shards;
mod why;

use std::{collections::BTreeMap, sync::Arc};

use hexpop_edge_config::config::Role;
use hexpop_router::Problem as ProblemType;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use prometheus::{Encoder as _, TextEncoder};
use serde::Serialize;

use super::{
    body::{Body, empty, full},
    problem::Problem,
    server::{Handler, Peer, RequestBody},
    trace::{RequestIds, TraceContext},
};
use crate::{
    admin_api::{BreakerRow, BreakersReport},
    context::Context,
    view,
};

pub use faults::change as change_faults;

/// Answers the admin port.
#[derive(Debug)]
pub struct AdminPort {
    context: Arc<Context>,
    ids: RequestIds,
}

/// What an endpoint answers.
type Answer = Result<Response<Body>, Problem>;

impl AdminPort {
    /// The admin port of a node.
    #[must_use]
    pub fn new(context: Arc<Context>, process: u64) -> Self {
        Self { context, ids: RequestIds::new(process) }
    }
}

impl Handler for AdminPort {
    async fn handle(self: Arc<Self>, peer: Peer, request: Request<RequestBody>) -> Response<Body> {
        let traceparent =
            request.headers().get("traceparent").and_then(|value| value.to_str().ok());
        let trace = self.ids.begin(traceparent);
        let id = trace.request_id();
        let method = request.method().clone();
        let path = request.uri().path().to_owned();
        let audit = !method.is_safe();
        let mut response = match self.route(peer, request, trace).await {
            Ok(response) => response,
            Err(problem) => problem.into_response(&id),
        };
        if audit {
            // Every unsafe call leaves a line: who, what, from where, outcome.
            tracing::info!(
                target: "audit",
                remote = %peer.remote,
                %method,
                path,
                status = response.status().as_u16(),
                request = id,
                "admin call"
            );
        }
        if method == Method::HEAD {
            *response.body_mut() = empty();
        }
        let headers = response.headers_mut();
        if let Ok(id) = HeaderValue::from_str(&id) {
            headers.insert("hexpop-request-id", id);
        }
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        response
    }
}

impl AdminPort {
    async fn route(
        &self,
        peer: Peer,
        request: Request<RequestBody>,
        trace: TraceContext,
    ) -> Answer {
        let uri = request.uri().clone();
        let live = self.context.live();
        let remote = peer.remote.ip();
        let role = live.guard.admit(remote, request.method(), &uri, request.headers())?;
        let method = match request.method() {
            &Method::HEAD => Method::GET,
            other => other.clone(),
        };
        let query = parameters(uri.query().unwrap_or_default());
        let path: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let context = &self.context;
        check_method(&method, &path)?;
        match path.as_slice() {
            ["livez"] => ready::live(context),
            ["readyz"] => Ok(ready::ready(context, &query, request.headers())),
            ["metrics"] => metrics(context),
            ["admin", "v1", "status"] => {
                let members = context.members();
                let reports = context.reports(&members).await;
                let own = context.own();
                json(&view::status_report(own, &context.host.shard_map(), &members, &reports))
            }
            ["admin", "v1", "nodes"] => {
                let members = context.members();
                let (reports, clocks) =
                    tokio::join!(context.reports(&members), context.clocks(&members));
                json(&view::nodes_report(context.node(), &members, &reports, &clocks))
            }
            ["admin", "v1", "shards" | "operations" | "drain", ..] => {
                self.placement(role, &method, &path, &query, request).await
            }
            ["admin", "v1", "ingest"] => {
                require(role, Role::Operator)?;
                ingest::ingest(context, &query, request, trace).await
            }
            ["admin", "v1", "cache"] => cache::inspect(context, &query).await,
            ["admin", "v1", "purge"] => {
                require(role, Role::Operator)?;
                purge::purge(context, request.into_body()).await
            }
            ["admin", "v1", "purge", id] => purge::show(context, id).await,
            ["admin", "v1", "breakers"] => json(&breakers(context)),
            ["admin", "v1", "config"] => json(&live.config_json),
            ["admin", "v1", "faults", rest @ ..] if rest.len() <= 1 => {
                if method != Method::GET {
                    require(role, Role::Chaos)?;
                }
                faults::answer(context, &method, rest.first().copied(), &query, request.into_body())
                    .await
            }
            _ => Err(Problem::new(
                ProblemType::NotFound,
                format!("the admin port has no {}", uri.path()),
            )),
        }
    }

    /// Where the data is, and what changes that.
    async fn placement(
        &self,
        role: Role,
        method: &Method,
        path: &[&str],
        query: &BTreeMap<String, String>,
        request: Request<RequestBody>,
    ) -> Answer {
        let context = &self.context;
        match path {
            ["admin", "v1", "shards"] => shards::list(context, query).await,
            ["admin", "v1", "shards", "residency"] => why::residency(context).await,
            ["admin", "v1", "shards", id, "why"] => why::why(context, id).await,
            ["admin", "v1", "shards", id, "transfer-leader"] => {
                require(role, Role::Operator)?;
                shards::transfer_leader(context, id, request.into_body()).await
            }
            ["admin", "v1", "shards", id, "merge"] => {
                require(role, Role::Operator)?;
                operations::merge(context, id, request.into_body()).await
            }
            ["admin", "v1", "shards", id, "split"] => {
                require(role, Role::Operator)?;
                operations::split(context, id, request.into_body()).await
            }
            ["admin", "v1", "shards", id, "move"] => {
                require(role, Role::Operator)?;
                operations::move_replica(context, id, request.into_body()).await
            }
            ["admin", "v1", "drain"] => {
                require(role, Role::Operator)?;
                match *method {
                    Method::POST => drain::begin(context, request.into_body()).await,
                    Method::DELETE => drain::end(context, query).await,
                    _ => Err(Problem::method_not_allowed("POST, DELETE")),
                }
            }
            ["admin", "v1", "operations"] => operations::list(context).await,
            ["admin", "v1", "operations", id] if *method == Method::DELETE => {
                require(role, Role::Operator)?;
                operations::cancel(context, id).await
            }
            ["admin", "v1", "operations", id] if *method == Method::GET => {
                operations::show(context, id, query).await
            }
            ["admin", "v1", "operations", _] => {
                Err(Problem::method_not_allowed("GET, HEAD, DELETE"))
            }
            _ => Err(Problem::new(
                ProblemType::NotFound,
                format!("the admin port has no /{}", path.join("/")),
            )),
        }
    }
}

/// What reads is asked with `GET`, what acts with `POST`; fault rules have methods of their own.
fn check_method(method: &Method, path: &[&str]) -> Result<(), Problem> {
    let (needed, allow) = match path {
        ["livez" | "readyz" | "metrics"]
        | [
            "admin",
            "v1",
            "status" | "nodes" | "shards" | "breakers" | "cache" | "config" | "operations",
        ]
        | ["admin", "v1", "purge", _]
        | ["admin", "v1", "shards", "residency"]
        | ["admin", "v1", "shards", _, "why"] => (Method::GET, "GET, HEAD"),
        ["admin", "v1", "ingest" | "purge"]
        | ["admin", "v1", "shards", _, "transfer-leader" | "split" | "merge" | "move"] => {
            (Method::POST, "POST")
        }
        _ => return Ok(()),
    };
    if *method == needed { Ok(()) } else { Err(Problem::method_not_allowed(allow)) }
}

fn require(role: Role, needed: Role) -> Result<(), Problem> {
    let facts = |role: Role| match role {
        Role::Viewer => (0, "viewer"),
        Role::Operator => (1, "operator"),
        Role::Chaos => (2, "chaos"),
    };
    let ((rank, name), (needed_rank, needed_name)) = (facts(role), facts(needed));
    if rank >= needed_rank {
        return Ok(());
    }
    Err(Problem::new(
        ProblemType::Forbidden,
        format!("this needs the role {needed_name}, and the caller has {name}"),
    ))
}

/// The parameters of a query string, percent-decoded; of repeated ones the last.
fn parameters(query: &str) -> BTreeMap<String, String> {
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (super::target::decode(name), super::target::decode(value))
        })
        .collect()
}

/// 200 with a JSON body.
fn json<T: Serialize>(value: &T) -> Answer {
    with_status(StatusCode::OK, value)
}

fn with_status<T: Serialize>(status: StatusCode, value: &T) -> Answer {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(response)
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn metrics(context: &Context) -> Answer {
    let mut body = Vec::new();
    context.refresh_metrics();
    let encoder = TextEncoder::new();
    encoder
        .encode(&context.registry.gather(), &mut body)
        .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
    let mut response = Response::new(full(body));
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

fn breakers(context: &Context) -> BreakersReport {
    let breakers = context
        .router
        .breakers()
        .into_iter()
        .map(|status| BreakerRow {
            target: status.target,
            class: status.class.to_owned(),
            state: status.state.to_owned(),
            failures: u64::from(status.failures),
            since_ms: status.since_ms,
            opened: status.opened,
        })
        .collect();
    BreakersReport { schema: "hexpop.breakers/1".to_owned(), breakers }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_include_those_below() {
        assert!(require(Role::Chaos, Role::Operator).is_ok());
        assert!(require(Role::Operator, Role::Operator).is_ok());
        assert!(require(Role::Viewer, Role::Operator).is_err());
        assert!(require(Role::Operator, Role::Chaos).is_err());
    }

    #[test]
    fn parameters_are_decoded() {
        let found = parameters("a=1%202&b&c=x%3Dy");
        assert_eq!(found["a"], "1 2");
        assert_eq!(found["b"], "");
        assert_eq!(found["c"], "x=y");
    }
}
