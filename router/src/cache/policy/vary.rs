//! By which request headers a response was chosen (RFC 9111 §4.1). Pure.

use http::{HeaderMap, HeaderName, header};

use super::text::all_members;

/// Names that one response may vary by; one that names more is not stored.
const NAMES_MAX: usize = 32;

/// The names of the request headers by which a response was chosen, in lower case, sorted;
/// `None` for `Vary: *`, one that cannot be read, and one with too many names.
pub(crate) fn vary_names(response: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names = Vec::new();
    for member in all_members(response, &header::VARY) {
        if member == b"*" {
            return None;
        }
        names.push(HeaderName::from_bytes(member).ok()?);
    }
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    (names.len() <= NAMES_MAX).then_some(names)
}

/// The values of those headers in a request, in a form in which what means the same is the same:
/// lines joined, white space around members removed, languages and codings in lower case, and
/// codings in one order, since theirs means nothing (the order of languages means something to
/// some: RFC 9110 §12.5.4).
pub(crate) fn selecting(names: &[HeaderName], request: &HeaderMap) -> Vec<Option<Vec<u8>>> {
    names.iter().map(|name| value(name, request)).collect()
}

fn value(name: &HeaderName, request: &HeaderMap) -> Option<Vec<u8>> {
    let mut lines = request.get_all(name).iter().peekable();
    lines.peek()?;
    let members = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty());
    let coding = *name == header::ACCEPT_ENCODING;
    if !coding && *name != header::ACCEPT_LANGUAGE {
        return Some(members.collect::<Vec<_>>().join(&b","[..]));
    }
    let mut members: Vec<Vec<u8>> = members
        .map(|member| {
            let spaceless = member.iter().filter(|byte| !byte.is_ascii_whitespace());
            spaceless.map(u8::to_ascii_lowercase).collect()
        })
        .collect();
    if coding {
        members.sort_unstable();
    }
    Some(members.join(&b","[..]))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn rfc9110_12_5_5_vary() {
        for (lines, expected) in [
            (&[][..], Some(&[][..])),
            (&["Foo, accept ,foo"], Some(&["accept", "foo"])),
            (&["b", "A"], Some(&["a", "b"])),
            (&["", "a"], Some(&["a"])),
            (&["*"], None),
            (&["*, *"], None),
            (&[", *"], None),
            (&["", "*"], None),
            (&["*, Foo"], None),
            (&["Foo, *"], None),
            (&["a b"], None),
        ] {
            let fields: Vec<_> = lines.iter().map(|line| ("vary", *line)).collect();
            let names = vary_names(&headers(&fields));
            let names: Option<Vec<_>> =
                names.as_ref().map(|names| names.iter().map(HeaderName::as_str).collect());
            assert_eq!(names.as_deref(), expected, "{lines:?}");
        }
        let many = (0..33).map(|n| format!("x-{n}")).collect::<Vec<_>>().join(",");
        assert_eq!(vary_names(&headers(&[("vary", &many)])), None);
    }

    #[test]
    fn rfc9111_4_1_matching() {
        let matches = |name: &str, one: &[&str], other: &[&str]| {
            let of = |lines: &[&str]| {
                let fields: Vec<_> = lines.iter().map(|line| (name, *line)).collect();
                selecting(&[name.parse().unwrap()], &headers(&fields))
            };
            of(one) == of(other)
        };
        assert!(matches("foo", &["1"], &["1"]));
        assert!(!matches("foo", &["1"], &["2"]));
        assert!(!matches("foo", &["1"], &[]));
        assert!(!matches("foo", &[""], &[]));
        assert!(matches("foo", &[], &[]));
        assert!(matches("foo", &["1, 2"], &["1", "2"]));
        assert!(matches("foo", &["1,2"], &[" 1, 2 "]));
        assert!(!matches("foo", &["1, 2"], &["2, 1"]));
        assert!(!matches("foo", &["a"], &["A"]));
        assert!(matches("accept-language", &["en, de;q=0.5"], &["eN ,DE; q=0.5"]));
        assert!(!matches("accept-language", &["en, de"], &["de, en"]));
        assert!(matches("accept-encoding", &["br, gzip"], &["GZIP,br"]));
    }
}
