//! The router over real shard states and fake transports.

mod cache;
mod feed;
mod ingest;
mod listings;
mod mesh;
mod origin;
mod searches;
mod sessions;
