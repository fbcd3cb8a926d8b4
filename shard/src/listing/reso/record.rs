//! One RESO record: its members in their order, read leniently, each remembered once it was used.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::super::{FieldError, fields::excerpt, timestamp};

/// A record may have this many members. The standard has about 650 for a property, and a full
/// record names all of them, most of them null.
const MEMBERS_MAX: usize = 2_048;

/// The members of a record that are not null.
#[derive(Debug, Default)]
struct Members<'a> {
    ordered: Vec<(String, &'a RawValue)>,
    at: BTreeMap<String, usize>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl<'de> Visitor<'de> for Reader {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut names = BTreeSet::new();
                let mut members = Members::default();
                while let Some(name) = map.next_key::<String>()? {
                    let value: &RawValue = map.next_value()?;
                    if !names.insert(name.clone()) {
                        let name = name.chars().take(80).collect::<String>();
                        return Err(serde::de::Error::custom(format!("`{name}` is given twice")));
                    }
                    if names.len() > MEMBERS_MAX {
                        return Err(serde::de::Error::custom("more than 2048 fields"));
                    }
                    if value.get() != "null" {
                        members.at.insert(name.clone(), members.ordered.len());
                        members.ordered.push((name, value));
                    }
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(Reader)
    }
}

/// A number, and how it is written in JSON.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    pub(super) value: f64,
    pub(super) json: String,
}

impl Number {
    pub(super) fn of(value: f64) -> Self {
        Self { value, json: serde_json::Value::from(value).to_string() }
    }

    fn read(text: &str) -> Option<Self> {
        if let Ok(value) = serde_json::from_str::<f64>(text) {
            return Some(Self { value, json: text.to_owned() });
        }
        text.parse().ok().filter(|value: &f64| value.is_finite()).map(Self::of)
    }
}

/// A record and what is wrong with it.
#[derive(Debug)]
pub(super) struct Record<'a> {
    members: Members<'a>,
    used: BTreeSet<&'static str>,
    pub(super) errors: Vec<FieldError>,
}

impl<'a> Record<'a> {
    pub(super) fn parse(json: &'a str) -> Result<Self, String> {
        let members = serde_json::from_str(json).map_err(|error| error.to_string())?;
        Ok(Self { members, used: BTreeSet::new(), errors: Vec::new() })
    }

    /// The JSON text of a member that is there and not null.
    pub(super) fn raw(&self, name: &str) -> Option<&'a str> {
        let at = *self.members.at.get(name)?;
        self.members.ordered.get(at).map(|(_, value)| value.get())
    }

    pub(super) fn fail(&mut self, name: &str, detail: impl Into<String>) {
        self.errors.push(FieldError::new(format!("/{name}"), detail));
    }

    /// Notes that the native listing says all that the member says.
    pub(super) fn carried(&mut self, name: &'static str) {
        self.used.insert(name);
    }

    /// The members that no field of the native listing stands for, in their order.
    pub(super) fn rest(&self) -> impl Iterator<Item = (&str, &'a str)> {
        self.members
            .ordered
            .iter()
            .filter(|(name, _)| !self.used.contains(name.as_str()))
            .map(|(name, value)| (name.as_str(), value.get()))
    }

    /// A text without white space around it, or a number as it is written. Empty is absent.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let raw = self.raw(name)?;
        let Some(text) = scalar(raw) else {
            self.fail(name, format!("must be a text, not {}", excerpt(raw)));
            return None;
        };
        (!text.is_empty()).then_some(text)
    }

    /// The first of some members that is given, and its name.
    pub(super) fn first_text(&mut self, names: &[&'static str]) -> Option<(&'static str, String)> {
        names.iter().find_map(|name| Some((*name, self.text(name)?)))
    }

    /// A number, or a text that holds one.
    pub(super) fn number(&mut self, name: &str) -> Option<Number> {
        let raw = self.raw(name)?;
        let text = scalar(raw);
        if text.as_deref() == Some("") {
            return None;
        }
        let number = text.as_deref().and_then(Number::read);
        if number.is_none() {
            self.fail(name, format!("must be a number such as 1250.5, not {}", excerpt(raw)));
        }
        number
    }

    /// Yes or no in any of the ways it is written; anything else says neither.
    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match scalar(self.raw(name)?)?.to_ascii_lowercase().as_str() {
            "true" | "y" | "yes" | "1" => Some(true),
            "false" | "n" | "no" | "0" => Some(false),
            _ => None,
        }
    }

    /// The values of a lookup: a list, a text with commas, or an object of yes and no. What is none
    /// of these has no values.
    pub(super) fn list(&self, name: &str) -> Vec<String> {
        let Some(raw) = self.raw(name) else { return Vec::new() };
        let values: Vec<String> = if raw.starts_with('[') {
            let values: Vec<&RawValue> = serde_json::from_str(raw).unwrap_or_default();
            values.iter().filter_map(|value| scalar(value.get())).collect()
        } else if raw.starts_with('{') {
            let values: BTreeMap<String, &RawValue> = serde_json::from_str(raw).unwrap_or_default();
            values.into_iter().filter(|(_, is)| is.get() == "true").map(|(name, _)| name).collect()
        } else {
            let text = scalar(raw).unwrap_or_default();
            text.split(',').map(|value| value.trim().to_owned()).collect()
        };
        values.into_iter().filter(|value| !value.is_empty()).collect()
    }

    /// The [key](super::words::key) of a lookup's value; of several, the first.
    pub(super) fn word(&self, name: &str) -> Option<String> {
        let word = super::words::key(self.list(name).first()?);
        (!word.is_empty()).then_some(word)
    }

    /// A time as RFC 3339 writes it. A date is its first moment, and a time without a zone is UTC.
    pub(super) fn time(&mut self, name: &str) -> Option<String> {
        let text = self.text(name)?;
        let time = [text.clone(), format!("{text}T00:00:00Z"), format!("{text}Z")]
            .into_iter()
            .find(|text| timestamp::parse(text).is_some());
        if time.is_none() {
            self.fail(name, "must be a date or a time such as 2026-03-08T10:30:00Z");
        }
        time
    }
}

/// A JSON text without white space around it, or a number or a truth value as it is written; a
/// list, an object or null is none.
fn scalar(raw: &str) -> Option<String> {
    match raw.as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(raw).ok().map(|text| text.trim().to_owned()),
        b'[' | b'{' | b'n' => None,
        _ => Some(raw.to_owned()),
    }
}
