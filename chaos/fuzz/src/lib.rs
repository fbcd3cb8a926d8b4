//! What the fuzz targets share: listings that never change, and the scan that the engine's own tests
//! compare it with.
//!
//! ```text
//! cd chaos && cargo +nightly fuzz run -s none query_parse -- -max_total_time=300
//! cd chaos && cargo +nightly fuzz run -s none query_plan -- -max_total_time=300
//! cd chaos && cargo +nightly fuzz run -s none cache_parse -- -max_total_time=300
//! cd chaos && cargo +nightly fuzz run -s none cache_policy -- -max_total_time=300
//! ```
//!
//! Without the address sanitizer (`-s none`): the engine has no unsafe code, and runs some times as fast.
//!
//! A stable compiler does, without `cargo fuzz`, with its flags for coverage:
//!
//! ```text
//! cd chaos/fuzz && RUSTFLAGS="--cfg fuzzing -Cdebug-assertions -Cpasses=sancov-module
//!   -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
//!   -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares" \
//!   cargo build --release --target x86_64-unknown-linux-gnu
//! target/x86_64-unknown-linux-gnu/release/cache_parse -max_total_time=300 corpus/cache_parse
//! ```
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    unused_imports,
    reason = "modules of tests, of which the targets use the greater part"
)]

use std::cell::OnceCell;

pub mod seeded;

/// The modules of the engine's tests, under the names that they call each other by.
#[path = "../../../shard/tests/it"]
mod it {
    pub(crate) mod check;
    pub(crate) mod market;
    pub(crate) mod oracle;
    pub(crate) mod random;
    pub(crate) mod world;
}
pub(crate) use it::{check, market, oracle, random, world};

use seeded::Seeded;

/// Listings in one shard of several index nodes, and the same kind in some small shards.
struct Fixture {
    worlds: Vec<(world::World, Vec<oracle::Row>, Vec<String>)>,
}

impl Fixture {
    fn new() -> Self {
        let mut seed = Seeded::of_number(1);
        let worlds =
            [world::World::large(&mut seed, 3_000, 500), world::World::new(&mut seed, 300)];
        let with_rows = |world: world::World| {
            let (rows, ids) = (world.rows(), world.ids());
            (world, rows, ids)
        };
        Self { worlds: worlds.into_iter().map(with_rows).collect() }
    }
}

thread_local! {
    static FIXTURE: OnceCell<Fixture> = const { OnceCell::new() };
}

/// Puts the question that the bytes choose to the engine and to the scan. Panics where they differ.
pub fn plan(bytes: &[u8]) {
    let mut seed = Seeded::of_bytes(bytes);
    FIXTURE.with(|fixture| {
        let fixture = fixture.get_or_init(Fixture::new);
        let (world, rows, ids) = seed.pick(&fixture.worlds);
        if seed.chance(75) {
            let mut ask = random::question(&mut seed, ids);
            if seed.chance(30) {
                keep_one_condition(&mut seed, &mut ask);
            }
            // A walk in single steps over all listings takes seconds.
            if let Some(fields) = ask.as_object_mut() {
                fields.remove("pageSize");
                fields.remove("page");
                fields.insert("limit".to_owned(), (20 + seed.below(180)).into());
            }
            check::search(world, rows, &ask);
        } else {
            check::map(world, rows, &random::map(&mut seed, ids));
        }
    });
}

/// Leaves one condition in a question, so that much is found.
fn keep_one_condition(seed: &mut Seeded, ask: &mut serde_json::Value) {
    let Some(fields) = ask.as_object_mut() else { return };
    let names: Vec<String> = fields.keys().cloned().collect();
    let kept = seed.pick(&names).clone();
    let always = ["listingType", "facets", "facetMode", "limit", "sortBy", "near"];
    fields.retain(|name, _| always.contains(&name.as_str()) || *name == kept);
    if fields.get("sortBy").is_some_and(|sort| sort == "distance" || sort == "relevance") {
        fields.remove("sortBy");
    }
}

/// Reads the bytes as every kind of request, and answers those that are valid: nothing may panic, a
/// question must survive the mesh's codec, and its pages must be those of a larger page.
pub fn parse(bytes: &[u8]) {
    use hexpop_edge_config::codec;
    use hexpop_shard::{MapRequest, Query, SearchRequest, SearchRules, SuggestRequest};
    let rules = SearchRules::default();
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    FIXTURE.with(|fixture| {
        let fixture = fixture.get_or_init(Fixture::new);
        let shards = &fixture.worlds[1].0.shards;
        let searches = [
            SearchRequest::from_json(bytes, &rules),
            SearchRequest::from_query_string(text, &rules),
        ];
        for mut request in searches.into_iter().flatten() {
            request.accept_language(text, &rules);
            let sent = codec::encode(&request.query).unwrap();
            let received: Query = codec::decode(&sent).unwrap();
            assert_eq!(received, request.query);
            let answer = serde_json::to_value(market::answer(shards, &received)).unwrap();
            let hits = answer["data"].as_array().unwrap();
            assert!(hits.len() as u64 <= answer["pagination"]["total"].as_u64().unwrap());
        }
        for request in
            [MapRequest::from_json(bytes, &rules), MapRequest::from_query_string(text, &rules)]
        {
            if let Ok(request) = request {
                drop(market::map(shards, &request.query));
            }
        }
        for request in [SuggestRequest::from_json(bytes), SuggestRequest::from_query_string(text)] {
            if let Ok(request) = request {
                drop(market::places(shards, &request.query));
            }
        }
    });
}
