//! Conditional requests (RFC 9110 §13). Pure.

use http::{HeaderMap, Method, header};

use super::{
    date,
    text::{EntityTag, all_members},
};

/// What the conditions of a request come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The request is done as if it had none.
    Proceed,
    /// 304: the client has it.
    NotModified,
    /// 412 by what is stored here; the origin may know better.
    Failed,
}

/// Conditions that only the origin can answer for certain: a cache cannot know the current state
/// (RFC 9111 §4.3.2).
pub(crate) fn asks_for_current(request: &HeaderMap) -> bool {
    request.contains_key(header::IF_MATCH) || request.contains_key(header::IF_UNMODIFIED_SINCE)
}

fn is_conditional(request: &HeaderMap) -> bool {
    asks_for_current(request)
        || request.contains_key(header::IF_NONE_MATCH)
        || request.contains_key(header::IF_MODIFIED_SINCE)
}

/// Evaluates the conditions of a request in the order of RFC 9110 §13.2.2, for a response that would
/// be 2xx. `now_ms` is for dates with two-digit years.
pub(crate) fn evaluate(
    method: &Method,
    request: &HeaderMap,
    response: &HeaderMap,
    now_ms: i64,
) -> Outcome {
    if !is_conditional(request) {
        return Outcome::Proceed;
    }
    let tag = EntityTag::of_response(response);
    let date = |headers: &HeaderMap, name| date::valid(headers, name, now_ms);
    let modified = date(response, &header::LAST_MODIFIED);
    if request.contains_key(header::IF_MATCH) {
        let same = |member: &[u8]| {
            member == b"*" || tag.is_some_and(|tag| tag.is_same(&EntityTag::of(member)))
        };
        if !all_members(request, &header::IF_MATCH).any(same) {
            return Outcome::Failed;
        }
    } else if let Some(since) = date(request, &header::IF_UNMODIFIED_SINCE)
        && modified.is_none_or(|modified| modified > since)
    {
        return Outcome::Failed;
    }
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let has_it = if request.contains_key(header::IF_NONE_MATCH) {
        let like = |member: &[u8]| {
            member == b"*" || tag.is_some_and(|tag| tag.is_like(&EntityTag::of(member)))
        };
        all_members(request, &header::IF_NONE_MATCH).any(like)
    } else {
        let mut lines = request.get_all(header::IF_MODIFIED_SINCE).iter();
        let single = lines.next().is_some() && lines.next().is_none();
        let since = date(request, &header::IF_MODIFIED_SINCE).filter(|_| reads && single);
        // RFC 9111 §4.3.2: without Last-Modified, the date of the stored response.
        let modified = modified.or_else(|| date(response, &header::DATE));
        since.zip(modified).is_some_and(|(since, modified)| modified <= since)
    };
    match (has_it, reads) {
        (false, _) => Outcome::Proceed,
        (true, true) => Outcome::NotModified,
        (true, false) => Outcome::Failed,
    }
}

/// Whether a `Range` counts: there is no `If-Range`, or it names this very response
/// (RFC 9110 §13.1.5).
pub(crate) fn range_applies(request: &HeaderMap, response: &HeaderMap, now_ms: i64) -> bool {
    let Some(condition) = request.get(header::IF_RANGE) else { return true };
    let condition = condition.as_bytes().trim_ascii();
    if condition.starts_with(b"\"") || condition.starts_with(b"W/") {
        let asked = EntityTag::of(condition);
        return EntityTag::of_response(response).is_some_and(|tag| tag.is_same(&asked));
    }
    let asked = date::parse(condition, now_ms);
    asked.is_some() && asked == strong_date(response, now_ms)
}

/// `Last-Modified` where it is a strong validator: the response was made at least a second after
/// (RFC 9110 §8.8.2.2).
pub(crate) fn strong_date(response: &HeaderMap, now_ms: i64) -> Option<i64> {
    let modified = date::valid(response, &header::LAST_MODIFIED, now_ms)?;
    let made = date::valid(response, &header::DATE, now_ms)?;
    (made.saturating_sub(modified) >= 1000).then_some(modified)
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;

    const NOW: i64 = 1_796_000_000_000;
    const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn rfc9110_13_2_2_precedence() {
        let stored = headers(&[("etag", "\"1\""), ("last-modified", THEN)]);
        let (im, inm) = ("if-match", "if-none-match");
        let (ims, ius) = ("if-modified-since", "if-unmodified-since");
        for (request, expected) in [
            (&[][..], Outcome::Proceed),
            // §13.1.1
            (&[(im, "*")], Outcome::Proceed),
            (&[(im, "\"0\", \"1\"")], Outcome::Proceed),
            (&[(im, "\"0\""), (im, "\"1\"")], Outcome::Proceed),
            (&[(im, "W/\"1\"")], Outcome::Failed),
            (&[(im, "\"2\"")], Outcome::Failed),
            // §13.1.2
            (&[(inm, "*")], Outcome::NotModified),
            (&[(inm, "W/\"1\"")], Outcome::NotModified),
            (&[(inm, "\"x,y\", \"1\"")], Outcome::NotModified),
            (&[(inm, "\"2\"")], Outcome::Proceed),
            (&[(inm, "1")], Outcome::Proceed),
            // §13.1.3
            (&[(ims, THEN)], Outcome::NotModified),
            (&[(ims, AFTER)], Outcome::NotModified),
            (&[(ims, BEFORE)], Outcome::Proceed),
            (&[(ims, "Sunday, 06-Nov-94 08:49:37 GMT")], Outcome::NotModified),
            (&[(ims, "then")], Outcome::Proceed),
            (&[(ims, AFTER), (ims, AFTER)], Outcome::Proceed),
            (&[(inm, "\"2\""), (ims, AFTER)], Outcome::Proceed),
            (&[(inm, "\"1\""), (ims, BEFORE)], Outcome::NotModified),
            // §13.1.4
            (&[(ius, THEN)], Outcome::Proceed),
            (&[(ius, BEFORE)], Outcome::Failed),
            (&[(ius, "then")], Outcome::Proceed),
            (&[(im, "\"1\""), (ius, BEFORE)], Outcome::Proceed),
            (&[(im, "\"1\""), (inm, "\"1\"")], Outcome::NotModified),
            (&[(ius, BEFORE), (inm, "\"1\"")], Outcome::Failed),
        ] {
            let outcome = evaluate(&Method::GET, &headers(request), &stored, NOW);
            assert_eq!(outcome, expected, "{request:?}");
        }
        let put = |name, value| evaluate(&Method::PUT, &headers(&[(name, value)]), &stored, NOW);
        assert_eq!(put(inm, "*"), Outcome::Failed);
        assert_eq!(put(ims, AFTER), Outcome::Proceed);
    }

    #[test]
    fn rfc9111_4_3_2_without_last_modified_the_date_counts() {
        let stored = headers(&[("date", THEN)]);
        let since =
            |date| evaluate(&Method::GET, &headers(&[("if-modified-since", date)]), &stored, NOW);
        assert_eq!(since(AFTER), Outcome::NotModified);
        assert_eq!(since(BEFORE), Outcome::Proceed);
    }

    #[test]
    fn rfc9110_13_1_5_if_range() {
        let later = "Sun, 06 Nov 1994 09:49:37 GMT";
        let dated = headers(&[("etag", "\"1\""), ("last-modified", THEN), ("date", later)]);
        let fast = headers(&[("etag", "W/\"1\""), ("last-modified", THEN), ("date", THEN)]);
        let applies = |stored: &HeaderMap, condition| {
            range_applies(&headers(&[("if-range", condition)]), stored, NOW)
        };
        assert!(range_applies(&headers(&[]), &dated, NOW));
        assert!(applies(&dated, "\"1\""));
        assert!(!applies(&dated, "\"2\""));
        assert!(!applies(&dated, "W/\"1\""));
        assert!(!applies(&fast, "W/\"1\""));
        assert!(applies(&dated, THEN));
        assert!(!applies(&dated, AFTER), "another date");
        assert!(!applies(&fast, THEN), "made in the second of the change");
        assert!(!applies(&dated, "then"));
    }
}
