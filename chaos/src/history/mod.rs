//! The history checker: whether what clients of a mesh were told can all be true.
//!
//! A [`History`] is a list of [`Operation`]s: what clients asked, when, and what they were answered.
//! [`check`] says whether there is one order of events for each key that explains every answer.

mod chain;
mod check;
mod explain;
mod facts;
mod judge;
mod model;
mod operation;
mod prepare;
mod report;
mod search;
mod shrink;
mod timeline;

pub use check::check;
pub use operation::{
    Action, Answer, Condition, Head, History, Initial, Level, Operation, Outcome, Position, Write,
};
pub use report::{Options, Report, Role, Space, Verdict, Violation, ViolationKind, Witness};

#[cfg(test)]
mod tests;
