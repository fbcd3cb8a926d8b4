//! `/admin/v1/faults`: fault rules of this node, or with `?scope=mesh` of all.

use std::{collections::BTreeMap, time::Instant};

use hexpop_chaos::{Registry, RegistryError, Rule, RuleError};
use hexpop_router::{FieldPlace as Place, Problem as ProblemType};
use http::{Method, Response, StatusCode};
use serde_json::{Value, json};

use super::{Answer, json, shards::read_json, with_status};
use crate::{
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::{
        body::{Body, empty},
        problem::Problem,
        server::RequestBody,
    },
};

/// Answers one call.
pub(super) async fn answer(
    context: &Context,
    method: &Method,
    id: Option<&str>,
    query: &BTreeMap<String, String>,
    body: RequestBody,
) -> Answer {
    let registry = &context.faults;
    if method == Method::GET {
        return list(registry, id);
    }
    if !context.live().chaos_enabled {
        return Err(Problem::new(
            ProblemType::Forbidden,
            "fault rules are switched off here (chaos.enabled)",
        ));
    }
    match (method, id) {
        (&Method::DELETE, Some(id)) => remove(registry, id),
        (&Method::PUT, Some(id)) => renew(registry, id),
        (&Method::POST | &Method::PUT | &Method::DELETE, None) => {
            let body: Value =
                if method == Method::DELETE { Value::Null } else { read_json(body).await? };
            let own = change(registry, method.as_str(), &body)?;
            if query.get("scope").is_some_and(|scope| scope == "mesh") {
                return everywhere(context, method, &body, own).await;
            }
            let status = if method == Method::POST { StatusCode::CREATED } else { StatusCode::OK };
            with_status(status, &own)
        }
        _ => Err(Problem::method_not_allowed("GET, HEAD, POST, PUT, DELETE")),
    }
}

fn list(registry: &Registry, id: Option<&str>) -> Answer {
    let active = registry.list(Instant::now());
    match id {
        None => json(&json!({"schema": "hexpop.faults/1", "faults": active})),
        Some(id) => match active.iter().find(|rule| rule.id.to_string() == id) {
            Some(rule) => json(rule),
            None => Err(no_rule(id)),
        },
    }
}

fn no_rule(id: &str) -> Problem {
    Problem::new(ProblemType::NotFound, format!("there is no fault rule {id} (it may have ended)"))
}

fn remove(registry: &Registry, id: &str) -> Answer {
    let removed = id.parse().is_ok_and(|id| registry.remove(id));
    if !removed {
        return Err(no_rule(id));
    }
    let mut response: Response<Body> = Response::new(empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    Ok(response)
}

fn renew(registry: &Registry, id: &str) -> Answer {
    let renewed = id.parse().is_ok_and(|id| registry.renew(id, Instant::now()));
    if renewed { list(registry, Some(id)) } else { Err(no_rule(id)) }
}

/// Adds (`POST`), replaces (`PUT`) or clears (`DELETE`) rules of one node.
///
/// # Errors
/// A problem that names every wrong field; nothing has changed then.
pub fn change(registry: &Registry, method: &str, body: &Value) -> Result<Value, Problem> {
    let now = Instant::now();
    match method {
        "DELETE" => Ok(json!({"cleared": registry.clear()})),
        "PUT" => {
            let rules = match body {
                Value::Object(wrapper) => wrapper.get("faults").or_else(|| wrapper.get("rules")),
                other => Some(other),
            };
            let rules = rules.and_then(Value::as_array).ok_or_else(|| {
                Problem::new(ProblemType::InvalidRequest, "the body must be a list of rules")
                    .at(Place::Pointer("#".into()), "must be a list, or an object with `faults`")
            })?;
            let parsed = rules
                .iter()
                .enumerate()
                .map(|(index, rule)| parse(rule, &format!("#/{index}")))
                .collect::<Result<Vec<Rule>, Problem>>()?;
            let ids = registry
                .replace(parsed, now)
                .map_err(|error| refused(error, |index| format!("#/{index}")))?;
            Ok(json!({"ids": ids}))
        }
        _ => {
            let id = registry
                .add(parse(body, "#")?, now)
                .map_err(|error| refused(error, |_index| "#".to_owned()))?;
            let active = registry.list(now).into_iter().find(|rule| rule.id == id);
            Ok(serde_json::to_value(active).unwrap_or(Value::Null))
        }
    }
}

fn parse(rule: &Value, place: &str) -> Result<Rule, Problem> {
    serde_json::from_value(rule.clone()).map_err(|error| {
        Problem::new(ProblemType::InvalidRequest, "the rule is not valid")
            .at(Place::Pointer(place.to_owned()), error.to_string())
    })
}

fn refused(error: RegistryError, place: impl Fn(usize) -> String) -> Problem {
    let problem = Problem::new(ProblemType::InvalidRequest, error.to_string());
    match error {
        RegistryError::TooMany => problem,
        RegistryError::Invalid(rules) => rules
            .into_iter()
            .flat_map(|(index, errors)| errors.into_iter().map(move |error| (index, error)))
            .fold(problem, |problem, (index, RuleError { field, detail })| {
                problem.at(Place::Pointer(format!("{}/{field}", place(index))), detail)
            }),
    }
}

/// Passes the change on to every other member; answers who has it.
async fn everywhere(context: &Context, method: &Method, body: &Value, own: Value) -> Answer {
    let members = context.members();
    let others = members.iter().filter(|member| member.is_up() && member.node != context.node());
    let calls = others.map(|member| {
        let request =
            AdminRequest::Faults { method: method.as_str().to_owned(), body: body.to_string() };
        let call = context.ask(member.node, request);
        async move {
            match call.await {
                Ok(AdminAnswer::Done) => json!({"id": member.node, "state": "confirmed"}),
                Ok(AdminAnswer::Failed(why)) | Err(why) => {
                    json!({"id": member.node, "state": "failed", "error": why})
                }
                Ok(_) => {
                    let why = "it answered something else; is it of another version?";
                    json!({"id": member.node, "state": "failed", "error": why})
                }
            }
        }
    });
    let mut nodes = vec![json!({"id": context.node(), "state": "confirmed", "result": own})];
    nodes.extend(futures::future::join_all(calls).await);
    let all = nodes.iter().all(|node| node.get("state").is_some_and(|state| state == "confirmed"));
    let status = if all { StatusCode::OK } else { StatusCode::ACCEPTED };
    with_status(status, &json!({"nodes": nodes}))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wrong_rule_is_refused_with_its_fields() {
        let registry = Registry::new(Duration::from_secs(3_600));
        let rule = json!({"where": "origin", "what": "drop", "ttl": "5"});
        let problem = change(&registry, "POST", &rule).unwrap_err();
        let places: Vec<String> = problem
            .error
            .errors
            .iter()
            .map(|error| match &error.place {
                Place::Pointer(at) => at.clone(),
                other => format!("{other:?}"),
            })
            .collect();
        assert_eq!(places, ["#/what", "#/ttl"]);
        let unknown = json!({"where": "origin", "what": "error", "ttl": "5s", "peers": 1});
        assert!(change(&registry, "POST", &unknown).is_err());
        let good = json!([{"where": "origin", "what": "error", "ttl": "5s"}]);
        assert_eq!(change(&registry, "PUT", &good).unwrap(), json!({"ids": [1]}));
        assert_eq!(change(&registry, "DELETE", &Value::Null).unwrap(), json!({"cleared": 1}));
    }
}
