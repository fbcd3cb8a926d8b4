//! x

pub mod certs;
pub mod mesh;
