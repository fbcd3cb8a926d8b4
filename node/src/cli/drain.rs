//! `hexpop drain`: a node is emptied under load.

use std::time::Duration;

use clap::Args;
use http::Method;
use serde_json::json;

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    mesh::parse_duration,
    output::println,
};
use crate::admin_api::{ReplicaRow, ShardsReport};

/// How often it is looked how far it is.
const POLL: Duration = Duration::from_millis(500);

/// How many of the shards that are still there are named.
const NAMED_MAX: usize = 5;

#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  hexpop drain 3 --wait\n  hexpop drain 3 --undo")]
pub(super) struct DrainArgs {
    #[command(flatten)]
    admin: AdminArgs,
    /// The node.
    node: u32,
    /// Wait until it holds nothing any more.
    #[arg(long, conflicts_with = "undo")]
    wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
    /// Let it hold replicas again.
    #[arg(long)]
    undo: bool,
}

pub(super) async fn drain(args: DrainArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    let node = args.node;
    if args.undo {
        let path = format!("/admin/v1/drain?node={node}");
        client.call(Method::DELETE, &path, &json!({})).await?;
        return println(&format!("node {node} may hold replicas again"));
    }
    client.call(Method::POST, "/admin/v1/drain", &json!({"node": node})).await?;
    if !args.wait {
        return println(&format!("node {node} is being emptied"));
    }
    let mut last = None;
    let emptied = async {
        loop {
            // A node that is asked may be the one that is emptied, and changes leaders meanwhile.
            if let Ok(report) = client.get::<ShardsReport>("/admin/v1/shards").await {
                let held = held_by(node, report);
                let leads = held.iter().filter(|held| held.leads).count();
                let now = (leads, held.len());
                if last.as_ref().is_none_or(|(before, _)| *before != now) {
                    println(&format!(
                        "node {node}: {} replicas, {leads} leaders left",
                        held.len()
                    ))?;
                }
                let done = held.is_empty();
                last = Some((now, held));
                if done {
                    return Ok(());
                }
            }
            tokio::time::sleep(POLL).await;
        }
    };
    if let Ok(emptied) = tokio::time::timeout(args.timeout, emptied).await {
        return emptied;
    }
    let held = last.map(|(_, held)| held).unwrap_or_default();
    let text = format!("node {node} still holds {} replicas after {:?}", held.len(), args.timeout);
    let mut error = CliError::missed(text).help(
        "a replica stays where no other node may take it: another node with the labels of its shard has to join",
    );
    for held in held.into_iter().take(NAMED_MAX) {
        error = error.cause(held.what);
    }
    Err(error)
}

/// A replica that a node still has.
struct Held {
    what: String,
    leads: bool,
}

/// What a node holds of shards, and of the groups that are none.
fn held_by(node: u32, report: ShardsReport) -> Vec<Held> {
    let holds = |replicas: &[ReplicaRow]| replicas.iter().any(|replica| replica.node == node);
    let shards =
        report.shards.into_iter().filter(|shard| holds(&shard.raft.replicas)).map(|shard| {
            let what = format!("shard {} ({} {})", shard.id, shard.space, shard.range.text);
            Held { what, leads: shard.raft.leader == Some(node) }
        });
    let groups =
        report.groups.into_iter().filter(|group| holds(&group.raft.replicas)).map(|group| Held {
            what: format!("the {} group", group.name),
            leads: group.raft.leader == Some(node),
        });
    shards.chain(groups).collect()
}
