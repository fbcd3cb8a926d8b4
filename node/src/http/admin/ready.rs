//! `/livez` and `/readyz`: of this process and this node only. Quorum is a metric and a status, never
//! a probe: a probe that needs a leader restarts the nodes which could elect one.

use std::collections::BTreeMap;

use hexpop_router::Problem as ProblemType;
use http::{HeaderMap, Response, StatusCode, header};

use super::{Answer, json, text, with_status};
use crate::{
    admin_api::ReadyReport,
    context::Context,
    http::{body::Body, problem::Problem},
};

/// `/livez`: fails only for a wedged runtime.
pub(super) fn live(context: &Context) -> Answer {
    match context.control_plane_silence() {
        silence if silence.as_secs() < 10 => Ok(text(StatusCode::OK, "ok\n".to_owned())),
        silence => Err(Problem::new(
            ProblemType::Internal,
            format!("the control plane has not moved for {} s", silence.as_secs()),
        )
        .status(StatusCode::SERVICE_UNAVAILABLE)),
    }
}

/// `/readyz`: whether the node can serve; `?verbose` names each check, and what does not work though the node can
/// serve without it; `?exclude=NAME` leaves one out.
pub(super) fn ready(
    context: &Context,
    query: &BTreeMap<String, String>,
    headers: &HeaderMap,
) -> Response<Body> {
    let mut checks = context.ready_checks();
    if let Some(excluded) = query.get("exclude") {
        for name in excluded.split(',') {
            checks.remove(name);
        }
    }
    let ready = checks.values().all(Option::is_none);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let wants_json = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accept| accept.contains("application/json"));
    if wants_json {
        let report = ReadyReport { ready, checks, warnings: context.warnings() };
        return with_status(status, &report)
            .or_else(|_unencodable| json(&()))
            .unwrap_or_else(|problem| problem.into_response(""));
    }
    let mut body = String::new();
    if query.contains_key("verbose") || !ready {
        for (name, failure) in &checks {
            body.push_str(&match failure {
                None => format!("[+]{name} ok\n"),
                Some(why) => format!("[-]{name} failed: {why}\n"),
            });
        }
        for (name, why) in context.warnings() {
            body.push_str(&format!("[!]{name} {why}\n"));
        }
    }
    body.push_str(if ready { "ok\n" } else { "not ready\n" });
    let mut response = text(status, body);
    if !ready {
        response.headers_mut().insert(header::RETRY_AFTER, 1.into());
    }
    response
}
