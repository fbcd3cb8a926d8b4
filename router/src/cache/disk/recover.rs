//! What an earlier process left on disk. Everything here blocks.

use std::{collections::BTreeSet, io, sync::Arc};

use bytes::Bytes;
use hexpop_shard::PurgeId;

use super::{
    Shared,
    catalog::{Entry, Place},
    files::Files,
    fit,
    limits::SEGMENTS_MAX,
    position,
    record::Header,
    segment::{ReadError, Segment, id_of, is_id, name_of, segment_of},
};
use crate::cache::{
    purge::Moment,
    stored::{Payload, Stored},
};

/// What there is, before it is looked into.
#[derive(Debug, Default)]
pub(super) struct Left {
    /// Up to which purge it has followed; `None` = nothing of it is of use.
    pub(super) position: Option<PurgeId>,
    /// Segments in the order of their ids, and their lengths.
    segments: Vec<(u64, u64)>,
    /// Files that are named like segments and cannot be any.
    strange: Vec<u64>,
    /// The id of the next one.
    pub(super) next_segment: u64,
}

impl Left {
    /// Looks for it.
    ///
    /// # Errors
    /// Of the file system.
    pub(super) fn find(files: &dyn Files) -> io::Result<Self> {
        let listed = files.list()?;
        let named = listed.iter().filter_map(|(name, bytes)| Some((id_of(name)?, *bytes)));
        let (mut segments, strange): (Vec<_>, Vec<_>) = named.partition(|(id, _bytes)| is_id(*id));
        segments.sort_unstable();
        let strange = strange.into_iter().map(|(id, _bytes)| id).collect();
        let next_segment = segments.last().map_or(1, |(id, _bytes)| id.saturating_add(1));
        let said = listed.iter().find(|(name, _bytes)| name == position::NAME);
        let position = match said {
            Some((_name, bytes)) => position::read(files, *bytes)?,
            None => None,
        };
        Ok(Self { position, segments, strange, next_segment })
    }
}

/// Enters what is there; behind each segment `keep_within` sees to it that it is not more than may be. Purges that were
/// applied meanwhile are obeyed, and nothing is entered of which something came meanwhile. Answers the segments that
/// were told of dead records, which are not on disk for certain.
///
/// # Errors
/// Of the file system.
pub(super) fn recover(
    shared: &Arc<Shared>,
    left: Left,
    mut keep_within: impl FnMut() -> io::Result<()>,
) -> io::Result<BTreeSet<u64>> {
    let mut told = BTreeSet::new();
    left.strange.iter().try_for_each(|id| shared.files.remove(&name_of(*id)))?;
    let too_many = left.segments.len().saturating_sub(SEGMENTS_MAX);
    for (nth, (id, bytes)) in left.segments.into_iter().enumerate() {
        if !shared.is_on() {
            break;
        }
        let name = name_of(id);
        // The oldest go where there are more than may be open.
        if left.position.is_none() || nth < too_many {
            shared.files.remove(&name)?;
            continue;
        }
        let segment = Arc::new(Segment::open(&*shared.files, id, bytes, &shared.total)?);
        shared.catalog.lock().add_segment(id, Arc::clone(&segment));
        if scan(shared, &segment)? {
            told.insert(id);
        }
        let is_empty = !shared.catalog.lock().has_live(id);
        if is_empty {
            drop(shared.catalog.lock().retire(id));
            shared.files.remove(&name)?;
            told.remove(&id);
        }
        drop(segment);
        keep_within()?;
    }
    shared.catalog.lock().end_recovery();
    Ok(told)
}

/// Enters the records of a segment, up to where it is torn or goes on with what was not written there. Answers whether
/// some were told that they are dead.
fn scan(shared: &Arc<Shared>, segment: &Arc<Segment>) -> io::Result<bool> {
    let (mut offset, mut has_told) = (0_u64, false);
    let mut last = None;
    while offset < segment.bytes() {
        let header = match segment.header(offset) {
            Ok(header) => header,
            Err(ReadError::Damaged(_)) => break,
            Err(ReadError::Io(error)) => return Err(error),
        };
        let end = offset.saturating_add(header.record_bytes());
        // Each belongs to this file, and has a higher id than the one before.
        let is_next = segment_of(header.id) == segment.id && last < Some(header.id);
        if end > segment.bytes() || !is_next {
            break;
        }
        last = Some(header.id);
        if !header.dead {
            match enter(shared, segment, &header, offset) {
                Ok(is_entered) => has_told |= !is_entered,
                // The next one is where it would be all the same.
                Err(ReadError::Damaged(_)) => shared.around.metrics.damaged(),
                Err(ReadError::Io(error)) => return Err(error),
            }
        }
        offset = end;
    }
    Ok(has_told)
}

/// Enters one, unless a purge or a response that came since the start is about it, or it can never be confirmed.
/// Answers whether it did; else it is told that it is dead.
fn enter(
    shared: &Arc<Shared>,
    segment: &Arc<Segment>,
    header: &Header,
    offset: u64,
) -> Result<bool, ReadError> {
    let (head_bytes, body_bytes) = (header.head_bytes, header.body_bytes);
    let place = Place { segment: segment.id, offset, head_bytes, body_bytes };
    let head = segment.head(header, offset)?;
    let (now, number) = ((shared.around.now)(), (shared.around.number)());
    let key = head.key();
    let stored = head.unproven(now.wall_ms).stored(Payload::Whole(Bytes::new()), number)?;
    let stored = Stored { arrived: now.uptime, ..stored };
    let is_entered = {
        let mut catalog = shared.catalog.lock();
        let purged = shared.around.purged.lock().hit_since(Moment::default(), &key, &stored.tags);
        // What came, or was forgotten, since the start is newer.
        let is_of_use = fit::has_validator(&stored) && !purged && !catalog.is_renewed(&key);
        if is_of_use {
            catalog.insert(&key, Entry::of(header.id, place, &stored));
        }
        is_of_use
    };
    if is_entered {
        shared.around.metrics.recovered();
    } else {
        segment.bury(offset)?;
    }
    Ok(is_entered)
}

/// Removes all files, as far as that can be done.
pub(super) fn remove_all(files: &dyn Files) {
    let listed = files.list().unwrap_or_default();
    let ours = |name: &str| id_of(name).is_some() || name.starts_with(position::NAME);
    for (name, _bytes) in listed.iter().filter(|(name, _bytes)| ours(name)) {
        if let Err(error) = files.remove(name) {
            tracing::debug!(%error, name, "a file of the disk tier was not removed");
        }
    }
}
