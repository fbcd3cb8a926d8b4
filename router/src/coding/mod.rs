//! Content codings that a node makes itself: of its own answers, and of stored ones that came without any
//! (RFC 9110 §8.4, §12.5.3).
//!
//! ```text
//! Accept-Encoding ─> negotiate ─┬─ identity ────────────────────────> as it is
//!                               └─ br, zstd, gzip ─> Coder ─┬─ kept ─> coded
//!                                                           └─ one compression for all who ask
//! ```
//!
//! Whether a body is coded depends on its head and its length alone, not on how well that goes, so that
//! its entity tag can be told without doing it.

mod coder;
mod eligible;
mod negotiate;
mod tag;

pub(crate) use self::{
    coder::vary_by_coding,
    tag::{untag, with_coding},
};
pub use self::{
    coder::{Coder, CodingOptions, Source},
    eligible::{is_compressible, is_transformable},
    negotiate::{Acceptable, Coding, acceptable},
    tag::tagged,
};
