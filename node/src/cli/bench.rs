//! `hexpop bench`: load on a mesh, and whether it kept what it promised.

mod check;
mod sample;
mod target;

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, Subcommand};
use hexpop_bench::{
    Cpu, History, HistoryHead, Limit, Measured, Options, Rate, Report, Requests, SCHEMA, Seen,
    Workload, fill, table,
};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio::time::Instant;

use self::target::Targets;
use super::{
    client::Client,
    error::{CliError, CliResult, Signal},
    mesh::parse_duration,
    output::{Columns, Format, OutputArgs, grouped, print, print_json},
};
use crate::admin_api::NodesReport;

/// Where the mesh is asked for its data ports if none was named.
const ADMIN: &str = "http://127.0.0.1:9080";
/// How long sessions live beyond the end of the run, so that they can be verified.
const SESSION_REST: Duration = Duration::from_secs(3_600);
/// The longest time to live that the sessions API takes.
const TTL_MAX: Duration = Duration::from_secs(2_592_000);
/// The longest run.
const DURATION_MAX: Duration = Duration::from_secs(86_400);

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop bench run browse --rate 2000/s --duration 30s --limit 'p99<5ms'\n  hexpop bench run sessions --target http://127.0.0.1:8080 --history run.jsonl\n  hexpop bench verify run.jsonl --target http://127.0.0.1:8081"
)]
pub(super) struct BenchArgs {
    #[command(flatten)]
    output: OutputArgs,
    #[command(subcommand)]
    command: BenchCommand,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Send a workload open loop and measure the answers.
    Run(Box<RunArgs>),
    /// Read every session of a history back and report acknowledged writes that are lost.
    Verify(VerifyArgs),
    /// The workloads there are.
    List,
    /// The JSON schema of a run's result.
    Schema,
}

/// What is asked.
#[derive(Debug, Clone, Args)]
struct TargetArgs {
    /// A data port; several are used in turn. Without any: those that the admin port names.
    #[arg(long, num_args = 1.., value_name = "URL")]
    target: Vec<String>,
    /// The admin port of any node; its nodes are asked for their processor time.
    #[arg(long, env = "HEXPOP_ADMIN", value_name = "URL")]
    admin: Option<String>,
    /// A file with the bearer token of the sessions API; not needed on loopback without one.
    #[arg(long, env = "HEXPOP_DATA_TOKEN_FILE", value_name = "FILE")]
    data_token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// One of `hexpop bench list`.
    #[arg(value_parser = parse_workload)]
    workload: Workload,
    #[command(flatten)]
    target: TargetArgs,
    /// How many requests fall due, on average; they come as a Poisson process.
    #[arg(long, default_value = "2000/s", value_name = "RATE")]
    rate: Rate,
    /// How long is measured.
    #[arg(long, default_value = "30s", value_parser = parse_duration)]
    duration: Duration,
    /// How long requests are sent before that, and not counted.
    #[arg(long, default_value = "2s", value_parser = parse_duration)]
    warm_up: Duration,
    /// Requests under way at most; what is due beyond that waits, and the wait counts.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    connections: u16,
    /// How long one request may take.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    timeout: Duration,
    /// Different sessions in use.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    sessions: u64,
    /// The same seed asks the same at the same times.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// A limit: `p99<5ms`, `listing.p99<2ms`, `errors<0.1%`, `session-write.gap<1s`, `rate>1900/s`.
    #[arg(long = "limit", value_name = "EXPR")]
    limits: Vec<Limit>,
    /// Write what became of every session call to this file, for `hexpop bench verify` and
    /// `hexpop chaos check`.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// What `hexpop bench run --history` wrote.
    history: PathBuf,
    #[command(flatten)]
    target: TargetArgs,
}

fn parse_workload(name: &str) -> Result<Workload, String> {
    Workload::named(name).ok_or_else(|| {
        let names: Vec<&str> = Workload::ALL.iter().map(|workload| workload.name).collect();
        format!("it is one of {}", names.join(", "))
    })
}

pub(super) fn run(args: BenchArgs) -> CliResult {
    match args.command {
        BenchCommand::List => list(args.output),
        BenchCommand::Schema => print(SCHEMA),
        BenchCommand::Run(run) => super::block_on(load(&run, args.output)),
        BenchCommand::Verify(verify) => super::block_on(async {
            let TargetArgs { data_token_file, .. } = &verify.target;
            let token = read_token(data_token_file.as_deref())?;
            let (bases, _admin) = bases(&verify.target).await?;
            check::verify(&verify.history, &bases, token, args.output).await
        }),
    }
}

fn list(output: OutputArgs) -> CliResult {
    let shares = |workload: &Workload| -> String {
        let shares =
            workload.shares().map(|(class, share)| format!("{} {share:.0} %", class.as_str()));
        shares.collect::<Vec<_>>().join(", ")
    };
    if output.output == Format::Json {
        let rows = Workload::ALL.iter().map(|workload| {
            json!({"name": workload.name, "about": workload.about, "mix": shares(workload)})
        });
        return print_json(&json!({
            "schema": "hexpop.bench.workloads/1",
            "workloads": rows.collect::<Vec<_>>(),
        }));
    }
    let heads = [("WORKLOAD", false), ("MIX", false), ("WHAT IT STANDS FOR", false)];
    let mut columns = Columns::new(&heads, output.no_header);
    for workload in &Workload::ALL {
        columns.row([workload.name.to_owned(), shares(workload), workload.about.to_owned()]);
    }
    print(&columns.render())
}

/// The data ports to ask, and the admin port that named them or was given.
async fn bases(args: &TargetArgs) -> CliResult<(Vec<String>, Option<Client>)> {
    let admin = match (&args.admin, args.target.is_empty()) {
        (None, false) => None,
        (admin, _) => Some(Client::new(admin.as_deref().unwrap_or(ADMIN), None)?),
    };
    if !args.target.is_empty() {
        return Ok((args.target.clone(), admin));
    }
    let mut bases = Vec::new();
    if let Some(admin) = &admin {
        let report: NodesReport = admin.get("/admin/v1/nodes").await?;
        let up = report.nodes.into_iter().filter(|node| node.state == "up");
        bases.extend(up.filter_map(|node| node.http));
    }
    if bases.is_empty() {
        return Err(CliError::failed("no node names its data port").help("name some with --target"));
    }
    Ok((bases, admin))
}

fn read_token(path: Option<&Path>) -> CliResult<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let text = std::fs::read_to_string(path).map_err(|error| {
        CliError::failed(format!("cannot read the token in {}", path.display())).caused_by(&error)
    })?;
    Ok(Some(text.trim().to_owned()))
}

async fn load(args: &RunArgs, output: OutputArgs) -> CliResult {
    if args.duration.is_zero() || args.duration > DURATION_MAX || args.warm_up > DURATION_MAX {
        return Err(CliError::usage("--duration is above 0 and up to 24h, --warm-up up to 24h"));
    }
    if args.timeout.is_zero() {
        return Err(CliError::usage("--timeout is above 0"));
    }
    let (bases, admin) = bases(&args.target).await?;
    let token = read_token(args.target.data_token_file.as_deref())?;
    let ttl = (args.duration + args.warm_up + SESSION_REST).min(TTL_MAX);
    let target = Arc::new(Targets::new(&bases, token, ttl)?);
    let seen = sample::listings(&bases).await?;
    note(&told(&seen, &bases));
    let mut signal = std::pin::pin!(super::demo::wait_for_signal()?);
    let begin = Instant::now();
    let started_at = Timestamp::now();
    let history = args.history.as_deref().map(|path| begin_history(path, started_at, ttl));
    let history = history.transpose()?.map(Arc::new);
    let prefix = format!("bench-{:x}", started_at.as_millisecond());
    let mut requests = Requests::new(args.workload.clone(), seen, args.sessions, prefix, args.seed);
    let writes = requests.fill();
    let failed = tokio::select! {
        failed = fill(&target, writes, args.timeout, history.as_ref(), begin) => failed,
        signal = &mut signal => return Err(CliError::interrupted(signal)),
    };
    if failed > 0 {
        note(&format!(
            "{failed} of {} sessions could not be written before the run",
            args.sessions
        ));
    }
    target.forget_counts();
    let options = Options {
        rate: args.rate,
        duration: args.duration,
        warm_up: args.warm_up,
        connections: args.connections.into(),
        deadline: args.timeout,
        seed: args.seed,
    };
    let (run, cpu, interrupted) =
        measure(&target, requests, &options, history.clone(), begin, admin.as_ref(), signal)
            .await?;
    let mut report = Report::new(&args.workload, &options, started_at.to_string(), &run);
    report.targets = target.reports();
    report.cpu = cpu;
    let kept = report.judge(&args.limits);
    match output.output {
        Format::Json => print_json(&report)?,
        Format::Table => print(&table(&report, output.no_header))?,
    }
    if let Some(history) = history {
        history.finish().map_err(|error| {
            CliError::failed("the history has a gap; do not verify with it").caused_by(&error)
        })?;
    }
    match interrupted {
        Some(signal) => Err(CliError::interrupted(signal)),
        None if !kept => {
            let missed = report.limits.iter().filter(|verdict| !verdict.passed).count();
            Err(CliError::missed(format!("{missed} of {} limits missed", report.limits.len())))
        }
        None => Ok(()),
    }
}

fn told(seen: &[Seen], bases: &[String]) -> String {
    let mut territories: Vec<&str> = seen.iter().map(|one| one.territory.as_str()).collect();
    territories.sort_unstable();
    territories.dedup();
    format!(
        "asking {} for {} listings of {} territories",
        bases.join(", "),
        grouped(u64::try_from(seen.len()).unwrap_or(u64::MAX)),
        territories.len()
    )
}

fn begin_history(path: &Path, started_at: Timestamp, ttl: Duration) -> CliResult<History> {
    let cannot = |error: std::io::Error| {
        CliError::failed(format!("cannot write {}", path.display())).caused_by(&error)
    };
    let head = HistoryHead {
        schema: HistoryHead::SCHEMA.to_owned(),
        started_at: started_at.to_string(),
        ttl_ms: ttl.as_secs().saturating_mul(1_000),
    };
    let file = File::create(path).map_err(cannot)?;
    History::begin(Box::new(file), &head).map_err(cannot)
}

/// The run itself, with the processor time that it took.
async fn measure(
    target: &Arc<Targets>,
    requests: Requests,
    options: &Options,
    history: Option<Arc<History>>,
    begin: Instant,
    admin: Option<&Client>,
    signal: impl Future<Output = Signal>,
) -> CliResult<(Measured, Cpu, Option<Signal>)> {
    let server_before = server_cpu(admin).await;
    let (own_before, first) = (own_cpu(), Instant::now());
    let mut interrupted = None;
    let stop = async { interrupted = Some(signal.await) };
    let run = hexpop_bench::run(target, requests, options, history, begin, stop)
        .await
        .map_err(|error| CliError::failed("the load could not be made").caused_by(&error))?;
    let took = first.elapsed().as_secs_f64().max(f64::MIN_POSITIVE);
    let own = own_cpu() - own_before;
    let server = server_cpu(admin).await.zip(server_before).map(|(after, before)| after - before);
    let cpu = Cpu {
        generator: Some(own / took),
        // A node that was restarted meanwhile counts from 0 again: then nothing is known.
        server: server.filter(|seconds| *seconds >= 0.0).map(|seconds| seconds / took),
    };
    Ok((run, cpu, interrupted))
}

/// Processor time of this process so far, seconds.
fn own_cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Processor time of all nodes so far, seconds; `None` if one does not tell.
async fn server_cpu(admin: Option<&Client>) -> Option<f64> {
    let report: NodesReport = admin?.get("/admin/v1/nodes").await.ok()?;
    let mut sum = 0.0;
    for node in report.nodes.into_iter().filter(|node| node.state == "up") {
        let client = Client::new(&node.admin?, None).ok()?;
        let deadline = Duration::from_secs(5);
        let answer = client
            .send(http::Method::GET, "/metrics", &[], bytes::Bytes::new(), deadline)
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let line = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
        sum += line?.trim().parse::<f64>().ok()?;
    }
    Some(sum)
}

/// A line on stderr.
#[expect(clippy::print_stderr, reason = "progress of a command belongs on stderr")]
fn note(text: &str) {
    eprintln!("{text}");
}
