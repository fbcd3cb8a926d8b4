//! Putting records into the active segment, and going on to the next one when it is full.

use std::{io, sync::Arc};

use hexpop_edge_config::GroupId;

use super::{
    Wal, WalError,
    place::{Placed, What},
    read::read_payload,
    record::{GroupRecord, Record},
    segment::{Place, SEAL_BYTES, SEGMENT_HEAD_BYTES, SegmentId, file_name, put_frame},
    space::{Move, Segment},
    spare::Spare,
    state::{Op, Queued, record_bytes_max},
};
use crate::disk::DiskFile;

/// What the write buffer may keep between rounds.
const BUFFER_BYTES_KEPT: usize = 1 << 20;

/// The segment that is written to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: SegmentId,
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) capacity: u32,
    /// The end of what is written or in the buffer.
    pub(super) end: u32,
    /// The end of what is written.
    pub(super) written: u32,
    /// The end of what is flushed.
    pub(super) durable: u32,
}

impl Wal {
    pub(super) fn put_op(
        &mut self,
        queued: &Queued,
        placed: &mut Vec<Placed>,
    ) -> Result<(), WalError> {
        let group = queued.group;
        let (record, what) = match &queued.body {
            Op::Append { entries, starts } => {
                for (n, (op, entry)) in (queued.op..).zip(entries).enumerate() {
                    let record = Record::Entry {
                        term: entry.term,
                        index: entry.index,
                        tag: entry.tag,
                        payload: &entry.payload,
                        starts: *starts && n == 0,
                        moved: false,
                    };
                    let place = self.put(group, &record)?;
                    placed.push(Placed {
                        group,
                        place,
                        what: What::Entry { index: entry.index, op },
                    });
                }
                return Ok(());
            }
            Op::Vote(vote) => (Record::Vote(*vote), What::Vote),
            Op::Truncate { from } => (Record::Truncate { from: *from }, What::Passing),
            Op::Purge(upto) => (Record::Purge(*upto), What::Purged),
            Op::Create { about, vote, purged } => {
                let (vote, purged) = (*vote, *purged);
                let what = What::Group {
                    vote: vote.is_some(),
                    purged: purged.is_some(),
                    committed: false,
                };
                (Record::Group(GroupRecord { vote, purged, committed: None, about }), what)
            }
            Op::Destroy { vote } => (Record::Destroyed { vote: *vote }, What::Destroyed),
        };
        let place = self.put(group, &record)?;
        placed.push(Placed { group, place, what });
        Ok(())
    }

    /// Copies a record on. `false` when it did not fit and no segment is prepared: none is asked of
    /// the disk for what may wait.
    pub(super) fn put_move(
        &mut self,
        moved: &Move,
        placed: &mut Vec<Placed>,
    ) -> Result<bool, WalError> {
        let (group, record, what) = match moved {
            Move::State { group, alive: false, vote, .. } => {
                (*group, Record::Destroyed { vote: *vote }, What::Destroyed)
            }
            Move::State { group, vote, purged, committed, about, .. } => {
                let what = What::Group {
                    vote: vote.is_some(),
                    purged: purged.is_some(),
                    committed: committed.is_some(),
                };
                let (vote, purged, committed) = (*vote, *purged, *committed);
                (*group, Record::Group(GroupRecord { vote, purged, committed, about }), what)
            }
            &Move::Entry { group, index, term, tag, op, starts, ref payload, from } => {
                let payload = match payload {
                    Some(payload) => payload.clone(),
                    None => match self.read_back(group, (index, term), from) {
                        Ok(payload) => payload,
                        Err(error) => {
                            let file = file_name(from.seq);
                            tracing::error!(%group, index, file, offset = from.offset, %error,
                                "an entry cannot be read back; its segment stays");
                            self.shared.state.lock().stuck_segment = Some(from.seq);
                            return Ok(true);
                        }
                    },
                };
                let record =
                    Record::Entry { term, index, tag, payload: &payload, starts, moved: true };
                let Some(place) = self.put_prepared(group, &record)? else { return Ok(false) };
                placed.push(Placed { group, place, what: What::Entry { index, op } });
                return Ok(true);
            }
        };
        let Some(place) = self.put_prepared(group, &record)? else { return Ok(false) };
        placed.push(Placed { group, place, what });
        Ok(true)
    }

    pub(super) fn read_back(
        &self,
        group: GroupId,
        entry: (u64, u64),
        from: Place,
    ) -> io::Result<bytes::Bytes> {
        let file = match self.shared.state.lock().segments.get(from.seq) {
            Some(segment) => segment.file.clone(),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        read_payload(&*file, self.shared.log, group, entry, from)
    }

    /// Puts a record into the buffer, going on to the next segment when this one is full.
    pub(super) fn put(&mut self, group: GroupId, record: &Record<'_>) -> Result<Place, WalError> {
        if let Some(place) = self.put_here(group, record) {
            return Ok(place);
        }
        self.rotate()?;
        // Submissions that do not fit into an empty segment have been refused.
        self.put_here(group, record).ok_or_else(|| WalError::TooLarge {
            bytes: self.active.capacity as usize,
            max: record_bytes_max(&self.shared.options),
        })
    }

    /// As [`put`](Self::put), but `None` where it would have to prepare the next segment first.
    fn put_prepared(
        &mut self,
        group: GroupId,
        record: &Record<'_>,
    ) -> Result<Option<Place>, WalError> {
        match self.put_here(group, record) {
            None if matches!(self.spare, Spare::Ready(..)) => self.put(group, record).map(Some),
            place => Ok(place),
        }
    }

    /// Puts a record into the buffer, if it fits into the active segment.
    fn put_here(&mut self, group: GroupId, record: &Record<'_>) -> Option<Place> {
        let start = self.buffer.len();
        let Active { id, end, durable, capacity, .. } = self.active;
        put_frame(&mut self.buffer, id, end, durable, group.0, record);
        let bytes = u32::try_from(self.buffer.len() - start).unwrap_or(u32::MAX);
        let next = end.saturating_add(bytes);
        if next.saturating_add(SEAL_BYTES) <= capacity {
            self.active.end = next;
            return Some(Place { seq: id.seq, offset: end, bytes });
        }
        self.buffer.truncate(start);
        None
    }

    /// Seals the active segment, flushes it and goes on in the next one.
    pub(super) fn rotate(&mut self) -> Result<(), WalError> {
        let next = SegmentId { seq: self.active.id.seq + 1, ..self.active.id };
        while !matches!(self.spare, Spare::Ready(..)) {
            self.fill_spare().map_err(failed("preparing", next.seq))?;
        }
        let Active { id, end, durable, .. } = self.active;
        put_frame(&mut self.buffer, id, end, durable, 0, &Record::Seal);
        self.active.end += SEAL_BYTES;
        self.write_buffer()?;
        self.flush()?;
        let Spare::Ready(file, capacity) = std::mem::replace(&mut self.spare, Spare::None) else {
            return Err(WalError::Closed);
        };
        self.moves_refused = false;
        let mut state = self.shared.state.lock();
        state.segments.set_end(id.seq, self.active.end);
        state.segments.insert(next.seq, Segment::new(file.clone(), SEGMENT_HEAD_BYTES));
        let begin = SEGMENT_HEAD_BYTES;
        self.active =
            Active { id: next, file, capacity, end: begin, written: begin, durable: begin };
        Ok(())
    }

    pub(super) fn write_buffer(&mut self) -> Result<(), WalError> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let active = &mut self.active;
        active
            .file
            .write_at(u64::from(active.written), &self.buffer)
            .map_err(failed("writing", active.id.seq))?;
        active.written = active.end;
        self.shared.state.lock().stats.bytes_written += self.buffer.len() as u64;
        self.buffer.clear();
        self.buffer.shrink_to(BUFFER_BYTES_KEPT);
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), WalError> {
        let active = &mut self.active;
        if active.durable < active.written {
            active.file.sync_data().map_err(failed("flushing", active.id.seq))?;
            active.durable = active.written;
            self.shared.state.lock().stats.flushes += 1;
        }
        Ok(())
    }
}

pub(super) fn failed(what: &'static str, seq: u64) -> impl FnOnce(io::Error) -> WalError {
    move |source| WalError::Failed {
        what: format!("{what} {}", file_name(seq)),
        source: Arc::new(source),
    }
}
