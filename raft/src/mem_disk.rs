//! A disk in memory that forgets like a real one: what was not flushed may be lost or torn at a
//! crash, directory changes may be undone, and a failed flush drops what it could not write while
//! reads still show it. For tests and for the simulator.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, MutexGuard};

use crate::disk::{Disk, DiskFile};

/// What a crash keeps or loses as a whole.
const UNIT: usize = 32;

/// A small generator of repeatable choices: `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug, Clone)]
pub struct Split(u64);

impl Split {
    /// The numbers that follow from `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One of `0..n`, which must not be empty.
    pub const fn below(&mut self, n: u64) -> u64 {
        self.next_u64() % n
    }
}

/// A [`Disk`] in memory. A clone is the same disk.
#[derive(Debug, Clone, Default)]
pub struct MemDisk {
    inner: Arc<Inner>,
}

/// What happens at a certain change of a disk.
type Hook = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Inner {
    dir: Mutex<Dir>,
    syncs: AtomicU64,
    /// Calls that change something, until one fails; 0 for never.
    fail_in: AtomicU64,
    /// Calls that failed so.
    failed: AtomicU64,
    /// Bytes of all files together; 0 for no limit.
    capacity: AtomicU64,
    /// Writes that had no room.
    refused: AtomicU64,
    used: AtomicU64,
    /// Held by a test to keep flushes waiting.
    gate: Mutex<()>,
    /// Calls that change something, until the process dies at one; 0 for never.
    die_in: AtomicU64,
    at_death: Mutex<Option<Hook>>,
    /// The process that had it is dead: no call does anything any more.
    dead: AtomicBool,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inner").field("used", &self.used).finish_non_exhaustive()
    }
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
    /// Weak, since the disk holds its files.
    disk: Weak<Inner>,
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
    let end = offset.saturating_add(bytes.len());
    data.resize(data.len().max(end), 0);
    if let Some(place) = data.get_mut(offset..end) {
        place.copy_from_slice(bytes);
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

impl MemDisk {
    /// An empty disk without limits.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// How often a file was flushed.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.inner.syncs.load(Ordering::SeqCst)
    }

    /// The `n`th call from now that changes something fails; 0 for never.
    pub fn fail_in(&self, n: u64) {
        self.inner.fail_in.store(n, Ordering::SeqCst);
    }

    /// The process dies at the `n`th call from now that changes something: that call may or may not
    /// have reached the page cache, later ones do nothing, and `at_death` is called.
    pub fn die_in(&self, n: u64, at_death: impl FnOnce() + Send + 'static) {
        *self.inner.at_death.lock() = Some(Box::new(at_death));
        self.inner.die_in.store(n, Ordering::SeqCst);
    }

    /// All files together have room for so many bytes; 0 for no limit.
    pub fn set_capacity(&self, bytes: u64) {
        self.inner.capacity.store(bytes, Ordering::SeqCst);
    }

    /// How many calls failed because of [`fail_in`](Self::fail_in).
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.inner.failed.load(Ordering::SeqCst)
    }

    /// How many writes had no room.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.inner.refused.load(Ordering::SeqCst)
    }

    /// Bytes of all files together.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.inner.used.load(Ordering::SeqCst)
    }

    /// Keeps flushes waiting for as long as it is held.
    pub fn hold_flushes(&self) -> MutexGuard<'_, ()> {
        self.inner.gate.lock()
    }

    /// Whatever a crash may leave of the files that are or were here, each as it is, as it was flushed
    /// last, and every write that is not flushed.
    #[must_use]
    pub fn remains(&self) -> Vec<Vec<u8>> {
        let dir = self.inner.dir.lock();
        let added = dir.changes.iter().filter_map(|change| match change {
            Change::Add(_, file) => Some(file),
            Change::Remove(_) | Change::Rename(..) => None,
        });
        let mut files: Vec<&Arc<MemFile>> = dir.now.values().chain(dir.durable.values()).collect();
        files.extend(added);
        files.sort_by_key(|file| Arc::as_ptr(file));
        files.dedup_by_key(|file| Arc::as_ptr(file));
        let mut remains = Vec::new();
        for file in files {
            let data = file.data.lock();
            remains.extend(data.dirty.iter().map(|(_, bytes)| bytes.clone()));
            if data.durable != data.now {
                remains.push(data.durable.clone());
            }
            remains.push(data.now.clone());
        }
        remains
    }

    /// The files as a process sees them now.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let dir = self.inner.dir.lock();
        dir.now.iter().map(|(name, file)| (name.clone(), file.data.lock().now.clone())).collect()
    }

    /// A disk with these files, durable.
    #[must_use]
    pub fn with(files: &BTreeMap<String, Vec<u8>>) -> Arc<Self> {
        let disk = Self::new();
        let names = files.iter().map(|(name, bytes)| {
            let data = Data { now: bytes.clone(), durable: bytes.clone(), dirty: Vec::new() };
            let file = MemFile { data: Mutex::new(data), disk: Arc::downgrade(&disk.inner) };
            (name.clone(), Arc::new(file))
        });
        disk.fill(names.collect());
        disk
    }

    /// What is there after the process died, the page cache with what it wrote being intact.
    #[must_use]
    pub fn after_kill(&self) -> Arc<Self> {
        Self::copy(&self.inner.dir.lock().now, Data::clone)
    }

    /// What is there after a power cut: unflushed writes are kept, lost or torn, unsynced directory
    /// changes are kept or not, each by itself.
    pub fn after_power_cut(&self, random: &mut Split) -> Arc<Self> {
        let dir = self.inner.dir.lock();
        let mut names = dir.durable.clone();
        for change in dir.changes.iter().filter(|_| random.below(2) == 0) {
            apply(&mut names, change.clone());
        }
        let manner = random.below(4);
        Self::copy(&names, |data| {
            let mut after = data.durable.clone();
            for (offset, bytes) in &data.dirty {
                let cut = random.below(bytes.len() as u64 + 1);
                for (start, unit) in (0_u64..).step_by(UNIT).zip(bytes.chunks(UNIT)) {
                    let kept = match manner {
                        0 => false,
                        1 => start < cut,
                        2 => start >= cut,
                        _ => random.below(2) == 0,
                    };
                    if kept && let Ok(start) = usize::try_from(start) {
                        write(&mut after, offset + start, unit);
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
        let files = names.iter().map(|(name, file)| {
            let data = Mutex::new(content(&file.data.lock()));
            (name.clone(), Arc::new(MemFile { data, disk: Arc::downgrade(&disk.inner) }))
        });
        disk.fill(files.collect());
        disk
    }

    fn fill(&self, files: BTreeMap<String, Arc<MemFile>>) {
        let used = files.values().map(|file| file.data.lock().now.len() as u64).sum();
        self.inner.used.store(used, Ordering::SeqCst);
        let mut dir = self.inner.dir.lock();
        dir.now.clone_from(&files);
        dir.durable = files;
    }
}

impl Inner {
    /// What goes wrong with a call that changes something. `Ok(true)`: the process dies with it.
    fn fault(&self) -> io::Result<bool> {
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("the process is dead"));
        }
        let left = self.die_in.load(Ordering::SeqCst);
        if left > 0 {
            self.die_in.store(left - 1, Ordering::SeqCst);
            if left == 1 {
                self.dead.store(true, Ordering::SeqCst);
                if let Some(at_death) = self.at_death.lock().take() {
                    at_death();
                }
                return Ok(true);
            }
        }
        let left = self.fail_in.load(Ordering::SeqCst);
        if left == 0 {
            return Ok(false);
        }
        self.fail_in.store(left - 1, Ordering::SeqCst);
        if left > 1 {
            return Ok(false);
        }
        self.failed.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::other("injected"))
    }

    /// As [`fault`](Self::fault), for calls of which nothing remains when the process dies.
    fn fault_or_death(&self) -> io::Result<()> {
        if self.fault()? { Err(io::Error::other("the process dies")) } else { Ok(()) }
    }
}

impl Disk for MemDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.dir.lock().now.keys().cloned().collect())
    }

    fn open(&self, name: &str, create: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut dir = self.inner.dir.lock();
        match (dir.now.get(name), create) {
            (Some(_), true) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, false) => return Err(io::ErrorKind::NotFound.into()),
            (Some(file), false) => return Ok(Arc::<MemFile>::clone(file)),
            (None, true) => {}
        }
        self.inner.fault_or_death()?;
        let file = Arc::new(MemFile { data: Mutex::default(), disk: Arc::downgrade(&self.inner) });
        let change = Change::Add(name.to_owned(), Arc::clone(&file));
        apply(&mut dir.now, change.clone());
        dir.changes.push(change);
        Ok(file)
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.fault_or_death()?;
        let mut dir = self.inner.dir.lock();
        let Some(file) = dir.now.get(name) else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes = file.data.lock().now.len() as u64;
        self.inner.used.fetch_sub(bytes, Ordering::SeqCst);
        let change = Change::Remove(name.to_owned());
        apply(&mut dir.now, change.clone());
        dir.changes.push(change);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.fault_or_death()?;
        let mut dir = self.inner.dir.lock();
        if !dir.now.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if let Some(replaced) = dir.now.get(to).filter(|_| from != to) {
            let bytes = replaced.data.lock().now.len() as u64;
            self.inner.used.fetch_sub(bytes, Ordering::SeqCst);
        }
        let change = Change::Rename(from.to_owned(), to.to_owned());
        apply(&mut dir.now, change.clone());
        dir.changes.push(change);
        Ok(())
    }

    fn sync_dir(&self) -> io::Result<()> {
        self.inner.fault_or_death()?;
        let mut dir = self.inner.dir.lock();
        dir.durable = dir.now.clone();
        dir.changes.clear();
        Ok(())
    }
}

impl MemFile {
    fn disk(&self) -> io::Result<Arc<Inner>> {
        self.disk.upgrade().ok_or_else(|| io::Error::other("the disk is gone"))
    }
}

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.data.lock().now.len() as u64)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<()> {
        let data = self.data.lock();
        let from = place(offset)?;
        let bytes = data.now.get(from..from.saturating_add(buf.len()));
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let disk = self.disk()?;
        let dies = disk.fault()?;
        let mut data = self.data.lock();
        let from = place(offset)?;
        let grown = from.saturating_add(bytes.len()).saturating_sub(data.now.len()) as u64;
        let capacity = disk.capacity.load(Ordering::SeqCst);
        if capacity > 0 && disk.used.load(Ordering::SeqCst) + grown > capacity {
            disk.refused.fetch_add(1, Ordering::SeqCst);
            return Err(io::ErrorKind::StorageFull.into());
        }
        disk.used.fetch_add(grown, Ordering::SeqCst);
        write(&mut data.now, from, bytes);
        data.dirty.push((from, bytes.to_vec()));
        if dies { Err(io::Error::other("the process dies")) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        let disk = self.disk()?;
        drop(disk.gate.lock());
        if disk.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("the process is dead"));
        }
        disk.syncs.fetch_add(1, Ordering::SeqCst);
        // A process that dies here leaves the pages dirty: any of them may or may not be written.
        if disk.die_in.load(Ordering::SeqCst) == 1 {
            return disk.fault_or_death();
        }
        let mut data = self.data.lock();
        let dirty = std::mem::take(&mut data.dirty);
        // After a failure the pages count as clean: a later flush does not write them.
        disk.fault_or_death()?;
        for (offset, bytes) in dirty {
            write(&mut data.durable, offset, &bytes);
        }
        Ok(())
    }
}
