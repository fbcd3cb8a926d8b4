//! Pages: cursors, ties, listings that lack the sort key.

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{Cursor, QueryErrorKind, SearchRequest, SearchRules, ShardEpoch};
use serde_json::{Value, json};

use crate::market::{self, Shard};

/// 5,000 listings of one price and a few of none, so that nearly everything ties.
fn tied() -> Vec<Shard> {
    let mut shards = vec![Shard::new(), Shard::new()];
    for (at, shard) in shards.iter_mut().enumerate() {
        let listings = (0..5_000).filter(|number| number % 2 == at).map(|number| {
            let mut json = json!({"id": format!("l{number}"), "listingType": "sale", "status": "active",
                "country": "IT", "region": "lazio", "price": {"amount": 7, "currency": "EUR"}});
            if number % 1_000 < 3 {
                json.as_object_mut().unwrap().remove("price");
            } else if number == 4_321 {
                json["price"]["amount"] = json!(6.99);
            }
            market::parse(&json)
        });
        shard.store(listings.collect());
    }
    shards
}

#[test]
fn pages_neither_overlap_nor_skip_among_ties() {
    let shards = tied();
    for sort in ["price_asc", "price_desc", "relevance", "newest"] {
        let ask = json!({"listingType": "sale", "sortBy": sort, "limit": 199});
        let (seen, first) = market::walk(&shards, &ask, usize::MAX);
        assert_eq!(first["pagination"]["total"], 5_000);
        let ids = market::ids(&seen);
        let lacks = |number: &usize| number % 1_000 < 3;
        let all = 0..5_000_usize;
        let mut expected: Vec<String> = Vec::new();
        let mut add = |numbers: Vec<usize>| {
            let mut ids: Vec<_> = numbers.into_iter().map(|number| format!("l{number}")).collect();
            ids.sort();
            expected.extend(ids);
        };
        match sort {
            "price_asc" => {
                add(vec![4_321]);
                add(all.clone().filter(|it| !lacks(it) && *it != 4_321).collect());
                add(all.filter(lacks).collect());
            }
            "price_desc" => {
                add(all.clone().filter(|it| !lacks(it) && *it != 4_321).collect());
                add(vec![4_321]);
                add(all.filter(lacks).collect());
            }
            _ => add(all.collect()),
        }
        assert_eq!(ids, expected, "{sort}");
    }
}

fn first_cursor(shards: &[Shard], ask: &Value) -> String {
    market::search(shards, ask).pagination.cursor.unwrap()
}

#[test]
fn a_cursor_belongs_to_its_search() {
    let shards = tied();
    let mut ask =
        json!({"listingType": "sale", "sortBy": "price_asc", "limit": 5, "facets": ["bedrooms"]});
    let cursor = first_cursor(&shards, &ask);
    ask["cursor"] = json!(cursor);
    let refusal = |ask: &Value| {
        let error = SearchRequest::from_json(ask.to_string().as_bytes(), &SearchRules::default())
            .unwrap_err();
        assert_eq!(error.problems[0].place.to_string(), "#/cursor");
        error.kind
    };
    // What is shown may change, and where distances are measured from if nothing is ordered by them.
    let mut other = ask.clone();
    other["limit"] = json!(7);
    other["facets"] = json!([]);
    other["facetMode"] = json!("excludeOwn");
    other["near"] = json!({"lat": 1, "lng": 1});
    market::request(&other);
    for (name, value) in [
        ("sortBy", json!("price_desc")),
        ("priceMin", json!(1)),
        ("listingType", json!("rent")),
        ("ids", json!(["l1"])),
    ] {
        let mut other = ask.clone();
        other[name] = value;
        assert_eq!(refusal(&other), QueryErrorKind::InvalidCursor, "{name}");
    }
    let mut damaged = vec![
        String::new(),
        "x".to_owned(),
        "AAAA".to_owned(),
        "!".repeat(40),
        format!("{cursor}A"),
    ];
    damaged.extend((1..cursor.len()).map(|at| cursor[..at].to_owned()));
    damaged.extend((0..cursor.len()).map(|at| {
        let other = if &cursor[at..=at] == "A" { "B" } else { "A" };
        format!("{}{other}{}", &cursor[..at], &cursor[at + 1..])
    }));
    for text in damaged {
        let mut other = ask.clone();
        other["cursor"] = json!(text);
        assert_eq!(refusal(&other), QueryErrorKind::InvalidCursor, "{text}");
    }
}

#[test]
fn a_cursor_by_distance_belongs_to_its_place() {
    let mut shard = Shard::new();
    let listing = |(number, lat): (usize, f64)| {
        market::parse(
            &json!({"id": format!("l{number}"), "listingType": "sale", "status": "active",
            "country": "IT", "region": "lazio", "location": {"lat": lat, "lng": 12.0}}),
        )
    };
    shard.store((0..9).zip([41.0, 41.5, 42.0].into_iter().cycle()).map(listing).collect());
    let shards = [shard];
    let area = json!({"type": "radius", "center": {"lat": 41, "lng": 12}, "radiusKm": 500});
    let mut ask = json!({"listingType": "sale", "sortBy": "distance", "limit": 4,
        "near": {"lat": 42, "lng": 12}, "geoFilter": area});
    // The reference is `near`, not the centre.
    let (seen, _) = market::walk(&shards, &ask, usize::MAX);
    assert_eq!(market::ids(&seen), ["l2", "l5", "l8", "l1", "l4", "l7", "l0", "l3", "l6"]);
    assert_eq!(seen[0]["distanceKm"], 0.0);
    ask["cursor"] = json!(first_cursor(&shards, &ask));
    for near in [json!({"lat": 42, "lng": 12.1}), Value::Null] {
        let mut other = ask.clone();
        other["near"] = near;
        let body = other.to_string();
        let error = SearchRequest::from_json(body.as_bytes(), &SearchRules::default()).unwrap_err();
        assert_eq!(error.kind, QueryErrorKind::InvalidCursor, "{body}");
    }
}

#[test]
fn a_cursor_knows_how_the_keys_were_divided() {
    let shards = tied();
    let ask = json!({"listingType": "sale", "limit": 5});
    let mut next = ask.clone();
    next["cursor"] = json!(first_cursor(&shards, &ask));
    let cursor = market::request(&next).cursor.unwrap();
    let epoch =
        |shard, version, conf| ShardEpoch { shard: ShardId(shard), epoch: Epoch { version, conf } };
    assert!(cursor.same_ranges(&[epoch(2, 1, 1), epoch(1, 1, 9)]));
    assert!(!cursor.same_ranges(&[epoch(1, 1, 1), epoch(2, 2, 1)]));
    assert!(!cursor.same_ranges(&[epoch(1, 1, 1)]));
    // Each that has answered: with other replicas, with another range, and one that has taken it in.
    assert!(
        cursor.has(epoch(2, 1, 1)) && !cursor.has(epoch(2, 2, 1)) && !cursor.has(epoch(3, 1, 1))
    );
    let expired = Cursor::expired();
    assert_eq!((expired.kind.slug(), expired.kind.status()), ("cursor-expired", 410));
}

#[test]
fn the_answer_has_the_documented_shape() {
    let mut shard = Shard::new();
    let json = json!({"id": "a", "listingType": "rent", "status": "active", "country": "IT", "region": "lazio",
        "price": {"amount": 100_000, "currency": "EUR", "period": "month"}, "bedrooms": 2,
        "location": {"lat": 41.9, "lng": 12.5}});
    shard.store(vec![market::parse(&json)]);
    let ask = json!({"listingType": "rent", "facets": ["propertyTypes", "bedrooms", "priceRanges", "priceStats", "neighborhoods", "energyRatings"]});
    let answer = serde_json::to_value(market::search(std::slice::from_ref(&shard), &ask)).unwrap();
    let mut summary = json;
    summary["h3Index"] = answer["data"][0]["h3Index"].clone();
    assert_eq!(
        answer,
        json!({"data": [summary],
            "pagination": {"hasMore": false, "total": 1},
            "facets": {
                "propertyTypes": [], "bedrooms": [{"key": 2, "count": 1}],
                "priceRanges": [{"currency": "EUR", "period": "month", "key": "100k_200k", "from": 100_000, "to": 200_000, "count": 1}],
                "priceStats": [{"currency": "EUR", "period": "month", "min": 100_000, "max": 100_000, "avg": 100_000, "count": 1}],
                "neighborhoods": [], "energyRatings": [],
                "missing": {"propertyTypes": 1, "bedrooms": 0, "priceRanges": 0, "priceStats": 0, "neighborhoods": 1, "energyRatings": 1}},
            "shards": [{"id": 1, "epoch": "1.1", "asOf": {"term": 1, "index": 1}, "stalenessMs": 0}],
            "partial": false})
    );
    let map = market::clusters(
        std::slice::from_ref(&shard),
        &json!({"listingType": "rent", "resolution": 5}),
    )
    .unwrap();
    let map = serde_json::to_value(map).unwrap();
    assert_eq!(map["cells"][0]["medianPrice"], 100_000);
    assert_eq!(map["cells"][0]["h3"].as_str().unwrap().len(), 15);
    assert_eq!(map["shards"][0]["id"], 1);
}

#[test]
fn a_map_of_too_many_cells_is_refused_with_the_finest_resolution_that_would_do() {
    let mut shards = [Shard::new(), Shard::new()];
    for (at, shard) in shards.iter_mut().enumerate() {
        let listings = (0..400).filter(|number| number % 2 == at).map(|number| {
            let (lat, lng) = (f64::from(number as u32 / 20), f64::from(number as u32 % 20));
            let currency = if number % 3 == 0 { "EUR" } else { "USD" };
            market::parse(&json!({"id": format!("l{number}"), "listingType": "sale",
                "status": "active", "country": "IT", "region": "lazio",
                "price": {"amount": 1, "currency": currency},
                "location": {"lat": 41.0 + lat * 0.02, "lng": 12.0 + lng * 0.02}}))
        });
        shard.store(listings.collect());
    }
    let cells = |resolution: u8, limit: usize| {
        let ask = json!({"listingType": "sale", "resolution": resolution, "limit": limit});
        market::clusters(&shards, &ask)
    };
    let count = |resolution| cells(resolution, 10_000).unwrap().cells.len();
    let limit = count(6);
    assert!(count(5) < limit && limit < count(7) && count(7) < count(9));
    assert_eq!(cells(6, limit).unwrap().cells.len(), limit);
    let error = cells(9, limit).unwrap_err();
    assert_eq!((error.kind, error.kind.status()), (QueryErrorKind::InvalidSearch, 422));
    assert_eq!(
        error.detail(),
        format!(
            "#/resolution: gives {} cells, of which limit allows {limit}: ask for resolution 6, or a \
             higher minCount",
            count(9)
        )
    );
    let error = cells(3, 1).unwrap_err();
    assert!(error.detail().contains("ask for a smaller area,"), "{error}");
}
