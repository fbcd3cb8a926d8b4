//! Histories as JSON lines: reading and writing what the module's page describes.

use std::io::{self, BufRead, Read as _, Write as IoWrite};

use serde::{Serialize, de::DeserializeOwned};

use super::{
    line::{
        HeadLine, InitialWord, Kind, LevelWord, OperationLine, OutcomeWord, PositionField, Text,
    },
    operation::{
        Action, Answer, Condition, Head, History, Initial, Level, Operation, Outcome, Position,
        Write,
    },
};

/// The schema of the files that this version reads and writes.
pub const SCHEMA: &str = "hexpop.history/1";

/// A line is no longer.
const LINE_BYTES_MAX: u64 = 1 << 20;
/// A file has no more operations: some 3 GB of them in memory.
const OPERATIONS_MAX: usize = 10_000_000;

/// A file that is no history.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// It could not be read.
    #[error("it cannot be read")]
    Read(#[from] io::Error),
    /// It is empty.
    #[error("it is empty; the first line is {{\"schema\":\"{SCHEMA}\"}}")]
    Empty,
    /// It was written by something else, or another version.
    #[error("line 1: its `schema` is `{found}`, but this version reads `{SCHEMA}`")]
    Schema {
        /// What it says.
        found: String,
    },
    /// A line makes no sense.
    #[error("line {line}: {reason}")]
    Line {
        /// The line, from 1.
        line: usize,
        /// Which field, and what is wrong with it.
        reason: String,
    },
    /// It is too long.
    #[error(
        "line {line}: more than {OPERATIONS_MAX} operations; split the file by `key` and check each part alone"
    )]
    TooLong {
        /// The line.
        line: usize,
    },
}

/// What a file held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recording {
    /// The history; operation `n` is in line `n + 2`.
    pub history: History,
    /// Whether the last line was cut off in the middle, and left out: the recorder was killed.
    pub is_cut: bool,
}

/// Reads a history.
///
/// # Errors
/// [`FormatError`]; it names the line and the field.
pub fn read(mut source: impl BufRead) -> Result<Recording, FormatError> {
    let mut bytes = Vec::new();
    let Some(is_whole) = next_line(&mut source, &mut bytes, 1)? else {
        return Err(FormatError::Empty);
    };
    let head = read_head(&bytes)?;
    let mut recording =
        Recording { history: History { head, operations: Vec::new() }, is_cut: false };
    if !is_whole {
        return Ok(recording);
    }
    for line in 2.. {
        let Some(is_whole) = next_line(&mut source, &mut bytes, line)? else { break };
        let wrong = |reason: String| FormatError::Line { line, reason };
        let operation = parse::<OperationLine>(&bytes);
        match operation {
            // What has no line end may lack more than that.
            Err(_) if !is_whole => {
                recording.is_cut = true;
                break;
            }
            Err(reason) => return Err(wrong(reason)),
            Ok(operation) => {
                if recording.history.operations.len() >= OPERATIONS_MAX {
                    return Err(FormatError::TooLong { line });
                }
                let operation = operation_of(operation).map_err(wrong)?;
                recording.history.operations.push(operation);
            }
        }
    }
    Ok(recording)
}

/// Writes a history.
///
/// # Errors
/// When `out` cannot be written.
pub fn write(history: &History, out: &mut impl IoWrite) -> io::Result<()> {
    write_line(&head_line(&history.head), out)?;
    history.operations.iter().try_for_each(|operation| write_line(&line_of(operation), out))
}

fn write_line(line: &impl Serialize, out: &mut impl IoWrite) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(line)?;
    bytes.push(b'\n');
    out.write_all(&bytes)
}

/// The next line without its end; whether it had one. `None` at the end of the file.
fn next_line(
    source: &mut impl BufRead,
    bytes: &mut Vec<u8>,
    line: usize,
) -> Result<Option<bool>, FormatError> {
    bytes.clear();
    if source.by_ref().take(LINE_BYTES_MAX + 1).read_until(b'\n', bytes)? == 0 {
        return Ok(None);
    }
    let is_whole = bytes.pop_if(|byte| *byte == b'\n').is_some();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if length > LINE_BYTES_MAX {
        let reason = format!("it is longer than {LINE_BYTES_MAX} bytes");
        return Err(FormatError::Line { line, reason });
    }
    Ok(Some(is_whole))
}

/// Reads one line; an error names the field.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = error.path().to_string();
        let reason = error.into_inner();
        // The place in the line is of no use where the field is known.
        let text = reason.to_string();
        let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _place)| text);
        if path == "." { text.to_owned() } else { format!("`{path}`: {text}") }
    })?;
    deserializer.end().map_err(|_error| "there is more behind the object".to_owned())?;
    Ok(value)
}

fn read_head(bytes: &[u8]) -> Result<Head, FormatError> {
    let wrong = |reason| FormatError::Line { line: 1, reason };
    // Whatever else it is, say so before its fields are looked at.
    let any: serde_json::Value = parse(bytes).map_err(wrong)?;
    match any.get("schema").map(|schema| schema.as_str().unwrap_or_default()) {
        Some(SCHEMA) => {}
        Some(found) => {
            return Err(FormatError::Schema { found: found.chars().take(80).collect() });
        }
        None => {
            let reason = format!("`schema` is missing; it is \"{SCHEMA}\"");
            return Err(wrong(reason));
        }
    }
    let line: HeadLine = parse(bytes).map_err(wrong)?;
    let clock_bound_ms = line.clock_bound_ms.unwrap_or(Head::CLOCK_BOUND_MS_DEFAULT);
    Ok(Head {
        started_at: line.started_at,
        ttl_ms: line.ttl_ms,
        clock_bound_ms,
        expiry_slack_ms: line.expiry_slack_ms,
        initial: match line.initial {
            Some(InitialWord::Unknown) => Initial::Unknown,
            Some(InitialWord::Absent) | None => Initial::Absent,
        },
    })
}

/// What may stand in a line of one kind.
struct Allowed {
    key: bool,
    user: bool,
    value: bool,
    version: bool,
    condition: bool,
    life: bool,
    level: bool,
    created: bool,
    not_found: bool,
    conflict: bool,
}

const fn allowed(line: &OperationLine) -> Allowed {
    let ok = matches!(line.outcome, OutcomeWord::Ok);
    let conditional = line.if_match.is_some();
    let none = Allowed {
        key: true,
        user: false,
        value: false,
        version: false,
        condition: false,
        life: false,
        level: false,
        created: false,
        not_found: false,
        conflict: false,
    };
    match line.kind {
        Kind::Create => {
            Allowed { user: true, value: true, version: ok, life: true, conflict: true, ..none }
        }
        Kind::Put => Allowed {
            user: true,
            value: true,
            version: ok,
            condition: true,
            life: true,
            created: ok,
            conflict: conditional,
            ..none
        },
        Kind::Delete => Allowed { condition: true, not_found: true, conflict: conditional, ..none },
        Kind::Touch => Allowed { not_found: true, ..none },
        Kind::Read | Kind::ListingRead => {
            Allowed { value: ok, version: ok, level: true, not_found: true, ..none }
        }
        Kind::EraseUser => Allowed { key: false, user: true, ..none },
        Kind::ListingUpsert => Allowed { value: true, version: true, conflict: true, ..none },
        Kind::ListingDelete => Allowed { version: true, conflict: true, ..none },
    }
}

/// Refuses fields that have no meaning where they stand, and times that cannot be.
fn check(line: &OperationLine) -> Result<(), String> {
    let allowed = allowed(line);
    let outcome = line.outcome;
    let answered =
        matches!(outcome, OutcomeWord::Ok | OutcomeWord::NotFound | OutcomeWord::Conflict);
    let fields = [
        ("key", line.key.is_some(), allowed.key),
        ("user", line.user.is_some(), allowed.user),
        ("value", line.value.is_some(), allowed.value),
        ("version", line.version.is_some(), allowed.version),
        ("ifMatch", line.if_match.is_some(), allowed.condition),
        ("ttlMs", line.ttl_ms.is_some(), allowed.life),
        ("sliding", line.sliding.is_some(), allowed.life),
        ("level", line.level.is_some(), allowed.level),
        ("maxStalenessMs", line.max_staleness_ms.is_some(), allowed.level),
        ("created", line.created.is_some(), allowed.created),
        ("token", line.token.is_some(), answered),
        ("position", line.position.is_some(), answered),
        ("stalenessMs", line.staleness_ms.is_some(), answered && allowed.level),
    ];
    if let Some((name, ..)) = fields.iter().find(|(_name, there, allowed)| *there && !*allowed) {
        return Err(format!("`{name}` has no meaning for this `kind` with this `outcome`"));
    }
    match outcome {
        OutcomeWord::NotFound if !allowed.not_found => {
            Err("`outcome` cannot be not-found for this `kind`".to_owned())
        }
        OutcomeWord::Conflict if !allowed.conflict => {
            Err("`outcome` can be conflict only where there is a condition".to_owned())
        }
        OutcomeWord::Ok | OutcomeWord::NotFound | OutcomeWord::Conflict | OutcomeWord::Refused
            if line.end_us.is_none() =>
        {
            Err("`endUs` is missing; only an unknown `outcome` has no end".to_owned())
        }
        _ if line.end_us.is_some_and(|end| end < line.start_us) => {
            Err("`endUs` is before `startUs`".to_owned())
        }
        _ if line.ttl_ms == Some(0) => Err("`ttlMs` is at least 1".to_owned()),
        _ => Ok(()),
    }
}

fn operation_of(mut line: OperationLine) -> Result<Operation, String> {
    check(&line)?;
    let missing = |name: &str| format!("`{name}` is missing");
    let is_listing_write = matches!(line.kind, Kind::ListingUpsert | Kind::ListingDelete);
    let is_read = matches!(line.kind, Kind::Read | Kind::ListingRead);
    let number = match (&line.version, line.kind) {
        (Some(version), Kind::ListingUpsert | Kind::ListingDelete | Kind::ListingRead) => {
            let number = version.clone().into_string().parse::<u64>();
            Some(number.map_err(|_error| "`version` of a listing is an integer".to_owned())?)
        }
        _ => None,
    };
    let value = line.value.take().map(Text::into_string);
    let version = match number {
        Some(number) => Some(number.to_string()),
        None => line.version.take().map(Text::into_string),
    };
    let answer = Answer {
        value: value.clone().filter(|_value| is_read),
        version: version.filter(|_version| !is_listing_write),
        created: line.created,
        token: line.token.take(),
        position: line.position.map(|PositionField { shard, index }| Position { shard, index }),
        staleness_ms: line.staleness_ms,
    };
    let client = line.client.take().map_or_else(|| "-".to_owned(), Text::into_string);
    let (start_us, end_us, outcome) = (line.start_us, line.end_us, line.outcome);
    let sent_token = line.sent_token.take();
    let action = action_of(line, value, number, missing)?;
    let outcome = match outcome {
        OutcomeWord::Ok => Outcome::Ok,
        OutcomeWord::NotFound => Outcome::NotFound,
        OutcomeWord::Conflict => Outcome::Conflict,
        OutcomeWord::Refused => Outcome::Refused,
        OutcomeWord::Unknown => Outcome::Unknown,
    };
    Ok(Operation { client, start_us, end_us, action, outcome, sent_token, answer })
}

fn action_of(
    line: OperationLine,
    value: Option<String>,
    number: Option<u64>,
    missing: impl Fn(&str) -> String,
) -> Result<Action, String> {
    if line.kind == Kind::EraseUser {
        return Ok(Action::EraseUser { user: line.user.ok_or_else(|| missing("user"))? });
    }
    let level = level_of(&line, &missing)?;
    let key = line.key.ok_or_else(|| missing("key"))?;
    let condition = line.if_match.map(Text::into_string).map(|text| match text.as_str() {
        "*" => Condition::Exists,
        _ => Condition::Version(text),
    });
    let (ttl_ms, sliding, user) = (line.ttl_ms, line.sliding.unwrap_or_default(), line.user);
    let write = |value: String| Write { value, ttl_ms, sliding, user };
    let value = || value.ok_or_else(|| missing("value"));
    let version = || number.ok_or_else(|| missing("version"));
    Ok(match line.kind {
        Kind::Create => Action::Create { key, write: write(value()?) },
        Kind::Put => Action::Put { key, write: write(value()?), condition },
        Kind::Delete => Action::Delete { key, condition },
        Kind::Touch => Action::Touch { key },
        Kind::Read | Kind::EraseUser => Action::Read { key, level },
        Kind::ListingUpsert => Action::ListingUpsert { key, version: version()?, value: value()? },
        Kind::ListingDelete => Action::ListingDelete { key, version: version()? },
        Kind::ListingRead => Action::ListingRead { key, level },
    })
}

/// The level that a read asked for; without one, that of the API.
fn level_of(line: &OperationLine, missing: impl Fn(&str) -> String) -> Result<Level, String> {
    let bounded = line.level == Some(LevelWord::Bounded);
    if line.max_staleness_ms.is_some() && !bounded {
        return Err("`maxStalenessMs` has a meaning only with the `level` bounded".to_owned());
    }
    Ok(match (line.level, line.kind) {
        (Some(LevelWord::Bounded), _) => {
            let max_staleness_ms =
                line.max_staleness_ms.ok_or_else(|| missing("maxStalenessMs"))?;
            Level::Bounded { max_staleness_ms }
        }
        (Some(LevelWord::Eventual), _) | (None, Kind::ListingRead) => Level::Eventual,
        (Some(LevelWord::Strong) | None, _) => Level::Strong,
    })
}

fn head_line(head: &Head) -> HeadLine {
    HeadLine {
        schema: SCHEMA.to_owned(),
        started_at: head.started_at.clone(),
        ttl_ms: head.ttl_ms,
        clock_bound_ms: Some(head.clock_bound_ms),
        expiry_slack_ms: head.expiry_slack_ms,
        initial: (head.initial == Initial::Unknown).then_some(InitialWord::Unknown),
        note: None,
    }
}

fn line_of(operation: &Operation) -> OperationLine {
    let answer = &operation.answer;
    let text = |text: &String| Text::Text(text.clone());
    let outcome = match operation.outcome {
        Outcome::Ok => OutcomeWord::Ok,
        Outcome::NotFound => OutcomeWord::NotFound,
        Outcome::Conflict => OutcomeWord::Conflict,
        Outcome::Refused => OutcomeWord::Refused,
        Outcome::Unknown => OutcomeWord::Unknown,
    };
    let mut line = OperationLine {
        kind: Kind::Touch,
        client: Some(Text::Text(operation.client.clone())),
        start_us: operation.start_us,
        end_us: operation.end_us,
        key: None,
        user: None,
        value: answer.value.as_ref().map(text),
        version: answer.version.as_ref().map(text),
        if_match: None,
        ttl_ms: None,
        sliding: None,
        level: None,
        max_staleness_ms: None,
        sent_token: operation.sent_token.clone(),
        outcome,
        created: answer.created,
        token: answer.token.clone(),
        position: answer.position.map(|Position { shard, index }| PositionField { shard, index }),
        staleness_ms: answer.staleness_ms,
        note: None,
    };
    line.ask(&operation.action);
    line
}

impl OperationLine {
    /// Fills in what was asked.
    fn ask(&mut self, action: &Action) {
        let (kind, key) = match action {
            Action::Create { key, .. } => (Kind::Create, Some(key)),
            Action::Put { key, .. } => (Kind::Put, Some(key)),
            Action::Delete { key, .. } => (Kind::Delete, Some(key)),
            Action::Touch { key } => (Kind::Touch, Some(key)),
            Action::Read { key, .. } => (Kind::Read, Some(key)),
            Action::EraseUser { .. } => (Kind::EraseUser, None),
            Action::ListingUpsert { key, .. } => (Kind::ListingUpsert, Some(key)),
            Action::ListingDelete { key, .. } => (Kind::ListingDelete, Some(key)),
            Action::ListingRead { key, .. } => (Kind::ListingRead, Some(key)),
        };
        self.kind = kind;
        self.key = key.cloned();
        match action {
            Action::Create { write, .. } => self.write(write),
            Action::Put { write, condition, .. } => {
                self.write(write);
                self.require(condition.as_ref());
            }
            Action::Delete { condition, .. } => self.require(condition.as_ref()),
            Action::Touch { .. } => {}
            Action::Read { level, .. } | Action::ListingRead { level, .. } => {
                let (word, ms) = match *level {
                    Level::Strong => (LevelWord::Strong, None),
                    Level::Bounded { max_staleness_ms } => {
                        (LevelWord::Bounded, Some(max_staleness_ms))
                    }
                    Level::Eventual => (LevelWord::Eventual, None),
                };
                self.level = Some(word);
                self.max_staleness_ms = ms;
            }
            Action::EraseUser { user } => self.user = Some(user.clone()),
            Action::ListingUpsert { version, value, .. } => {
                self.version = Some(Text::Number(*version));
                self.value = Some(Text::Text(value.clone()));
            }
            Action::ListingDelete { version, .. } => self.version = Some(Text::Number(*version)),
        }
    }

    fn write(&mut self, write: &Write) {
        self.value = Some(Text::Text(write.value.clone()));
        self.ttl_ms = write.ttl_ms;
        self.sliding = write.sliding.then_some(true);
        self.user.clone_from(&write.user);
    }

    fn require(&mut self, condition: Option<&Condition>) {
        self.if_match = condition.map(|condition| match condition {
            Condition::Exists => Text::Text("*".to_owned()),
            Condition::Version(version) => Text::Text(version.clone()),
        });
    }
}
