//! `hexpop doctor`: what is wrong with a node, and what to do about it.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum as _};
use hexpop_edge_config::config::{Loaded, ProblemKind};

use super::{
    client::{AdminArgs, Client},
    error::{CliError, CliResult},
    mesh::parse_duration,
    output::{Format, OutputArgs, print, print_json},
};
use crate::doctor::{Check, Outcome, Report, Topic, before, counted, probe, running};

/// The pause between two looks with `--wait`.
const PAUSE: Duration = Duration::from_millis(500);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop doctor --pre --config node.toml        before a start\n  hexpop doctor --admin http://127.0.0.1:9081   a running node, and the mesh as it sees it\n  hexpop doctor --only mesh,time --wait 60s\n\nExit codes: 0 no error, 1 could not be found out, 2 wrong usage, 3 a check failed."
)]
pub(super) struct DoctorArgs {
    /// Check what the configuration names, before the node is started.
    #[arg(long)]
    pre: bool,
    /// The configuration file of the node that is to be started.
    #[arg(long, value_name = "FILE", default_value = "node.toml", requires = "pre")]
    config: PathBuf,
    /// Check only these.
    #[arg(long, value_name = "TOPIC,…", value_enum, value_delimiter = ',')]
    only: Vec<Topic>,
    /// Check again and again until there is no error, at most this long.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) async fn run(args: DoctorArgs) -> CliResult {
    let only: BTreeSet<Topic> = if args.only.is_empty() {
        Topic::value_variants().iter().copied().collect()
    } else {
        args.only.iter().copied().collect()
    };
    let deadline = args.wait.map(|wait| Instant::now() + wait);
    let report = loop {
        let looked = look(&args, &only).await;
        let is_last = deadline.is_none_or(|deadline| Instant::now() >= deadline);
        match looked {
            Ok(report) if report.success || is_last => break report,
            Err(error) if is_last || error.exit() == 2 => return Err(error),
            Ok(_) | Err(_) => tokio::time::sleep(PAUSE).await,
        }
    };
    match args.output.output {
        Format::Json => print_json(&report)?,
        Format::Table => print(&report.render())?,
    }
    match report.count(Outcome::Error) {
        0 => Ok(()),
        failed => Err(CliError::missed(format!("{} failed", counted(failed, "check")))),
    }
}

async fn look(args: &DoctorArgs, only: &BTreeSet<Topic>) -> CliResult<Report> {
    let checks = if args.pre { before_start(args, only).await? } else { of_running(args).await? };
    Ok(Report::new(checks, only))
}

async fn before_start(args: &DoctorArgs, only: &BTreeSet<Topic>) -> CliResult<Vec<(Topic, Check)>> {
    let file = args.config.display();
    let loaded = match super::config::try_load(&args.config) {
        Ok(loaded) => loaded,
        Err(errors) => {
            let unreadable = |kind| kind == ProblemKind::Unreadable;
            if errors.problems().iter().any(|problem| unreadable(problem.kind)) {
                return Err(CliError::failed("there is no configuration to check")
                    .cause(errors)
                    .help(
                        "name the node's file with --config; `hexpop config sample` prints one",
                    ));
            }
            let check = Check::error(format!("{file} is not valid"), errors.to_string())
                .hint("nothing else can be checked before; `hexpop config check` says the same");
            // It decides whatever was asked for.
            let topic = only.first().copied().unwrap_or(Topic::Config);
            return Ok(vec![(topic, check)]);
        }
    };
    let Loaded { config, .. } = &loaded;
    let mut checks = vec![(Topic::Config, Check::ok(format!("{file} parses, no unknown keys")))];
    checks.extend(before::checks(&probe::gather(config, only).await));
    Ok(checks)
}

async fn of_running(args: &DoctorArgs) -> CliResult<Vec<(Topic, Check)>> {
    let client = Client::admin(&args.admin)?;
    let begin = Instant::now();
    let ready = client.get_whatever_status("/readyz?verbose").await?;
    let took = begin.elapsed();
    Ok(running::checks(&running::Facts {
        admin: client.base().to_owned(),
        took,
        now_unix_s: probe::unix_seconds(),
        ready,
        status: client.get("/admin/v1/status").await?,
        nodes: client.get("/admin/v1/nodes").await?,
        shards: client.get("/admin/v1/shards").await?,
        breakers: client.get("/admin/v1/breakers").await?,
        config: client.get("/admin/v1/config").await?,
    }))
}
