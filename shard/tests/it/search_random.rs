//! Random listings and random questions of every kind, against a scan of the documents.

use std::collections::BTreeMap;

use hexpop_shard::{DeleteItem, ListingsOp, MapRequest, SearchRequest, SearchRules};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::{
    market::{self, Shard},
    oracle::{self, Row},
    seeded::Seeded,
};

const TYPES: &[&str] = &["sale", "rent", "auction"];
const PROPERTIES: &[&str] = &["apartment", "house", "villa", "land"];
const AMENITIES: &[&str] = &["elevator", "balcony", "wifi", "garden"];
const NEIGHBORHOODS: &[&str] = &["Brera", "Isola", "São Bento", "Gràcia Nova"];
const CITIES: &[&str] = &["Milano", "Málaga", "Łódź"];
const ENERGY: &[&str] = &["A", "B", "A4"];
const WORDS: &[&str] = &["loft", "Brera", "città", "straße", "view", "vista", "l'été", "LOFTS"];
const TERRITORIES: &[(&str, &str)] =
    &[("IT", "lombardia"), ("IT", "lazio"), ("ES", "madrid"), ("FJ", "northern")];

fn sentence(seed: &mut Seeded) -> String {
    seed.some(WORDS, 4).join(" ")
}

fn amount(seed: &mut Seeded) -> f64 {
    *seed.pick(&[99_999.99, 100_000.0, 150_000.5, 200_000.0, 350_000.0, 499_999.0, 500_000.0, 0.0])
}

fn time(seed: &mut Seeded) -> String {
    format!("2026-01-{:02}T{:02}:00:00Z", 1 + seed.below(3), seed.below(3))
}

/// Many listings share coordinates, so that distances tie.
fn place(seed: &mut Seeded) -> Value {
    let (lat, lng) =
        *seed.pick(&[(45.4, 9.1), (40.4, -3.7), (-17.0, 179.9), (-17.0, -179.9), (0.0, 0.0)]);
    let step = |seed: &mut Seeded| (seed.below(7) as f64 - 3.0) * 0.03;
    let lng: f64 = lng + step(seed);
    let lng = lng.clamp(-180.0, 180.0);
    json!({"lat": lat + step(seed), "lng": lng})
}

fn listing(seed: &mut Seeded, id: &str) -> Value {
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
        (
            "title",
            if seed.chance(50) {
                json!(sentence(seed))
            } else {
                json!({"it": sentence(seed), "en": sentence(seed)})
            },
        ),
        ("description", json!({"de": sentence(seed)})),
        ("amenities", json!(seed.some(AMENITIES, 3))),
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

fn area(seed: &mut Seeded) -> Value {
    let center = place(seed);
    let (lat, lng) = (center["lat"].as_f64().unwrap(), center["lng"].as_f64().unwrap());
    match seed.below(3) {
        0 => json!({"type": "radius", "center": center,
            "radiusKm": *seed.pick(&[0.001, 3.0, 7.5, 40.0, 15_000.0, 20_040.0])}),
        1 => {
            let turn = |lng: f64| {
                if lng > 180.0 {
                    lng - 360.0
                } else if lng < -180.0 {
                    lng + 360.0
                } else {
                    lng
                }
            };
            let (height, width) =
                (seed.pick(&[0.0, 0.03, 0.2]), seed.pick(&[0.0, 0.06, 0.5, 100.0]));
            json!({"type": "bbox", "topLeft": {"lat": lat + height, "lng": turn(lng - width)},
                "bottomRight": {"lat": lat - height, "lng": turn(lng + width)}})
        }
        // Corners on the grid that the listings stand on, so that borders and corners are hit.
        _ => {
            let corners = [(0.06, -0.06), (0.0, 0.09), (-0.06, -0.06), (0.0, -0.03)];
            let clamp = |lng: f64| lng.clamp(-180.0, 180.0);
            let points: Vec<Value> = corners
                .iter()
                .map(|(dy, dx)| json!({"lat": lat + dy, "lng": clamp(lng.clamp(-179.8, 179.8) + dx)}))
                .collect();
            json!({"type": "polygon", "points": points})
        }
    }
}

fn filters(seed: &mut Seeded) -> Value {
    let mut ask = json!({"listingType": seed.pick(TYPES)});
    let options: Vec<(&str, usize, Value)> = vec![
        ("geoFilter", 40, area(seed)),
        ("propertyTypes", 15, json!(seed.some(PROPERTIES, 3))),
        ("currency", 15, json!("EUR")),
        ("period", 5, json!("night")),
        ("priceMin", 15, json!(100_000)),
        ("priceMax", 15, json!(350_000.0)),
        ("sqMetersMin", 10, json!(12.5)),
        ("sqMetersMax", 10, json!(37.5)),
        ("bedroomsMin", 10, json!(2)),
        ("bathroomsMin", 10, json!(2)),
        ("amenities", 15, json!(seed.some(AMENITIES, 2))),
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
                "milano l"
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

fn question(seed: &mut Seeded) -> Value {
    let mut ask = filters(seed);
    let radius = ask.get("geoFilter").is_some_and(|area| area["type"] == "radius");
    let sorts = ["relevance", "price_asc", "price_desc", "newest", "distance"];
    if seed.chance(80) {
        ask["sortBy"] = json!(sorts[seed.below(if radius { 5 } else { 4 })]);
    }
    ask["limit"] = json!(*seed.pick(&[1, 3, 7, 200]));
    let facets = [
        "propertyTypes",
        "bedrooms",
        "priceRanges",
        "priceStats",
        "neighborhoods",
        "energyRatings",
    ];
    if seed.chance(70) {
        ask["facets"] = json!(seed.some(&facets, 6));
    }
    ask
}

/// Shards that went through updates, deletions and repetitions, and what must remain.
fn market(seed: &mut Seeded) -> (Vec<Shard>, Vec<Row>) {
    let mut shards: Vec<Shard> = (0..1 + seed.below(3)).map(|_| Shard::new()).collect();
    let mut remaining: BTreeMap<String, Value> = BTreeMap::new();
    for number in 0..seed.below(60) {
        let id = format!("{}{number}", seed.pick(&["l-", "L-", "é-", "l_"]));
        let at = number % shards.len();
        for version in 1..=1 + seed.below(3) as u64 {
            let mut json = listing(seed, &id);
            json["version"] = json!(version);
            shards[at].store(vec![market::parse(&json)]);
            if seed.chance(30) {
                shards[at].store(vec![market::parse(&json)]);
            }
            remaining.insert(id.clone(), json);
        }
        if seed.chance(15) {
            let listing = market::parse(&remaining[&id]);
            let item = DeleteItem { key: listing.key, id: id.clone(), version: listing.version };
            shards[at].apply(2, &ListingsOp::Delete { items: vec![item] });
            remaining.remove(&id);
        }
    }
    let rows = remaining.into_values().map(|json| Row::new(without_nulls(json))).collect();
    (shards, rows)
}

fn without_nulls(json: Value) -> Value {
    let Value::Object(members) = json else {
        return json;
    };
    Value::Object(members.into_iter().filter(|(_, value)| !value.is_null()).collect::<Map<_, _>>())
}

/// The flat form of a question.
fn flat(ask: &Value) -> String {
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn searches_equal_a_scan(seed: u64) {
        let mut seed = Seeded(seed);
        let (shards, rows) = market(&mut seed);
        for _ in 0..12 {
            let ask = question(&mut seed);
            let expected = oracle::search(&rows, &ask);
            let (seen, first) = market::walk(&shards, &ask, usize::MAX);
            let ids: Vec<_> = seen.iter().map(|(id, _)| id.as_str()).collect();
            let wanted: Vec<_> = expected.rows.iter().map(|(row, _)| row.id.as_str()).collect();
            prop_assert_eq!(ids, wanted, "{}", ask);
            prop_assert_eq!(&first["pagination"]["total"], &json!(expected.rows.len()));
            prop_assert!(oracle::close(&first["facets"], &expected.facets),
                "{}\n{}\n{}", ask, first["facets"], expected.facets);
            for ((_, distance), (_, wanted)) in seen.iter().zip(&expected.rows) {
                prop_assert_eq!(distance.is_some(), wanted.is_some());
                prop_assert!((distance.unwrap_or(0.0) - wanted.unwrap_or(0.0)).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn maps_and_suggestions_equal_a_scan(seed: u64) {
        let mut seed = Seeded(seed);
        let (shards, rows) = market(&mut seed);
        for _ in 0..6 {
            let mut ask = filters(&mut seed);
            ask["resolution"] = json!(3 + seed.below(7));
            if seed.chance(50) {
                ask["minCount"] = json!(1 + seed.below(3));
            }
            let answer = serde_json::to_value(market::clusters(&shards, &ask)).unwrap();
            let expected = oracle::clusters(&rows, &ask);
            let cells = answer["cells"].as_array().unwrap();
            prop_assert_eq!(cells.len(), expected.len(), "{}", ask);
            for cell in cells {
                let word = |name: &str| cell.get(name).map(|it| it.as_str().unwrap().to_owned());
                let key = (word("h3").unwrap(), word("currency"), word("period"));
                let (count, avg, median) = expected[&key];
                prop_assert_eq!(&cell["count"], &json!(count));
                prop_assert!(oracle::close(&json!(avg), cell.get("avgPrice").unwrap_or(&Value::Null)));
                prop_assert!(oracle::close(&json!(median), cell.get("medianPrice").unwrap_or(&Value::Null)));
            }
            let counts: Vec<_> = cells.iter().map(|cell| cell["count"].as_u64().unwrap()).collect();
            prop_assert!(counts.is_sorted_by(|a, b| a >= b));
        }
        for prefix in ["m", "mala", "LOD", "gracia n", "sao", "lo", "x"] {
            let answer = market::suggest(&shards, prefix);
            let expected: Vec<Value> = oracle::suggest(&rows, prefix)
                .into_iter()
                .map(|(text, kind, territory, count, center)| {
                    let mut it = json!({"text": text, "kind": kind, "territory": territory, "count": count});
                    if let Some((lat, lng)) = center {
                        it["center"] = json!({"lat": lat, "lng": lng});
                    }
                    it
                })
                .collect();
            prop_assert!(oracle::close(&answer["suggestions"], &json!(expected)), "{} {:?}", answer, expected);
        }
    }

    #[test]
    fn both_forms_of_a_question_are_one(seed: u64) {
        let mut seed = Seeded(seed);
        let rules = SearchRules::default();
        for _ in 0..20 {
            let ask = question(&mut seed);
            let flat_form = SearchRequest::from_query_string(&flat(&ask), &rules).unwrap();
            prop_assert_eq!(&flat_form, &market::request(&ask));
            let bytes = hexpop_edge_config::codec::encode(&flat_form.query).unwrap();
            let back: hexpop_shard::Query = hexpop_edge_config::codec::decode(&bytes).unwrap();
            prop_assert_eq!(back.canonical(), flat_form.query.canonical());
            prop_assert_eq!(back, flat_form.query);
            let mut map = filters(&mut seed);
            map["resolution"] = json!(7);
            let flat_map = MapRequest::from_query_string(&flat(&map), &rules).unwrap();
            prop_assert_eq!(flat_map, MapRequest::from_json(map.to_string().as_bytes(), &rules).unwrap());
        }
    }
}
