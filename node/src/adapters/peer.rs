//! Requests for shards to other nodes, over the mesh.

use std::{sync::OnceLock, time::Duration};

use futures::{FutureExt as _, future::BoxFuture};
use hexpop_edge_config::{NodeId, codec};
use hexpop_router::{PeerClient, PeerError, ShardAnswer, ShardError, ShardRequest};

use crate::mesh::{Class, Mesh, MeshError};

/// What a request may take beyond its own deadline: the way there and back.
const TRANSIT: Duration = Duration::from_millis(100);

/// The mesh as the router sees it. Empty until the mesh is open.
#[derive(Debug, Default)]
pub struct MeshPeers {
    mesh: OnceLock<Mesh>,
}

impl MeshPeers {
    /// Hands over the open mesh, once.
    pub fn connect(&self, mesh: Mesh) {
        // A second mesh would be a defect of the wiring; the first one stays.
        let _first = self.mesh.set(mesh);
    }
}

impl PeerClient for MeshPeers {
    fn call(
        &self,
        to: NodeId,
        request: ShardRequest,
    ) -> BoxFuture<'static, Result<Result<ShardAnswer, ShardError>, PeerError>> {
        let not_sent = |detail: String| PeerError::NotSent { node: to, detail };
        let Some(mesh) = self.mesh.get() else {
            let error = not_sent("the mesh is not open yet".to_owned());
            return futures::future::ready(Err(error)).boxed();
        };
        let frame = match codec::encode(&request) {
            Ok(frame) => frame,
            Err(error) => return futures::future::ready(Err(not_sent(error.to_string()))).boxed(),
        };
        let deadline = Duration::from_millis(u64::from(request.deadline_ms)) + TRANSIT;
        let answer = mesh.call(to, Class::Query, frame.into(), deadline);
        async move {
            let frame = answer.await.map_err(|error| translate(to, &error))?;
            codec::decode(&frame)
                .map_err(|error| PeerError::Broken { node: to, detail: error.to_string() })
        }
        .boxed()
    }

    fn rtt(&self, node: NodeId) -> Option<Duration> {
        self.mesh.get()?.rtt(node)
    }
}

fn translate(node: NodeId, error: &MeshError) -> PeerError {
    if let MeshError::TimedOut { .. } = error {
        return PeerError::TimedOut { node };
    }
    if error.outcome_unknown() {
        PeerError::Broken { node, detail: error.to_string() }
    } else {
        PeerError::NotSent { node, detail: error.to_string() }
    }
}
