//! `/admin/v1/operations`, and the calls that begin one.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::http::server::RequestBody;
use hexpop_edge_config::{ConfigDuration, NodeId, ShardId};
use hexpop_raft::ReplicaState;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use hexpop_shard::{
    Merge, MetaOp, MetaOutcome, Operation, OperationId, OperationKind, OperationState,
    OperationUpdate, ShardDescriptor, ShardKey, Split, bound_of,
};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;

use super::{
    Answer, json,
    shards::{parse_id, read_json},
    with_status,
};
use crate::{
    admin_api::{OperationRow, OperationStepRow, OperationsReport},
    context::{CALL_DEADLINE, Context},
    control::{AdminAnswer, AdminRequest},
    http::problem::Problem,
};

/// `GET /admin/v1/operations`.
pub(super) async fn list(context: &Context) -> Answer {
    let operations = operations(context).await?.iter().map(row).collect();
    json(&OperationsReport { schema: "hexpop.operations/1".to_owned(), operations })
}

/// The longest that an answer is put off.
const WAIT_MAX: Duration = Duration::from_secs(20);

/// How often it is looked meanwhile.
const POLL: Duration = Duration::from_millis(250);

/// `GET /admin/v1/operations/{id}`; with `?wait=10s` not before it has ended or that time is over.
pub(super) async fn show(context: &Context, id: &str, query: &BTreeMap<String, String>) -> Answer {
    let id = parse_operation(id)?;
    let until = Instant::now() + parse_wait(query)?;
    loop {
        let found = find(context, id).await;
        let is_last = Instant::now() + POLL > until;
        match found {
            Ok(operation) if is_last || !operation.state.is_running() => {
                return json(&row(&operation));
            }
            // While the meta group elects, its leader cannot be asked.
            Err(problem) if is_last || problem.error.status == StatusCode::NOT_FOUND.as_u16() => {
                return Err(problem);
            }
            Ok(_) | Err(_) => tokio::time::sleep(POLL).await,
        }
    }
}

fn parse_wait(query: &BTreeMap<String, String>) -> Result<Duration, Problem> {
    let Some(text) = query.get("wait") else { return Ok(Duration::ZERO) };
    let wait: ConfigDuration = text.parse().map_err(|_error| {
        Problem::new(ProblemType::InvalidRequest, format!("`{text}` is no time"))
            .at(Place::Parameter("wait".into()), "must be a time such as 10s")
    })?;
    Ok(Duration::from(wait).min(WAIT_MAX))
}

/// `DELETE /admin/v1/operations/{id}`: cancels it, if that is still possible.
pub(super) async fn cancel(context: &Context, id: &str) -> Answer {
    let id = parse_operation(id)?;
    let update = OperationUpdate::Finished(OperationState::Cancelled);
    match propose(context, MetaOp::UpdateOperation { id, update }).await? {
        MetaOutcome::OperationUpdated => json(&row(&find(context, id).await?)),
        MetaOutcome::OperationUnknown => Err(unknown(id)),
        MetaOutcome::OperationEnded => Err(conflict(format!("operation {} has ended", id.0))),
        MetaOutcome::OperationCommitted => Err(conflict(format!(
            "operation {} is under way where it cannot be stopped any more; it will end by itself",
            id.0
        ))),
        _ => Err(out_of_place()),
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SplitBody {
    at: Option<String>,
}

/// `POST /admin/v1/shards/{id}/split`.
pub(super) async fn split(context: &Context, id: &str, body: RequestBody) -> Answer {
    let shard = find_shard(context, id)?;
    let SplitBody { at } = read_json(body).await?;
    let at = match at {
        Some(text) => bound_of(&shard.range, &text).ok_or_else(|| {
            let detail = format!("`{text}` is no place to divide shard {} at", shard.id);
            Problem::new(ProblemType::InvalidRequest, detail).at(
                Place::Pointer("#/at".into()),
                "must be a territory such as IT:lombardia, an H3 cell of the shard's territory, or a key",
            )
        })?,
        None => best_point(context, shard.id).await?,
    };
    let allocated = propose(context, MetaOp::AllocateIds { count: 1 }).await?;
    let MetaOutcome::Allocated { first: child, .. } = allocated else {
        return Err(out_of_place());
    };
    begin(context, shard.id, OperationKind::Split(Split { at, child })).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MoveBody {
    from: u32,
    to: u32,
}

/// `POST /admin/v1/shards/{id}/move`.
pub(super) async fn move_replica(context: &Context, id: &str, body: RequestBody) -> Answer {
    let shard = find_shard(context, id)?;
    let MoveBody { from, to } = read_json(body).await?;
    let (from, to) = (NodeId(from), NodeId(to));
    if shard.replica_on(from).is_none() {
        let detail = format!("node {from} holds no replica of shard {}", shard.id);
        return Err(Problem::new(ProblemType::InvalidRequest, detail)
            .at(Place::Pointer("#/from".into()), "must be a node that holds a replica"));
    }
    if shard.replica_on(to).is_some() {
        return Err(conflict(format!("node {to} holds a replica of shard {} already", shard.id)));
    }
    context.host.may_move(&shard, from, to).map_err(conflict)?;
    begin(context, shard.id, OperationKind::Move { from, to }).await
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MergeBody {
    with: u64,
}

/// `POST /admin/v1/shards/{id}/merge`: the one that lies before the other keeps its id.
pub(super) async fn merge(context: &Context, id: &str, body: RequestBody) -> Answer {
    let one = find_shard(context, id)?;
    let MergeBody { with } = read_json(body).await?;
    let Some(other) = context.host.shard_map().get(ShardId(with)).cloned() else {
        return Err(Problem::new(ProblemType::InvalidRequest, format!("there is no shard {with}"))
            .at(Place::Pointer("#/with".into()), "must be a shard"));
    };
    let (left, right) =
        if one.range.start <= other.range.start { (one, other) } else { (other, one) };
    context.host.may_merge(&left, &right).map_err(conflict)?;
    begin(context, left.id, OperationKind::Merge(Merge::of(&right))).await
}

async fn begin(context: &Context, shard: ShardId, kind: OperationKind) -> Answer {
    let reason = "asked for by an operator".to_owned();
    let id = match propose(context, MetaOp::BeginOperation { kind, shard, reason }).await? {
        MetaOutcome::OperationBegun(id) => id,
        MetaOutcome::OperationBusy(id) => {
            let busy = id.0;
            return Err(conflict(format!("operation {busy} runs on shard {shard} already")));
        }
        MetaOutcome::OperationInvalid(why) => return Err(conflict(why)),
        _ => return Err(out_of_place()),
    };
    let begun = find(context, id).await?;
    let mut response = with_status(StatusCode::ACCEPTED, &row(&begun))?;
    if let Ok(at) = HeaderValue::from_str(&format!("/admin/v1/operations/{}", id.0)) {
        response.headers_mut().insert(header::LOCATION, at);
    }
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Ok(response)
}

/// The key that divides a shard best, as its leader finds it.
async fn best_point(context: &Context, shard: ShardId) -> Result<ShardKey, Problem> {
    let leader = leader_of(context, shard).await?;
    match context.ask(leader, AdminRequest::SplitPoint { shard }).await {
        Ok(AdminAnswer::SplitPoint(Some(at))) => Ok(at),
        Ok(AdminAnswer::SplitPoint(None)) => {
            Err(conflict(format!("all records of shard {shard} are at one place")))
        }
        Ok(AdminAnswer::Failed(why)) | Err(why) => {
            Err(Problem::new(ProblemType::ShardUnavailable, why))
        }
        Ok(_) => Err(out_of_place()),
    }
}

pub(super) async fn leader_of(context: &Context, shard: ShardId) -> Result<NodeId, Problem> {
    let members = context.members();
    let reports = context.reports(&members).await;
    let leads = |report: &crate::control::NodeReport| {
        let mut replicas = report.replicas.iter();
        replicas.any(|it| it.shard == shard && it.state == ReplicaState::Leader)
    };
    let leader = reports.iter().find(|(_node, report)| leads(report)).map(|(node, _report)| *node);
    leader.ok_or_else(|| {
        let what = if shard == ShardId::META {
            "the meta group has no leader now".to_owned()
        } else {
            format!("shard {shard} has no leader now")
        };
        Problem::new(ProblemType::ShardUnavailable, what)
    })
}

pub(super) async fn operations(context: &Context) -> Result<Vec<Operation>, Problem> {
    let leader = leader_of(context, ShardId::META).await?;
    match context.ask(leader, AdminRequest::Operations).await {
        Ok(AdminAnswer::Operations(operations)) => Ok(operations),
        Ok(AdminAnswer::Failed(why)) | Err(why) => {
            Err(Problem::new(ProblemType::ShardUnavailable, why))
        }
        Ok(_) => Err(out_of_place()),
    }
}

async fn find(context: &Context, id: OperationId) -> Result<Operation, Problem> {
    let found = operations(context).await?.into_iter().find(|operation| operation.id == id);
    found.ok_or_else(|| unknown(id))
}

async fn propose(context: &Context, op: MetaOp) -> Result<MetaOutcome, Problem> {
    let proposed = context.host.propose_meta(op, CALL_DEADLINE).await;
    proposed.map_err(|error| Problem::new(ProblemType::ShardUnavailable, error.to_string()))
}

pub(super) fn find_shard(context: &Context, id: &str) -> Result<ShardDescriptor, Problem> {
    let shard = parse_id(id)?;
    let found = context.host.shard_map().get(shard).cloned();
    let missing = || Problem::new(ProblemType::NotFound, format!("there is no shard {shard}"));
    found.ok_or_else(missing)
}

fn parse_operation(id: &str) -> Result<OperationId, Problem> {
    let missing =
        |_error| Problem::new(ProblemType::NotFound, format!("there is no operation {id}"));
    id.parse().map(OperationId).map_err(missing)
}

fn unknown(id: OperationId) -> Problem {
    Problem::new(ProblemType::NotFound, format!("no operation {} is remembered", id.0))
}

fn conflict(detail: String) -> Problem {
    Problem::new(ProblemType::InvalidRequest, detail).status(StatusCode::CONFLICT)
}

pub(super) fn out_of_place() -> Problem {
    let detail = "a node gave an answer out of place; is it of another version?";
    Problem::new(ProblemType::ShardUnavailable, detail)
}

fn row(operation: &Operation) -> OperationRow {
    let (child, summary) = match &operation.kind {
        OperationKind::Split(Split { at, child }) => {
            (Some(child.0), format!("shard {child} from {at} on"))
        }
        OperationKind::Move { from, to } => (None, format!("from node {from} to node {to}")),
        OperationKind::Relocate(it) => (None, format!("from node {} to node {}", it.from, it.to)),
        OperationKind::Placement(step) => (None, step.as_str().to_owned()),
        OperationKind::Drain { node } => (None, format!("empties node {node}")),
        OperationKind::Merge(merge) => (None, format!("shard {} is taken in", merge.right)),
    };
    OperationRow {
        id: operation.id.0,
        kind: operation.kind.as_str().to_owned(),
        shard: operation.shard.0,
        child,
        summary,
        state: operation.state.as_str().to_owned(),
        error: match &operation.state {
            OperationState::Failed { error } => Some(error.clone()),
            OperationState::Reverting { error } => error.clone(),
            _ => None,
        },
        step: operation.steps.last().map(|step| step.name.clone()),
        steps: operation
            .steps
            .iter()
            .map(|step| OperationStepRow { name: step.name.clone(), at: time(step.at_ms) })
            .collect(),
        started_at: time(operation.started_ms),
        finished_at: operation.finished_ms.map(time),
    }
}

/// RFC 3339; the epoch for a time beyond all calendars.
fn time(unix_ms: u64) -> String {
    let ms = i64::try_from(unix_ms).unwrap_or_default();
    jiff::Timestamp::from_millisecond(ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}
