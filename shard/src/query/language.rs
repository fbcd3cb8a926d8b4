//! In which language titles are shown: what a client asks for (`Accept-Language`), among what the
//! operator offers, among what a listing has.

use hexpop_edge_config::LanguageTag;

use super::LANGUAGES_MAX;

/// Ranges of one field that are read; what follows is less wanted than all of them, or a mistake.
const RANGES_MAX: usize = 64;

/// The languages that titles can be had in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Languages {
    /// Those that are offered; empty = whatever a client asks for.
    pub offered: Vec<LanguageTag>,
    /// The language of those who ask for none, or for none that there is; `None` = English.
    pub fallback: Option<LanguageTag>,
}

impl Languages {
    /// What a client wants that is offered, in lower case, the most wanted first, none twice, at
    /// most [`LANGUAGES_MAX`]: the ranges of `Accept-Language` (RFC 9110 §12.5.4) by their weight,
    /// each looked up among the languages offered (RFC 4647 §3.4), with the fallback where `*`
    /// stands or at the end. Never empty. What is no range is passed over, as is what has weight 0.
    #[must_use]
    pub fn preferred(&self, accept_language: &str) -> Vec<String> {
        let fallback = self.fallback.as_ref().map_or("en", LanguageTag::as_str);
        let mut preferred: Vec<String> = Vec::new();
        for range in ranges(accept_language) {
            let found = match range {
                Range::Any => Some(fallback.to_owned()),
                Range::Tag(tag) if self.offered.is_empty() => Some(tag.to_string()),
                Range::Tag(tag) => look_up(tag.as_str(), |tag| {
                    self.offered.iter().find(|it| it.as_str() == tag).map(LanguageTag::to_string)
                }),
            };
            preferred.extend(found.filter(|it| !preferred.contains(it)));
        }
        // The fallback has a place of its own.
        let has_fallback = preferred.iter().take(LANGUAGES_MAX).any(|it| it == fallback);
        preferred.truncate(LANGUAGES_MAX - usize::from(!has_fallback));
        if !has_fallback {
            preferred.push(fallback.to_owned());
        }
        preferred
    }
}

/// One element of `Accept-Language`.
enum Range {
    Any,
    Tag(LanguageTag),
}

/// The ranges of the field, the heaviest first; equal ones in their order.
fn ranges(accept_language: &str) -> Vec<Range> {
    let mut weighted: Vec<(u16, Range)> = accept_language
        .split(',')
        .take(RANGES_MAX)
        .filter_map(|element| {
            let (range, parameter) = element.split_once(';').unwrap_or((element, "q=1"));
            let weight = weight(parameter).filter(|weight| *weight > 0)?;
            let range = match range.trim() {
                "*" => Range::Any,
                tag => Range::Tag(tag.parse().ok()?),
            };
            Some((weight, range))
        })
        .collect();
    weighted.sort_by_key(|(weight, _)| std::cmp::Reverse(*weight));
    weighted.into_iter().map(|(_, range)| range).collect()
}

/// A weight in thousandths (RFC 9110 §12.4.2): 0 to 1 with at most three decimals.
fn weight(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value = value.trim();
    let (whole, decimals) = value.split_once('.').unwrap_or((value, ""));
    if decimals.len() > 3 || !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let whole: u16 = match whole {
        "0" => 0,
        "1" => 1_000,
        _ => return None,
    };
    let thousandths: u16 = format!("{decimals:0<3}").parse().ok()?;
    Some(whole + thousandths).filter(|weight| *weight <= 1_000)
}

/// What `find` has for a range, else for the range without its last part, and so on. A part of one
/// letter, which says what kind the next one is, goes with it.
pub(crate) fn look_up<T>(range: &str, mut find: impl FnMut(&str) -> Option<T>) -> Option<T> {
    let mut range = range;
    loop {
        if let Some(found) = find(range) {
            return Some(found);
        }
        (range, _) = range.rsplit_once('-')?;
        while let Some((shorter, last)) = range.rsplit_once('-')
            && last.len() == 1
        {
            range = shorter;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn languages(offered: &[&str], fallback: &str) -> Languages {
        Languages {
            offered: offered.iter().map(|it| it.parse().unwrap()).collect(),
            fallback: fallback.parse().ok(),
        }
    }

    #[test]
    fn what_is_wanted_most_comes_first() {
        let any = languages(&[], "en");
        for (field, expected) in [
            ("", "en"),
            ("de", "de en"),
            ("de-CH, fr;q=0.8, IT ;q=0.9", "de-ch it fr en"),
            ("fr;q=0.5,en;q=0.7,it;Q=0.71", "it en fr"),
            ("it;q=0, fr", "fr en"),
            ("fr, *, it", "fr en it"),
            ("*;q=0.1,pt", "pt en"),
            ("pt,pt;q=0.3,PT", "pt en"),
            // What is no range is passed over.
            ("é, 12, it;q=2, fr;q=0.1234, es;level=1, -, de;q=, pt;q=1.001, nl;q=1.000", "nl en"),
            ("toolongasubtag, zh-Hant-TW", "zh-hant-tw en"),
        ] {
            assert_eq!(any.preferred(field).join(" "), expected, "{field}");
        }
    }

    #[test]
    fn only_what_is_offered_is_preferred() {
        let offered = languages(&["it", "de-AT", "zh-Hant", "en"], "it");
        for (field, expected) in [
            ("", "it"),
            ("fr", "it"),
            ("fr, en", "en it"),
            ("en-GB-oxendict, de-AT-1996", "en de-at it"),
            // A range finds no longer tag than itself.
            ("de", "it"),
            ("zh-Hant-CN-x-private1-private2", "zh-hant it"),
            ("en-a-bbb-x-a-ccc", "en it"),
            ("it-IT, en", "it en"),
        ] {
            assert_eq!(offered.preferred(field).join(" "), expected, "{field}");
        }
    }

    #[test]
    fn the_list_is_bounded_and_keeps_the_fallback() {
        let many: Vec<String> =
            (b'a'..=b'z').map(|letter| format!("x{}", letter as char)).collect();
        let preferred = languages(&[], "en").preferred(&many.join(","));
        assert_eq!(preferred.join(" "), "xa xb xc xd xe xf xg en");
        let late = format!("{},en", many[..9].join(","));
        assert_eq!(languages(&[], "en").preferred(&late).join(" "), "xa xb xc xd xe xf xg en");
        let eighth = format!("{},en", many[..7].join(","));
        assert_eq!(languages(&[], "en").preferred(&eighth).join(" "), "xa xb xc xd xe xf xg en");
        let endless = "de-at,".repeat(100_000);
        assert_eq!(languages(&[], "en").preferred(&endless).join(" "), "de-at en");
    }
}
