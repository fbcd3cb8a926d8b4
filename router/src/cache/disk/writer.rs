//! The thread that writes: whatever changes on disk, it does.

mod large;

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use hexpop_shard::PurgeId;
use tokio::sync::oneshot;

use self::large::Writing;
use super::{
    Shared,
    catalog::{Catalog, Entry, Place},
    limits::SEGMENTS_MAX,
    position,
    queue::Next,
    record::{CHUNK_BYTES, HEADER_BYTES, Head, Header, coded_bytes, write_chunk},
    recover::{self, Left},
    segment::{Segment, name_of, record_id},
};
use crate::cache::{
    key::CacheKey,
    purge::Moment,
    stored::{Payload, Stored},
};

/// How long it waits at a time, and how often it tidies up where it is busy.
const TICK: Duration = Duration::from_millis(250);

/// How often the position is written. Too seldom: more purges are to be applied again after a crash.
const POSITION_EVERY: Duration = Duration::from_secs(5);

/// What is to be written.
pub(super) enum Job {
    /// A response.
    Keep { key: CacheKey, stored: Arc<Stored>, since: Moment, ticket: u64 },
    /// One whose body comes by pieces.
    Begin { key: CacheKey, stored: Arc<Stored>, since: Moment, ticket: u64, alive: Weak<()> },
    /// More of it.
    Piece { ticket: u64, piece: Bytes },
    /// All of it: so many bytes.
    End { key: CacheKey, ticket: u64, bytes: u64, alive: Arc<()> },
    /// The position, behind all that came before.
    Flush(oneshot::Sender<()>),
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    left: Option<Left>,
    next_segment: u64,
    /// The segment that is written to, and how many records it has.
    active: Option<(Arc<Segment>, u64)>,
    writing: BTreeMap<u64, Writing>,
    /// Removed, but for those who read them still.
    retired: Vec<Arc<Segment>>,
    /// Segments that were told of dead records since the position was written.
    unsynced: BTreeSet<u64>,
    /// The position on disk, as in [`Shared`].
    written_position: u64,
    tidied: Duration,
    position_at: Duration,
    has_cleaned: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, left: Left) -> Self {
        let next_segment = left.next_segment;
        let written_position = shared.position.load(Ordering::Acquire);
        Self {
            shared,
            left: Some(left),
            next_segment,
            active: None,
            writing: BTreeMap::new(),
            retired: Vec::new(),
            unsynced: BTreeSet::new(),
            written_position,
            tidied: Duration::ZERO,
            position_at: Duration::ZERO,
            has_cleaned: false,
        }
    }

    /// Works until nothing comes any more.
    pub(super) fn run(mut self) {
        if let Some(left) = self.left.take() {
            let shared = Arc::clone(&self.shared);
            // What may be there, and memory for its names, may be less by now.
            let recovered = recover::recover(&shared, left, || self.make_room(0).map(drop));
            let recovered = recovered.map(|told| self.unsynced.extend(told));
            self.check(recovered, "what is there cannot be read");
        }
        loop {
            match self.shared.writes.pop(TICK) {
                Next::Item(job) if self.shared.is_on() => {
                    let worked = self.work(job);
                    self.check(worked, "it cannot be written");
                }
                // Who waits for a flush learns that it is over.
                Next::Item(job) => drop(job),
                Next::Idle => {}
                Next::Closed => break,
            }
            if self.shared.is_on() {
                let tidied = self.tidy();
                self.check(tidied, "it cannot be written");
            } else {
                self.clean();
            }
        }
        if self.shared.is_on()
            && let Err(error) = self.write_position()
        {
            tracing::warn!(%error, "the disk tier's position was not written at the end");
        }
    }

    fn check(&self, outcome: io::Result<()>, what: &str) {
        if let Err(error) = outcome {
            self.shared.turn_off(format!("{what}: {error}"));
        }
    }

    fn work(&mut self, job: Job) -> io::Result<()> {
        match job {
            Job::Keep { key, stored, since, ticket } => self.keep(&key, &stored, since, ticket),
            Job::Begin { key, stored, since, ticket, alive } => {
                self.begin(key, stored, since, ticket, alive)
            }
            Job::Piece { ticket, piece } => self.add(ticket, &piece),
            Job::End { key, ticket, bytes, alive } => {
                let ended = self.end(ticket, bytes);
                self.shared.catalog.lock().pending.arrive(&key, ticket);
                drop(alive);
                ended
            }
            Job::Flush(done) => {
                self.write_position()?;
                // Who waited may have gone.
                done.send(()).ok();
                Ok(())
            }
        }
    }

    fn keep(
        &mut self,
        key: &CacheKey,
        stored: &Arc<Stored>,
        since: Moment,
        ticket: u64,
    ) -> io::Result<()> {
        let body = match &stored.payload {
            Payload::Whole(body) => Some(body),
            Payload::Pieces(_) | Payload::Disk(_) => None,
        };
        let body = body.filter(|_| self.shared.catalog.lock().pending.awaits(key, ticket));
        let head = body.and_then(|_| Head::of(key, stored, self.arrived_ms(stored)).encode());
        let (Some(body), Some(head)) = (body, head) else {
            self.shared.catalog.lock().pending.arrive(key, ticket);
            return Ok(());
        };
        let body_bytes = body.len() as u64;
        let bytes = HEADER_BYTES + head.len() as u64 + coded_bytes(body_bytes);
        let room = self.make_room(bytes)?;
        let place = if room { self.segment_for(bytes)? } else { None };
        let Some((segment, id)) = place else {
            self.shared.around.metrics.dropped();
            self.shared.catalog.lock().pending.arrive(key, ticket);
            return Ok(());
        };
        let head_bytes = u32::try_from(head.len()).unwrap_or(u32::MAX);
        let head_checksum = crc32fast::hash(&head);
        // It lives once it is entered: a purge may have come before, and a crash may come between.
        let header = Header { id, head_bytes, head_checksum, body_bytes, dead: true };
        let mut record = header.encode();
        record.reserve(usize::try_from(bytes).unwrap_or_default());
        record.extend_from_slice(&head);
        for (number, chunk) in (0..).zip(body.chunks(usize::try_from(CHUNK_BYTES).unwrap_or(1))) {
            write_chunk(&mut record, id, number, chunk);
        }
        let offset = segment.append(&record)?;
        let place = Place { segment: segment.id, offset, head_bytes, body_bytes };
        self.enter(key, Entry::of(id, place, stored), since, ticket, &segment)
    }

    /// Enters what was written as dead, and has it live, unless it was forgotten meanwhile.
    fn enter(
        &self,
        key: &CacheKey,
        entry: Entry,
        since: Moment,
        ticket: u64,
        segment: &Arc<Segment>,
    ) -> io::Result<()> {
        let offset = entry.place.offset;
        let is_entered = {
            let mut catalog = self.shared.catalog.lock();
            // Only now: a purge that does not see it there is seen here.
            let holds = catalog.pending.arrive(key, ticket)
                && !self.shared.around.purged.lock().hit_since(since, key, &entry.tags);
            if holds {
                catalog.insert(key, entry);
            }
            holds
        };
        if !is_entered {
            return Ok(());
        }
        self.shared.around.metrics.stored();
        // Where it was forgotten since then, it is among those that this thread buries later.
        segment.enliven(offset)
    }

    fn arrived_ms(&self, stored: &Stored) -> u64 {
        let now = (self.shared.around.now)();
        let resident = u64::try_from(stored.resident(now.uptime).as_millis()).unwrap_or(u64::MAX);
        now.wall_ms.saturating_sub(resident)
    }

    /// The segment for a record of so many bytes, and the record's id.
    fn segment_for(&mut self, bytes: u64) -> io::Result<Option<(Arc<Segment>, u64)>> {
        let segment_bytes = self.shared.limits.segment_bytes;
        if let Some((segment, records)) = &mut self.active
            && segment.bytes().saturating_add(bytes) <= segment_bytes
            && let Some(id) = record_id(segment.id, *records)
        {
            *records += 1;
            return Ok(Some((Arc::clone(segment), id)));
        }
        let segment = self.create()?;
        self.shared.catalog.lock().add_segment(segment.id, Arc::clone(&segment));
        let id = record_id(segment.id, 0);
        if bytes <= segment_bytes {
            self.active = Some((Arc::clone(&segment), 1));
        }
        Ok(id.map(|id| (segment, id)))
    }

    fn create(&mut self) -> io::Result<Arc<Segment>> {
        let id = self.next_segment;
        self.next_segment += 1;
        let segment = Segment::create(&*self.shared.files, id, &self.shared.total)?;
        Ok(Arc::new(segment))
    }

    /// Removes the oldest segments until there is room for so many bytes, and for one more segment. Answers whether
    /// there is: what is being written or read is left, and all of it where that leaves too little room.
    fn make_room(&mut self, bytes: u64) -> io::Result<bool> {
        let limits = self.shared.limits;
        loop {
            let used = self.shared.total.load(Ordering::Relaxed);
            let (fits, retired) = {
                let mut catalog = self.shared.catalog.lock();
                let segments = catalog.segments().len() + self.writing.len();
                let fits =
                    used.saturating_add(bytes) <= limits.bytes_max && segments < SEGMENTS_MAX;
                if fits && catalog.size().1 <= limits.catalog_bytes_max {
                    return Ok(true);
                }
                if !fits && !self.could_fit(&catalog, used, bytes) {
                    return Ok(false);
                }
                // The catalogue has one itself.
                (fits, catalog.retire_oldest(|segment| Arc::strong_count(segment) == 1))
            };
            let Some((segment, responses)) = retired else {
                // Where nothing else may go, the one that is written to may.
                if self.active.take().is_some() {
                    continue;
                }
                return Ok(fits);
            };
            self.shared.around.metrics.evicted(responses);
            self.remove(segment)?;
        }
    }

    /// Whether there would be room for so many bytes besides those in use if all went that may.
    fn could_fit(&self, catalog: &Catalog<Arc<Segment>>, used: u64, bytes: u64) -> bool {
        let active = self.active.as_ref().map(|(active, _records)| active.id);
        let may_go = |segment: &&Arc<Segment>| {
            Arc::strong_count(segment) <= 1 + usize::from(active == Some(segment.id))
        };
        let (mut freed, mut left) = (0_u64, catalog.segments().len() + self.writing.len());
        for segment in catalog.segments().filter(may_go) {
            freed = freed.saturating_add(segment.bytes());
            left -= 1;
        }
        let held = used.saturating_sub(freed);
        held.saturating_add(bytes) <= self.shared.limits.bytes_max && left < SEGMENTS_MAX
    }

    /// Removes a segment that the catalogue does not have any more.
    fn remove(&mut self, segment: Arc<Segment>) -> io::Result<()> {
        self.unsynced.remove(&segment.id);
        self.shared.files.remove(&name_of(segment.id))?;
        // Its bytes count until nobody reads it.
        self.retired.push(segment);
        self.retired.retain(|segment| Arc::strong_count(segment) > 1);
        Ok(())
    }

    /// What is done now and then.
    fn tidy(&mut self) -> io::Result<()> {
        let now = (self.shared.around.now)().uptime;
        if now.saturating_sub(self.tidied) < TICK {
            return Ok(());
        }
        self.tidied = now;
        let lost = |writing: &Writing| writing.alive.strong_count() == 0;
        let lost: Vec<u64> =
            self.writing.iter().filter(|(_, w)| lost(w)).map(|(ticket, _)| *ticket).collect();
        lost.into_iter().try_for_each(|ticket| self.give_up(ticket))?;
        self.remove_empty()?;
        self.retired.retain(|segment| Arc::strong_count(segment) > 1);
        if now.saturating_sub(self.position_at) >= POSITION_EVERY {
            self.position_at = now;
            self.write_position()?;
        }
        Ok(())
    }

    fn remove_empty(&mut self) -> io::Result<()> {
        let empty = self.shared.catalog.lock().empty_segments();
        for id in empty {
            if self.active.as_ref().is_some_and(|(active, _records)| active.id == id) {
                self.active = None;
            }
            let retired = self.shared.catalog.lock().retire(id);
            if let Some((segment, _none)) = retired {
                self.remove(segment)?;
            }
        }
        Ok(())
    }

    /// Writes up to which purge all that is on disk has followed: first has it say what is dead.
    fn write_position(&mut self) -> io::Result<()> {
        // What purges up to this one hit is among the dead already.
        let position = self.shared.position.load(Ordering::Acquire);
        self.remove_empty()?;
        let dead = self.shared.catalog.lock().take_dead();
        for (segment, offset) in dead {
            segment.bury(offset)?;
            self.unsynced.insert(segment.id);
        }
        let Some(id) = position.checked_sub(1).filter(|_| position != self.written_position) else {
            return Ok(());
        };
        for id in std::mem::take(&mut self.unsynced) {
            let segment = self.shared.catalog.lock().segment(id);
            segment.map_or(Ok(()), |segment| segment.sync())?;
        }
        position::write(&*self.shared.files, PurgeId(id))?;
        self.written_position = position;
        Ok(())
    }

    /// Removes what is left of a tier that is off.
    fn clean(&mut self) {
        // Somebody may have announced something, or this thread entered it, just when it was turned off.
        drop(std::mem::take(&mut *self.shared.catalog.lock()));
        if std::mem::replace(&mut self.has_cleaned, true) {
            return;
        }
        self.active = None;
        self.writing.clear();
        self.unsynced.clear();
        self.retired.clear();
        recover::remove_all(&*self.shared.files);
    }
}
