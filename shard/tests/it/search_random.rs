//! Random listings and random questions of every kind, against a scan of the documents.

use hexpop_shard::{Languages, MapRequest, SearchRequest, SearchRules};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{check, market, oracle, random, seeded::Seeded, world::World};

/// 200 cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok());
    ProptestConfig {
        cases: cases.unwrap_or(200),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// What small shards never see: subtrees that are passed over, and subtrees that are taken whole.
#[test]
fn large_shards_answer_as_a_scan_does() {
    for (number, listings, steps) in [(1, 3_000, 1_500), (2, 3_000, 0), (3, 24_000, 300)] {
        let mut seed = Seeded(number);
        let world = World::large(&mut seed, listings, steps);
        let (rows, ids) = (world.rows(), world.ids());
        for _ in 0..60 {
            check::search(&world, &rows, &random::question(&mut seed, &ids));
        }
        // Nothing but one condition, so that much is found.
        for name in ["query", "geoFilter", "priceMin", "amenities", "territories", "none"] {
            let asked = |asks: &mut dyn FnMut() -> Value| {
                (0..200).map(|_| asks()).find(|ask| ask.get(name).is_some() || name == "none")
            };
            let Some(mut ask) = asked(&mut || random::question(&mut seed, &ids)) else { continue };
            let kept = ["listingType", "facets", "facetMode", "limit", name];
            let ask_fields = ask.as_object_mut().unwrap();
            ask_fields.retain(|field, _| kept.contains(&field.as_str()));
            check::search(&world, &rows, &ask);
        }
        for _ in 0..20 {
            check::map(&world, &rows, &random::map(&mut seed, &ids));
        }
        check::suggestions(&world, &rows);
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn searches_equal_a_scan_while_listings_change(seed: u64) {
        let mut seed = Seeded(seed);
        let mut world = World::new(&mut seed, 70);
        for _ in 0..12 {
            let (rows, ids) = (world.rows(), world.ids());
            check::search(&world, &rows, &random::question(&mut seed, &ids));
            for _ in 0..seed.below(6) {
                world.step(&mut seed);
            }
        }
    }

    #[test]
    fn maps_and_suggestions_equal_a_scan_while_listings_change(seed: u64) {
        let mut seed = Seeded(seed);
        let mut world = World::new(&mut seed, 70);
        for _ in 0..6 {
            let (rows, ids) = (world.rows(), world.ids());
            let mut ask = random::map(&mut seed, &ids);
            if seed.chance(40) {
                ask["limit"] = json!(1 + seed.below(8));
            }
            check::map(&world, &rows, &ask);
            for _ in 0..seed.below(10) {
                world.step(&mut seed);
            }
        }
        check::suggestions(&world, &world.rows());
    }

    /// While listings come and go, those that stay as they are come once each, and every page is
    /// what a scan finds behind the page before.
    #[test]
    fn a_walk_over_changing_listings_neither_overlaps_nor_skips(seed: u64) {
        let mut seed = Seeded(seed);
        let mut world = World::new(&mut seed, 120);
        let mut ask = random::question(&mut seed, &world.ids());
        if seed.chance(70) {
            // Nothing but the type, so that there is something to walk over.
            for name in ["ids", "geoFilter", "propertyTypes", "query", "priceMin", "territories"] {
                ask.as_object_mut().unwrap().remove(name);
            }
            if ask["sortBy"] == "distance" {
                ask["near"] = random::place(&mut seed);
            }
        }
        for name in ["pageSize", "page"] {
            ask.as_object_mut().unwrap().remove(name);
        }
        let size = 1 + seed.below(4);
        ask["limit"] = json!(size);
        let rows = world.rows();
        let at_first: Vec<String> =
            oracle::search(&rows, &ask).rows.iter().map(|hit| hit.row.id.clone()).collect();
        world.forget_touched();
        let (mut seen, mut last): (Vec<String>, Option<oracle::Place>) = (Vec::new(), None);
        // Changes keep ahead of no walk for ever.
        for page in 0.. {
            let rows = world.rows();
            let found = oracle::search(&rows, &ask);
            let behind: Vec<_> = found
                .rows
                .iter()
                .filter(|hit| last.as_ref().is_none_or(|last| hit.place() > *last))
                .collect();
            let answer = serde_json::to_value(market::search(&world.shards, &ask)).unwrap();
            let ids = market::ids(answer["data"].as_array().unwrap());
            let wanted: Vec<_> =
                behind.iter().take(size).map(|hit| hit.row.id.as_str()).collect();
            prop_assert_eq!(&ids, &wanted, "{}", ask);
            prop_assert_eq!(&answer["pagination"]["total"], &json!(found.rows.len()));
            prop_assert!(oracle::close(&answer["facets"], &found.facets), "{}", ask);
            seen.extend(ids.into_iter().map(str::to_owned));
            last = behind.get(size - 1).map(|hit| hit.place());
            let Some(cursor) = answer["pagination"].get("cursor") else {
                prop_assert!(behind.len() <= size);
                break;
            };
            ask["cursor"] = cursor.clone();
            for _ in 0..if page < 40 { seed.below(5) } else { 0 } {
                world.step(&mut seed);
            }
        }
        let stayed = |ids: &[String]| -> Vec<String> {
            ids.iter().filter(|id| !world.is_touched(id)).cloned().collect()
        };
        prop_assert_eq!(stayed(&seen), stayed(&at_first), "{}", ask);
    }

    #[test]
    fn titles_come_in_the_language_of_the_client(seed: u64) {
        let mut seed = Seeded(seed);
        let world = World::new(&mut seed, 40);
        let rows = world.rows();
        for _ in 0..6 {
            let offered = seed.some(&["it", "en", "de-AT", "pt-BR", "zh-Hant"], 4);
            let offered = if seed.chance(40) { Vec::new() } else { offered };
            let fallback = *seed.pick(&["en", "it", "und"]);
            let languages = Languages {
                offered: offered.iter().map(|tag| tag.parse().unwrap()).collect(),
                fallback: fallback.parse().ok(),
            };
            let rules = SearchRules { languages, ..SearchRules::default() };
            let wanted = random::languages(&mut seed);
            let mut request = market::request(&json!({"listingType": "rent", "limit": 200}));
            request.accept_language(&random::accept(&mut seed, &wanted), &rules);
            let preferred = oracle::preferred(&wanted, &offered, fallback);
            prop_assert_eq!(&request.query.languages, &preferred);
            let answer = market::answer(&world.shards, &request.query);
            for hit in answer.data {
                let hit: Value = serde_json::from_str(hit.get()).unwrap();
                let row = rows.iter().find(|row| hit["id"] == row.id.as_str()).unwrap();
                let title = oracle::title(&row.json, &preferred);
                prop_assert_eq!(hit.get("title").cloned(), title.map(Value::from), "{:?}", wanted);
            }
        }
    }

    #[test]
    fn both_forms_of_a_question_are_one(seed: u64) {
        let mut seed = Seeded(seed);
        let rules = SearchRules::default();
        let known = ["l-1".to_owned(), "é &=%".to_owned()];
        for _ in 0..20 {
            let ask = random::question(&mut seed, &known);
            let flat_form = SearchRequest::from_query_string(&random::flat(&ask), &rules).unwrap();
            prop_assert_eq!(&flat_form, &market::request(&ask));
            let bytes = hexpop_edge_config::codec::encode(&flat_form.query).unwrap();
            let back: hexpop_shard::Query = hexpop_edge_config::codec::decode(&bytes).unwrap();
            prop_assert_eq!(back.canonical(), flat_form.query.canonical());
            prop_assert_eq!(back, flat_form.query);
            let mut map = random::map(&mut seed, &known);
            if seed.chance(50) {
                map["limit"] = json!(1 + seed.below(10_000));
            }
            let flat_map = MapRequest::from_query_string(&random::flat(&map), &rules).unwrap();
            prop_assert_eq!(flat_map, MapRequest::from_json(map.to_string().as_bytes(), &rules).unwrap());
        }
    }
}
