//! Answers of every kind on demand, to see what a cache makes of them. Most take a `cache-control`
//! query parameter, which becomes that header field.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderValue, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use serde_json::{Value, json};

use super::{
    platform::Platform,
    record::entity_tag,
    reply,
    request::Request,
    routes::{Outcome, get_only},
};
use crate::http::body::{Body, BodyError, full};

/// The longest `/slow` waits, in milliseconds.
const SLOW_MAX_MS: u64 = 60_000;
/// The most bytes of `/bytes/{n}`.
const BYTES_MAX: u64 = 256 << 20;
/// The size of one piece of a streamed body, in bytes.
const PIECE_BYTES: u64 = 64 << 10;
/// How much of a request's body `/echo` shows, in bytes.
const ECHO_BYTES_MAX: usize = 4 << 10;

/// One of the probes.
pub(super) async fn answer(platform: &Platform, request: Request) -> Outcome {
    let caching = request.parameter("cache-control").map(str::to_owned);
    let mut response = match *request.segments() {
        ["echo"] => return echo(request).await,
        _ if get_only(&request).is_err() => {
            return get_only(&request).map(|()| reply::bare(StatusCode::OK));
        }
        ["slow"] => slow(platform, &request).await?,
        ["status", code] => status(code)?,
        ["bytes", count] => bytes(&request, count)?,
        ["private"] => with_caching("private, max-age=60"),
        ["set-cookie"] => {
            let mut response = with_caching("max-age=60");
            let cookie = HeaderValue::from_static("visitor=1; Path=/; HttpOnly");
            reply::set(&mut response, header::SET_COOKIE, cookie);
            response
        }
        ["vary"] => vary(&request),
        _ => return Err(reply::not_found("such probe")),
    };
    if let Some(caching) = caching {
        reply::set_text(&mut response, header::CACHE_CONTROL, &caching);
    }
    Ok(response)
}

fn with_caching(caching: &'static str) -> Response<Body> {
    let mut response = reply::reply("text/plain", caching);
    reply::set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static(caching));
    response
}

/// `/slow?ms=`: answers after that time.
async fn slow(platform: &Platform, request: &Request) -> Outcome {
    let delay = request.number("ms", 1_000, (0, SLOW_MAX_MS))?;
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(delay)) => {}
        () = platform.stopping.cancelled() => {}
    }
    Ok(reply::reply("text/plain", format!("{delay} ms\n")))
}

/// `/status/{code}`: that status, from 200 to 599.
fn status(code: &str) -> Outcome {
    let status: StatusCode = code
        .parse()
        .ok()
        .filter(|status: &StatusCode| (200..600).contains(&status.as_u16()))
        .ok_or_else(|| reply::not_found("such status"))?;
    let mut response = reply::bare(status);
    let bodiless = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED, StatusCode::RESET_CONTENT];
    if !bodiless.contains(&status) {
        response = reply::reply("text/plain", format!("{status}\n"));
        *response.status_mut() = status;
    }
    if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
        reply::set(&mut response, header::LOCATION, HeaderValue::from_static("/"));
    }
    if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
        reply::set(&mut response, header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    Ok(response)
}

/// `/bytes/{n}`: so many bytes, the same each time; with `chunked` without saying how many before.
fn bytes(request: &Request, count: &str) -> Outcome {
    let count: u64 = count
        .parse()
        .ok()
        .filter(|count| *count <= BYTES_MAX)
        .ok_or_else(|| reply::not_found("such number of bytes"))?;
    let piece: Bytes = (0..PIECE_BYTES).map(|n| b'a' + u8::try_from(n % 26).unwrap_or(0)).collect();
    let pieces = count.div_ceil(PIECE_BYTES);
    let frames = stream::iter(0..pieces).map(move |n| {
        let size = usize::try_from((count - n * PIECE_BYTES).min(PIECE_BYTES)).unwrap_or(0);
        Ok::<_, BodyError>(Frame::data(piece.slice(..size.min(piece.len()))))
    });
    let body = StreamBody::new(frames).boxed_unsync();
    let mut response = reply::streamed("application/octet-stream", body);
    let etag = entity_tag(format!("bytes {count}").as_bytes());
    reply::set(&mut response, header::ETAG, etag);
    if request.parameter("chunked").is_none() {
        reply::set(&mut response, header::CONTENT_LENGTH, HeaderValue::from(count));
    }
    Ok(response)
}

/// `/vary`: differs by `Accept-Language`, and says so.
fn vary(request: &Request) -> Response<Body> {
    let language = request.headers().get(header::ACCEPT_LANGUAGE);
    let language = language.and_then(|value| value.to_str().ok()).unwrap_or("none").to_owned();
    let mut response = with_caching("max-age=60");
    let body = format!("{language}\n");
    reply::set(&mut response, header::ETAG, entity_tag(body.as_bytes()));
    reply::set(&mut response, header::VARY, HeaderValue::from_static("Accept-Language"));
    *response.body_mut() = full(body);
    response
}

/// `/echo`, any method: the request as it arrived.
async fn echo(request: Request) -> Outcome {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        headers.entry(name.to_string()).or_default().push(value);
    }
    let (method, target) = (request.method().to_string(), request.uri().to_string());
    let body = request.into_body().await?;
    let shown = body.get(..ECHO_BYTES_MAX.min(body.len())).unwrap_or_default();
    let text: Value = String::from_utf8_lossy(shown).into();
    Ok(reply::json(&json!({
        "method": method, "target": target, "headers": headers,
        "bodyBytes": body.len(), "body": text,
    })))
}
