//! Simulated meshes: the same seed is the same story, a bounded number of seeds holds, and every bug
//! that was planted on purpose is found.

#![expect(clippy::print_stderr, reason = "a failing world has to be told")]

mod bugs;
mod seeds;
mod splits;
