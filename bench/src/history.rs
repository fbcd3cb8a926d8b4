//! What became of every session write of a run, as JSON lines: what the mesh acknowledged can be
//! looked for afterwards.

use std::io::{self, Write};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::port::{Answer, Outcome};

/// The first line of a history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryHead {
    /// [`HistoryHead::SCHEMA`].
    pub schema: String,
    /// When the run began, RFC 3339; times in the lines count from there.
    pub started_at: String,
    /// How long each session lives after its last write, seconds.
    pub ttl_seconds: u64,
}

impl HistoryHead {
    /// The shape of histories that this version writes and reads.
    pub const SCHEMA: &'static str = "hexpop.bench.history/1";
}

/// One session write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WriteRecord {
    /// When it was sent, microseconds since the begin.
    pub start_us: u64,
    /// When its outcome was known, microseconds since the begin.
    pub end_us: u64,
    /// The session.
    pub id: String,
    /// What was written; no two writes of a run have the same.
    pub value: u64,
    /// What is known of it.
    pub outcome: WriteOutcome,
    /// The version that an acknowledged write made.
    pub version: Option<String>,
}

/// What is known of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WriteOutcome {
    /// It happened, and must never be lost.
    Acknowledged,
    /// It may have happened, or may still happen.
    Unknown,
    /// It did not happen and never will.
    Refused,
}

impl WriteOutcome {
    /// What an outcome says about a write: 2xx happened; 4xx did not; neither did what never was
    /// sent, or what a problem says was not applied; of everything else nothing is known.
    #[must_use]
    pub const fn of(outcome: &Outcome) -> Self {
        match outcome {
            Outcome::Answered(Answer { status: 200..=299, .. }) => Self::Acknowledged,
            Outcome::Answered(
                Answer { status: 400..=499, .. } | Answer { applied: Some(false), .. },
            )
            | Outcome::NotConnected => Self::Refused,
            Outcome::Answered(_) | Outcome::Broken | Outcome::TimedOut => Self::Unknown,
        }
    }
}

/// Writes a history, one line at a time, unbuffered: what was acknowledged before the generator was
/// killed is in it.
pub struct History {
    sink: Mutex<Sink>,
}

struct Sink {
    out: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl std::fmt::Debug for History {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("History").finish_non_exhaustive()
    }
}

impl History {
    /// Begins a history.
    ///
    /// # Errors
    /// When its first line cannot be written.
    pub fn begin(mut out: Box<dyn Write + Send>, head: &HistoryHead) -> io::Result<Self> {
        out.write_all(&line(head)?)?;
        Ok(Self { sink: Mutex::new(Sink { out, failure: None }) })
    }

    /// Adds a write. The first failure is kept for [`History::finish`], and nothing is added to what
    /// already has a gap.
    pub fn record(&self, record: &WriteRecord) {
        let mut sink = self.sink.lock();
        if sink.failure.is_some() {
            return;
        }
        let written = line(record).and_then(|bytes| sink.out.write_all(&bytes));
        sink.failure = written.err();
    }

    /// Ends the history.
    ///
    /// # Errors
    /// When a line could not be written: the history has a gap there.
    pub fn finish(&self) -> io::Result<()> {
        let mut sink = self.sink.lock();
        match sink.failure.take() {
            Some(failure) => Err(failure),
            None => sink.out.flush(),
        }
    }
}

fn line<T: Serialize>(value: &T) -> io::Result<Vec<u8>> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_api_promises_is_taken_as_known() {
        let answered =
            |status, applied| Outcome::Answered(Answer { status, applied, ..Answer::default() });
        for (outcome, known) in [
            (answered(201, None), WriteOutcome::Acknowledged),
            (answered(412, None), WriteOutcome::Refused),
            (answered(429, None), WriteOutcome::Refused),
            (answered(503, None), WriteOutcome::Unknown),
            (answered(503, Some(false)), WriteOutcome::Refused),
            (answered(504, None), WriteOutcome::Unknown),
            (answered(500, None), WriteOutcome::Unknown),
            (Outcome::NotConnected, WriteOutcome::Refused),
            (Outcome::Broken, WriteOutcome::Unknown),
            (Outcome::TimedOut, WriteOutcome::Unknown),
        ] {
            assert_eq!(WriteOutcome::of(&outcome), known, "{outcome:?}");
        }
    }
}
