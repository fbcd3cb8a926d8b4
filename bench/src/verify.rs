//! Whether acknowledged session writes are still there: what a history allows a later read to find.
//! Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead},
};

use serde::Deserialize;

use crate::history::{HistoryHead, Known};

/// A history that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It could not be read.
    #[error("the history cannot be read")]
    Read(#[from] io::Error),
    /// Its first line is not a head of `hexpop bench run`.
    #[error("line 1 does not begin a history of `hexpop bench run`, with `startedAt` and `ttlMs`")]
    Head(#[source] serde_json::Error),
    /// It is empty.
    #[error("the history is empty")]
    Empty,
    /// It was written by another version.
    #[error("this is a `{found}`, but this version reads `{}`", HistoryHead::SCHEMA)]
    Schema {
        /// What it is.
        found: String,
    },
    /// A line is no call on a session.
    #[error("line {line} is not a call on a session as `hexpop bench run` records them")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Why not.
        source: serde_json::Error,
    },
}

/// What a first line of any version says.
#[derive(Debug, Deserialize)]
struct Schema {
    schema: String,
}

/// As much of a line as is looked at. Others than these are refused: they too may end what was
/// promised, and that is for `hexpop chaos check`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum Line {
    Put(Write),
    Create(Write),
    Delete(Write),
    Read {},
}

/// One session write: of a value, or of its absence.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Write {
    start_us: u64,
    #[serde(default = "never")]
    end_us: u64,
    key: String,
    #[serde(default)]
    value: Option<u64>,
    outcome: Known,
}

impl Write {
    /// What a read finds after it.
    fn leaves(&self) -> Reading {
        self.value.map_or(Reading::Absent, Reading::Value)
    }
}

const fn never() -> u64 {
    u64::MAX
}

/// What a read found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reading {
    /// The session is absent, or not what the run wrote.
    Absent,
    /// The session holds this value.
    Value(u64),
}

/// All session writes of a run, by session.
#[derive(Debug)]
pub struct Ledger {
    head: HistoryHead,
    writes: BTreeMap<String, Vec<Write>>,
}

impl Ledger {
    /// Reads a history. An unfinished last line (the generator was killed) is left out.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn read(source: impl BufRead) -> Result<Self, LedgerError> {
        let mut lines = source.split(b'\n').enumerate().peekable();
        let (_number, first) = lines.next().ok_or(LedgerError::Empty)?;
        let first = first?;
        let Schema { schema } = serde_json::from_slice(&first).map_err(LedgerError::Head)?;
        if schema != HistoryHead::SCHEMA {
            return Err(LedgerError::Schema { found: schema });
        }
        let head: HistoryHead = serde_json::from_slice(&first).map_err(LedgerError::Head)?;
        let mut writes: BTreeMap<String, Vec<Write>> = BTreeMap::new();
        while let Some((index, line)) = lines.next() {
            match serde_json::from_slice::<Line>(&line?) {
                Ok(Line::Put(write) | Line::Create(write) | Line::Delete(write)) => {
                    writes.entry(write.key.clone()).or_default().push(write);
                }
                Ok(Line::Read {}) => {}
                Err(error) if error.is_eof() && lines.peek().is_none() => {}
                Err(source) => return Err(LedgerError::Line { line: index + 1, source }),
            }
        }
        Ok(Self { head, writes })
    }

    /// Its first line.
    #[must_use]
    pub const fn head(&self) -> &HistoryHead {
        &self.head
    }

    /// How many writes were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> u64 {
        let all = self.writes.values().flatten();
        all.map(|write| u64::from(write.outcome == Known::Ok)).sum()
    }

    /// The sessions of which something is promised: those with an acknowledged write.
    pub fn promised(&self) -> impl Iterator<Item = &str> {
        self.writes
            .iter()
            .filter(|(_id, writes)| writes.iter().any(is_acknowledged))
            .map(|(id, _writes)| id.as_str())
    }

    /// Whether the last acknowledged write of a session was followed, or may be overtaken, by one of
    /// which nothing is known, so that a read may find either.
    #[must_use]
    pub fn is_uncertain(&self, id: &str) -> bool {
        let writes = self.of(id);
        let allowed = self.allowed(id);
        writes
            .iter()
            .any(|write| write.outcome == Known::Unknown && allowed.contains(&write.leaves()))
    }

    /// What a linearizable register may hold after this history: what those writes left that no
    /// acknowledged write wholly followed. A write of unknown outcome may take effect at any time
    /// after its begin.
    #[must_use]
    pub fn allowed(&self, id: &str) -> BTreeSet<Reading> {
        let writes = self.of(id);
        let last_begin =
            writes.iter().filter(|write| is_acknowledged(write)).map(|write| write.start_us).max();
        writes
            .iter()
            .filter(|write| match write.outcome {
                Known::Ok => last_begin.is_none_or(|begin| write.end_us >= begin),
                Known::Unknown => true,
                // Whoever found nothing to delete changed nothing.
                Known::NotFound | Known::Refused | Known::Conflict => false,
            })
            .map(Write::leaves)
            .collect()
    }

    /// Whether what a read found after the run cannot be: an acknowledged write was lost, or a refused
    /// one took effect. A value that is in no line (its write was under way when the generator was
    /// killed) contradicts nothing.
    #[must_use]
    pub fn contradicts(&self, id: &str, found: Reading) -> bool {
        match found {
            Reading::Absent => {
                self.of(id).iter().any(is_acknowledged) && !self.allowed(id).contains(&found)
            }
            Reading::Value(_) => {
                self.of(id).iter().any(|write| write.leaves() == found)
                    && !self.allowed(id).contains(&found)
            }
        }
    }

    fn of(&self, id: &str) -> &[Write] {
        self.writes.get(id).map_or(&[], Vec::as_slice)
    }
}

fn is_acknowledged(write: &Write) -> bool {
    write.outcome == Known::Ok
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{
        Kind,
        Known::{Ok as Acknowledged, Refused, Unknown},
        Record,
    };

    const HEAD: &str =
        r#"{"schema":"hexpop.history/1","startedAt":"2026-01-01T00:00:00Z","ttlMs":60000}"#;

    /// Puts of values, and deletes, which have the value 0.
    fn ledger(writes: &[(u64, u64, u64, Known)]) -> Ledger {
        let mut text = HEAD.to_owned();
        for (start_us, end_us, value, outcome) in writes {
            let record = Record {
                kind: if *value > 0 { Kind::Put } else { Kind::Delete },
                client: 1,
                start_us: *start_us,
                end_us: *end_us,
                key: "s".into(),
                value: (*value > 0).then_some(*value),
                outcome: *outcome,
                version: None,
                if_match: None,
                created: None,
            };
            text.push('\n');
            text.push_str(&serde_json::to_string(&record).unwrap());
        }
        Ledger::read(text.as_bytes()).unwrap()
    }

    #[test]
    fn the_last_acknowledged_write_must_be_found() {
        let ledger =
            ledger(&[(0, 1, 1, Acknowledged), (2, 3, 2, Acknowledged), (4, 5, 3, Refused)]);
        assert_eq!(ledger.acknowledged(), 2);
        assert_eq!(ledger.promised().collect::<Vec<_>>(), ["s"]);
        assert!(!ledger.contradicts("s", Reading::Value(2)));
        assert!(ledger.contradicts("s", Reading::Value(1)), "overwritten");
        assert!(ledger.contradicts("s", Reading::Value(3)), "refused, yet applied");
        assert!(ledger.contradicts("s", Reading::Absent));
        assert!(!ledger.is_uncertain("s"));
    }

    #[test]
    fn an_unknown_write_may_take_effect_at_any_later_time() {
        let ledger = ledger(&[(0, 1, 1, Unknown), (2, 3, 2, Acknowledged), (4, 5, 3, Unknown)]);
        for value in [1, 2, 3] {
            assert!(!ledger.contradicts("s", Reading::Value(value)), "{value}");
        }
        assert!(ledger.contradicts("s", Reading::Absent));
        assert!(ledger.is_uncertain("s"));
    }

    #[test]
    fn concurrent_writes_may_end_in_any_order() {
        let ledger = ledger(&[(0, 10, 1, Acknowledged), (5, 6, 2, Acknowledged)]);
        assert!(!ledger.contradicts("s", Reading::Value(1)));
        assert!(!ledger.contradicts("s", Reading::Value(2)));
        assert!(!ledger.contradicts("s", Reading::Value(9)), "a write that no line tells of");
    }

    #[test]
    fn a_deleted_session_may_be_absent_and_must_be_when_nothing_followed() {
        let deleted = ledger(&[(0, 1, 1, Acknowledged), (2, 3, 0, Acknowledged)]);
        assert!(!deleted.contradicts("s", Reading::Absent));
        assert!(deleted.contradicts("s", Reading::Value(1)), "resurrected");
        let written = ledger(&[(0, 1, 0, Acknowledged), (2, 3, 1, Acknowledged)]);
        assert!(written.contradicts("s", Reading::Absent));
        let may_be = ledger(&[(0, 1, 1, Acknowledged), (2, 3, 0, Unknown)]);
        assert!(!may_be.contradicts("s", Reading::Absent));
        assert!(!may_be.contradicts("s", Reading::Value(1)));
        assert!(may_be.is_uncertain("s"));
    }

    #[test]
    fn nothing_is_promised_without_an_acknowledgement() {
        let ledger = ledger(&[(0, 1, 1, Unknown)]);
        assert_eq!(ledger.promised().count(), 0);
        assert!(!ledger.contradicts("s", Reading::Absent));
    }

    #[test]
    fn a_cut_last_line_is_left_out_and_others_are_named() {
        let whole = r#"{"kind":"put","startUs":1,"endUs":2,"key":"s","value":3,"outcome":"ok","version":"1"}"#;
        let cut = format!("{HEAD}\n{whole}\n{}", &whole[..40]);
        assert_eq!(Ledger::read(cut.as_bytes()).unwrap().acknowledged(), 1);
        let wrong = format!("{HEAD}\n{{}}\n{whole}\n");
        assert!(matches!(Ledger::read(wrong.as_bytes()), Err(LedgerError::Line { line: 2, .. })));
        assert!(matches!(Ledger::read(&b""[..]), Err(LedgerError::Empty)));
        assert!(matches!(Ledger::read(&b"x"[..]), Err(LedgerError::Head(_))));
        let read = r#"{"kind":"read","startUs":1,"endUs":2,"key":"s","outcome":"not-found"}"#;
        let ledger = Ledger::read(format!("{HEAD}\n{whole}\n{read}\n").as_bytes()).unwrap();
        assert_eq!(ledger.acknowledged(), 1);
        let erase = read.replace("read", "erase-user");
        let foreign = Ledger::read(format!("{HEAD}\n{erase}\n").as_bytes());
        assert!(matches!(foreign, Err(LedgerError::Line { line: 2, .. })));
        let earlier = r#"{"schema":"hexpop.bench.history/1","ttlSeconds":60}"#;
        assert!(matches!(Ledger::read(earlier.as_bytes()), Err(LedgerError::Schema { .. })));
        let other = HEAD.replace("history/1", "history/9");
        assert!(matches!(Ledger::read(other.as_bytes()), Err(LedgerError::Schema { .. })));
    }
}
