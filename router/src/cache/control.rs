//! `Cache-Control` (RFC 9111 §5.2, RFC 5861) of requests and responses, and HTTP dates. Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};

/// The greatest time a directive may give; RFC 9111 §1.2.2 lets larger ones count as this.
const SECONDS_MAX: u64 = 1 << 31;

/// The directives of one message that matter to a shared cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct CacheControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) private: bool,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl CacheControl {
    /// Reads all lines of the field. Unknown directives are ignored (RFC 9111 §5.2.3); of a
    /// repeated one the stricter value counts, and a time that is no number counts as zero.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        let mut found = false;
        for line in headers.get_all(header::CACHE_CONTROL) {
            found = true;
            for directive in split_outside_quotes(line.as_bytes()) {
                control.read(directive);
            }
        }
        if !found && has_token(headers, &header::PRAGMA, "no-cache") {
            control.no_cache = true;
        }
        control
    }

    fn read(&mut self, directive: &[u8]) {
        let Ok(directive) = str::from_utf8(directive) else { return };
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (directive.trim(), None),
        };
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            // With field names these two concern only the fields; a cache that treats them as if
            // they had none is stricter, and allowed to (RFC 9111 §5.2.2.4, §5.2.2.7).
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" | "proxy-revalidate" => self.must_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => strictest(&mut self.max_age, value),
            "s-maxage" => strictest(&mut self.s_maxage, value),
            // Here the longer time is the stricter one.
            "min-fresh" => self.min_fresh = self.min_fresh.max(Some(seconds(value))),
            "stale-while-revalidate" => strictest(&mut self.stale_while_revalidate, value),
            "stale-if-error" => strictest(&mut self.stale_if_error, value),
            _ => {}
        }
    }
}

fn strictest(slot: &mut Option<Duration>, value: Option<&str>) {
    let new = seconds(value);
    *slot = Some(slot.map_or(new, |old| old.min(new)));
}

fn seconds(value: Option<&str>) -> Duration {
    let digits = value.unwrap_or_default().trim_matches('"');
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Duration::ZERO;
    }
    Duration::from_secs(digits.parse().unwrap_or(SECONDS_MAX).min(SECONDS_MAX))
}

/// The members of a comma-separated list; commas within quoted strings do not separate.
pub(crate) fn split_outside_quotes(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    line.split(move |byte| {
        let separates = *byte == b',' && !quoted;
        if quoted && !escaped && *byte == b'\\' {
            escaped = true;
        } else {
            if *byte == b'"' && !escaped {
                quoted = !quoted;
            }
            escaped = false;
        }
        separates
    })
    .map(<[u8]>::trim_ascii)
    .filter(|member| !member.is_empty())
}

/// Whether a list field has this token, in any case.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|line| {
        split_outside_quotes(line.as_bytes())
            .any(|member| member.eq_ignore_ascii_case(token.as_bytes()))
    })
}

/// A date field in milliseconds since the Unix epoch; `None` if absent, repeated or no date.
pub(crate) fn http_date_ms(headers: &HeaderMap, name: &HeaderName) -> Option<i64> {
    let mut lines = headers.get_all(name).iter();
    let line = lines.next()?;
    if lines.next().is_some() {
        return None;
    }
    let parser = jiff::fmt::rfc2822::DateTimeParser::new();
    parser.parse_timestamp(line.as_bytes()).ok().map(jiff::Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn control(lines: &[&str]) -> CacheControl {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        CacheControl::of(&headers)
    }

    const fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    #[test]
    fn directives_are_read_in_any_case_over_all_lines() {
        let read = control(&["Public, MAX-AGE=60", "s-maxage=10,, stale-if-error = 5"]);
        assert!(read.public && !read.no_store);
        assert_eq!(
            (read.max_age, read.s_maxage, read.stale_if_error),
            (secs(60), secs(10), secs(5))
        );
        assert_eq!(control(&[]), CacheControl::default());
    }

    #[test]
    fn odd_values_count_as_the_stricter_reading() {
        assert_eq!(control(&["max-age=60, max-age=5"]).max_age, secs(5));
        assert_eq!(control(&["max-age=soon"]).max_age, secs(0));
        assert_eq!(control(&["max-age=-1"]).max_age, secs(0));
        assert_eq!(control(&["max-age"]).max_age, secs(0));
        assert_eq!(control(&["max-age=\"60\""]).max_age, secs(60));
        assert_eq!(control(&["max-age=99999999999999999999999"]).max_age, secs(SECONDS_MAX));
        assert!(control(&["no-cache=\"set-cookie, x\", max-age=1"]).no_cache);
    }

    #[test]
    fn a_quoted_comma_does_not_begin_a_directive() {
        let read = control(&[r#"private="a, no-store", ext="x\", no-store""#]);
        assert!(read.private && !read.no_store);
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert(header::PRAGMA, HeaderValue::from_static("No-Cache"));
        assert!(CacheControl::of(&headers).no_cache);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!CacheControl::of(&headers).no_cache);
    }

    #[test]
    fn dates_are_read_and_anything_else_is_none() {
        let mut headers = HeaderMap::new();
        let date = |headers: &mut HeaderMap, text: &str| {
            headers.insert(header::EXPIRES, HeaderValue::from_str(text).unwrap());
            http_date_ms(headers, &header::EXPIRES)
        };
        assert_eq!(date(&mut headers, "Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777_000));
        assert_eq!(date(&mut headers, "0"), None);
        assert_eq!(date(&mut headers, "-1"), None);
    }
}
