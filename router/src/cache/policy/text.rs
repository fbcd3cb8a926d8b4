//! The small grammar that header fields share (RFC 9110 §5.6): lists, quoted strings, times in
//! seconds, entity tags. Pure.

use std::{borrow::Cow, time::Duration};

use http::{HeaderMap, HeaderName};

/// The greatest time a field may give; RFC 9111 §1.2.2 lets larger ones count as this.
pub(crate) const SECONDS_MAX: u64 = 1 << 31;

/// The members of a comma-separated list, without those that are empty (RFC 9110 §5.6.1). Commas
/// within quoted strings do not separate, unless a quote is never closed: then nothing is a quoted
/// string, so that whoever drops a quote hides no directive.
pub(crate) fn members(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let heed = is_balanced(line);
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let separates = *byte == b',' && !quoted;
        if quoted && !escaped && *byte == b'\\' {
            escaped = true;
        } else {
            if heed && *byte == b'"' && !escaped {
                quoted = !quoted;
            }
            escaped = false;
        }
        separates
    })
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
}

fn is_balanced(line: &[u8]) -> bool {
    let (mut quoted, mut escaped) = (false, false);
    for byte in line {
        match byte {
            b'\\' if quoted && !escaped => {
                escaped = true;
                continue;
            }
            b'"' if !escaped => quoted = !quoted,
            _ => {}
        }
        escaped = false;
    }
    !quoted
}

/// All members of all lines of a field.
pub(crate) fn all_members<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().flat_map(|line| members(line.as_bytes()))
}

/// Whether a list field has this token, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    all_members(headers, name).any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
}

/// A time in seconds (RFC 9111 §1.2.2): digits only; `None` for anything else.
pub(crate) fn delta_seconds(text: &str) -> Option<Duration> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What does not fit is too large, and counts as the greatest time.
    Some(Duration::from_secs(text.parse().unwrap_or(SECONDS_MAX).min(SECONDS_MAX)))
}

/// The content of a quoted string; other text as it is; `None` if it begins as a quoted string and
/// is none.
pub(crate) fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = text.strip_prefix('"') else { return Some(Cow::Borrowed(text)) };
    let inner = rest.strip_suffix('"')?;
    if !inner.contains(['\\', '"']) {
        return Some(Cow::Borrowed(inner));
    }
    let mut plain = String::with_capacity(inner.len());
    let mut escaped = false;
    for letter in inner.chars() {
        match letter {
            '\\' if !escaped => escaped = true,
            '"' if !escaped => return None,
            other => {
                plain.push(other);
                escaped = false;
            }
        }
    }
    (!escaped).then_some(Cow::Owned(plain))
}

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EntityTag<'a> {
    pub(crate) weak: bool,
    /// With its quotes. One without any, as some origins send it, is equal to itself only.
    pub(crate) opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    pub(crate) fn of(text: &'a [u8]) -> Self {
        match text.strip_prefix(b"W/") {
            Some(opaque) => Self { weak: true, opaque },
            None => Self { weak: false, opaque: text },
        }
    }

    /// The tag of a response: its only `ETag` line.
    pub(crate) fn of_response(headers: &'a HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(http::header::ETAG).iter();
        let tag = lines.next()?.as_bytes().trim_ascii();
        (lines.next().is_none() && !tag.is_empty()).then(|| Self::of(tag))
    }

    /// RFC 9110 §8.8.3.2: weak comparison.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.opaque == other.opaque
    }

    /// RFC 9110 §8.8.3.2: strong comparison.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_5_6_1_lists() {
        let split = |line: &str| -> Vec<String> {
            let text = |member: &[u8]| String::from_utf8(member.to_vec()).unwrap();
            members(line.as_bytes()).map(text).collect()
        };
        for (line, expected) in [
            ("a, b", &["a", "b"][..]),
            (" , a,, b ,", &["a", "b"]),
            (r#"a="x, y", b"#, &[r#"a="x, y""#, "b"]),
            (r#"a="x\", y", b"#, &[r#"a="x\", y""#, "b"]),
            (r#"a="x, no-store"#, &[r#"a="x"#, "no-store"]),
            (r"\, b", &[r"\", "b"]),
            ("", &[]),
        ] {
            assert_eq!(split(line), expected, "{line}");
        }
    }

    #[test]
    fn rfc9111_1_2_2_delta_seconds() {
        for (text, expected) in [
            ("0", Some(0)),
            ("003600", Some(3600)),
            ("2147483648", Some(SECONDS_MAX)),
            ("99999999999999999999999999", Some(SECONDS_MAX)),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.0", None),
            ("1 ", None),
        ] {
            assert_eq!(delta_seconds(text), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn rfc9110_5_6_4_quoted_strings() {
        for (text, expected) in [
            ("a", Some("a")),
            (r#""a""#, Some("a")),
            (r#""a\"b\\""#, Some(r#"a"b\"#)),
            (r#""""#, Some("")),
            (r#"""#, None),
            (r#""a"#, None),
            (r#""a"b""#, None),
            (r#""a\""#, None),
        ] {
            assert_eq!(unquoted(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn rfc9110_8_8_3_2_comparison() {
        for (one, other, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
            ("w/\"1\"", "\"1\"", false, false),
        ] {
            let (one, other) = (EntityTag::of(one.as_bytes()), EntityTag::of(other.as_bytes()));
            assert_eq!((one.is_same(&other), one.is_like(&other)), (strong, weak));
        }
    }
}
