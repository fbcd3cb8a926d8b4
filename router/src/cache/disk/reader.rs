//! The threads that read.

use std::{ops::Range, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use super::{
    Shared,
    catalog::Place,
    found::Written,
    load::{self, Loaded},
    queue::Next,
    segment::{ReadError, Segment},
};

/// How long a thread waits at a time.
const TICK: Duration = Duration::from_secs(5);

/// What is to be read.
pub(super) enum ReadJob {
    /// A response.
    Load {
        found: Box<Written>,
        sender: watch::Sender<Option<Loaded>>,
        room: [OwnedSemaphorePermit; 2],
    },
    /// Some chunks of a body.
    Chunks {
        segment: Arc<Segment>,
        id: u64,
        place: Place,
        chunks: Range<u64>,
        sender: oneshot::Sender<Result<Vec<Bytes>, ReadError>>,
        room: OwnedSemaphorePermit,
    },
}

/// Reads until nothing comes any more.
pub(super) fn run(shared: &Arc<Shared>) {
    loop {
        match shared.reads.pop(TICK) {
            Next::Item(job) => work(shared, job),
            Next::Idle => {}
            Next::Closed => return,
        }
    }
}

fn work(shared: &Arc<Shared>, job: ReadJob) {
    match job {
        ReadJob::Load { found, sender, room } => {
            let loaded = load::load(shared, &found);
            let name = (found.entry.id, found.key.clone());
            // Whoever is told of it by the channel finds the file held by nobody here.
            drop(found);
            // Who comes from here on reads it again, or finds it in memory.
            shared.loading.lock().remove(&name);
            sender.send_replace(Some(loaded));
            drop(room);
        }
        ReadJob::Chunks { segment, id, place, chunks, sender, room } => {
            let read = segment.chunks(id, place, chunks);
            if let Err(ReadError::Io(error)) = &read {
                shared.turn_off(format!("it cannot be read: {error}"));
            }
            // Whoever wanted it may have gone.
            sender.send(read).ok();
            drop(room);
        }
    }
}
