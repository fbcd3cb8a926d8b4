//! Why the stand-in origin cannot run.

use std::{io, net::SocketAddr, path::PathBuf};

use hexpop_bench::dataset::files::LineError;

/// Why the stand-in origin cannot run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {source}; choose another one with --listen")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        source: io::Error,
    },
    /// A data file cannot be opened.
    #[error("cannot read {}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A data file cannot be read to its end.
    #[error("cannot read {0}")]
    Line(#[from] LineError),
    /// The loading task died.
    #[error("loading the listings ended early: {0}")]
    Load(#[from] tokio::task::JoinError),
}
