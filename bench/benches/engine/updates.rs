//! A reader that asks without pause while updates are applied.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use hexpop_shard::{Geometry, IndexAnswer, Query, ShardIndex};

use crate::{
    changes::Changes,
    clock, engine,
    publish::{Publish, SCHEMES},
    queries::Ask,
    report::UpdatesLine,
    spread::Spread,
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

/// Turns without and with updates.
const TURNS: u32 = 10;

/// What one reader saw.
#[derive(Default)]
struct Seen {
    seconds: Vec<f64>,
    torn: usize,
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
    publisher: &dyn Publish,
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
    let (mut quiet, mut updated) = (Seen::default(), Seen::default());
    let mut applied = Vec::new();
    // In turns, so that whatever else the machine does hits both alike.
    for _ in 0..TURNS {
        read(publisher, &queries, length / TURNS, &mut quiet);
        let done = AtomicBool::new(false);
        let rate = pace.updates_per_second;
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| write(publisher, changes, rate, &done));
            read(publisher, &queries, length / TURNS, &mut updated);
            done.store(true, Ordering::Relaxed);
            applied.extend(writer.join().expect("the writer does not panic"));
        });
    }
    let updates_per_second = applied.len() as f64 / pace.seconds;
    let (answers, torn) = (quiet.seconds.len() + updated.seconds.len(), quiet.torn + updated.torn);
    let [quiet, updated, applied] = [quiet.seconds, updated.seconds, applied].map(Spread::of);
    UpdatesLine {
        publish,
        query,
        quiet_p50_ms: quiet.p50 * 1e3,
        quiet_p99_ms: quiet.p99 * 1e3,
        p50_ms: updated.p50 * 1e3,
        p99_ms: updated.p99 * 1e3,
        answers,
        torn,
        updates_per_second,
        update_p50_ms: applied.p50 * 1e3,
        update_p99_ms: applied.p99 * 1e3,
    }
}

/// Asks one query after the other. A time is from the wish to read to the ids of the hits, locks
/// and snapshots included; looking for torn answers is not.
fn read(publisher: &dyn Publish, queries: &[&Query], length: Duration, seen: &mut Seen) {
    let started = clock::now();
    for query in queries.iter().cycle().skip(seen.seconds.len() % queries.len()) {
        let mut answered = None;
        let mut rows_kept = true;
        let ((), time) = clock::timed(|| {
            publisher.read(&mut |index| {
                let answer = engine::search(index, query);
                for hit in &answer.hits {
                    rows_kept &= engine::is_row(index, &hit.id, hit);
                }
                answered = Some(answer);
            });
        });
        seen.seconds.push(time.as_secs_f64());
        let whole = answered.is_some_and(|answer| is_whole(query, &answer));
        seen.torn += usize::from(!(whole && rows_kept));
        if started.elapsed() >= length {
            break;
        }
    }
}

/// Applies updates as they fall due until it is `done`; gives the seconds that each took.
fn write(
    publisher: &dyn Publish,
    changes: &mut Changes,
    per_second: f64,
    done: &AtomicBool,
) -> Vec<f64> {
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
    seconds
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
        facets
            .property_types
            .as_ref()
            .map(|it| it.counts.iter().map(|(_, count)| count).sum::<u64>() + it.missing),
        facets
            .bedrooms
            .as_ref()
            .map(|it| it.counts.iter().map(|(_, count)| count).sum::<u64>() + it.missing),
        facets
            .neighborhoods
            .as_ref()
            .map(|it| it.counts.iter().map(|(_, count)| count).sum::<u64>() + it.missing),
        facets
            .energy_ratings
            .as_ref()
            .map(|it| it.counts.iter().map(|(_, count)| count).sum::<u64>() + it.missing),
        facets
            .prices
            .as_ref()
            .map(|it| it.groups.iter().map(|(_, tally)| tally.count).sum::<u64>() + it.missing),
    ];
    let mut tallies =
        facets.prices.iter().flat_map(|prices| prices.groups.iter().map(|(_, tally)| tally));
    answer.hits.len() as u64 == answer.total.min(page)
        && hits_ordered
        && inside
        && sums.into_iter().flatten().all(|sum| sum == answer.total)
        && tallies
            .all(|tally| tally.count == tally.ranges.iter().sum::<u64>() && tally.min <= tally.max)
}
