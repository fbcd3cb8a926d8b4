//! Languages: the lists are tried out one by one.

use serde_json::Value;

/// The languages that a client wants and can have, the most wanted first: of each range with its
/// weight the first beginning of it that is offered; nothing offered = everything is.
pub(crate) fn preferred(wanted: &[(&str, u32)], offered: &[&str], fallback: &str) -> Vec<String> {
    let mut languages: Vec<String> = Vec::new();
    for weight in (1..=1_000).rev() {
        for (range, _) in wanted.iter().filter(|(_, of_range)| *of_range == weight) {
            let range = range.to_lowercase();
            let found = if range == "*" {
                Some(fallback.to_lowercase())
            } else if offered.is_empty() {
                Some(range)
            } else {
                let is_offered =
                    |it: &String| offered.iter().any(|offered| offered.to_lowercase() == *it);
                beginnings(&range).into_iter().find(is_offered)
            };
            languages.extend(found);
        }
    }
    languages.push(fallback.to_lowercase());
    let mut once: Vec<String> = Vec::new();
    for language in languages {
        if !once.contains(&language) {
            once.push(language);
        }
    }
    once
}

/// A range and what is left of it when parts are cut off its end; what would end in a part of one
/// letter is none of them.
fn beginnings(range: &str) -> Vec<String> {
    let parts: Vec<&str> = range.split('-').collect();
    (1..=parts.len())
        .rev()
        .filter(|count| *count == parts.len() || *count == 1 || parts[count - 1].len() > 1)
        .map(|count| parts[..count].join("-"))
        .collect()
}

/// The title that is shown of a listing.
pub(crate) fn title(listing: &Value, languages: &[String]) -> Option<String> {
    let titles: Vec<(String, String)> = match listing.get("title")? {
        Value::String(text) => vec![("und".to_owned(), text.clone())],
        Value::Object(texts) => {
            let texts = texts.iter().filter(|(_, text)| text.is_string());
            texts.map(|(tag, text)| (tag.clone(), text.as_str().unwrap().to_owned())).collect()
        }
        other => panic!("{other}"),
    };
    let plain = |tag: &str| tag.to_lowercase().replace('_', "-");
    let exact = languages.iter().flat_map(|language| beginnings(language));
    for wanted in exact {
        if let Some((_, text)) = titles.iter().find(|(tag, _)| plain(tag) == wanted) {
            return Some(text.clone());
        }
    }
    let mut by_tag = titles;
    by_tag.sort();
    for wanted in languages {
        let longer = format!("{wanted}-");
        if let Some((_, text)) = by_tag.iter().find(|(tag, _)| plain(tag).starts_with(&longer)) {
            return Some(text.clone());
        }
    }
    by_tag.into_iter().next().map(|(_, text)| text)
}
