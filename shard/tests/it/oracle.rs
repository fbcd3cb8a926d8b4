//! What the interface promises of a search, as a scan of the JSON documents. Shares nothing with
//! the engine.

mod area;
mod facets;
mod map;
mod title;
mod typo;

use std::{cmp::Ordering, collections::BTreeSet};

use serde_json::Value;

use self::{
    area::{in_area, km, point},
    typo::nearness,
};
pub(crate) use self::{
    map::{clusters, suggest},
    title::{preferred, title},
};

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
            let weights = [3, 2, 1].into_iter().zip(&self.words);
            let worth = weights.flat_map(|(weight, words)| {
                words.iter().map(move |word| weight * nearness(wanted, word, at == last))
            });
            score += worth.max().filter(|worth| *worth > 0)?;
        }
        Some(score)
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
    let list = |name: &str| ask.get(name).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let (ids, amenities, territories) = (list("ids"), list("amenities"), list("territories"));
    row.active
        && (ids.is_empty() || ids.iter().any(|it| *it == row.id))
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

/// One listing of an answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hit<'a> {
    pub(crate) row: &'a Row,
    pub(crate) distance: Option<f64>,
    pub(crate) score: Option<u32>,
    /// What it is ordered by: less comes first, none last.
    key: Option<f64>,
}

impl Hit<'_> {
    /// Where it stands in the order of its search.
    pub(crate) fn place(&self) -> Place {
        Place { key: self.key, id: self.row.id.clone() }
    }

    fn order(&self, other: &Self) -> Ordering {
        compare((self.key, &self.row.id), (other.key, &other.row.id))
    }
}

/// By key, those without one last; then by id.
fn compare(a: (Option<f64>, &str), b: (Option<f64>, &str)) -> Ordering {
    let keys = match (a.0, b.0) {
        (Some(a), Some(b)) => a.partial_cmp(&b).unwrap(),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    };
    keys.then_with(|| a.1.as_bytes().cmp(b.1.as_bytes()))
}

/// A place in the order of a search.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Place {
    key: Option<f64>,
    id: String,
}

impl PartialOrd for Place {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(compare((self.key, &self.id), (other.key, &other.id)))
    }
}

/// What a search must find.
pub(crate) struct Found<'a> {
    /// All matching listings in order.
    pub(crate) rows: Vec<Hit<'a>>,
    pub(crate) facets: Value,
}

pub(crate) fn search<'a>(rows: &'a [Row], ask: &Value) -> Found<'a> {
    let center = ask
        .get("geoFilter")
        .filter(|area| area["type"] == "radius")
        .map(|area| point(&area["center"]));
    let from = ask.get("near").map(point).or(center);
    let query = text(ask, "query").map(|query| words(&query)).filter(|words| !words.is_empty());
    let sort = text(ask, "sortBy").unwrap_or_else(|| "relevance".to_owned());
    let hit = |row: &'a Row| {
        let distance = from.and_then(|from| Some(km(from, row.place?)));
        let score = query.as_ref().map(|query| row.score(query).unwrap());
        let (key, score) = match sort.as_str() {
            "price_asc" => (row.amount, None),
            "price_desc" => (row.amount.map(|amount| -amount), None),
            "newest" => (row.published.map(|at| -at as f64), None),
            "distance" => (distance, None),
            _ => (score.map(|score| -f64::from(score)), score),
        };
        Hit { row, distance, score, key }
    };
    let mut found: Vec<Hit<'a>> = rows.iter().filter(|row| matches(row, ask)).map(hit).collect();
    found.sort_by(Hit::order);
    let of_facets: Vec<&Row> = found.iter().map(|hit| hit.row).collect();
    Found { facets: facets::facets(rows, &of_facets, ask), rows: found }
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
