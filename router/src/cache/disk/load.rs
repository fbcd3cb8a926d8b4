//! Taking a stored response into memory again: all of it, or its head.

use std::{collections::btree_map, sync::Arc};

use tokio::sync::watch;

use super::{
    Shared,
    body::DiskBody,
    found::Written,
    reader::ReadJob,
    record::{Damaged, HEADER_BYTES},
    segment::ReadError,
};
use crate::cache::{
    key::CacheKey,
    stored::{Payload, Stored},
};

/// What became of it; `None`: it is not there any more.
pub(super) type Loaded = Option<Arc<Stored>>;

/// One that is being read; all who want it wait for the same.
pub(super) type Loading = watch::Receiver<Option<Loaded>>;

pub(super) async fn read(shared: &Arc<Shared>, found: Box<Written>) -> Loaded {
    if let Some(head) = &found.entry.head {
        shared.around.metrics.hit();
        return held(head, &found);
    }
    let (key, id) = (found.key.clone(), found.entry.id);
    let mut loading = begin(shared, found).or_else(|| {
        shared.around.metrics.busy();
        None
    })?;
    let loaded = loading.wait_for(Option::is_some).await.ok()?.clone()??;
    let now = as_it_is_now(shared, &key, id, &loaded)?;
    shared.around.metrics.hit();
    Some(now)
}

/// What was read, with what the catalogue says of it by now: whoever joins a read that began before comes after
/// what happened meanwhile. `None`: it was forgotten.
fn as_it_is_now(shared: &Shared, key: &CacheKey, id: u64, loaded: &Stored) -> Loaded {
    let entry = shared.catalog.lock().entry(key, id)?.clone();
    let head = entry.head.as_deref().unwrap_or(loaded).clone();
    let (payload, freshness, arrived) = (loaded.payload.clone(), entry.freshness, entry.arrived);
    Some(Arc::new(Stored { payload, freshness, arrived, ..head }))
}

/// Begins to read it or joins those who wait; `None` if there is too much to read.
fn begin(shared: &Arc<Shared>, found: Box<Written>) -> Option<Loading> {
    let place = found.entry.place;
    let is_whole = place.body_bytes <= shared.limits.whole_bytes_max;
    let bytes =
        HEADER_BYTES + u64::from(place.head_bytes) + if is_whole { place.body_bytes } else { 0 };
    let mut all = shared.loading.lock();
    let entry = match all.entry((found.entry.id, found.key.clone())) {
        btree_map::Entry::Occupied(loading) => return Some(loading.get().clone()),
        btree_map::Entry::Vacant(entry) => entry,
    };
    let room = u32::try_from(bytes.div_ceil(1 << 10)).ok()?;
    let room = [
        Arc::clone(&shared.load_room).try_acquire_many_owned(room).ok()?,
        Arc::clone(&shared.loads).try_acquire_owned().ok()?,
    ];
    let (sender, loading) = watch::channel(None);
    if !shared.reads.push(ReadJob::Load { found, sender, room }, 0) {
        return None;
    }
    entry.insert(loading.clone());
    Some(loading)
}

/// Reads it. Blocks.
pub(super) fn load(shared: &Arc<Shared>, found: &Written) -> Loaded {
    match from_segment(shared, found) {
        Ok(stored) => Some(stored),
        Err(ReadError::Damaged(_)) => {
            shared.forget_damaged(&found.key, found.entry.id);
            None
        }
        Err(ReadError::Io(error)) => {
            shared.turn_off(format!("it cannot be read: {error}"));
            None
        }
    }
}

fn from_segment(shared: &Arc<Shared>, found: &Written) -> Result<Arc<Stored>, ReadError> {
    let Written { key, entry, segment } = found;
    let place = entry.place;
    let is_whole = place.body_bytes <= shared.limits.whole_bytes_max;
    let (head, payload) = if is_whole {
        let (head, body) = segment.record(entry.id, place)?;
        (head, Payload::Whole(body))
    } else {
        let header = segment.header(place.offset)?;
        if header.id != entry.id {
            return Err(Damaged.into());
        }
        let body = DiskBody::new(shared, key, entry.id, place);
        (segment.head(&header, place.offset)?, Payload::Disk(body))
    };
    if head.key() != *key {
        return Err(Damaged.into());
    }
    let stored = head.stored(payload, entry.number)?;
    // What was learned of it since it was written is not on disk.
    let (freshness, arrived) = (entry.freshness.clone(), entry.arrived);
    let stored = Arc::new(Stored { freshness, arrived, ..stored });
    if is_whole {
        return Ok(stored);
    }
    shared.catalog.lock().attach_head(key, entry.id, Arc::clone(&stored));
    held(&stored, found).ok_or_else(|| Damaged.into())
}

/// The response of a head, whose body can be read.
fn held(head: &Stored, found: &Written) -> Loaded {
    let Payload::Disk(body) = &head.payload else { return None };
    let payload = Payload::Disk(body.held(Arc::clone(&found.segment)));
    let freshness = found.entry.freshness.clone();
    Some(Arc::new(Stored { payload, freshness, ..head.clone() }))
}
