//! Asking from outside whether a mesh would let this node in: for `hexpop doctor`, before a start.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::{Duration, Instant},
};

use hexpop_edge_config::{ClusterName, NodeId, config};

use super::{
    hello::{close, connection_problem},
    tls::{Credentials, peer_node},
};
use crate::certs::CertError;

/// A peer that refuses a certificate says so after the handshake of the side that connects: this much
/// later at least it is believed to be content.
const VERDICT_MIN: Duration = Duration::from_millis(50);

/// Why there was no handshake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoHandshake {
    /// Nobody answered in time.
    #[error("no QUIC handshake within {} s", .0.as_secs_f32())]
    Silence(Duration),
    /// It could not be asked, or somebody is there and this is what is in the way.
    #[error("{0}")]
    Because(String),
}

/// The credentials of a node whose mesh is not open, to try them.
#[derive(Debug)]
pub struct Probe {
    credentials: Credentials,
    cluster: ClusterName,
}

impl Probe {
    /// Reads the certificates that section `mesh` names, and checks that they do for `node` today.
    ///
    /// # Errors
    /// [`CertError`], which says what to do.
    pub fn open(mesh: &config::Mesh, node: NodeId) -> Result<Self, CertError> {
        let credentials = Credentials::load(&mesh.ca, &mesh.cert, &mesh.key, &mesh.cluster, node)?;
        Ok(Self { credentials, cluster: mesh.cluster.clone() })
    }

    /// Makes a handshake with whoever listens at `address`, and no more: the peer's links to this node,
    /// if it runs, are not touched. Answers who it is, and the round trip.
    ///
    /// # Errors
    /// [`NoHandshake`] when there was none within `deadline`.
    ///
    /// # Cancel safety
    /// Dropping the future closes the connection.
    pub async fn handshake(
        &self,
        address: SocketAddr,
        deadline: Duration,
    ) -> Result<(NodeId, Duration), NoHandshake> {
        match tokio::time::timeout(deadline, self.try_handshake(address)).await {
            Ok(outcome) => outcome.map_err(NoHandshake::Because),
            Err(_elapsed) => Err(NoHandshake::Silence(deadline)),
        }
    }

    async fn try_handshake(&self, address: SocketAddr) -> Result<(NodeId, Duration), String> {
        let any: IpAddr = match address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let endpoint = quinn::Endpoint::client(SocketAddr::new(any, 0))
            .map_err(|error| format!("no socket to ask from: {error}"))?;
        let tls = self.credentials.quic_client(None).map_err(|error| error.to_string())?;
        let config = quinn::ClientConfig::new(Arc::new(tls));
        let begin = Instant::now();
        let connection = endpoint
            .connect_with(config, address, "hexpop")
            .map_err(|error| error.to_string())?
            .await
            .map_err(|error| connection_problem(&error))?;
        let took = begin.elapsed();
        let node = peer_node(&connection, &self.cluster)
            .ok_or_else(|| "the peer's certificate is of no node".to_owned())?;
        let verdict = connection.rtt().saturating_mul(3).max(VERDICT_MIN);
        if let Ok(refused) = tokio::time::timeout(verdict, connection.closed()).await {
            return Err(connection_problem(&refused));
        }
        let rtt = connection.rtt().min(took);
        connection.close(close::DONE, b"");
        endpoint.wait_idle().await;
        Ok((node, rtt))
    }
}
