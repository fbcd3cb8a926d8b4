use std::{collections::BTreeMap, sync::Arc};

use hexpop_router::{Context, IngestReport, full};
use hexpop_shard::ListingFormat;
use proptest::prelude::*;

use crate::{
    mesh::{Fault, FaultPlan, LINE_BYTES_MAX, Mesh, TestRouter, listing},
    origin::{TestOrigin, port},
};

const TERRITORIES: [&str; 4] = ["DE:berlin", "ES:madrid", "IT:lazio", "IT:lombardia"];

fn mesh() -> (Arc<Mesh>, Arc<TestRouter>) {
    let mesh = Mesh::new(3, &TERRITORIES);
    mesh.watch_doubles();
    let router = mesh.router(1, port(&TestOrigin::none()));
    (mesh, router)
}

async fn ingest(router: &TestRouter, lines: &[String]) -> IngestReport {
    router.ingest(full(lines.join("\n").into()), LINE_BYTES_MAX, &Context::default()).await.unwrap()
}

fn counts(report: &IngestReport) -> (u64, u64, u64) {
    (report.accepted, report.ignored, report.rejected_total)
}

#[tokio::test(start_paused = true)]
async fn lines_are_taken_in_once_however_often_they_come() {
    let (mesh, router) = mesh();
    let lines: Vec<String> =
        (0..3000).map(|n| listing(&format!("l{n}"), TERRITORIES[n % 4], 1, 100_000)).collect();
    assert_eq!(counts(&ingest(&router, &lines).await), (3000, 0, 0));
    let writes = mesh.writes();
    // Four shards with two commands of copies and of reveals each, and the directory's six.
    assert!(writes <= 30, "{writes}");
    assert_eq!(mesh.found().len(), 3000);
    assert_eq!(counts(&ingest(&router, &lines).await), (0, 3000, 0));
    assert_eq!((mesh.found().len(), mesh.doubles()), (3000, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn the_operator_decides_how_long_a_line_may_be() {
    let (_mesh, router) = mesh();
    let lines = [listing("a", "IT:lazio", 1, 1), format!("{{\"id\":\"{}\"}}", "b".repeat(5_000))];
    let body = || full(lines.join("\n").into());
    let report = router.ingest(body(), 4_096, &Context::default()).await.unwrap();
    assert_eq!(counts(&report), (1, 0, 1));
    assert_eq!(report.rejected[0].error, "the line is longer than 4096 bytes");
    let report = router.ingest(body(), 8_192, &Context::default()).await.unwrap();
    assert_ne!(report.rejected[0].error, "the line is longer than 8192 bytes");
}

#[tokio::test]
async fn lines_may_be_records_of_the_reso_standard() {
    let (mesh, router) = mesh();
    let record = |key: &str, status: &str| {
        serde_json::json!({"ListingKey": key, "StandardStatus": status, "Country": "IT",
            "StateOrProvince": "Lazio", "PropertyType": "Residential", "ListPrice": "250000",
            "ModificationTimestamp": "2026-03-08T10:30:00Z"})
        .to_string()
    };
    let lines = [
        record("a", "Active"),
        record("b", "Sleeping"),
        record("c", "ActiveUnderContract"),
        listing("d", "IT:lazio", 1, 1),
        r#"{"delete":"c","updatedAt":"2026-03-09T00:00:00Z"}"#.to_owned(),
    ];
    let body = full(lines.join("\n").into());
    let report = router
        .ingest_as(ListingFormat::Reso, body, LINE_BYTES_MAX, &Context::default())
        .await
        .unwrap();
    assert_eq!(counts(&report), (3, 0, 2), "{report:?}");
    assert!(report.rejected[0].error.starts_with("/StandardStatus: "), "{report:?}");
    assert!(report.rejected[1].error.starts_with("/ListingKey: is required"), "{report:?}");
    assert_eq!(mesh.found().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bad_lines_are_named_and_stop_nothing() {
    let (_mesh, router) = mesh();
    let lines = [
        listing("a", "IT:lazio", 1, 1),
        "{".to_owned(),
        String::new(),
        r#"{"id":"b"}"#.to_owned(),
        listing("c", "IT:lazio", 1, 1),
        r#"{"delete":7}"#.to_owned(),
    ];
    let report = ingest(&router, &lines).await;
    assert_eq!(counts(&report), (2, 0, 3));
    let named: Vec<_> = report.rejected.iter().map(|line| (line.line, line.retryable)).collect();
    assert_eq!(named, [(2, false), (4, false), (6, false)]);
    assert!(report.rejected[1].error.contains("listingType"), "{:?}", report.rejected[1]);
}

#[tokio::test(start_paused = true)]
async fn a_listing_that_moves_is_found_at_its_new_place_only() {
    let (mesh, router) = mesh();
    for (version, territory) in (1..).zip(["IT:lazio", "DE:berlin", "DE:berlin", "IT:lazio"]) {
        let report = ingest(&router, &[listing("a", territory, version, version)]).await;
        assert_eq!(counts(&report), (1, 0, 0), "{version}");
        let found = mesh.found();
        assert_eq!(found["a"], [mesh.shard_of(territory)], "{version}");
    }
    let late = ingest(&router, &[listing("a", "ES:madrid", 2, 9)]).await;
    assert_eq!(counts(&late), (0, 1, 0));
    assert_eq!(mesh.found()["a"], [mesh.shard_of("IT:lazio")]);
    assert_eq!(mesh.copies()["a"].len(), 1);
    assert_eq!(mesh.doubles(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn versions_within_one_request_are_taken_in_their_order() {
    let (mesh, router) = mesh();
    let lines = [
        listing("a", "IT:lazio", 1, 1),
        listing("a", "DE:berlin", 3, 3),
        listing("a", "ES:madrid", 2, 2),
        r#"{"delete":"b","version":5}"#.to_owned(),
        listing("b", "IT:lazio", 4, 4),
    ];
    assert_eq!(counts(&ingest(&router, &lines).await), (3, 2, 0));
    let found = mesh.found();
    assert_eq!((found.len(), found["a"].as_slice()), (1, &[mesh.shard_of("DE:berlin")][..]));
}

#[tokio::test(start_paused = true)]
async fn what_is_deleted_stays_so_until_something_newer_comes() {
    let (mesh, router) = mesh();
    let delete = |version: u64| format!(r#"{{"delete":"a","version":{version}}}"#);
    let steps = [
        (listing("a", "IT:lazio", 5, 1), (1, 0), true),
        (delete(4), (0, 1), true),
        (delete(5), (1, 0), false),
        (delete(5), (0, 1), false),
        (listing("a", "IT:lazio", 5, 1), (0, 1), false),
        (listing("a", "DE:berlin", 5, 1), (0, 1), false),
        (listing("a", "DE:berlin", 6, 1), (1, 0), true),
        (delete(7), (1, 0), false),
        (delete(8), (1, 0), false),
        (listing("a", "DE:berlin", 7, 1), (0, 1), false),
    ];
    for (line, (accepted, ignored), is_found) in steps {
        let report = ingest(&router, std::slice::from_ref(&line)).await;
        assert_eq!(counts(&report), (accepted, ignored, 0), "{line}");
        assert_eq!(mesh.found().contains_key("a"), is_found, "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_at_the_old_place_that_is_newer_wins() {
    let (mesh, router) = mesh();
    ingest(&router, &[listing("a", "IT:lazio", 1, 1)]).await;
    ingest(&router, &[listing("a", "IT:lazio", 9, 9)]).await;
    // The directory remembers version 1: a change in place does not come to it.
    let report = ingest(&router, &[listing("a", "DE:berlin", 8, 8)]).await;
    assert_eq!(counts(&report), (0, 1, 0));
    assert_eq!(mesh.found()["a"], [mesh.shard_of("IT:lazio")]);
    assert_eq!(mesh.copies()["a"].len(), 1);
    assert_eq!(mesh.doubles(), Vec::<String>::new());
}

/// A line of a random history.
#[derive(Debug, Clone)]
struct Event {
    id: u8,
    territory: usize,
    deletes: bool,
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = (0_u8..4, 0_usize..4, prop::bool::weighted(0.2))
        .prop_map(|(id, territory, deletes)| Event { id, territory, deletes });
    prop::collection::vec(event, 1..25)
}

/// The lines of a history, and where it leads.
fn history(events: &[Event]) -> (Vec<String>, BTreeMap<String, Option<usize>>) {
    let mut lines = Vec::new();
    let mut expected = BTreeMap::new();
    for (version, event) in (1_u64..).zip(events) {
        let id = format!("l{}", event.id);
        if event.deletes {
            lines.push(format!(r#"{{"delete":"{id}","version":{version}}}"#));
            expected.insert(id, None);
        } else {
            lines.push(listing(&id, TERRITORIES[event.territory], version, version));
            expected.insert(id, Some(event.territory));
        }
    }
    (lines, expected)
}

/// The nth write is refused, or its answer lost.
fn faults_of(faults: Vec<Option<bool>>) -> FaultPlan {
    Box::new(move |number, _| {
        let at = usize::try_from(number - 1).unwrap();
        let lost = faults.get(at).copied().flatten()?;
        Some(if lost { Fault::LoseAnswer } else { Fault::Refuse })
    })
}

async fn check_after_repeats(
    mesh: &Arc<Mesh>,
    lines: &[String],
    expected: &BTreeMap<String, Option<usize>>,
) {
    let calm = mesh.router(2, port(&TestOrigin::none()));
    for _ in 0..2 {
        let report = ingest(&calm, lines).await;
        assert_eq!(report.rejected_total, 0, "{:?}", report.rejected);
    }
    let found = mesh.found();
    for (id, territory) in expected {
        let wanted = territory.map(|at| vec![mesh.shard_of(TERRITORIES[at])]);
        assert_eq!(found.get(id).cloned(), wanted, "{id}");
    }
    assert_eq!(mesh.doubles(), Vec::<String>::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever goes wrong on the way, nothing is ever found twice, and repeating the lines leads
    /// to what they say.
    #[test]
    fn crashes_and_repeats_lead_to_the_newest_state(
        events in events(),
        faults in prop::collection::vec(prop::option::weighted(0.35, prop::bool::ANY), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mesh = Mesh::new(3, &TERRITORIES);
            mesh.watch_doubles();
            let quick = |options: &mut hexpop_router::RouterOptions| {
                options.retry.attempts_max = 1;
            };
            let router = mesh.router_with(1, port(&TestOrigin::none()), quick);
            let (lines, expected) = history(&events);
            mesh.plan(faults_of(faults));
            // Each line by itself, as if its writer had been killed at any step.
            for line in &lines {
                ingest(&router, std::slice::from_ref(line)).await;
            }
            mesh.no_faults();
            check_after_repeats(&mesh, &lines, &expected).await;
        });
    }

    /// Writers that race with each other, each with its own part of the history.
    #[test]
    fn races_lead_to_the_newest_state(
        events in events(),
        seed in any::<u64>(),
        writers in 2_usize..4,
        faults in prop::collection::vec(prop::option::weighted(0.1, prop::bool::ANY), 60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(async {
            let mesh = Mesh::new(3, &TERRITORIES);
            mesh.watch_doubles();
            mesh.shuffle(seed);
            let (lines, expected) = history(&events);
            mesh.plan(faults_of(faults));
            let racing = (0..writers).map(|writer| {
                let node = u32::try_from(writer).unwrap() % 3 + 1;
                let router = mesh.router(node, port(&TestOrigin::none()));
                let part: Vec<String> =
                    lines.iter().skip(writer).step_by(writers).cloned().collect();
                tokio::spawn(async move {
                    for line in &part {
                        ingest(&router, std::slice::from_ref(line)).await;
                    }
                })
            });
            for writer in racing.collect::<Vec<_>>() {
                writer.await.unwrap();
            }
            mesh.no_faults();
            check_after_repeats(&mesh, &lines, &expected).await;
        });
    }
}
