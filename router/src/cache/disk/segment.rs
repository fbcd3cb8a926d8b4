//! One file of records, and reading out of it. Everything here blocks.

use std::{
    io,
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::{Bytes, BytesMut};

use super::{
    catalog::Place,
    files::{File, Files},
    record::{
        CHUNK_BYTES, DEAD, Damaged, HEADER_BYTES, Head, Header, LIVE, STATE_AT, coded_bytes,
        place_of, read_chunks,
    },
};

const SUFFIX: &str = ".seg";

/// Records that a segment may have: as many ids are its.
const RECORDS_MAX: u64 = 1 << 20;

/// What the ids of segments are below; nothing that was written has another.
const SEGMENT_IDS_END: u64 = 1 << 40;

/// The name of a segment's file.
pub(crate) fn name_of(id: u64) -> String {
    format!("{id:016x}{SUFFIX}")
}

/// The segment whose file has this name.
pub(crate) fn id_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    u64::from_str_radix(digits, 16).ok().filter(|id| name_of(*id) == name)
}

/// Whether a segment may have this id.
pub(crate) const fn is_id(id: u64) -> bool {
    id < SEGMENT_IDS_END
}

/// The segment of the record with an id.
pub(crate) const fn segment_of(record: u64) -> u64 {
    record / RECORDS_MAX
}

/// The id of a segment's record with a number; `None` if it has too many already.
pub(crate) fn record_id(segment: u64, number: u64) -> Option<u64> {
    (number < RECORDS_MAX).then(|| segment.checked_mul(RECORDS_MAX)?.checked_add(number))?
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It is not what was written.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// The disk does not give it.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        // A file that ends too early was cut off.
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged(Damaged),
            _ => Self::Io(error),
        }
    }
}

/// One file. Whoever reads holds it; the bytes it takes count until nobody does.
pub(crate) struct Segment {
    pub(crate) id: u64,
    file: Arc<dyn File>,
    bytes: AtomicU64,
    /// Of all segments together.
    total: Arc<AtomicU64>,
}

impl Segment {
    /// A new one.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn create(files: &dyn Files, id: u64, total: &Arc<AtomicU64>) -> io::Result<Self> {
        Ok(Self::of(files.create(&name_of(id))?, id, 0, total))
    }

    /// One that is there, of so many bytes.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn open(
        files: &dyn Files,
        id: u64,
        bytes: u64,
        total: &Arc<AtomicU64>,
    ) -> io::Result<Self> {
        Ok(Self::of(files.open(&name_of(id))?, id, bytes, total))
    }

    fn of(file: Arc<dyn File>, id: u64, bytes: u64, total: &Arc<AtomicU64>) -> Self {
        total.fetch_add(bytes, Ordering::Relaxed);
        Self { id, file, bytes: AtomicU64::new(bytes), total: Arc::clone(total) }
    }

    /// Its length. It counts what was begun to be written.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Writes at its end. Answers where that was.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn append(&self, bytes: &[u8]) -> io::Result<u64> {
        let at = self.bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.total.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.file.write_at(bytes, at)?;
        Ok(at)
    }

    /// Writes over what is there.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn overwrite(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }

    /// Has the record at a place say that it is dead.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn bury(&self, offset: u64) -> io::Result<()> {
        self.overwrite(&DEAD, offset.saturating_add(STATE_AT))
    }

    /// Has it say that it is not.
    ///
    /// # Errors
    /// Of the file system.
    pub(crate) fn enliven(&self, offset: u64) -> io::Result<()> {
        self.overwrite(&LIVE, offset.saturating_add(STATE_AT))
    }

    /// # Errors
    /// Of the file system.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn read(&self, bytes: u64, at: u64) -> Result<Bytes, ReadError> {
        let length = usize::try_from(bytes).map_err(|_too_long| Damaged)?;
        let mut buffer = BytesMut::zeroed(length);
        self.file.read_at(&mut buffer, at)?;
        Ok(buffer.freeze())
    }

    /// The header at a place.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn header(&self, offset: u64) -> Result<Header, ReadError> {
        Ok(Header::decode(&self.read(HEADER_BYTES, offset)?)?)
    }

    /// The head of the record at a place.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn head(&self, header: &Header, offset: u64) -> Result<Head, ReadError> {
        let at = offset.saturating_add(HEADER_BYTES);
        Ok(Head::decode(&self.read(u64::from(header.head_bytes), at)?, header)?)
    }

    /// Head and body of a record, which fit into memory.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn record(&self, id: u64, place: Place) -> Result<(Head, Bytes), ReadError> {
        let head_bytes = u64::from(place.head_bytes);
        let before = HEADER_BYTES + head_bytes;
        let bytes = before.checked_add(coded_bytes(place.body_bytes)).ok_or(Damaged)?;
        let mut record = self.read(bytes, place.offset)?;
        let header = Header::decode(&record)?;
        // Whether it lives the catalogue knows: on disk it says so a little later.
        let is_it = header.id == id
            && (header.head_bytes, header.body_bytes) == (place.head_bytes, place.body_bytes);
        if !is_it {
            return Err(Damaged.into());
        }
        let cut = |bytes: u64| usize::try_from(bytes).map_err(|_too_long| Damaged);
        let mut head = record.split_to(cut(before)?);
        let head = Head::decode(&head.split_off(cut(HEADER_BYTES)?), &header)?;
        let chunks = read_chunks(id, 0, record)?;
        let body = match chunks.as_slice() {
            // Still a part of what was read, and that is no larger by much.
            [only] => only.clone(),
            several => several.concat().into(),
        };
        Ok((head, body))
    }

    /// Some chunks of a record's body.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) fn chunks(
        &self,
        id: u64,
        place: Place,
        chunks: Range<u64>,
    ) -> Result<Vec<Bytes>, ReadError> {
        let first = chunks.start;
        let lies = place_of(chunks, place.body_bytes);
        let before = HEADER_BYTES + u64::from(place.head_bytes) + lies.start;
        let at = place.offset.checked_add(before).ok_or(Damaged)?;
        let coded = self.read(lies.end.checked_sub(lies.start).ok_or(Damaged)?, at)?;
        Ok(read_chunks(id, first, coded)?)
    }
}

/// The chunks in which a part of a body is.
pub(crate) const fn chunks_of(part: &Range<u64>) -> Range<u64> {
    part.start / CHUNK_BYTES..part.end.div_ceil(CHUNK_BYTES)
}

impl std::fmt::Debug for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Segment").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes(), Ordering::Relaxed);
    }
}
