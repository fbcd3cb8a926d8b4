//! What a search shows of a listing.

use serde_json::value::RawValue;

use super::{fields::RawObject, parse::ObjectWriter};
use crate::query::language::look_up;

/// The fields of a hit, as the document has them. Descriptions, media and whatever the platform
/// added are left to the lookup by id.
const SHOWN: &[&str] = &[
    "id",
    "source",
    "externalId",
    "listingType",
    "propertyType",
    "status",
    "price",
    "location",
    "country",
    "region",
    "city",
    "neighborhood",
    "postalCode",
    "sqMeters",
    "rooms",
    "bedrooms",
    "bathrooms",
    "floor",
    "yearBuilt",
    "energyRating",
    "amenities",
    "title",
    "agentId",
    "agencyId",
    "publishedAt",
    "updatedAt",
    "version",
    "h3Index",
];

/// What a summary says besides the document, and how.
#[derive(Debug, Clone, Copy, Default)]
pub struct Shown<'a> {
    /// Languages of the title, in lower case, the most wanted first.
    pub languages: &'a [String],
    /// How far away it is, where a distance was measured.
    pub distance_km: Option<f64>,
    /// How well the words of the search match, where hits are ordered by that.
    pub score: Option<u64>,
}

/// Distances are given to the millimetre.
const DISTANCE_UNITS_PER_KM: f64 = 1e6;

/// The summary of a stored document: its fields, with `title` in one language, `thumbnail` = the
/// address of its first medium, and `distanceKm` and `score` where there are such. `None` if the
/// bytes are no stored document.
#[must_use]
pub fn summary(document: &[u8], shown: &Shown<'_>) -> Option<String> {
    let object = RawObject::parse(std::str::from_utf8(document).ok()?).ok()?;
    let mut out = ObjectWriter::default();
    for (name, value) in &object.0 {
        if name == "title" {
            if let Some(text) = in_one_language(value.get(), shown.languages) {
                out.member(name, text);
            }
        } else if SHOWN.contains(&name.as_str()) {
            out.member(name, value.get());
        }
    }
    if let Some(url) = object.get("media").and_then(thumbnail) {
        out.member("thumbnail", url.get());
    }
    if let Some(distance) = shown.distance_km {
        let rounded = (distance * DISTANCE_UNITS_PER_KM).round() / DISTANCE_UNITS_PER_KM;
        out.member("distanceKm", &serde_json::Value::from(rounded).to_string());
    }
    if let Some(score) = shown.score {
        out.member("score", &score.to_string());
    }
    Some(out.finish())
}

/// One of the texts, as JSON: the lookup of RFC 4647 §3.4 for each language in turn; else a variety
/// of one of them (`de-AT` where `de` is wanted); else the first by language. The document has them
/// in the order of their languages.
fn in_one_language<'a>(texts: &'a str, languages: &[String]) -> Option<&'a str> {
    if !texts.starts_with('{') {
        return Some(texts);
    }
    let texts = RawObject::parse(texts).ok()?.0;
    let tags: Vec<String> =
        texts.iter().map(|(tag, _)| tag.to_ascii_lowercase().replace('_', "-")).collect();
    let exact = |wanted: &str| tags.iter().position(|tag| tag == wanted);
    let variety = |wanted: &String| {
        let is_variety = |tag: &String| {
            tag.strip_prefix(wanted.as_str()).is_some_and(|rest| rest.starts_with('-'))
        };
        tags.iter().position(is_variety)
    };
    let found = languages.iter().find_map(|wanted| look_up(wanted, exact));
    let found = found.or_else(|| languages.iter().find_map(variety)).unwrap_or(0);
    texts.get(found).map(|(_, text)| text.get())
}

/// The first medium's address, as JSON text: a medium is an address or an object with `url`.
fn thumbnail(media: &str) -> Option<Box<RawValue>> {
    let media: Vec<&RawValue> = serde_json::from_str(media).ok()?;
    let first = media.first()?.get();
    let url =
        if first.starts_with('"') { first } else { RawObject::parse(first).ok()?.get("url")? };
    if !url.starts_with('"') {
        return None;
    }
    RawValue::from_string(url.to_owned()).ok()
}
