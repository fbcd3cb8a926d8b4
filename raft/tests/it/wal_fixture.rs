//! Format 1: a segment and an identity written once are read for ever.
//!
//! `HEXPOP_WRITE_FIXTURES=1 cargo test -p hexpop-raft fixture` writes them anew; a change of a byte is a
//! change of the format.

use std::{collections::BTreeMap, fs, path::PathBuf};

use bytes::Bytes;
use hexpop_edge_config::RaftId;
use hexpop_raft::{
    FsDisk, MemDisk, identity,
    wal::{LogPosition, LogVote, NewGroup, Wal},
};

use crate::wal_model::{LOG, entry, id, ignore, open, small_options, submit};

type Files = BTreeMap<String, Vec<u8>>;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/v1/wal")
}

/// One of each kind of record, but the copies that come with age.
fn written_now() -> Files {
    let disk = MemDisk::new();
    identity::load_or_create(&*disk, LOG.0).unwrap();
    let mut wal = open(&disk).unwrap().0;
    let handle = wal.handle();
    submit(handle.create(id(0), NewGroup::default()));
    let child = NewGroup {
        about: Bytes::from_static(b"about it"),
        vote: Some(LogVote { term: 4, node: 9, committed: true }),
        purged: Some(LogPosition { term: 4, index: 10 }),
    };
    submit(handle.create(id(5), child));
    submit(handle.create(id(6), NewGroup::default()));
    let (meta, shard, gone) =
        (handle.group(id(0)).unwrap(), handle.group(id(5)).unwrap(), handle.group(id(6)).unwrap());
    submit(meta.save_vote(LogVote { term: 1, node: 0x5eed, committed: false }));
    meta.try_append((0..4).map(|n| entry(n, 1, 12)).collect(), ignore()).unwrap();
    submit(meta.truncate(3));
    submit(meta.purge(LogPosition { term: 1, index: 0 }));
    meta.save_committed(Some(LogPosition { term: 1, index: 2 })).unwrap();
    wal.step().unwrap();
    shard.try_append(vec![entry(11, 4, 30)], ignore()).unwrap();
    submit(gone.save_vote(LogVote { term: 2, node: 1, committed: false }));
    submit(gone.destroy());
    wal.step().unwrap();
    disk.contents()
}

fn fixture() -> Files {
    let files = fs::read_dir(folder()).unwrap().map(|file| file.unwrap());
    files.map(|f| (f.file_name().into_string().unwrap(), fs::read(f.path()).unwrap())).collect()
}

#[test]
fn the_fixture_is_written_on_demand_and_the_same_as_now() {
    let now = written_now();
    if std::env::var_os("HEXPOP_WRITE_FIXTURES").is_some() {
        fs::create_dir_all(folder()).unwrap();
        for (name, bytes) in &now {
            fs::write(folder().join(name), bytes).unwrap();
        }
    }
    assert!(fixture() == now, "the bytes of format 1 have changed");
}

#[test]
fn the_fixture_is_read() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in fixture() {
        fs::write(dir.path().join(name), bytes).unwrap();
    }
    let disk = std::sync::Arc::new(FsDisk::open(dir.path()).unwrap());
    assert_eq!(identity::load_or_create(&*disk, 1).unwrap(), LOG);
    let (mut wal, recovery) = Wal::open(disk, LOG, small_options()).unwrap();
    assert_eq!(recovery.torn, None);
    let handle = wal.handle();
    let groups = handle.groups();
    assert_eq!(groups, [(id(0), Bytes::new()), (id(5), Bytes::from_static(b"about it"))]);

    let meta = handle.group(id(0)).unwrap();
    let view = meta.view().unwrap();
    assert_eq!(view.vote, Some(LogVote { term: 1, node: 0x5eed, committed: false }));
    assert_eq!(view.purged, Some(LogPosition { term: 1, index: 0 }));
    assert_eq!(view.committed, Some(LogPosition { term: 1, index: 2 }));
    assert_eq!(meta.read(0..9, usize::MAX).unwrap(), [entry(1, 1, 12), entry(2, 1, 12)]);

    let shard = handle.group(id(5)).unwrap();
    let view = shard.view().unwrap();
    assert_eq!(view.vote, Some(LogVote { term: 4, node: 9, committed: true }));
    assert_eq!(view.purged, Some(LogPosition { term: 4, index: 10 }));
    assert_eq!(shard.read(0..99, usize::MAX).unwrap(), [entry(11, 4, 30)]);

    submit(handle.create(id(6), NewGroup::default()));
    wal.step().unwrap();
    let again = handle.group(id(6)).unwrap().view().unwrap();
    assert_eq!(again.vote, Some(LogVote { term: 2, node: 1, committed: false }));
}

#[test]
fn an_identity_is_kept_and_a_half_wiped_directory_refused() {
    let disk = MemDisk::new();
    assert_eq!(identity::load_or_create(&*disk, 7).unwrap(), RaftId(7));
    assert_eq!(identity::load_or_create(&*disk, 8).unwrap(), RaftId(7));
    let durable = disk.after_power_cut(&mut hexpop_raft::Split::new(0));
    assert_eq!(identity::load_or_create(&*durable, 8).unwrap(), RaftId(7));
    let mut files = disk.contents();
    files.get_mut("identity").unwrap()[17] ^= 1;
    assert!(identity::load_or_create(&*MemDisk::with(&files), 8).is_err());
    let mut files = written_now();
    files.remove("identity");
    assert!(identity::load_or_create(&*MemDisk::with(&files), 8).is_err());
}

#[test]
fn a_directory_has_one_process() {
    let dir = tempfile::tempdir().unwrap();
    let first = FsDisk::open(dir.path().join("data")).unwrap();
    assert!(FsDisk::open(dir.path().join("data")).is_err());
    drop(first);
    FsDisk::open(dir.path().join("data")).unwrap();
}
