use http_body_util::BodyExt as _;

use super::*;

#[tokio::test]
async fn what_memory_has_no_room_for_comes_back_as_it_was() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let kept = Stored { tags: Arc::from(["t".into()]), ..stored(&noise(100_000), "", None) };
    setup.keep("/a", kept.clone()).await;
    let back = setup.get("/a", None).await.unwrap();
    assert_eq!(
        (&back.payload, &back.headers, &back.tags),
        (&kept.payload, &kept.headers, &kept.tags)
    );
    assert_eq!((&back.freshness, back.number, back.arrived), (&kept.freshness, 0, Duration::ZERO));
    assert!(setup.get("/b", None).await.is_none());
    assert_eq!(setup.around.metrics.counted("hit"), 1);
    assert_eq!(setup.tier.stats().entries, 1);
    // It is there still: nothing is written when memory drops it again.
    let bytes = setup.files.bytes();
    setup.tier.offer(&key("/a"), &back, setup.moment());
    setup.tier.flush().await;
    assert_eq!((setup.files.bytes(), setup.around.metrics.counted("stored")), (bytes, 1));
}

#[tokio::test]
async fn variants_are_told_apart_and_an_empty_body_is_one() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    for language in ["it", "de"] {
        // Both are on their way at a time.
        let stored = stored(language.as_bytes(), "accept-language", Some(language));
        setup.tier.offer(&key("/a"), &Arc::new(stored), setup.moment());
    }
    setup.keep("/b", stored(b"", "", None)).await;
    let of = |stored: Arc<Stored>| match &stored.payload {
        Payload::Whole(bytes) => bytes.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(setup.get("/a", Some("it")).await.unwrap()), "it");
    assert_eq!(of(setup.get("/a", Some("de")).await.unwrap()), "de");
    assert!(setup.get("/a", Some("fr")).await.is_none());
    assert_eq!(of(setup.get("/b", None).await.unwrap()), "");
}

#[tokio::test]
async fn a_large_body_streams_whole_and_in_parts() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let body = noise(700_000);
    setup.keep_large("/a", &body, 10_007).await;
    assert_eq!(setup.body("/a").await.unwrap(), body);
    let back = setup.get("/a", None).await.unwrap();
    let Payload::Disk(on_disk) = &back.payload else { panic!("{:?}", back.payload) };
    assert_eq!((on_disk.length(), back.length()), (700_000, 700_000));
    for part in [0..1, 65_535..65_537, 65_536..131_072, 300_000..699_999, 699_999..700_000, 5..5] {
        let read = on_disk.part(part.clone()).collect().await.unwrap().to_bytes();
        let range = usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap();
        assert_eq!(read, body[range]);
    }
}

#[tokio::test]
async fn a_large_body_that_does_not_come_to_its_end_leaves_nothing() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let head = Arc::new(stored(b"", "", None));
    let mut large = setup.tier.begin_large(&key("/a"), &head, setup.moment()).unwrap();
    large.append(&Bytes::from(noise(300_000)));
    assert!(
        setup.tier.begin_large(&key("/a"), &head, setup.moment()).is_none(),
        "one copy at a time"
    );
    drop(large);
    let mut too_long = setup.tier.begin_large(&key("/a"), &head, setup.moment()).unwrap();
    too_long.append(&Bytes::from(noise(800_000)));
    too_long.append(&Bytes::from(noise(800_000)));
    too_long.finish();
    // The thread looks after those that are lost now and then.
    while setup.files.bytes() > 0 {
        setup.tier.flush().await;
        TokioRuntime::sleep(Duration::from_millis(20)).await;
    }
    assert!(setup.get("/a", None).await.is_none());
    setup.keep_large("/a", b"abc", 2).await;
    assert_eq!(setup.body("/a").await.unwrap(), "abc");
}

#[tokio::test]
async fn bytes_are_bounded_at_every_moment_and_the_oldest_goes() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    for number in 0..100 {
        setup.keep(&format!("/{number}"), stored(&noise(100_000), "", None)).await;
        if number % 10 == 0 {
            setup.keep_large(&format!("/large/{number}"), &noise(600_000), 60_000).await;
        }
    }
    assert!(setup.files.most() <= LIMITS.bytes_max, "{}", setup.files.most());
    assert!(setup.files.most() > LIMITS.bytes_max / 2);
    assert!(setup.get("/0", None).await.is_none());
    assert_eq!(setup.body("/99").await.unwrap(), noise(100_000));
    assert_eq!(setup.body("/large/90").await.unwrap().len(), 600_000);
    assert!(setup.around.metrics.counted("evicted") > 50);
    assert_eq!(setup.tier.stats().bytes, setup.files.bytes());
}

#[tokio::test]
async fn names_are_bounded_too() {
    let limits = Limits { catalog_bytes_max: 40_000, ..LIMITS };
    let setup = Setup::new(MemFiles::new(), limits);
    for number in 0..300 {
        setup.keep(&format!("/{number}"), stored(b"x", "", None)).await;
        let (_entries, weight) = setup.tier.shared.catalog.lock().size();
        assert!(weight <= 41_000, "{weight}");
    }
    assert!(setup.get("/299", None).await.is_some());
}

#[tokio::test]
async fn who_reads_slowly_keeps_what_he_reads_and_nobody_from_being_stored() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let body = noise(900_000);
    setup.keep_large("/slow", &body, 90_000).await;
    let found = setup.get("/slow", None).await.unwrap();
    let Payload::Disk(on_disk) = &found.payload else { panic!("{:?}", found.payload) };
    let mut reading = on_disk.part(0..on_disk.length());
    let first = reading.frame().await.unwrap().unwrap().into_data().unwrap();
    for number in 0..100 {
        setup.keep(&format!("/{number}"), stored(&noise(100_000), "", None)).await;
    }
    let rest = reading.collect().await.unwrap().to_bytes();
    assert_eq!([first, rest].concat(), body);
    assert!(setup.body("/99").await.is_some());
    assert!(setup.files.most() <= LIMITS.bytes_max);
}

#[tokio::test]
async fn purges_and_writes_are_obeyed_also_by_what_is_on_its_way() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let tagged = |tag: &str| Stored { tags: Arc::from([tag.into()]), ..stored(b"x", "", None) };
    setup.keep("/a", tagged("t")).await;
    setup.keep("/b", tagged("u")).await;
    setup.files.shut();
    // All of these are still to be written.
    let since = setup.moment();
    setup.tier.offer(&key("/c"), &Arc::new(tagged("t")), since);
    setup.tier.offer(&key("/d"), &Arc::new(tagged("u")), since);
    setup.tier.offer(&key("/e"), &Arc::new(tagged("u")), since);
    assert_eq!(setup.purge(&Purge::Tag("t".into()), false), 1);
    setup.tier.forget_variant(&key("/d"), &tagged("u"));
    setup.files.open_again();
    setup.tier.flush().await;
    for (path, is_there) in
        [("/a", false), ("/b", true), ("/c", false), ("/d", false), ("/e", true)]
    {
        assert_eq!(setup.get(path, None).await.is_some(), is_there, "{path}");
    }
    assert_eq!(setup.purge(&Purge::Uri(key("/b")), true), 1);
    let now = (setup.around.now)().uptime;
    let stale = setup.get("/b", None).await.unwrap();
    assert!(!stale.freshness.is_fresh(stale.resident(now)), "soft: stale, and there");
    assert_eq!(setup.purge(&Purge::All, false), 2);
    assert!(setup.get("/b", None).await.is_none() && setup.get("/e", None).await.is_none());
    setup.tier.flush().await;
    assert_eq!(setup.tier.stats().bytes, 0, "nothing is left of what is dead");
}

#[tokio::test]
async fn what_waits_to_be_written_is_found_until_it_is_purged_or_forgotten() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let tagged =
        |tag: &str| Arc::new(Stored { tags: Arc::from([tag.into()]), ..stored(b"x", "", None) });
    setup.keep("/written", stored(b"old", "", None)).await;
    setup.files.shut();
    let since = setup.moment();
    let all = ["/a", "/b", "/c", "/d"].map(|path| {
        let one = tagged(path);
        setup.tier.offer(&key(path), &one, since);
        one
    });
    for (path, one) in ["/a", "/b", "/c", "/d"].iter().zip(&all) {
        assert!(setup.tier.has(&key(path)));
        assert!(Arc::ptr_eq(&setup.get(path, None).await.unwrap(), one));
    }
    // Memory took it back, and has no room for it again.
    setup.tier.offer(&key("/a"), &all[0], setup.moment());
    let newer = Stored { date_ms: 1, number: 7, ..stored(b"new", "", None) };
    setup.tier.offer(&key("/written"), &Arc::new(newer), since);
    assert_eq!(setup.get("/written", None).await.unwrap().number, 7, "the later one");
    setup.purge(&Purge::Tag("/b".into()), false);
    setup.purge(&Purge::Uri(key("/c")), true);
    setup.tier.forget_variant(&key("/d"), &all[3]);
    for path in ["/b", "/c", "/d"] {
        assert!(setup.get(path, None).await.is_none(), "{path}");
    }
    setup.files.open_again();
    setup.tier.flush().await;
    assert_eq!(setup.around.metrics.counted("stored"), 3, "each once");
    for (path, is_there) in [("/a", true), ("/b", false), ("/c", false), ("/d", false)] {
        assert_eq!(setup.get(path, None).await.is_some(), is_there, "{path}");
    }
    assert_eq!(setup.body("/written").await.unwrap(), "new");
}

#[tokio::test]
async fn what_waits_to_be_written_goes_where_a_head_is_of_another_one() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    setup.files.shut();
    for path in ["/same", "/other", "/gone"] {
        setup.tier.offer(&key(path), &Arc::new(stored(b"x", "", None)), setup.moment());
    }
    setup.tier.change(&key("/same"), |stored| Some(Arc::clone(stored)));
    setup.tier.change(&key("/other"), |stored| Some(Arc::new(Stored::clone(stored))));
    setup.tier.change(&key("/gone"), |_stored| None);
    setup.files.open_again();
    setup.tier.flush().await;
    assert!(setup.get("/same", None).await.is_some());
    assert!(setup.get("/other", None).await.is_none() && setup.get("/gone", None).await.is_none());
}

#[tokio::test]
async fn a_body_that_is_not_read_in_time_comes_from_elsewhere_or_breaks_off() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let body = noise(700_000);
    setup.keep_large("/a", &body, 70_000).await;
    let found = setup.get("/a", None).await.unwrap();
    let Payload::Disk(on_disk) = &found.payload else { panic!("{:?}", found.payload) };
    let rest = Bytes::from(body.clone());
    let elsewhere = on_disk.or_from(Arc::new(move |part| {
        let range = usize::try_from(part.start).unwrap()..usize::try_from(part.end).unwrap();
        let rest = rest.slice(range);
        Box::pin(async move { Some(crate::full(rest)) })
    }));
    let [mut broken, mut continued] = [on_disk, &elsewhere].map(|from| from.part(0..700_000));
    let mut first = Vec::new();
    for reading in [&mut broken, &mut continued] {
        first.push(reading.frame().await.unwrap().unwrap().into_data().unwrap());
    }
    setup.files.shut_reading();
    setup.late.send_replace(true);
    // What was read at a time is still there.
    assert!(broken.collect().await.unwrap_err().to_string().contains("in time"));
    let rest = continued.collect().await.unwrap().to_bytes();
    assert_eq!([&first[1][..], &rest].concat(), body);
    setup.files.open_again();
    setup.late.send_replace(false);
    assert_eq!(setup.around.metrics.counted("busy"), 2);
    assert_eq!(setup.body("/a").await.unwrap(), body, "it is there still");
}

#[tokio::test]
async fn a_confirmed_head_replaces_the_one_that_is_kept() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let body = noise(400_000);
    setup.keep_large("/a", &body, 50_000).await;
    let old = setup.get("/a", None).await.unwrap();
    let mut new = Stored::clone(&old);
    new.headers.insert(header::AGE, HeaderValue::from_static("7"));
    new.freshness.lifetime = Duration::from_secs(700);
    assert!(setup.tier.refresh(&key("/a"), &new, setup.moment()));
    let back = setup.get("/a", None).await.unwrap();
    assert_eq!((&back.headers, &back.freshness), (&new.headers, &new.freshness));
    assert_eq!(setup.body("/a").await.unwrap(), body);
    let began = setup.moment();
    setup.purge(&Purge::Uri(key("/a")), false);
    assert!(!setup.tier.refresh(&key("/a"), &new, began));
    assert!(setup.get("/a", None).await.is_none());
}

#[tokio::test]
async fn what_names_somebody_or_is_of_no_use_is_not_written() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let mut by_cookie = stored(b"secret", "", None);
    by_cookie.vary = vec![header::COOKIE];
    by_cookie.selected_by = vec![Some(b"session=secret".to_vec())];
    setup.keep("/a", by_cookie).await;
    setup.keep("/api/v1/sessions/it-lombardia.secret", stored(b"secret", "", None)).await;
    setup.keep("/api/v1/users/u1/export", stored(b"secret", "", None)).await;
    let mut useless = stored(b"x", "", None);
    useless.headers.remove(header::ETAG);
    useless.freshness.lifetime = Duration::ZERO;
    setup.keep("/b", useless).await;
    let large = Arc::new(stored(b"", "", None));
    let personal = key("/api/v1/users/u1/picture");
    assert!(setup.tier.begin_large(&personal, &large, setup.moment()).is_none());
    assert_eq!((setup.files.names(), setup.around.metrics.counted("stored")), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_held_up_by_its_reader_makes_room_for_another() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    let head = Arc::new(stored(b"", "", None));
    let mut slow = setup.tier.begin_large(&key("/a"), &head, setup.moment()).unwrap();
    slow.append(&Bytes::from(noise(300_000)));
    TokioRuntime::sleep(Duration::from_secs(29)).await;
    assert!(setup.tier.begin_large(&key("/a"), &head, setup.moment()).is_none());
    TokioRuntime::sleep(Duration::from_secs(1)).await;
    let mut quick = setup.tier.begin_large(&key("/a"), &head, setup.moment()).unwrap();
    quick.append(&Bytes::from_static(b"quick"));
    slow.append(&Bytes::from_static(b"more"));
    slow.finish();
    quick.finish();
    setup.tier.flush().await;
    assert_eq!(setup.body("/a").await.unwrap(), "quick");
    assert_eq!(setup.tier.stats().entries, 1);
    assert_eq!(setup.tier.stats().bytes, setup.files.bytes());
}

#[tokio::test]
async fn who_joins_a_read_of_before_gets_what_happened_meanwhile() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    for body in [noise(1_000), noise(300_000)] {
        setup.keep("/a", stored(&body, "", None)).await;
        setup.files.shut_reading();
        let mut first = std::pin::pin!(setup.get("/a", None));
        assert!(futures::poll!(&mut first).is_pending());
        assert_eq!(setup.purge(&Purge::Uri(key("/a")), true), 1);
        let mut second = std::pin::pin!(setup.get("/a", None));
        assert!(futures::poll!(&mut second).is_pending());
        setup.files.open_again();
        for stale in [first.await.unwrap(), second.await.unwrap()] {
            assert!(!stale.freshness.is_fresh(stale.resident((setup.around.now)().uptime)));
            assert_eq!(stale.length(), body.len() as u64);
        }
        // And where it is forgotten.
        setup.keep("/a", Stored { number: 1, ..stored(&body, "", None) }).await;
        setup.files.shut_reading();
        let mut lost = std::pin::pin!(setup.get("/a", None));
        assert!(futures::poll!(&mut lost).is_pending());
        setup.tier.forget_variant(&key("/a"), &stored(b"", "", None));
        setup.files.open_again();
        assert!(lost.await.is_none());
    }
}

#[tokio::test]
async fn segments_are_bounded_also_where_each_is_small() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    setup.tier.note_position(PurgeId(1));
    for number in 0..SEGMENTS_MAX + 40 {
        setup.keep_large(&format!("/{number}"), b"x", 1).await;
        assert!(setup.tier.shared.catalog.lock().segments().len() <= SEGMENTS_MAX);
    }
    assert!(setup.get("/0", None).await.is_none());
    assert!(setup.get(&format!("/{}", SEGMENTS_MAX + 39), None).await.is_some());
    assert!(setup.files.names().len() > SEGMENTS_MAX / 2);
}

#[test]
fn a_larger_budget_has_larger_segments_and_no_body_takes_more_than_half_of_it() {
    let limits = |bytes_max| {
        let disk = DiskOptions { dir: ".".into(), bytes_max, object_bytes_max: 256 << 20 };
        let limits = Limits::of(&disk, &CacheOptions::default());
        (limits.segment_bytes, limits.object_bytes_max)
    };
    assert_eq!(limits(16 << 20), (1 << 20, 8 << 20));
    assert_eq!(limits(4 << 30), (64 << 20, 256 << 20));
    assert_eq!(limits(1 << 40), (4 << 30, 256 << 20));
}

#[tokio::test]
async fn large_bodies_on_their_way_leave_half_of_the_room_to_what_is_stored() {
    let setup = Setup::new(MemFiles::new(), LIMITS);
    for number in 0..10 {
        setup.keep(&format!("/{number}"), stored(&noise(100_000), "", None)).await;
    }
    let head = Arc::new(stored(b"", "", None));
    let begin = |number| {
        setup.tier.begin_large(&key(&format!("/large/{number}")), &head, setup.moment()).unwrap()
    };
    let mut all: Vec<Large> = (0..8).map(begin).collect();
    for _ in 0..9 {
        all.iter_mut().for_each(|large| large.append(&Bytes::from(noise(100_000))));
        setup.tier.flush().await;
    }
    all.into_iter().for_each(|large| assert!(large.finish()));
    setup.tier.flush().await;
    assert_eq!(setup.body("/large/0").await.unwrap().len(), 900_000, "the first come to their end");
    assert!(setup.get("/large/7", None).await.is_none());
    assert!(setup.around.metrics.counted("dropped") > 0);
    assert!(setup.get("/9", None).await.is_some(), "what is stored stays");
    assert_eq!(setup.around.metrics.counted("evicted"), 0);
}
