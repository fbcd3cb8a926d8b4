//! Answers made of stored, of arriving and of passed-on responses.

use std::{ops::Range, time::Duration};

use bytes::Bytes;
use hexpop_shard::hash_point;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Version, header};

use super::{
    body::{chunks, empty, full},
    flight::Arriving,
    headers::{add_via, strip_hop_by_hop},
    key::CacheKey,
    policy::{
        precondition::{Outcome, evaluate, range_applies},
        range::{RangeSpec, Ranges, content_range, resolve},
        tags::is_for_caches_only,
    },
    stored::{Payload, Stored},
};
use crate::{
    coding::{Acceptable, Coder, Coding, Source as CodingSource, vary_by_coding, with_coding},
    port::Body,
    status::{CACHE_STATUS_HEADER, Source, append, quoted},
};

const CACHE_STATUS: HeaderName = HeaderName::from_static(CACHE_STATUS_HEADER);

/// What of a stored response goes into a 304 (RFC 9110 §15.4.5), besides what names the cache.
const IN_NOT_MODIFIED: [HeaderName; 8] = [
    header::CACHE_CONTROL,
    header::CONTENT_LOCATION,
    header::DATE,
    header::ETAG,
    header::EXPIRES,
    header::LAST_MODIFIED,
    header::VARY,
    CACHE_STATUS,
];

/// What says that this node was on the way.
#[derive(Clone, Copy)]
pub(super) struct Signature<'a> {
    pub(super) source: Source,
    pub(super) name: &'a str,
    /// What the node says that it came through, if it did.
    pub(super) via: Option<&'a str>,
    /// What the response is stored under, if the client is told.
    pub(super) debugged: Option<&'a CacheKey>,
    /// Whether another node gets it.
    pub(super) for_peer: bool,
}

/// What another node learns of a response beside its fields; in its extensions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ForPeer {
    /// This node's member of `Cache-Status`.
    pub(super) member: String,
    /// How old it is and how long it is fresh, where that is known here.
    pub(super) age: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
    /// Whether it is stale and stands in for an origin that failed.
    pub(super) stands_in: bool,
}

/// To whom an answer goes, and what is said about it.
pub(super) struct Respondent<'a> {
    pub(super) method: &'a Method,
    pub(super) request: &'a HeaderMap,
    pub(super) ranges: Option<&'a [RangeSpec]>,
    pub(super) now: Duration,
    pub(super) now_ms: i64,
    pub(super) coder: &'a Coder,
    pub(super) signature: Signature<'a>,
}

/// What clients take of a response that differs by that; `None` = it does not.
type Taken = Option<Acceptable>;

/// A body that the client gets in a coding, once it is made.
#[derive(Debug, Clone)]
struct Uncoded {
    coding: Coding,
    number: u64,
    body: Bytes,
}

impl Respondent<'_> {
    /// What the client takes of a response that may be coded.
    fn taken(&self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> Taken {
        // Another node codes for its clients itself.
        let may_code = !self.signature.for_peer && self.coder.may_code(status, headers, length);
        may_code.then(|| self.coder.acceptable(self.request))
    }

    /// As [`taken`](Self::taken), for a part: it is given out without a coding, and varies by what the whole
    /// varies by (RFC 9110 §15.3.7). Of how long that is nothing is said here.
    fn taken_uncoded(&self, headers: &HeaderMap) -> Taken {
        self.taken(StatusCode::OK, headers, None).map(|_may_be_coded| Acceptable { coding: None })
    }

    /// The answer to a client that has it already (RFC 9110 §13.2.1: conditions are for what succeeds):
    /// in the coding that it would get, or without any.
    fn not_modified(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        taken: Taken,
    ) -> Option<Response<Body>> {
        let has = |headers: &HeaderMap| {
            evaluate(self.method, self.request, headers, self.now_ms) == Outcome::NotModified
        };
        if !status.is_success() {
            return None;
        }
        if has(headers) {
            return Some(self.without_body(headers));
        }
        let coding = taken?.coding.filter(|_| self.request.contains_key(header::IF_NONE_MATCH))?;
        let mut coded = headers.clone();
        with_coding(&mut coded, coding);
        has(&coded).then(|| not_modified(&coded))
    }

    /// The answer to who has it: another node stores all that may have changed of the fields.
    fn without_body(&self, headers: &HeaderMap) -> Response<Body> {
        if !self.signature.for_peer {
            return not_modified(headers);
        }
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response.headers_mut().clone_from(headers);
        response
    }

    fn finish(
        &self,
        mut response: Response<Body>,
        stored: &Stored,
        taken: Taken,
    ) -> Response<Body> {
        let age = stored.freshness.age(stored.resident(self.now));
        if taken.is_some() {
            vary_by_coding(response.headers_mut());
        }
        // RFC 9111 §5.1: an age says that it was not asked for at the origin just now.
        response.headers_mut().remove(header::AGE);
        if age.as_secs() > 0 || self.signature.source.is_reuse() {
            response.headers_mut().insert(header::AGE, age.as_secs().into());
        }
        let freshness = Some((age, stored.freshness.lifetime));
        sign(&mut response, Version::HTTP_11, self.signature, freshness);
        response
    }
}

/// The answer to a GET or HEAD out of a stored response.
pub(super) fn of_stored(respondent: &Respondent<'_>, stored: &Stored) -> Response<Body> {
    let taken = match &stored.payload {
        Payload::Whole(_) => {
            respondent.taken(stored.status, &stored.headers, Some(stored.length()))
        }
        Payload::Pieces(_) => respondent.taken_uncoded(&stored.headers),
        // It is given out as it is read.
        Payload::Disk(_) => respondent
            .taken(stored.status, &stored.headers, Some(stored.length()))
            .map(|_may_be_coded| Acceptable { coding: None }),
    };
    let not_modified = respondent.not_modified(stored.status, &stored.headers, taken);
    let response = not_modified.unwrap_or_else(|| match wanted(respondent, stored) {
        Ranges::Whole => whole(respondent, stored, taken),
        Ranges::Unsatisfiable => unsatisfiable(stored),
        Ranges::Parts(parts) => match parts.as_slice() {
            [part] => one_part(stored, part),
            // RFC 9110 §14.2: a server may ignore it. One read after the other would be as good as all of it.
            _ if matches!(stored.payload, Payload::Disk(_)) => whole(respondent, stored, taken),
            _ => several_parts(stored, &parts),
        },
    });
    respondent.finish(response, stored, taken)
}

/// An answer with its body in the coding that the client likes; as it is where that cannot be made now.
pub(super) async fn coded(mut response: Response<Body>, coder: &Coder) -> Response<Body> {
    let Some(uncoded) = response.extensions_mut().remove::<Uncoded>() else { return response };
    let Uncoded { coding, number, body } = uncoded;
    if let Some(coded) = coder.code(CodingSource::Stored(number), &body, coding).await {
        with_coding(response.headers_mut(), coding);
        response.headers_mut().insert(header::CONTENT_LENGTH, coded.len().into());
        *response.body_mut() = full(coded);
    }
    response
}

/// The answer to a GET out of a response that is arriving. `own` = the fields for the one who caused
/// it.
pub(super) fn of_arriving(
    respondent: &Respondent<'_>,
    arriving: &Arriving,
    own: Option<HeaderMap>,
    body: Body,
) -> Response<Body> {
    let stored = &arriving.stored;
    let headers = own.unwrap_or_else(|| stored.headers.clone());
    // What is arriving is given out as it comes; what is stored of it may be coded.
    let taken = match &arriving.part {
        None => respondent.taken(stored.status, &headers, arriving.length),
        Some(_) => respondent.taken_uncoded(&headers),
    };
    let not_modified = match &arriving.part {
        None => respondent.not_modified(stored.status, &headers, taken),
        Some(_) => None,
    };
    let response = not_modified.unwrap_or_else(|| {
        let mut response = Response::new(body);
        *response.headers_mut() = headers;
        *response.status_mut() = stored.status;
        let headers = response.headers_mut();
        if let Some(part) = &arriving.part {
            headers.insert(header::CONTENT_RANGE, part.clone());
        }
        if let Some(length) = arriving.length.filter(|_| stored.status != StatusCode::NO_CONTENT) {
            headers.insert(header::CONTENT_LENGTH, length.into());
        }
        if arriving.part.is_some() {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
        }
        response
    });
    respondent.finish(response, stored, taken)
}

/// What of a stored response the client wants (RFC 9110 §14.2).
fn wanted(respondent: &Respondent<'_>, stored: &Stored) -> Ranges {
    match respondent.ranges {
        Some(specs)
            if stored.status == StatusCode::OK
                && range_applies(respondent.request, &stored.headers, respondent.now_ms) =>
        {
            resolve(specs, stored.length())
        }
        _ => Ranges::Whole,
    }
}

fn not_modified(headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    for name in &IN_NOT_MODIFIED {
        for value in headers.get_all(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

fn whole(respondent: &Respondent<'_>, stored: &Stored, taken: Taken) -> Response<Body> {
    let coding = taken.and_then(|taken| taken.coding);
    if let (Some(coding), Payload::Whole(bytes)) = (coding, &stored.payload) {
        let mut response = with_fields(stored, stored.status, full(bytes.clone()));
        if *respondent.method == Method::HEAD {
            with_coding(response.headers_mut(), coding);
            *response.body_mut() = empty();
            return response;
        }
        response.headers_mut().insert(header::CONTENT_LENGTH, stored.length().into());
        let uncoded = Uncoded { coding, number: stored.number, body: bytes.clone() };
        response.extensions_mut().insert(uncoded);
        return response;
    }
    let body = match &stored.payload {
        Payload::Whole(bytes) if *respondent.method != Method::HEAD => full(bytes.clone()),
        Payload::Disk(body) if *respondent.method != Method::HEAD => body.part(0..body.length()),
        Payload::Whole(_) | Payload::Pieces(_) | Payload::Disk(_) => empty(),
    };
    let mut response = with_fields(stored, stored.status, body);
    if stored.status != StatusCode::NO_CONTENT {
        response.headers_mut().insert(header::CONTENT_LENGTH, stored.length().into());
    }
    response
}

fn with_fields(stored: &Stored, status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().clone_from(&stored.headers);
    response
}

/// RFC 9110 §15.5.17.
fn unsatisfiable(stored: &Stored) -> Response<Body> {
    let mut response = Response::new(empty());
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    if let Ok(value) = HeaderValue::from_str(&format!("bytes */{}", stored.length())) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, 0.into());
    response
}

/// RFC 9110 §15.3.7.1.
fn one_part(stored: &Stored, part: &Range<u64>) -> Response<Body> {
    let body = match &stored.payload {
        Payload::Disk(body) => body.part(part.clone()),
        Payload::Whole(_) | Payload::Pieces(_) => chunks(cut(stored, part)),
    };
    let length = part.end - part.start;
    let mut response = with_fields(stored, StatusCode::PARTIAL_CONTENT, body);
    if let Ok(value) = HeaderValue::from_str(&content_range(part, stored.length())) {
        response.headers_mut().insert(header::CONTENT_RANGE, value);
    }
    response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    response
}

/// RFC 9110 §15.3.7.2.
fn several_parts(stored: &Stored, parts: &[Range<u64>]) -> Response<Body> {
    let boundary = boundary(stored, parts);
    let kind = stored.headers.get(header::CONTENT_TYPE);
    let mut body: Vec<Bytes> = Vec::new();
    for part in parts {
        let mut head = format!("\r\n--{boundary}\r\n").into_bytes();
        if let Some(kind) = kind {
            head.extend_from_slice(b"Content-Type: ");
            head.extend_from_slice(kind.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        let range = content_range(part, stored.length());
        head.extend_from_slice(format!("Content-Range: {range}\r\n\r\n").as_bytes());
        body.push(head.into());
        body.extend(cut(stored, part));
    }
    body.push(format!("\r\n--{boundary}--\r\n").into());
    let length: usize = body.iter().map(Bytes::len).sum();
    let mut response = with_fields(stored, StatusCode::PARTIAL_CONTENT, chunks(body));
    let headers = response.headers_mut();
    if let Ok(kind) = HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}")) {
        headers.insert(header::CONTENT_TYPE, kind);
    }
    headers.insert(header::CONTENT_LENGTH, length.into());
    // It is each part's own.
    headers.remove(header::CONTENT_RANGE);
    response
}

/// A line that is in none of the parts: 128 bits that depend on what is sent.
fn boundary(stored: &Stored, parts: &[Range<u64>]) -> String {
    let seed = format!("{:?} {:?} {parts:?}", stored.headers, stored.arrived);
    let (one, two) = (hash_point(seed.as_bytes()), hash_point(format!("{seed}.").as_bytes()));
    format!("hexpop{one:016x}{two:016x}")
}

/// A part that is in memory: [`decide`](super::policy::reuse::decide) has seen to that.
fn cut(stored: &Stored, part: &Range<u64>) -> Vec<Bytes> {
    match &stored.payload {
        Payload::Whole(bytes) => {
            let at = |at: u64| usize::try_from(at).unwrap_or(bytes.len()).min(bytes.len());
            vec![bytes.slice(at(part.start)..at(part.end))]
        }
        Payload::Pieces(pieces) => pieces.slice(part.clone()).unwrap_or_default(),
        Payload::Disk(_) => Vec::new(),
    }
}

/// A response of the origin on its way through.
pub(super) fn of_passed(response: Response<Body>, signature: Signature<'_>) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    // The version is that of the origin's connection.
    let mut response = Response::new(body);
    *response.status_mut() = parts.status;
    *response.headers_mut() = parts.headers;
    sign(&mut response, parts.version, signature, None);
    response
}

/// Removes what speaks to caches like this one (RFC 9213, `Surrogate-Key`, `Cache-Tag`).
fn strip_for_caches(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> =
        headers.keys().filter(|name| is_for_caches_only(name)).cloned().collect();
    for name in named {
        headers.remove(name);
    }
}

/// Adds what says that this node was on the way, and removes what is not for a client. `freshness`: age
/// and lifetime of a response that is stored here.
fn sign(
    response: &mut Response<Body>,
    version: Version,
    signature: Signature<'_>,
    freshness: Option<(Duration, Duration)>,
) {
    let Signature { source, name, via, debugged, for_peer } = signature;
    add_via(response.headers_mut(), version, name);
    let mut own = source.member(name);
    if for_peer {
        let (age, lifetime) = freshness.unzip();
        let stands_in = matches!(source, Source::StaleIfError { .. });
        response.extensions_mut().insert(ForPeer { member: own, age, lifetime, stands_in });
        return;
    }
    let headers = response.headers_mut();
    if debugged.is_none() {
        strip_for_caches(headers);
    }
    if let Some(key) = debugged {
        own.push_str(&format!("; key={}", quoted(&format!("{}{}", key.origin(), key.target()))));
    }
    if via.is_some() && !own.contains("; detail=") {
        own.push_str("; detail=peer");
    }
    let upstream: Vec<&str> = headers
        .get_all(&CACHE_STATUS)
        .iter()
        .filter_map(|line| line.to_str().ok())
        .chain(via)
        .collect();
    let value = append(Some(&upstream.join(", ")), &own);
    if let Ok(value) = HeaderValue::from_str(&value) {
        headers.insert(CACHE_STATUS, value);
    }
}
