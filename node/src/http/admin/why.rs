//! `/admin/v1/shards/{id}/why` and `/admin/v1/shards/residency`: why the data is where it is, and whether
//! it is where it has to be.

use std::collections::BTreeSet;

use hexpop_edge_config::{NodeId, ShardId};
use hexpop_router::Problem as ProblemType;

use super::{
    Answer, json,
    operations::{find_shard, leader_of, operations, out_of_place},
};
use crate::{
    admin_api::{CandidateRow, WhyReport},
    context::Context,
    control::{AdminAnswer, AdminRequest},
    http::problem::Problem,
    view,
};

/// `GET /admin/v1/shards/{id}/why`: as the leader of the meta group sees it, who plans; without one as this
/// node does.
pub(super) async fn why(context: &Context, id: &str) -> Answer {
    let shard = find_shard(context, id)?;
    let leader = leader_of(context, ShardId::META).await.ok();
    let asked = leader.unwrap_or_else(|| context.node());
    let mut explained = match context.ask(asked, AdminRequest::Why { shard: shard.id }).await {
        Ok(AdminAnswer::Why(Some(explained))) => explained,
        Ok(AdminAnswer::Why(None)) => {
            let detail = format!("node {asked} does not know shard {} yet", shard.id);
            return Err(Problem::new(ProblemType::ShardUnavailable, detail));
        }
        Ok(_) => return Err(out_of_place()),
        Err(why) => return Err(Problem::new(ProblemType::ShardUnavailable, why)),
    };
    // Where its readers are, its own leader knows.
    if let Ok(led) = leader_of(context, shard.id).await
        && led != asked
        && let Ok(AdminAnswer::Why(Some(known))) =
            context.ask(led, AdminRequest::Why { shard: shard.id }).await
    {
        explained.candidates = known.candidates;
    }
    let running = match leader {
        Some(_) => operations(context).await.unwrap_or_default(),
        None => Vec::new(),
    };
    let on_shard = |it: &&hexpop_shard::Operation| it.shard == shard.id && it.state.is_running();
    let running = running.iter().find(on_shard);
    let mut findings = explained.findings;
    if leader.is_none() {
        findings.push("the meta group has no leader now: no replica is moved".to_owned());
    }
    let next = match running {
        None => explained.next,
        Some(operation) => {
            let step = operation.steps.last().map_or("begun", |step| step.name.as_str());
            Some(format!("{} is under way: {step}: {}", operation.kind.as_str(), operation.reason))
        }
    };
    let candidates = explained.candidates.into_iter().map(|candidate| CandidateRow {
        node: candidate.node.0,
        pop: candidate.pop.map(|pop| pop.to_string()),
        verdict: candidate.verdict.as_str().to_owned(),
        why: candidate.why,
    });
    json(&WhyReport {
        schema: "hexpop.why/1".to_owned(),
        shard: shard.id.0,
        space: shard.range.space_of().as_str().to_owned(),
        range: view::range_row(&shard.range),
        labels: explained.labels.into_iter().collect(),
        replicas: explained.replicas,
        in_every_pop: explained.in_every_pop,
        candidates: candidates.collect(),
        none_because: if next.is_some() { None } else { explained.none_because },
        next,
        findings,
        operation: running.map(|operation| operation.id.0),
        authoritative: leader.is_some(),
    })
}

/// `GET /admin/v1/shards/residency`. Nodes that left are not asked; one that is down is, and named when it
/// does not answer: what its disk holds is not known.
pub(super) async fn residency(context: &Context) -> Answer {
    let members = context.members();
    let map = context.host.shard_map();
    let known = members.iter().filter(|member| member.state != "left").map(|member| member.node);
    let listed = map.shards().flat_map(|shard| &shard.replicas).map(|replica| replica.node);
    let expected: BTreeSet<NodeId> = known.chain(listed).collect();
    let holdings = view::gather_holdings(&context.mesh, expected.iter().copied()).await;
    let policy = context.host.placement_policy();
    json(&view::residency_report(policy, &members, &expected, &holdings))
}
