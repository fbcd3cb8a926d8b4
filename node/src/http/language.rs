//! The languages that clients ask for and are answered in.

use http::{HeaderMap, HeaderValue, header};

/// All that a client says in `Accept-Language`; a line that is no text counts as absent.
pub(crate) fn accepted_languages(headers: &HeaderMap) -> String {
    let lines = headers.get_all(header::ACCEPT_LANGUAGE).iter();
    lines.filter_map(|line| line.to_str().ok()).collect::<Vec<_>>().join(",")
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
    fn the_most_wanted_language_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
        describe_language(&mut headers, &["it".to_owned(), "en".to_owned()]);
        assert_eq!(headers[header::CONTENT_LANGUAGE], "it");
        let vary: Vec<_> = headers.get_all(header::VARY).iter().collect();
        assert_eq!(vary, ["Origin", "Accept-Language"]);
    }
}
