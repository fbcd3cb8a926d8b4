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
use crate::admin_api::ShardsReport;

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
                let held = held_by(node, &report);
                if last.as_ref().is_none_or(|before: &Left| before.words() != held.words()) {
                    println(&format!("node {node}: {}", held.words()))?;
                }
                if held.is_nothing() {
                    return Ok(());
                }
                last = Some(held);
            }
            tokio::time::sleep(POLL).await;
        }
    };
    if let Ok(emptied) = tokio::time::timeout(args.timeout, emptied).await {
        return emptied;
    }
    let left = last.unwrap_or_default();
    let text = format!("node {node} is not empty after {:?}: {}", args.timeout, left.words());
    let mut error = CliError::missed(text).help(
        "a replica stays where no other node may take it: another node with the labels of its shard has to join; who holds a group without a leader is not known: a quorum of its nodes has to be up",
    );
    for what in left.held.into_iter().chain(left.unled).take(NAMED_MAX) {
        error = error.cause(what);
    }
    Err(error)
}

/// What a node may still have.
#[derive(Debug, Default)]
struct Left {
    /// The replicas of shards, and of the groups that are none.
    held: Vec<String>,
    /// How many of these it leads.
    leads: usize,
    /// Who has no leader to say who its replicas are. The map may lag behind, and so may a follower.
    unled: Vec<String>,
}

impl Left {
    fn is_nothing(&self) -> bool {
        self.held.is_empty() && self.unled.is_empty()
    }

    fn words(&self) -> String {
        let Self { held, leads, unled } = self;
        let words = format!("{} replicas, {leads} leaders left", held.len());
        match unled.len() {
            0 => words,
            count => format!("{words}; {count} without a leader"),
        }
    }
}

/// What a node may still hold of shards, and of the groups that are none.
fn held_by(node: u32, report: &ShardsReport) -> Left {
    let shards = report.shards.iter().map(|shard| {
        let what = format!("shard {} ({} {})", shard.id, shard.space, shard.range.text);
        (what, &shard.raft)
    });
    let groups =
        report.groups.iter().map(|group| (format!("the {} group", group.name), &group.raft));
    let mut left = Left::default();
    for (what, raft) in shards.chain(groups) {
        if raft.replicas.iter().any(|replica| replica.node == node) {
            left.held.push(what);
            left.leads += usize::from(raft.leader == Some(node));
        } else if raft.leader.is_none() {
            left.unled.push(format!("{what}, which has no leader"));
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn report(purges: &Value) -> ShardsReport {
        let group = |name: &str, rest: &Value| {
            let mut row = json!({"name": name, "epoch": "1.1", "state": "ok", "replicas": []});
            row.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            row
        };
        let meta = json!({"leader": 1, "replicas": []});
        let groups = [group("meta", &meta), group("purges", purges)];
        let report =
            json!({"schema": "hexpop.shards/1", "version": 1, "shards": [], "groups": groups});
        serde_json::from_value(report).unwrap()
    }

    #[test]
    fn a_node_is_empty_only_where_leaders_say_so() {
        let replica = json!({"node": 3, "role": "voter", "raftId": "1", "state": "follower"});
        let left = held_by(3, &report(&json!({"leader": 2, "replicas": [replica]})));
        assert_eq!((left.held.len(), left.leads), (1, 0), "{left:?}");
        let left = held_by(3, &report(&json!({"leader": null})));
        assert!(!left.is_nothing(), "nobody knows who holds the purges");
        assert_eq!(left.words(), "0 replicas, 0 leaders left; 1 without a leader");
        assert!(held_by(3, &report(&json!({"leader": 2}))).is_nothing());
    }
}
