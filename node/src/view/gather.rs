//! Asking all members for what they know of themselves.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use hexpop_edge_config::{NodeId, codec};

use super::MemberView;
use crate::{
    control::{AdminAnswer, AdminRequest, NodeReport},
    mesh::{Class, Mesh},
};

/// How long a member may take; one that takes longer is shown without what only it knows.
const DEADLINE: Duration = Duration::from_millis(1_000);

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
                Ok(AdminAnswer::Done | AdminAnswer::Failed(_)) | Err(_) => None,
            }
        }
    });
    futures::future::join_all(calls).await.into_iter().flatten().collect()
}
