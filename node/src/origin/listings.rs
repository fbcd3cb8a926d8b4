//! Single listings: reading, creating, changing, deleting.

use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use http::{HeaderValue, StatusCode, header};

use super::{
    platform::Platform,
    record::{Record, RecordError, percent_encoded},
    reply::{self, SURROGATE_KEY},
    request::Request,
    routes::{Outcome, done},
    store::WriteError,
};
use crate::http::problem::Problem;

/// A listing may be kept for a few seconds by whoever follows no feed.
const CACHING: HeaderValue = HeaderValue::from_static("public, max-age=5");

/// `GET /api/v1/listings/{id}`
pub(super) fn get(platform: &Platform, id: &str) -> Outcome {
    let record = platform.record(id).filter(|record| record.is_public());
    record.map(|record| whole(platform, &record)).ok_or_else(|| reply::not_found("such listing"))
}

/// `POST /api/v1/listings`
pub(super) async fn create(platform: &Platform, request: Request) -> Outcome {
    let fields = request.into_object().await?;
    let created = platform.store.write().create(fields, jiff::Timestamp::now());
    let record = created.map_err(refused)?;
    platform.announce();
    let mut response = whole(platform, &record);
    *response.status_mut() = StatusCode::CREATED;
    reply::set_text(
        &mut response,
        header::LOCATION,
        &format!("/api/v1/listings/{}", percent_encoded(record.id())),
    );
    reply::set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `PATCH /api/v1/listings/{id}`
pub(super) async fn patch(platform: &Platform, id: &str, request: Request) -> Outcome {
    let if_match = request.if_match();
    let patch = request.into_object().await?;
    let patched = platform.store.write().patch(id, if_match, patch, jiff::Timestamp::now());
    let record = patched.map_err(refused)?;
    platform.announce();
    let mut response = whole(platform, &record);
    reply::set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// `DELETE /api/v1/listings/{id}`
pub(super) fn delete(platform: &Platform, id: &str, request: &Request) -> Outcome {
    let deleted = platform.store.write().delete(id, request.if_match());
    deleted.map_err(refused)?;
    platform.announce();
    Ok(done(StatusCode::NO_CONTENT))
}

fn whole(platform: &Platform, record: &Record) -> http::Response<crate::http::body::Body> {
    let mut response = reply::reply("application/json", record.body().clone());
    reply::set(&mut response, header::ETAG, record.etag().clone());
    reply::set_modified(&mut response, record.updated_at().unwrap_or(platform.started));
    reply::set(&mut response, header::CACHE_CONTROL, CACHING);
    reply::set_text(
        &mut response,
        SURROGATE_KEY,
        &format!("listing:{}", percent_encoded(record.id())),
    );
    response
}

fn refused(error: WriteError) -> Problem {
    let detail = error.to_string();
    match error {
        WriteError::NotFound => reply::not_found("such listing"),
        WriteError::Exists => {
            Problem::new(ProblemType::InvalidRequest, detail).status(StatusCode::CONFLICT)
        }
        WriteError::Changed(etag) => {
            let etag = etag.to_str().unwrap_or_default();
            Problem::new(ProblemType::PreconditionFailed, detail).header(header::ETAG, etag)
        }
        WriteError::ReadOnly(field) => Problem::new(ProblemType::InvalidRequest, &detail)
            .at(Place::Pointer(format!("#/{field}")), detail),
        WriteError::Invalid(RecordError(errors)) => {
            let problem = Problem::new(ProblemType::InvalidRequest, detail);
            errors.into_iter().fold(problem, |problem, error| {
                problem.at(Place::Pointer(format!("#{}", error.pointer)), error.detail)
            })
        }
        WriteError::Damaged(_) => Problem::new(ProblemType::Internal, detail),
    }
}
