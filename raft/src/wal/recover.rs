//! Opening: every segment is read, the torn tail is cut, damage is refused.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    sync::Arc,
};

use hexpop_edge_config::{RaftId, ShardId};

use super::{
    OpenError, Options, Wal,
    append::Active,
    record::{KIND_MAX, Record, VERSION},
    replay::{Invalid, Replay},
    segment::{
        Frame, Head, Place, SEGMENT_HEAD_BYTES, SegmentId, file_name, frame_at, is_unfinished,
        parse_head, parse_name,
    },
    space::Segment,
    spare::{Spare, prepare},
    state::{Shared, State},
};
use crate::disk::{Disk, DiskFile};

/// What opening found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Segment files read.
    pub segments: usize,
    /// Sound records in them.
    pub records: u64,
    /// What was cut.
    pub torn: Option<Torn>,
}

/// A tail that was written but not flushed when the process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The segment.
    pub file: String,
    /// Where it was cut.
    pub offset: u32,
    /// How many bytes behind that were not zero, or between such.
    pub bytes: u32,
}

/// One segment, read.
struct Scanned {
    id: SegmentId,
    file: Arc<dyn DiskFile>,
    bytes: Vec<u8>,
    /// Where the run of sound records ends.
    end: u32,
    sealed: bool,
    /// Up to where the records of the run prove that it was durable.
    durable: u32,
    /// The furthest durable mark of sound records behind the run; `None` if there is no such record.
    beyond: Option<u32>,
}

pub(super) fn open(
    disk: Arc<dyn Disk>,
    log: RaftId,
    options: Options,
) -> Result<(Wal, Recovery), OpenError> {
    options.check()?;
    let mut replay = Replay::default();
    let mut recovery = Recovery::default();
    let mut files = BTreeMap::new();
    let mut previous: Option<Scanned> = None;
    let mut tail: Option<Scanned> = None;
    let mut unused: Option<Scanned> = None;
    for seq in list(&*disk)? {
        let scanned = scan(&*disk, log, seq, &mut replay)?;
        recovery.segments += 1;
        files.insert(seq, (scanned.file.clone(), scanned.end));
        match &tail {
            Some(tail) if scanned.has_records() || unused.is_some() => {
                let what = format!("the records end here, but {} goes on", file_name(seq));
                return Err(tail.corrupt(&replay, what));
            }
            Some(_) => unused = Some(scanned),
            None if scanned.sealed => previous = Some(scanned),
            None => {
                if scanned.beyond.is_some_and(|durable| durable > scanned.end) {
                    let what = "a record that was durable is not sound".to_owned();
                    return Err(scanned.corrupt(&replay, what));
                }
                tail = Some(scanned);
            }
        }
    }
    recovery.records = replay.records;
    let groups = replay.finish()?;

    // What the dead process wrote may be readable and yet not be on the disk: it is written again
    // from the last proof of durability on, since flushing alone does not help after a failed flush.
    if tail.as_ref().is_none_or(|tail| tail.end == SEGMENT_HEAD_BYTES)
        && let Some(previous) = &previous
    {
        settle(previous)?;
    }
    let (active, torn) = match &tail {
        Some(tail) => (tail.active(), settle(tail)?),
        None => {
            let seq = previous.as_ref().map_or(1, |previous| previous.id.seq + 1);
            (begin(&*disk, SegmentId { log: log.0, seq }, &options)?, None)
        }
    };
    files.entry(active.id.seq).or_insert_with(|| (active.file.clone(), active.end));
    recovery.torn = torn;
    let spare = match &unused {
        Some(unused) => {
            files.remove(&unused.id.seq);
            settle(unused)?;
            Spare::Ready(unused.file.clone(), unused.capacity())
        }
        None => Spare::None,
    };
    let mut state = State::new(groups, Default::default());
    for (seq, (file, end)) in files {
        state.segments.insert(seq, Segment::new(file, end));
    }
    state.count_live();
    let shared = Arc::new(Shared::new(state, options, log.0));
    let wal = Wal {
        shared,
        disk,
        active,
        spare,
        spare_blocked: false,
        scrub_seen: 0,
        moves_refused: false,
        buffer: Vec::new(),
    };
    Ok((wal, recovery))
}

/// The segments' numbers, in order; removes what was being prepared.
fn list(disk: &dyn Disk) -> Result<BTreeSet<u64>, OpenError> {
    let mut seqs = BTreeSet::new();
    for name in disk.list().map_err(io_error("listing", "the directory"))? {
        if is_unfinished(&name) {
            disk.remove(&name).map_err(io_error("removing", &name))?;
        }
        seqs.extend(parse_name(&name));
    }
    // The names may be those that a dead process saw but never synced.
    disk.sync_dir().map_err(io_error("syncing", "the directory"))?;
    if let (Some(&first), Some(&last)) = (seqs.first(), seqs.last())
        && let Some(missing) = (first..=last).find(|seq| !seqs.contains(seq))
    {
        let what = "the segment is missing between others".to_owned();
        return Err(OpenError::Corrupt { file: file_name(missing), offset: 0, group: None, what });
    }
    Ok(seqs)
}

fn scan(disk: &dyn Disk, log: RaftId, seq: u64, replay: &mut Replay) -> Result<Scanned, OpenError> {
    let name = file_name(seq);
    let file = disk.open(&name, false).map_err(io_error("opening", &name))?;
    let size = file.size().map_err(io_error("measuring", &name))?;
    let size = usize::try_from(size.min(u64::from(u32::MAX))).unwrap_or(usize::MAX);
    let mut bytes = vec![0; size];
    file.read_at(0, &mut bytes).map_err(io_error("reading", &name))?;
    let corrupt = |offset: u32, what: &str| OpenError::Corrupt {
        file: name.clone(),
        offset: u64::from(offset),
        group: None,
        what: what.to_owned(),
    };
    let id = SegmentId { log: log.0, seq };
    match parse_head(&bytes) {
        Head::Valid(found) if found == id => {}
        Head::Valid(found) if found.log != log.0 => {
            return Err(OpenError::Foreign { file: name, expected: log, found: RaftId(found.log) });
        }
        Head::Valid(_) => return Err(corrupt(0, "the header is of another segment")),
        Head::Version(found) => return Err(too_new(name, 0, "format version", found, VERSION)),
        Head::Damaged => return Err(corrupt(0, "the header is damaged")),
    }
    let mut end = SEGMENT_HEAD_BYTES;
    let mut durable = SEGMENT_HEAD_BYTES;
    let mut sealed = false;
    while !sealed && let Some(frame) = frame_at(id, &bytes, end) {
        let record = known(&frame, &name, end)?;
        let place = Place { seq, offset: end, bytes: frame.bytes };
        let applied = record.ok_or(Invalid("its body is not one of its kind")).and_then(|record| {
            sealed = record == Record::Seal;
            replay.apply(ShardId(frame.group), &record, place)
        });
        applied.map_err(|Invalid(what)| OpenError::Corrupt {
            file: name.clone(),
            offset: u64::from(end),
            group: Some(ShardId(frame.group)),
            what: what.to_owned(),
        })?;
        durable = durable.max(frame.durable);
        end = end.saturating_add(frame.bytes);
    }
    let beyond = if sealed { None } else { furthest_mark(id, &bytes, end) };
    Ok(Scanned { id, file, bytes, end, sealed, durable, beyond })
}

/// The record of a frame, `None` if its body is not one; an error if only a newer build knows.
fn known<'a>(frame: &Frame<'a>, file: &str, at: u32) -> Result<Option<Record<'a>>, OpenError> {
    if frame.version != VERSION {
        return Err(too_new(file.to_owned(), at, "format version", frame.version, VERSION));
    }
    if frame.kind > KIND_MAX {
        return Err(too_new(file.to_owned(), at, "record kind", frame.kind, KIND_MAX));
    }
    Ok(Record::parse(frame.kind, frame.flags, frame.body))
}

/// Looks for sound records behind `end`, at every place where one could begin.
fn furthest_mark(id: SegmentId, bytes: &[u8], end: u32) -> Option<u32> {
    let rest = bytes.get(end as usize..end as usize + garbage_bytes(bytes, end))?;
    let mut furthest = None;
    for (at, front) in (end..).step_by(8).zip(rest.chunks(8)).skip(1) {
        if front.iter().any(|&byte| byte != 0)
            && let Some(frame) = frame_at(id, bytes, at)
        {
            furthest = furthest.max(Some(frame.durable));
        }
    }
    furthest
}

/// Makes the run of records durable and everything behind it zero; returns what was not.
fn settle(scanned: &Scanned) -> Result<Option<Torn>, OpenError> {
    let Scanned { id, file, bytes, end, durable, .. } = scanned;
    let name = file_name(id.seq);
    let rewriting = io_error("rewriting the tail of", &name);
    let run = bytes.get(*durable as usize..*end as usize).unwrap_or_default();
    let garbage = garbage_bytes(bytes, *end);
    let torn = Torn {
        file: name.clone(),
        offset: *end,
        bytes: u32::try_from(garbage).unwrap_or(u32::MAX),
    };
    if run.is_empty() && garbage == 0 {
        return Ok(None);
    }
    file.write_at(u64::from(*durable), run)
        .and_then(|()| file.write_at(u64::from(*end), &vec![0; garbage]))
        .and_then(|()| file.sync_data())
        .map_err(rewriting)?;
    if garbage == 0 {
        return Ok(None);
    }
    tracing::warn!(
        file = torn.file,
        offset = torn.offset,
        bytes = torn.bytes,
        "cut an unflushed tail off the write-ahead log"
    );
    Ok(Some(torn))
}

/// How many bytes behind `end` are not zero, or between such.
fn garbage_bytes(bytes: &[u8], end: u32) -> usize {
    // By pages first: nearly all of a fresh segment is zeros, and comparing those is fast.
    const ZEROS: [u8; 4096] = [0; 4096];
    let rest = bytes.get(end as usize..).unwrap_or_default();
    let (pages, odd) = rest.as_chunks::<4096>();
    let pages = pages.iter().rposition(|page| *page != ZEROS).map_or(0, |last| last + 1);
    let near = if odd.iter().any(|&byte| byte != 0) { rest.len() } else { pages * ZEROS.len() };
    let near = rest.get(..near).unwrap_or_default();
    near.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1)
}

/// The first segment of a log, or the one after a sealed one.
fn begin(disk: &dyn Disk, id: SegmentId, options: &Options) -> Result<Active, OpenError> {
    let mut spare = Spare::None;
    loop {
        spare = prepare(disk, id, options.segment_bytes, options.segment_bytes, spare)
            .map_err(io_error("preparing", &file_name(id.seq)))?;
        if let Spare::Ready(file, capacity) = spare {
            let end = SEGMENT_HEAD_BYTES;
            return Ok(Active { id, file, capacity, end, written: end, durable: end });
        }
    }
}

impl Scanned {
    fn has_records(&self) -> bool {
        self.end > SEGMENT_HEAD_BYTES || self.beyond.is_some()
    }

    fn capacity(&self) -> u32 {
        u32::try_from(self.bytes.len()).unwrap_or(u32::MAX)
    }

    fn active(&self) -> Active {
        let Self { id, end, .. } = *self;
        let file = self.file.clone();
        Active { id, file, capacity: self.capacity(), end, written: end, durable: end }
    }

    /// Damage at the end of the run. Whose record is there is taken from the damaged frame, if it
    /// names a group that is known.
    fn corrupt(&self, replay: &Replay, what: String) -> OpenError {
        let at = self.end as usize + 16;
        let group = self.bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
        let group = group.map(|bytes| ShardId(u64::from_le_bytes(bytes)));
        OpenError::Corrupt {
            file: file_name(self.id.seq),
            offset: u64::from(self.end),
            group: group.filter(|id| replay.knows(*id)),
            what,
        }
    }
}

fn io_error(what: &'static str, file: &str) -> impl FnOnce(io::Error) -> OpenError {
    let file = file.to_owned();
    move |source| OpenError::Io { what, file, source }
}

fn too_new(file: String, at: u32, what: &'static str, found: u8, newest: u8) -> OpenError {
    OpenError::TooNew { file, offset: u64::from(at), what, found, newest }
}
