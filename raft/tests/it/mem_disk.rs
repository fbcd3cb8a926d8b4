//! A disk in memory that forgets like a real one: what was not flushed may be lost or torn at a
//! crash, directory changes may be undone, and a failed flush drops what it could not write while
//! reads still show it.

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use hexpop_raft::{Disk, DiskFile};

/// What a crash keeps or loses as a whole.
const UNIT: usize = 32;

/// A small generator; the tests need repeatable choices and nothing else.
#[derive(Debug, Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct MemDisk {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    dir: Mutex<Dir>,
    pub(crate) syncs: AtomicU64,
    /// Calls that change something, until one fails; 0 for never.
    fail_in: AtomicU64,
    /// Bytes of all files together; 0 for no limit.
    capacity: AtomicU64,
    used: AtomicU64,
    /// Held by a test to keep flushes waiting.
    gate: Mutex<()>,
}

#[derive(Debug, Default)]
struct Dir {
    now: BTreeMap<String, Arc<MemFile>>,
    durable: BTreeMap<String, Arc<MemFile>>,
    changes: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Add(String, Arc<MemFile>),
    Remove(String),
    Rename(String, String),
}

#[derive(Debug)]
struct MemFile {
    data: Mutex<Data>,
    disk: Arc<Inner>,
}

#[derive(Debug, Default, Clone)]
struct Data {
    now: Vec<u8>,
    durable: Vec<u8>,
    dirty: Vec<(usize, Vec<u8>)>,
}

fn apply(map: &mut BTreeMap<String, Arc<MemFile>>, change: Change) {
    match change {
        Change::Add(name, file) => drop(map.insert(name, file)),
        Change::Remove(name) => drop(map.remove(&name)),
        Change::Rename(from, to) => {
            if let Some(file) = map.remove(&from) {
                map.insert(to, file);
            }
        }
    }
}

fn write(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    data.resize(data.len().max(offset + bytes.len()), 0);
    data[offset..offset + bytes.len()].copy_from_slice(bytes);
}

impl MemDisk {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::SeqCst)
    }

    /// The `n`th call from now that changes something fails; 0 for never.
    pub(crate) fn fail_in(&self, n: u64) {
        self.inner.fail_in.store(n, Ordering::SeqCst);
    }

    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.inner.capacity.store(bytes, Ordering::SeqCst);
    }

    pub(crate) fn hold_flushes(&self) -> std::sync::MutexGuard<'_, ()> {
        self.inner.gate.lock().unwrap()
    }

    /// The files as a process sees them now.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let dir = self.inner.dir.lock().unwrap();
        dir.now.iter().map(|(n, f)| (n.clone(), f.data.lock().unwrap().now.clone())).collect()
    }

    /// A disk with these files, durable.
    pub(crate) fn with(files: &BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let disk = Self::new();
        for (name, bytes) in files {
            let file = disk.open(name, true).unwrap();
            file.write_at(0, bytes).unwrap();
            file.sync_data().unwrap();
        }
        disk.sync_dir().unwrap();
        disk
    }

    /// What is there after the process died, the page cache with what it wrote being intact.
    pub(crate) fn after_kill(&self) -> Arc<Self> {
        Self::copy(&self.inner.dir.lock().unwrap().now, |data| data.clone())
    }

    /// What is there after a power cut: unflushed writes are kept, lost or torn, unsynced directory
    /// changes are kept or not, each by itself.
    pub(crate) fn after_power_cut(&self, rng: &mut Rng) -> Arc<Self> {
        let dir = self.inner.dir.lock().unwrap();
        let mut names = dir.durable.clone();
        for change in dir.changes.iter().filter(|_| rng.below(2) == 0) {
            apply(&mut names, change.clone());
        }
        let manner = rng.below(4);
        Self::copy(&names, |data| {
            let mut after = data.durable.clone();
            for (offset, bytes) in &data.dirty {
                let cut = usize::try_from(rng.below(bytes.len() as u64 + 1)).unwrap();
                for (n, unit) in bytes.chunks(UNIT).enumerate() {
                    let kept = match manner {
                        0 => false,
                        1 => n * UNIT < cut,
                        2 => n * UNIT >= cut,
                        _ => rng.below(2) == 0,
                    };
                    if kept {
                        write(&mut after, offset + n * UNIT, unit);
                    }
                }
            }
            Data { now: after.clone(), durable: after, dirty: Vec::new() }
        })
    }

    fn copy(
        names: &BTreeMap<String, Arc<MemFile>>,
        mut content: impl FnMut(&Data) -> Data,
    ) -> Arc<Self> {
        let disk = Self::new();
        let mut dir = disk.inner.dir.lock().unwrap();
        for (name, file) in names {
            let data = Mutex::new(content(&file.data.lock().unwrap()));
            dir.now.insert(name.clone(), Arc::new(MemFile { data, disk: disk.inner.clone() }));
        }
        dir.durable = dir.now.clone();
        drop(dir);
        disk
    }
}

impl Inner {
    fn fault(&self) -> io::Result<()> {
        let left = self.fail_in.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(());
        }
        self.fail_in.store(left - 1, Ordering::SeqCst);
        if left == 1 { Err(io::Error::other("injected")) } else { Ok(()) }
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.dir.lock().unwrap().now.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut dir = self.inner.dir.lock().unwrap();
        match (dir.now.get(name), create) {
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (Some(file), false) => return Ok(file.clone()),
            (None, true) => {}
        }
        self.inner.fault()?;
        let file = Arc::new(MemFile { data: Mutex::default(), disk: self.inner.clone() });
        let change = Change::Add(name.to_owned(), file.clone());
        apply(&mut dir.now, change.clone());
        dir.changes.push(change);
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.fault()?;
        let mut dir = self.inner.dir.lock().unwrap();
        let Some(file) = dir.now.get(name) else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes = file.data.lock().unwrap().now.len() as u64;
        self.inner.used.fetch_sub(bytes, Ordering::SeqCst);
        let change = Change::Remove(name.to_owned());
        apply(&mut dir.now, change.clone());
        dir.changes.push(change);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.fault()?;
        let mut dir = self.inner.dir.lock().unwrap();
        if !dir.now.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let change = Change::Rename(from.to_owned(), to.to_owned());
        apply(&mut dir.now, change.clone());
        dir.changes.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.fault()?;
        let mut dir = self.inner.dir.lock().unwrap();
        dir.durable = dir.now.clone();
        dir.changes.clear();
        Ok(())
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.data.lock().unwrap().now.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let data = self.data.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let bytes = data.now.get(from..from + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.disk.fault()?;
        let mut data = self.data.lock().unwrap();
        let from = usize::try_from(offset).unwrap();
        let grown = (from + bytes.len()).saturating_sub(data.now.len()) as u64;
        let capacity = self.disk.capacity.load(Ordering::SeqCst);
        if capacity > 0 && self.disk.used.load(Ordering::SeqCst) + grown > capacity {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.disk.used.fetch_add(grown, Ordering::SeqCst);
        write(&mut data.now, from, bytes);
        data.dirty.push((from, bytes.to_vec()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.disk.gate.lock().unwrap());
        self.disk.syncs.fetch_add(1, Ordering::SeqCst);
        let mut data = self.data.lock().unwrap();
        let dirty = std::mem::take(&mut data.dirty);
        // After a failure the pages count as clean: a later flush does not write them.
        self.disk.fault()?;
        for (offset, bytes) in dirty {
            write(&mut data.durable, offset, &bytes);
        }
        Ok(())
    }
}
