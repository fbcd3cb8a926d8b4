//! What a search must answer: a scan over all listings, written from the API's text alone.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

/// Lower bounds of the price ranges but the first, with the names.
const RANGES: [(f64, &str); 5] = [
    (0.0, "under_100k"),
    (100_000.0, "100k_200k"),
    (200_000.0, "200k_350k"),
    (350_000.0, "350k_500k"),
    (500_000.0, "over_500k"),
];

/// All listings of a mesh.
#[derive(Debug)]
pub(crate) struct Oracle {
    /// By id, bytewise.
    listings: BTreeMap<String, Value>,
}

impl Oracle {
    pub(crate) fn new(listings: Vec<Value>) -> Self {
        let count = listings.len();
        let listings: BTreeMap<String, Value> =
            listings.into_iter().map(|one| (text(&one, "id").unwrap().to_owned(), one)).collect();
        assert_eq!(listings.len(), count, "ids are unique");
        Self { listings }
    }

    pub(crate) fn listings(&self) -> impl ExactSizeIterator<Item = &Value> {
        self.listings.values()
    }

    pub(crate) fn active(&self) -> usize {
        self.listings().filter(|one| one["status"] == "active").count()
    }

    /// All that match, in order.
    pub(crate) fn search(&self, search: &Value) -> Vec<&Value> {
        let mut found: Vec<&Value> =
            self.listings().filter(|listing| matches(listing, search)).collect();
        // Stable: ties stay in the order of ids.
        match search["sortBy"].as_str().unwrap_or("relevance") {
            "relevance" => {}
            "price_asc" => found.sort_by(|a, b| last(amount(a), amount(b), f64::total_cmp)),
            "price_desc" => found.sort_by(|a, b| last(amount(a), amount(b), |a, b| b.total_cmp(a))),
            "newest" => found.sort_by(|a, b| last(published(a), published(b), |a, b| b.cmp(a))),
            "distance" => {
                let distance = |listing| distance(listing, search);
                found.sort_by(|a, b| last(distance(a), distance(b), f64::total_cmp));
            }
            other => panic!("no such order: {other}"),
        }
        found
    }

    /// The facets of all that match.
    pub(crate) fn facets(&self, found: &[&Value], search: &Value) -> Map<String, Value> {
        let mut facets = Map::new();
        let mut missing = Map::new();
        for name in search["facets"].as_array().into_iter().flatten() {
            let name = name.as_str().unwrap();
            let (facet, lacking) = match name {
                "propertyTypes" => buckets(found, "propertyType", usize::MAX),
                "bedrooms" => buckets(found, "bedrooms", usize::MAX),
                "neighborhoods" => buckets(found, "neighborhood", 30),
                "energyRatings" => buckets(found, "energyRating", usize::MAX),
                "priceStats" => price_stats(found),
                "priceRanges" => price_ranges(found),
                other => panic!("no such facet: {other}"),
            };
            facets.insert(name.to_owned(), facet);
            missing.insert(name.to_owned(), lacking.into());
        }
        facets.insert("missing".to_owned(), Value::Object(missing));
        facets
    }
}

/// Rows without a key come last.
fn last<T>(a: Option<T>, b: Option<T>, order: impl Fn(&T, &T) -> Ordering) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) => order(&a, &b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

fn text<'a>(listing: &'a Value, name: &str) -> Option<&'a str> {
    listing[name].as_str()
}

fn amount(listing: &Value) -> Option<f64> {
    listing["price"]["amount"].as_f64()
}

fn published(listing: &Value) -> Option<jiff::Timestamp> {
    text(listing, "publishedAt").map(|at| at.parse().unwrap())
}

fn place(listing: &Value) -> Option<(f64, f64)> {
    let location = &listing["location"];
    Some((location["lat"].as_f64()?, location["lng"].as_f64()?))
}

fn point(value: &Value) -> (f64, f64) {
    (value["lat"].as_f64().unwrap(), value["lng"].as_f64().unwrap())
}

/// Kilometres from the centre of the search's radius.
pub(crate) fn distance(listing: &Value, search: &Value) -> Option<f64> {
    let filter = &search["geoFilter"];
    if filter["type"] != "radius" {
        return None;
    }
    Some(great_circle_km(point(&filter["center"]), place(listing)?))
}

/// Haversine on a sphere.
fn great_circle_km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let half = |from: f64, to: f64| ((to - from).to_radians() / 2.0).sin();
    let (lat, lng) = (half(a.0, b.0), half(a.1, b.1));
    let chord = lat * lat + a.0.to_radians().cos() * b.0.to_radians().cos() * lng * lng;
    2.0 * 6371.0088 * chord.sqrt().min(1.0).asin()
}

fn matches(listing: &Value, search: &Value) -> bool {
    let any_of = |field: &str, filter: &str| match search[filter].as_array() {
        Some(wanted) => wanted.contains(&listing[field]),
        None => true,
    };
    let at_least = |value: Option<f64>, filter: &str| match search[filter].as_f64() {
        Some(bound) => value.is_some_and(|value| value >= bound),
        None => true,
    };
    let at_most = |value: Option<f64>, filter: &str| match search[filter].as_f64() {
        Some(bound) => value.is_some_and(|value| value <= bound),
        None => true,
    };
    let same = |value: &Value, filter: &str| search[filter].is_null() || search[filter] == *value;
    let number = |field: &str| listing[field].as_f64();
    listing["status"] == "active"
        && listing["listingType"] == search["listingType"]
        && any_of("propertyType", "propertyTypes")
        && any_of("energyRating", "energyRatings")
        && any_of("neighborhood", "neighborhoods")
        && same(&listing["price"]["currency"], "currency")
        && same(&listing["price"]["period"], "period")
        && at_least(amount(listing), "priceMin")
        && at_most(amount(listing), "priceMax")
        && at_least(number("sqMeters"), "sqMetersMin")
        && at_most(number("sqMeters"), "sqMetersMax")
        && at_least(number("bedrooms"), "bedroomsMin")
        && at_least(number("bathrooms"), "bathroomsMin")
        && has_amenities(listing, search)
        && search["publishedAfter"].as_str().is_none_or(|after| {
            published(listing).is_some_and(|at| at >= after.parse::<jiff::Timestamp>().unwrap())
        })
        && in_territories(listing, search)
        && in_geometry(listing, &search["geoFilter"])
}

fn has_amenities(listing: &Value, search: &Value) -> bool {
    let has: BTreeSet<&str> =
        listing["amenities"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut wanted = search["amenities"].as_array().into_iter().flatten();
    wanted.all(|one| has.contains(one.as_str().unwrap()))
}

fn in_territories(listing: &Value, search: &Value) -> bool {
    let Some(territories) = search["territories"].as_array() else { return true };
    let (country, region) = (text(listing, "country").unwrap(), text(listing, "region").unwrap());
    territories.iter().any(|territory| {
        let territory = territory.as_str().unwrap();
        territory == country || territory == format!("{country}:{region}")
    })
}

fn in_geometry(listing: &Value, filter: &Value) -> bool {
    let Some(kind) = filter["type"].as_str() else { return true };
    let Some((lat, lng)) = place(listing) else { return false };
    match kind {
        "radius" => {
            great_circle_km(point(&filter["center"]), (lat, lng))
                <= filter["radiusKm"].as_f64().unwrap()
        }
        "bbox" => {
            let (north, west) = point(&filter["topLeft"]);
            let (south, east) = point(&filter["bottomRight"]);
            let between =
                if west <= east { west <= lng && lng <= east } else { west <= lng || lng <= east };
            south <= lat && lat <= north && between
        }
        "polygon" => {
            let points: Vec<(f64, f64)> =
                filter["points"].as_array().unwrap().iter().map(point).collect();
            let mut inside = false;
            for (index, a) in points.iter().enumerate() {
                let b = points[(index + 1) % points.len()];
                // A ray towards the east: how often does it cross the ring?
                if (a.0 > lat) != (b.0 > lat) && lng < (b.1 - a.1) * (lat - a.0) / (b.0 - a.0) + a.1
                {
                    inside = !inside;
                }
            }
            inside
        }
        other => panic!("no such geometry: {other}"),
    }
}

/// Counts per value, highest first, then by value; and how many have none.
fn buckets(found: &[&Value], field: &str, most: usize) -> (Value, u64) {
    let mut counts: Vec<(&Value, u64)> = Vec::new();
    let mut missing = 0;
    for listing in found {
        let value = &listing[field];
        if value.is_null() {
            missing += 1;
            continue;
        }
        match counts.iter_mut().find(|(key, _count)| same_key(key, value)) {
            Some((_key, count)) => *count += 1,
            None => counts.push((value, 1)),
        }
    }
    counts.sort_by(|(a, a_count), (b, b_count)| {
        let keys = match (a.as_f64(), b.as_f64()) {
            (Some(a), Some(b)) => a.total_cmp(&b),
            _ => a.as_str().cmp(&b.as_str()),
        };
        b_count.cmp(a_count).then(keys)
    });
    counts.truncate(most);
    (counts.into_iter().map(|(key, count)| json!({"key": key, "count": count})).collect(), missing)
}

/// 2 and 2.0 are one key.
fn same_key(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

/// Currency and period.
type PriceGroup<'a> = (&'a str, Option<&'a str>);

/// Amounts that may be compared with each other, and how many listings have none.
fn groups<'a>(found: &[&'a Value]) -> (BTreeMap<PriceGroup<'a>, Vec<f64>>, u64) {
    let mut groups: BTreeMap<_, Vec<f64>> = BTreeMap::new();
    let mut missing = 0;
    for listing in found {
        let price = &listing["price"];
        match amount(listing) {
            Some(amount) => {
                let key = (price["currency"].as_str().unwrap(), price["period"].as_str());
                groups.entry(key).or_default().push(amount);
            }
            None => missing += 1,
        }
    }
    (groups, missing)
}

/// By currency and period.
fn price_stats(found: &[&Value]) -> (Value, u64) {
    let (groups, missing) = groups(found);
    let stats = groups.into_iter().map(|((currency, period), amounts)| {
        let mut stats = json!({
            "currency": currency,
            "min": amounts.iter().copied().reduce(f64::min),
            "max": amounts.iter().copied().reduce(f64::max),
            "avg": amounts.iter().sum::<f64>() / amounts.len() as f64,
            "count": amounts.len(),
        });
        if let Some(period) = period {
            stats["period"] = period.into();
        }
        stats
    });
    (stats.collect(), missing)
}

/// By currency, period and amount; ranges that hold something.
fn price_ranges(found: &[&Value]) -> (Value, u64) {
    let (groups, missing) = groups(found);
    let mut ranges = Vec::new();
    for ((currency, period), amounts) in groups {
        for (index, (from, key)) in RANGES.iter().enumerate() {
            let to = RANGES.get(index + 1).map(|(to, _key)| *to);
            let within = |amount: &&f64| **amount >= *from && to.is_none_or(|to| **amount < to);
            let count = amounts.iter().filter(within).count();
            if count == 0 {
                continue;
            }
            let mut range = json!({"currency": currency, "key": key, "count": count});
            if let Some(period) = period {
                range["period"] = period.into();
            }
            ranges.push(range);
        }
    }
    (ranges.into(), missing)
}
