//! One node of hexpop, and the command line around it: the only crate that opens sockets.
//!
//! ```text
//! cli ── process ── context ─┬─ http (data port, admin port)
//!                            ├─ mesh (QUIC between nodes), control (what peers ask)
//!                            ├─ seal (session values, encrypted at rest)
//!                            ├─ adapters (ports of the core crates over mesh, HTTP, faults)
//!                            └─ view, members (the mesh as one node sees it)
//! ```
//!
//! **It is not** where decisions are: those are functions of the core crates.

pub mod adapters;
pub mod admin_api;
pub mod certs;
pub mod cli;
pub mod context;
pub mod control;
pub mod doctor;
pub mod drain_mark;
pub mod http;
pub mod live;
pub mod members;
pub mod mesh;
pub mod origin;
pub mod process;
pub mod purges;
pub mod seal;
pub mod telemetry;
pub mod view;
