//! Asking all members for what they know of themselves.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hexpop_edge_config::{NodeId, codec};

use super::{Holdings, MemberView};
use crate::{
    control::{AdminAnswer, AdminRequest, NodeReport},
    mesh::{Class, Mesh},
};

/// How long a member may take; one that takes longer is shown without what only it knows.
const DEADLINE: Duration = Duration::from_millis(1_000);

/// How long a node may take to look through what it holds.
const HOLDINGS_DEADLINE: Duration = Duration::from_secs(5);

/// What the members that answered know of themselves.
pub type Reports = BTreeMap<NodeId, NodeReport>;

/// Asks all members that may be up, at once.
pub async fn gather(mesh: &Mesh, members: &[MemberView]) -> Reports {
    let Ok(request) = codec::encode(&AdminRequest::Report) else { return Reports::new() };
    let request = Bytes::from(request);
    let calls = members.iter().filter(|member| member.is_up()).map(|member| {
        let call = mesh.call(member.node, Class::Admin, request.clone(), DEADLINE);
        async move {
            match codec::decode::<AdminAnswer>(&call.await.ok()?) {
                Ok(AdminAnswer::Report(report)) => Some((member.node, report)),
                Ok(_) | Err(_) => None,
            }
        }
    });
    futures::future::join_all(calls).await.into_iter().flatten().collect()
}

/// Asks nodes what they hold, at once; also those that may be down: they may be about to come back.
pub async fn gather_holdings(mesh: &Mesh, nodes: impl Iterator<Item = NodeId>) -> Holdings {
    let Ok(request) = codec::encode(&AdminRequest::Holdings) else { return Holdings::new() };
    let request = Bytes::from(request);
    let calls = nodes.map(|node| {
        let call = mesh.call(node, Class::Admin, request.clone(), HOLDINGS_DEADLINE);
        async move {
            match codec::decode::<AdminAnswer>(&call.await.ok()?) {
                Ok(AdminAnswer::Holdings(holdings)) => Some((node, holdings)),
                Ok(_) | Err(_) => None,
            }
        }
    });
    futures::future::join_all(calls).await.into_iter().flatten().collect()
}

/// A peer's clock, compared with this node's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClockReading {
    /// The peer's clock less this node's, in milliseconds.
    pub offset_ms: f64,
    /// How much of that the way there and back may account for.
    pub uncertainty_ms: f64,
}

/// The clocks of the peers that told them.
pub type Clocks = BTreeMap<NodeId, ClockReading>;

/// Asks all other members that may be up for their time, at once.
pub async fn gather_clocks(
    mesh: &Mesh,
    members: &[MemberView],
    wall_ms: impl Fn() -> u64 + Copy,
) -> Clocks {
    let Ok(request) = codec::encode(&AdminRequest::Clock) else { return Clocks::new() };
    let request = Bytes::from(request);
    let others = members.iter().filter(|member| member.is_up() && member.node != mesh.node());
    let calls = others.map(|member| {
        let request = request.clone();
        async move {
            let (sent_ms, sent) = (wall_ms(), Instant::now());
            let answer = mesh.call(member.node, Class::Admin, request, DEADLINE).await.ok()?;
            let took = sent.elapsed();
            match codec::decode::<AdminAnswer>(&answer) {
                Ok(AdminAnswer::Clock(there_ms)) => {
                    Some((member.node, compare(sent_ms, took, there_ms)))
                }
                _ => None,
            }
        }
    });
    futures::future::join_all(calls).await.into_iter().flatten().collect()
}

/// The peer read its clock at some moment between the two at which this node asked and heard: in the
/// middle, give or take half of the time.
fn compare(sent_ms: u64, took: Duration, there_ms: u64) -> ClockReading {
    let half_ms = took.as_secs_f64() * 500.0;
    // Times of this century are far below 2^53.
    let offset_ms = there_ms as f64 - (sent_ms as f64 + half_ms);
    // Both clocks are read in whole milliseconds.
    ClockReading { offset_ms, uncertainty_ms: half_ms + 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_there_and_back_is_no_offset() {
        let reading = compare(1_000_000, Duration::from_millis(80), 1_000_040);
        assert!(reading.offset_ms.abs() < 0.001, "{reading:?}");
        assert!((reading.uncertainty_ms - 41.0).abs() < 0.001, "{reading:?}");
        let reading = compare(1_000_000, Duration::from_millis(2), 999_001);
        assert!((reading.offset_ms + 1_000.0).abs() < 0.001, "{reading:?}");
    }
}
