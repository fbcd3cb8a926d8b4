//! Random listings and random questions of every kind, made so that ends of ranges, ties, borders
//! and the edges of the map are hit often.

use serde_json::{Map, Value, json};

use crate::seeded::Seeded;

const TYPES: &[&str] = &["sale", "rent", "auction"];
const PROPERTIES: &[&str] = &["apartment", "house", "villa", "land"];
const NEIGHBORHOODS: &[&str] = &["Brera", "Isola", "São Bento", "Gràcia Nova"];
const CITIES: &[&str] = &["Milano", "Málaga", "Łódź"];
const ENERGY: &[&str] = &["A", "B", "A4"];
const WORDS: &[&str] = &[
    "loft",
    "Brera",
    "città",
    "straße",
    "view",
    "vista",
    "l'été",
    "LOFTS",
    "lift",
    "apartments",
    "Apartment",
    "lofts2",
];
const LANGUAGES: &[&str] = &["it", "en", "de-AT", "pt_BR", "fr", "zh-Hant"];
const TERRITORIES: &[(&str, &str)] =
    &[("IT", "lombardia"), ("IT", "lazio"), ("ES", "madrid"), ("FJ", "northern")];
const FACETS: &[&str] =
    &["propertyTypes", "bedrooms", "priceRanges", "priceStats", "neighborhoods", "energyRatings"];

/// Where listings stand: towns, both sides of the antimeridian, both poles, the origin.
const TOWNS: &[(f64, f64)] = &[
    (45.4, 9.1),
    (45.4, 9.1),
    (40.4, -3.7),
    (-17.0, 179.9),
    (-17.0, -179.9),
    (89.97, 20.0),
    (-89.97, -160.0),
    (0.0, 0.0),
];
/// Steps of the grid around a town.
const STEP: f64 = 0.03;

fn sentence(seed: &mut Seeded) -> String {
    seed.some(WORDS, 4).join(" ")
}

/// More of them than fit in one machine word.
fn amenity(seed: &mut Seeded) -> String {
    let common = ["elevator", "balcony", "wifi", "garden"];
    if seed.chance(60) {
        (*seed.pick(&common)).to_owned()
    } else {
        format!("extra {}", seed.below(90))
    }
}

fn amenities(seed: &mut Seeded, most: usize) -> Vec<String> {
    (0..=seed.below(most)).map(|_| amenity(seed)).collect()
}

fn amount(seed: &mut Seeded) -> f64 {
    let ends = [99_999.99, 100_000.0, 150_000.5, 200_000.0, 350_000.0, 499_999.0, 500_000.0, 0.0];
    match seed.below(10) {
        0 => seed.within(0.0, 600_000.0),
        1 => *seed.pick(&[0.1 + 0.2, 0.3, 1e-9, 123_456.789_012_345_67, 9.007_199_254_740_993e15]),
        _ => *seed.pick(&ends),
    }
}

fn time(seed: &mut Seeded) -> String {
    format!("2026-01-{:02}T{:02}:00:00Z", 1 + seed.below(3), seed.below(3))
}

/// Many listings share coordinates, so that distances tie; some stand on the edge of the map.
pub(crate) fn place(seed: &mut Seeded) -> Value {
    let (lat, lng) = *seed.pick(TOWNS);
    let step = |seed: &mut Seeded| match seed.below(8) {
        // All the digits that there are.
        0 => seed.within(-0.1, 0.1),
        at => (at as f64 - 4.0) * STEP,
    };
    let edge = |seed: &mut Seeded, value: f64, edge: f64, share: f64| {
        if value.abs() > share * edge && seed.chance(20) { edge.copysign(value) } else { value }
    };
    let (lat, lng) = (lat + step(seed), lng + step(seed));
    let (lat, lng) = (lat.clamp(-90.0, 90.0), lng.clamp(-180.0, 180.0));
    json!({"lat": edge(seed, lat, 90.0, 0.99), "lng": edge(seed, lng, 180.0, 0.99)})
}

fn titles(seed: &mut Seeded) -> Value {
    match seed.below(4) {
        0 => json!(sentence(seed)),
        1 => json!({"it": sentence(seed), "en": sentence(seed)}),
        _ => {
            let tags = seed.some(LANGUAGES, 4);
            tags.into_iter().map(|tag| (tag.to_owned(), json!(sentence(seed)))).collect()
        }
    }
}

/// A listing of which every field but the required ones may be absent or null.
pub(crate) fn listing(seed: &mut Seeded, id: &str) -> Value {
    let kind = *seed.pick(TYPES);
    let (country, region) = *seed.pick(TERRITORIES);
    let mut listing = json!({"id": id, "listingType": kind, "country": country, "region": region,
        "status": if seed.chance(80) { "active" } else { *seed.pick(&["sold", "draft", "under_offer"]) }});
    let mut price = json!({"amount": amount(seed), "currency": *seed.pick(&["EUR", "PLN"])});
    if kind == "rent" && seed.chance(80) {
        price["period"] = json!(seed.pick(&["night", "month", "2_nights"]));
    }
    let optional: Vec<(&str, Value)> = vec![
        ("price", price),
        ("location", place(seed)),
        ("propertyType", json!(seed.pick(PROPERTIES))),
        ("neighborhood", json!(seed.pick(NEIGHBORHOODS))),
        ("city", json!(seed.pick(CITIES))),
        ("energyRating", json!(seed.pick(ENERGY))),
        ("sqMeters", json!(seed.below(5) as f64 * 12.5)),
        ("bedrooms", json!(*seed.pick(&[0.0, 1.0, 2.0, 2.5]))),
        ("bathrooms", json!(*seed.pick(&[1.0, 2.25]))),
        ("publishedAt", json!(time(seed))),
        ("title", titles(seed)),
        ("description", json!({"de": sentence(seed)})),
        ("amenities", json!(amenities(seed, 5))),
    ];
    for (name, value) in optional {
        match seed.below(10) {
            0..=7 => listing[name] = value,
            8 => listing[name] = Value::Null,
            _ => {}
        }
    }
    listing
}

/// A listing's fields as they are stored.
pub(crate) fn without_nulls(json: Value) -> Value {
    let Value::Object(members) = json else {
        return json;
    };
    Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}

/// A box around a place, which may cross the antimeridian or be a line or a point.
fn corners(seed: &mut Seeded) -> Value {
    let center = place(seed);
    let (lat, lng) = (center["lat"].as_f64().unwrap(), center["lng"].as_f64().unwrap());
    let turn = |lng: f64| {
        if lng > 180.0 {
            lng - 360.0
        } else if lng < -180.0 {
            lng + 360.0
        } else {
            lng
        }
    };
    let height = seed.pick(&[0.0, STEP, 0.2]);
    let (west, east) = match seed.below(8) {
        0 => (180.0, -180.0),
        1 => (-180.0, 180.0),
        2 => (seed.within(170.0, 180.0), seed.within(-180.0, -170.0)),
        _ => {
            let width = seed.pick(&[0.0, 0.06, 0.5, 100.0]);
            (turn(lng - width), turn(lng + width))
        }
    };
    json!({"topLeft": {"lat": (lat + height).min(90.0), "lng": west},
        "bottomRight": {"lat": (lat - height).max(-90.0), "lng": east}})
}

fn polygon(seed: &mut Seeded) -> Value {
    let center = place(seed);
    let (lat, lng) = (center["lat"].as_f64().unwrap(), center["lng"].as_f64().unwrap());
    // Corners on the grid that the listings stand on, so that borders and corners are hit.
    let kite = [(0.06, -0.06), (0.0, 0.09), (-0.06, -0.06), (0.0, -0.03)];
    // One side on the antimeridian, or nearly.
    let side = if lng < 0.0 { -180.0 } else { 180.0 };
    let inner = side * (1.0 - seed.pick(&[0.0002, 0.001, 0.01]));
    let flag = [(0.05, inner), (0.05, side), (-0.05, side), (-0.05, inner)];
    let points: Vec<(f64, f64)> = if lng.abs() > 179.0 && seed.chance(70) {
        flag.iter().map(|(dy, lng)| (lat + dy, *lng)).collect()
    } else {
        let lng = lng.clamp(-179.8, 179.8);
        kite.iter().map(|(dy, dx)| (lat + dy, lng + dx)).collect()
    };
    let highest = points.iter().map(|(lat, _)| lat.abs()).fold(0.0, f64::max);
    // A corner beyond a pole moves the whole.
    let shift = (highest - 90.0).max(0.0).copysign(lat);
    let points: Vec<Value> = points
        .iter()
        .map(|(lat, lng)| json!({"lat": (lat - shift).clamp(-90.0, 90.0), "lng": lng}))
        .collect();
    json!({"type": "polygon", "points": points})
}

fn area(seed: &mut Seeded) -> Value {
    match seed.below(3) {
        0 => json!({"type": "radius", "center": place(seed),
            "radiusKm": *seed.pick(&[0.001, 3.0, 7.5, 11.0, 40.0, 15_000.0, 20_040.0])}),
        1 => {
            let mut area = corners(seed);
            area["type"] = json!("bbox");
            area
        }
        _ => polygon(seed),
    }
}

/// What searches and maps have in common; `known` are ids of listings.
pub(crate) fn filters(seed: &mut Seeded, known: &[String]) -> Value {
    let mut ask = json!({"listingType": seed.pick(TYPES)});
    let ids: Vec<String> = (0..seed.below(12))
        .map(|_| if known.is_empty() { "l-?".to_owned() } else { seed.pick(known).clone() })
        .chain(["no-such".to_owned()])
        .collect();
    let options: Vec<(&str, usize, Value)> = vec![
        ("ids", 15, json!(ids)),
        ("geoFilter", 40, area(seed)),
        ("propertyTypes", 15, json!(seed.some(PROPERTIES, 3))),
        ("currency", 15, json!("EUR")),
        ("period", 5, json!("night")),
        ("priceMin", 15, json!(amount(seed).min(350_000.0))),
        ("priceMax", 15, json!(350_000.0 + amount(seed))),
        ("sqMetersMin", 10, json!(12.5)),
        ("sqMetersMax", 10, json!(37.5)),
        ("bedroomsMin", 10, json!(2)),
        ("bathroomsMin", 10, json!(2)),
        ("amenities", 15, json!(amenities(seed, 2))),
        ("energyRatings", 10, json!(seed.some(ENERGY, 2))),
        ("neighborhoods", 10, json!(seed.some(NEIGHBORHOODS, 2))),
        ("publishedAfter", 10, json!(time(seed))),
        ("territories", 20, json!(seed.some(&["IT", "ES:madrid", "FJ", "IT:lazio"], 2))),
        (
            "query",
            30,
            json!(seed.pick(&[
                "lof",
                "loft brer",
                "Citta",
                "STRASSE v",
                "été",
                "nothing",
                "  ",
                "milano l",
                "lfot",
                "lfto brera",
                "milnao viw",
                "STRASE",
                "apratmenst b",
                "2lofts"
            ])),
        ),
    ];
    for (name, percent, value) in options {
        if seed.chance(percent) {
            ask[name] = value;
        }
    }
    ask
}

/// A search.
pub(crate) fn question(seed: &mut Seeded, known: &[String]) -> Value {
    let mut ask = filters(seed, known);
    if seed.chance(25) {
        ask["near"] = place(seed);
    }
    let radius = ask.get("geoFilter").is_some_and(|area| area["type"] == "radius");
    let measured = radius || ask.get("near").is_some();
    let sorts = ["relevance", "price_asc", "price_desc", "newest", "distance", "distance"];
    if seed.chance(80) {
        ask["sortBy"] = json!(sorts[seed.below(if measured { 6 } else { 4 })]);
    }
    let size = json!(*seed.pick(&[1, 3, 7, 200]));
    match seed.below(10) {
        0 | 1 => ask["pageSize"] = size,
        2 => {
            ask["pageSize"] = size.clone();
            ask["limit"] = size;
        }
        _ => ask["limit"] = size,
    }
    if seed.chance(10) {
        ask["page"] = json!(0);
    }
    if seed.chance(70) {
        ask["facets"] = json!(seed.some(FACETS, 6));
    }
    if seed.chance(40) {
        ask["facetMode"] = json!(seed.pick(&["all", "excludeOwn", "excludeOwn"]));
    }
    ask
}

/// A map view that may have any number of cells.
pub(crate) fn map(seed: &mut Seeded, known: &[String]) -> Value {
    let mut ask = filters(seed, known);
    ask["resolution"] = json!(3 + seed.below(7));
    if seed.chance(50) {
        ask["minCount"] = json!(1 + seed.below(3));
    }
    if seed.chance(30) {
        ask["bounds"] = corners(seed);
    }
    ask
}

/// The flat form of a question.
pub(crate) fn flat(ask: &Value) -> String {
    fn add(name: &str, value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(key, value)| add(&format!("{name}.{key}"), value, out));
            }
            Value::Array(items) if items.iter().any(Value::is_object) => items
                .iter()
                .enumerate()
                .for_each(|(at, value)| add(&format!("{name}.{at}"), value, out)),
            Value::Array(items) => items.iter().for_each(|value| add(name, value, out)),
            Value::String(text) => {
                let text: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
                out.push(format!("{name}={text}"));
            }
            other => out.push(format!("{name}={other}")),
        }
    }
    let mut out = Vec::new();
    for (name, value) in ask.as_object().unwrap() {
        add(name, value, &mut out);
    }
    out.join("&")
}

/// The languages that a client asks for, with weights in thousandths.
pub(crate) fn languages(seed: &mut Seeded) -> Vec<(&'static str, u32)> {
    let ranges = [
        "it",
        "IT-ch",
        "en-GB-oxendict",
        "de",
        "de-at-1996",
        "pt-br",
        "zh-Hant-TW",
        "*",
        "es",
        "zh-x-y",
        "pt",
        "zh",
    ];
    (0..seed.below(5)).map(|_| (*seed.pick(&ranges), seed.below(1_001) as u32)).collect()
}

/// `Accept-Language`.
pub(crate) fn accept(seed: &mut Seeded, wanted: &[(&str, u32)]) -> String {
    let element = |(range, weight): &(&str, u32)| match weight {
        1_000 if seed.chance(50) => (*range).to_owned(),
        1_000 => format!("{range} ; q=1.0"),
        _ => format!("{range};q=0.{weight:03}"),
    };
    wanted.iter().map(element).collect::<Vec<_>>().join(", ")
}
