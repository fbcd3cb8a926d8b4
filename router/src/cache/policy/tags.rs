//! Tags by which stored responses are purged: `Cache-Groups` (RFC 9875), `Surrogate-Key`,
//! `Cache-Tag`. Pure.

use std::sync::Arc;

use http::{HeaderMap, HeaderName};
use sfv::{BareItem, Item, List, ListEntry, Parser};

/// What a response belongs to.
pub(crate) type Tag = Arc<str>;

/// A list of strings.
const CACHE_GROUPS: HeaderName = HeaderName::from_static("cache-groups");
/// In an answer to an unsafe request: groups of the same origin that it changed.
const CACHE_GROUP_INVALIDATION: HeaderName = HeaderName::from_static("cache-group-invalidation");
/// Words separated by spaces.
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// Words separated by commas.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");

/// Tags of one response at most, and bytes of their fields.
const TAGS_MAX: usize = 1024;
const TAG_BYTES_MAX: usize = 16 << 10;

/// A response has more tags than are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooManyTags;

/// Fields that speak to caches like this one and go no further.
pub(crate) fn is_for_caches_only(name: &HeaderName) -> bool {
    let name = name.as_str();
    name.starts_with("surrogate-") || matches!(name, "cache-tag" | "cdn-cache-control")
}

/// The tags of a response, sorted, each once. A group of RFC 9875 is one of its origin: it is kept
/// with the authority in front, so that only answers of that authority invalidate it, and without, so
/// that an operator can purge it by its name.
pub(crate) fn of_response(authority: &str, headers: &HeaderMap) -> Result<Vec<Tag>, TooManyTags> {
    let fields = [CACHE_GROUPS, SURROGATE_KEY, CACHE_TAG];
    let bytes: usize =
        fields.iter().flat_map(|name| headers.get_all(name)).map(http::HeaderValue::len).sum();
    if bytes > TAG_BYTES_MAX {
        return Err(TooManyTags);
    }
    let mut tags: Vec<Tag> = Vec::new();
    for group in groups(headers, &CACHE_GROUPS) {
        tags.push(of_group(authority, &group));
        tags.push(group.into());
    }
    let words = |name: HeaderName, separator: fn(char) -> bool| {
        let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
        lines
            .flat_map(move |line| line.split(separator))
            .map(str::trim)
            .filter(|word| !word.is_empty())
            .map(Tag::from)
            .collect::<Vec<_>>()
    };
    tags.extend(words(SURROGATE_KEY, |letter| letter.is_ascii_whitespace()));
    tags.extend(words(CACHE_TAG, |letter| letter == ','));
    tags.sort_unstable();
    tags.dedup();
    if tags.len() > TAGS_MAX { Err(TooManyTags) } else { Ok(tags) }
}

/// The tags that an answer to an unsafe request invalidates (RFC 9875 §3).
pub(crate) fn invalidated_by(authority: &str, headers: &HeaderMap) -> Vec<Tag> {
    let groups = groups(headers, &CACHE_GROUP_INVALIDATION);
    groups.iter().take(TAGS_MAX).map(|group| of_group(authority, group)).collect()
}

/// A group as a tag that no word of another field can be: it has a space in it.
fn of_group(authority: &str, group: &str) -> Tag {
    format!("group {authority} {group}").into()
}

/// RFC 9875 §2: a list of strings; what cannot be read counts as absent.
fn groups(headers: &HeaderMap, name: &HeaderName) -> Vec<String> {
    let lines: Option<Vec<&str>> =
        headers.get_all(name).iter().map(|line| line.to_str().ok()).collect();
    let list: Option<List> = lines.and_then(|lines| Parser::new(&lines.join(", ")).parse().ok());
    let text = |entry: ListEntry| match entry {
        ListEntry::Item(Item { bare_item: BareItem::String(text), .. }) => {
            Some(text.as_str().to_owned())
        }
        _ => None,
    };
    list.into_iter().flatten().filter_map(text).collect()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn tags(fields: &[(&'static str, &str)]) -> Vec<String> {
        let tags = of_response("a.test", &headers(fields)).unwrap();
        tags.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn all_three_fields_are_read() {
        let read = tags(&[
            ("surrogate-key", "city:milano  listing:1"),
            ("surrogate-key", "listing:1"),
            ("cache-tag", "a b, c,,"),
        ]);
        assert_eq!(read, ["a b", "c", "city:milano", "listing:1"]);
        assert_eq!(tags(&[("cache-groups", "\"x\";a=1, y, \"z w\"")]).len(), 4);
    }

    #[test]
    fn rfc9875_2_a_list_that_cannot_be_read_is_absent() {
        assert!(tags(&[("cache-groups", "\"x\", &")]).is_empty());
        assert!(tags(&[("cache-groups", "x")]).is_empty());
    }

    #[test]
    fn rfc9875_3_groups_are_invalidated_within_their_origin() {
        let stored = of_response("a.test", &headers(&[("cache-groups", "\"x\"")])).unwrap();
        let changed = headers(&[("cache-group-invalidation", "\"x\"")]);
        assert!(stored.contains(&invalidated_by("a.test", &changed)[0]));
        assert!(!stored.contains(&invalidated_by("b.test", &changed)[0]));
        assert!(invalidated_by("a.test", &headers(&[("cache-groups", "\"x\"")])).is_empty());
    }

    #[test]
    fn tags_are_bounded() {
        let many = (0..1025).map(|n| n.to_string()).collect::<Vec<_>>().join(" ");
        let too_many = headers(&[("surrogate-key", &many)]);
        assert_eq!(of_response("a", &too_many), Err(TooManyTags));
        let too_long = headers(&[("cache-tag", &"x".repeat((16 << 10) + 1))]);
        assert_eq!(of_response("a", &too_long), Err(TooManyTags));
    }
}
