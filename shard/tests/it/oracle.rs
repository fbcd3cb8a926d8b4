//! What the interface promises of a search, as a scan of the JSON documents. Shares nothing with
//! the engine.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

/// A listing as the oracle reads it.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) json: Value,
    active: bool,
    listing_type: String,
    property_type: Option<String>,
    amount: Option<f64>,
    currency: Option<String>,
    period: Option<String>,
    pub(crate) place: Option<(f64, f64)>,
    sq_meters: Option<f64>,
    bedrooms: Option<f64>,
    bathrooms: Option<f64>,
    amenities: BTreeSet<String>,
    energy: Option<String>,
    neighborhood: Option<String>,
    city: Option<String>,
    country: String,
    region: String,
    published: Option<i64>,
    /// Words of title, places and description.
    words: [BTreeSet<String>; 3],
}

fn text(json: &Value, name: &str) -> Option<String> {
    json.get(name).and_then(Value::as_str).map(str::to_owned)
}

fn number(json: &Value, name: &str) -> Option<f64> {
    json.get(name).and_then(Value::as_f64)
}

/// The tests write times as `2026-01-DDTHH:00:00Z` only.
fn hours(time: &str) -> i64 {
    time[8..10].parse::<i64>().unwrap() * 24 + time[11..13].parse::<i64>().unwrap()
}

fn plain(letter: char) -> String {
    const WITH: &str = "àáâãäåāăąçćčďđèéêëēěęğìíîïĩıłľñńňòóôõöøőřśšșşťțţùúûüůűųýÿźżž";
    const WITHOUT: &str = "aaaaaaaaacccddeeeeeeegiiiiiillnnnooooooorsssstttuuuuuuuyyzzz";
    match letter {
        'ß' => "ss".to_owned(),
        'æ' => "ae".to_owned(),
        'œ' => "oe".to_owned(),
        _ => {
            let at = WITH.chars().position(|with| with == letter);
            at.map_or(letter, |at| WITHOUT.chars().nth(at).unwrap()).to_string()
        }
    }
}

pub(crate) fn words(text: &str) -> Vec<String> {
    let folded: String = text
        .to_lowercase()
        .chars()
        .filter(|letter| !('\u{300}'..='\u{36f}').contains(letter))
        .map(|letter| if letter.is_ascii() { letter.to_string() } else { plain(letter) })
        .collect();
    folded
        .split(|letter: char| !letter.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(|word| word.chars().take(40).collect())
        .collect()
}

fn language_words(json: &Value, name: &str) -> BTreeSet<String> {
    match json.get(name) {
        Some(Value::String(text)) => words(text).into_iter().collect(),
        Some(Value::Object(texts)) => {
            texts.values().filter_map(Value::as_str).flat_map(words).collect()
        }
        _ => BTreeSet::new(),
    }
}

impl Row {
    pub(crate) fn new(json: Value) -> Self {
        let price = json.get("price").cloned().unwrap_or_default();
        let location = json.get("location").cloned().unwrap_or_default();
        let list = |name: &str| -> BTreeSet<String> {
            let items = json.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
            items.iter().map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        let (city, neighborhood) = (text(&json, "city"), text(&json, "neighborhood"));
        let places = city.iter().chain(&neighborhood).flat_map(|text| words(text)).collect();
        Self {
            id: text(&json, "id").unwrap(),
            active: text(&json, "status").unwrap() == "active",
            listing_type: text(&json, "listingType").unwrap(),
            property_type: text(&json, "propertyType"),
            amount: number(&price, "amount"),
            currency: text(&price, "currency"),
            period: text(&price, "period"),
            place: number(&location, "lat").zip(number(&location, "lng")),
            sq_meters: number(&json, "sqMeters"),
            bedrooms: number(&json, "bedrooms"),
            bathrooms: number(&json, "bathrooms"),
            amenities: list("amenities"),
            energy: text(&json, "energyRating"),
            country: text(&json, "country").unwrap(),
            region: text(&json, "region").unwrap(),
            published: text(&json, "publishedAt").map(|time| hours(&time)),
            words: [language_words(&json, "title"), places, language_words(&json, "description")],
            city,
            neighborhood,
            json,
        }
    }

    fn score(&self, query: &[String]) -> Option<u32> {
        let last = query.len().checked_sub(1)?;
        let mut score = 0;
        for (at, wanted) in query.iter().enumerate() {
            let has = |words: &BTreeSet<String>| {
                words.iter().any(|word| word == wanted || (at == last && word.starts_with(wanted)))
            };
            let weights = [3, 2, 1].into_iter().zip(&self.words);
            score += weights.filter(|(_, words)| has(words)).map(|(weight, _)| weight).max()?;
        }
        Some(score)
    }
}

fn km(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (f1, f2) = (a.0.to_radians(), b.0.to_radians());
    let (df, dl) = ((b.0 - a.0).to_radians(), (b.1 - a.1).to_radians());
    let h = (df / 2.0).sin().powi(2) + f1.cos() * f2.cos() * (dl / 2.0).sin().powi(2);
    2.0 * 6371.0088 * h.sqrt().min(1.0).asin()
}

fn point(json: &Value) -> (f64, f64) {
    (json["lat"].as_f64().unwrap(), json["lng"].as_f64().unwrap())
}

fn in_area(area: &Value, (lat, lng): (f64, f64)) -> bool {
    match area["type"].as_str().unwrap() {
        "radius" => km(point(&area["center"]), (lat, lng)) <= area["radiusKm"].as_f64().unwrap(),
        "bbox" => {
            let (top, left) = point(&area["topLeft"]);
            let (bottom, right) = point(&area["bottomRight"]);
            let crosses = left > right;
            let between =
                if crosses { lng >= left || lng <= right } else { lng >= left && lng <= right };
            lat <= top && lat >= bottom && between
        }
        _ => {
            // The winding of the corners around the place, borders counted in.
            let corners: Vec<_> = area["points"].as_array().unwrap().iter().map(point).collect();
            let mut winding = 0;
            for (at, a) in corners.iter().enumerate() {
                let b = corners[(at + 1) % corners.len()];
                let side = (b.1 - a.1) * (lat - a.0) - (b.0 - a.0) * (lng - a.1);
                let (low, high) = (a.0.min(b.0), a.0.max(b.0));
                let (west, east) = (a.1.min(b.1), a.1.max(b.1));
                if side == 0.0 && lat >= low && lat <= high && lng >= west && lng <= east {
                    return true;
                }
                if a.0 <= lat && b.0 > lat && side > 0.0 {
                    winding += 1;
                }
                if a.0 > lat && b.0 <= lat && side < 0.0 {
                    winding -= 1;
                }
            }
            winding != 0
        }
    }
}

pub(crate) fn matches(row: &Row, ask: &Value) -> bool {
    let listed = |name: &str, value: &Option<String>| {
        ask.get(name).and_then(Value::as_array).is_none_or(|wanted| {
            wanted.is_empty()
                || value.as_ref().is_some_and(|value| wanted.iter().any(|it| it == value))
        })
    };
    let least = |name: &str, value: Option<f64>| {
        number(ask, name).is_none_or(|least| value.is_some_and(|value| value >= least))
    };
    let most = |name: &str, value: Option<f64>| {
        number(ask, name).is_none_or(|most| value.is_some_and(|value| value <= most))
    };
    let same = |name: &str, value: &Option<String>| {
        text(ask, name).is_none_or(|wanted| value.as_ref() == Some(&wanted))
    };
    let amenities = ask.get("amenities").and_then(Value::as_array).cloned().unwrap_or_default();
    let territories = ask.get("territories").and_then(Value::as_array).cloned().unwrap_or_default();
    row.active
        && row.listing_type == ask["listingType"].as_str().unwrap()
        && listed("propertyTypes", &row.property_type)
        && listed("energyRatings", &row.energy)
        && listed("neighborhoods", &row.neighborhood)
        && same("currency", &row.currency)
        && same("period", &row.period)
        && least("priceMin", row.amount)
        && most("priceMax", row.amount)
        && least("sqMetersMin", row.sq_meters)
        && most("sqMetersMax", row.sq_meters)
        && least("bedroomsMin", row.bedrooms)
        && least("bathroomsMin", row.bathrooms)
        && amenities.iter().all(|it| row.amenities.contains(it.as_str().unwrap()))
        && text(ask, "publishedAfter")
            .is_none_or(|time| row.published.is_some_and(|at| at >= hours(&time)))
        && (territories.is_empty()
            || territories
                .iter()
                .any(|it| *it == row.country || *it == format!("{}:{}", row.country, row.region)))
        && ask
            .get("geoFilter")
            .is_none_or(|area| row.place.is_some_and(|place| in_area(area, place)))
        && text(ask, "query")
            .is_none_or(|query| query.trim().is_empty() || row.score(&words(&query)).is_some())
}

/// What a search must find.
pub(crate) struct Found<'a> {
    /// All matching listings in order, with their distance.
    pub(crate) rows: Vec<(&'a Row, Option<f64>)>,
    pub(crate) facets: Value,
}

pub(crate) fn search<'a>(rows: &'a [Row], ask: &Value) -> Found<'a> {
    let center = ask
        .get("geoFilter")
        .filter(|area| area["type"] == "radius")
        .map(|area| point(&area["center"]));
    let query = text(ask, "query").map(|query| words(&query)).filter(|words| !words.is_empty());
    let mut found: Vec<(&Row, Option<f64>)> = rows
        .iter()
        .filter(|row| matches(row, ask))
        .map(|row| (row, center.map(|center| km(center, row.place.unwrap()))))
        .collect();
    let sort = text(ask, "sortBy").unwrap_or_else(|| "relevance".to_owned());
    let key = |(row, distance): &(&Row, Option<f64>)| -> Option<f64> {
        match sort.as_str() {
            "price_asc" => row.amount,
            "price_desc" => row.amount.map(|amount| -amount),
            "newest" => row.published.map(|at| -at as f64),
            "distance" => *distance,
            _ => query.as_ref().map(|query| -f64::from(row.score(query).unwrap())),
        }
    };
    found.sort_by(|a, b| {
        let keys = match (key(a), key(b)) {
            (Some(a), Some(b)) => a.partial_cmp(&b).unwrap(),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        };
        keys.then_with(|| a.0.id.as_bytes().cmp(b.0.id.as_bytes()))
    });
    let facets = facets(&found, ask);
    Found { rows: found, facets }
}

fn facets(found: &[(&Row, Option<f64>)], ask: &Value) -> Value {
    let names: BTreeSet<&str> = ask
        .get("facets")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let (mut out, mut missing) = (Map::new(), Map::new());
    let values = |of: &dyn Fn(&Row) -> Option<String>, most: usize| {
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        let mut lacking = 0;
        for (row, _) in found {
            match of(row) {
                Some(value) => *counts.entry(value).or_default() += 1,
                None => lacking += 1,
            }
        }
        let mut buckets: Vec<_> = counts.into_iter().collect();
        buckets.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        buckets.truncate(most);
        let buckets =
            buckets.into_iter().map(|(key, count)| json!({"key": key, "count": count})).collect();
        (Value::Array(buckets), lacking)
    };
    for name in names {
        let (buckets, lacking): (Value, u64) = match name {
            "propertyTypes" => values(&|row| row.property_type.clone(), usize::MAX),
            "neighborhoods" => values(&|row| row.neighborhood.clone(), 30),
            "energyRatings" => values(&|row| row.energy.clone(), usize::MAX),
            "bedrooms" => bedrooms(found),
            _ => (prices(found, name), count_lacking(found)),
        };
        out.insert(name.to_owned(), buckets);
        missing.insert(name.to_owned(), json!(lacking));
    }
    if !missing.is_empty() {
        out.insert("missing".to_owned(), Value::Object(missing));
    }
    Value::Object(out)
}

fn count_lacking(found: &[(&Row, Option<f64>)]) -> u64 {
    found.iter().filter(|(row, _)| row.amount.is_none()).count() as u64
}

fn bedrooms(found: &[(&Row, Option<f64>)]) -> (Value, u64) {
    let mut counts: Vec<(f64, u64)> = Vec::new();
    let mut lacking = 0;
    for (row, _) in found {
        let Some(number) = row.bedrooms else {
            lacking += 1;
            continue;
        };
        match counts.iter_mut().find(|(known, _)| *known == number) {
            Some((_, count)) => *count += 1,
            None => counts.push((number, 1)),
        }
    }
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.partial_cmp(&b.0).unwrap()));
    let buckets =
        counts.into_iter().map(|(key, count)| json!({"key": key, "count": count})).collect();
    (Value::Array(buckets), lacking)
}

type Group = (String, Option<String>);

fn groups(found: &[(&Row, Option<f64>)]) -> BTreeMap<Group, Vec<f64>> {
    let mut groups: BTreeMap<Group, Vec<f64>> = BTreeMap::new();
    for (row, _) in found {
        if let Some(amount) = row.amount {
            let group = (row.currency.clone().unwrap(), row.period.clone());
            groups.entry(group).or_default().push(amount);
        }
    }
    groups
}

fn prices(found: &[(&Row, Option<f64>)], name: &str) -> Value {
    let mut entries: Vec<(u64, String, Group, Value)> = Vec::new();
    for (group, amounts) in groups(found) {
        let mut entry = Map::new();
        entry.insert("currency".to_owned(), json!(group.0));
        if let Some(period) = &group.1 {
            entry.insert("period".to_owned(), json!(period));
        }
        if name == "priceStats" {
            let count = amounts.len() as u64;
            let (min, max) = amounts
                .iter()
                .fold((f64::MAX, f64::MIN), |(min, max), it| (min.min(*it), max.max(*it)));
            let avg = amounts.iter().sum::<f64>() / count as f64;
            entry.extend(
                json!({"min": min, "max": max, "avg": avg, "count": count})
                    .as_object()
                    .unwrap()
                    .clone(),
            );
            entries.push((count, String::new(), group, Value::Object(entry)));
            continue;
        }
        let ranges = [
            ("under_100k", None, Some(100_000.0)),
            ("100k_200k", Some(100_000.0), Some(200_000.0)),
            ("200k_350k", Some(200_000.0), Some(350_000.0)),
            ("350k_500k", Some(350_000.0), Some(500_000.0)),
            ("over_500k", Some(500_000.0), None),
        ];
        for (key, from, to) in ranges {
            let inside = |it: &&f64| from.is_none_or(|f| **it >= f) && to.is_none_or(|t| **it < t);
            let count = amounts.iter().filter(inside).count() as u64;
            if count == 0 {
                continue;
            }
            let mut entry = entry.clone();
            entry.insert("key".to_owned(), json!(key));
            entry.extend(from.map(|from| ("from".to_owned(), json!(from))));
            entry.extend(to.map(|to| ("to".to_owned(), json!(to))));
            entry.insert("count".to_owned(), json!(count));
            entries.push((count, key.to_owned(), group.clone(), Value::Object(entry)));
        }
    }
    entries.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| (&a.1, &a.2).cmp(&(&b.1, &b.2))));
    Value::Array(entries.into_iter().map(|(.., entry)| entry).collect())
}

/// Cells as (h3, currency, period) -> (count, average, median).
pub(crate) type Cells =
    BTreeMap<(String, Option<String>, Option<String>), (u64, Option<f64>, Option<f64>)>;

pub(crate) fn clusters(rows: &[Row], ask: &Value) -> Cells {
    let resolution = h3o::Resolution::try_from(ask["resolution"].as_u64().unwrap() as u8).unwrap();
    let mut members: BTreeMap<_, (u64, Vec<f64>)> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches(row, ask)) {
        if let Some((lat, lng)) = row.place {
            let cell = h3o::LatLng::new(lat, lng).unwrap().to_cell(h3o::Resolution::Nine);
            let cell = cell.parent(resolution).unwrap().to_string();
            let entry: &mut (u64, Vec<f64>) =
                members.entry((cell, row.currency.clone(), row.period.clone())).or_default();
            entry.0 += 1;
            entry.1.extend(row.amount);
        }
    }
    let least = ask.get("minCount").and_then(Value::as_u64).unwrap_or(1);
    members
        .into_iter()
        .filter(|(_, (count, _))| *count >= least)
        .map(|(key, (count, mut amounts))| {
            amounts.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let half = amounts.len() / 2;
            let median = match amounts.len() {
                0 => None,
                odd if odd % 2 == 1 => Some(amounts[half]),
                _ => Some((amounts[half - 1] + amounts[half]) / 2.0),
            };
            let avg = median.map(|_| amounts.iter().sum::<f64>() / amounts.len() as f64);
            (key, (count, avg, median))
        })
        .collect()
}

/// (text, kind, territory, count, centre), most first, then by text.
pub(crate) type Suggested = (String, String, String, u64, Option<(f64, f64)>);

/// How many, and where those with coordinates are.
type Members = (u64, Vec<(f64, f64)>);

pub(crate) fn suggest(rows: &[Row], prefix: &str) -> Vec<Suggested> {
    let wanted = words(prefix).join(" ");
    let mut places: BTreeMap<(String, String, String), Members> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.active) {
        let territory = format!("{}:{}", row.country, row.region);
        let named = [
            ("city", row.city.clone()),
            ("neighborhood", row.neighborhood.clone()),
            ("region", Some(row.region.clone())),
        ];
        for (kind, name) in named {
            let Some(name) = name.filter(|name| words(name).join(" ").starts_with(&wanted)) else {
                continue;
            };
            let place = places.entry((name, kind.to_owned(), territory.clone())).or_default();
            place.0 += 1;
            place.1.extend(row.place);
        }
    }
    let mut places: Vec<_> = places
        .into_iter()
        .map(|((text, kind, territory), (count, points))| {
            let mean = |of: fn(&(f64, f64)) -> f64| {
                points.iter().map(of).sum::<f64>() / points.len() as f64
            };
            let center = (!points.is_empty()).then(|| (mean(|it| it.0), mean(|it| it.1)));
            (text, kind, territory, count, center)
        })
        .collect();
    places.sort_by_key(|place| std::cmp::Reverse(place.3));
    places
}

/// Whether two JSON values are equal but for rounding of numbers.
pub(crate) fn close(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            (a - b).abs() <= 1e-9 * a.abs().max(b.abs()).max(1.0) + 1e-6
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| close(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| close(a, b)))
        }
        _ => a == b,
    }
}
