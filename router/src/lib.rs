//! Where a request goes: a replica here, a replica at another node, the HTTP cache, the origin.
//!
//! [`Router`] is what the HTTP servers call. It knows no transport: replicas, other nodes, the
//! origin and the wall clock are the traits of [`port`](Ports), and it spawns, sleeps and reads time
//! through openraft's `AsyncRuntime` only, so that it runs on the simulated runtime too. What decides
//! (routes, breakers, cache policy, read levels) are pure functions.
//!
//! ```text
//! request ─┬─ listing, session ─> key ─> shard ─> local replica | peer ──┐
//!          ├─ search, map ──────> ranges ─> shards, all at once ─────────┼─> answer
//!          ├─ ingest, feed ─────> listings shard, directory, reveal ─────┤
//!          └─ anything else ────> HTTP cache ─> origin ──────────────────┘
//! ```
//!
//! **It is not** aware of consensus, of HTTP connections or of the configuration file.

mod ask;
mod breaker;
mod breakers;
mod cache;
mod coding;
mod consistency;
mod deadline;
mod error;
mod feed;
mod id_cache;
mod ingest;
mod listing;
mod metrics;
mod ndjson;
mod options;
mod origin;
mod port;
mod results;
mod retry;
mod route;
mod router;
mod search;
mod session;
mod status;
mod token;
mod wire;

pub use breaker::{Breaker, BreakerOptions, BreakerState, Pass};
pub use breakers::{BreakerStatus, Class, Target};
#[doc(hidden)]
pub use cache::fuzz;
pub use cache::{
    CacheOptions, CacheStats, Debugged, DiskOptions, DiskStats, INTERIM_BYTES_MAX, INTERIMS_MAX,
    Interim, InterimSink, NotAUrl, OriginHost, PurgeHit, PurgeProgress, QueryRules, StoredView,
    empty, full,
};
pub use coding::{
    Acceptable, Coder, Coding, CodingOptions, Source as CodingSource, acceptable, is_compressible,
    is_transformable, tagged,
};
pub use consistency::{CONSISTENCY_HEADER, Given, Level, ReadPoint, TOKEN_HEADER};
pub use deadline::{Deadline, Elapsed};
pub use error::{FieldError, FieldPlace, Problem, RouteError, WriteOutcome};
pub use feed::FeedHandle;
pub use ingest::{IngestReport, RejectedLine};
pub use listing::ListingDocument;
pub use metrics::Metrics;
pub use options::{FeedOptions, IngestOptions, RouterOptions};
pub use port::{
    Body, BodyError, CachePeers, Clear, Client, Clock, Compress, LocalReplica, LocalShard, Mac,
    NoCachePeers, NoCompression, Origin, OriginError, Peer, PeerClient, PeerError, PeerFrames,
    Peers, Ports, SealAt, SealError, SealedValue, Sealer,
};
pub use retry::RetryPolicy;
pub use router::{Answer, Context, Fallback, Routed, Router, ShardTime};
pub use session::{
    DiskState, ErasedReplica, ErasedShard, ErasedTerritory, Erasure, ErasureHandle, ErasureState,
    NewSession, OriginState, PutBody, SessionBody, SessionOrigin, SessionReply, UserExport,
    condition_of,
};
pub use status::{CACHE_STATUS_HEADER, cache_name, quoted};
pub use token::{NotAToken, Token};
pub use wire::{AnswerBody, ShardAnswer, ShardError, ShardOp, ShardRequest};
