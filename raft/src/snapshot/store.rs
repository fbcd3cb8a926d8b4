//! Writing snapshots, and finding them again.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hexpop_edge_config::{GroupId, RaftId, ShardId, codec};
use parking_lot::Mutex;

use super::{CHUNK_BYTES_MAX, ChunkMeta, Manifest, SnapshotFiles, SnapshotId};
use crate::{
    disk::{Disk, DiskFile},
    staging::is_staged,
    types::{LogId, StoredMembership},
};

const MANIFEST: &str = ".manifest";
const ASIDE: &str = ".tmp";

/// All snapshots of a node.
#[derive(Debug)]
pub(crate) struct SnapshotStore {
    disk: Arc<dyn Disk>,
    writer: RaftId,
    chunk_bytes: usize,
    nonce: AtomicU64,
    current: Mutex<BTreeMap<GroupId, SnapshotFiles>>,
    /// How often the snapshots of a group were destroyed: whoever began before that writes no more.
    /// openraft's workers may outlive the instance that they belong to.
    lives: Mutex<BTreeMap<GroupId, u64>>,
    /// One commit at a time, so that an older snapshot never replaces a newer one.
    committing: Mutex<()>,
}

impl SnapshotStore {
    /// Opens what is there and removes the remains of unfinished snapshots. A manifest that does
    /// not decode, or whose chunks are missing or of another length, is an error: log entries
    /// before it may be gone.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        writer: RaftId,
        chunk_bytes: usize,
    ) -> io::Result<Arc<Self>> {
        let names = disk.list()?;
        let mut current = BTreeMap::new();
        let mut live = BTreeSet::new();
        let mut nonce = 0;
        for name in names.iter().filter(|name| name.ends_with(MANIFEST)) {
            let opened = read_manifest(disk.as_ref(), name)
                .and_then(|manifest| open_chunks(disk.as_ref(), manifest));
            let files = match opened {
                // Others have it too.
                Err(error) if manifest_group(name).is_some_and(is_staged) => {
                    tracing::warn!(%name, %error, "what was staged for a merge is damaged");
                    continue;
                }
                opened => opened?,
            };
            if files.manifest().id.writer == writer.0 {
                nonce = nonce.max(files.manifest().id.nonce + 1);
            }
            live.insert(name.clone());
            live.extend(chunk_names(files.manifest()));
            current.insert(files.manifest().group, files);
        }
        for name in names.iter().filter(|name| !live.contains(*name)) {
            disk.remove(name)?;
        }
        disk.sync_dir()?;
        Ok(Arc::new(Self {
            disk,
            writer,
            chunk_bytes: chunk_bytes.clamp(1 << 10, CHUNK_BYTES_MAX / 2),
            nonce: AtomicU64::new(nonce),
            current: Mutex::new(current),
            lives: Mutex::default(),
            committing: Mutex::new(()),
        }))
    }

    /// The snapshot of a group.
    pub(crate) fn current(&self, group: GroupId) -> Option<SnapshotFiles> {
        self.current.lock().get(&group).cloned()
    }

    /// The groups that have one.
    pub(crate) fn groups(&self) -> Vec<GroupId> {
        self.current.lock().keys().copied().collect()
    }

    /// Removes every snapshot of a group, for good: once this returns no crash brings them back.
    ///
    /// # Errors
    /// Whatever the directory answers: some of them may be there still.
    pub(crate) fn destroy(&self, group: GroupId) -> io::Result<()> {
        let _one = self.committing.lock();
        *self.lives.lock().entry(group).or_default() += 1;
        let (manifest, chunks) = (manifest_name(group), format!("g{group}-"));
        let names = self.disk.list()?;
        // First, and for good: a manifest whose chunks are missing keeps the node from starting.
        if names.contains(&manifest) {
            self.disk.remove(&manifest)?;
            self.disk.sync_dir()?;
        }
        for name in names.iter().filter(|name| name.starts_with(&chunks)) {
            match self.disk.remove(name) {
                // Whoever gave it up was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        self.disk.sync_dir()?;
        self.current.lock().remove(&group);
        Ok(())
    }

    /// Begins to write a snapshot of the state at `last`.
    pub(crate) fn writer(
        self: &Arc<Self>,
        group: GroupId,
        last: Option<LogId>,
        membership: StoredMembership,
    ) -> Writer {
        let (term, index) = last.map_or((0, 0), |last| (last.leader_id.term, last.index));
        let nonce = self.nonce.fetch_add(1, Ordering::Relaxed);
        let id = SnapshotId { term, index, writer: self.writer.0, nonce };
        Writer {
            store: Arc::clone(self),
            life: self.life(group),
            manifest: Manifest { group, id, last, membership, chunks: Vec::new() },
            files: Vec::new(),
            buffer: Vec::with_capacity(self.chunk_bytes + (64 << 10)),
            committed: false,
        }
    }

    /// In which of its lives a group is here: see [`destroy`](Self::destroy).
    pub(super) fn life(&self, group: GroupId) -> u64 {
        self.lives.lock().get(&group).copied().unwrap_or_default()
    }

    fn check_life(&self, group: GroupId, life: u64) -> io::Result<()> {
        if self.life(group) == life {
            return Ok(());
        }
        Err(io::Error::other("the snapshots of the group were destroyed meanwhile"))
    }

    /// Creates the file of a chunk, unless the group's snapshots were destroyed since `life`. One of
    /// the same name, of an attempt that failed, is replaced.
    pub(super) fn create_chunk(
        &self,
        group: GroupId,
        life: u64,
        name: &str,
    ) -> io::Result<Arc<dyn DiskFile>> {
        let _one = self.committing.lock();
        self.check_life(group, life)?;
        match self.disk.open(name, true) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.disk.remove(name)?;
                self.disk.open(name, true)
            }
            opened => opened,
        }
    }

    /// Removes chunks that were given up, unless they went with the group's snapshots since `life`: a
    /// later life may have some of the same names.
    pub(super) fn give_up(&self, group: GroupId, life: u64, names: impl Iterator<Item = String>) {
        let _one = self.committing.lock();
        if self.check_life(group, life).is_err() {
            return;
        }
        for name in names {
            if let Err(error) = self.disk.remove(&name) {
                tracing::debug!(%name, %error, "a chunk of a given-up snapshot stays");
            }
        }
    }

    /// Makes a snapshot, whose chunks are durable, the group's; removes the one before. Not if there
    /// is a newer one: the log before that may be gone.
    pub(super) fn commit(&self, files: SnapshotFiles) -> io::Result<()> {
        let _one = self.committing.lock();
        let manifest = files.manifest();
        let group = manifest.group;
        self.check_life(group, files.life)?;
        if self.current(group).is_some_and(|known| known.manifest().id.index > manifest.id.index) {
            return Err(io::Error::other("a newer snapshot was installed meanwhile"));
        }
        let name = manifest_name(group);
        let aside = format!("g{}-{}{ASIDE}", manifest.group, manifest.id);
        let mut bytes = codec::encode(manifest).map_err(io::Error::other)?;
        bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
        let file = self.disk.open(&aside, true)?;
        file.write_at(0, &bytes)?;
        file.sync_data()?;
        // The chunks' names must be durable before the manifest that names them is.
        self.disk.sync_dir()?;
        self.disk.rename(&aside, &name)?;
        self.disk.sync_dir()?;
        let names: BTreeSet<_> = chunk_names(manifest).collect();
        let before = self.current.lock().insert(group, files);
        for name in before.iter().flat_map(|before| chunk_names(before.manifest())) {
            if !names.contains(&name)
                && let Err(error) = self.disk.remove(&name)
            {
                tracing::warn!(%name, %error, "a chunk of an old snapshot was not removed");
            }
        }
        Ok(())
    }

    /// Removes what is left of a group's snapshots from before the entry of `index`, for good: once
    /// this returns no crash brings their chunks back.
    ///
    /// # Errors
    /// The group having no snapshot from there or later, and whatever the directory answers: some of
    /// them may be there still.
    pub(crate) fn rid_before(&self, group: GroupId, index: u64) -> io::Result<()> {
        // No snapshot is replaced meanwhile.
        let _one = self.committing.lock();
        let current = self
            .current(group)
            .filter(|files| files.manifest().id.index >= index)
            .ok_or_else(|| io::Error::other("no snapshot from there or later"))?;
        let live: BTreeSet<_> = chunk_names(current.manifest()).collect();
        for name in self.disk.list()? {
            let is_old = chunk_index(group, &name).is_some_and(|of| of < index);
            if is_old && !live.contains(&name) {
                match self.disk.remove(&name) {
                    // Whoever gave it up was faster.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    removed => removed?,
                }
            }
        }
        // Those that were removed before may be so for the running process alone.
        self.disk.sync_dir()
    }

    /// Whether a received or written snapshot is the group's already.
    pub(crate) fn is_current(&self, group: GroupId, id: SnapshotId) -> bool {
        self.current.lock().get(&group).is_some_and(|files| files.manifest().id == id)
    }

    /// Makes a received snapshot the group's, unless it is.
    pub(crate) fn adopt(&self, files: &SnapshotFiles) -> io::Result<()> {
        let manifest = files.manifest();
        if self.is_current(manifest.group, manifest.id) {
            return Ok(());
        }
        self.commit(files.clone())
    }
}

fn manifest_name(group: GroupId) -> String {
    format!("g{group}{MANIFEST}")
}

/// The group that a manifest is of, by its name.
fn manifest_group(name: &str) -> Option<GroupId> {
    name.strip_prefix('g')?.strip_suffix(MANIFEST)?.parse().ok().map(ShardId)
}

fn chunk_names(manifest: &Manifest) -> impl Iterator<Item = String> + '_ {
    (0..).take(manifest.chunks.len()).map(|number| manifest.chunk_name(number))
}

/// The last entry in the snapshot that a chunk file of a group is of, by the file's name.
fn chunk_index(group: GroupId, name: &str) -> Option<u64> {
    let id = name.strip_prefix(&format!("g{group}-t"))?;
    let (_term, rest) = id.split_once("-i")?;
    rest.split_once('-')?.0.parse().ok()
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn read_manifest(disk: &dyn Disk, name: &str) -> io::Result<Manifest> {
    let file = disk.open(name, false)?;
    let size = usize::try_from(file.size()?).map_err(io::Error::other)?;
    let mut bytes = vec![0; size];
    file.read_at(0, &mut bytes)?;
    let (body, crc) =
        bytes.split_last_chunk::<4>().ok_or_else(|| invalid(format!("{name} is too short")))?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return Err(invalid(format!("{name} is damaged")));
    }
    let manifest: Manifest =
        codec::decode(body).map_err(|error| invalid(format!("{name}: {error}")))?;
    if manifest.is_sane() { Ok(manifest) } else { Err(invalid(format!("{name} is not sane"))) }
}

fn open_chunks(disk: &dyn Disk, manifest: Manifest) -> io::Result<SnapshotFiles> {
    let mut chunks: Vec<Arc<dyn DiskFile>> = Vec::with_capacity(manifest.chunks.len());
    for (name, meta) in chunk_names(&manifest).zip(&manifest.chunks) {
        let file = disk.open(&name, false)?;
        if file.size()? != u64::from(meta.len) {
            return Err(invalid(format!("{name} has another length than its manifest says")));
        }
        chunks.push(file);
    }
    Ok(SnapshotFiles { manifest: Arc::new(manifest), chunks: chunks.into(), life: 0 })
}

/// A snapshot being written. What was written is removed when it is dropped unfinished.
#[derive(Debug)]
pub(crate) struct Writer {
    store: Arc<SnapshotStore>,
    life: u64,
    manifest: Manifest,
    files: Vec<Arc<dyn DiskFile>>,
    buffer: Vec<u8>,
    committed: bool,
}

impl Writer {
    /// Adds a record; writes a chunk when enough of them are gathered. Nothing is flushed yet.
    pub(crate) fn record(&mut self, record: &[u8]) -> io::Result<()> {
        let length = u32::try_from(record.len()).map_err(io::Error::other)?;
        if record.len() + 4 > CHUNK_BYTES_MAX {
            return Err(invalid("a record is larger than a chunk may be".to_owned()));
        }
        if !self.buffer.is_empty() && self.buffer.len() + 4 + record.len() > self.store.chunk_bytes
        {
            self.write_chunk()?;
        }
        self.buffer.extend_from_slice(&length.to_le_bytes());
        self.buffer.extend_from_slice(record);
        Ok(())
    }

    fn write_chunk(&mut self) -> io::Result<()> {
        let number = u32::try_from(self.files.len()).map_err(io::Error::other)?;
        let len = u32::try_from(self.buffer.len()).map_err(io::Error::other)?;
        let name = self.manifest.chunk_name(number);
        let file = self.store.create_chunk(self.manifest.group, self.life, &name)?;
        // Known before it is written, so that a failure removes it.
        self.files.push(Arc::clone(&file));
        self.manifest.chunks.push(ChunkMeta { len, crc: crc32fast::hash(&self.buffer) });
        file.write_at(0, &self.buffer)?;
        self.buffer.clear();
        Ok(())
    }

    /// Makes the snapshot durable and the group's current one.
    pub(crate) fn finish(mut self) -> io::Result<SnapshotFiles> {
        if !self.buffer.is_empty() {
            self.write_chunk()?;
        }
        for file in &self.files {
            file.sync_data()?;
        }
        let files = SnapshotFiles {
            manifest: Arc::new(self.manifest.clone()),
            chunks: self.files.clone().into(),
            life: self.life,
        };
        self.store.commit(files.clone())?;
        self.committed = true;
        Ok(files)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.committed {
            let names = chunk_names(&self.manifest);
            self.store.give_up(self.manifest.group, self.life, names);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        disk::FsDisk,
        mem_disk::{MemDisk, Split},
        types::log_id,
    };

    fn open(dir: &std::path::Path) -> Arc<SnapshotStore> {
        SnapshotStore::open(Arc::new(FsDisk::open(dir).unwrap()), RaftId(7), 1 << 10).unwrap()
    }

    fn write(store: &Arc<SnapshotStore>, index: u64, records: usize) -> SnapshotFiles {
        let mut writer =
            store.writer(GroupId::default(), Some(log_id(1, index)), StoredMembership::default());
        for number in 0..records {
            writer.record(format!("record {number} of {index}").as_bytes()).unwrap();
        }
        writer.finish().unwrap()
    }

    #[test]
    fn a_snapshot_is_found_again_and_replaces_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let old = write(&store, 5, 300);
        assert!(old.manifest().chunks.len() > 1);
        write(&store, 9, 200);
        assert_eq!(old.records().count(), 300, "an open snapshot stays readable");
        drop((store, old));
        let store = open(dir.path());
        let files = store.current(GroupId::default()).unwrap();
        assert_eq!(files.manifest().id.index, 9);
        let records: Vec<_> = files.records().collect::<io::Result<_>>().unwrap();
        assert_eq!(records.len(), 200);
        assert_eq!(records[199], b"record 199 of 9");
    }

    #[test]
    fn a_snapshot_that_was_half_destroyed_keeps_no_node_from_starting() {
        for change in 1..10 {
            let disk = MemDisk::new();
            let store = SnapshotStore::open(disk.clone(), RaftId(7), 1 << 10).unwrap();
            let written = write(&store, 5, 300).manifest().chunks.len();
            assert!(written > 3);
            disk.fail_in(change);
            let destroyed = store.destroy(GroupId::default());
            drop(store);
            let afterwards = (0..8).map(|seed| disk.after_power_cut(&mut Split::new(seed)));
            for disk in afterwards.chain([disk.after_kill()]) {
                let store = SnapshotStore::open(disk, RaftId(7), 1 << 10).unwrap();
                let is_there = store.current(GroupId::default()).is_some();
                assert!(!is_there || destroyed.is_err(), "{change}");
            }
        }
    }

    #[test]
    fn what_was_not_finished_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        write(&store, 5, 3);
        std::fs::write(dir.path().join("g0-t1-i8-w0000000000000007-n1.00000"), b"half").unwrap();
        std::fs::write(dir.path().join("g0-t1-i8-w0000000000000007-n1.tmp"), b"half").unwrap();
        drop(store);
        let store = open(dir.path());
        assert_eq!(store.current(GroupId::default()).unwrap().manifest().id.index, 5);
        // The lock, the manifest and one chunk.
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);
    }

    /// A disk on which the chunk of a snapshot at 5 outlived the one at 9, and the store over it.
    fn with_remains() -> (Arc<MemDisk>, Arc<SnapshotStore>) {
        for calls in 1..50 {
            let disk = MemDisk::new();
            let store = SnapshotStore::open(disk.clone(), RaftId(7), 1 << 10).unwrap();
            write(&store, 5, 3);
            let mut writer =
                store.writer(GroupId::default(), Some(log_id(1, 9)), StoredMembership::default());
            writer.record(b"record").unwrap();
            disk.fail_in(calls);
            let written = writer.finish();
            disk.fail_in(0);
            if written.is_ok() && chunks_of(&disk, 5) > 0 {
                return (disk, store);
            }
        }
        panic!("removing an old chunk never failed");
    }

    fn chunks_of(disk: &MemDisk, index: u64) -> usize {
        let of = |name: &String| chunk_index(GroupId::default(), name) == Some(index);
        disk.contents().keys().filter(|name| of(name)).count()
    }

    #[test]
    fn chunks_that_were_not_removed_are_on_demand_and_for_good() {
        let (disk, store) = with_remains();
        let group = GroupId::default();
        disk.fail_in(1);
        store.rid_before(group, 9).unwrap_err();
        disk.fail_in(2);
        store.rid_before(group, 9).unwrap_err();
        store.rid_before(group, 9).unwrap();
        assert_eq!((chunks_of(&disk, 5), chunks_of(&disk, 9)), (0, 1));
        for seed in 0..8 {
            assert_eq!(chunks_of(&disk.after_power_cut(&mut Split::new(seed)), 5), 0);
        }
        assert!(store.rid_before(group, 10).is_err(), "there is none past that");
        assert_eq!(chunks_of(&disk, 9), 1);
    }

    #[test]
    fn a_group_s_snapshots_are_destroyed_for_good_and_no_other_s() {
        let disk = MemDisk::new();
        let store = SnapshotStore::open(disk.clone(), RaftId(7), 1 << 10).unwrap();
        let other = ShardId(10);
        write(&store, 5, 300);
        let mut writer = store.writer(other, Some(log_id(1, 4)), StoredMembership::default());
        writer.record(b"another group's").unwrap();
        writer.finish().unwrap();
        store.destroy(GroupId::default()).unwrap();
        assert!(store.current(GroupId::default()).is_none());
        for seed in 0..8 {
            let disk = disk.after_power_cut(&mut Split::new(seed));
            let store = SnapshotStore::open(disk, RaftId(7), 1 << 10).unwrap();
            assert_eq!(store.groups(), [other]);
        }
    }

    #[test]
    fn damage_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        let files = write(&store, 5, 3);
        let path = dir.path().join(files.manifest().chunk_name(0));
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[10] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        drop((store, files));
        let files = open(dir.path()).current(GroupId::default()).unwrap();
        assert!(files.records().any(|record| record.is_err()));
    }
}
