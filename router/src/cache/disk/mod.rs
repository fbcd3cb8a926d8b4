//! The disk tier: what memory has no room for, within bytes of its own.
//!
//! ```text
//! evicted from memory ──offer──> queue ─> writing thread ─> segments, oldest gone first ─┐
//! too large for memory ─large──> queue ─┘        └─> catalogue (URI, variant, tag) ─┐    │
//! a miss in memory ─────────────find─────────────────────────────────────────────<─┘    │
//!                    └─ read ──> queue ─> reading threads <─────────────────────────────┘
//!                         └─> into memory again, or as a body that streams
//! ```
//!
//! - **A hit in memory knows nothing of it**: only what memory has no answer for is looked up here.
//! - **Nobody waits for it.** Queues are bounded; what does not fit into the one for writing is not stored, what
//!   is in it is found there, and what cannot be read in time counts as not stored. A body that streams waits for
//!   its turn, for so long.
//! - **What is stored is what is in memory**: a response that comes back goes through the same policy. The
//!   catalogue obeys purges and writes as the memory tier does, and what is on its way is held against them
//!   when it arrives.
//! - **Checksums** over each head and each 64 KiB of a body: what is damaged is forgotten and counted, and the
//!   origin is asked.
//! - **A restart** keeps it: records are found again, and the purges behind the position that was on disk
//!   are applied to them, or everything is forgotten where there is none, or where those purges are not
//!   known any more. What an earlier process left is used only once the origin has confirmed it: writes through
//!   other nodes of the PoP may have changed it meanwhile.
//! - **An error of the disk turns it off** until the next start, and fails nothing else.
//! - **Purged is out of use, not erased**: its bytes stay in their file until that goes, at once where nothing else
//!   in it is alive.
//! - **What names a person stays away**: sessions, users, and whatever was chosen by a cookie or by credentials.

mod body;
mod catalog;
mod files;
mod fit;
mod found;
mod large;
mod limits;
mod load;
mod metrics;
mod pending;
mod position;
mod queue;
mod reader;
mod record;
mod recover;
mod renewed;
mod segment;
mod writer;

#[cfg(test)]
mod tests;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use futures::future::BoxFuture;
use hexpop_shard::PurgeId;
use http::{HeaderMap, HeaderName};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::{
    body::DiskBody, catalog::Entry as DiskEntry, found::Found, large::Large, metrics::DiskMetrics,
};
use self::{
    catalog::{Catalog, Entry},
    files::{Files, FsFiles},
    found::Written,
    limits::Limits,
    load::Loading,
    queue::Queue,
    reader::ReadJob,
    segment::Segment,
    writer::{Job, Writer},
};
use super::{
    key::CacheKey,
    options::{CacheOptions, DiskOptions},
    purge::{Moment, Purge, Purged},
    stored::{Payload, Stored},
};

/// Responses that wait to be written at most, and how many bytes they and large bodies may hold meanwhile.
const WRITES_MAX: usize = 4096;
const WRITE_BYTES_MAX: u64 = 32 << 20;

/// Threads that read, and reads that wait for one.
const READERS: usize = 4;
const READS_MAX: usize = 1024;

/// Bytes of bodies that are taken into memory at a time.
const LOAD_BYTES_MAX: u64 = 64 << 20;

/// How much of the disk is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DiskStats {
    /// Stored responses.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Bytes they may take.
    #[serde(rename = "bytesMax")]
    pub bytes_max: u64,
    /// Why it is not used; `None` = it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
}

/// The time, on the node's own clock and on the wall's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) uptime: Duration,
    pub(crate) wall_ms: u64,
}

/// What the tier takes from around it.
#[derive(Clone)]
pub(crate) struct Around {
    pub(crate) now: Arc<dyn Fn() -> Now + Send + Sync>,
    /// Waits for so long.
    pub(crate) sleep: Arc<dyn Fn(Duration) -> BoxFuture<'static, ()> + Send + Sync>,
    /// A number that no other payload has.
    pub(crate) number: Arc<dyn Fn() -> u64 + Send + Sync>,
    pub(crate) purged: Arc<Mutex<Purged>>,
    pub(crate) metrics: DiskMetrics,
}

/// What tasks and threads share.
struct Shared {
    files: Arc<dyn Files>,
    limits: Limits,
    around: Around,
    catalog: Mutex<Catalog<Arc<Segment>>>,
    writes: Queue<Job>,
    reads: Queue<ReadJob>,
    loading: Mutex<BTreeMap<(u64, CacheKey), Loading>>,
    /// Bytes that may still be loaded.
    load_room: Arc<Semaphore>,
    /// How many may still be.
    loads: Arc<Semaphore>,
    /// Chunks that may still be waited for.
    chunk_room: Arc<Semaphore>,
    /// Bytes of all files.
    total: Arc<AtomicU64>,
    /// The last purge that is applied, and one more; 0 = none.
    position: AtomicU64,
    is_on: AtomicBool,
    off: OnceLock<String>,
}

impl Shared {
    fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Acquire)
    }

    /// Ends the use of the disk, for the rest of the process.
    fn turn_off(&self, why: String) {
        if !self.is_on.swap(false, Ordering::AcqRel) {
            return;
        }
        tracing::warn!(why, "the disk tier of the HTTP cache is off until the next start");
        self.off.get_or_init(|| why);
        self.around.metrics.up(false);
        let forgotten = std::mem::take(&mut *self.catalog.lock());
        // What is to be removed is removed by the thread that writes.
        drop(forgotten);
        self.writes.clear();
    }

    /// Forgets a record that is damaged.
    fn forget_damaged(&self, key: &CacheKey, id: u64) {
        self.around.metrics.damaged();
        tracing::warn!(key = key.as_str(), "a stored response is damaged on disk");
        self.catalog.lock().forget(key, id);
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

/// The disk tier.
#[derive(Debug)]
pub(crate) struct DiskTier {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// The position that the last process left.
    left_at: Option<PurgeId>,
}

impl DiskTier {
    /// Opens the tier, which is off where that fails. What is on disk already is found by and by.
    pub(crate) fn open(disk: &DiskOptions, cache: &CacheOptions, around: Around) -> Self {
        let limits = Limits::of(disk, cache);
        match FsFiles::open(&disk.dir) {
            Ok(files) => Self::with(Arc::new(files), limits, around),
            Err(error) => {
                let why = format!("{}: {error}", disk.dir.display());
                Self { shared: Self::off(limits, around, why), threads: Vec::new(), left_at: None }
            }
        }
    }

    fn off(limits: Limits, around: Around, why: String) -> Arc<Shared> {
        let shared = Self::shared(Arc::new(files::NoFiles), limits, around);
        shared.turn_off(why);
        shared
    }

    fn shared(files: Arc<dyn Files>, limits: Limits, around: Around) -> Arc<Shared> {
        let room = |bytes: u64| Arc::new(Semaphore::new(usize::try_from(bytes).unwrap_or(1)));
        around.metrics.up(true);
        Arc::new(Shared {
            files,
            limits,
            around,
            catalog: Mutex::default(),
            writes: Queue::new(WRITES_MAX, WRITE_BYTES_MAX.max(2 * limits.whole_bytes_max)),
            reads: Queue::new(2 * READS_MAX, u64::MAX),
            loading: Mutex::default(),
            load_room: room(LOAD_BYTES_MAX.max(2 * limits.whole_bytes_max) >> 10),
            loads: room(READS_MAX as u64),
            chunk_room: room(READS_MAX as u64),
            total: Arc::default(),
            position: AtomicU64::new(0),
            is_on: AtomicBool::new(true),
            off: OnceLock::new(),
        })
    }

    fn with(files: Arc<dyn Files>, limits: Limits, around: Around) -> Self {
        let shared = Self::shared(files, limits, around);
        let left = match recover::Left::find(&*shared.files) {
            Ok(left) => left,
            Err(error) => {
                shared.turn_off(format!("its directory cannot be read: {error}"));
                recover::Left::default()
            }
        };
        let left_at = left.position;
        // Before anything can come.
        shared.catalog.lock().begin_recovery();
        if let Some(position) = left_at {
            shared.position.store(position.0.saturating_add(1), Ordering::Release);
        }
        let mut tier = Self { shared, threads: Vec::new(), left_at };
        tier.start(left);
        tier
    }

    fn start(&mut self, left: recover::Left) {
        let writer = Writer::new(Arc::clone(&self.shared), left);
        let named = |name: &str| std::thread::Builder::new().name(name.to_owned());
        let mut started = vec![named("cache-write").spawn(move || writer.run())];
        for _ in 0..READERS {
            let shared = Arc::clone(&self.shared);
            started.push(named("cache-read").spawn(move || reader::run(&shared)));
        }
        for thread in started {
            match thread {
                Ok(thread) => self.threads.push(thread),
                Err(error) => self.shared.turn_off(format!("no thread can be started: {error}")),
            }
        }
    }

    /// Up to which purge all that is here has followed; `None`: there is nothing here.
    pub(crate) const fn left_at(&self) -> Option<PurgeId> {
        self.left_at
    }

    /// A purge is applied here, and all before it.
    pub(crate) fn note_position(&self, position: PurgeId) {
        self.shared.position.fetch_max(position.0.saturating_add(1), Ordering::AcqRel);
    }

    /// Everything is forgotten, and the position is another one.
    pub(crate) fn reset_position(&self, position: PurgeId) {
        self.shared.position.store(position.0.saturating_add(1), Ordering::Release);
    }

    /// Memory has no room for a response, which no purge up to a moment is about.
    pub(crate) fn offer(&self, key: &CacheKey, stored: &Arc<Stored>, since: Moment) {
        let Shared { limits, around, .. } = &*self.shared;
        let now = (around.now)();
        let fits = stored.length() <= limits.object_bytes_max;
        if !self.shared.is_on() || !fits || !fit::is_fit(key, stored, now.uptime) {
            return;
        }
        let ticket = {
            let mut catalog = self.shared.catalog.lock();
            if catalog.pending.has(key, stored) || catalog.holds(key, stored) {
                return;
            }
            catalog.pending.announce_whole(key, stored, since, now.uptime)
        };
        let Some(ticket) = ticket else {
            around.metrics.dropped();
            return;
        };
        let (job_key, stored, bytes) = (key.clone(), Arc::clone(stored), stored.weight() as u64);
        if !self.shared.writes.push(Job::Keep { key: job_key, stored, since, ticket }, bytes) {
            around.metrics.dropped();
            self.shared.catalog.lock().pending.arrive(key, ticket);
        }
    }

    /// Begins to take in a response that is too large for memory; `None` if it is not to be stored.
    pub(crate) fn begin_large(
        &self,
        key: &CacheKey,
        stored: &Arc<Stored>,
        since: Moment,
    ) -> Option<Large> {
        Large::begin(&self.shared, key, stored, since)
    }

    /// Whether a response with a body of such a length, chosen by these fields, is stored here where it is too large
    /// for memory.
    pub(crate) fn takes(&self, key: &CacheKey, vary: &[HeaderName], length: u64) -> bool {
        let fits = length <= self.shared.limits.object_bytes_max;
        fits && self.shared.is_on() && !fit::names_somebody(key, vary)
    }

    /// Whether anything is here under a URI, or on its way.
    pub(crate) fn has(&self, key: &CacheKey) -> bool {
        let catalog = self.shared.catalog.lock();
        catalog.has(key) || catalog.pending.wholes(key).next().is_some()
    }

    /// The response that a request selects.
    pub(crate) fn find(&self, key: &CacheKey, request: &HeaderMap) -> Option<Found> {
        if !self.shared.is_on() {
            return None;
        }
        let catalog = self.shared.catalog.lock();
        let written = catalog.find(key, request);
        let written = written.map(|(entry, segment)| Written { key: key.clone(), entry, segment });
        let pending = catalog.pending.find(key, request).filter(|(stored, since)| {
            // Purges look only at what is entered; it is seen here, as when it arrives.
            !self.shared.around.purged.lock().hit_since(*since, key, &stored.tags)
        });
        Found::latest(pending.map(|(stored, _since)| stored), written)
    }

    /// Reads what was found: all of it, or its head where the body is to stream. `None` if that cannot be done
    /// now, or not any more.
    ///
    /// # Cancel safety
    /// Others may wait for the same read, which goes on.
    pub(crate) async fn read(&self, found: Found) -> Option<Arc<Stored>> {
        match found {
            Found::Pending(stored) => {
                self.shared.around.metrics.hit();
                Some(stored)
            }
            Found::Written(written) => load::read(&self.shared, written).await,
        }
    }

    /// Somebody did not wait any longer for a read.
    pub(crate) fn note_late(&self) {
        self.shared.around.metrics.busy();
    }

    /// Forgets what is here of the same variant as a response.
    pub(crate) fn forget_variant(&self, key: &CacheKey, stored: &Stored) {
        self.shared.catalog.lock().forget_variant(key, stored);
    }

    /// Gives a response whose body is here another head, unless it was purged since `began`. Answers whether it
    /// did.
    pub(crate) fn refresh(&self, key: &CacheKey, stored: &Stored, began: Moment) -> bool {
        let Payload::Disk(body) = &stored.payload else { return false };
        let mut catalog = self.shared.catalog.lock();
        let is_purged = self.shared.around.purged.lock().hit_since(began, key, &stored.tags);
        if is_purged {
            return false;
        }
        catalog.set_head(key, body.id(), Arc::new(body.head_of(stored)));
        true
    }

    /// Replaces what is here of a URI with bodies that stream; `None` drops one. What is still to be written is
    /// dropped where it would be another one.
    pub(crate) fn change(
        &self,
        key: &CacheKey,
        mut change: impl FnMut(&Arc<Stored>) -> Option<Arc<Stored>>,
    ) {
        let mut catalog = self.shared.catalog.lock();
        let mut is_kept =
            |stored: &Arc<Stored>| change(stored).is_some_and(|new| Arc::ptr_eq(&new, stored));
        let wholes = catalog.pending.wholes(key).filter(|(_ticket, stored)| !is_kept(stored));
        let outdated: Vec<u64> = wholes.map(|(ticket, _stored)| ticket).collect();
        for ticket in outdated {
            catalog.pending.arrive(key, ticket);
        }
        let as_it_is = |entry: &Entry| {
            let (head, freshness) = (entry.head.as_ref()?, entry.freshness.clone());
            Some((entry.id, Arc::new(Stored { freshness, ..Stored::clone(head) })))
        };
        let heads: Vec<_> = catalog.entries(key).iter().filter_map(as_it_is).collect();
        for (id, head) in heads {
            match change(&head) {
                Some(new) if Arc::ptr_eq(&new, &head) => {}
                Some(new) => catalog.set_head(key, id, new),
                None => drop(catalog.forget(key, id)),
            }
        }
    }

    /// Forgets what a purge is about; a soft one only makes it stale. `elsewhere`: whether what it hits under a
    /// URI is counted already. Answers how many responses it hit that are not.
    pub(crate) fn purge(
        &self,
        purge: &Purge,
        soft: bool,
        now: Duration,
        elsewhere: impl Fn(&CacheKey) -> bool,
    ) -> usize {
        self.shared.catalog.lock().purge(purge, soft, now, elsewhere)
    }

    /// What is here under a URI, without bodies: status, length, and what decides about its use.
    pub(crate) fn entries(&self, key: &CacheKey) -> Vec<Entry> {
        self.shared.catalog.lock().entries(key).to_vec()
    }

    /// How much of the disk is used; also brings the gauges up to date.
    pub(crate) fn stats(&self) -> DiskStats {
        let Shared { limits, around, total, off, .. } = &*self.shared;
        let (entries, _weight) = self.shared.catalog.lock().size();
        let bytes = total.load(Ordering::Relaxed);
        around.metrics.size(entries, bytes);
        DiskStats { entries, bytes, bytes_max: limits.bytes_max, off: off.get().cloned() }
    }

    /// Has the position reach the disk, behind all that was to be written. Resolves once that is done, or never
    /// will be.
    pub(crate) async fn flush(&self) {
        let (sender, done) = oneshot::channel();
        // Where it is off there may be no thread.
        if self.shared.is_on() && self.shared.writes.push(Job::Flush(sender), 0) {
            // It ends without a word only with the thread.
            done.await.ok();
        }
    }
}

impl Drop for DiskTier {
    fn drop(&mut self) {
        // The threads end by themselves: whoever drops this may be a task, and must not wait.
        self.shared.writes.close();
        self.shared.reads.close();
    }
}
