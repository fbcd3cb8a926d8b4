//! `/admin/v1/cache`: what the HTTP caches of the mesh hold.

use std::collections::BTreeMap;

use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use serde_json::{Value, json};

use super::{Answer, json};
use crate::{
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::problem::Problem,
};

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
                Ok(_) => ("error", "it answered something else".into()),
            };
            json!({"id": member.node, "pop": member.pop, name: value})
        }
    });
    let nodes = futures::future::join_all(calls).await;
    json(&json!({"schema": "hexpop.cache/1", "url": url, "nodes": nodes}))
}
