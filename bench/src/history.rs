//! What became of every session call of a run, as JSON lines: what the mesh acknowledged can be looked
//! for afterwards (`hexpop bench verify`), and whether all answers can be true together
//! (`hexpop chaos check`, whose page describes the format, `hexpop.history/1`).

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
    /// How long each session lives after its last write, milliseconds.
    pub ttl_ms: u64,
}

impl HistoryHead {
    /// The shape of histories that this version writes and reads.
    pub const SCHEMA: &'static str = "hexpop.history/1";
}

/// One call on a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// What was asked.
    pub kind: Kind,
    /// The connection that it was sent on.
    pub client: u64,
    /// When it was sent, microseconds since the begin.
    pub start_us: u64,
    /// When its outcome was known, microseconds since the begin.
    pub end_us: u64,
    /// The session.
    pub key: String,
    /// What was written or found; no two writes of a run have the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<u64>,
    /// What is known of it.
    pub outcome: Known,
    /// The version that an acknowledged write made, or that a read found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Of a put: the version that it was to replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub if_match: Option<String>,
    /// Of an acknowledged write: whether the session was new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<bool>,
}

/// What was asked of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// It was created or replaced; with `ifMatch`, only if it was that version.
    Put,
    /// It was created, unless it was there.
    Create,
    /// It was deleted.
    Delete,
    /// It was read, with `strong`.
    Read,
}

/// What is known of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Known {
    /// It happened; a write must never be lost.
    Ok,
    /// A read or a delete found no session.
    NotFound,
    /// The session was not as a conditional write wanted it.
    Conflict,
    /// It may have happened, or may still happen.
    Unknown,
    /// It did not happen and never will.
    Refused,
}

impl Known {
    /// What an outcome says about a call: 2xx happened; 4xx did not (404 and, on a condition, 412 say
    /// what was found); neither did what never was sent, or what a problem says was not applied; of
    /// everything else nothing is known.
    #[must_use]
    pub const fn of(kind: Kind, conditional: bool, outcome: &Outcome) -> Self {
        let finds = matches!(kind, Kind::Read | Kind::Delete);
        match outcome {
            Outcome::Answered(Answer { status: 200..=299, .. }) => Self::Ok,
            Outcome::Answered(Answer { status: 404, .. }) if finds => Self::NotFound,
            Outcome::Answered(Answer { status: 412, .. }) if conditional => Self::Conflict,
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

    /// Adds a call. The first failure is kept for [`History::finish`], and nothing is added to what
    /// already has a gap.
    pub fn record(&self, record: &Record) {
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
        for (outcome, written, read) in [
            (answered(201, None), Known::Ok, Known::Ok),
            (answered(404, None), Known::Refused, Known::NotFound),
            (answered(412, None), Known::Refused, Known::Refused),
            (answered(429, None), Known::Refused, Known::Refused),
            (answered(503, None), Known::Unknown, Known::Unknown),
            (answered(503, Some(false)), Known::Refused, Known::Refused),
            (answered(504, None), Known::Unknown, Known::Unknown),
            (answered(500, None), Known::Unknown, Known::Unknown),
            (Outcome::NotConnected, Known::Refused, Known::Refused),
            (Outcome::Broken, Known::Unknown, Known::Unknown),
            (Outcome::TimedOut, Known::Unknown, Known::Unknown),
        ] {
            assert_eq!(Known::of(Kind::Put, false, &outcome), written, "{outcome:?}");
            assert_eq!(Known::of(Kind::Read, false, &outcome), read, "{outcome:?}");
        }
        let absent = answered(404, None);
        assert_eq!(Known::of(Kind::Delete, false, &absent), Known::NotFound);
        let other = answered(412, None);
        assert_eq!(Known::of(Kind::Put, true, &other), Known::Conflict);
        assert_eq!(Known::of(Kind::Create, true, &other), Known::Conflict);
    }
}
