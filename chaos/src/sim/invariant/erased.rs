//! What was erased leaves the disks: value and key, once the receipts say so.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{GroupId, RaftId};
use hexpop_raft::MemDisk;
use hexpop_shard::ShardState;

use crate::sim::seal::KEY_MARK;

/// What values begin with, and what they end with.
const VALUE_MARKS: (&[u8], u8) = (b"\"v", b'"');

/// Keys, values, and replicas whose disks are not rid of what was erased.
#[derive(Debug, Default)]
pub(in crate::sim) struct Erased {
    /// The values that were sealed under each key, by what is between their marks.
    under: BTreeMap<u64, BTreeSet<Vec<u8>>>,
    due: BTreeMap<(RaftId, GroupId), u64>,
}

/// What must be on no disk any more.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::sim) struct Gone {
    values: BTreeSet<Vec<u8>>,
    keys: BTreeSet<u64>,
}

impl Erased {
    /// A value was sealed, to be written.
    pub(in crate::sim) fn sealed(&mut self, key: u64, clear: &[u8]) {
        let value = inner(clear).unwrap_or(clear);
        self.under.entry(key).or_default().insert(value.to_vec());
    }

    /// A replica has reached a state. Answers whether its disk became rid of what was erased.
    pub(super) fn reached(&mut self, raft: RaftId, group: GroupId, state: &ShardState) -> bool {
        let Some(sessions) = state.as_sessions() else { return false };
        match sessions.erasure_due_at(raft) {
            Some(index) => {
                self.due.insert((raft, group), index);
                false
            }
            None => self.due.remove(&(raft, group)).is_some(),
        }
    }

    /// Whether a replica's disk is to be rid of something still.
    pub(in crate::sim) fn is_due(&self, raft: RaftId, group: GroupId) -> bool {
        self.due.contains_key(&(raft, group))
    }

    /// What must be gone when these values must be: keys under which nothing else was ever sealed.
    pub(in crate::sim) fn gone<'a>(&self, values: impl Iterator<Item = &'a str>) -> Gone {
        let values: BTreeSet<Vec<u8>> =
            values.filter_map(|value| Some(inner(value.as_bytes())?.to_vec())).collect();
        let keys = self.under.iter().filter(|(_, under)| under.is_subset(&values));
        Gone { keys: keys.map(|(key, _)| *key).collect(), values }
    }
}

impl Gone {
    /// How many keys there are.
    pub(in crate::sim) fn keys(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Looks for all of it in whatever a crash may leave of a disk.
    pub(in crate::sim) fn search(&self, what: &str, disk: &MemDisk) -> Result<(), String> {
        for bytes in disk.remains() {
            for at in places(&bytes, VALUE_MARKS.0) {
                let value = bytes.get(at..).and_then(inner);
                if let Some(value) = value.filter(|value| self.values.contains(*value)) {
                    let value = String::from_utf8_lossy(value);
                    return Err(format!("value {value} of an erased user is on {what}"));
                }
            }
            for at in places(&bytes, KEY_MARK) {
                let id = bytes.get(at + KEY_MARK.len()..).and_then(|rest| rest.first_chunk::<8>());
                if let Some(id) =
                    id.map(|id| u64::from_be_bytes(*id)).filter(|id| self.keys.contains(id))
                {
                    return Err(format!("key {id:016x} of an erased user is on {what}"));
                }
            }
        }
        Ok(())
    }
}

/// What is between the marks of the value that these bytes begin with.
fn inner(bytes: &[u8]) -> Option<&[u8]> {
    let rest = bytes.strip_prefix(VALUE_MARKS.0)?;
    let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    (rest.get(end) == Some(&VALUE_MARKS.1)).then(|| rest.get(..end))?
}

fn places<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(move |(_, found)| *found == wanted)
        .map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hexpop_raft::{Disk, Split};

    use super::*;
    use crate::sim::seal::key_bytes;

    fn with(bytes: &[u8]) -> Arc<MemDisk> {
        let disk = MemDisk::new();
        let file = disk.open("a", true).unwrap();
        file.write_at(0, bytes).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir().unwrap();
        disk
    }

    #[test]
    fn values_and_keys_are_found_wherever_a_crash_may_leave_them() {
        let mut erased = Erased::default();
        erased.sealed(7, b"\"v12\"");
        erased.sealed(8, b"\"v12\"");
        erased.sealed(8, b"\"v13\"");
        let gone = erased.gone(["\"v12\""].into_iter());
        assert_eq!(gone.keys(), 1, "one of the keys is another value's too");
        let is_found = |bytes: &[u8]| gone.search("a disk", &with(bytes)).is_err();
        assert!(is_found(b"xx\"v12\"yy") && is_found(&key_bytes(7)));
        assert!(!is_found(b"\"v1\" \"v123\" v12") && !is_found(&key_bytes(8)));
        // Removed, but a power cut may bring it back.
        let disk = with(b"\"v12\"");
        disk.remove("a").unwrap();
        assert!(gone.search("a disk", &disk).is_err());
        disk.sync_dir().unwrap();
        gone.search("a disk", &disk).unwrap();
        gone.search("a disk", &disk.after_power_cut(&mut Split::new(1))).unwrap();
    }
}
