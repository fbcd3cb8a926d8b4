//! Reading the log of a group: what is submitted can be read at once, durable or not.

use std::{io, ops::Range, sync::Arc};

use bytes::Bytes;
use hexpop_edge_config::GroupId;

use super::{
    GroupLog, LogEntry, LogPosition, LogVote, WalError,
    record::Record,
    segment::{Place, SegmentId, file_name, frame},
};
use crate::disk::DiskFile;

/// The state of a group's log at one moment, apart from the entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupView {
    /// The last vote saved.
    pub vote: Option<LogVote>,
    /// The last position purged.
    pub purged: Option<LogPosition>,
    /// The last position noted as committed.
    pub committed: Option<LogPosition>,
    /// The last entry, or the purged position if there is none.
    pub last: Option<LogPosition>,
    /// The indexes of the entries that are there.
    pub indexes: (u64, u64),
}

/// An entry to be read, with its file at hand: a segment that is deleted meanwhile stays readable.
struct Wanted {
    index: u64,
    term: u64,
    tag: u8,
    content: Content,
}

enum Content {
    Cached(Bytes),
    Stored(Place, Arc<dyn DiskFile>),
}

impl GroupLog {
    /// The state of the log now.
    ///
    /// # Errors
    /// `NoGroup`.
    pub fn view(&self) -> Result<GroupView, WalError> {
        let state = self.wal.shared.state.lock();
        let group = state.group(self.id, self.life)?;
        Ok(GroupView {
            vote: group.vote,
            purged: group.purged,
            committed: group.committed,
            last: group.last(),
            indexes: (group.first, group.next()),
        })
    }

    /// The entries of `range` that are there, from the first on and without a gap, until
    /// `bytes_max` of payload is reached; at least one if there is one.
    ///
    /// Entries that are not in memory are read from their segment, one read each, on the caller's
    /// thread.
    ///
    /// # Errors
    /// `NoGroup`; `Read` when an entry cannot be read back, or not as it was written.
    pub fn read(&self, range: Range<u64>, bytes_max: usize) -> Result<Vec<LogEntry>, WalError> {
        Ok(self.read_if(range, bytes_max, |_vote| true)?.unwrap_or_default())
    }

    /// As [`read`](Self::read), provided that `vote` holds of the vote at that very moment; `None`
    /// if not.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn read_if(
        &self,
        range: Range<u64>,
        bytes_max: usize,
        vote: impl FnOnce(Option<LogVote>) -> bool,
    ) -> Result<Option<Vec<LogEntry>>, WalError> {
        let wanted = {
            let state = self.wal.shared.state.lock();
            let group = state.group(self.id, self.life)?;
            if !vote(group.vote) {
                return Ok(None);
            }
            let first = range.start.max(group.first);
            let mut left = bytes_max;
            let mut wanted = Vec::new();
            for index in first..range.end.min(group.next()).max(first) {
                let Some(slot) = group.slot(index) else { break };
                let content = match (&slot.payload, slot.place) {
                    (Some(payload), _) => Content::Cached(payload.clone()),
                    (None, Some(place)) => match state.segments.get(place.seq) {
                        Some(segment) => Content::Stored(place, segment.file.clone()),
                        None => return Err(self.lost(index, place)),
                    },
                    (None, None) => return Err(WalError::Closed),
                };
                let bytes = content.bytes();
                if left < bytes && !wanted.is_empty() {
                    break;
                }
                left = left.saturating_sub(bytes);
                wanted.push(Wanted { index, term: slot.term, tag: slot.tag, content });
            }
            wanted
        };
        let entries = wanted.into_iter().map(|wanted| self.fetch(wanted));
        entries.collect::<Result<_, _>>().map(Some)
    }

    /// The last position of each term from `first` to `last`, both included. `first` need not be in
    /// the log any more.
    ///
    /// # Errors
    /// `NoGroup`.
    pub fn term_ends(
        &self,
        first: LogPosition,
        last: LogPosition,
    ) -> Result<Vec<LogPosition>, WalError> {
        let state = self.wal.shared.state.lock();
        let group = state.group(self.id, self.life)?;
        let mut ends = Vec::new();
        let mut end = first;
        let from = first.index.saturating_add(1).max(group.first);
        for index in from..last.index.saturating_add(1).min(group.next()) {
            let Some(slot) = group.slot(index) else { break };
            if slot.term != end.term {
                ends.push(end);
            }
            end = LogPosition { term: slot.term, index };
        }
        ends.push(end);
        Ok(ends)
    }

    fn fetch(&self, wanted: Wanted) -> Result<LogEntry, WalError> {
        let Wanted { index, term, tag, content } = wanted;
        let payload = match content {
            Content::Cached(payload) => payload,
            Content::Stored(place, file) => {
                read_payload(&*file, self.wal.shared.log, self.id, (index, term), place)
                    .map_err(|source| self.unreadable(index, place, source))?
            }
        };
        Ok(LogEntry { index, term, tag, payload })
    }

    fn unreadable(&self, index: u64, place: Place, source: io::Error) -> WalError {
        WalError::Read {
            group: self.id,
            index,
            file: file_name(place.seq),
            offset: place.offset,
            source: Arc::new(source),
        }
    }

    fn lost(&self, index: u64, place: Place) -> WalError {
        self.unreadable(index, place, io::Error::from(io::ErrorKind::NotFound))
    }
}

impl Content {
    fn bytes(&self) -> usize {
        match self {
            Self::Cached(payload) => payload.len(),
            Self::Stored(place, _) => place.bytes as usize,
        }
    }
}

/// Reads the payload of the entry (index, term) of `group` that was written at `place`.
pub(super) fn read_payload(
    file: &dyn DiskFile,
    log: u64,
    group: GroupId,
    entry: (u64, u64),
    place: Place,
) -> io::Result<Bytes> {
    let damaged = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = vec![0; place.bytes as usize];
    file.read_at(u64::from(place.offset), &mut bytes)?;
    let id = SegmentId { log, seq: place.seq };
    let found = frame(id, place.offset, &bytes)
        .ok_or_else(|| damaged("the record's checksum does not hold"))?;
    match Record::parse(found.kind, found.flags, found.body) {
        Some(Record::Entry { index, term, payload, .. })
            if (index, term) == entry && found.group == group.0 =>
        {
            let bytes = Bytes::copy_from_slice(payload);
            Ok(bytes)
        }
        _ => Err(damaged("another record is in the place of the entry")),
    }
}
