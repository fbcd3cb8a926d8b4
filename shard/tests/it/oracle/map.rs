//! Cells and suggested places.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Row, area::in_box, matches, words};

/// Cells as (h3, currency, period) -> (count, average, median).
pub(crate) type Cells =
    BTreeMap<(String, Option<String>, Option<String>), (u64, Option<f64>, Option<f64>)>;

pub(crate) fn clusters(rows: &[Row], ask: &Value) -> Cells {
    let resolution = h3o::Resolution::try_from(ask["resolution"].as_u64().unwrap() as u8).unwrap();
    let mut members: BTreeMap<_, (u64, Vec<f64>)> = BTreeMap::new();
    for row in rows.iter().filter(|row| matches(row, ask)) {
        let seen = |place: &(f64, f64)| ask.get("bounds").is_none_or(|box_| in_box(box_, *place));
        if let Some((lat, lng)) = row.place.filter(seen) {
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
