//! The sending side shared by all groups of a node: wraps requests into frames, sends them, and
//! unwraps the answers.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::{ClusterId, NodeId, RaftId};
use openraft::AsyncRuntime;

use crate::{
    port::{Lane, PeerTransport, TransportError},
    rpc::{Frame, Refused, Request, Response},
};

/// Why a request had no usable answer.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum WireError {
    /// The transport had none.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The other side refused.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// It was not sent: no quorum answers this leader, and others may elect one.
    #[error("no quorum answers; silent for a while")]
    Silent,
    /// The request or its answer is not understood.
    #[error("{0}")]
    Codec(String),
}

impl WireError {
    /// Whether asking again at once is pointless.
    pub(crate) const fn backs_off(&self) -> bool {
        !matches!(self, Self::Transport(TransportError::Timeout))
    }
}

/// The sending side of a node.
#[derive(Debug, Clone)]
pub(crate) struct Wire {
    pub(crate) cluster: ClusterId,
    pub(crate) raft: RaftId,
    pub(crate) transport: Arc<dyn PeerTransport>,
}

impl Wire {
    /// Sends a request; it is queued when this returns, so that the order of calls is the order
    /// of arrival on [`Lane::Raft`].
    pub(crate) fn call<R: AsyncRuntime>(
        &self,
        node: NodeId,
        to: Option<RaftId>,
        lane: Lane,
        request: Request<R>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Response<R>, WireError>> {
        let frame = Frame { cluster: self.cluster, from: self.raft, to, request };
        let bytes: Bytes = match frame.encode() {
            Ok(bytes) => bytes,
            Err(error) => {
                let error = WireError::Codec(error.to_string());
                return Box::pin(futures::future::ready(Err(error)));
            }
        };
        let answer = self.transport.call(node, lane, bytes, deadline);
        Box::pin(async move {
            // The transport keeps the deadline as well; a peer that never answers must not be
            // able to hold a caller whatever the transport does.
            let bytes = R::timeout(deadline, answer)
                .await
                .map_err(|_elapsed| WireError::Transport(TransportError::Timeout))??;
            match Response::<R>::decode(&bytes) {
                Ok(Response::Refused(refused)) => Err(refused.into()),
                Ok(answer) => Ok(answer),
                Err(error) => Err(WireError::Codec(error.to_string())),
            }
        })
    }
}
