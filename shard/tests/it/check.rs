//! Answers of the engine, compared with a scan; a difference panics and says what was asked.

use hexpop_shard::ProblemPlace;
use serde_json::{Value, json};

use crate::{market, oracle, world::World};

/// The resolution that the refusal of a map view must suggest.
fn coarser(rows: &[oracle::Row], ask: &Value, limit: usize) -> Option<u64> {
    let fits = |resolution: &u64| {
        let mut ask = ask.clone();
        ask["resolution"] = json!(resolution);
        oracle::clusters(rows, &ask).len() <= limit
    };
    (3..ask["resolution"].as_u64().unwrap()).rev().find(fits)
}

/// Walks through a search and compares every page, the total and the facets with a scan.
pub(crate) fn search(world: &World, rows: &[oracle::Row], ask: &Value) {
    let expected = oracle::search(rows, ask);
    let (seen, first) = market::walk(&world.shards, ask, usize::MAX);
    let wanted: Vec<_> = expected.rows.iter().map(|hit| hit.row.id.as_str()).collect();
    assert_eq!(market::ids(&seen), wanted, "{}", ask);
    assert_eq!(&first["pagination"]["total"], &json!(expected.rows.len()));
    assert!(
        oracle::close(&first["facets"], &expected.facets),
        "{}\n{}\n{}",
        ask,
        first["facets"],
        expected.facets
    );
    for (hit, wanted) in seen.iter().zip(&expected.rows) {
        let distance = hit.get("distanceKm").and_then(Value::as_f64);
        assert_eq!(distance.is_some(), wanted.distance.is_some(), "{}", ask);
        assert!((distance.unwrap_or(0.0) - wanted.distance.unwrap_or(0.0)).abs() < 1e-6);
        assert_eq!(hit.get("score").cloned(), wanted.score.map(|score| json!(score)));
    }
}

/// Compares a map view, or its refusal, with a scan.
pub(crate) fn map(world: &World, rows: &[oracle::Row], ask: &Value) {
    let expected = oracle::clusters(rows, ask);
    let limit = ask.get("limit").and_then(Value::as_u64).unwrap_or(2_000) as usize;
    let answer = match market::clusters(&world.shards, ask) {
        Ok(answer) => answer,
        Err(error) => {
            assert!(expected.len() > limit, "{}: {:?}", ask, error);
            assert_eq!(error.kind.status(), 422);
            assert_eq!(&error.problems[0].place, &ProblemPlace::Pointer("#/resolution".into()));
            let hint = match coarser(rows, ask, limit) {
                Some(resolution) => format!("ask for resolution {resolution},"),
                None => "ask for a smaller area,".to_owned(),
            };
            assert!(error.detail().contains(&hint), "{}: {:?}, not {}", ask, error, hint);
            return;
        }
    };
    let answer = serde_json::to_value(answer).unwrap();
    let cells = answer["cells"].as_array().unwrap();
    assert_eq!(cells.len(), expected.len(), "{}", ask);
    assert!(cells.len() <= limit, "{}", ask);
    for cell in cells {
        let word = |name: &str| cell.get(name).map(|it| it.as_str().unwrap().to_owned());
        let key = (word("h3").unwrap(), word("currency"), word("period"));
        let (count, avg, median) = expected[&key];
        let of = |name: &str| cell.get(name).cloned().unwrap_or_default();
        assert_eq!(&cell["count"], &json!(count));
        assert!(oracle::close(&json!(avg), &of("avgPrice")), "{} {:?}", cell, avg);
        assert!(oracle::close(&json!(median), &of("medianPrice")), "{} {:?}", cell, median);
    }
    let counts: Vec<_> = cells.iter().map(|cell| cell["count"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b));
}

/// Compares suggestions with a scan.
pub(crate) fn suggestions(world: &World, rows: &[oracle::Row]) {
    for prefix in ["m", "mala", "LOD", "gracia n", "sao", "lo", "x"] {
        let answer = market::suggest(&world.shards, prefix);
        let expected: Vec<Value> = oracle::suggest(rows, prefix)
            .into_iter()
            .map(|(text, kind, territory, count, center)| {
                let mut it =
                    json!({"text": text, "kind": kind, "territory": territory, "count": count});
                if let Some((lat, lng)) = center {
                    it["center"] = json!({"lat": lat, "lng": lng});
                }
                it
            })
            .collect();
        let same = oracle::close(&answer["suggestions"], &json!(expected));
        assert!(same, "{} {:?}", answer, expected);
    }
}
