//! From a request to its handler.

use std::{net::SocketAddr, sync::Arc};

use hexpop_router::Problem as ProblemType;
use http::{Method, Response, StatusCode};
use hyper::body::Incoming;

use super::{
    control, fault::Verdict, listings, pages, platform::Platform, probes, reply, request::Request,
    search, sync,
};
use crate::http::{body::Body, problem::Problem};

/// The outcome of a handler.
pub(super) type Outcome = Result<Response<Body>, Problem>;

/// Answers one request; `None` = close the connection without an answer.
pub(super) async fn answer(
    platform: &Arc<Platform>,
    remote: SocketAddr,
    request: http::Request<Incoming>,
) -> Option<Response<Body>> {
    let path = request.uri().path();
    if path == control::STATS || path == control::FAULTS {
        return Some(control(platform, remote, request).await);
    }
    let counted = platform.stats.begin(path);
    let delay = match platform.faults.judge(path) {
        Verdict::Hang => return None,
        Verdict::Answer(delay) => delay.map(|delay| (delay, false)),
        Verdict::Fail(delay) => Some((delay.unwrap_or_default(), true)),
    };
    if let Some((delay, fail)) = delay {
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = platform.stopping.cancelled() => {}
        }
        if fail {
            let problem = Problem::new(ProblemType::Internal, "the fault `error` is on");
            let response = problem.into_response("origin");
            counted.answered(response.status());
            return Some(response);
        }
    }
    let headers = request.headers().clone();
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let outcome = match Request::new(request) {
        Ok(request) => dispatch(platform, request).await,
        Err(problem) => Err(problem),
    };
    let response = outcome.unwrap_or_else(|problem| problem.into_response("origin"));
    let response = if safe { reply::conditional(&headers, response) } else { response };
    counted.answered(response.status());
    Some(response)
}

async fn control(
    platform: &Platform,
    remote: SocketAddr,
    request: http::Request<Incoming>,
) -> Response<Body> {
    let outcome = match Request::new(request) {
        Ok(request) => control::answer(platform, remote, request).await,
        Err(problem) => Err(problem),
    };
    outcome.unwrap_or_else(|problem| problem.into_response("origin"))
}

async fn dispatch(platform: &Arc<Platform>, request: Request) -> Outcome {
    match *request.segments() {
        ["api", "v1", ..] => api(platform, request).await,
        ["edge", "v1", ..] => edge(platform, request).await,
        ["slow"]
        | ["status", _]
        | ["bytes", _]
        | ["echo"]
        | ["private"]
        | ["set-cookie"]
        | ["vary"] => probes::answer(platform, request).await,
        _ => {
            let allowed = get_only(&request);
            allowed.and_then(|()| pages::answer(platform, &request))
        }
    }
}

async fn api(platform: &Arc<Platform>, request: Request) -> Outcome {
    let method = request.method().clone();
    match *request.segments() {
        ["api", "v1", "listings"] => match method {
            Method::GET | Method::HEAD => search::by_query(platform, request).await,
            Method::POST => listings::create(platform, request).await,
            _ => Err(Problem::method_not_allowed("GET, HEAD, POST")),
        },
        ["api", "v1", "listings", id] => {
            let id = id.to_owned();
            match method {
                Method::GET | Method::HEAD => listings::get(platform, &id),
                Method::PATCH => listings::patch(platform, &id, request).await,
                Method::DELETE => listings::delete(platform, &id, &request),
                _ => Err(Problem::method_not_allowed("DELETE, GET, HEAD, PATCH")),
            }
        }
        ["api", "v1", "search"] => match method {
            Method::POST => search::by_body(platform, request).await,
            _ => Err(Problem::method_not_allowed("POST")),
        },
        ["api", "v1", "search", "map"] => match method {
            Method::POST => search::clusters(platform, request).await,
            _ => Err(Problem::method_not_allowed("POST")),
        },
        ["api", "v1", "search", "suggest"] => {
            get_only(&request)?;
            search::suggest(platform, &request).await
        }
        _ => Err(reply::not_found("such interface")),
    }
}

async fn edge(platform: &Arc<Platform>, request: Request) -> Outcome {
    match *request.segments() {
        ["edge", "v1", "listings"] => {
            get_only(&request)?;
            sync::export(platform, &request)
        }
        ["edge", "v1", "changes"] => {
            get_only(&request)?;
            sync::changes(platform, &request)
        }
        ["edge", "v1", "erasures"] => match *request.method() {
            Method::GET | Method::HEAD => Ok(sync::erasures(platform)),
            Method::POST => sync::erase(platform, request).await,
            _ => Err(Problem::method_not_allowed("GET, HEAD, POST")),
        },
        _ => Err(reply::not_found("such interface")),
    }
}

/// 405 unless the request only reads.
pub(super) fn get_only(request: &Request) -> Result<(), Problem> {
    match *request.method() {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Problem::method_not_allowed("GET, HEAD")),
    }
}

/// A status without a body.
pub(super) fn done(status: StatusCode) -> Response<Body> {
    reply::bare(status)
}
