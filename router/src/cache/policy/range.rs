//! Range requests (RFC 9110 §14). Pure.

use std::ops::Range;

use http::{HeaderMap, Method, header};

use super::text::members;

/// Ranges of one request; a request for more is answered as if it asked for none (RFC 9110 §14.2).
const RANGES_MAX: usize = 16;

/// One range as asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RangeSpec {
    /// From this position on, to the end.
    From(u64),
    /// From the first to the last position, both included.
    Between(u64, u64),
    /// So many bytes at the end.
    Last(u64),
}

/// What a request for ranges comes to for a body of a known length.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ranges {
    /// The field does not count: the whole body.
    Whole,
    /// These parts, in the order asked for.
    Parts(Vec<Range<u64>>),
    /// 416.
    Unsatisfiable,
}

/// The ranges that a request asks for; `None` where the field is absent or does not count: another
/// method than GET, another unit, anything that the grammar does not have, too many.
pub(crate) fn asked(method: &Method, request: &HeaderMap) -> Option<Vec<RangeSpec>> {
    let mut lines = request.get_all(header::RANGE).iter();
    let line = lines.next()?.as_bytes();
    if *method != Method::GET || lines.next().is_some() {
        return None;
    }
    let (unit, set) = line.split_at_checked(6)?;
    if !unit.eq_ignore_ascii_case(b"bytes=") {
        return None;
    }
    let specs: Vec<RangeSpec> = members(set).map(spec).collect::<Option<_>>()?;
    (1..=RANGES_MAX).contains(&specs.len()).then_some(specs)
}

fn spec(member: &[u8]) -> Option<RangeSpec> {
    let (first, last) = str::from_utf8(member).ok()?.split_once('-')?;
    Some(match (position(first)?, position(last)?) {
        (None, None) => return None,
        (None, Some(suffix)) => RangeSpec::Last(suffix),
        (Some(first), None) => RangeSpec::From(first),
        (Some(first), Some(last)) if last < first => return None,
        (Some(first), Some(last)) => RangeSpec::Between(first, last),
    })
}

/// The inner `None` is an absent position; one that does not fit is as far as can be.
fn position(text: &str) -> Option<Option<u64>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| Some(text.parse().unwrap_or(u64::MAX)))
}

/// What the ranges are of a body of `length` bytes. Ranges that overlap or touch become one
/// (RFC 9110 §15.3.7.2), so that no answer is longer than the body.
pub(crate) fn resolve(specs: &[RangeSpec], length: u64) -> Ranges {
    let mut parts: Vec<Range<u64>> = Vec::new();
    for part in specs.iter().filter_map(|spec| satisfy(*spec, length)) {
        let mut part = part;
        let mut place = parts.len();
        // Whatever it joins stands where the first of them was asked for.
        let mut at = 0;
        while let Some(other) = parts.get(at) {
            if other.start <= part.end && part.start <= other.end {
                part = other.start.min(part.start)..other.end.max(part.end);
                place = place.min(at);
                parts.remove(at);
                at = 0;
            } else {
                at += 1;
            }
        }
        parts.insert(place.min(parts.len()), part);
    }
    match parts.as_slice() {
        // A body without a byte has no range that could be named.
        [] if length == 0 && specs.iter().any(|spec| matches!(spec, RangeSpec::Last(1..))) => {
            Ranges::Whole
        }
        [] => Ranges::Unsatisfiable,
        _ => Ranges::Parts(parts),
    }
}

fn satisfy(spec: RangeSpec, length: u64) -> Option<Range<u64>> {
    let range = match spec {
        RangeSpec::From(first) => first..length,
        RangeSpec::Between(first, last) => first..last.saturating_add(1).min(length),
        RangeSpec::Last(suffix) => length.saturating_sub(suffix)..length,
    };
    (range.start < range.end).then_some(range)
}

/// `Content-Range` of a part.
pub(crate) fn content_range(part: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", part.start, part.end.saturating_sub(1))
}

/// Reads a `Content-Range` that names a part and the whole length (RFC 9110 §14.4); anything else is
/// `None`.
pub(crate) fn parse_content_range(response: &HeaderMap) -> Option<(Range<u64>, u64)> {
    let mut lines = response.get_all(header::CONTENT_RANGE).iter();
    let line = lines.next()?.to_str().ok()?;
    if lines.next().is_some() {
        return None;
    }
    let (unit, rest) = line.split_at_checked(6)?;
    let (range, length) = rest.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let exact = |text| position(text).flatten();
    let (first, last, length) = (exact(first)?, exact(last)?, exact(length)?);
    let valid = unit.eq_ignore_ascii_case("bytes ") && first <= last && last < length;
    valid.then(|| (first..last + 1, length))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(name: http::HeaderName, value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
        headers
    }

    fn get(range: &str) -> Option<Vec<RangeSpec>> {
        asked(&Method::GET, &headers(header::RANGE, range))
    }

    fn ten(range: &str) -> Ranges {
        get(range).map_or(Ranges::Whole, |specs| resolve(&specs, 10))
    }

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "lists of one range")]
    fn rfc9110_14_1_2_byte_ranges() {
        for (range, expected) in [
            ("bytes=0-4", Ranges::Parts(vec![0..5])),
            ("Bytes=5-99", Ranges::Parts(vec![5..10])),
            ("bytes=9-", Ranges::Parts(vec![9..10])),
            ("bytes=-3", Ranges::Parts(vec![7..10])),
            ("bytes=-30", Ranges::Parts(vec![0..10])),
            ("bytes=0-99999999999999999999999", Ranges::Parts(vec![0..10])),
            ("bytes=10-", Ranges::Unsatisfiable),
            ("bytes=-0", Ranges::Unsatisfiable),
            ("bytes=0-0, -1", Ranges::Parts(vec![0..1, 9..10])),
            ("bytes=7-8, 1-2", Ranges::Parts(vec![7..9, 1..3])),
            ("bytes=0-1, 20-30", Ranges::Parts(vec![0..2])),
            // §14.2: overlapping and adjacent ranges are joined.
            ("bytes=0-4, 3-6, 7-8", Ranges::Parts(vec![0..9])),
            ("bytes=8-9, 0-1, 2-3", Ranges::Parts(vec![8..10, 0..4])),
            ("bytes=0-, 0-, 0-", Ranges::Parts(vec![0..10])),
            // §14.2: what cannot be read does not count.
            ("bytes=4-2", Ranges::Whole),
            ("bytes=0-1, x", Ranges::Whole),
            ("bytes=-", Ranges::Whole),
            ("bytes=+1-2", Ranges::Whole),
            ("bytes=", Ranges::Whole),
            ("bytes 0-4", Ranges::Whole),
            ("lines=0-4", Ranges::Whole),
            (&format!("bytes={}", ["0-0"; 17].join(",")), Ranges::Whole),
        ] {
            assert_eq!(ten(range), expected, "{range}");
        }
        assert_eq!(resolve(&[RangeSpec::Last(5)], 0), Ranges::Whole);
        assert_eq!(resolve(&[RangeSpec::From(0)], 0), Ranges::Unsatisfiable);
    }

    #[test]
    fn rfc9110_14_2_ranges_are_for_get() {
        let mut request = headers(header::RANGE, "bytes=0-1");
        assert!(asked(&Method::HEAD, &request).is_none());
        request.append(header::RANGE, HeaderValue::from_static("bytes=0-1"));
        assert!(asked(&Method::GET, &request).is_none());
    }

    #[test]
    fn rfc9110_14_4_content_range() {
        for (text, expected) in [
            ("bytes 0-4/10", Some((0..5, 10))),
            ("bytes 9-9/10", Some((9..10, 10))),
            ("bytes 0-4/*", None),
            ("bytes */10", None),
            ("bytes 5-4/10", None),
            ("bytes 5-10/10", None),
            ("items 0-4/10", None),
            ("bytes=0-4/10", None),
            ("bytes 0-99999999999999999999/10", None),
        ] {
            let read = parse_content_range(&headers(header::CONTENT_RANGE, text));
            assert_eq!(read, expected, "{text}");
        }
        assert_eq!(content_range(&(0..5), 10), "bytes 0-4/10");
    }

    fn any_spec() -> impl Strategy<Value = RangeSpec> {
        prop_oneof![
            (0_u64..40).prop_map(RangeSpec::From),
            (0_u64..40, 0_u64..40).prop_map(|(a, b)| RangeSpec::Between(a.min(b), a.max(b))),
            (0_u64..40).prop_map(RangeSpec::Last),
        ]
    }

    proptest! {
        #[test]
        fn the_parts_hold_each_byte_asked_for_once(
            specs in proptest::collection::vec(any_spec(), 1..10),
            length in 0_u64..30,
        ) {
            let wanted = |at: u64| specs.iter().any(|spec| match *spec {
                RangeSpec::From(first) => at >= first,
                RangeSpec::Between(first, last) => (first..=last).contains(&at),
                RangeSpec::Last(suffix) => at + suffix >= length,
            });
            let mut counts = vec![0; usize::try_from(length).unwrap()];
            match resolve(&specs, length) {
                Ranges::Parts(parts) => for part in parts {
                    for at in part {
                        counts[usize::try_from(at).unwrap()] += 1;
                    }
                },
                Ranges::Whole => prop_assert_eq!(length, 0),
                Ranges::Unsatisfiable => {}
            }
            for (at, count) in (0..length).zip(counts) {
                prop_assert_eq!(count, u32::from(wanted(at)), "{}", at);
            }
        }

        #[test]
        fn nothing_panics(text in "bytes=[-0-9, x]{0,30}") {
            let _parts = ten(&text);
        }
    }
}
