//! Taking listings in: from lines to durable, findable listings.
//!
//! Lines are worked on in windows, whose steps are commands of hundreds of items each. Per listing,
//! in this order:
//!
//! 1. the copy goes to its place, hidden, unless it replaces one that is found there: then the line
//!    is done;
//! 2. copies at earlier places are retired;
//! 3. the directory is compared and set to the new place: the commit;
//! 4. the copy is revealed.
//!
//! A deletion takes the copy away and then has the directory say so.
//!
//! **Invariant:** where a copy is found, the directory points. A copy is revealed only behind the
//! commit, and gone before the directory points elsewhere; and a copy that comes back to a place
//! where there was none is hidden, so that its writer has to set the directory, which makes whoever
//! is about to point it elsewhere fail to compare. So a listing is never counted twice, also when
//! writers race or stop half-way; a moving one may be missing for a moment. Whoever loses a race
//! withdraws its own copy. A line is accepted when all of it is durable; what was begun and not
//! finished is completed by repeating the line.

mod batch;
mod item;
mod steps;

use bytes::Bytes;
use hexpop_shard::{IngestLine, KeyRange, ListingFormat, ListingsOp, Op, Space};
use openraft_rt::AsyncRuntime;
use serde::Serialize;

pub(crate) use item::{Item, LineOutcome};

use crate::{
    ask::{Call, Place},
    deadline::Deadline,
    error::{Problem, RouteError},
    ndjson::{Line, LineReader},
    port::Body,
    router::{Context, Router},
};

/// Rejected lines that a report names; the rest is only counted.
const REJECTED_MAX: usize = 10_000;

/// The longest time that an ingest request may pause between two pieces of its body.
const BODY_IDLE: std::time::Duration = std::time::Duration::from_secs(30);

/// A line that was not taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// Its number, from 1.
    pub line: u64,
    /// Why.
    pub error: String,
    /// Whether the same line may be accepted when it is sent again.
    pub retryable: bool,
}

/// What became of the lines.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct IngestReport {
    /// Lines that changed something, all of it durable.
    pub accepted: u64,
    /// Lines that say nothing new.
    pub ignored: u64,
    /// Lines that were not taken in; the first 10,000 of them.
    pub rejected: Vec<RejectedLine>,
    /// How many they are in all.
    #[serde(rename = "rejectedTotal")]
    pub rejected_total: u64,
}

impl IngestReport {
    fn reject(&mut self, line: u64, error: String, retryable: bool) {
        self.rejected_total += 1;
        if self.rejected.len() < REJECTED_MAX {
            self.rejected.push(RejectedLine { line, error, retryable });
        }
    }

    pub(crate) fn note(&mut self, line: u64, outcome: LineOutcome) {
        match outcome {
            LineOutcome::Accepted => self.accepted += 1,
            LineOutcome::Ignored => self.ignored += 1,
            LineOutcome::Rejected { error, retryable } => self.reject(line, error, retryable),
        }
    }
}

/// Lines that are worked on together: each id once.
#[derive(Debug, Default)]
pub(crate) struct Window {
    items: Vec<Item>,
    ids: std::collections::BTreeSet<String>,
    bytes: usize,
}

impl Window {
    /// Whether the item has to wait for the next window.
    fn is_full_for(&self, item: &Item, lines_max: usize, bytes_max: usize) -> bool {
        self.items.len() >= lines_max
            || (!self.items.is_empty() && self.bytes + item.bytes() > bytes_max)
            || self.ids.contains(item.id())
    }

    fn push(&mut self, item: Item) {
        self.bytes += item.bytes();
        self.ids.insert(item.id().to_owned());
        self.items.push(item);
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}

impl<R: AsyncRuntime> Router<R> {
    /// Takes in NDJSON: listings and deletions, one a line. A bad line does not stop the others; one of
    /// more than `line_bytes_max` bytes is not even held.
    ///
    /// # Errors
    /// 503 while the node has no shard map; 400 when the body breaks off, after what came before
    /// was taken in.
    pub async fn ingest(
        &self,
        body: Body,
        line_bytes_max: usize,
        context: &Context,
    ) -> Result<IngestReport, RouteError> {
        self.ingest_as(ListingFormat::Native, body, line_bytes_max, context).await
    }

    /// Takes in NDJSON whose lines are written in `format`, like [`ingest`](Self::ingest).
    ///
    /// # Errors
    /// Those of [`ingest`](Self::ingest).
    pub async fn ingest_as(
        &self,
        format: ListingFormat,
        body: Body,
        line_bytes_max: usize,
        context: &Context,
    ) -> Result<IngestReport, RouteError> {
        let map = self.asker.map();
        if map.is_empty() {
            return Err(RouteError::no_shard(&map));
        }
        let mut lines = LineReader::new(body, line_bytes_max);
        let mut report = IngestReport::default();
        let mut window = Window::default();
        loop {
            let next = Deadline::<R>::after(BODY_IDLE).bound(lines.next()).await;
            let next = match next {
                Ok(Ok(next)) => next,
                Ok(Err(error)) => return Err(broken(&report, &error.to_string())),
                Err(_elapsed) => return Err(broken(&report, "nothing came for 30 s")),
            };
            let Some((number, line)) = next else { break };
            if let Some(full) = self.add_line(&mut window, &mut report, format, number, line) {
                self.settle_window(full, &mut report, context).await;
            }
        }
        self.settle_window(window, &mut report, context).await;
        Ok(report)
    }

    /// Says of the listings shards that they hold everything of their ranges, so that searches are
    /// answered here and not by the origin: for a load that came through [`ingest`](Self::ingest).
    ///
    /// # Errors
    /// 503 when a shard could not be told; telling it again is harmless.
    pub async fn mark_complete(&self, context: &Context) -> Result<(), RouteError> {
        let call = self.call(context, self.options.write_timeout);
        let shards = self.shards(&[KeyRange::space(Space::Listings)])?;
        let marks = shards.into_iter().map(|shard| {
            let op = ListingsOp::MarkComplete { complete: true, feeds: Vec::new() };
            let (place, call) = (Place::Shard(shard), &call);
            async move { self.asker.write(&place, None, Op::Listings(op), call).await }
        });
        for marked in futures::future::join_all(marks).await {
            marked?;
        }
        Ok(())
    }

    /// Adds a line to a window; a full one is given back to be settled first.
    pub(crate) fn add_line(
        &self,
        window: &mut Window,
        report: &mut IngestReport,
        format: ListingFormat,
        number: u64,
        line: Line,
    ) -> Option<Window> {
        let item = match line {
            Line::TooLong { bytes_max } => {
                report.reject(number, format!("the line is longer than {bytes_max} bytes"), false);
                return None;
            }
            Line::Whole(bytes) => match parse(number, format, &bytes) {
                Ok(item) => item,
                Err(error) => {
                    report.reject(number, error, false);
                    return None;
                }
            },
        };
        self.add_item(window, item)
    }

    /// Adds an item to a window; a full one is given back to be settled first.
    pub(crate) fn add_item(&self, window: &mut Window, item: Item) -> Option<Window> {
        let options = &self.options.ingest;
        let is_full = window.is_full_for(&item, options.window_lines_max, options.window_bytes_max);
        let full = is_full.then(|| std::mem::take(window));
        window.push(item);
        full
    }

    /// Settles a window and notes what became of its lines.
    pub(crate) async fn settle_window(
        &self,
        window: Window,
        report: &mut IngestReport,
        context: &Context,
    ) {
        if window.is_empty() {
            return;
        }
        let (accepted, ignored) = (report.accepted, report.ignored);
        let rejected = report.rejected_total;
        let timeout = self.options.ingest.timeout;
        let call = Call::new(Deadline::after(timeout), context.traceparent.clone())
            .with_attempt_timeout(timeout / 3);
        for (line, outcome) in self.settle(window.items, &call).await {
            report.note(line, outcome);
        }
        self.metrics.ingested(
            report.accepted - accepted,
            report.ignored - ignored,
            report.rejected_total - rejected,
        );
    }
}

/// Understands a line; the error names every field that is wrong.
pub(crate) fn parse(number: u64, format: ListingFormat, line: &Bytes) -> Result<Item, String> {
    match IngestLine::parse_as(format, line) {
        Ok(IngestLine::Upsert(listing)) => Ok(Item::put(number, listing)),
        Ok(IngestLine::Delete(deletion)) => Ok(Item::delete(number, deletion)),
        Err(errors) => {
            let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
            Err(errors.join("; "))
        }
    }
}

fn broken(report: &IngestReport, why: &str) -> RouteError {
    let detail = format!(
        "the body broke off ({why}) after {} lines were accepted, {} ignored, {} rejected; sending \
         all of it again is harmless",
        report.accepted, report.ignored, report.rejected_total
    );
    RouteError::new(Problem::InvalidRequest, detail).with_status(400)
}
