//! `hexpop origin`: a stand-in for the property platform behind the mesh, in memory, so that a demo
//! and the tests need nothing else. It speaks what hexpop needs of an origin and, on request,
//! misbehaves.
//!
//! | path | what |
//! |---|---|
//! | `GET POST /api/v1/listings`, `GET PATCH DELETE /api/v1/listings/{id}` | the platform's interface |
//! | `POST /api/v1/search`, `POST /api/v1/search/map`, `GET /api/v1/search/suggest` | searches |
//! | `GET /edge/v1/listings?territory=&after=&limit=` | bulk export, NDJSON |
//! | `GET /edge/v1/changes?since=&territory=&wait=&heartbeatMs=` | change feed, NDJSON |
//! | `POST GET /edge/v1/erasures` | users whose data the mesh erased |
//! | `GET /it/vendita/{city}` …, `/agents/{id}`, `/listings/{id}/images/{n}`, `/valuations/estimate` | cacheable pages |
//! | `/slow` `/status/{code}` `/bytes/{n}` `/echo` `/private` `/set-cookie` `/vary` | answers of every kind |
//! | `GET DELETE /edge/v1/stats`, `GET PUT DELETE /edge/v1/faults` | what was asked; misbehaviour |
//!
//! **It is not** a product: it keeps nothing on disk, knows no users, and belongs on loopback.

mod args;
mod control;
mod error;
mod fault;
mod feed;
mod listings;
mod load;
mod pages;
mod picture;
mod platform;
mod probes;
mod record;
mod reply;
mod request;
mod routes;
mod search;
mod server;
mod stats;
mod store;
mod sync;

use std::{future::Future, pin::pin, sync::Arc};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use args::OriginArgs;
pub use error::Error;
pub use fault::{Fault, Faults};
pub use load::{Loaded, Source};
pub use platform::{Limits, Platform};
pub use server::serve;

/// Loads the listings and serves them until `shutdown` is ready.
///
/// The address is taken first and clients wait until the listings are loaded, so that nobody sees
/// half of them.
///
/// # Errors
/// When the address cannot be listened on, or a data file cannot be read.
pub async fn run(args: OriginArgs, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
    let address = args.listen;
    let listen = |source| Error::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let local = listener.local_addr().map_err(listen)?;
    let mut faults = Faults::default();
    for fault in args.fault {
        faults.add(fault);
    }
    let source = if args.data.is_empty() {
        Source::Synthetic { seed: args.seed, listings: args.listings }
    } else {
        Source::Files(args.data)
    };
    let platform = Arc::new(Platform::new(Limits::default(), faults, jiff::Timestamp::now()));
    let mut shutdown = pin!(shutdown);
    let stop = CancellationToken::new();
    let mut loading = {
        let (platform, stop) = (Arc::clone(&platform), stop.clone());
        tokio::task::spawn_blocking(move || platform.load(&source, &stop))
    };
    let loaded = tokio::select! {
        loaded = &mut loading => loaded??,
        () = &mut shutdown => {
            stop.cancel();
            loading.await??;
            return Ok(());
        }
    };
    tracing::info!(
        url = %format_args!("http://{local}"),
        listings = platform.listings(),
        rejected = loaded.rejected,
        "the stand-in origin serves"
    );
    serve(listener, platform, shutdown).await;
    Ok(())
}
