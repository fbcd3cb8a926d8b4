use bytes::Bytes;
use http::{HeaderValue, header};
use proptest::prelude::*;

use super::*;
use crate::cache::{disk::tests::stored, stored::Payload};

#[derive(Debug, Clone)]
enum Step {
    Insert { key: usize, language: Option<&'static str>, tag: &'static str, roll: bool },
    ForgetVariant { key: usize, language: Option<&'static str> },
    ForgetOne { nth: usize },
    Purge { purge: Purge, soft: bool },
    RetireOldest,
    RemoveEmpty,
}

fn key(number: usize) -> CacheKey {
    CacheKey::of_parts("http://a.test", &format!("/{number}"))
}

fn any_language() -> impl Strategy<Value = Option<&'static str>> {
    prop_oneof![Just(None), Just(Some("it")), Just(Some("de"))]
}

fn any_step() -> impl Strategy<Value = Step> {
    let insert = (0..4_usize, any_language(), prop_oneof![Just("t"), Just("u")], any::<bool>());
    let purge = prop_oneof![
        (0..4_usize).prop_map(|number| Purge::Uri(key(number))),
        prop_oneof![Just("t"), Just("u")].prop_map(|tag| Purge::Tag(tag.into())),
        "/[0-3]?".prop_map(|path| Purge::Prefix { origin: None, path }),
        (0..4_usize).prop_map(|number| Purge::Target(format!("/{number}"))),
        Just(Purge::All),
    ];
    prop_oneof![
        6 => insert.prop_map(|(key, language, tag, roll)| Step::Insert { key, language, tag, roll }),
        1 => (0..4_usize, any_language())
            .prop_map(|(key, language)| Step::ForgetVariant { key, language }),
        1 => (0..20_usize).prop_map(|nth| Step::ForgetOne { nth }),
        2 => (purge, any::<bool>()).prop_map(|(purge, soft)| Step::Purge { purge, soft }),
        1 => Just(Step::RetireOldest),
        1 => Just(Step::RemoveEmpty),
    ]
}

fn variant(language: Option<&'static str>, tag: &str) -> Stored {
    let vary = if language.is_some() { "accept-language" } else { "" };
    let mut stored = stored(b"x", vary, language);
    stored.tags = Arc::from([tag.into()]);
    stored
}

fn request(language: Option<&'static str>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Some(language) = language {
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language));
    }
    headers
}

/// What is remembered by just looking at all of it.
#[derive(Debug)]
struct One {
    id: u64,
    key: usize,
    language: Option<&'static str>,
    tag: &'static str,
    segment: u64,
    stale: bool,
}

fn hits(purge: &Purge, one: &One) -> bool {
    purge.hits(&key(one.key), &[one.tag.into()])
}

fn insert(catalog: &mut Catalog<u64>, one: &One) {
    let place = Place { segment: one.segment, offset: one.id, head_bytes: 1, body_bytes: 1 };
    let entry = Entry::of(one.id, place, &variant(one.language, one.tag));
    catalog.insert(&key(one.key), entry);
}

fn agree(catalog: &Catalog<u64>, all: &[One], now: Duration) -> Result<(), TestCaseError> {
    prop_assert_eq!(catalog.size().0, all.len() as u64);
    for number in 0..4 {
        for language in [None, Some("it"), Some("de")] {
            let found = catalog.find(&key(number), &request(language));
            let of_key = all.iter().filter(|one| one.key == number);
            let matching = of_key.filter(|one| one.language.is_none() || one.language == language);
            let expected = matching.max_by_key(|one| one.id);
            prop_assert_eq!(found.as_ref().map(|found| found.0.id), expected.map(|one| one.id));
            if let (Some((entry, segment)), Some(one)) = (found, expected) {
                prop_assert_eq!(segment, one.segment);
                prop_assert_eq!(!entry.freshness.is_fresh(entry.resident(now)), one.stale);
            }
        }
        prop_assert_eq!(catalog.has(&key(number)), all.iter().any(|one| one.key == number));
    }
    let dead: BTreeSet<(u64, u64)> = catalog.dead.iter().copied().collect();
    prop_assert!(all.iter().all(|one| !dead.contains(&(one.segment, one.id))));
    Ok(())
}

proptest! {
    #[test]
    fn it_is_as_looking_at_all_of_it(steps in proptest::collection::vec(any_step(), 1..60)) {
        let now = Duration::from_secs(1);
        let mut catalog: Catalog<u64> = Catalog::default();
        let mut all: Vec<One> = Vec::new();
        let (mut segment, mut id) = (0, 0);
        for step in steps {
            match step {
                Step::Insert { key, language, tag, roll } => {
                    if roll || catalog.segment(segment).is_none() {
                        segment += 1;
                        catalog.add_segment(segment, segment);
                    }
                    id += 1;
                    all.retain(|one| (one.key, one.language) != (key, language));
                    let one = One { id, key, language, tag, segment, stale: false };
                    insert(&mut catalog, &one);
                    all.push(one);
                }
                Step::ForgetVariant { key: number, language } => {
                    catalog.forget_variant(&key(number), &variant(language, "t"));
                    all.retain(|one| (one.key, one.language) != (number, language));
                }
                Step::ForgetOne { nth } if nth < all.len() => {
                    let one = all.remove(nth);
                    prop_assert!(catalog.forget(&key(one.key), one.id));
                }
                Step::ForgetOne { .. } => prop_assert!(!catalog.forget(&key(0), u64::MAX)),
                Step::Purge { purge, soft } => {
                    let elsewhere = |other: &CacheKey| *other == key(0);
                    let hit = catalog.purge(&purge, soft, now, elsewhere);
                    let of_it: Vec<&One> = all.iter().filter(|one| hits(&purge, one)).collect();
                    prop_assert_eq!(hit, of_it.iter().filter(|one| one.key != 0).count());
                    if soft {
                        all.iter_mut().filter(|one| hits(&purge, one)).for_each(|one| one.stale = true);
                    } else {
                        all.retain(|one| !hits(&purge, one));
                    }
                }
                Step::RetireOldest => {
                    if let Some((oldest, count)) = catalog.retire_oldest(|_| true) {
                        let before = all.len();
                        all.retain(|one| one.segment != oldest);
                        prop_assert_eq!(count, (before - all.len()) as u64);
                    }
                }
                Step::RemoveEmpty => {
                    for empty in catalog.empty_segments() {
                        prop_assert!(all.iter().all(|one| one.segment != empty));
                        prop_assert_eq!(catalog.retire(empty).map(|gone| gone.1), Some(0));
                    }
                }
            }
            agree(&catalog, &all, now)?;
        }
        while catalog.retire_oldest(|_| true).is_some() {}
        prop_assert_eq!(catalog.size(), (0, 0));
        prop_assert_eq!(catalog.index.len(), (0, 0));
        prop_assert!(catalog.dead.is_empty());
    }
}

#[test]
fn what_came_or_was_forgotten_since_recovery_began_is_told_until_it_ends() {
    let mut catalog: Catalog<u64> = Catalog::default();
    catalog.forget_variant(&key(0), &variant(None, "t"));
    assert!(!catalog.is_renewed(&key(0)));
    catalog.begin_recovery();
    assert!(!catalog.is_renewed(&key(0)), "of before");
    catalog.forget_variant(&key(0), &variant(None, "t"));
    assert!(catalog.is_renewed(&key(0)) && !catalog.is_renewed(&key(1)));
    catalog.end_recovery();
    assert!(!catalog.is_renewed(&key(0)));
}

#[test]
fn names_of_what_is_dead_are_weighed_until_their_segment_is_gone() {
    let mut catalog: Catalog<u64> = Catalog::default();
    catalog.add_segment(1, 1);
    for id in 0..1000 {
        insert(
            &mut catalog,
            &One { id, key: 0, language: None, tag: "t", segment: 1, stale: false },
        );
    }
    let names = catalog.segments[&1].keys.len() * (key(0).len() + size_of::<CacheKey>());
    assert!(catalog.size().1 > names as u64, "{:?}", catalog.size());
    catalog.purge(&Purge::All, false, Duration::ZERO, |_| false);
    assert!(catalog.size().1 > names as u64, "{:?}", catalog.size());
    catalog.retire(1);
    assert_eq!(catalog.size(), (0, 0));
}

#[test]
fn an_older_record_of_the_same_variant_does_not_replace_a_newer_one() {
    let mut catalog: Catalog<u64> = Catalog::default();
    catalog.add_segment(1, 1);
    catalog.add_segment(2, 2);
    let one = |id, segment| One { id, key: 0, language: None, tag: "t", segment, stale: false };
    insert(&mut catalog, &one(20, 2));
    // As it is found on disk after the start, when another has come already.
    insert(&mut catalog, &one(10, 1));
    assert_eq!(catalog.find(&key(0), &request(None)).unwrap().0.id, 20);
    assert_eq!(catalog.take_dead(), [(1, 10)]);
}

#[test]
fn variants_are_bounded_and_heads_are_weighed() {
    let mut catalog: Catalog<u64> = Catalog::default();
    catalog.add_segment(1, 1);
    for id in 0..40 {
        let mut stored = variant(Some("it"), "t");
        stored.selected_by = vec![Some(id.to_string().into_bytes())];
        let place = Place { segment: 1, offset: id, head_bytes: 1, body_bytes: 1 };
        catalog.insert(&key(0), Entry::of(id, place, &stored));
    }
    assert_eq!(catalog.entries(&key(0)).len(), VARIANTS_MAX);
    let before = catalog.size().1;
    let mut head = variant(Some("it"), "t");
    head.payload = Payload::Whole(Bytes::from(vec![0; 1000]));
    catalog.attach_head(&key(0), 39, Arc::new(head.clone()));
    assert!(catalog.size().1 > before + 1000);
    head.tags = Arc::from(["v".into()]);
    catalog.set_head(&key(0), 39, Arc::new(head));
    assert_eq!(catalog.purge(&Purge::Tag("v".into()), false, Duration::ZERO, |_| false), 1);
}

#[test]
fn what_a_purge_of_everything_hit_says_so_on_disk_where_its_segment_is_written_to_still() {
    let mut catalog: Catalog<u64> = Catalog::default();
    catalog.add_segment(1, 1);
    let one = |id| One { id, key: 0, language: None, tag: "t", segment: 1, stale: false };
    insert(&mut catalog, &one(1));
    catalog.purge(&Purge::All, false, Duration::ZERO, |_| false);
    insert(&mut catalog, &one(2));
    assert!(catalog.empty_segments().is_empty());
    assert_eq!(catalog.take_dead(), [(1, 1)]);
}
