//! `/admin/v1/purge` and `/admin/v1/cache`: what the HTTP caches of the mesh hold, and making them
//! forget it.

use std::collections::BTreeMap;

use crate::http::server::RequestBody;
use hexpop_router::{FieldPlace as Place, Problem as ProblemType, PurgeTarget};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, json, shards::read_json, with_status};
use crate::{
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::problem::Problem,
};

/// Targets of one purge at most.
const TARGETS_MAX: usize = 1000;

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
        if targets.len() > TARGETS_MAX {
            let detail = format!("{} targets are too many: at most {TARGETS_MAX}", targets.len());
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

/// `POST /admin/v1/purge`: every member is asked, and the answer says who did it.
pub(super) async fn purge(context: &Context, body: RequestBody) -> Answer {
    let body: PurgeBody = read_json(body).await?;
    let targets = body.targets();
    body.check(&targets)?;
    let members = context.members();
    let calls = members.iter().map(|member| {
        let request = AdminRequest::Purge { targets: targets.clone(), soft: body.soft };
        let call = context.ask(member.node, request);
        async move {
            let outcome = match call.await {
                Ok(AdminAnswer::Purged { objects, took_us }) => Ok((objects, took_us)),
                Ok(AdminAnswer::Failed(why)) | Err(why) => Err(why),
                Ok(
                    AdminAnswer::Done
                    | AdminAnswer::Report(_)
                    | AdminAnswer::Clock(_)
                    | AdminAnswer::Inspected(_)
                    | AdminAnswer::Operations(_)
                    | AdminAnswer::SplitPoint(_),
                ) => Err("it answered something else".to_owned()),
            };
            (member, outcome)
        }
    });
    let outcomes = futures::future::join_all(calls).await;
    // What this node itself refuses is wrong, and no other node did it either.
    let own = outcomes.iter().find(|(member, _outcome)| member.node == context.node());
    if let Some((_member, Err(why))) = own {
        return Err(Problem::new(ProblemType::InvalidRequest, why.clone()));
    }
    let mut confirmed = 0;
    let mut nodes: Vec<Value> = Vec::new();
    for (member, outcome) in &outcomes {
        let pop = &member.pop;
        nodes.push(match outcome {
            Ok((objects, took_us)) => {
                confirmed += 1;
                let took_ms = u32::try_from(*took_us).map_or(f64::MAX, f64::from) / 1000.0;
                json!({"id": member.node, "pop": pop, "state": "confirmed", "objects": objects,
                       "tookMs": took_ms})
            }
            Err(why) => json!({"id": member.node, "pop": pop, "state": "pending", "error": why}),
        });
    }
    let all = confirmed == outcomes.len();
    let status = if all { StatusCode::OK } else { StatusCode::ACCEPTED };
    with_status(
        status,
        &json!({"schema": "hexpop.purge/1", "requested": targets.len(), "soft": body.soft,
                "nodes": nodes, "confirmed": confirmed, "of": outcomes.len()}),
    )
}

/// `GET /admin/v1/cache?url=`: what each node holds of a URL.
pub(super) async fn inspect(context: &Context, query: &BTreeMap<String, String>) -> Answer {
    let wrong = |detail: String| {
        Problem::new(ProblemType::InvalidRequest, detail.clone())
            .at(Place::Parameter("url".to_owned()), detail)
    };
    let url = query.get("url").ok_or_else(|| wrong("which URL?".to_owned()))?;
    context.router.inspect(url).map_err(|error| wrong(error.to_string()))?;
    let members = context.members();
    let calls = members.iter().filter(|member| member.is_up()).map(|member| {
        let call = context.ask(member.node, AdminRequest::Inspect { url: url.clone() });
        async move {
            let (name, value) = match call.await {
                Ok(AdminAnswer::Inspected(text)) => {
                    ("entries", serde_json::from_str(&text).unwrap_or(Value::Null))
                }
                Ok(AdminAnswer::Failed(why)) | Err(why) => ("error", why.into()),
                Ok(
                    AdminAnswer::Done
                    | AdminAnswer::Report(_)
                    | AdminAnswer::Clock(_)
                    | AdminAnswer::Purged { .. }
                    | AdminAnswer::Operations(_)
                    | AdminAnswer::SplitPoint(_),
                ) => ("error", "it answered something else".into()),
            };
            json!({"id": member.node, "pop": member.pop, name: value})
        }
    });
    let nodes = futures::future::join_all(calls).await;
    json(&json!({"schema": "hexpop.cache/1", "url": url, "nodes": nodes}))
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
