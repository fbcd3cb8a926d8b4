//! A reader that asks without pause while updates are applied.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hexpop_shard::{Geometry, IndexAnswer, Query, ShardIndex};

use crate::{
    changes::Changes,
    clock, engine,
    measure::Spread,
    publish::{Publish, SCHEMES},
    queries::Ask,
    report::UpdatesLine,
};

/// How readers and updates are measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace<'a> {
    /// The scheme wanted; all of them without it.
    pub(crate) publish: Option<&'a str>,
    /// How long a reader reads.
    pub(crate) seconds: f64,
    /// How many updates fall due in a second.
    pub(crate) updates_per_second: f64,
}

/// What one reader saw.
struct Seen {
    spread: Spread,
    answers: u64,
    torn: u64,
}

/// What became of the updates.
struct Applied {
    spread: Spread,
    per_second: f64,
}

/// Measures every scheme with every kind of query.
pub(crate) fn run(
    mut index: ShardIndex,
    kinds: &[(&'static str, Vec<Ask>)],
    changes: &mut Changes,
    pace: Pace<'_>,
) -> Vec<UpdatesLine> {
    let mut lines = Vec::new();
    for (publish, scheme) in SCHEMES {
        if pace.publish.is_some_and(|wanted| wanted != publish) {
            continue;
        }
        let Some(scheme) = scheme else {
            eprintln!("publish {publish}: the index cannot do it yet");
            continue;
        };
        let publisher = scheme(index);
        for (query, asks) in kinds {
            eprintln!("  publish {publish}: {query} for two times {} s", pace.seconds);
            lines.push(line(publish, query, &*publisher, asks, changes, pace));
        }
        index = publisher.into_index();
    }
    lines
}

fn line(
    publish: &'static str,
    query: &'static str,
    publisher: &dyn Publish<ShardIndex>,
    asks: &[Ask],
    changes: &mut Changes,
    pace: Pace<'_>,
) -> UpdatesLine {
    let length = Duration::from_secs_f64(pace.seconds);
    let queries: Vec<&Query> = asks
        .iter()
        .filter_map(|ask| if let Ask::Search(query, _) = ask { Some(&**query) } else { None })
        .collect();
    // One pass to warm up.
    for query in &queries {
        publisher.read(&mut |index| {
            std::hint::black_box(engine::search(index, query));
        });
    }
    let quiet = read(publisher, &queries, length);
    let done = AtomicBool::new(false);
    let (seen, applied) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(publisher, changes, pace.updates_per_second, &done));
        let seen = read(publisher, &queries, length);
        done.store(true, Ordering::Relaxed);
        (seen, writer.join().expect("the writer does not panic"))
    });
    UpdatesLine {
        publish,
        query,
        quiet_p50_ms: quiet.spread.p50 * 1e3,
        quiet_p99_ms: quiet.spread.p99 * 1e3,
        p50_ms: seen.spread.p50 * 1e3,
        p99_ms: seen.spread.p99 * 1e3,
        answers: quiet.answers + seen.answers,
        torn: quiet.torn + seen.torn,
        updates_per_second: applied.per_second,
        update_p50_ms: applied.spread.p50 * 1e3,
        update_p99_ms: applied.spread.p99 * 1e3,
    }
}

/// Asks one query after the other. A time is from the wish to read to the ids of the hits, locks
/// and snapshots included; looking for torn answers is not.
fn read(publisher: &dyn Publish<ShardIndex>, queries: &[&Query], length: Duration) -> Seen {
    let started = clock::now();
    let (mut seconds, mut torn) = (Vec::new(), 0);
    for query in queries.iter().cycle() {
        let mut answered = None;
        let mut rows_kept = true;
        let ((), time) = clock::timed(|| {
            publisher.read(&mut |index| {
                let answer = engine::search(index, query);
                for hit in &answer.hits {
                    rows_kept &= engine::is_row(index, &engine::id(index, hit), hit);
                }
                answered = Some(answer);
            });
        });
        seconds.push(time.as_secs_f64());
        let whole = answered.is_some_and(|answer| is_whole(query, &answer));
        torn += u64::from(!(whole && rows_kept));
        if started.elapsed() >= length {
            break;
        }
    }
    let answers = seconds.len() as u64;
    Seen { spread: Spread::of(seconds), answers, torn }
}

/// Applies updates as they fall due until it is `done`.
fn write(
    publisher: &dyn Publish<ShardIndex>,
    changes: &mut Changes,
    per_second: f64,
    done: &AtomicBool,
) -> Applied {
    let started = clock::now();
    let mut seconds = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let due = Duration::from_secs_f64(seconds.len() as f64 / per_second);
        let change = changes.next();
        if let Some(early) = due.checked_sub(started.elapsed()) {
            std::thread::sleep(early);
        }
        let ((), time) = clock::timed(|| publisher.update(&mut |index| change.apply(index)));
        seconds.push(time.as_secs_f64());
    }
    let per_second = seconds.len() as f64 / started.elapsed().as_secs_f64();
    Applied { spread: Spread::of(seconds), per_second }
}

/// Whether hits, total and facets can be of one version.
fn is_whole(query: &Query, answer: &IndexAnswer) -> bool {
    let page = u64::from(query.limit) + 1;
    let hits_ordered = answer.hits.windows(2).all(|pair| pair[0].key <= pair[1].key);
    let inside = match &query.filters.geometry {
        Some(Geometry::Radius { radius_km, .. }) => {
            answer.hits.iter().all(|hit| hit.distance_km.is_some_and(|it| it <= *radius_km))
        }
        _ => true,
    };
    let facets = &answer.facets;
    let sums = [
        facets.property_types.as_ref().map(|it| it.counts.values().sum::<u64>() + it.missing),
        facets.bedrooms.as_ref().map(|it| it.counts.values().sum::<u64>() + it.missing),
        facets.neighborhoods.as_ref().map(|it| it.counts.values().sum::<u64>() + it.missing),
        facets.energy_ratings.as_ref().map(|it| it.counts.values().sum::<u64>() + it.missing),
        facets
            .prices
            .as_ref()
            .map(|it| it.groups.values().map(|tally| tally.count).sum::<u64>() + it.missing),
    ];
    let mut tallies = facets.prices.iter().flat_map(|prices| prices.groups.values());
    answer.hits.len() as u64 == answer.total.min(page)
        && hits_ordered
        && inside
        && sums.into_iter().flatten().all(|sum| sum == answer.total)
        && tallies
            .all(|tally| tally.count == tally.ranges.iter().sum::<u64>() && tally.min <= tally.max)
}
