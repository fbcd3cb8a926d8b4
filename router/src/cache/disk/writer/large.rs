//! Large bodies on their way, each to a segment of its own.

use std::{
    io,
    sync::{Arc, Weak},
};

use super::Writer;
use crate::cache::{
    disk::{
        body::DiskBody,
        catalog::{Entry, Place},
        record::{CHUNK_BYTES, HEADER_BYTES, Head, Header, coded_bytes, write_chunk},
        segment::{Segment, record_id},
    },
    key::CacheKey,
    purge::Moment,
    stored::Stored,
};

/// How many are taken in at a time.
const LARGE_MAX: usize = 64;

/// One of them.
pub(super) struct Writing {
    key: CacheKey,
    stored: Arc<Stored>,
    since: Moment,
    /// Gone once the body will not come to its end.
    pub(super) alive: Weak<()>,
    pub(super) segment: Arc<Segment>,
    id: u64,
    head_bytes: u32,
    head_checksum: u32,
    /// What does not fill a chunk yet.
    partial: Vec<u8>,
    chunks: u64,
    body_bytes: u64,
}

impl Writer {
    /// Begins one, if there is room for it.
    pub(super) fn begin(
        &mut self,
        key: CacheKey,
        stored: Arc<Stored>,
        since: Moment,
        ticket: u64,
        alive: Weak<()>,
    ) -> io::Result<()> {
        let head = Head::of(&key, &stored, self.arrived_ms(&stored)).encode();
        let head = head.filter(|_| self.writing.len() < LARGE_MAX);
        let Some(head) = head.filter(|_| alive.strong_count() > 0) else { return Ok(()) };
        let is_too_much = self.writing_bytes() >= self.writing_bytes_max();
        if is_too_much || !self.make_room(HEADER_BYTES + head.len() as u64)? {
            self.shared.around.metrics.dropped();
            return Ok(());
        }
        let segment = self.create()?;
        let Some(id) = record_id(segment.id, 0) else { return Ok(()) };
        // The header is written when all is there: without it there is no record.
        let mut begin = vec![0; usize::try_from(HEADER_BYTES).unwrap_or_default()];
        begin.extend_from_slice(&head);
        segment.append(&begin)?;
        let writing = Writing {
            key,
            stored,
            since,
            alive,
            segment,
            id,
            head_bytes: u32::try_from(head.len()).unwrap_or(u32::MAX),
            head_checksum: crc32fast::hash(&head),
            partial: Vec::new(),
            chunks: 0,
            body_bytes: 0,
        };
        self.writing.insert(ticket, writing);
        Ok(())
    }

    pub(super) fn add(&mut self, ticket: u64, piece: &[u8]) -> io::Result<()> {
        let Some(writing) = self.writing.get(&ticket) else { return Ok(()) };
        if !self.shared.catalog.lock().pending.awaits(&writing.key, ticket) {
            // It was forgotten, or another copy has taken its place.
            return self.give_up(ticket);
        }
        let bytes = coded_bytes(piece.len() as u64 + CHUNK_BYTES);
        // The latest make room for those before, rather than all that is stored for them.
        while self.writing.len() > 1
            && self.writing_bytes().saturating_add(bytes) > self.writing_bytes_max()
            && let Some((&latest, _writing)) = self.writing.last_key_value()
        {
            self.shared.around.metrics.dropped();
            self.give_up(latest)?;
            if latest == ticket {
                return Ok(());
            }
        }
        if !self.make_room(bytes)? {
            self.shared.around.metrics.dropped();
            return self.give_up(ticket);
        }
        match self.writing.get_mut(&ticket) {
            Some(writing) => writing.add(piece),
            None => Ok(()),
        }
    }

    pub(super) fn end(&mut self, ticket: u64, bytes: u64) -> io::Result<()> {
        let is_whole = self.writing.get(&ticket).is_some_and(|writing| writing.body_bytes == bytes);
        if !is_whole {
            return self.give_up(ticket);
        }
        let Some(mut writing) = self.writing.remove(&ticket) else { return Ok(()) };
        writing.flush()?;
        let Writing { key, stored, since, segment, id, .. } = &writing;
        let (head_bytes, body_bytes) = (writing.head_bytes, writing.body_bytes);
        let head_checksum = writing.head_checksum;
        let header = Header { id: *id, head_bytes, head_checksum, body_bytes, dead: true };
        segment.overwrite(&header.encode(), 0)?;
        let place = Place { segment: segment.id, offset: 0, head_bytes, body_bytes };
        let body = DiskBody::new(&self.shared, key, *id, place);
        let head = Some(Arc::new(body.head_of(stored)));
        let entry = Entry { head, ..Entry::of(*id, place, stored) };
        self.shared.catalog.lock().add_segment(segment.id, Arc::clone(segment));
        self.enter(key, entry, *since, ticket, segment)?;
        if self.shared.catalog.lock().has_live(segment.id) {
            return Ok(());
        }
        let gone = self.shared.catalog.lock().retire(segment.id);
        gone.map_or(Ok(()), |(segment, _none)| self.remove(segment))
    }

    /// Leaves nothing of a large body that does not come to its end.
    pub(super) fn give_up(&mut self, ticket: u64) -> io::Result<()> {
        let Some(writing) = self.writing.remove(&ticket) else { return Ok(()) };
        self.shared.catalog.lock().pending.arrive(&writing.key, ticket);
        self.remove(writing.segment)
    }

    /// Bytes of the large bodies that are being written.
    fn writing_bytes(&self) -> u64 {
        self.writing.values().map(|writing| writing.segment.bytes()).sum()
    }

    /// What these may take all together where they are several; one alone is never longer.
    fn writing_bytes_max(&self) -> u64 {
        self.shared.limits.bytes_max / 2
    }
}

impl Writing {
    fn add(&mut self, mut piece: &[u8]) -> io::Result<()> {
        let whole = usize::try_from(CHUNK_BYTES).unwrap_or(1);
        self.body_bytes += piece.len() as u64;
        while !piece.is_empty() {
            let (more, rest) = piece.split_at(piece.len().min(whole - self.partial.len()));
            self.partial.extend_from_slice(more);
            piece = rest;
            if self.partial.len() == whole {
                self.flush()?;
            }
        }
        Ok(())
    }

    /// Writes what there is as one chunk.
    fn flush(&mut self) -> io::Result<()> {
        if self.partial.is_empty() {
            return Ok(());
        }
        let mut coded = Vec::with_capacity(self.partial.len() + 4);
        write_chunk(&mut coded, self.id, self.chunks, &self.partial);
        self.segment.append(&coded)?;
        self.partial.clear();
        self.chunks += 1;
        Ok(())
    }
}
