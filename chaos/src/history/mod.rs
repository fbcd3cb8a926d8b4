//! The history checker: whether what clients of a mesh were told can all be true.
//!
//! A [`History`] is a list of [`Operation`]s: what clients asked, when, and what they were answered.
//! [`check`] says whether for each key there is one order of events in which every answer is true, and
//! tells of each key without one which promise was broken, with the few operations that prove it.
//!
//! ```text
//! file ── read ──┐
//!                ├─> History ─> facts by key ─> problem ─> search ─> verdict
//! simulator ─────┘                                  └─ shrink ─> explain ─> Violation
//! ```
//!
//! # What is checked
//!
//! Of each key, all at once:
//!
//! - *Linearizability* of writes, conditional writes, deletes, touches, erasures and strong reads: each
//!   took effect at one moment between its call and its answer. One of unknown outcome may have taken
//!   effect at any moment after its call, or never; one that was refused never did. A session ends no
//!   earlier than its time to live after its last renewal began, less the clock bound, and stays gone.
//! - *Staleness*: a bounded read found what was current at some moment no earlier than its bound (or
//!   the age that its answer claims) before its call; an eventual read at some moment before its
//!   answer. These moments are in the same order of events as everything else.
//! - *Session guarantees*, where tokens were passed: a read comes after the operations that answered
//!   with the token it sent (read your writes, monotonic reads). Where answers name positions, writes
//!   of one shard are in the order of its log, and tokens count across keys.
//! - *Listings*: the write with the highest version counts; versions never go back.
//!
//! **It is not** a check of searches, facets or totals, nor of what the origin or an HTTP cache answers:
//! leave those answers out. Nor does it know of writes that are not in the history: other writers of
//! the same keys make false alarms. One violation is reported of a key: the first in time.
//!
//! # The file
//!
//! UTF-8, one JSON object a line, no empty lines. Line 1 is the head, every other line an operation, in
//! any order. A last line without line end that is no whole object is left out (the recorder was
//! killed). Unknown fields are refused, since a misspelt one would silently not count; `note` takes
//! anything. A field that may be absent may be `null`. Times are integers on one clock for all
//! clients. A *text* is a string, or an integer from 0, which stands for its digits.
//!
//! | head | | |
//! |---|---|---|
//! | `schema` | required | `"hexpop.history/1"` |
//! | `startedAt` | | when the recording began, RFC 3339; for people only |
//! | `ttlMs` | | life of sessions whose write names none, milliseconds; absent: they do not expire |
//! | `clockBoundMs` | 1000 | how much earlier than its life a session may end, milliseconds |
//! | `expirySlackMs` | | how much later than its life plus `clockBoundMs` a session may still be answered, milliseconds; absent: not checked; never checked of sliding ones |
//! | `initial` | `"absent"` | what was there before the first operation: `"absent"` nothing, `"unknown"` anything that no operation wrote |
//!
//! | operation | of kinds | |
//! |---|---|---|
//! | `kind` | required | see below |
//! | `startUs` | required | when it was called, microseconds since the recording began |
//! | `endUs` | all | when its outcome was known, microseconds, no earlier than `startUs`; may be absent only if `outcome` is `unknown` |
//! | `outcome` | required | `ok`: it happened. `not-found`: no such key (404), nothing changed. `conflict`: a condition did not hold (412), nothing changed; of a listing's write: ignored, as what is stored is as new or newer. `refused`: it did not happen and never will (other 4xx, `"applied":false`, not connected). `unknown`: anything else |
//! | `client` | all | who called, a text; for people only |
//! | `key` | all but `erase-user`: required | the id of the session or listing; the two are different keys |
//! | `value` | writes: required; reads, if `ok` | what was written or found, a text; best if no two writes of a key share one |
//! | `version` | `create`, `put`, `read`, if `ok` | the `ETag` without quotes, a text |
//! | | `listing-upsert`, `listing-delete`: required; `listing-read`, if `ok` | the listing's version, an integer |
//! | `ifMatch` | `put`, `delete` | the version that was asked for, a text; `"*"`: that there be one |
//! | `created` | `put`, if `ok` | `true` for 201, `false` for 200 |
//! | `ttlMs` | `create`, `put` | life after this write, milliseconds, from 1 |
//! | `sliding` | `create`, `put` | whether touches renew it; absent: `false` |
//! | `user` | `create`, `put`; `erase-user`: required | whose session it is, or whose are erased |
//! | `level` | reads | `strong`, `bounded`, `eventual`; absent: `strong` for `read`, `eventual` for `listing-read`, as in the API |
//! | `maxStalenessMs` | reads with `bounded`: required | milliseconds |
//! | `stalenessMs` | reads, if `ok` or `not-found` | the age that the answer claims, milliseconds |
//! | `sentToken` | all | the `Hexpop-Token` that was sent |
//! | `token` | all, if `ok`, `not-found` or `conflict` | the `Hexpop-Token` that was answered |
//! | `position` | as `token` | `{"shard":17,"index":9120}`: the place in the shard's log that a write took or a read answered from |
//! | `note` | all, and the head | anything |
//!
//! | kind | is |
//! |---|---|
//! | `create` | `POST`, or `PUT` with `If-None-Match: *`; `conflict`: there is one already |
//! | `put` | `PUT`; with `ifMatch` compare-and-set |
//! | `delete`, `touch`, `read` | of a session |
//! | `erase-user` | all sessions of a user; 202 is `unknown` |
//! | `listing-upsert`, `listing-delete`, `listing-read` | of a listing, by id |
//!
//! Attempts that share an `Idempotency-Key` are one operation, from the start of the first to the end of
//! the last. A create whose id the mesh chooses and whose answer was lost has no key: leave it out.
//!
//! ```text
//! {"schema":"hexpop.history/1","clockBoundMs":1000}
//! {"kind":"put","client":"a","startUs":0,"endUs":900,"key":"it-lazio.s","value":1,"outcome":"ok","version":"17-3-1"}
//! {"kind":"put","client":"b","startUs":1000,"key":"it-lazio.s","value":2,"ifMatch":"17-3-1","outcome":"unknown"}
//! {"kind":"read","client":"a","startUs":1500,"endUs":1800,"key":"it-lazio.s","outcome":"ok","value":2}
//! ```
//!
//! # Example
//!
//! ```
//! use std::sync::atomic::AtomicBool;
//!
//! use hexpop_chaos::history::{Options, Verdict, ViolationKind, check, read};
//!
//! let file = r#"{"schema":"hexpop.history/1"}
//! {"kind":"put","startUs":0,"endUs":9,"key":"it-lazio.s","value":1,"outcome":"ok"}
//! {"kind":"read","startUs":10,"endUs":19,"key":"it-lazio.s","outcome":"not-found"}
//! "#;
//! let recording = read(file.as_bytes()).unwrap();
//! let report = check(&recording.history, &Options::default(), &AtomicBool::new(false));
//! assert_eq!(report.verdict(), Verdict::Violated);
//! assert_eq!(report.violations[0].kind, ViolationKind::LostWrite);
//! ```

mod chain;
mod check;
mod explain;
mod facts;
mod format;
mod judge;
mod line;
mod model;
mod operation;
mod prepare;
mod report;
mod search;
mod shrink;
mod timeline;

pub use check::check;
pub use format::{FormatError, Recording, SCHEMA, read, write};
pub use operation::{
    Action, Answer, Condition, Head, History, Initial, Level, Operation, Outcome, Position, Write,
};
pub use report::{Options, Report, Role, Space, Verdict, Violation, ViolationKind, Witness};

#[cfg(test)]
mod tests;
