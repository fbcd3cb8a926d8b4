//! `hexpop status`, `nodes`, `shards`, `breakers`: the mesh as one node sees it.

use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde_json::{Value, json};

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    operations::{WaitArgs, begin},
    output::{
        Columns, Format, OutputArgs, bytes, grouped, or_dash, print, print_json, println, uptime,
    },
    placement,
};
use crate::admin_api::{
    BreakersReport, NodeRow, NodesReport, ShardRow, ShardsReport, StatusReport,
};

/// Flags of a command that reads one report.
#[derive(Debug, Args)]
pub(super) struct ReadArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// Print again and again, this often (`1s`).
    #[arg(long, value_name = "EVERY", num_args = 0..=1, default_missing_value = "1s", value_parser = parse_duration)]
    watch: Option<Duration>,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop status\n  hexpop status --check && deploy\n  hexpop status --wait ok --timeout 60s"
)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    read: ReadArgs,
    /// Exit with 3 unless the mesh is ok, with 1 if that cannot be found out.
    #[arg(long)]
    check: bool,
    /// Wait until the mesh has this state.
    #[arg(long, value_name = "STATE", value_parser = ["ok", "degraded"])]
    wait: Option<String>,
    /// How long to wait.
    #[arg(long, default_value = "60s", value_parser = parse_duration)]
    timeout: Duration,
}

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

/// `250ms`, `10s`, `5m`.
pub(super) fn parse_duration(text: &str) -> Result<Duration, String> {
    text.parse::<hexpop_edge_config::ConfigDuration>()
        .map(Duration::from)
        .map_err(|error| error.to_string())
}

/// Prints once, or again and again.
async fn watched<F: AsyncFnMut(&Client) -> CliResult<String>>(
    args: &ReadArgs,
    mut render: F,
) -> CliResult {
    let client = Client::admin(&args.admin)?;
    loop {
        let text = render(&client).await?;
        let Some(every) = args.watch else { return print(&text) };
        // Home and clear, as a terminal without curses has it; a file gets the reports in a row.
        let clear =
            if std::io::IsTerminal::is_terminal(&std::io::stdout()) { "\x1b[H\x1b[2J" } else { "" };
        print(&format!("{clear}{text}"))?;
        tokio::time::sleep(every).await;
    }
}

fn to_json<T: serde::Serialize>(value: &T) -> CliResult<String> {
    serde_json::to_string_pretty(value)
        .map(|text| text + "\n")
        .map_err(|error| CliError::failed("cannot write the result").caused_by(&error))
}

pub(super) async fn status(args: StatusArgs) -> CliResult {
    if let Some(wanted) = &args.wait {
        wait_for(&args, wanted).await?;
    }
    let mut state = String::new();
    watched(&args.read, async |client| {
        let report: StatusReport = client.get("/admin/v1/status").await?;
        state.clone_from(&report.state);
        match args.read.output.output {
            Format::Json => to_json(&report),
            Format::Table => Ok(render_status(&report, args.read.output.no_header)),
        }
    })
    .await?;
    match (args.check, state.as_str()) {
        (false, _) | (true, "ok") => Ok(()),
        (true, "unknown") => Err(CliError::failed("the state of the mesh is unknown")),
        (true, other) => Err(CliError::missed(format!("the mesh is {other}"))),
    }
}

async fn wait_for(args: &StatusArgs, wanted: &str) -> CliResult {
    let client = Client::admin(&args.read.admin)?;
    let poll = async {
        loop {
            if let Ok(report) = client.get::<StatusReport>("/admin/v1/status").await
                && (report.state == "ok" || report.state == wanted)
            {
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::time::timeout(args.timeout, poll).await.map_err(|_elapsed| {
        CliError::missed(format!("the mesh was not {wanted} within {:?}", args.timeout))
            .help("`hexpop status` says what is missing")
    })
}

fn render_status(report: &StatusReport, no_header: bool) -> String {
    let shards = &report.shards;
    let meta = or_dash(shards.meta_leader.map(|node| format!("node {node}")));
    let faults = match report.faults {
        0 => "none active".to_owned(),
        count => format!("{count} active on this node"),
    };
    format!(
        "mesh      {}   {}: {}\n\
         shards    {} total, {} with leader, {} under-replicated     map version {}     meta leader {meta}\n\
         listings  {} total, {} active\n\
         origin    {}   {}   breaker {}\n\
         cache     {} objects, {} of {}\n\
         faults    {faults}\n\n{}* the node you asked\n",
        report.cluster,
        report.state,
        report.summary,
        shards.total,
        shards.with_leader,
        shards.under_replicated,
        shards.map_version,
        grouped(report.listings.total),
        grouped(report.listings.active),
        report.origin.url.as_deref().unwrap_or("-"),
        report.origin.state,
        report.origin.breaker,
        grouped(report.cache.entries),
        bytes(report.cache.bytes),
        bytes(report.cache.bytes_max),
        render_nodes(&report.nodes, report.node, no_header),
    )
}

fn render_nodes(nodes: &[NodeRow], asked: u32, no_header: bool) -> String {
    let heads = [
        ("NODE", false),
        ("POP", false),
        ("STATE", false),
        ("VERSION", false),
        ("UPTIME", true),
        ("REPLICAS", true),
        ("LEADERS", true),
        ("META", false),
        ("RTT", true),
        ("HTTP", false),
        ("", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for node in nodes {
        let gone = match (node.state.as_str(), node.last_seen_ms) {
            ("suspect" | "unreachable" | "left", Some(ms)) => {
                format!("last seen {} ago", uptime(ms / 1000))
            }
            _ => String::new(),
        };
        table.row([
            format!("{}{}", node.id, if node.id == asked { " *" } else { "" }),
            or_dash(node.pop.as_ref()),
            node.state.clone(),
            or_dash(node.version.as_ref()),
            or_dash(node.uptime_s.map(uptime)),
            or_dash(node.replicas),
            or_dash(node.leaders),
            if node.meta { "leader".into() } else { "-".into() },
            or_dash(node.rtt.map(|ms| format!("{ms:.1} ms"))),
            or_dash(node.http.as_ref()),
            gone,
        ]);
    }
    table.render()
}

pub(super) async fn nodes(args: ReadArgs) -> CliResult {
    watched(&args, async |client| {
        let report: NodesReport = client.get("/admin/v1/nodes").await?;
        match args.output.output {
            Format::Json => to_json(&report),
            Format::Table => {
                let table = render_nodes(&report.nodes, report.seen_from, args.output.no_header);
                Ok(format!("{table}* the node you asked\n"))
            }
        }
    })
    .await
}

pub(super) async fn breakers(args: ReadArgs) -> CliResult {
    watched(&args, async |client| {
        let report: BreakersReport = client.get("/admin/v1/breakers").await?;
        if args.output.output == Format::Json {
            return to_json(&report);
        }
        let heads = [
            ("TARGET", false),
            ("CLASS", false),
            ("STATE", false),
            ("FAILURES", true),
            ("SINCE", true),
            ("OPENED", true),
        ];
        let mut table = Columns::new(&heads, args.output.no_header);
        for row in &report.breakers {
            table.row([
                row.target.clone(),
                row.class.clone(),
                row.state.clone(),
                row.failures.to_string(),
                uptime(row.since_ms / 1000),
                row.opened.to_string(),
            ]);
        }
        Ok(table.render())
    })
    .await
}

pub(super) async fn shards(args: ShardsArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    match args.command.unwrap_or_else(|| ShardsCommand::List(ListArgs::default())) {
        ShardsCommand::List(list) => {
            let mut report: ShardsReport = client.get("/admin/v1/shards").await?;
            select(&mut report.shards, &list);
            match args.output.output {
                Format::Json => print_json(&report),
                Format::Table => print(&render_shards(&report.shards, args.output.no_header)),
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
                Format::Table => print(&render_shards(&report.shards, args.output.no_header)),
            }
        }
        ShardsCommand::Split { id, at, wait } => {
            let body = at.map_or_else(|| json!({}), |at| json!({ "at": at }));
            begin(&client, (id, "split", body), &wait, args.output.output).await
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

fn select(shards: &mut Vec<ShardRow>, args: &ListArgs) {
    shards.retain(|shard| {
        args.space.as_ref().is_none_or(|space| *space == shard.space)
            && args.territory.as_ref().is_none_or(|territory| *territory == shard.range.text)
            && args
                .node
                .is_none_or(|node| shard.replicas.iter().any(|replica| replica.node == node))
    });
    match args.sort {
        Some(SortBy::Keys) => shards.sort_by_key(|shard| std::cmp::Reverse(shard.keys)),
        Some(SortBy::Bytes) => shards.sort_by_key(|shard| std::cmp::Reverse(shard.bytes)),
        Some(SortBy::Lag) => shards.sort_by_key(|shard| std::cmp::Reverse(max_lag(shard))),
        None => {}
    }
    shards.truncate(args.top.unwrap_or(usize::MAX));
}

fn max_lag(shard: &ShardRow) -> Option<u64> {
    shard.replicas.iter().filter_map(|replica| replica.lag).max()
}

fn render_shards(shards: &[ShardRow], no_header: bool) -> String {
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
    let mut someone_down = false;
    for shard in shards {
        let mut list = |role: &str| {
            let nodes: Vec<String> = shard
                .replicas
                .iter()
                .filter(|replica| replica.role == role)
                .map(|replica| {
                    let down = replica.state == "unreachable";
                    someone_down |= down;
                    format!("{}{}", replica.node, if down { "!" } else { "" })
                })
                .collect();
            if nodes.is_empty() { "-".to_owned() } else { nodes.join(",") }
        };
        table.row([
            shard.id.to_string(),
            shard.space.clone(),
            shard.range.text.clone(),
            shard.epoch.clone(),
            or_dash(shard.leader),
            list("voter"),
            list("learner"),
            or_dash(shard.term),
            or_dash(shard.commit),
            or_dash(max_lag(shard)),
            or_dash(shard.keys.map(grouped)),
            or_dash(shard.bytes.map(bytes)),
            shard.state.clone(),
        ]);
    }
    table.render() + if someone_down { "! node is not up\n" } else { "" }
}

fn render_shard(shard: &ShardRow, no_header: bool) -> String {
    let mut text = render_shards(std::slice::from_ref(shard), no_header);
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
    for replica in &shard.replicas {
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
