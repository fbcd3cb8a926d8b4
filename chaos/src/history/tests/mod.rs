//! The checker against histories that are known to be right or wrong, and against an enumeration of
//! all orders.

mod format;
mod known;
mod oracle;
mod random;

use std::sync::atomic::AtomicBool;

use super::*;

/// A history whose clocks agree and whose sessions do not expire unless their write says so.
fn history(operations: Vec<Operation>) -> History {
    let head = Head { clock_bound_ms: 0, ..Head::default() };
    History { head, operations }
}

fn checked(history: &History) -> Report {
    check(history, &Options::default(), &AtomicBool::new(false))
}

/// The one violation of a history.
fn violation(history: &History) -> Violation {
    let report = checked(history);
    assert_eq!((report.verdict(), report.violated), (Verdict::Violated, 1), "{report:?}");
    report.violations.into_iter().next().unwrap()
}

fn holds(history: &History) {
    let report = checked(history);
    let told: Vec<String> = report.violations.iter().map(ToString::to_string).collect();
    assert_eq!(report.verdict(), Verdict::Holds, "{}", told.join("\n"));
    assert_eq!(report.held, report.keys);
}

/// An operation on session `s` from `start` to `end`, milliseconds.
fn op(start_ms: u64, end_ms: u64, action: Action) -> Operation {
    Operation {
        client: "c".into(),
        start_us: start_ms * 1_000,
        end_us: Some(end_ms * 1_000),
        action,
        outcome: Outcome::Ok,
        sent_token: None,
        answer: Answer::default(),
    }
}

fn key() -> String {
    "it-lazio.s".into()
}

fn write(value: &str) -> Write {
    Write { value: value.into(), ..Write::default() }
}

fn put(start_ms: u64, end_ms: u64, value: &str) -> Operation {
    op(start_ms, end_ms, Action::Put { key: key(), write: write(value), condition: None })
}

fn put_living(start_ms: u64, end_ms: u64, value: &str, ttl_ms: u64) -> Operation {
    let write = Write { ttl_ms: Some(ttl_ms), ..write(value) };
    op(start_ms, end_ms, Action::Put { key: key(), write, condition: None })
}

fn create(start_ms: u64, end_ms: u64, value: &str) -> Operation {
    op(start_ms, end_ms, Action::Create { key: key(), write: write(value) })
}

fn cas(start_ms: u64, end_ms: u64, value: &str, version: &str) -> Operation {
    let condition = Some(Condition::Version(version.into()));
    op(start_ms, end_ms, Action::Put { key: key(), write: write(value), condition })
}

fn delete(start_ms: u64, end_ms: u64) -> Operation {
    op(start_ms, end_ms, Action::Delete { key: key(), condition: None })
}

fn read_at(start_ms: u64, end_ms: u64, level: Level, found: Option<&str>) -> Operation {
    let read = op(start_ms, end_ms, Action::Read { key: key(), level });
    match found {
        Some(value) => {
            Operation { answer: Answer { value: Some(value.into()), ..read.answer }, ..read }
        }
        None => Operation { outcome: Outcome::NotFound, ..read },
    }
}

fn read(start_ms: u64, end_ms: u64, found: Option<&str>) -> Operation {
    read_at(start_ms, end_ms, Level::Strong, found)
}

fn with(operation: Operation, outcome: Outcome) -> Operation {
    Operation { outcome, ..operation }
}

/// An operation that was never answered.
fn lost(operation: Operation) -> Operation {
    Operation { outcome: Outcome::Unknown, end_us: None, ..operation }
}

fn version(operation: Operation, version: &str) -> Operation {
    let answer = Answer { version: Some(version.into()), ..operation.answer };
    Operation { answer, ..operation }
}

fn by(client: &str, operation: Operation) -> Operation {
    Operation { client: client.into(), ..operation }
}

/// An answer with a token.
fn token(operation: Operation, token: &str) -> Operation {
    let answer = Answer { token: Some(token.into()), ..operation.answer };
    Operation { answer, ..operation }
}

/// A request with a token.
fn sent(operation: Operation, token: &str) -> Operation {
    Operation { sent_token: Some(token.into()), ..operation }
}

fn upsert(start_ms: u64, end_ms: u64, version: u64) -> Operation {
    let value = format!("v{version}");
    op(start_ms, end_ms, Action::ListingUpsert { key: "l".into(), version, value })
}

fn bury(start_ms: u64, end_ms: u64, version: u64) -> Operation {
    op(start_ms, end_ms, Action::ListingDelete { key: "l".into(), version })
}

fn look(start_ms: u64, end_ms: u64, level: Level, found: Option<u64>) -> Operation {
    let read = op(start_ms, end_ms, Action::ListingRead { key: "l".into(), level });
    match found {
        Some(version) => {
            let answer = Answer {
                value: Some(format!("v{version}")),
                version: Some(version.to_string()),
                ..read.answer
            };
            Operation { answer, ..read }
        }
        None => with(read, Outcome::NotFound),
    }
}
