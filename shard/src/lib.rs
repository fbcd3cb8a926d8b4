//! The pure crate of hexpop
