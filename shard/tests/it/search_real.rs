//! The listings of `HEXPOP_TEST_DATA` (a folder with `listings/*.ndjson.gz`), divided by territory,
//! against a scan of the files. Does nothing without it.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::PathBuf,
    time::{Duration, Instant},
};

use flate2::read::MultiGzDecoder;
use hexpop_shard::Listing;
use serde_json::{Value, json};

use crate::{
    market::{self, Shard},
    oracle::{self, Row},
    seeded::Seeded,
};

/// Searches per kind of area.
const SEARCHES: usize = 200;

fn files() -> Vec<PathBuf> {
    let Some(folder) = std::env::var_os("HEXPOP_TEST_DATA") else {
        return Vec::new();
    };
    let entries = std::fs::read_dir(PathBuf::from(folder).join("listings")).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_string_lossy().ends_with(".ndjson.gz"));
    files.sort();
    files
}

/// One shard per territory, but Milan's listings in two, and all rows for the oracle.
fn load(files: &[PathBuf]) -> (Vec<Shard>, Vec<Row>) {
    let mut by_territory: BTreeMap<String, Vec<Listing>> = BTreeMap::new();
    let mut rows = Vec::new();
    for file in files {
        for line in BufReader::new(MultiGzDecoder::new(File::open(file).unwrap())).lines() {
            let line = line.unwrap();
            let listing = match Listing::parse(line.as_bytes()) {
                Ok(listing) => listing,
                Err(errors) => panic!("{line}: {errors:?}"),
            };
            let half =
                if listing.columns.region.as_str() == "lombardia" { rows.len() % 2 } else { 0 };
            let shard = format!("{}/{half}", listing.columns.territory());
            by_territory.entry(shard).or_default().push(listing);
            rows.push(Row::new(serde_json::from_str(&line).unwrap()));
        }
    }
    let shards = by_territory.into_values().map(|listings| {
        let mut shard = Shard::new();
        shard.store(listings);
        shard
    });
    (shards.collect(), rows)
}

fn area(seed: &mut Seeded, kind: usize, (lat, lng): (f64, f64)) -> Value {
    let (lat, lng) = (lat + seed.within(-0.05, 0.05), lng + seed.within(-0.05, 0.05));
    match kind {
        0 => json!({"type": "radius", "center": {"lat": lat, "lng": lng},
            "radiusKm": *seed.pick(&[0.5, 2.0, 5.0, 25.0, 400.0, 3_000.0])}),
        1 => {
            let size = *seed.pick(&[0.01, 0.05, 0.3, 8.0]);
            json!({"type": "bbox", "topLeft": {"lat": lat + size * seed.unit(), "lng": lng - size * seed.unit()},
                "bottomRight": {"lat": lat - size * seed.unit(), "lng": lng + size * seed.unit()}})
        }
        _ => {
            // Corners at growing angles around a place make a simple polygon.
            let (corners, size) = (3 + seed.below(12), *seed.pick(&[0.02, 0.1, 5.0]));
            let points: Vec<Value> = (0..corners)
                .map(|corner| {
                    let angle = (corner as f64 + 0.8 * seed.unit()) / corners as f64
                        * std::f64::consts::TAU;
                    let reach = size * seed.within(0.2, 1.0);
                    json!({"lat": lat + reach * angle.sin(), "lng": lng + reach * angle.cos()})
                })
                .collect();
            json!({"type": "polygon", "points": points})
        }
    }
}

/// A search around a listing, with filters that this listing mostly passes.
fn question(seed: &mut Seeded, rows: &[Row], kind: usize) -> Value {
    let row = loop {
        let row = seed.pick(rows);
        if row.json["status"] == "active" {
            break row;
        }
    };
    let of = |name: &str| row.json.get(name).cloned();
    let mut ask = json!({"listingType": row.json["listingType"], "geoFilter": area(seed, kind, row.place.unwrap()),
        "limit": *seed.pick(&[5, 20, 200]),
        "facets": ["propertyTypes", "bedrooms", "priceRanges", "priceStats", "neighborhoods", "energyRatings"]});
    let near = seed.chance(20);
    if near {
        let (lat, lng) = row.place.unwrap();
        ask["near"] =
            json!({"lat": lat + seed.within(-0.3, 0.3), "lng": lng + seed.within(-0.3, 0.3)});
    }
    if seed.chance(30) {
        ask["facetMode"] = json!("excludeOwn");
    }
    let sorts = ["relevance", "price_asc", "price_desc", "newest", "distance"];
    ask["sortBy"] = json!(sorts[seed.below(if kind == 0 || near { 5 } else { 4 })]);
    let amount = row.json["price"]["amount"].as_f64().unwrap();
    let mut options: Vec<(&str, usize, Value)> = vec![
        ("priceMin", 30, json!(amount * seed.within(0.3, 1.0))),
        ("priceMax", 30, json!(amount * seed.within(1.0, 3.0))),
        ("currency", 20, row.json["price"]["currency"].clone()),
        (
            "territories",
            15,
            json!([format!(
                "{}:{}",
                row.json["country"].as_str().unwrap(),
                row.json["region"].as_str().unwrap()
            )]),
        ),
    ];
    options.extend(of("propertyType").map(|it| ("propertyTypes", 20, json!([it, "villa"]))));
    options.extend(of("neighborhood").map(|it| ("neighborhoods", 10, json!([it]))));
    options.extend(of("bedrooms").map(|it| ("bedroomsMin", 20, it)));
    options.extend(of("bathrooms").map(|it| ("bathroomsMin", 10, it)));
    options.extend(of("sqMeters").map(|it| ("sqMetersMin", 15, json!(it.as_f64().unwrap() * 0.8))));
    if let Some(amenities) = of("amenities") {
        options.push(("amenities", 20, json!([seed.pick(amenities.as_array().unwrap())])));
    }
    let words = ["apartment", "loft cent", "room", "city", "milano", "studio near", "garden"];
    options.push(("query", 15, json!(seed.pick(&words))));
    let ids: Vec<_> = (0..60).map(|_| seed.pick(rows).id.clone()).collect();
    options.push(("ids", 4, json!(ids)));
    for (name, percent, value) in options {
        if seed.chance(percent) {
            ask[name] = value;
        }
    }
    ask
}

#[test]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn searches_of_real_listings_equal_a_scan() {
    let files = files();
    if files.is_empty() {
        return;
    }
    let begun = Instant::now();
    let (shards, rows) = load(&files);
    println!("{} listings in {} shards, {:?}", rows.len(), shards.len(), begun.elapsed());
    let (mut seed, mut slowest, mut spent) = (Seeded(20_261_121), Duration::ZERO, Duration::ZERO);
    for number in 0..3 * SEARCHES {
        let ask = question(&mut seed, &rows, number % 3);
        let expected = oracle::search(&rows, &ask);
        let begun = Instant::now();
        let first = serde_json::to_value(market::search(&shards, &ask)).unwrap();
        slowest = slowest.max(begun.elapsed());
        spent += begun.elapsed();
        assert_eq!(first["pagination"]["total"], json!(expected.rows.len()), "{ask}");
        assert!(
            oracle::close(&first["facets"], &expected.facets),
            "{ask}\n{}\n{}",
            first["facets"],
            expected.facets
        );
        let (seen, _) = market::walk(&shards, &ask, 3);
        let wanted = expected.rows.iter().take(seen.len());
        let wanted: Vec<_> = wanted.map(|hit| hit.row.id.as_str()).collect();
        assert_eq!(market::ids(&seen), wanted, "{ask}");
        let whole = expected.rows.len().min(3 * ask["limit"].as_u64().unwrap() as usize);
        assert_eq!(seen.len(), whole);
    }
    println!(
        "{} searches over all shards: mean {:?}, slowest {slowest:?}",
        3 * SEARCHES,
        spent / 600
    );
    maps_and_suggestions(&shards, &rows, &mut seed);
}

fn maps_and_suggestions(shards: &[Shard], rows: &[Row], seed: &mut Seeded) {
    for number in 0..12 {
        let mut ask = question(seed, rows, number % 3);
        for name in ["limit", "facets", "sortBy", "near", "facetMode"] {
            ask.as_object_mut().unwrap().remove(name);
        }
        ask["resolution"] = json!(3 + number % 7);
        ask["limit"] = json!(10_000);
        let answer = serde_json::to_value(market::clusters(shards, &ask).unwrap()).unwrap();
        let expected = oracle::clusters(rows, &ask);
        assert_eq!(answer["cells"].as_array().unwrap().len(), expected.len());
        for cell in answer["cells"].as_array().unwrap() {
            let word = |name: &str| cell.get(name).map(|it| it.as_str().unwrap().to_owned());
            let (count, avg, median) =
                expected[&(word("h3").unwrap(), word("currency"), word("period"))];
            assert_eq!(cell["count"], count);
            assert!(oracle::close(
                &json!([avg, median]),
                &json!([cell["avgPrice"], cell["medianPrice"]])
            ));
        }
    }
    for prefix in ["mil", "Qué", "prenz", "m", "la", "vale"] {
        let answer = market::suggest(shards, prefix);
        let shown = answer["suggestions"].as_array().unwrap();
        let expected = oracle::suggest(rows, prefix);
        assert_eq!(shown.len(), expected.len().min(50));
        for (it, (text, kind, territory, count, _)) in shown.iter().zip(expected) {
            assert_eq!(
                *it,
                json!({"text": text, "kind": kind, "territory": territory, "center": it["center"], "count": count})
            );
        }
    }
}

/// How long the broadest questions take over one shard with everything: printed, not judged, since
/// the machine may be busy with other things.
#[test]
#[expect(clippy::disallowed_methods, reason = "measures")]
fn one_shard_with_everything_answers_the_broadest_questions() {
    let mut shard = Shard::new();
    for file in files() {
        let lines = BufReader::new(MultiGzDecoder::new(File::open(file).unwrap())).lines();
        shard.store(lines.map(|line| Listing::parse(line.unwrap().as_bytes()).unwrap()).collect());
    }
    if shard.state.counts().total == 0 {
        return;
    }
    let shards = [shard];
    let facets = json!([
        "propertyTypes",
        "bedrooms",
        "priceRanges",
        "priceStats",
        "neighborhoods",
        "energyRatings"
    ]);
    let world = json!({"type": "bbox", "topLeft": {"lat": 85, "lng": -180}, "bottomRight": {"lat": -85, "lng": 180}});
    let milano = json!({"type": "radius", "center": {"lat": 45.47, "lng": 9.19}, "radiusKm": 5});
    let asks = [
        ("all rents", json!({"listingType": "rent"})),
        ("all rents with facets", json!({"listingType": "rent", "facets": facets})),
        ("all rents by price", json!({"listingType": "rent", "sortBy": "price_asc"})),
        (
            "rents in a box",
            json!({"listingType": "rent", "geoFilter": world, "sortBy": "price_desc"}),
        ),
        (
            "5 km by distance with facets",
            json!({"listingType": "rent", "geoFilter": milano, "sortBy": "distance", "facets": facets}),
        ),
        ("words", json!({"listingType": "rent", "query": "apartment in the cent"})),
        ("one letter", json!({"listingType": "rent", "query": "a"})),
        (
            "filters",
            json!({"listingType": "sale", "priceMin": 100_000, "bedroomsMin": 2, "amenities": ["elevator"]}),
        ),
    ];
    let time = |name: &str, run: &dyn Fn()| {
        run();
        let begun = Instant::now();
        (0..10).for_each(|_| run());
        println!("{name}: {:?}", begun.elapsed() / 10);
    };
    for (name, ask) in asks {
        time(name, &|| assert!(market::search(&shards, &ask).pagination.total > 0));
    }
    for resolution in [5, 9] {
        let ask = json!({"listingType": "rent", "resolution": resolution, "limit": 10_000});
        let cells = market::clusters(&shards, &ask).map(|answer| answer.cells.len());
        let cells = cells.map_or_else(|_| "too many".to_owned(), |cells| cells.to_string());
        time(&format!("map of all rents, resolution {resolution}, {cells} cells"), &|| {
            drop(market::clusters(&shards, &ask));
        });
    }
    time("suggest", &|| drop(market::suggest(&shards, "m")));
}
