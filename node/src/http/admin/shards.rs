//! `/admin/v1/shards`: where the data is, and who leads.

use std::{collections::BTreeMap, time::Duration};

use hexpop_edge_config::{NodeId, ShardId, Territory};
use hexpop_router::{Context as Ask, FieldPlace as Place, Problem as ProblemType, Routed};
use hexpop_shard::ShardKey;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::{Answer, json, operations::out_of_place, with_status};
use crate::{
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::{body::read_bounded, problem::Problem, server::RequestBody},
    view,
};

/// Bodies of operators' calls are small.
const BODY_BYTES_MAX: usize = 64 << 10;

/// `GET /admin/v1/shards`, all of them; `?session=ID` or `?listing=ID` only the one that holds it.
pub(super) async fn list(context: &Context, query: &BTreeMap<String, String>) -> Answer {
    let map = context.host.shard_map();
    let members = context.members();
    let reports = context.reports(&members).await;
    let mut report = view::shards_report(context.node(), &map, &members, &reports);
    let holder = match (query.get("listing"), query.get("session")) {
        (Some(id), _) => holder_of_listing(context, id).await?,
        (None, Some(id)) => map.locate(&session_key(id)?).map(|shard| shard.id),
        (None, None) => return json(&report),
    };
    report.shards.retain(|shard| Some(ShardId(shard.id)) == holder);
    report.groups.clear();
    json(&report)
}

/// The shard that answers for a listing.
async fn holder_of_listing(context: &Context, id: &str) -> Result<Option<ShardId>, Problem> {
    // Without a fallback the origin is not asked.
    match context.router.get_listing(id, &Ask::default()).await? {
        Routed::Mesh(answer) => Ok(answer.given.vector.first().map(|point| point.shard)),
        Routed::Origin(_response) => Ok(None),
    }
}

fn session_key(id: &str) -> Result<ShardKey, Problem> {
    let wrong = || {
        Problem::new(ProblemType::InvalidRequest, format!("`{id}` is no session id"))
            .at(Place::Parameter("session".into()), "must be <country>-<region>.<id>")
    };
    let (place, _rest) = id.split_once('.').ok_or_else(wrong)?;
    let (country, region) = place.split_once('-').ok_or_else(wrong)?;
    let territory: Territory =
        format!("{}:{region}", country.to_ascii_uppercase()).parse().map_err(|_error| wrong())?;
    Ok(ShardKey::session(&territory, id))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TransferBody {
    to: u32,
}

/// Reads a small JSON body.
pub(super) async fn read_json<T: serde::de::DeserializeOwned>(
    body: RequestBody,
) -> Result<T, Problem> {
    let body = read_bounded(body, BODY_BYTES_MAX, Duration::from_secs(10)).await?;
    serde_json::from_slice(&body).map_err(|error| {
        if error.is_data() {
            Problem::new(ProblemType::InvalidRequest, error.to_string())
                .at(Place::Pointer("#".into()), error.to_string())
        } else {
            Problem::new(ProblemType::MalformedJson, error.to_string())
        }
    })
}

/// The shard of a path.
pub(super) fn parse_id(id: &str) -> Result<ShardId, Problem> {
    id.parse()
        .map_err(|_error| Problem::new(ProblemType::NotFound, format!("there is no shard {id}")))
}

/// `POST /admin/v1/shards/{id}/transfer-leader`.
pub(super) async fn transfer_leader(context: &Context, id: &str, body: RequestBody) -> Answer {
    let shard = parse_id(id)?;
    let TransferBody { to } = read_json(body).await?;
    if context.host.shard_map().get(shard).is_none() && shard.is_of_shard() {
        return Err(Problem::new(ProblemType::NotFound, format!("there is no shard {shard}")));
    }
    let members = context.members();
    let reports = context.reports(&members).await;
    let leader = reports.iter().find(|(_node, report)| {
        report.replicas.iter().any(|replica| {
            replica.shard == shard && replica.state == hexpop_raft::ReplicaState::Leader
        })
    });
    let Some((leader, _report)) = leader else {
        return Err(Problem::new(
            ProblemType::ShardUnavailable,
            format!("shard {shard} has no leader that could hand over"),
        ));
    };
    let request = AdminRequest::TransferLeader { shard, to: NodeId(to) };
    match context.ask(*leader, request).await {
        Ok(AdminAnswer::Done) => with_status(
            StatusCode::ACCEPTED,
            &json!({"kind": "transfer-leader", "shard": shard, "from": leader, "to": to, "state": "done"}),
        ),
        Ok(AdminAnswer::Failed(why)) | Err(why) => Err(Problem::new(
            ProblemType::InvalidRequest,
            format!("shard {shard} was not handed to node {to}: {why}"),
        )
        .status(StatusCode::CONFLICT)),
        Ok(_) => Err(out_of_place()),
    }
}
