//! `hexpop bench verify`: whether every session write that was acknowledged is still there.

use std::{fs::File, io::BufReader, path::Path, sync::Arc, time::Duration};

use hexpop_bench::{Ledger, Outcome, Reading, Request, Target as _};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};

use super::{
    super::{
        error::{CliError, CliResult},
        output::{Columns, Format, OutputArgs, grouped, print, print_json},
    },
    target::Targets,
};

/// Sessions read at once.
const AT_ONCE: usize = 16;
/// How long one read may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// How long a session that cannot be read is tried again.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);
/// Lost writes that are listed one by one.
const LISTED_MAX: usize = 100;

/// What was found.
#[derive(Debug, Serialize)]
struct VerifyReport {
    schema: &'static str,
    /// Acknowledged writes in the history.
    acknowledged: u64,
    /// Sessions with one.
    sessions: u64,
    /// Of those, the ones whose last value is not certain: a write of unknown outcome may have taken
    /// effect after it.
    uncertain: u64,
    targets: Vec<TargetRow>,
    /// Reads that contradict the history, the first hundred.
    lost: Vec<LostRow>,
}

#[derive(Debug, Serialize)]
struct TargetRow {
    url: String,
    read: u64,
    lost: u64,
    unreadable: u64,
}

#[derive(Debug, Serialize)]
struct LostRow {
    target: String,
    session: String,
    /// Null: absent.
    found: Option<u64>,
    /// What may have been there; null: nothing.
    expected: Vec<Option<u64>>,
}

pub(super) async fn verify(
    path: &Path,
    bases: &[String],
    token: Option<String>,
    output: OutputArgs,
) -> CliResult {
    let ledger = open(path)?;
    let sessions: Vec<String> = ledger.promised().map(str::to_owned).collect();
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let mut report = VerifyReport {
        schema: "hexpop.bench.verify/1",
        acknowledged: ledger.acknowledged(),
        sessions: count(sessions.len()),
        uncertain: count(sessions.iter().filter(|id| ledger.is_uncertain(id)).count()),
        targets: Vec::new(),
        lost: Vec::new(),
    };
    for base in bases {
        let target = Targets::new(std::slice::from_ref(base), token.clone(), Duration::ZERO)?;
        let mut row = TargetRow { url: base.clone(), read: 0, lost: 0, unreadable: 0 };
        for (session, found) in read_all(Arc::new(target), &sessions).await {
            let Some(found) = found else {
                row.unreadable += 1;
                continue;
            };
            row.read += 1;
            if !ledger.contradicts(&session, found) {
                continue;
            }
            row.lost += 1;
            if report.lost.len() < LISTED_MAX {
                let value = |reading| match reading {
                    Reading::Absent => None,
                    Reading::Value(value) => Some(value),
                };
                let expected = ledger.allowed(&session).into_iter().map(value).collect();
                let found = value(found);
                report.lost.push(LostRow { target: base.clone(), session, found, expected });
            }
        }
        report.targets.push(row);
    }
    show(&report, output)?;
    conclude(&report)
}

fn open(path: &Path) -> CliResult<Ledger> {
    let cannot = |error: &dyn std::error::Error| {
        CliError::failed(format!("cannot read the history {}", path.display())).caused_by(error)
    };
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let ledger = Ledger::read(BufReader::new(file)).map_err(|error| cannot(&error))?;
    let head = ledger.head();
    let began: Timestamp = head.started_at.parse().map_err(|error: jiff::Error| cannot(&error))?;
    let ttl = SignedDuration::from_millis(i64::try_from(head.ttl_ms).unwrap_or(i64::MAX));
    if Timestamp::now().duration_since(began) >= ttl {
        return Err(CliError::failed(format!(
            "the sessions of {} have begun to expire, so nothing can be told from their absence",
            path.display()
        )));
    }
    Ok(ledger)
}

/// Each session with what was read; `None` where nothing could be found out.
async fn read_all(target: Arc<Targets>, sessions: &[String]) -> Vec<(String, Option<Reading>)> {
    let mut found = Vec::with_capacity(sessions.len());
    let mut under_way = JoinSet::new();
    for session in sessions {
        if under_way.len() >= AT_ONCE
            && let Some(Ok(one)) = under_way.join_next().await
        {
            found.push(one);
        }
        let (target, session) = (Arc::clone(&target), session.clone());
        under_way.spawn(async move {
            let reading = read(&target, &session).await;
            (session, reading)
        });
    }
    while let Some(Ok(one)) = under_way.join_next().await {
        found.push(one);
    }
    found
}

async fn read(target: &Targets, session: &str) -> Option<Reading> {
    let until = Instant::now() + PATIENCE;
    let request = Request::SessionRead { id: session.to_owned() };
    loop {
        if let Outcome::Answered(answer) = target.send(&request, DEADLINE).await {
            match answer.status {
                200 => return Some(answer.value.map_or(Reading::Absent, Reading::Value)),
                404 => return Some(Reading::Absent),
                _ => {}
            }
        }
        if Instant::now() >= until {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn show(report: &VerifyReport, output: OutputArgs) -> CliResult {
    if output.output == Format::Json {
        return print_json(report);
    }
    let mut text = format!(
        "{} acknowledged writes to {} sessions; {} of these may hold a later one of unknown outcome\n",
        grouped(report.acknowledged),
        grouped(report.sessions),
        grouped(report.uncertain),
    );
    let heads = [("TARGET", false), ("READ", true), ("LOST", true), ("UNREADABLE", true)];
    let mut columns = Columns::new(&heads, output.no_header);
    for row in &report.targets {
        columns.row([
            row.url.clone(),
            grouped(row.read),
            grouped(row.lost),
            grouped(row.unreadable),
        ]);
    }
    text.push_str(&columns.render());
    for row in &report.lost {
        let say = |value: &Option<u64>| {
            value.map_or_else(|| "nothing".to_owned(), |value| format!("value {value}"))
        };
        let found = say(&row.found);
        let expected: Vec<String> = row.expected.iter().map(say).collect();
        text.push_str(&format!(
            "lost: {} at {}: found {found}, expected {}\n",
            row.session,
            row.target,
            expected.join(" or ")
        ));
    }
    print(&text)
}

fn conclude(report: &VerifyReport) -> CliResult {
    let sum = |of: fn(&TargetRow) -> u64| report.targets.iter().map(of).sum::<u64>();
    let (lost, unreadable) = (sum(|row| row.lost), sum(|row| row.unreadable));
    if lost > 0 {
        Err(CliError::missed(format!("{lost} reads contradict what was acknowledged")))
    } else if unreadable > 0 {
        Err(CliError::failed(format!("{unreadable} sessions could not be read")))
    } else {
        Ok(())
    }
}
