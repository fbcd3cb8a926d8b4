//! Bringing lines of listings into a mesh through its ingest API: in batches, several at once, with
//! what the mesh could not take just now sent again.

mod collection;

use std::{
    collections::{BTreeMap, VecDeque},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::{StreamExt as _, stream::FuturesUnordered};
use hexpop_bench::dataset::files::{LineError, Lines, open_lines};
use hexpop_shard::{ListingFormat, Word as _};
use http::{Method, StatusCode};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Deserialize, Serialize};

use super::{
    client::Client,
    error::{CliError, CliResult},
};

/// Rejected lines that the report names; the rest are counted.
const REJECTED_KEPT: usize = 1_000;

/// How lines are sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImportOptions {
    /// How the lines are written; the node that takes them in reads them so.
    pub(super) format: ListingFormat,
    /// Batches under way at once.
    pub(super) concurrency: usize,
    /// Lines in a batch at most.
    pub(super) batch_lines: usize,
    /// Bytes in a batch at most, unless a single line is larger.
    pub(super) batch_bytes: usize,
    /// How long a line is tried that the mesh cannot take just now.
    pub(super) patience: Duration,
    /// Whether these lines are all there is, so that the mesh may answer from them alone.
    pub(super) complete: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            format: ListingFormat::Native,
            concurrency: 4,
            batch_lines: 1_000,
            batch_bytes: 1 << 20,
            patience: Duration::from_secs(60),
            complete: false,
        }
    }
}

/// What became of the lines.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Lines read.
    pub(super) lines: u64,
    /// Lines that changed the mesh.
    pub(super) accepted: u64,
    /// Lines that it had already, or in a newer version.
    pub(super) ignored: u64,
    /// Lines that it refused.
    pub(super) rejected_total: u64,
    /// The first of them.
    pub(super) rejected: Vec<Rejected>,
    /// How long it took, seconds.
    pub(super) seconds: f64,
}

/// A line that was refused.
#[derive(Debug, Serialize)]
pub(super) struct Rejected {
    /// The file.
    pub(super) file: String,
    /// The line, from 1.
    pub(super) line: u64,
    /// Why.
    pub(super) error: String,
}

/// One line and where it came from.
#[derive(Debug, Clone)]
pub(super) struct Line {
    /// The file, or what stands for it.
    pub(super) file: std::sync::Arc<str>,
    /// The line, from 1.
    pub(super) number: u64,
    /// Its text without the line end.
    pub(super) text: Bytes,
}

/// A source of lines. An error is a line that cannot be read; reading goes on after it if it may.
pub(super) type Source<'a> = Box<dyn Iterator<Item = CliResult<Result<Line, Rejected>>> + 'a>;

/// All lines of `files`, in order. RESO records may also come as `OData` collections: each record is
/// a line then, and they are counted.
pub(super) fn lines_of(files: &[PathBuf], format: ListingFormat) -> Source<'_> {
    Box::new(files.iter().flat_map(move |path| {
        let opened = match format {
            ListingFormat::Native => open_lines(path).map(|lines| from_lines(lines, path)),
            ListingFormat::Reso => collection::open(path),
        };
        opened.unwrap_or_else(|error| Box::new(std::iter::once(Err(cannot_read(path, &error)))))
    }))
}

fn from_lines(lines: Lines, path: &Path) -> Source<'_> {
    let file: std::sync::Arc<str> = path.display().to_string().into();
    Box::new(lines.map(move |line| match line {
        Ok((number, text)) => Ok(Ok(Line { file: file.clone(), number, text: text.into() })),
        Err(error) if error.is_skippable() => {
            Ok(Err(Rejected { file: file.to_string(), line: error.line(), error: skipped(&error) }))
        }
        Err(error) => Err(cannot_read(path, &error)),
    }))
}

fn skipped(error: &LineError) -> String {
    match error {
        LineError::TooLong { bytes_max, .. } => format!("longer than {bytes_max} bytes"),
        LineError::Read { source, .. } => source.to_string(),
    }
}

fn cannot_read(path: &Path, error: &dyn std::error::Error) -> CliError {
    CliError::failed(format!("cannot read {}", path.display())).caused_by(error)
}

/// A bar on a terminal; nothing elsewhere.
pub(super) fn progress_bar(total: Option<u64>) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = if total.is_some() {
        "{spinner} {human_pos} of {human_len} listings  {per_sec}  {bar:30}"
    } else {
        "{spinner} {human_pos} listings  {per_sec}  {elapsed}"
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// The answer to one batch.
#[derive(Debug, Deserialize)]
struct Outcome {
    accepted: u64,
    ignored: u64,
    rejected: Vec<RejectedLine>,
}

#[derive(Debug, Deserialize)]
struct RejectedLine {
    /// From 1, in the batch.
    line: u64,
    error: String,
    #[serde(default)]
    retryable: bool,
}

/// Lines that are sent together.
#[derive(Debug, Default)]
struct Batch {
    lines: Vec<Line>,
    bytes: usize,
    /// When the first try failed.
    failing_since: Option<Instant>,
}

/// Sends all lines of `source` to the nodes in turn.
///
/// # Errors
/// When a file cannot be read, or no node takes lines for longer than the patience. What was
/// acknowledged until then stays; repeating the import is harmless.
pub(super) async fn run(
    source: Source<'_>,
    nodes: &[Client],
    options: &ImportOptions,
    bar: &ProgressBar,
) -> CliResult<Report> {
    let begin = Instant::now();
    let mut report = Report::default();
    let mut source = source.fuse();
    let mut again: VecDeque<Batch> = VecDeque::new();
    let mut under_way = FuturesUnordered::new();
    let mut turn = 0_usize;
    loop {
        while under_way.len() < options.concurrency {
            let next = match again.pop_front() {
                Some(batch) => Some(batch),
                None => next_batch(&mut source, options, &mut report)?,
            };
            let Some(batch) = next else { break };
            let Some(node) = nodes.get(turn % nodes.len().max(1)) else {
                return Err(CliError::usage("no node to send the listings to"));
            };
            turn += 1;
            under_way.push(send(node, options.format, batch));
        }
        let Some((batch, answer)) = under_way.next().await else { break };
        let sent = batch.lines.len();
        if let Some(left) = digest(batch, answer, options, &mut report)? {
            bar.inc((sent - left.lines.len()) as u64);
            again.push_back(left);
        } else {
            bar.inc(sent as u64);
        }
    }
    if options.complete {
        mark_complete(nodes, options).await?;
    }
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

/// Says that the mesh has all listings there are.
async fn mark_complete(nodes: &[Client], options: &ImportOptions) -> CliResult {
    let begin = Instant::now();
    loop {
        let mut last = None;
        for node in nodes {
            let answer = node
                .send(
                    Method::POST,
                    "/admin/v1/ingest?complete=true",
                    &[("content-type", "application/x-ndjson")],
                    Bytes::new(),
                    Duration::from_secs(30),
                )
                .await;
            match answer {
                Ok(answer) if answer.status.is_success() => return Ok(()),
                Ok(answer) => last = Some(answer.problem()),
                Err(error) => last = Some(error),
            }
        }
        if begin.elapsed() > options.patience {
            return Err(last.unwrap_or_else(|| CliError::usage("no node to send the listings to")));
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
}

fn next_batch(
    source: &mut std::iter::Fuse<Source<'_>>,
    options: &ImportOptions,
    report: &mut Report,
) -> CliResult<Option<Batch>> {
    let mut batch = Batch::default();
    while batch.lines.len() < options.batch_lines && batch.bytes < options.batch_bytes {
        let Some(line) = source.next() else { break };
        report.lines += 1;
        match line? {
            Ok(line) => {
                batch.bytes += line.text.len() + 1;
                batch.lines.push(line);
            }
            Err(rejected) => reject(report, rejected),
        }
    }
    Ok((!batch.lines.is_empty()).then_some(batch))
}

fn reject(report: &mut Report, rejected: Rejected) {
    report.rejected_total += 1;
    if report.rejected.len() < REJECTED_KEPT {
        report.rejected.push(rejected);
    }
}

async fn send(
    node: &Client,
    format: ListingFormat,
    batch: Batch,
) -> (Batch, CliResult<Result<Outcome, String>>) {
    if batch.failing_since.is_some() {
        // The mesh is electing, or the node is gone: give it a moment before the next try.
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let mut body = Vec::with_capacity(batch.bytes);
    for line in &batch.lines {
        body.extend_from_slice(&line.text);
        body.push(b'\n');
    }
    let answer = node
        .send(
            Method::POST,
            &format!("/admin/v1/ingest?format={}", format.as_str()),
            &[("content-type", "application/x-ndjson")],
            body.into(),
            Duration::from_secs(60),
        )
        .await;
    let outcome = match answer {
        Err(error) => Ok(Err(error.to_string())),
        Ok(answer) if is_passing(answer.status) => Ok(Err(answer.problem().to_string())),
        Ok(answer) => answer.json().map(Ok),
    };
    (batch, outcome)
}

/// Whether the same request may be taken later.
const fn is_passing(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
            | StatusCode::TOO_MANY_REQUESTS
    )
}

/// Counts what became of a batch; what may succeed later comes back.
fn digest(
    batch: Batch,
    answer: CliResult<Result<Outcome, String>>,
    options: &ImportOptions,
    report: &mut Report,
) -> CliResult<Option<Batch>> {
    let since = batch.failing_since;
    let out_of_patience = since.is_some_and(|since: Instant| since.elapsed() > options.patience);
    match answer? {
        Err(cause) if out_of_patience => Err(CliError::failed("the mesh takes no listings")
            .cause(cause)
            .help("`hexpop status` says what is wrong; importing again later is harmless")),
        Err(_passing) => {
            Ok(Some(Batch { failing_since: since.or_else(|| Some(Instant::now())), ..batch }))
        }
        Ok(outcome) => {
            report.accepted += outcome.accepted;
            report.ignored += outcome.ignored;
            let mut retry = BTreeMap::new();
            for rejected in outcome.rejected {
                let line = usize::try_from(rejected.line)
                    .ok()
                    .and_then(|number| batch.lines.get(number.checked_sub(1)?));
                let Some(line) = line else { continue };
                if rejected.retryable && !out_of_patience {
                    retry.insert(rejected.line, line.clone());
                } else {
                    reject(
                        report,
                        Rejected {
                            file: line.file.to_string(),
                            line: line.number,
                            error: rejected.error,
                        },
                    );
                }
            }
            if retry.is_empty() {
                return Ok(None);
            }
            let lines: Vec<Line> = retry.into_values().collect();
            let bytes = lines.iter().map(|line| line.text.len() + 1).sum();
            Ok(Some(Batch { lines, bytes, failing_since: since.or_else(|| Some(Instant::now())) }))
        }
    }
}
