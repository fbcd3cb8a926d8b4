//! A body that stays on disk and is read as it is sent.

use std::{
    collections::VecDeque,
    fmt,
    ops::Range,
    sync::{Arc, Weak},
    time::Duration,
};

use bytes::Bytes;
use futures::{
    future::{self, BoxFuture, Either},
    stream,
};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::oneshot;

use super::{
    Shared,
    catalog::Place,
    reader::ReadJob,
    record::CHUNK_BYTES,
    segment::{ReadError, Segment, chunks_of},
};
use crate::{
    cache::{
        key::CacheKey,
        stored::{Payload, Stored},
    },
    port::{Body, BodyError},
};

/// Chunks that are read at a time.
const CHUNKS_AT_ONCE: u64 = 4;

/// How long who is sent a body waits for the next of them. Too low: what is there is fetched once more while the disk is
/// busy. Too high: a disk that hangs holds everybody up for so long.
const CHUNKS_WITHIN: Duration = Duration::from_secs(10);

/// Why a body that is read from disk breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    /// What is there is not what was written.
    #[error("the stored body is damaged")]
    Damaged,
    /// The tier is off, or its files are gone.
    #[error("the stored body cannot be read any more")]
    Gone,
    /// The disk is busy, or hangs.
    #[error("the stored body could not be read in time")]
    Late,
}

/// Gives a part of a body from elsewhere, if it is there just the same.
pub(crate) type Elsewhere =
    Arc<dyn Fn(Range<u64>) -> BoxFuture<'static, Option<Body>> + Send + Sync>;

/// Where a body is. Clones are the same one.
#[derive(Clone)]
pub(crate) struct DiskBody {
    shared: Weak<Shared>,
    key: CacheKey,
    id: u64,
    place: Place,
    /// Keeps the file there; `None` in the catalogue, which must not.
    segment: Option<Arc<Segment>>,
    elsewhere: Option<Elsewhere>,
}

impl DiskBody {
    pub(super) fn new(shared: &Arc<Shared>, key: &CacheKey, id: u64, place: Place) -> Self {
        let (shared, key) = (Arc::downgrade(shared), key.clone());
        Self { shared, key, id, place, segment: None, elsewhere: None }
    }

    /// The same, to be read.
    pub(super) fn held(&self, segment: Arc<Segment>) -> Self {
        Self { segment: Some(segment), ..self.clone() }
    }

    /// The record's.
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    /// A response with this body, as the catalogue keeps it.
    pub(super) fn head_of(&self, stored: &Stored) -> Stored {
        let body = Self { segment: None, elsewhere: None, ..self.clone() };
        Stored { payload: Payload::Disk(body), ..stored.clone() }
    }

    /// The same; what proves damaged is taken from elsewhere.
    pub(crate) fn or_from(&self, elsewhere: Elsewhere) -> Self {
        Self { elsewhere: Some(elsewhere), ..self.clone() }
    }

    /// How long it is.
    pub(crate) const fn length(&self) -> u64 {
        self.place.body_bytes
    }

    /// A part of it. What is on disk is forgotten where it proves damaged; the rest comes from elsewhere then, or
    /// it breaks off.
    pub(crate) fn part(&self, part: Range<u64>) -> Body {
        let (body, ready) = (self.clone(), VecDeque::new());
        let reading = Reading { body, left: part, ready, rest: None };
        let pieces = stream::unfold(Some(reading), |reading| async move {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(piece)) => Some((Ok(Frame::data(piece)), Some(reading))),
                Ok(None) => None,
                Err(broken) => Some((Err(broken), None)),
            }
        });
        StreamBody::new(pieces).boxed_unsync()
    }
}

impl PartialEq for DiskBody {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for DiskBody {}

impl fmt::Debug for DiskBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, place, .. } = self;
        f.debug_struct("DiskBody").field("id", id).field("place", place).finish_non_exhaustive()
    }
}

struct Reading {
    body: DiskBody,
    left: Range<u64>,
    ready: VecDeque<Bytes>,
    /// What is left, from elsewhere.
    rest: Option<Body>,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        if self.rest.is_some() {
            return self.next_of_rest().await;
        }
        if self.ready.is_empty() && !self.left.is_empty() {
            match self.read().await {
                Ok(()) => {}
                Err(broken) => {
                    let Some(elsewhere) = &self.body.elsewhere else { return Err(broken.into()) };
                    self.rest = elsewhere(self.left.clone()).await;
                    // Nobody else needs what is here.
                    self.body.segment = None;
                    return match self.rest {
                        Some(_) => self.next_of_rest().await,
                        None => Err(broken.into()),
                    };
                }
            }
        }
        Ok(self.ready.pop_front())
    }

    async fn next_of_rest(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(frame) = match &mut self.rest {
            Some(rest) if !self.left.is_empty() => rest.frame().await,
            _ => None,
        } {
            if let Ok(piece) = frame?.into_data()
                && !piece.is_empty()
            {
                self.left.start += piece.len() as u64;
                let is_too_long = self.left.start > self.left.end;
                return if is_too_long { Err(Broken::Damaged.into()) } else { Ok(Some(piece)) };
            }
        }
        if self.left.is_empty() { Ok(None) } else { Err(Broken::Gone.into()) }
    }

    /// Reads on.
    async fn read(&mut self) -> Result<(), Broken> {
        let Some(shared) = self.body.shared.upgrade() else { return Err(Broken::Gone) };
        let late = (shared.around.sleep)(CHUNKS_WITHIN);
        match future::select(Box::pin(self.read_from(&shared)), late).await {
            Either::Left((read, _late)) => read,
            Either::Right(_) => {
                shared.around.metrics.busy();
                Err(Broken::Late)
            }
        }
    }

    async fn read_from(&mut self, shared: &Shared) -> Result<(), Broken> {
        let DiskBody { key, id, place, segment, .. } = &self.body;
        let Some(segment) = segment else { return Err(Broken::Gone) };
        let mut chunks = chunks_of(&self.left);
        chunks.end = chunks.end.min(chunks.start + CHUNKS_AT_ONCE);
        let begins = chunks.start * CHUNK_BYTES;
        // Only as many as have room in the queue are waited for at a time.
        let room = Arc::clone(&shared.chunk_room).acquire_owned().await;
        let room = room.map_err(|_closed| Broken::Gone)?;
        let (sender, read) = oneshot::channel();
        let (id, place) = (*id, *place);
        let segment = Arc::clone(segment);
        let job = ReadJob::Chunks { segment, id, place, chunks, sender, room };
        if !shared.reads.push(job, 0) {
            return Err(Broken::Gone);
        }
        let pieces = match read.await {
            Ok(Ok(pieces)) => pieces,
            Ok(Err(ReadError::Damaged(_))) => {
                shared.forget_damaged(key, id);
                return Err(Broken::Damaged);
            }
            Ok(Err(ReadError::Io(_))) | Err(_) => return Err(Broken::Gone),
        };
        let mut at = begins;
        for piece in pieces {
            let end = at + piece.len() as u64;
            let cut = |to: u64| usize::try_from(to.clamp(at, end) - at).unwrap_or(piece.len());
            let wanted = piece.slice(cut(self.left.start)..cut(self.left.end));
            if !wanted.is_empty() {
                self.ready.push_back(wanted);
            }
            at = end;
        }
        // Checksums hold, so that all of it came.
        self.left.start = at.clamp(self.left.start, self.left.end);
        if self.ready.is_empty() { Err(Broken::Damaged) } else { Ok(()) }
    }
}
