//! `/admin/v1/drain`: a node is emptied, so that it can be stopped.
//!
//! The node tells the others that it drains, and is not ready from then on; the leaders of the shards that
//! it holds replicas of do the rest, as placement has them do. It goes on serving meanwhile. It lasts until
//! it is undone: the node keeps it in its data directory, and drains on when it starts again.

use std::collections::BTreeMap;

use crate::http::server::RequestBody;
use hexpop_edge_config::NodeId;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, shards::read_json, with_status};
use crate::{
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::problem::Problem,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DrainBody {
    node: Option<u32>,
}

/// `POST /admin/v1/drain` with `{"node": 3}`; without a node this one.
pub(super) async fn begin(context: &Context, body: RequestBody) -> Answer {
    let DrainBody { node } = read_json(body).await?;
    set(context, node.map_or_else(|| context.node(), NodeId), true).await
}

/// `DELETE /admin/v1/drain?node=3`: the node may hold replicas again.
pub(super) async fn end(context: &Context, query: &BTreeMap<String, String>) -> Answer {
    let node = match query.get("node") {
        None => context.node(),
        Some(text) => text.parse().map(NodeId).map_err(|_error| {
            Problem::new(ProblemType::InvalidRequest, format!("`{text}` is no node"))
                .at(Place::Parameter("node".into()), "must be a node's number")
        })?,
    };
    set(context, node, false).await
}

async fn set(context: &Context, node: NodeId, on: bool) -> Answer {
    match context.ask(node, AdminRequest::Drain { on }).await {
        Ok(AdminAnswer::Done) => {}
        Ok(AdminAnswer::Failed(why)) => {
            return Err(Problem::new(ProblemType::Internal, format!("node {node}: {why}")));
        }
        Ok(_) => {
            let detail = format!("node {node} gave an answer out of place");
            return Err(Problem::new(ProblemType::Internal, detail));
        }
        Err(why) => {
            let detail = format!("node {node} was not told: {why}");
            return Err(Problem::new(ProblemType::NotFound, detail));
        }
    }
    let map = context.host.shard_map();
    let replicas = map.shards().filter(|shard| shard.replica_on(node).is_some()).count();
    let (status, state) =
        if on { (StatusCode::ACCEPTED, "draining") } else { (StatusCode::OK, "up") };
    with_status(status, &json!({"node": node, "state": state, "replicas": replicas}))
}
