//! Facets, each counted by a scan of its own.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use serde_json::{Map, Value, json};

use super::{Row, matches};

/// The facets asked for, each over the listings that it counts.
pub(super) fn facets(rows: &[Row], found: &[&Row], ask: &Value) -> Value {
    let names: BTreeSet<&str> = ask
        .get("facets")
        .and_then(Value::as_array)
        .map(|names| names.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let (mut out, mut missing) = (Map::new(), Map::new());
    for name in names {
        let of_facet = counted(ask, name);
        let found: Cow<'_, [&Row]> = if of_facet == *ask {
            Cow::Borrowed(found)
        } else {
            rows.iter().filter(|row| matches(row, &of_facet)).collect()
        };
        let (buckets, lacking): (Value, u64) = match name {
            "propertyTypes" => values(&found, |row| row.property_type.clone(), usize::MAX),
            "neighborhoods" => values(&found, |row| row.neighborhood.clone(), 30),
            "energyRatings" => values(&found, |row| row.energy.clone(), usize::MAX),
            "bedrooms" => bedrooms(&found),
            _ => (prices(&found, name), count_lacking(&found)),
        };
        out.insert(name.to_owned(), buckets);
        missing.insert(name.to_owned(), json!(lacking));
    }
    if !missing.is_empty() {
        out.insert("missing".to_owned(), Value::Object(missing));
    }
    Value::Object(out)
}

/// The question whose matches a facet counts.
fn counted(ask: &Value, facet: &str) -> Value {
    let mut ask = ask.clone();
    let own: &[&str] = match (ask["facetMode"].as_str(), facet) {
        (None | Some("all"), _) => &[],
        (_, "bedrooms") => &["bedroomsMin"],
        (_, "priceRanges" | "priceStats") => &["priceMin", "priceMax"],
        (_, "propertyTypes") => &["propertyTypes"],
        (_, "neighborhoods") => &["neighborhoods"],
        (_, "energyRatings") => &["energyRatings"],
        other => panic!("{other:?}"),
    };
    for name in own {
        ask.as_object_mut().unwrap().remove(*name);
    }
    ask
}

fn values(found: &[&Row], of: impl Fn(&Row) -> Option<String>, most: usize) -> (Value, u64) {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut lacking = 0;
    for row in found {
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
}

fn count_lacking(found: &[&Row]) -> u64 {
    found.iter().filter(|row| row.amount.is_none()).count() as u64
}

fn bedrooms(found: &[&Row]) -> (Value, u64) {
    let mut counts: Vec<(f64, u64)> = Vec::new();
    let mut lacking = 0;
    for row in found {
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

fn groups(found: &[&Row]) -> BTreeMap<Group, Vec<f64>> {
    let mut groups: BTreeMap<Group, Vec<f64>> = BTreeMap::new();
    for row in found {
        if let Some(amount) = row.amount {
            let group = (row.currency.clone().unwrap(), row.period.clone());
            groups.entry(group).or_default().push(amount);
        }
    }
    groups
}

fn prices(found: &[&Row], name: &str) -> Value {
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
