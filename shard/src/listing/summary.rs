//! What a search shows of a listing.

use serde_json::value::RawValue;

use super::{fields::RawObject, parse::ObjectWriter};

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

/// Distances are given to the millimetre.
const DISTANCE_UNITS_PER_KM: f64 = 1e6;

/// The summary of a stored document: its fields, `thumbnail` = the address of its first medium,
/// and `distanceKm` where one was measured. `None` if the bytes are no stored document.
#[must_use]
pub fn summary(document: &[u8], distance_km: Option<f64>) -> Option<String> {
    let object = RawObject::parse(std::str::from_utf8(document).ok()?).ok()?;
    let mut out = ObjectWriter::default();
    for (name, value) in &object.0 {
        if SHOWN.contains(&name.as_str()) {
            out.member(name, value.get());
        }
    }
    if let Some(url) = object.get("media").and_then(thumbnail) {
        out.member("thumbnail", url.get());
    }
    if let Some(distance) = distance_km {
        let rounded = (distance * DISTANCE_UNITS_PER_KM).round() / DISTANCE_UNITS_PER_KM;
        out.member("distanceKm", &serde_json::Value::from(rounded).to_string());
    }
    Some(out.finish())
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
