//! `/admin/v1/purge`: making the HTTP caches of the mesh forget, and how far that is.

use std::time::Duration;

use futures::future::join_all;
use hexpop_raft::ProposeError;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType, RouteError, WriteOutcome};
use hexpop_shard::{PURGE_TARGETS_MAX, PurgeId, PurgeOp, PurgeTarget};
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{Answer, shards::read_json, with_status};
use crate::{
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::{problem::Problem, server::RequestBody},
    purges::{PurgeReport, millis_up},
    view::MemberView,
};

/// How long the purge group may take to record a purge, an election in between included.
const RECORD: Duration = Duration::from_secs(5);

/// How long a node may take to say how far it is; then it counts as not reached.
const ASK: Duration = Duration::from_secs(2);

/// What is to be forgotten.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PurgeBody {
    urls: Vec<String>,
    tags: Vec<String>,
    prefixes: Vec<String>,
    all: bool,
    soft: bool,
}

impl PurgeBody {
    /// What it names, in the order of its fields.
    fn targets(&self) -> Vec<PurgeTarget> {
        let urls = self.urls.iter().cloned().map(PurgeTarget::Url);
        let tags = self.tags.iter().cloned().map(PurgeTarget::Tag);
        let prefixes = self.prefixes.iter().cloned().map(PurgeTarget::Prefix);
        let all = self.all.then_some(PurgeTarget::All);
        urls.chain(tags).chain(prefixes).chain(all).collect()
    }

    fn check(&self, targets: &[PurgeTarget]) -> Result<(), Problem> {
        let wrong = |pointer: &str, detail: String| {
            Problem::new(ProblemType::InvalidRequest, detail.clone())
                .at(Place::Pointer(pointer.to_owned()), detail)
        };
        if targets.is_empty() {
            let detail = "name at least one of urls, tags, prefixes, or all";
            return Err(wrong("#", detail.to_owned()));
        }
        if targets.len() > PURGE_TARGETS_MAX {
            let detail =
                format!("{} targets are too many: at most {PURGE_TARGETS_MAX}", targets.len());
            return Err(wrong("#", detail));
        }
        let empty = |list: &[String]| list.iter().position(|text| text.trim().is_empty());
        for (name, list) in
            [("urls", &self.urls), ("tags", &self.tags), ("prefixes", &self.prefixes)]
        {
            if let Some(index) = empty(list) {
                return Err(wrong(&format!("#/{name}/{index}"), "must not be empty".to_owned()));
            }
        }
        Ok(())
    }
}

/// `POST /admin/v1/purge`: recorded for all nodes; the answer says who has applied it.
pub(super) async fn purge(context: &Context, body: RequestBody) -> Answer {
    let body: PurgeBody = read_json(body).await?;
    let targets = body.targets();
    body.check(&targets)?;
    let wrong = |error: String| Problem::new(ProblemType::InvalidRequest, error);
    context.router.check_purge(&targets).map_err(|error| wrong(error.to_string()))?;
    let op = PurgeOp::Append { targets, soft: body.soft };
    op.check().map_err(|refusal| wrong(refusal.to_string()))?;
    let recorded = context.host.propose_purge(op, RECORD).await;
    let entry = recorded.map_err(|error| not_recorded(&error))?;
    let at = tokio::time::Instant::now();
    let reports = ask_all(context, &AdminRequest::Purge(entry.clone())).await;
    let mut receipt = Receipt::of(context, entry.id, &reports, Some(at.elapsed()));
    receipt.fields.insert("requested".to_owned(), entry.targets.len().into());
    receipt.fields.insert("soft".to_owned(), entry.soft.into());
    receipt.into_answer()
}

/// `GET /admin/v1/purge/{id}`: who has applied it by now.
pub(super) async fn show(context: &Context, id: &str) -> Answer {
    let not_found = || Problem::new(ProblemType::NotFound, format!("there is no purge {id}"));
    let id = id.parse().map(PurgeId).map_err(|_not_a_number| not_found())?;
    if id == PurgeId::default() {
        return Err(not_found());
    }
    let is_known = || context.purges.report(id).has_applied(id);
    if !is_known() {
        context.purges.reach(id).await;
    }
    let own = context.purges.report(id);
    if !own.has_applied(id) {
        if own.trust_ms == 0 {
            let detail = "this node has no contact to the purge group, and does not know the purge";
            return Err(Problem::new(ProblemType::ShardUnavailable, detail));
        }
        return Err(not_found());
    }
    let reports = ask_all(context, &AdminRequest::PurgeReport(id)).await;
    let since = own.since_ms.map(Duration::from_millis);
    Receipt::of(context, id, &reports, since).into_answer()
}

fn not_recorded(error: &ProposeError) -> Problem {
    let unavailable = |detail: String, outcome| {
        RouteError::new(ProblemType::ShardUnavailable, detail).with_outcome(outcome).into()
    };
    match error {
        ProposeError::Invalid(why) => Problem::new(ProblemType::InvalidRequest, why.clone()),
        ProposeError::Unknown(why) => unavailable(
            format!(
                "it is not known whether the purge is recorded ({why}); purge again, which does no harm"
            ),
            WriteOutcome::Unknown,
        ),
        ProposeError::NotLeader { .. }
        | ProposeError::NotHere
        | ProposeError::StaleEpoch { .. }
        | ProposeError::Overloaded
        | ProposeError::Unavailable(_) => unavailable(
            format!("the purge group does not take the purge, and nothing is purged: {error}"),
            WriteOutcome::NotApplied,
        ),
    }
}

/// What every member that has not left says, or why it says nothing.
async fn ask_all(
    context: &Context,
    request: &AdminRequest,
) -> Vec<(MemberView, Result<PurgeReport, String>)> {
    let members = context.members().into_iter().filter(|member| member.state != "left");
    let calls = members.map(|member| async move {
        let call = context.ask(member.node, request.clone());
        let report = match tokio::time::timeout(ASK, call).await {
            Ok(Ok(AdminAnswer::Purge(report))) => Ok(report),
            Ok(Ok(AdminAnswer::Failed(why)) | Err(why)) => Err(why),
            Ok(Ok(_)) => Err("it answered something else".to_owned()),
            Err(_elapsed) => Err(format!("no answer within {ASK:?}")),
        };
        (member, report)
    });
    join_all(calls).await
}

/// Who has applied a purge.
struct Receipt {
    id: PurgeId,
    is_complete: bool,
    fields: Map<String, Value>,
}

impl Receipt {
    /// `since`: for how long the purge has been recorded at least, as far as this node knows.
    fn of(
        context: &Context,
        id: PurgeId,
        reports: &[(MemberView, Result<PurgeReport, String>)],
        since: Option<Duration>,
    ) -> Self {
        // A node without the purge was in contact before it was recorded, and not since.
        let most = context.purges.max_silence().saturating_sub(since.unwrap_or_default());
        let (mut confirmed, mut worst_ms) = (0, 0);
        let mut nodes: Vec<Value> = Vec::new();
        for (member, report) in reports {
            let mut node = Map::new();
            node.insert("id".to_owned(), json!(member.node));
            node.insert("pop".to_owned(), json!(member.pop));
            let stale_ms = match report {
                Ok(report) if report.has_applied(id) => {
                    confirmed += 1;
                    let (objects, took_us) = report.hit.unzip();
                    node.insert("state".to_owned(), "confirmed".into());
                    node.insert("objects".to_owned(), json!(objects));
                    node.insert("tookMs".to_owned(), json!(took_us.map(millis_of)));
                    0
                }
                Ok(report) => {
                    node.insert("state".to_owned(), "pending".into());
                    let why = "it has not caught up with the purge group";
                    node.insert("error".to_owned(), why.into());
                    report.trust_ms
                }
                Err(why) => {
                    node.insert("state".to_owned(), "pending".into());
                    node.insert("error".to_owned(), why.as_str().into());
                    millis_up(most)
                }
            };
            node.insert("staleMs".to_owned(), stale_ms.into());
            worst_ms = stale_ms.max(worst_ms);
            nodes.push(node.into());
        }
        let fields = [
            ("schema", "hexpop.purge/1".into()),
            ("id", id.0.into()),
            ("nodes", nodes.into()),
            ("confirmed", confirmed.into()),
            ("of", reports.len().into()),
            ("worstStalenessMs", worst_ms.into()),
        ];
        let fields = fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Self { id, is_complete: confirmed == reports.len(), fields }
    }

    fn into_answer(self) -> Answer {
        let status = if self.is_complete { StatusCode::OK } else { StatusCode::ACCEPTED };
        let mut response = with_status(status, &self.fields)?;
        if let Ok(location) = HeaderValue::from_str(&format!("/admin/v1/purge/{}", self.id)) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        Ok(response)
    }
}

fn millis_of(micros: u64) -> f64 {
    u32::try_from(micros).map_or(f64::MAX, f64::from) / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &Value) -> Result<Vec<PurgeTarget>, Problem> {
        let body: PurgeBody = serde_json::from_value(body.clone()).unwrap();
        let targets = body.targets();
        body.check(&targets).map(|()| targets)
    }

    #[test]
    fn a_purge_names_something() {
        let body = json!({"urls": ["/a"], "tags": ["t"], "prefixes": ["/b/"], "all": true});
        let targets = read(&body).unwrap();
        assert_eq!(targets.len(), 4);
        assert_eq!(targets[3], PurgeTarget::All);
        for wrong in [
            json!({}),
            json!({"soft": true}),
            json!({"tags": [" "]}),
            json!({"tags": vec!["t"; 1001]}),
        ] {
            assert!(read(&wrong).is_err(), "{wrong}");
        }
        assert!(serde_json::from_value::<PurgeBody>(json!({"tag": "t"})).is_err());
    }
}
