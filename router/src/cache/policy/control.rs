//! `Cache-Control` of requests and of responses (RFC 9111 §5.2, RFC 5861, RFC 8246) and its form
//! for this kind of cache, `CDN-Cache-Control` (RFC 9213). Pure.

use std::time::Duration;

use http::{HeaderMap, HeaderName, header};
use sfv::{BareItem, Dictionary, ListEntry, Parser};

use super::text::{SECONDS_MAX, all_members, delta_seconds, has_token, unquoted};

/// The field that speaks to caches like this one only.
pub(crate) const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");

/// What `no-cache` or `private` is about (RFC 9111 §5.2.2.4, §5.2.2.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    /// The directive is not there.
    #[default]
    Nothing,
    /// It is about these fields.
    Fields(Vec<HeaderName>),
    /// It is about the whole response.
    Everything,
}

impl Scope {
    /// Adds one occurrence. A list that cannot be read is about everything.
    fn add(&mut self, argument: Option<&str>) {
        let names = argument.and_then(|list| {
            list.split(',')
                .map(str::trim)
                .filter(|name| !name.is_empty())
                .map(|name| HeaderName::from_bytes(name.as_bytes()).ok())
                .collect::<Option<Vec<_>>>()
        });
        match (names, &mut *self) {
            (Some(names), Self::Nothing) if !names.is_empty() => *self = Self::Fields(names),
            (Some(names), Self::Fields(known)) if !names.is_empty() => known.extend(names),
            (_, slot) => *slot = Self::Everything,
        }
    }

    /// The fields it is about, if it is about some only.
    pub(crate) fn fields(&self) -> &[HeaderName] {
        match self {
            Self::Fields(names) => names,
            Self::Nothing | Self::Everything => &[],
        }
    }
}

/// What a response says to this cache.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ResponseControl {
    /// It came in a field for this kind of cache, so that `Expires` does not count either.
    pub(crate) targeted: bool,
    pub(crate) no_store: bool,
    pub(crate) no_cache: Scope,
    pub(crate) private: Scope,
    pub(crate) public: bool,
    pub(crate) must_revalidate: bool,
    pub(crate) proxy_revalidate: bool,
    pub(crate) must_understand: bool,
    pub(crate) immutable: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) s_maxage: Option<Duration>,
    pub(crate) stale_while_revalidate: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl ResponseControl {
    /// Reads the field for this kind of cache if there is a valid one, else `Cache-Control`
    /// (RFC 9213 §2.2). `Pragma` means nothing in a response (RFC 9111 §5.4).
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self::targeted(headers).unwrap_or_else(|| {
            let mut control = Self::default();
            each_directive(headers, |name, argument| control.read(name, argument));
            control
        })
    }

    fn read(&mut self, name: &str, argument: Argument<'_>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache.add(argument.text().as_deref()),
            "private" => self.private.add(argument.text().as_deref()),
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "must-understand" => self.must_understand = true,
            "immutable" => self.immutable = true,
            // RFC 9111 §4.2.1: of a repeated time the first counts, and one that is none is stale.
            "max-age" => first(&mut self.max_age, argument.time()),
            "s-maxage" => first(&mut self.s_maxage, argument.time()),
            "stale-while-revalidate" => first(&mut self.stale_while_revalidate, argument.time()),
            "stale-if-error" => first(&mut self.stale_if_error, argument.time()),
            // RFC 9111 §5.2.3: unknown directives are ignored.
            _ => {}
        }
    }

    /// RFC 9213 §2.1: a dictionary (RFC 9651) of cache directives; an empty one or one that cannot
    /// be read counts as absent.
    fn targeted(headers: &HeaderMap) -> Option<Self> {
        let mut lines = headers.get_all(CDN_CACHE_CONTROL).iter().peekable();
        lines.peek()?;
        let lines: Vec<&str> = lines.map(|line| line.to_str().ok()).collect::<Option<_>>()?;
        let dictionary: Dictionary = Parser::new(&lines.join(", ")).parse().ok()?;
        if dictionary.is_empty() {
            return None;
        }
        let mut control = Self { targeted: true, ..Self::default() };
        for (name, entry) in &dictionary {
            let ListEntry::Item(item) = entry else { continue };
            let number;
            let argument = match &item.bare_item {
                BareItem::Boolean(true) => Argument::None,
                BareItem::Boolean(false) => continue,
                BareItem::Integer(value) => {
                    number = i64::from(*value).to_string();
                    Argument::Text(&number)
                }
                BareItem::String(text) if matches!(name.as_str(), "no-cache" | "private") => {
                    Argument::Text(text.as_str())
                }
                BareItem::Token(token) => Argument::Text(token.as_str()),
                _ => Argument::Invalid,
            };
            control.read(name.as_str(), argument);
        }
        Some(control)
    }

    /// Whether it lets a shared cache keep the response to a request with credentials
    /// (RFC 9111 §3.5).
    pub(crate) const fn allows_authorized(&self) -> bool {
        self.public || self.must_revalidate || self.s_maxage.is_some()
    }

    /// Whether a stale response may never be used (RFC 9111 §4.2.4). `s-maxage` implies it for a
    /// shared cache (§5.2.2.10).
    pub(crate) const fn forbids_stale(&self) -> bool {
        self.must_revalidate || self.proxy_revalidate || self.s_maxage.is_some()
    }

    /// The fields that may not be used again: private ones, and those that would need validation.
    pub(crate) fn withheld(&self) -> impl Iterator<Item = &HeaderName> {
        self.private.fields().iter().chain(self.no_cache.fields())
    }
}

/// What a request asks of caches (RFC 9111 §5.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RequestControl {
    pub(crate) no_store: bool,
    pub(crate) no_cache: bool,
    pub(crate) only_if_cached: bool,
    pub(crate) max_age: Option<Duration>,
    pub(crate) min_fresh: Option<Duration>,
    /// By how much a response may be stale; without a number, by any time.
    pub(crate) max_stale: Option<Duration>,
    pub(crate) stale_if_error: Option<Duration>,
}

impl RequestControl {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut control = Self::default();
        if headers.contains_key(header::CACHE_CONTROL) {
            each_directive(headers, |name, argument| control.read(name, argument));
        } else if has_token(headers, &header::PRAGMA, "no-cache") {
            // RFC 9111 §5.4: counts only where there is no Cache-Control.
            control.no_cache = true;
        }
        control
    }

    fn read(&mut self, name: &str, argument: Argument<'_>) {
        match name {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => first(&mut self.max_age, argument.time()),
            // Here what cannot be read asks for the most.
            "min-fresh" => {
                let time = argument.valid_time().unwrap_or(Duration::from_secs(SECONDS_MAX));
                first(&mut self.min_fresh, time);
            }
            "max-stale" => {
                let any = Duration::from_secs(SECONDS_MAX);
                let time = if matches!(argument, Argument::None) { any } else { argument.time() };
                first(&mut self.max_stale, time);
            }
            "stale-if-error" => first(&mut self.stale_if_error, argument.time()),
            _ => {}
        }
    }
}

/// RFC 9111 §4.2.1: of a repeated directive the first counts.
fn first(slot: &mut Option<Duration>, time: Duration) {
    *slot = slot.or(Some(time));
}

/// What stands behind the name of a directive.
#[derive(Debug, Clone, Copy)]
enum Argument<'a> {
    None,
    Text(&'a str),
    /// Something that the grammar does not have.
    Invalid,
}

impl Argument<'_> {
    /// As text; a token and a quoted string are the same (RFC 9111 §5.2).
    fn text(&self) -> Option<std::borrow::Cow<'_, str>> {
        match self {
            Self::Text(text) => unquoted(text),
            Self::None | Self::Invalid => None,
        }
    }

    fn valid_time(&self) -> Option<Duration> {
        delta_seconds(&self.text()?)
    }

    /// As a time; what is none counts as no time at all (RFC 9111 §4.2.1).
    fn time(&self) -> Duration {
        self.valid_time().unwrap_or_default()
    }
}

fn each_directive(headers: &HeaderMap, mut read: impl FnMut(&str, Argument<'_>)) {
    for member in all_members(headers, &header::CACHE_CONTROL) {
        let text = String::from_utf8_lossy(member);
        let (name, argument) = match text.split_once('=') {
            None => (text.as_ref(), Argument::None),
            // No space may stand beside the sign.
            Some((name, value)) if name.trim_end() != name || value.trim_start() != value => {
                (name.trim_end(), Argument::Invalid)
            }
            Some((name, value)) => (name, Argument::Text(value)),
        };
        read(&name.to_ascii_lowercase(), argument);
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: &HeaderName, lines: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name, HeaderValue::from_str(line).unwrap());
        }
        headers
    }

    fn response(lines: &[&str]) -> ResponseControl {
        ResponseControl::of(&headers(&header::CACHE_CONTROL, lines))
    }

    fn request(lines: &[&str]) -> RequestControl {
        RequestControl::of(&headers(&header::CACHE_CONTROL, lines))
    }

    fn cdn(lines: &[&str]) -> ResponseControl {
        let mut both = headers(&CDN_CACHE_CONTROL, lines);
        both.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1, private"));
        ResponseControl::of(&both)
    }

    const fn secs(secs: u64) -> Option<Duration> {
        Some(Duration::from_secs(secs))
    }

    fn fields(names: &[&str]) -> Scope {
        Scope::Fields(names.iter().map(|name| name.parse().unwrap()).collect())
    }

    #[test]
    fn rfc9111_5_2_directives_in_any_case_over_all_lines() {
        let read = response(&["Public, MAX-AGE=60, foo, bar=\"max-age=1\"", "s-maxage=10,, x"]);
        assert!(read.public && !read.no_store);
        assert_eq!((read.max_age, read.s_maxage), (secs(60), secs(10)));
        assert_eq!(response(&[]), ResponseControl::default());
        let read = response(&["must-revalidate, proxy-revalidate, must-understand, immutable"]);
        assert!(read.must_revalidate && read.proxy_revalidate);
        assert!(read.must_understand && read.immutable);
        let read = response(&["stale-while-revalidate=5, stale-if-error=\"6\""]);
        assert_eq!((read.stale_while_revalidate, read.stale_if_error), (secs(5), secs(6)));
    }

    #[test]
    fn rfc9111_4_2_1_repeated_and_invalid_times() {
        for (line, expected) in [
            ("max-age=60, max-age=5", secs(60)),
            ("max-age=5, max-age=60", secs(5)),
            ("max-age=\"60\"", secs(60)),
            ("max-age=003600", secs(3600)),
            ("max-age=99999999999999999999999", secs(1 << 31)),
            ("max-age=soon", secs(0)),
            ("max-age=-1", secs(0)),
            ("max-age", secs(0)),
            ("max-age=", secs(0)),
            ("max-age=3600.5", secs(0)),
            ("max-age='3600'", secs(0)),
            ("max-age =3600", secs(0)),
            ("max-age= 3600", secs(0)),
            ("max-age=\"3600", secs(0)),
            ("maxage=3600", None),
        ] {
            assert_eq!(response(&[line]).max_age, expected, "{line}");
        }
        assert_eq!(response(&["max-age=60", "max-age=5"]).max_age, secs(60));
    }

    #[test]
    fn rfc9111_5_2_2_4_and_7_field_names() {
        for (line, expected) in [
            ("no-cache", Scope::Everything),
            ("no-cache=\"a, B\"", fields(&["a", "b"])),
            ("no-cache=a", fields(&["a"])),
            ("no-cache=\"a\", no-cache=\"b\"", fields(&["a", "b"])),
            ("no-cache=\"a\", no-cache", Scope::Everything),
            ("no-cache, no-cache=\"a\"", Scope::Everything),
            ("no-cache=\"\"", Scope::Everything),
            ("no-cache=\"a b\"", Scope::Everything),
            ("no-cache=\"a", Scope::Everything),
            ("max-age=1", Scope::Nothing),
        ] {
            assert_eq!(response(&[line]).no_cache, expected, "{line}");
            let private = line.replace("no-cache", "private");
            assert_eq!(response(&[&private]).private, expected, "{private}");
        }
        let read = response(&["private=\"x\", no-cache=\"y\""]);
        assert_eq!(read.withheld().collect::<Vec<_>>(), ["x", "y"]);
    }

    #[test]
    fn rfc9111_5_2_a_quoted_comma_begins_no_directive() {
        let read = response(&[r#"private="a, no-store", ext="x\", no-store""#]);
        assert!(!read.no_store);
        assert!(response(&[r#"ext="x, no-store"#]).no_store, "the quote is never closed");
    }

    #[test]
    fn rfc9111_5_2_1_request_directives() {
        let read = request(&["no-store, only-if-cached, max-age=1, min-fresh=2, max-stale=3"]);
        assert!(read.no_store && read.only_if_cached && !read.no_cache);
        assert_eq!((read.max_age, read.min_fresh, read.max_stale), (secs(1), secs(2), secs(3)));
        assert_eq!(request(&["max-stale"]).max_stale, secs(SECONDS_MAX));
        assert_eq!(request(&["max-stale=x"]).max_stale, secs(0));
        assert_eq!(request(&["min-fresh=x"]).min_fresh, secs(SECONDS_MAX));
    }

    #[test]
    fn rfc9111_5_4_pragma_counts_in_requests_without_cache_control() {
        let mut pragma = headers(&header::PRAGMA, &["No-Cache"]);
        assert!(RequestControl::of(&pragma).no_cache);
        assert_eq!(ResponseControl::of(&pragma), ResponseControl::default());
        pragma.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=1"));
        assert!(!RequestControl::of(&pragma).no_cache);
    }

    #[test]
    fn rfc9213_2_2_the_targeted_field_replaces_cache_control() {
        let read = cdn(&["max-age=600, foo;a=b", "stale-if-error=5"]);
        assert!(read.targeted);
        assert_eq!((read.max_age, read.stale_if_error), (secs(600), secs(5)));
        assert_eq!(read.private, Scope::Nothing);
        assert_eq!(cdn(&["private"]).private, Scope::Everything);
        assert_eq!(cdn(&["no-cache=\"a, b\""]).no_cache, fields(&["a", "b"]));
        assert!(!cdn(&["no-store=?0, max-age=1"]).no_store);
        assert_eq!(cdn(&["max-age=\"600\""]).max_age, secs(0), "a string is no number");
        assert_eq!(cdn(&["max-age=99999999999"]).max_age, secs(1 << 31));
    }

    #[test]
    fn rfc9213_2_1_a_targeted_field_that_cannot_be_read_is_absent() {
        for line in ["", "max-age=10, &&&", "max-age =10", "MaX-aGe=10"] {
            let read = cdn(&[line]);
            assert!(!read.targeted, "{line}");
            assert_eq!((read.max_age, read.private), (secs(1), Scope::Everything), "{line}");
        }
    }
}
