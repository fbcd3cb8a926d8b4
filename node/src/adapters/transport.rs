//! Consensus over the mesh.

use std::{
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use hexpop_edge_config::NodeId;
use hexpop_raft::{Lane, PeerTransport, TransportError, WallClock};

use crate::mesh::{Class, Mesh, MeshError};

/// The mesh as consensus sees it. Empty until the mesh is open: it needs its handlers first.
#[derive(Debug, Default)]
pub struct RaftTransport {
    mesh: OnceLock<Mesh>,
}

impl RaftTransport {
    /// Hands over the open mesh, once.
    pub fn connect(&self, mesh: Mesh) {
        // A second mesh would be a defect of the wiring; the first one stays.
        let _first = self.mesh.set(mesh);
    }
}

impl PeerTransport for RaftTransport {
    fn call(
        &self,
        to: NodeId,
        lane: Lane,
        frame: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let Some(mesh) = self.mesh.get() else {
            let error = TransportError::Unreachable("the mesh is not open yet".to_owned());
            return futures::future::ready(Err(error)).boxed();
        };
        let class = match lane {
            Lane::Raft => Class::Raft,
            Lane::Bulk => Class::Snapshot,
        };
        // Queued in this call, so that the order of calls is kept.
        let answer = mesh.call(to, class, frame, deadline);
        async move { answer.await.map_err(|error| translate(&error)) }.boxed()
    }
}

fn translate(error: &MeshError) -> TransportError {
    match error {
        MeshError::TimedOut { .. } => TransportError::Timeout,
        MeshError::Overloaded { .. } => TransportError::Overloaded,
        MeshError::Refused { refused, .. } => TransportError::Refused(refused.to_string()),
        MeshError::Unreachable { .. }
        | MeshError::Interrupted { .. }
        | MeshError::TooLarge { .. }
        | MeshError::Protocol { .. }
        | MeshError::Closed => TransportError::Unreachable(error.to_string()),
    }
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

impl WallClock for SystemClock {
    fn wall_ms(&self) -> u64 {
        wall_ms()
    }
}

impl hexpop_router::Clock for SystemClock {
    fn wall_ms(&self) -> u64 {
        wall_ms()
    }
}
