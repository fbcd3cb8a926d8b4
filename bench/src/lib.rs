//! Load on the mesh and the data for it: a synthetic market of listings, and the files that real
//! ones come in.
//!
//! **It is not** where sockets are opened: whatever sends requests comes in through a port.

pub mod dataset;
