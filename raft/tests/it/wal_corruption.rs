//! Damage in the middle is refused, a torn tail is cut, and the two are told apart.

use std::collections::BTreeMap;

use hexpop_edge_config::RaftId;
use hexpop_raft::{
    MemDisk, Split,
    wal::{OpenError, Wal},
};

use crate::wal_model::{LOG, Model, create, entry, id, ignore, observe, open, small_options};

type Files = BTreeMap<String, Vec<u8>>;

/// The files after each of several flushed batches of one group, and where the written bytes end.
fn batches(count: u64, bytes: usize) -> Vec<(Files, usize)> {
    let disk = MemDisk::new();
    let mut wal = open(&disk).unwrap().0;
    let log = create(&mut wal, 1);
    let mut states = Vec::new();
    for n in 0..count {
        log.try_append(vec![entry(2 * n, 1, bytes), entry(2 * n + 1, 1, bytes)], ignore()).unwrap();
        wal.step().unwrap();
        let files = disk.contents();
        let mut segments = files.iter().filter(|(name, _)| name.ends_with(".seg"));
        let newest = segments.next_back().unwrap().1;
        let end = newest.iter().rposition(|&byte| byte != 0).unwrap() + 1;
        states.push((files, end));
    }
    states
}

fn entries(files: &Files) -> Result<usize, OpenError> {
    let wal = open(&MemDisk::with(files))?.0;
    let log = wal.handle().group(id(1)).unwrap();
    Ok(log.read(0..u64::MAX, usize::MAX).unwrap().len())
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_refused_and_in_it_cut() {
    let states = batches(4, 40);
    let (before, last_begins) = &states[2];
    let (files, _) = &states[3];
    let last_begins = last_begins.next_multiple_of(8);
    assert_eq!((before.len(), files.len()), (1, 1), "one segment");
    let name = files.keys().next().unwrap().clone();
    let used = files[&name].iter().rposition(|&byte| byte != 0).unwrap() + 1;
    let mut refused = 0;
    for at in 0..used + 16 {
        for bit in [0, 3, 7] {
            let mut damaged = files.clone();
            damaged.get_mut(&name).unwrap()[at] ^= 1 << bit;
            match entries(&damaged) {
                Ok(8) => {}
                Ok(found) => assert!(at >= last_begins && (6..8).contains(&found), "{at}: {found}"),
                Err(OpenError::Corrupt { file, offset, .. }) => {
                    assert_eq!(file, name);
                    assert!(at < last_begins && offset as usize <= at, "{at}: {offset}");
                    refused += 1;
                }
                Err(other) => assert!(at < 64, "{at}: {other}"),
            }
        }
    }
    // All but the padding and the zeros of the header.
    assert!(refused > 3 * (last_begins - 100), "{refused} of {last_begins}");
}

#[test]
fn the_refusal_names_file_offset_and_group() {
    let files = &batches(3, 40)[2].0;
    let name = files.keys().next().unwrap().clone();
    let mut damaged = files.clone();
    // The payload of the first entry: behind the header and the record that creates the group.
    damaged.get_mut(&name).unwrap()[64 + 24 + 24 + 17 + 5] ^= 1;
    let error = entries(&damaged).unwrap_err();
    let text = error.to_string();
    assert!(
        text.contains(&name) && text.contains("offset 88") && text.contains("group 1"),
        "{text}"
    );
}

#[test]
fn a_later_segment_proves_the_earlier_one_whole() {
    let states = batches(30, 200);
    let files = &states.last().unwrap().0;
    assert!(files.len() > 2);
    let (first, bytes) = files.first_key_value().unwrap();
    let end = bytes.iter().rposition(|&byte| byte != 0).unwrap();
    // Its very last record, which seals it.
    let mut damaged = files.clone();
    damaged.get_mut(first).unwrap()[end] ^= 1;
    assert!(matches!(entries(&damaged), Err(OpenError::Corrupt { file, .. }) if file == *first));
    // A hole of zeros.
    let mut damaged = files.clone();
    damaged.get_mut(first).unwrap()[200..1200].fill(0);
    assert!(matches!(entries(&damaged), Err(OpenError::Corrupt { .. })));
    // The file gone: there is nothing before the second, and a gap before the third.
    let mut damaged = files.clone();
    damaged.remove(first);
    assert!(matches!(entries(&damaged), Err(OpenError::Corrupt { .. })));
    let second = files.keys().nth(1).unwrap();
    let mut damaged = files.clone();
    damaged.remove(second);
    assert!(matches!(entries(&damaged), Err(OpenError::Corrupt { file, .. }) if file == *second));
}

#[test]
fn a_batch_may_tear_anywhere_and_keeps_a_prefix() {
    let states = batches(3, 100);
    let (before, _) = &states[1];
    let (files, end) = &states[2];
    let name = files.keys().next().unwrap().clone();
    let begin = states[1].1.next_multiple_of(8);
    let mut rng = Split::new(1);
    for _ in 0..500 {
        let mut torn = before.clone();
        let bytes = torn.get_mut(&name).unwrap();
        for at in (begin..*end).step_by(16) {
            let to = (at + 16).min(*end);
            if rng.below(2) == 0 {
                bytes[at..to].copy_from_slice(&files[&name][at..to]);
            }
        }
        let disk = MemDisk::with(&torn);
        let (mut wal, recovery) = open(&disk).unwrap();
        let log = wal.handle().group(id(1)).unwrap();
        let found = log.view().unwrap().indexes.1;
        assert!((4..=6).contains(&found), "{found}");
        // What was cut does not come back, whatever is written over it.
        log.try_append(vec![entry(found, 9, rng.below(60) as usize)], ignore()).unwrap();
        wal.step().unwrap();
        let model = Model::from([(id(1), Default::default())]);
        let expected = observe(&wal.handle(), &model);
        drop(wal);
        let (wal, again) = open(&disk.after_power_cut(&mut rng)).unwrap();
        assert_eq!(observe(&wal.handle(), &model), expected);
        assert!(again.torn.is_none(), "{recovery:?} {again:?}");
    }
}

#[test]
fn another_directorys_log_and_a_newer_format_are_refused_by_name() {
    let files = &batches(1, 10)[0].0;
    let disk = MemDisk::with(files);
    let error = Wal::open(disk, RaftId(1), small_options()).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { expected: RaftId(1), found: LOG, .. }), "{error}");

    let mut newer = files.clone();
    let bytes = newer.values_mut().next().unwrap();
    bytes[8] = 2;
    let crc = crc32fast::hash(&bytes[..32]).to_le_bytes();
    bytes[32..36].copy_from_slice(&crc);
    let error = entries(&newer).unwrap_err();
    assert!(matches!(error, OpenError::TooNew { found: 2, newest: 1, .. }), "{error}");
}
