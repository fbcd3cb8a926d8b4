//! `hexpop status`, `nodes`, `breakers`: the mesh as one node sees it.

use std::time::Duration;

use clap::Args;

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    output::{Columns, Format, OutputArgs, bytes, grouped, or_dash, print, uptime},
};
use crate::admin_api::{BreakersReport, CacheDiskSummary, NodeRow, NodesReport, StatusReport};

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
         cache     {} objects, {} of {}{}\n\
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
        on_disk(report.cache.disk.as_ref()),
        render_nodes(&report.nodes, report.node, no_header),
    )
}

/// What a status says of the disk behind the HTTP cache.
fn on_disk(disk: Option<&CacheDiskSummary>) -> String {
    match disk {
        None => String::new(),
        Some(CacheDiskSummary { off: Some(why), .. }) => format!("     disk off: {why}"),
        Some(disk) => format!(
            "     disk {} objects, {} of {}",
            grouped(disk.entries),
            bytes(disk.bytes),
            bytes(disk.bytes_max)
        ),
    }
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
