//! Typed reading of the fields of a JSON object whose values stay as they were written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{FieldError, words::Word};
use crate::geo::LatLng;

/// The members of an object in their order; a name that comes twice is refused, since readers
/// would disagree about which of the two counts.
#[derive(Debug, Default)]
pub(crate) struct RawObject<'a>(pub(crate) Vec<(String, &'a RawValue)>);

impl<'a> RawObject<'a> {
    pub(crate) fn parse(json: &'a str) -> Result<Self, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    /// The value of a member; null counts as absent.
    pub(crate) fn get(&self, name: &str) -> Option<&'a str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.get())
            .filter(|text| *text != "null")
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for RawObject<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members: Self::Value = Vec::new();
                while let Some(name) = map.next_key::<String>()? {
                    if members.iter().any(|(known, _)| *known == name) {
                        let name = name.chars().take(80).collect::<String>();
                        return Err(serde::de::Error::custom(format!("`{name}` is given twice")));
                    }
                    members.push((name, map.next_value()?));
                    if members.len() > MEMBERS_MAX {
                        return Err(serde::de::Error::custom("more than 512 fields"));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Members).map(RawObject)
    }
}

/// An object may have this many members; the search for a repeated name is quadratic in it.
const MEMBERS_MAX: usize = 512;

/// Reads members by name and type, and gathers what is wrong with them.
#[derive(Debug)]
pub(super) struct FieldReader<'a> {
    object: RawObject<'a>,
    /// JSON pointer of the object.
    prefix: &'static str,
    pub(super) errors: Vec<FieldError>,
}

impl<'a> FieldReader<'a> {
    pub(super) const fn new(object: RawObject<'a>, prefix: &'static str) -> Self {
        Self { object, prefix, errors: Vec::new() }
    }

    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        self.object.get(name)
    }

    pub(super) fn fail(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("{}/{name}", self.prefix), detail));
    }

    /// The object behind the reader, once everything was read.
    pub(super) fn into_parts(self) -> (RawObject<'a>, Vec<FieldError>) {
        (self.object, self.errors)
    }

    fn value<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        let raw = self.raw(name)?;
        match serde_json::from_str(raw) {
            Ok(value) => Some(value),
            Err(_) => {
                self.fail(name, format!("must be {expected}, not {}", excerpt(raw)));
                None
            }
        }
    }

    /// A text of at most `chars_max` characters.
    pub(super) fn text(&mut self, name: &str, chars_max: usize) -> Option<String> {
        let text: String = self.value(name, "a text")?;
        if text.chars().count() > chars_max {
            self.fail(name, format!("must have at most {chars_max} characters"));
            return None;
        }
        Some(text)
    }

    /// A finite number within `min..=max`.
    pub(super) fn number(&mut self, name: &str, min: f64, max: f64) -> Option<f64> {
        let number: f64 = self.value(name, "a finite number")?;
        if !(number >= min && number <= max) {
            let detail = if max == f64::MAX {
                format!("must be at least {min}")
            } else {
                format!("must lie within {min} and {max}")
            };
            self.fail(name, detail);
            return None;
        }
        // -0 equals 0 but is written and hashed differently.
        Some(number + 0.0)
    }

    /// A whole number.
    pub(super) fn whole<T: DeserializeOwned>(&mut self, name: &str, expected: &str) -> Option<T> {
        self.value(name, expected)
    }

    /// A word of a closed vocabulary.
    pub(super) fn word<T: Word>(&mut self, name: &str) -> Option<T> {
        let text: String = self.value(name, "a text")?;
        let word = T::from_word(&text);
        if word.is_none() {
            let words: Vec<_> = T::ALL.iter().map(|word| word.as_str()).collect();
            self.fail(name, format!("must be one of {}", words.join(", ")));
        }
        word
    }

    /// An RFC 3339 time in microseconds.
    pub(super) fn timestamp(&mut self, name: &str) -> Option<i64> {
        let text: String = self.value(name, "a time such as 2026-03-08T10:30:00Z")?;
        let micros = super::timestamp::parse(&text);
        if micros.is_none() {
            self.fail(name, "must be a time such as 2026-03-08T10:30:00Z (RFC 3339)");
        }
        micros
    }

    /// A list of texts.
    pub(super) fn texts(&mut self, name: &str, count_max: usize, chars_max: usize) -> Vec<String> {
        let texts: Vec<String> = self.value(name, "a list of texts").unwrap_or_default();
        if texts.len() > count_max || texts.iter().any(|text| text.chars().count() > chars_max) {
            self.fail(
                name,
                format!("must have at most {count_max} texts of at most {chars_max} characters"),
            );
            return Vec::new();
        }
        texts
    }

    /// A nested object, `None` and an error if it is none.
    pub(super) fn object(&mut self, name: &'static str, path: &'static str) -> Option<Self> {
        let raw = self.raw(name)?;
        match RawObject::parse(raw) {
            Ok(object) => Some(Self::new(object, path)),
            Err(_) => {
                self.fail(name, format!("must be an object, not {}", excerpt(raw)));
                None
            }
        }
    }

    /// `{"lat":…,"lng":…}`
    pub(super) fn place(&mut self, name: &'static str, path: &'static str) -> Option<LatLng> {
        let mut inner = self.object(name, path)?;
        for required in ["lat", "lng"] {
            if inner.raw(required).is_none() {
                inner.fail(required, "is required in a location");
            }
        }
        let lat = inner.number("lat", -90.0, 90.0);
        let lng = inner.number("lng", -180.0, 180.0);
        self.errors.append(&mut inner.errors);
        Some(LatLng { lat: lat?, lng: lng? })
    }
}

/// The beginning of a value, for messages.
pub(super) fn excerpt(raw: &str) -> String {
    const CHARS: usize = 40;
    let mut text: String = raw.chars().take(CHARS).collect();
    if raw.chars().nth(CHARS).is_some() {
        text.push('…');
    }
    text
}
