//! Load on the mesh and the data for it: a synthetic market of listings, the files that real ones
//! come in, and an open-loop harness.
//!
//! **It is not** where sockets are opened: whatever sends requests comes in through
//! [`Target`]. It is not a closed loop either: requests fall due at times drawn before the run, and
//! latency counts from there, so that a stall shows in the percentiles with all who waited.
//!
//! ```text
//! Arrivals (Poisson, seeded) ─> pacing thread ─> backlog ─> connections ─> Target
//!                                                              └─> Tally ─> Report ─> table, JSON
//!                                                              └─> History ─> Ledger (verify)
//! ```
//!
//! | word | here |
//! |---|---|
//! | response time | from the moment a request was due to its answer |
//! | service time | from the moment it was sent to its answer |
//! | late start | a request sent more than [`LATE_START`] after it was due |
//! | not started | a request that never was sent: the backlog was full, or it waited too long |

pub mod dataset;
mod histogram;
mod history;
mod limit;
mod pacer;
mod port;
mod print;
mod result;
mod run;
mod tally;
mod verify;
mod workload;

pub use histogram::Quantiles;
pub use history::{History, HistoryHead, Kind, Known, Record};
pub use limit::{Limit, ParseLimitError, Verdict};
pub use pacer::{Arrivals, ParseRateError, Rate};
pub use port::{Answer, ErrorKind, Outcome, Source, Target};
pub use print::table;
pub use result::{ClassReport, Cpu, Report, SCHEMA, Second, SourceCounts, TargetReport};
pub use run::{LATE_START, Measured, Options, fill, run};
pub use verify::{Ledger, LedgerError, Reading};
pub use workload::{Class, Request, Requests, Seen, Workload};
