//! `hexpop shards`: where the data is, and what moves it.

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    operations::{WaitArgs, begin},
    output::{Columns, Format, OutputArgs, bytes, grouped, or_dash, print, print_json, println},
    placement,
};
use crate::admin_api::{GroupRow, ReplicaRow, ShardRow, ShardsReport};

#[derive(Debug, Args)]
pub(super) struct ShardsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Option<ShardsCommand>,
}

#[derive(Debug, Subcommand)]
enum ShardsCommand {
    /// All shards, a line each.
    List(ListArgs),
    /// One shard with its replicas.
    Show {
        /// The shard's number.
        id: u64,
    },
    /// Why a shard is where it is, and what is planned next.
    Why {
        /// The shard's number.
        id: u64,
    },
    /// Whether what needs labels is only on nodes that carry them, as the nodes' disks have it.
    Residency,
    /// The shard that holds something.
    Locate(LocateArgs),
    /// Let another replica lead.
    TransferLeader {
        /// The shard's number.
        id: u64,
        /// The node that shall lead.
        #[arg(long)]
        to: u32,
    },
    /// Divide a shard in two.
    Split {
        /// The shard's number.
        id: u64,
        /// Where: a territory, an H3 cell or a key; without it where the records divide best.
        #[arg(long, value_name = "CELL|REGION|KEY")]
        at: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Make a shard and its neighbour one, if `placement.merge` allows it.
    Merge {
        /// The shard's number.
        id: u64,
        /// Its neighbour's; the one that lies before the other keeps its number.
        with: u64,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Move a replica to another node.
    Move {
        /// The shard's number.
        id: u64,
        /// The node that holds it.
        #[arg(long)]
        from: u32,
        /// The node that shall hold it.
        #[arg(long)]
        to: u32,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

#[derive(Debug, Default, Args)]
struct ListArgs {
    /// Only of this space.
    #[arg(long, value_parser = ["listings", "directory", "sessions"])]
    space: Option<String>,
    /// Only of this territory, such as IT:lombardia.
    #[arg(long)]
    territory: Option<String>,
    /// Only with a replica on this node.
    #[arg(long)]
    node: Option<u32>,
    /// The order.
    #[arg(long, value_enum)]
    sort: Option<SortBy>,
    /// At most so many.
    #[arg(long)]
    top: Option<usize>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum SortBy {
    Keys,
    Bytes,
    Lag,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct LocateArgs {
    /// A listing's id.
    #[arg(long)]
    listing: Option<String>,
    /// A session's id.
    #[arg(long)]
    session: Option<String>,
}

pub(super) async fn shards(args: ShardsArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    match args.command.unwrap_or_else(|| ShardsCommand::List(ListArgs::default())) {
        ShardsCommand::List(list) => {
            let mut report: ShardsReport = client.get("/admin/v1/shards").await?;
            select(&mut report, &list);
            match args.output.output {
                Format::Json => print_json(&report),
                Format::Table => {
                    let ShardsReport { shards, groups, .. } = &report;
                    print(&render_shards(shards, groups, args.output.no_header))
                }
            }
        }
        ShardsCommand::Show { id } => {
            let report: ShardsReport = client.get("/admin/v1/shards").await?;
            let shard =
                report.shards.into_iter().find(|shard| shard.id == id).ok_or_else(|| {
                    CliError::failed(format!("there is no shard {id}"))
                        .help("`hexpop shards list` lists them")
                })?;
            match args.output.output {
                Format::Json => print_json(&shard),
                Format::Table => print(&render_shard(&shard, args.output.no_header)),
            }
        }
        ShardsCommand::Why { id } => placement::why(&client, id, &args.output).await,
        ShardsCommand::Residency => placement::residency(&client, &args.output).await,
        ShardsCommand::Locate(locate) => {
            let (name, value) = match (&locate.listing, &locate.session) {
                (Some(id), _) => ("listing", id),
                (None, Some(id)) => ("session", id),
                (None, None) => return Err(CliError::usage("nothing to locate")),
            };
            let path = format!("/admin/v1/shards?{name}={}", super::listings::encode(value));
            let report: ShardsReport = client.get(&path).await?;
            match args.output.output {
                Format::Json => print_json(&report),
                Format::Table => print(&render_shards(&report.shards, &[], args.output.no_header)),
            }
        }
        ShardsCommand::Split { id, at, wait } => {
            let body = at.map_or_else(|| json!({}), |at| json!({ "at": at }));
            begin(&client, (id, "split", body), &wait, args.output.output).await
        }
        ShardsCommand::Merge { id, with, wait } => {
            let body = json!({ "with": with });
            begin(&client, (id, "merge", body), &wait, args.output.output).await
        }
        ShardsCommand::Move { id, from, to, wait } => {
            let body = json!({"from": from, "to": to});
            begin(&client, (id, "move", body), &wait, args.output.output).await
        }
        ShardsCommand::TransferLeader { id, to } => {
            let path = format!("/admin/v1/shards/{id}/transfer-leader");
            let answer = client.call(Method::POST, &path, &json!({"to": to})).await?;
            let operation: Value = answer.json()?;
            match args.output.output {
                Format::Json => print_json(&operation),
                Format::Table => println(&format!("shard {id}: node {to} was asked to lead")),
            }
        }
    }
}

/// What is asked for; the groups that are no shards are in no space and no territory.
fn select(report: &mut ShardsReport, args: &ListArgs) {
    if args.space.is_some() || args.territory.is_some() || args.top.is_some() {
        report.groups.clear();
    }
    let holds = |replicas: &[ReplicaRow]| {
        args.node.is_none_or(|node| replicas.iter().any(|replica| replica.node == node))
    };
    report.groups.retain(|group| holds(&group.raft.replicas));
    let shards = &mut report.shards;
    shards.retain(|shard| {
        args.space.as_ref().is_none_or(|space| *space == shard.space)
            && args.territory.as_ref().is_none_or(|territory| *territory == shard.range.text)
            && holds(&shard.raft.replicas)
    });
    match args.sort {
        Some(SortBy::Keys) => shards.sort_by_key(|shard| std::cmp::Reverse(shard.keys)),
        Some(SortBy::Bytes) => shards.sort_by_key(|shard| std::cmp::Reverse(shard.bytes)),
        Some(SortBy::Lag) => {
            shards.sort_by_key(|shard| std::cmp::Reverse(max_lag(&shard.raft.replicas)));
        }
        None => {}
    }
    shards.truncate(args.top.unwrap_or(usize::MAX));
}

fn max_lag(replicas: &[ReplicaRow]) -> Option<u64> {
    replicas.iter().filter_map(|replica| replica.lag).max()
}

fn render_shards(shards: &[ShardRow], groups: &[GroupRow], no_header: bool) -> String {
    let heads = [
        ("ID", true),
        ("SPACE", false),
        ("RANGE", false),
        ("EPOCH", false),
        ("LEADER", true),
        ("VOTERS", false),
        ("LEARNERS", false),
        ("TERM", true),
        ("COMMIT", true),
        ("LAG", true),
        ("KEYS", true),
        ("SIZE", true),
        ("STATE", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for shard in shards {
        table.row([
            shard.id.to_string(),
            shard.space.clone(),
            shard.range.text.clone(),
            shard.raft.epoch.clone(),
            or_dash(shard.raft.leader),
            nodes_of(&shard.raft.replicas, "voter"),
            nodes_of(&shard.raft.replicas, "learner"),
            or_dash(shard.raft.term),
            or_dash(shard.raft.commit),
            or_dash(max_lag(&shard.raft.replicas)),
            or_dash(shard.keys.map(grouped)),
            or_dash(shard.bytes.map(bytes)),
            shard.raft.state.clone(),
        ]);
    }
    for group in groups {
        table.row([
            "-".to_owned(),
            group.name.clone(),
            "-".to_owned(),
            group.raft.epoch.clone(),
            or_dash(group.raft.leader),
            nodes_of(&group.raft.replicas, "voter"),
            nodes_of(&group.raft.replicas, "learner"),
            or_dash(group.raft.term),
            or_dash(group.raft.commit),
            or_dash(max_lag(&group.raft.replicas)),
            "-".to_owned(),
            "-".to_owned(),
            group.raft.state.clone(),
        ]);
    }
    let all = shards.iter().map(|shard| &shard.raft.replicas);
    let mut all = all.chain(groups.iter().map(|group| &group.raft.replicas)).flatten();
    let someone_is_down = all.any(|replica| replica.state == "unreachable");
    table.render() + if someone_is_down { "! node is not up\n" } else { "" }
}

/// The nodes whose replicas have a role, by number; those that are not up are marked.
fn nodes_of(replicas: &[ReplicaRow], role: &str) -> String {
    let nodes: Vec<String> = replicas
        .iter()
        .filter(|replica| replica.role == role)
        .map(|replica| {
            format!("{}{}", replica.node, if replica.state == "unreachable" { "!" } else { "" })
        })
        .collect();
    if nodes.is_empty() { "-".to_owned() } else { nodes.join(",") }
}

fn render_shard(shard: &ShardRow, no_header: bool) -> String {
    let mut text = render_shards(std::slice::from_ref(shard), &[], no_header);
    let heads = [
        ("REPLICA ON", false),
        ("ROLE", false),
        ("STATE", false),
        ("APPLIED", true),
        ("LAG", true),
        ("RAFT ID", true),
        ("ERROR", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for replica in &shard.raft.replicas {
        table.row([
            format!("node {}", replica.node),
            replica.role.clone(),
            replica.state.clone(),
            or_dash(replica.applied),
            or_dash(replica.lag),
            replica.raft_id.clone(),
            or_dash(replica.error.as_ref()),
        ]);
    }
    text.push('\n');
    text.push_str(&table.render());
    text
}
