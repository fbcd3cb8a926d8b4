use http_body_util::BodyExt as _;
use proptest::prelude::*;

use super::*;

/// Some responses, in one file and more, of an earlier process that has applied a purge.
async fn written() -> (Setup, Vec<(String, Vec<u8>)>) {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    setup.tier.note_position(PurgeId(7));
    let mut all = Vec::new();
    for (number, length) in [(1, 10), (2, 70_000), (3, 0), (4, 200_000), (5, 131_072)] {
        let (path, body) = (format!("/{number}"), noise(length));
        setup.keep(&path, stored(&body, "", None)).await;
        all.push((path, body));
    }
    let (path, body) = ("/large".to_owned(), noise(500_000));
    setup.keep_large(&path, &body, 70_001).await;
    all.push((path, body));
    (setup, all)
}

async fn found(setup: &Setup, all: &[(String, Vec<u8>)]) -> usize {
    setup.tier.flush().await;
    let mut count = 0;
    for (path, body) in all {
        if let Some(back) = setup.body(path).await {
            assert_eq!(back, *body, "{path}");
            count += 1;
        }
    }
    count
}

#[tokio::test]
async fn a_restart_finds_what_was_there_and_has_it_confirmed() {
    let (before, all) = written().await;
    drop(before.tier);
    // Ten seconds later, by the wall clock.
    let after = Setup::at(before.files.copied(), LIMITS, 1_010_000);
    assert_eq!(after.tier.left_at(), Some(PurgeId(7)));
    assert_eq!(found(&after, &all).await, all.len());
    let back = after.get("/2", None).await.unwrap();
    assert!(back.freshness.never_stale && !back.freshness.is_fresh(Duration::ZERO));
    assert!(back.freshness.initial_age >= Duration::from_secs(10));
    assert_eq!(after.tier.stats().bytes, after.files.segment_bytes());
    // What comes now goes behind it.
    after.keep("/2", stored(b"new", "", None)).await;
    assert_eq!(after.body("/2").await.unwrap(), "new");
}

#[tokio::test]
async fn a_restart_obeys_purges_of_before_and_of_meanwhile() {
    let (before, all) = written().await;
    before.purge(&Purge::Uri(key("/1")), false);
    before.tier.note_position(PurgeId(8));
    before.tier.flush().await;
    let after = Setup::new(before.files.copied(), LIMITS);
    assert_eq!(after.tier.left_at(), Some(PurgeId(8)));
    assert_eq!(found(&after, &all).await, all.len() - 1);
    // One that comes while what is there is still looked for.
    let files = before.files.copied();
    files.shut();
    let racing = Setup::new(files.clone(), LIMITS);
    racing.purge(&Purge::Uri(key("/2")), false);
    files.open_again();
    assert_eq!(found(&racing, &all).await, all.len() - 2);
    assert!(racing.body("/2").await.is_none());
}

#[tokio::test]
async fn what_came_while_recovery_goes_on_is_not_followed_by_what_was_before() {
    let (before, all) = written().await;
    let files = before.files.copied();
    // The position, and nothing of the segments.
    files.let_read(1);
    let racing = Setup::new(files.clone(), LIMITS);
    // As a put into memory does, and whoever finds that something is not to be stored any more.
    racing.tier.forget_variant(&key("/1"), &stored(b"", "", None));
    racing.tier.forget_variant(&key("/large"), &stored(b"", "", None));
    files.open_again();
    assert_eq!(found(&racing, &all).await, all.len() - 2);
    assert!(racing.body("/1").await.is_none() && racing.body("/large").await.is_none());
    assert!(!racing.tier.shared.catalog.lock().is_renewed(&key("/1")), "it is over");
    // That is on disk as well.
    racing.tier.note_position(PurgeId(9));
    racing.tier.flush().await;
    let after = Setup::new(racing.files.copied(), LIMITS);
    assert_eq!(found(&after, &all).await, all.len() - 2);
}

#[tokio::test]
async fn a_restart_with_less_memory_for_names_keeps_the_latest() {
    let before = Setup::new(MemFiles::new(), Limits { segment_bytes: 2_000, ..LIMITS });
    before.tier.note_position(PurgeId(1));
    for number in 0..200 {
        before.keep(&format!("/{number}"), stored(b"x", "", None)).await;
    }
    let limits = Limits { catalog_bytes_max: 20_000, ..LIMITS };
    let after = Setup::new(before.files.copied(), limits);
    after.tier.flush().await;
    let (entries, weight) = after.tier.shared.catalog.lock().size();
    assert!(entries > 0 && weight <= 20_000, "{entries} {weight}");
    assert!(after.get("/0", None).await.is_none() && after.get("/199", None).await.is_some());
    assert_eq!(after.tier.stats().bytes, after.files.segment_bytes());
}

#[tokio::test]
async fn a_crash_before_the_position_was_written_replays_from_the_one_before() {
    let (before, all) = written().await;
    before.purge(&Purge::Uri(key("/1")), false);
    before.tier.note_position(PurgeId(8));
    // Nothing of that is on disk yet.
    let after = Setup::new(before.files.copied(), LIMITS);
    assert_eq!(after.tier.left_at(), Some(PurgeId(7)), "so that purge 8 is applied again");
    assert_eq!(found(&after, &all).await, all.len());
}

#[tokio::test]
async fn without_a_position_nothing_is_kept() {
    let (before, all) = written().await;
    for damage in [|at: &mut Vec<u8>| at.clear(), |at: &mut Vec<u8>| at[0] ^= 1] {
        let files = before.files.copied();
        let mut position = Vec::new();
        files.open(position::NAME).unwrap();
        let length =
            files.list().unwrap().iter().find(|(name, _)| name == position::NAME).unwrap().1;
        position.resize(usize::try_from(length).unwrap(), 0);
        files.open(position::NAME).unwrap().read_at(&mut position, 0).unwrap();
        damage(&mut position);
        files.replace(position::NAME, &position).unwrap();
        let after = Setup::new(files, LIMITS);
        assert_eq!((after.tier.left_at(), found(&after, &all).await), (None, 0));
        assert_eq!(after.tier.stats().bytes, 0);
    }
}

#[tokio::test]
async fn what_cannot_be_confirmed_is_not_kept_over_a_restart() {
    let before = Setup::new(MemFiles::new(), LIMITS);
    before.tier.note_position(PurgeId(1));
    let mut plain = stored(b"x", "", None);
    plain.headers.remove(header::ETAG);
    before.keep("/a", plain).await;
    assert!(before.get("/a", None).await.is_some());
    let after = Setup::new(before.files.copied(), LIMITS);
    after.tier.flush().await;
    assert!(after.get("/a", None).await.is_none());
}

#[tokio::test]
async fn a_full_disk_turns_it_off_and_fails_nobody() {
    let setup = Setup::new(MemFiles::new().with_room(250_000), LIMITS);
    setup.keep("/1", stored(&noise(100_000), "", None)).await;
    assert!(setup.get("/1", None).await.is_some());
    setup.keep("/2", stored(&noise(100_000), "", None)).await;
    setup.keep("/3", stored(&noise(100_000), "", None)).await;
    let off = setup.tier.stats().off.unwrap();
    assert!(off.contains("cannot be written"), "{off}");
    assert!(setup.get("/1", None).await.is_none());
    let head = Arc::new(stored(b"", "", None));
    assert!(setup.tier.begin_large(&key("/4"), &head, setup.moment()).is_none());
    setup.keep("/5", stored(b"x", "", None)).await;
    while !setup.files.names().is_empty() {
        TokioRuntime::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(setup.tier.stats().bytes, 0, "room is given back");
}

#[tokio::test]
async fn a_disk_that_cannot_be_read_turns_it_off() {
    let (setup, all) = written().await;
    setup.files.fail_to_read();
    assert!(setup.get(&all[0].0, None).await.is_none());
    let off = setup.tier.stats().off.unwrap();
    assert!(off.contains("the disk is broken"), "{off}");
    // Also while a body streams.
    let (setup, _all) = written().await;
    let large = setup.get("/large", None).await.unwrap();
    let Payload::Disk(body) = &large.payload else { panic!("{:?}", large.payload) };
    let mut reading = body.part(0..body.length());
    assert!(reading.frame().await.unwrap().is_ok());
    setup.files.fail_to_read();
    assert!(reading.collect().await.is_err());
    assert!(setup.tier.stats().off.is_some());
}

#[tokio::test]
async fn more_than_can_be_written_in_time_is_dropped_and_nobody_waits() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    setup.files.shut();
    for number in 0..400 {
        setup.tier.offer(
            &key(&format!("/{number}")),
            &Arc::new(stored(&noise(200_000), "", None)),
            setup.moment(),
        );
    }
    assert!(setup.around.metrics.counted("dropped") > 200);
    setup.files.open_again();
    setup.tier.flush().await;
    assert!(setup.around.metrics.counted("stored") > 100);
    assert!(setup.files.most() <= LIMITS.bytes_max);
}

#[tokio::test]
async fn a_damaged_middle_of_a_large_body_ends_it_and_forgets_it() {
    let (setup, _all) = written().await;
    let last = setup.files.names().len() - 2;
    setup.files.change(last, |bytes| bytes[300_000] ^= 1);
    assert!(setup.body("/large").await.is_none());
    assert_eq!(setup.around.metrics.counted("damaged"), 1);
    assert!(setup.get("/large", None).await.is_none());
}

#[tokio::test]
async fn a_crash_while_what_was_purged_is_written_does_not_bring_it_back() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    setup.tier.note_position(PurgeId(8));
    setup.tier.flush().await;
    let since = setup.moment();
    setup.purge(&Purge::Uri(key("/a")), false);
    let position = setup.files.bytes();
    setup.files.let_write(1);
    setup.tier.offer(&key("/a"), &Arc::new(stored(b"x", "", None)), since);
    setup.tier.offer(&key("/b"), &Arc::new(stored(b"x", "", None)), since);
    while setup.files.bytes() == position {
        TokioRuntime::sleep(Duration::from_millis(5)).await;
    }
    let after = Setup::new(setup.files.copied(), LIMITS);
    setup.files.open_again();
    after.tier.flush().await;
    assert!(after.get("/a", None).await.is_none());
    setup.tier.flush().await;
    assert!(setup.get("/a", None).await.is_none());
    let after = Setup::new(setup.files.copied(), LIMITS);
    after.tier.flush().await;
    assert!(after.get("/a", None).await.is_none() && after.get("/b", None).await.is_some());
}

#[tokio::test]
async fn files_that_cannot_be_segments_and_records_of_others_are_not_taken() {
    let (before, all) = written().await;
    let files = before.files.copied();
    for id in [u64::MAX, 1 << 40] {
        files.create(&segment::name_of(id)).unwrap();
    }
    // The first one once more, as another and as the same one twice.
    let mut first = Vec::new();
    files.change(0, |bytes| {
        first = bytes.clone();
        bytes.extend_from_slice(&first);
    });
    files.create(&segment::name_of(1 << 30)).unwrap().write_at(&first, 0).unwrap();
    let after = Setup::new(files, LIMITS);
    assert_eq!(found(&after, &all).await, all.len());
    assert_eq!(after.tier.stats().entries, all.len() as u64);
    let names = after.files.names();
    assert!([u64::MAX, 1 << 40, 1 << 30].iter().all(|id| !names.contains(&segment::name_of(*id))));
    after.keep("/new", stored(b"new", "", None)).await;
    assert_eq!(after.body("/new").await.unwrap(), "new");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever happens to the files: what is given back is what was stored, or nothing.
    #[test]
    fn nothing_but_what_was_stored_comes_back(
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 1_u8..), 0..4),
        cut in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
        restarts in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut setup, all) = written().await;
            let segments = setup.files.names().len() - 1;
            for (nth, at, with) in flips {
                setup.files.change(nth.index(segments), |bytes| {
                    // Most of it is body: heads are hit as often.
                    let within = if with.is_multiple_of(2) { bytes.len() } else { bytes.len().min(600) };
                    bytes[at.index(within)] ^= with;
                });
            }
            if let Some((nth, at)) = cut {
                setup.files.change(nth.index(segments), |bytes| bytes.truncate(at.index(bytes.len())));
            }
            if restarts {
                setup = Setup::new(setup.files.copied(), LIMITS);
            }
            found(&setup, &all).await;
            assert!(setup.tier.stats().off.is_none());
        });
    }
}
