//! Counts and faults: for tests and drills, never subject to faults themselves.

use std::net::SocketAddr;

use hexpop_router::Problem as ProblemType;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{
    fault::Faults,
    platform::Platform,
    reply,
    request::Request,
    routes::{Outcome, done},
};
use crate::http::problem::Problem;

/// Where the counts are.
pub(super) const STATS: &str = "/edge/v1/stats";
/// Where the faults are.
pub(super) const FAULTS: &str = "/edge/v1/faults";

pub(super) async fn answer(platform: &Platform, remote: SocketAddr, request: Request) -> Outcome {
    let method = request.method().clone();
    let reads = matches!(method, Method::GET | Method::HEAD);
    if !reads && !remote.ip().to_canonical().is_loopback() {
        return Err(Problem::new(ProblemType::Forbidden, "only from this machine"));
    }
    match (request.uri().path(), &method) {
        (STATS, _) if reads => {
            let stats = match request.parameter("path") {
                Some(path) => platform.stats.of_path(path),
                None => all(platform),
            };
            Ok(reply::json(&stats))
        }
        (STATS, &Method::DELETE) => {
            platform.stats.reset();
            Ok(done(StatusCode::NO_CONTENT))
        }
        (FAULTS, _) if reads => Ok(current(platform)),
        (FAULTS, &Method::PUT) => {
            let object = request.into_object().await?;
            let faults: Faults = serde_json::from_value(Value::Object(object))
                .map_err(|error| Problem::new(ProblemType::InvalidRequest, error.to_string()))?;
            platform.faults.set(faults);
            Ok(current(platform))
        }
        (FAULTS, &Method::DELETE) => {
            platform.faults.set(Faults::default());
            Ok(done(StatusCode::NO_CONTENT))
        }
        (FAULTS, _) => Err(Problem::method_not_allowed("DELETE, GET, HEAD, PUT")),
        _ => Err(Problem::method_not_allowed("DELETE, GET, HEAD")),
    }
}

fn all(platform: &Platform) -> Value {
    let store = platform.store.read();
    let territories: Map<String, Value> = store
        .territories()
        .map(|(territory, listings)| (territory.to_string(), listings.into()))
        .collect();
    let followers =
        platform.limits.feed_clients.saturating_sub(platform.feed_slots.available_permits());
    let feed = json!({
        "cursor": store.feed().head().to_string(),
        "changes": store.feed().len(),
        "clients": followers,
    });
    let mut stats = platform.stats.to_json();
    stats.insert("listings".into(), store.len().into());
    stats.insert("territories".into(), territories.into());
    stats.insert("feed".into(), feed);
    stats.into()
}

fn current(platform: &Platform) -> http::Response<crate::http::body::Body> {
    // Faults are plain values, which always have a JSON form.
    reply::json(&serde_json::to_value(platform.faults.current()).unwrap_or_default())
}
