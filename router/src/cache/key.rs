//! What a stored response is found by. Pure.

use http::{Uri, uri::PathAndQuery};

/// The primary key (RFC 9111 §2): authority and target. Responses are stored for GET only, and a
/// HEAD finds what a GET stored.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CacheKey(Box<str>);

impl CacheKey {
    /// The key of a target. Two spellings of one authority (case, default port) are one key; the
    /// path and the query are taken as they are, since only the origin knows what is equivalent.
    pub(crate) fn new(scheme: &str, authority: &str, target: &str) -> Self {
        let authority = normal_authority(scheme, authority);
        Self(format!("{authority} {target}").into_boxed_str())
    }

    /// The key of a URI reference in a response to a request for `base`, if it is of the same
    /// authority (RFC 9111 §4.4).
    pub(crate) fn of_reference(
        scheme: &str,
        authority: &str,
        base: &str,
        reference: &str,
    ) -> Option<Self> {
        if reference.contains("://") || reference.starts_with("//") {
            let absolute = match reference.strip_prefix("//") {
                Some(rest) => format!("{scheme}://{rest}"),
                None => reference.to_owned(),
            };
            let uri: Uri = absolute.parse().ok()?;
            let other = normal_authority(uri.scheme_str()?, uri.authority()?.as_str());
            let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
            return (other == normal_authority(scheme, authority))
                .then(|| Self::new(scheme, authority, target));
        }
        let target = reference.split('#').next().unwrap_or(reference);
        if target.starts_with('/') {
            return Some(Self::new(scheme, authority, target));
        }
        let path = base.split('?').next().unwrap_or(base);
        let directory = path.rsplit_once('/').map_or("", |(directory, _name)| directory);
        Some(Self::new(scheme, authority, &format!("{directory}/{target}")))
    }

    /// Bytes it takes.
    pub(crate) const fn len(&self) -> usize {
        self.0.len()
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_an_authority_are_one_key() {
        let key = CacheKey::new("http", "WWW.example.com:80", "/a?b=1");
        assert_eq!(key, CacheKey::new("http", "www.example.com", "/a?b=1"));
        assert_ne!(key, CacheKey::new("https", "www.example.com:80", "/a?b=1"));
        assert_ne!(key, CacheKey::new("http", "www.example.com", "/A?b=1"));
        assert_ne!(key, CacheKey::new("http", "www.example.com:8080", "/a?b=1"));
    }

    #[test]
    fn references_of_another_authority_are_not_ours_to_invalidate() {
        let of = |reference| CacheKey::of_reference("http", "a.test", "/x/y?q", reference);
        assert_eq!(of("/z?q=1"), Some(CacheKey::new("http", "a.test", "/z?q=1")));
        assert_eq!(of("http://A.test/z"), Some(CacheKey::new("http", "a.test", "/z")));
        assert_eq!(of("http://b.test/z"), None);
        assert_eq!(of("w"), Some(CacheKey::new("http", "a.test", "/x/w")));
        assert_eq!(of("/z#top"), of("//a.test/z"));
        assert_eq!(of("http://["), None);
    }
}
