//! What a stored response is found by, and what of a target counts. Pure.

use std::sync::Arc;

use http::{Uri, uri::PathAndQuery};

/// The primary key (RFC 9111 §2): scheme, authority and target. Responses are stored for GET only,
/// and a HEAD finds what a GET stored. The scheme counts: an origin may answer `http` with a redirect
/// to `https`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CacheKey(Arc<str>);

impl CacheKey {
    /// The key of a target. Two spellings of one authority (case, default port) are one key; the
    /// path and the query are taken as they are, since only the origin knows what is equivalent.
    pub(crate) fn new(scheme: &str, authority: &str, target: &str) -> Self {
        Self::of_parts(&origin_of(scheme, authority), target)
    }

    /// The same of an origin: scheme and authority in its normal form.
    pub(crate) fn of_parts(origin: &str, target: &str) -> Self {
        Self(format!("{origin} {target}").into())
    }

    /// Sorts behind all keys of an origin and before those of others.
    pub(crate) fn after_origin(origin: &str) -> Self {
        // The sign that follows the space.
        Self(format!("{origin}!").into())
    }

    pub(crate) fn origin(&self) -> &str {
        self.0.split_once(" ").map_or(&self.0, |(origin, _target)| origin)
    }

    /// Path and query.
    pub(crate) fn target(&self) -> &str {
        self.0.split_once(" ").map_or("", |(_origin, target)| target)
    }

    pub(crate) fn starts_with(&self, other: &Self) -> bool {
        self.0.starts_with(&*other.0)
    }

    /// All of it.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Bytes it takes.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// The target of a URI reference in a response to a request for `base`, if it is of the same origin
/// (RFC 9111 §4.4, RFC 3986 §5.2).
pub(crate) fn same_origin_target(
    scheme: &str,
    authority: &str,
    base: &str,
    reference: &str,
) -> Option<String> {
    let reference = reference.split('#').next().unwrap_or(reference);
    let colon = reference.find([':', '/', '?']).filter(|at| reference.get(*at..=*at) == Some(":"));
    let absolute = match (reference.strip_prefix("//"), colon) {
        (Some(rest), _) => Some(format!("{scheme}://{rest}")),
        (None, Some(_)) => Some(reference.to_owned()),
        (None, None) => None,
    };
    if let Some(absolute) = absolute {
        let uri: Uri = absolute.parse().ok()?;
        let other = normal_authority(uri.scheme_str()?, uri.authority()?.as_str());
        let same = uri.scheme_str() == Some(scheme) && other == normal_authority(scheme, authority);
        let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        return same.then(|| without_dots(target));
    }
    let (path, _query) = base.split_once('?').unwrap_or((base, ""));
    Some(match reference {
        "" => base.to_owned(),
        query if query.starts_with('?') => format!("{path}{query}"),
        absolute if absolute.starts_with('/') => without_dots(absolute),
        relative => {
            let directory = path.rsplit_once('/').map_or("", |(directory, _name)| directory);
            without_dots(&format!("{directory}/{relative}"))
        }
    })
}

/// RFC 3986 §5.2.4, on the path of a target.
fn without_dots(target: &str) -> String {
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            other => kept.push(other),
        }
    }
    let path = format!("/{}", kept.join("/"));
    match query {
        Some(query) => format!("{path}?{query}"),
        None => path,
    }
}

/// Scheme and authority in one form.
pub(crate) fn origin_of(scheme: &str, authority: &str) -> String {
    format!("{}://{}", scheme.to_ascii_lowercase(), normal_authority(scheme, authority))
}

/// Lower case, without the scheme's default port.
fn normal_authority(scheme: &str, authority: &str) -> String {
    let authority = authority.to_ascii_lowercase();
    let default_port = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    match authority.strip_suffix(default_port) {
        Some(host) => host.to_owned(),
        None => authority,
    }
}

/// What of a query counts. The origin gets the query as the rules leave it, so that nothing that the
/// key lacks decides what is stored under it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct QueryRules {
    /// Parameters that do not count; one that ends in `*` is a prefix.
    pub drop: Vec<String>,
    /// The only ones that count; empty = all but those dropped.
    pub keep: Vec<String>,
    /// Whether parameters come in the order of their names: several with one name stay as they came.
    pub sort: bool,
}

impl QueryRules {
    /// A target as the rules leave it.
    pub(crate) fn apply(&self, target: &str) -> String {
        let Some((path, query)) = target.split_once('?') else { return target.to_owned() };
        if *self == Self::default() {
            return target.to_owned();
        }
        let name = |parameter: &str| -> String {
            parameter.split('=').next().unwrap_or_default().to_owned()
        };
        let mut left: Vec<&str> = query
            .split('&')
            .filter(|parameter| {
                let name = name(parameter);
                let kept = self.keep.is_empty() || names(&self.keep, &name);
                kept && !names(&self.drop, &name)
            })
            .collect();
        if self.sort {
            left.sort_by_key(|parameter| name(parameter));
        }
        if left.is_empty() { path.to_owned() } else { format!("{path}?{}", left.join("&")) }
    }
}

/// Whether a list of names and prefixes has a name.
pub(crate) fn names(list: &[String], name: &str) -> bool {
    list.iter().any(|entry| match entry.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix),
        None => entry == name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9110_4_2_3_spellings_of_an_authority_are_one_key() {
        let key = CacheKey::new("http", "WWW.example.com:80", "/a?b=1");
        assert_eq!(key, CacheKey::new("http", "www.example.com", "/a?b=1"));
        assert_ne!(key, CacheKey::new("https", "www.example.com:80", "/a?b=1"));
        assert_ne!(key, CacheKey::new("http", "www.example.com", "/A?b=1"));
        assert_ne!(key, CacheKey::new("http", "www.example.com:8080", "/a?b=1"));
        assert_eq!((key.origin(), key.target()), ("http://www.example.com", "/a?b=1"));
    }

    #[test]
    fn rfc9111_4_4_references_of_the_same_origin() {
        for (reference, expected) in [
            ("/z?q=1", Some("/z?q=1")),
            ("http://A.test/z", Some("/z")),
            ("http://a.test:80", Some("/")),
            ("http://b.test/z", None),
            ("https://a.test/z", None),
            ("mailto:a@a.test", None),
            ("w", Some("/x/w")),
            ("w?t=http://b", Some("/x/w?t=http://b")),
            ("./w", Some("/x/w")),
            ("../w", Some("/w")),
            ("../../w/./v/..", Some("/w/")),
            ("?r", Some("/x/y?r")),
            ("", Some("/x/y?q")),
            ("/z#top", Some("/z")),
            ("//a.test/z", Some("/z")),
            ("http://[", None),
        ] {
            let target = same_origin_target("http", "a.test", "/x/y?q", reference);
            assert_eq!(target.as_deref(), expected, "{reference}");
        }
    }

    #[test]
    fn query_rules() {
        let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let drop = QueryRules { drop: list(&["utm_*", "fbclid"]), ..QueryRules::default() };
        let keep = QueryRules { keep: list(&["a", "b"]), sort: true, ..QueryRules::default() };
        for (rules, target, expected) in [
            (&QueryRules::default(), "/p?b=1&a=2&", "/p?b=1&a=2&"),
            (&drop, "/p?b=1&utm_source=x&a=2&fbclid", "/p?b=1&a=2"),
            (&drop, "/p?utm_source=x", "/p"),
            (&drop, "/p", "/p"),
            (&keep, "/p?c=1&b=2&a=1&b=1", "/p?a=1&b=2&b=1"),
        ] {
            assert_eq!(rules.apply(target), expected);
        }
    }
}
