//! Taking a body in: to those who read it while it arrives, and into the store once it is whole.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use openraft_rt::AsyncRuntime;

use super::{
    body::not_stalling,
    disk::Large,
    fetch::Task,
    flight::{Arriving, Ticket},
    policy::{
        partial::{Pieces, share_validator},
        range::parse_content_range,
        validation::freshen,
    },
    proxy::HttpCache,
    stored::{Payload, Stored},
    transfer::Broken,
};
use crate::{deadline::Deadline, port::Body};

/// Within this time a body that is to be stored must have come; longer ones hold memory and a flight
/// for too long.
const FILL_MAX: Duration = Duration::from_secs(600);

/// Bytes that are kept at least of a body that proved too large, for those who read it more slowly
/// than others.
const KEPT_MIN: u64 = 1 << 20;

/// Bytes of bodies on their way, all together.
#[derive(Debug, Default)]
pub(super) struct InFlight(AtomicU64);

/// A share of them, given back when dropped.
#[derive(Debug)]
struct Share<'a> {
    all: &'a InFlight,
    bytes: u64,
}

impl Share<'_> {
    /// Takes more, if that keeps all together within `most`.
    fn take(&mut self, bytes: u64, most: u64) -> bool {
        let taken = self.all.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |all| {
            all.checked_add(bytes).filter(|all| *all <= most)
        });
        let taken = taken.is_ok();
        if taken {
            self.bytes += bytes;
        }
        taken
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        self.all.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl<R: AsyncRuntime> HttpCache<R> {
    /// Takes a body in to its end. Who has got all of it finds it stored: the last part of a body whose
    /// length is known is given out after that.
    pub(super) async fn fill(
        &self,
        task: &Task,
        arriving: &Arriving,
        body: Body,
        ticket: Option<Ticket>,
    ) {
        let mut share = Share { all: &self.arriving, bytes: 0 };
        let mut large = None;
        let ticket_of = ticket.as_ref();
        let outcome = self.take_in(task, arriving, body, ticket_of, &mut share, &mut large).await;
        match outcome {
            Ok(last) => match arriving.transfer.whole_with(&last) {
                Some(whole) => {
                    self.keep(task, arriving, whole.clone());
                    arriving.transfer.end_whole(whole);
                }
                None => {
                    if let Some(mut large) = large {
                        large.append(&last);
                        if large.finish() {
                            self.store.forget_pieces(&task.exchange.key, &arriving.stored);
                        }
                    }
                    arriving.transfer.append(last);
                    arriving.transfer.end(Ok(()));
                }
            },
            Err(broken) => arriving.transfer.end(Err(broken)),
        }
        drop(ticket);
    }

    /// Answers the last part, which is empty where the length was not known before.
    async fn take_in(
        &self,
        task: &Task,
        arriving: &Arriving,
        body: Body,
        ticket: Option<&Ticket>,
        share: &mut Share<'_>,
        large: &mut Option<Large>,
    ) -> Result<Bytes, Broken> {
        let broken = |why: String| Broken::Origin(why.into());
        let mut body = not_stalling::<R>(body, self.options.origin_timeout);
        let deadline = Deadline::<R>::after(FILL_MAX);
        let mut kept = true;
        let mut taken: u64 = 0;
        loop {
            let frame = if kept {
                let next = deadline.bound(body.frame()).await;
                next.map_err(|elapsed| broken(elapsed.to_string()))?
            } else {
                // Its length is nobody's business but that of those who read it.
                body.frame().await
            };
            let Some(frame) = frame else { break };
            let frame = frame.map_err(|error| broken(error.to_string()))?;
            let chunk = match frame.into_data() {
                Ok(chunk) => chunk,
                Err(frame) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        arriving.transfer.trailers(trailers);
                    }
                    continue;
                }
            };
            let bytes = chunk.len() as u64;
            taken = taken.saturating_add(bytes);
            let most = self.options.object_bytes_max as u64;
            // Of one that is known to be too large no more is held than it takes.
            let fits = taken.max(arriving.length.unwrap_or_default()) <= most;
            if kept && !(fits && share.take(bytes, self.options.arriving_bytes_max)) {
                kept = false;
                if !fits {
                    *large = self.begin_large(task, arriving);
                }
                self.remember_uncacheable(&task.exchange.key);
                if let Some(ticket) = ticket {
                    ticket.close();
                }
                arriving.transfer.keep_only(share.bytes.max(KEPT_MIN));
            }
            if !kept && !arriving.transfer.wanted().await {
                return Err(broken("nobody reads it".to_owned()));
            }
            if arriving.length == Some(taken) {
                return Ok(chunk);
            }
            if let Some(large) = large {
                large.append(&chunk);
            }
            arriving.transfer.append(chunk);
        }
        match arriving.length {
            Some(length) if length != taken => Err(broken("it has another length".to_owned())),
            _ => Ok(Bytes::new()),
        }
    }

    /// Begins to take a body to disk that is too large for memory, with what has come of it.
    fn begin_large(&self, task: &Task, arriving: &Arriving) -> Option<Large> {
        if arriving.part.is_some() {
            return None;
        }
        let disk = self.store.disk()?;
        let mut large = disk.begin_large(&task.exchange.key, &arriving.stored, task.began)?;
        arriving.transfer.written().iter().for_each(|chunk| large.append(chunk));
        Some(large)
    }

    /// Stores a body that has come.
    fn keep(&self, task: &Task, arriving: &Arriving, bytes: Bytes) {
        let key = &task.exchange.key;
        let stored = match &arriving.part {
            None => Stored { payload: Payload::Whole(bytes), ..Stored::clone(&arriving.stored) },
            Some(part) => {
                let mut head = HeaderMap::new();
                head.insert(http::header::CONTENT_RANGE, part.clone());
                let Some((range, length)) = parse_content_range(&head) else { return };
                if range.end - range.start != bytes.len() as u64 {
                    return;
                }
                let Some(pieces) = Pieces::new(length, range.start, bytes) else { return };
                self.completed(task, &arriving.stored, pieces)
            }
        };
        self.store.put(key.clone(), Arc::new(stored), task.began);
    }

    /// A part together with those that are stored of the same representation (RFC 9111 §3.4).
    fn completed(&self, task: &Task, new: &Stored, pieces: Pieces) -> Stored {
        let now_ms = i64::try_from(self.clock.wall_ms()).unwrap_or(i64::MAX);
        let variants = self.store.get(&task.exchange.key);
        let mut stored = new.clone();
        let mut pieces = pieces;
        if let Some(old) = variants.iter().find(|old| old.is_variant_of(new))
            && let Payload::Pieces(held) = &old.payload
            && share_validator(&old.headers, &new.headers, now_ms)
        {
            pieces = held.combined(&pieces);
            let mut headers = old.headers.clone();
            freshen(&mut headers, &new.headers);
            stored.headers = headers;
        }
        let within = pieces.held() <= self.options.object_bytes_max as u64;
        stored.payload = match pieces.whole().filter(|_| within) {
            Some(whole) => Payload::Whole(whole),
            None => Payload::Pieces(pieces),
        };
        stored
    }
}
