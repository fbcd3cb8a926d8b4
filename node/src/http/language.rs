//! The languages that clients ask for and are answered in.

use hexpop_shard::Languages;
use http::{HeaderMap, HeaderValue, header};

/// All that a client says in `Accept-Language`; a line that is no text counts as absent.
pub(crate) fn accepted_languages(headers: &HeaderMap) -> String {
    let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    lines.filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join(",")
}

/// Reduces what a client says in `Accept-Language` to the languages offered, if any are: pages of the
/// origin that vary by it then have a few variants in the cache, not one per browser, and the origin
/// is asked for what the cache takes the answer for.
pub(crate) fn reduce_languages(headers: &mut HeaderMap, languages: &Languages) {
    if languages.offered.is_empty() || !headers.contains_key(header::ACCEPT_LANGUAGE) {
        return;
    }
    let reduced = languages.preferred(&accepted_languages(headers)).join(", ");
    if let Ok(reduced) = HeaderValue::try_from(reduced) {
        headers.insert(header::ACCEPT_LANGUAGE, reduced);
    }
}

/// Says which of the languages that a client can have it has got, and that another client may get
/// another one.
pub(crate) fn describe_language(headers: &mut HeaderMap, languages: &[String]) {
    if let Some(value) = languages.first().and_then(|tag| HeaderValue::from_str(tag).ok()) {
        headers.insert(header::CONTENT_LANGUAGE, value);
    }
    headers.append(header::VARY, HeaderValue::from_static("Accept-Language"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_are_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(accepted_languages(&headers), "");
        for line in [&b"it, fr;q=0.5"[..], b"\xff", b"en;q=0.1"] {
            headers.append(header::ACCEPT_LANGUAGE, HeaderValue::from_bytes(line).unwrap());
        }
        assert_eq!(accepted_languages(&headers), "it, fr;q=0.5,en;q=0.1");
    }

    #[test]
    fn clients_who_get_the_same_ask_for_the_same() {
        let offered = |tags: &[&str]| Languages {
            offered: tags.iter().map(|tag| tag.parse().unwrap()).collect(),
            fallback: None,
        };
        let reduced = |field: &str, tags: &[&str]| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_str(field).unwrap());
            reduce_languages(&mut headers, &offered(tags));
            accepted_languages(&headers)
        };
        for field in ["it-CH, fr;q=0.4", "nl, IT;q=0.1", "it,en;q=0.5"] {
            assert_eq!(reduced(field, &["it", "en"]), "it, en", "{field}");
        }
        assert_eq!(reduced("it-CH, fr;q=0.4", &[]), "it-CH, fr;q=0.4");
        let mut silent = HeaderMap::new();
        reduce_languages(&mut silent, &offered(&["it"]));
        assert!(silent.is_empty());
    }

    #[test]
    fn the_most_wanted_language_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        describe_language(&mut headers, &["it".to_owned(), "en".to_owned()]);
        assert_eq!(headers[header::CONTENT_LANGUAGE], "it");
        let vary: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert_eq!(vary, ["Origin", "Accept-Language"]);
    }
}
