//! Language tags.

use std::{fmt, str::FromStr};

use crate::ParseIdError;

/// The tag of a language (RFC 5646), such as `it` or `de-at`: as far as its form goes, and in lower
/// case, since case means nothing in it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LanguageTag(String);

impl LanguageTag {
    /// Characters at most, which RFC 5646 §4.4.1 leaves room for.
    pub const CHARS_MAX: usize = 35;

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LanguageTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LanguageTag {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let is_part = |(at, part): (usize, &str)| {
            let fits = |byte: u8| match at {
                0 => byte.is_ascii_alphabetic(),
                _ => byte.is_ascii_alphanumeric(),
            };
            (1..=8).contains(&part.len()) && part.bytes().all(fits)
        };
        if text.len() <= Self::CHARS_MAX && text.split('-').enumerate().all(is_part) {
            Ok(Self(text.to_ascii_lowercase()))
        } else {
            Err(ParseIdError::new(text, "the tag of a language such as it or de-AT"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_have_a_form_and_no_case() {
        for tag in ["en", "zh-Hant-TW", "und", "x", "de-1996", "sl-rozaj-biske-1994"] {
            assert_eq!(tag.parse::<LanguageTag>().unwrap().as_str(), tag.to_lowercase());
        }
        for no_tag in ["", "-", "en-", "en_GB", "1996", "deutschland", "é", &"en-".repeat(12)] {
            assert!(no_tag.parse::<LanguageTag>().is_err(), "{no_tag}");
        }
    }
}
