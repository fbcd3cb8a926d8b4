//! `hexpop operations`: changes of shards that take their time, and waiting for one.

use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Value, json};

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    mesh::parse_duration,
    output::{Columns, Format, OutputArgs, or_dash, print, print_json, println},
};
use crate::admin_api::{OperationRow, OperationsReport};

/// How often an operation is asked for that is waited for.
const POLL: Duration = Duration::from_millis(200);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop operations list\n  hexpop operations show 31\n  hexpop operations cancel 31"
)]
pub(super) struct OperationsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: Option<OperationsCommand>,
}

#[derive(Debug, Subcommand)]
enum OperationsCommand {
    /// Those that run and those that ended lately.
    List,
    /// One, with what it has behind it.
    Show {
        /// Its number.
        id: u64,
    },
    /// Stop one, if that is still possible.
    Cancel {
        /// Its number.
        id: u64,
    },
}

/// Whether to wait for an operation's end.
#[derive(Debug, Args)]
pub(super) struct WaitArgs {
    /// Wait until it has ended; exit with 1 unless it did what it was to do.
    #[arg(long)]
    wait: bool,
    /// How long to wait.
    #[arg(long, default_value = "5m", value_parser = parse_duration)]
    timeout: Duration,
}

pub(super) async fn operations(args: OperationsArgs) -> CliResult {
    let client = Client::admin(&args.admin)?;
    let format = args.output.output;
    match args.command.unwrap_or(OperationsCommand::List) {
        OperationsCommand::List => {
            let report: OperationsReport = client.get("/admin/v1/operations").await?;
            match format {
                Format::Json => print_json(&report),
                Format::Table => print(&render(&report.operations, args.output.no_header)),
            }
        }
        OperationsCommand::Show { id } => {
            let operation: OperationRow = client.get(&path(id)).await?;
            show(&operation, format)
        }
        OperationsCommand::Cancel { id } => {
            let answer = client.call(Method::DELETE, &path(id), &json!({})).await?;
            show(&answer.json()?, format)
        }
    }
}

/// Begins an operation on a shard, and waits for its end if that is asked for.
pub(super) async fn begin(
    client: &Client,
    (shard, verb, body): (u64, &str, Value),
    wait: &WaitArgs,
    format: Format,
) -> CliResult {
    let path = format!("/admin/v1/shards/{shard}/{verb}");
    let answer = client.call(Method::POST, &path, &body).await?;
    let mut operation: OperationRow = answer.json()?;
    if wait.wait {
        operation = wait_for(client, operation, wait.timeout).await?;
    }
    show(&operation, format)?;
    match (wait.wait, operation.state.as_str()) {
        (false, _) | (true, "done") => Ok(()),
        (true, state) => {
            let why = operation.error.map(|error| format!(": {error}")).unwrap_or_default();
            Err(CliError::failed(format!("operation {} is {state}{why}", operation.id)))
        }
    }
}

async fn wait_for(
    client: &Client,
    operation: OperationRow,
    timeout: Duration,
) -> CliResult<OperationRow> {
    let id = operation.id;
    let mut last = operation;
    let polling = async {
        while matches!(last.state.as_str(), "running" | "committing" | "reverting") {
            tokio::time::sleep(POLL).await;
            // A leader that changes meanwhile is no reason to give up.
            if let Ok(operation) = client.get::<OperationRow>(&path(id)).await {
                last = operation;
            }
        }
    };
    match tokio::time::timeout(timeout, polling).await {
        Ok(()) => Ok(last),
        Err(_elapsed) => {
            let step = last.step.unwrap_or_default();
            Err(CliError::missed(format!(
                "operation {id} has not ended within {timeout:?}: {step}"
            ))
            .help(format!("`hexpop operations show {id}` tells how it goes on")))
        }
    }
}

fn path(id: u64) -> String {
    format!("/admin/v1/operations/{id}")
}

fn show(operation: &OperationRow, format: Format) -> CliResult {
    match format {
        Format::Json => print_json(operation),
        Format::Table => {
            let OperationRow { id, kind, shard, summary, state, .. } = operation;
            println(&format!("{kind} of shard {shard}: {summary}     operation {id}, {state}"))?;
            for step in &operation.steps {
                println(&format!("  {}  {}", step.at, step.name))?;
            }
            operation.error.iter().try_for_each(|error| println(&format!("  error: {error}")))
        }
    }
}

fn render(operations: &[OperationRow], no_header: bool) -> String {
    let heads = [
        ("ID", true),
        ("KIND", false),
        ("SHARD", true),
        ("WHAT", false),
        ("STATE", false),
        ("STEP", false),
        ("STARTED", false),
        ("FINISHED", false),
    ];
    let mut table = Columns::new(&heads, no_header);
    for operation in operations {
        table.row([
            operation.id.to_string(),
            operation.kind.clone(),
            operation.shard.to_string(),
            operation.summary.clone(),
            operation.state.clone(),
            or_dash(operation.step.as_ref()),
            operation.started_at.clone(),
            or_dash(operation.finished_at.as_ref()),
        ]);
    }
    table.render()
}
