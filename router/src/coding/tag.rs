//! Entity tags of coded bodies: each coding is another representation (RFC 9110 §8.8.3.3). Pure.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::Coding;

/// Between what the origin gave and the name of the coding. Some origins put `-gzip` behind their own
/// tags; this one they do not.
const MARK: &str = ";";

/// The fields that name entity tags in requests, but for `If-Range`: ranges are of the body without a coding,
/// so that the origin's tag must not match who has a part of a coded one (RFC 9110 §13.1.5).
const CONDITIONS: [HeaderName; 2] = [header::IF_MATCH, header::IF_NONE_MATCH];

/// The entity tag of a body in a coding. A weak one stays weak; one without quotes stays as it is, and
/// then names no coded body: `None`.
#[must_use]
pub fn tagged(tag: &str, coding: Coding) -> Option<String> {
    let open = tag.strip_suffix('"').filter(|open| open.contains('"'))?;
    Some(format!("{open}{MARK}{}\"", coding.as_str()))
}

/// Makes the head of a response that of its body in a coding: its tag another one, its length unknown.
pub(crate) fn with_coding(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(coding.as_str()));
    headers.remove(header::CONTENT_LENGTH);
    // Ranges are of the body without a coding.
    headers.remove(header::ACCEPT_RANGES);
    let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    let Some(tag) = tag else { return };
    match tagged(tag, coding).and_then(|tag| HeaderValue::from_str(&tag).ok()) {
        Some(tag) => drop(headers.insert(header::ETAG, tag)),
        None => drop(headers.remove(header::ETAG)),
    }
}

/// Takes the mark of our codings out of the conditions of a request that goes to the origin, which knows
/// nothing of them.
pub(crate) fn untag(headers: &mut HeaderMap) {
    for name in &CONDITIONS {
        let may_be_marked = |value: &HeaderValue| value.as_bytes().contains(&b';');
        if !headers.get_all(name).iter().any(may_be_marked) {
            continue;
        }
        let lines: Vec<HeaderValue> = headers.get_all(name).iter().map(without_mark).collect();
        headers.remove(name);
        for line in lines {
            headers.append(name.clone(), line);
        }
    }
}

fn without_mark(value: &HeaderValue) -> HeaderValue {
    let Ok(text) = value.to_str() else { return value.clone() };
    let plain = Coding::ALL.iter().fold(text.to_owned(), |text, coding| {
        text.replace(&format!("{MARK}{}\"", coding.as_str()), "\"")
    });
    HeaderValue::from_str(&plain).unwrap_or_else(|_invalid| value.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_coding_has_a_tag_of_its_own() {
        assert_eq!(tagged("\"a\"", Coding::Brotli).as_deref(), Some("\"a;br\""));
        assert_eq!(tagged("W/\"a\"", Coding::Gzip).as_deref(), Some("W/\"a;gzip\""));
        for odd in ["a", "", "\"", "\"a"] {
            assert_eq!(tagged(odd, Coding::Zstd), None, "{odd}");
        }
    }

    #[test]
    fn the_origin_gets_its_own_tags_back() {
        let mut headers = HeaderMap::new();
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        headers.append(header::IF_MATCH, value("\"a;br\", W/\"b;gzip\""));
        headers.append(header::IF_MATCH, value("\"c;d\""));
        headers.append(header::IF_RANGE, value("\"a;zstd\""));
        headers.append(header::IF_NONE_MATCH, value("*"));
        untag(&mut headers);
        let lines: Vec<_> = headers.get_all(header::IF_MATCH).iter().collect();
        assert_eq!(lines, ["\"a\", W/\"b\"", "\"c;d\""]);
        assert_eq!(headers[header::IF_RANGE], "\"a;zstd\"");
        assert_eq!(headers[header::IF_NONE_MATCH], "*");
    }

    #[test]
    fn a_coded_head_says_so() {
        let mut headers = HeaderMap::new();
        headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("9"));
        headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        with_coding(&mut headers, Coding::Zstd);
        assert_eq!(headers[header::ETAG], "\"a;zstd\"");
        assert_eq!(headers[header::CONTENT_ENCODING], "zstd");
        assert_eq!(headers.len(), 2);
        headers.insert(header::ETAG, HeaderValue::from_static("a"));
        with_coding(&mut headers, Coding::Zstd);
        assert!(!headers.contains_key(header::ETAG));
    }
}
