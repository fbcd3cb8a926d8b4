//! The tier over files in memory that fail, tear and flip as a test wants.

mod faults;
mod oracle;
mod tier;

use std::{
    collections::BTreeMap,
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use openraft_rt::{AsyncRuntime, Instant as _};
use openraft_rt_tokio::TokioRuntime;
use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use super::{
    files::{File, Files},
    limits::SEGMENTS_MAX,
    *,
};
use crate::cache::policy::{
    freshness::{FetchTimes, Guesses},
    storing::may_store,
};

/// A fresh response with a validator.
pub(super) fn stored(body: &[u8], vary: &'static str, language: Option<&'static str>) -> Stored {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=60"));
    headers.insert(header::ETAG, HeaderValue::from_static("\"a\""));
    if !vary.is_empty() {
        headers.insert(header::VARY, HeaderValue::from_static(vary));
    }
    let mut request = HeaderMap::new();
    if let Some(language) = language {
        request.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language));
    }
    let times = FetchTimes { received_ms: 0, delay: Duration::ZERO };
    let guesses = Guesses { heuristic_max: Duration::ZERO, negative: Duration::ZERO };
    let how = may_store(&request, StatusCode::OK, &headers, times, guesses).unwrap();
    Stored {
        status: StatusCode::OK,
        freshness: how.freshness,
        headers,
        payload: Payload::Whole(Bytes::copy_from_slice(body)),
        arrived: Duration::ZERO,
        number: 0,
        date_ms: 0,
        vary: how.vary,
        selected_by: how.selected_by,
        tags: Arc::from([]),
    }
}

pub(super) fn key(path: &str) -> CacheKey {
    CacheKey::new("http", "a.test", path)
}

type Contents = Arc<Mutex<Vec<u8>>>;

#[derive(Default)]
struct Disk {
    files: Mutex<BTreeMap<String, Contents>>,
    /// Bytes that there is room for.
    room: AtomicU64,
    fails_to_read: AtomicBool,
    /// Bytes of all files at most, so far.
    most: AtomicU64,
    writing: Gate,
    reading: Gate,
}

/// What waits while it is shut.
#[derive(Default)]
struct Gate {
    /// How many may pass still; `None`: it is open.
    left: Mutex<Option<u64>>,
    opened: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut left = self.left.lock();
        while *left == Some(0) {
            self.opened.wait(&mut left);
        }
        *left = left.map(|left| left - 1);
    }

    fn set(&self, left: Option<u64>) {
        *self.left.lock() = left;
        self.opened.notify_all();
    }
}

/// Files in memory. Clones are the same ones.
#[derive(Clone)]
pub(super) struct MemFiles(Arc<Disk>);

impl MemFiles {
    pub(super) fn new() -> Self {
        let disk = Disk::default();
        disk.room.store(u64::MAX, Ordering::Relaxed);
        Self(Arc::new(disk))
    }

    pub(super) fn with_room(self, bytes: u64) -> Self {
        self.0.room.store(bytes, Ordering::Relaxed);
        self
    }

    pub(super) fn fail_to_read(&self) {
        self.0.fails_to_read.store(true, Ordering::Relaxed);
    }

    /// Has writing wait.
    pub(super) fn shut(&self) {
        self.0.writing.set(Some(0));
    }

    /// Has so much be written, one call after the other, and no more.
    pub(super) fn let_write(&self, calls: u64) {
        self.0.writing.set(Some(calls));
    }

    /// Has reading wait.
    pub(super) fn shut_reading(&self) {
        self.0.reading.set(Some(0));
    }

    /// Has so much be read, one call after the other, and no more.
    pub(super) fn let_read(&self, calls: u64) {
        self.0.reading.set(Some(calls));
    }

    pub(super) fn open_again(&self) {
        self.0.writing.set(None);
        self.0.reading.set(None);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.0.files.lock().values().map(|file| file.lock().len() as u64).sum()
    }

    /// Those of all but the position.
    pub(super) fn segment_bytes(&self) -> u64 {
        let listed = self.list().unwrap();
        let segments = listed.iter().filter(|(name, _bytes)| name != position::NAME);
        segments.map(|(_name, bytes)| bytes).sum()
    }

    pub(super) fn most(&self) -> u64 {
        self.0.most.load(Ordering::Relaxed)
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.0.files.lock().keys().cloned().collect()
    }

    /// Changes what is in a segment's file, the oldest first.
    pub(super) fn change(&self, nth: usize, change: impl FnOnce(&mut Vec<u8>)) {
        let files = self.0.files.lock();
        let segment = files.iter().filter(|(name, _)| segment::id_of(name).is_some()).nth(nth);
        change(&mut segment.unwrap().1.lock());
    }

    /// A copy, as the disk would be found after a crash now.
    pub(super) fn copied(&self) -> Self {
        let files = self.0.files.lock();
        let copy = Self::new();
        for (name, contents) in files.iter() {
            let contents = Arc::new(Mutex::new(contents.lock().clone()));
            copy.0.files.lock().insert(name.clone(), contents);
        }
        copy.0.room.fetch_sub(copy.bytes(), Ordering::Relaxed);
        copy
    }
}

struct MemFile {
    disk: Arc<Disk>,
    contents: Contents,
}

impl File for MemFile {
    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.disk.writing.pass();
        let at = usize::try_from(at).unwrap();
        let mut contents = self.contents.lock();
        let end = at + bytes.len();
        if end > contents.len() {
            let more = (end - contents.len()) as u64;
            let left = self.disk.room.load(Ordering::Relaxed);
            let left = left.checked_sub(more).ok_or(io::ErrorKind::StorageFull)?;
            self.disk.room.store(left, Ordering::Relaxed);
            contents.resize(end, 0);
        }
        contents[at..end].copy_from_slice(bytes);
        drop(contents);
        let all = MemFiles(Arc::clone(&self.disk)).bytes();
        self.disk.most.fetch_max(all, Ordering::Relaxed);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<()> {
        if self.disk.fails_to_read.load(Ordering::Relaxed) {
            return Err(io::Error::other("the disk is broken"));
        }
        self.disk.reading.pass();
        let at = usize::try_from(at).unwrap();
        let contents = self.contents.lock();
        let found = contents.get(at..at + buffer.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(found);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Files for MemFiles {
    fn list(&self) -> io::Result<Vec<(String, u64)>> {
        let files = self.0.files.lock();
        Ok(files.iter().map(|(name, file)| (name.clone(), file.lock().len() as u64)).collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let contents = Contents::default();
        self.0.files.lock().insert(name.to_owned(), Arc::clone(&contents));
        Ok(Arc::new(MemFile { disk: Arc::clone(&self.0), contents }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn File>> {
        let files = self.0.files.lock();
        let contents = Arc::clone(files.get(name).ok_or(io::ErrorKind::NotFound)?);
        Ok(Arc::new(MemFile { disk: Arc::clone(&self.0), contents }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let removed = self.0.files.lock().remove(name);
        let removed = removed.ok_or(io::ErrorKind::NotFound)?;
        let freed = removed.lock().len() as u64;
        self.0.room.fetch_add(freed, Ordering::Relaxed);
        Ok(())
    }

    fn replace(&self, name: &str, contents: &[u8]) -> io::Result<()> {
        let contents = Arc::new(Mutex::new(contents.to_vec()));
        self.0.files.lock().insert(name.to_owned(), contents);
        Ok(())
    }
}

/// A tier and what is around it.
pub(super) struct Setup {
    pub(super) tier: Arc<DiskTier>,
    pub(super) files: MemFiles,
    pub(super) around: Around,
    /// Whether whoever waits for so long has waited.
    pub(super) late: watch::Sender<bool>,
}

const LIMITS: Limits = Limits {
    bytes_max: 4 << 20,
    object_bytes_max: 1 << 20,
    whole_bytes_max: 256 << 10,
    segment_bytes: 256 << 10,
    catalog_bytes_max: 1 << 20,
};

fn around(wall_ms: u64, is_late: watch::Receiver<bool>) -> Around {
    let numbers = Arc::new(AtomicU64::new(1000));
    let start = <TokioRuntime as AsyncRuntime>::Instant::now();
    Around {
        now: Arc::new(move || Now { uptime: start.elapsed(), wall_ms }),
        sleep: Arc::new(move |_time| {
            let mut is_late = is_late.clone();
            Box::pin(async move { drop(is_late.wait_for(|is_late| *is_late).await) })
        }),
        number: Arc::new(move || numbers.fetch_add(1, Ordering::Relaxed)),
        purged: Arc::default(),
        metrics: DiskMetrics::create().unwrap(),
    }
}

impl Setup {
    pub(super) fn new(files: MemFiles, limits: Limits) -> Self {
        Self::at(files, limits, 1_000_000)
    }

    pub(super) fn at(files: MemFiles, limits: Limits, wall_ms: u64) -> Self {
        let (late, is_late) = watch::channel(false);
        let around = around(wall_ms, is_late);
        let tier = DiskTier::with(Arc::new(files.clone()), limits, around.clone());
        Self { tier: Arc::new(tier), files, around, late }
    }

    pub(super) fn moment(&self) -> Moment {
        self.around.purged.lock().now()
    }

    pub(super) async fn keep(&self, path: &str, stored: Stored) {
        self.tier.offer(&key(path), &Arc::new(stored), self.moment());
        self.tier.flush().await;
    }

    pub(super) async fn get(
        &self,
        path: &str,
        language: Option<&'static str>,
    ) -> Option<Arc<Stored>> {
        let mut request = HeaderMap::new();
        if let Some(language) = language {
            request.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language));
        }
        self.tier.read(self.tier.find(&key(path), &request)?).await
    }

    pub(super) async fn body(&self, path: &str) -> Option<Bytes> {
        match &self.get(path, None).await?.payload {
            Payload::Whole(bytes) => Some(bytes.clone()),
            Payload::Disk(body) => {
                let all = http_body_util::BodyExt::collect(body.part(0..body.length())).await;
                all.ok().map(http_body_util::Collected::to_bytes)
            }
            Payload::Pieces(_) => None,
        }
    }

    /// Has a body come by pieces.
    pub(super) async fn keep_large(&self, path: &str, body: &[u8], piece: usize) {
        let stored = Arc::new(stored(b"", "", None));
        let mut large = self.tier.begin_large(&key(path), &stored, self.moment()).unwrap();
        body.chunks(piece).for_each(|piece| large.append(&Bytes::copy_from_slice(piece)));
        large.finish();
        self.tier.flush().await;
    }

    pub(super) fn purge(&self, purge: &Purge, soft: bool) -> usize {
        self.around.purged.lock().add(purge.clone());
        self.tier.purge(purge, soft, (self.around.now)().uptime, |_key| false)
    }
}

/// Bytes that differ from place to place.
pub(super) fn noise(length: usize) -> Vec<u8> {
    (0..length as u64)
        .map(|at| hexpop_shard::hash_point(&at.to_le_bytes()).to_le_bytes()[0])
        .collect()
}
