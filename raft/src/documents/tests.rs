//! Documents that come back, and those that do not.

use std::io::BufRead as _;

use hexpop_shard::LogPosition;

use super::*;

fn doc(id: &str, index: u64) -> DocRef {
    DocRef { id: id.to_owned(), position: LogPosition { term: 1, index } }
}

#[test]
fn versions_and_groups_are_kept_apart() {
    let dir = tempfile::tempdir().unwrap();
    let documents = Documents::open(dir.path(), 1 << 20).unwrap();
    let mut one = documents.group(hexpop_edge_config::ShardId(1));
    let two = documents.group(hexpop_edge_config::ShardId(2));
    one.put(&doc("a", 1), b"old");
    one.put(&doc("a", 2), b"new");
    one.remove(&doc("a", 1));
    let found = one.get_many(&[doc("a", 1), doc("a", 2)]);
    assert_eq!(found, [None, Some(b"new".as_slice().into())]);
    assert_eq!(two.get_many(&[doc("a", 2)]), [None]);
    assert_eq!(one.take_missing(9), [doc("a", 1)]);
    assert!(one.take_missing(9).is_empty());
}

#[test]
fn a_damaged_document_is_missing_until_it_is_put_again() {
    let dir = tempfile::tempdir().unwrap();
    let at = doc("a", 1);
    {
        let documents = Documents::open(dir.path(), 0).unwrap();
        let mut group = documents.group(hexpop_edge_config::ShardId(1));
        group.put(&at, b"document");
        let Cold::Disk { tree, .. } = &documents.store.cold else { panic!() };
        let mut value = tree.get(group.key(&at)).unwrap().unwrap().to_vec();
        value[6] ^= 1;
        tree.insert(group.key(&at), value).unwrap();
        documents.flush();
    }
    let mut group = Documents::open(dir.path(), 0).unwrap().group(hexpop_edge_config::ShardId(1));
    assert!(group.get(&at).is_none());
    group.put(&at, b"document");
    assert!(group.get(&at).is_some());
}

#[test]
fn a_database_that_does_not_open_is_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("documents");
    // Where sled has a file.
    std::fs::create_dir_all(path.join("db")).unwrap();
    let mut group = Documents::open(&path, 0).unwrap().group(hexpop_edge_config::ShardId(1));
    group.put(&doc("a", 1), b"document");
    assert!(group.get(&doc("a", 1)).is_some());
    assert!(dir.path().join("documents.damaged").exists());
}

#[test]
fn documents_are_compressed_on_disk_and_whole_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let documents = Documents::open(dir.path(), 1 << 20).unwrap();
    let mut group = documents.group(hexpop_edge_config::ShardId(1));
    let document =
        br#"{"id":"a","listingType":"sale","propertyType":"apartment","status":"active"}"#;
    group.put(&doc("a", 1), document);
    let Cold::Disk { tree, .. } = &documents.store.cold else { panic!() };
    let key = group.key(&doc("a", 1));
    assert!(tree.get(&key).unwrap().unwrap().len() < document.len() / 2);
    assert_eq!(documents.store.hot.get(&key).as_deref(), Some(document.as_slice()));
}

#[test]
fn values_of_the_time_before_forms_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let documents = Documents::open(dir.path(), 1 << 20).unwrap();
    let group = documents.group(hexpop_edge_config::ShardId(1));
    let Cold::Disk { tree, .. } = &documents.store.cold else { panic!() };
    for index in 0..600 {
        // Among so many checksums are some that begin like a form.
        let (key, text) = (group.key(&doc("a", index)), format!("document {index}"));
        tree.insert(&key, value::tests::formless_value(&key, text.as_bytes())).unwrap();
    }
    for index in 0..600 {
        let text = format!("document {index}");
        assert_eq!(group.get(&doc("a", index)).as_deref(), Some(text.as_bytes()));
    }
}

#[test]
fn a_batch_is_answered_in_its_order_whatever_is_hot() {
    let documents = Documents::in_memory(1 << 20);
    let mut group = documents.group(hexpop_edge_config::ShardId(1));
    for id in ["d", "a", "c", "b"] {
        group.put(&doc(id, 1), id.as_bytes());
    }
    documents.store.hot.invalidate_all();
    group.get(&doc("c", 1)).unwrap();
    let wanted = ["d", "x", "c", "a", "y", "d", "b"].map(|id| doc(id, 1));
    let found = group.get_many(&wanted);
    let found: Vec<_> = found.iter().map(|it| it.as_deref().unwrap_or(b"-")).collect();
    assert_eq!(found, [b"d", b"-", b"c", b"a", b"-", b"d", b"b"]);
    assert_eq!(group.take_missing(9), [doc("x", 1), doc("y", 1)]);
}

#[test]
fn what_is_read_in_bulk_does_not_become_hot() {
    let documents = Documents::in_memory(1 << 20);
    let mut group = documents.group(hexpop_edge_config::ShardId(1));
    let all: Vec<_> = (0..PAGE_MAX as u64 + 1).map(|index| doc("a", index)).collect();
    for at in &all {
        group.put(at, b"document");
    }
    let hot = || {
        documents.store.hot.run_pending_tasks();
        documents.store.hot.entry_count()
    };
    documents.store.hot.invalidate_all();
    assert!(group.get_many(&all).iter().all(Option::is_some));
    assert_eq!(hot(), 0);
    assert!(group.get_many(&all[1..]).iter().all(Option::is_some));
    assert_eq!(hot(), PAGE_MAX as u64);
}

/// The documents of the real listings of `HEXPOP_TEST_DATA`, every `step`th.
fn real_documents(step: usize) -> Vec<String> {
    let Some(folder) = std::env::var_os("HEXPOP_TEST_DATA") else { return Vec::new() };
    let mut files: Vec<_> = std::fs::read_dir(Path::new(&folder).join("listings"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut documents = Vec::new();
    for path in files {
        let file = io::BufReader::new(std::fs::File::open(path).unwrap());
        let lines = io::BufReader::new(flate2::bufread::MultiGzDecoder::new(file)).lines();
        for line in lines.step_by(step) {
            let listing = hexpop_shard::Listing::parse(line.unwrap().as_bytes()).unwrap();
            documents.push(listing.document);
        }
    }
    documents
}

/// Prints what compression costs and saves: `cargo test -p hexpop-raft real_documents -- --nocapture`
#[test]
#[expect(clippy::disallowed_methods, reason = "it measures time")]
fn real_documents_take_less_than_half_the_room() {
    let documents = real_documents(16);
    if documents.is_empty() {
        return;
    }
    let raw: usize = documents.iter().map(String::len).sum();
    let sealed: Vec<_> = documents.iter().map(|it| value::seal(b"key", it.as_bytes())).collect();
    let stored: usize = sealed.iter().map(Vec::len).sum();
    let count = documents.len();
    // Of each batch the best of some runs: others use this machine too.
    let per_document = |run: &dyn Fn(usize)| {
        let batches = (0..count).step_by(100).map(|begin| {
            let batch = begin..(begin + 100).min(count);
            (0..5)
                .map(|_| {
                    let before = std::time::Instant::now();
                    batch.clone().for_each(run);
                    before.elapsed().as_nanos()
                })
                .min()
                .unwrap()
        });
        batches.sum::<u128>() / count as u128
    };
    let seal_ns = per_document(&|at| {
        std::hint::black_box(value::seal(b"key", documents[at].as_bytes()));
    });
    let unseal_ns = per_document(&|at| {
        assert!(std::hint::black_box(value::unseal(b"key", &sealed[at])).is_some());
    });
    println!(
        "{count} documents: {} -> {} bytes each, ratio {:.2}; seal {seal_ns} ns, unseal {unseal_ns} ns",
        raw / count,
        stored / count,
        raw as f64 / stored as f64,
    );
    assert!(stored * 2 < raw, "{stored} of {raw}");
    for (document, sealed) in documents.iter().zip(&sealed) {
        assert_eq!(value::unseal(b"key", sealed).as_deref(), Some(document.as_bytes()));
    }
}
