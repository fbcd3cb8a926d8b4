//! Requests to other nodes, over the mesh: for shards, and for objects of the HTTP cache.

use std::{sync::OnceLock, time::Duration};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture, stream};
use hexpop_edge_config::{NodeId, codec};
use hexpop_router::{
    CachePeers, PeerClient, PeerError, PeerFrames, ShardAnswer, ShardError, ShardRequest,
};

use crate::mesh::{Class, Frames, Mesh, MeshError, RefusedCode};

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

/// Where an answer that streams is.
enum Answer {
    /// It is still to be asked for.
    ToAsk(Mesh, Bytes),
    /// Its frames arrive.
    Arrives(Frames),
    /// It ended, or broke off.
    Over,
}

impl CachePeers for MeshPeers {
    fn ask(&self, to: NodeId, frame: Bytes, within: Duration) -> PeerFrames {
        self.stream(to, frame, within, Mesh::ask)
    }

    fn tell(&self, to: NodeId, frame: Bytes, within: Duration) -> PeerFrames {
        self.stream(to, frame, within, Mesh::ask_briefly)
    }
}

/// How the mesh is asked for an answer that streams.
type Asking = fn(&Mesh, NodeId, Bytes, Duration) -> BoxFuture<'static, Result<Frames, MeshError>>;

impl MeshPeers {
    fn stream(&self, to: NodeId, frame: Bytes, within: Duration, ask: Asking) -> PeerFrames {
        let Some(mesh) = self.mesh.get() else {
            let error =
                PeerError::NotSent { node: to, detail: "the mesh is not open yet".to_owned() };
            return Box::pin(stream::once(std::future::ready(Err(error))));
        };
        let answer = Answer::ToAsk(mesh.clone(), frame);
        Box::pin(stream::unfold(answer, move |answer| async move {
            let asked = match answer {
                Answer::ToAsk(mesh, frame) => ask(&mesh, to, frame, within).await,
                Answer::Arrives(frames) => Ok(frames),
                Answer::Over => return None,
            };
            let frame = match asked {
                Ok(mut frames) => frames.next().await.map(|frame| Some((frame?, frames))),
                Err(error) => Err(error),
            };
            match frame {
                Ok(Some((frame, frames))) => Some((Ok(frame), Answer::Arrives(frames))),
                Ok(None) => None,
                Err(error) => Some((Err(translate(to, &error)), Answer::Over)),
            }
        }))
    }
}

fn translate(node: NodeId, error: &MeshError) -> PeerError {
    match error {
        MeshError::TimedOut { .. } => return PeerError::TimedOut { node },
        MeshError::Overloaded { .. } => return PeerError::Full { node },
        MeshError::Refused { refused, .. } if refused.code == RefusedCode::Busy => {
            return PeerError::Full { node };
        }
        _ => {}
    }
    if error.outcome_unknown() {
        PeerError::Broken { node, detail: error.to_string() }
    } else {
        PeerError::NotSent { node, detail: error.to_string() }
    }
}
