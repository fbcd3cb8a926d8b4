//! Every node answers every search as a scan over all listings does.

use std::{env, fs, path::PathBuf};

use hexpop_bench::dataset::Rng;
use serde_json::{Value, json};

use crate::{
    mesh::{Data, Mesh, Node, turn},
    oracle::{Oracle, distance},
};

/// Searches per kind of area on synthetic listings, and on some files.
const SEARCHES: u64 = 60;
/// Searches per kind of area on all files.
const SEARCHES_FULL: u64 = 200;
/// Pages of a search that are walked.
const PAGES_MAX: usize = 4;
const AREAS: [&str; 3] = ["radius", "bbox", "polygon"];
const FACETS: [&str; 6] =
    ["propertyTypes", "bedrooms", "priceRanges", "priceStats", "neighborhoods", "energyRatings"];

#[test]
fn every_node_equals_a_scan_of_synthetic_listings() {
    let mesh = Mesh::shared();
    compare(mesh, SEARCHES, 1);
}

#[test]
fn every_node_equals_a_scan_of_real_listings() {
    let Some(folder) = env::var_os("HEXPOP_TEST_DATA").map(PathBuf::from) else { return };
    let full = env::var_os("HEXPOP_TEST_FULL").is_some_and(|value| value == "1");
    let mut files: Vec<PathBuf> = fs::read_dir(folder.join("listings"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().is_some_and(|name| name.ends_with(".ndjson.gz")))
        .collect();
    files.sort();
    if !full {
        // Sale and rent, in several currencies, all of them small.
        files.sort_by_key(|path| fs::metadata(path).unwrap().len());
        files.truncate(5);
    }
    let _turn = turn();
    let mesh = Mesh::start("real", if full { 5 } else { 3 }, Data::Files(files));
    compare(&mesh, if full { SEARCHES_FULL } else { SEARCHES }, 2);
}

#[test]
fn every_node_shows_favourites_in_the_language_of_the_client() {
    let mesh = Mesh::shared();
    let listings = mesh.data.listings();
    let offered = |one: &&Value| one["status"] == "active" && one["listingType"] == "sale";
    let favourites: Vec<&Value> = listings.iter().filter(offered).step_by(40).take(20).collect();
    let ids: Vec<&Value> = favourites.iter().map(|one| &one["id"]).collect();
    let search = json!({"listingType": "sale", "ids": ids, "pageSize": 100, "page": 0,
        "near": {"lat": 45.4, "lng": 9.2}, "sortBy": "distance"});
    let accept = "xx-YY, it-CH;q=0.9, en;q=0.1";
    for node in &mesh.nodes {
        let headers = [("content-type", "application/json"), ("accept-language", accept)];
        let answer = node.send("POST", "/api/v1/search", &headers, &search.to_string()).expect(200);
        assert_eq!(answer.header("content-language"), "xx-yy");
        assert!(answer.headers.get_all("vary").iter().any(|line| line == "Accept-Language"));
        let answer = answer.json();
        assert_eq!(answer["pagination"]["total"], favourites.len(), "{answer}");
        let hits = answer["data"].as_array().unwrap();
        let distances: Vec<f64> =
            hits.iter().filter_map(|hit| hit["distanceKm"].as_f64()).collect();
        assert!(distances.is_sorted() && !distances.is_empty(), "{distances:?}");
        for hit in hits {
            let listing = favourites.iter().find(|one| one["id"] == hit["id"]).unwrap();
            let titles = &listing["title"];
            let expected = ["it", "en"].iter().find_map(|tag| titles.get(tag));
            let first =
                || titles.as_object()?.iter().min_by_key(|(tag, _)| *tag).map(|(_, text)| text);
            let expected = expected.or_else(first);
            assert_eq!(Some(&hit["title"]), expected, "{titles}");
        }
    }
}

fn compare(mesh: &Mesh, searches: u64, seed: u64) {
    let oracle = Oracle::new(mesh.data.listings());
    let active: Vec<&Value> = oracle.listings().filter(|one| one["status"] == "active").collect();
    let mut hits = 0;
    for (kind, area) in (0..).zip(AREAS) {
        for number in 0..searches {
            let mut rng = Rng::for_element(seed, kind * 1_000_000 + number);
            let search = random_search(&active, area, &mut rng);
            hits += check(mesh, &oracle, &search);
        }
    }
    // Random searches that find nothing would prove nothing.
    assert!(hits > searches * 5, "{hits} hits");
}

/// One search at every node, its further pages at one node after the other; answers how many hits it
/// has.
fn check(mesh: &Mesh, oracle: &Oracle, search: &Value) -> u64 {
    let found = oracle.search(search);
    let limit = usize::try_from(search["limit"].as_u64().unwrap()).unwrap();
    let mut cursor = None;
    for node in &mesh.nodes {
        let answer = ask(node, search);
        let context = format!("node {}: {search}: {answer}", node.id);
        compare_page(&answer, &found, 0, limit, search, &context);
        let facets = oracle.facets(&found, search);
        compare_facets(&answer["facets"], &Value::Object(facets), search, &context);
        cursor = answer["pagination"]["cursor"].as_str().map(str::to_owned);
    }
    for (page, node) in (1..PAGES_MAX).zip(mesh.nodes.iter().cycle()) {
        let Some(after) = cursor else { break };
        let mut search = search.clone();
        search["cursor"] = after.into();
        let answer = ask(node, &search);
        let context = format!("page {page} at node {}: {search}: {answer}", node.id);
        compare_page(&answer, &found, page * limit, limit, &search, &context);
        cursor = answer["pagination"]["cursor"].as_str().map(str::to_owned);
    }
    found.len() as u64
}

#[track_caller]
fn ask(node: &Node, search: &Value) -> Value {
    node.post("/api/v1/search", search).expect(200).json()
}

#[track_caller]
fn compare_page(
    answer: &Value,
    found: &[&Value],
    first: usize,
    limit: usize,
    search: &Value,
    context: &str,
) {
    let page: Vec<&&Value> = found.iter().skip(first).take(limit).collect();
    let ids: Vec<&Value> =
        answer["data"].as_array().unwrap().iter().map(|hit| &hit["id"]).collect();
    let expected: Vec<&Value> = page.iter().map(|listing| &listing["id"]).collect();
    assert_eq!(ids, expected, "{context}");
    let pagination = &answer["pagination"];
    assert_eq!(pagination["total"], found.len(), "{context}");
    let more = found.len() > first + limit;
    assert_eq!(pagination["hasMore"], more, "{context}");
    assert_eq!(pagination["cursor"].is_string(), more, "{context}");
    assert_eq!(answer["partial"], false, "{context}");
    for (hit, listing) in answer["data"].as_array().unwrap().iter().zip(page) {
        match distance(listing, search) {
            Some(km) => {
                assert!((hit["distanceKm"].as_f64().unwrap() - km).abs() < 1e-5, "{km}: {context}");
            }
            None => assert!(hit["distanceKm"].is_null(), "{context}"),
        }
        for field in ["price", "location", "bedrooms", "city", "neighborhood", "propertyType"] {
            assert_eq!(hit[field], listing[field], "{field}: {context}");
        }
    }
}

#[track_caller]
fn compare_facets(given: &Value, expected: &Value, search: &Value, context: &str) {
    for name in search["facets"].as_array().into_iter().flatten() {
        let name = name.as_str().unwrap();
        let mut entries =
            given[name].as_array().unwrap_or_else(|| panic!("{name}: {context}")).clone();
        let mut wanted = expected[name].as_array().unwrap().clone();
        if name == "priceRanges" || name == "priceStats" {
            // Their order is not promised.
            let order = |entry: &Value| {
                let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
                (text("currency"), text("period"), text("key"))
            };
            entries.retain(|entry| entry["count"] != 0);
            entries.sort_by_key(order);
            wanted.sort_by_key(order);
        }
        assert_eq!(entries.len(), wanted.len(), "{name}: {context}");
        for (entry, wanted) in entries.iter().zip(&wanted) {
            for (field, value) in wanted.as_object().unwrap() {
                match (entry[field].as_f64(), value.as_f64()) {
                    // A mean may be rounded to a hundredth.
                    (Some(a), Some(b)) => {
                        assert!(
                            (a - b).abs() <= 0.005 + b.abs() * 1e-9,
                            "{name}: {wanted}: {context}"
                        );
                    }
                    _ => assert_eq!(entry[field], *value, "{name}: {wanted}: {context}"),
                }
            }
        }
        let missing = |facets: &Value| facets["missing"][name].as_u64().unwrap_or_default();
        assert_eq!(missing(given), missing(expected), "{name} missing: {context}");
    }
}

/// A search around some listing, with conditions that some listing fulfils.
fn random_search(active: &[&Value], area: &str, rng: &mut Rng) -> Value {
    let model = *rng.pick(active).unwrap();
    let mut search = json!({
        "listingType": model["listingType"],
        "limit": rng.between(1, 40),
        "geoFilter": random_area(model, area, rng),
    });
    let mut orders = vec!["relevance", "price_asc", "price_desc", "newest"];
    if area == "radius" {
        orders.extend(["distance", "distance"]);
    }
    search["sortBy"] = (*rng.pick(&orders).unwrap()).into();
    let facets: Vec<&str> = FACETS.into_iter().filter(|_name| rng.chance(500)).collect();
    if !facets.is_empty() {
        search["facets"] = json!(facets);
    }
    for _condition in 0..rng.below(4) {
        // Of another listing, so that conditions are not always fulfilled together.
        let other = if rng.chance(500) { model } else { *rng.pick(active).unwrap() };
        add_condition(&mut search, other, rng);
    }
    search
}

fn add_condition(search: &mut Value, model: &Value, rng: &mut Rng) {
    let number = |value: &Value, share: f64| value.as_f64().map(|number| number * share);
    let share = 0.5 + rng.unit();
    let (filter, value) = match rng.below(14) {
        0 => ("propertyTypes", json!([model["propertyType"], "villa"])),
        1 => ("currency", model["price"]["currency"].clone()),
        2 => ("period", model["price"]["period"].clone()),
        3 => ("priceMin", json!(number(&model["price"]["amount"], share))),
        4 => ("priceMax", json!(number(&model["price"]["amount"], share))),
        5 => ("sqMetersMin", json!(number(&model["sqMeters"], share))),
        6 => ("sqMetersMax", json!(number(&model["sqMeters"], share))),
        // Exactly what it has: ranges include their ends.
        7 => ("priceMin", model["price"]["amount"].clone()),
        8 => ("bedroomsMin", model["bedrooms"].clone()),
        9 => ("bathroomsMin", model["bathrooms"].clone()),
        10 => {
            let amenities = model["amenities"].as_array();
            ("amenities", json!(amenities.map(|all| all.iter().take(2).collect::<Vec<_>>())))
        }
        11 => ("energyRatings", json!([model["energyRating"], "A"])),
        12 => ("neighborhoods", json!([model["neighborhood"]])),
        13 if rng.chance(500) => ("publishedAfter", model["publishedAt"].clone()),
        _ => {
            let country = model["country"].as_str().unwrap();
            let region = model["region"].as_str().unwrap();
            ("territories", json!([format!("{country}:{region}"), "FR"]))
        }
    };
    let usable = match &value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty() && items.iter().all(Value::is_string),
        _ => true,
    };
    if usable {
        let before = search[filter].clone();
        search[filter] = value;
        let inverted = |low: &str, high: &str| match (search[low].as_f64(), search[high].as_f64()) {
            (Some(low), Some(high)) => low > high,
            _ => false,
        };
        if inverted("priceMin", "priceMax") || inverted("sqMetersMin", "sqMetersMax") {
            search[filter] = before;
        }
        if search[filter].is_null() {
            search.as_object_mut().unwrap().remove(filter);
        }
    }
}

fn random_area(model: &Value, area: &str, rng: &mut Rng) -> Value {
    let around = |rng: &mut Rng, spread: f64| {
        let near = |value: &Value, rng: &mut Rng| {
            value.as_f64().unwrap_or(45.0) + spread * (rng.unit() - 0.5)
        };
        (near(&model["location"]["lat"], rng), near(&model["location"]["lng"], rng))
    };
    // From a quarter to a continent.
    let size = 0.01 * 10_f64.powf(3.0 * rng.unit());
    let (lat, lng) = around(rng, size);
    let clamped = |lat: f64| lat.clamp(-89.0, 89.0);
    match area {
        "radius" => json!({
            "type": "radius",
            "center": {"lat": clamped(lat), "lng": lng},
            "radiusKm": size * 111.0,
        }),
        // One in ten goes around the world the other way, over the antimeridian.
        "bbox" if rng.chance(100) => json!({
            "type": "bbox",
            "topLeft": {"lat": clamped(lat + size), "lng": lng},
            "bottomRight": {"lat": clamped(lat - size), "lng": -170.0},
        }),
        "bbox" => json!({
            "type": "bbox",
            "topLeft": {"lat": clamped(lat + size), "lng": lng - size},
            "bottomRight": {"lat": clamped(lat - size), "lng": lng + size},
        }),
        _ => {
            // A star around the centre never crosses itself.
            let corners = rng.between(3, 12);
            let corner = |index: u64| {
                let turn =
                    std::f64::consts::TAU * (index as f64 + 0.8 * rng.unit()) / corners as f64;
                let far = size * (0.3 + 0.7 * rng.unit());
                json!({"lat": clamped(lat + far * turn.sin()), "lng": lng + far * turn.cos()})
            };
            let points: Vec<Value> = (0..corners).map(corner).collect();
            json!({"type": "polygon", "points": points})
        }
    }
}
