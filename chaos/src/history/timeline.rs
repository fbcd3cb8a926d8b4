//! A violation as text: what was promised, and who saw what when.

use std::fmt;

use super::{
    operation::{Action, Condition, Level, Operation, Outcome},
    report::{Role, Violation, Witness},
};

/// Columns of the drawing at most.
const COLUMNS_MAX: usize = 48;
/// Characters of a text that are shown.
const TEXT_MAX: usize = 40;

impl fmt::Display for Violation {
    /// Several lines: the promise, one line for each operation, and what was left open. The drawing
    /// shows order, not length: each moment at which a call begins or ends has a column.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} {}: {}: {}",
            self.space.as_str(),
            self.key,
            self.kind,
            self.kind.meaning()
        )?;
        let scale = Scale::of(&self.witness);
        for one in &self.witness {
            writeln!(f, "  {}", Row { one, scale: &scale }.text().trim_end())?;
        }
        if self.witness.iter().any(|one| one.role == Role::Origin) {
            writeln!(f, "  (o) wrote what was seen")?;
        }
        match self.others {
            0 => Ok(()),
            1 => writeln!(f, "  whether or not the one other write of the key took effect"),
            others => {
                writeln!(f, "  whichever of the {others} other writes of the key took effect")
            }
        }
    }
}

/// The moments of a witness, in order.
struct Scale(Vec<u64>);

impl Scale {
    fn of(witness: &[Witness]) -> Self {
        let moments = |one: &Witness| [Some(one.operation.start_us), one.operation.end_us];
        let mut moments: Vec<u64> = witness.iter().flat_map(moments).flatten().collect();
        moments.sort_unstable();
        moments.dedup();
        Self(moments)
    }

    fn width(&self) -> usize {
        (self.0.len() * 2).min(COLUMNS_MAX)
    }

    fn column(&self, moment: u64) -> usize {
        let rank = self.0.partition_point(|other| *other < moment);
        let last = self.0.len().saturating_sub(1).max(1);
        rank * self.width().saturating_sub(1) / last
    }

    /// `  |--|  `, or `  |--->` without an end.
    fn bar(&self, operation: &Operation) -> String {
        let begin = self.column(operation.start_us);
        let end = operation.end_us.map_or_else(|| self.width(), |end| self.column(end));
        (0..=self.width())
            .map(|column| match column {
                _ if column < begin || column > end => ' ',
                _ if column == begin => '|',
                _ if column == end && operation.end_us.is_none() => '>',
                _ if column == end => '|',
                _ => '-',
            })
            .collect()
    }
}

struct Row<'a> {
    one: &'a Witness,
    scale: &'a Scale,
}

impl Row<'_> {
    fn text(&self) -> String {
        let operation = &self.one.operation;
        let mark = match self.one.role {
            Role::Contradicts => "   ",
            Role::Origin => "(o)",
        };
        let end = operation.end_us.map_or_else(|| "never".to_owned(), seconds);
        format!(
            "{mark} line {:<6} {:>13} {:>13} {} {:<8} {}",
            self.one.line(),
            seconds(operation.start_us),
            end,
            self.scale.bar(operation),
            short(&operation.client),
            Told(operation)
        )
    }
}

/// Microseconds as `12.345678s`.
fn seconds(us: u64) -> String {
    format!("{}.{:06}s", us / 1_000_000, us % 1_000_000)
}

fn short(text: &str) -> String {
    let mut cut: String = text.chars().take(TEXT_MAX).collect();
    if cut.len() < text.len() {
        cut.push('…');
    }
    cut
}

/// An operation as `put "7" if version 17-3-1 -> ok, version 17-3-2`.
struct Told<'a>(&'a Operation);

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.action {
            Action::Create { write, .. } => write!(f, "create {:?}", short(&write.value)),
            Action::Put { write, condition, .. } => write!(f, "put {:?}", short(&write.value))
                .and_then(|()| tell(f, condition.as_ref())),
            Action::Delete { condition, .. } => {
                f.write_str("delete").and_then(|()| tell(f, condition.as_ref()))
            }
            Action::Touch { .. } => f.write_str("touch"),
            Action::Read { level, .. } | Action::ListingRead { level, .. } => match level {
                Level::Strong => f.write_str("read strong"),
                Level::Bounded { max_staleness_ms } => {
                    write!(f, "read bounded {max_staleness_ms}ms")
                }
                Level::Eventual => f.write_str("read eventual"),
            },
            Action::EraseUser { user } => write!(f, "erase user {}", short(user)),
            Action::ListingUpsert { version, value, .. } => {
                write!(f, "upsert {:?} version {version}", short(value))
            }
            Action::ListingDelete { version, .. } => write!(f, "delete version {version}"),
        }?;
        if let Some(token) = &self.0.sent_token {
            write!(f, " with token {}", short(token))?;
        }
        f.write_str(match self.0.outcome {
            Outcome::Ok => " -> ok",
            Outcome::NotFound => " -> not found",
            Outcome::Conflict => " -> conflict",
            Outcome::Refused => " -> refused",
            Outcome::Unknown => " -> unknown",
        })?;
        self.answer(f)
    }
}

impl Told<'_> {
    fn answer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let answer = &self.0.answer;
        if let Some(value) = &answer.value {
            write!(f, " {:?}", short(value))?;
        }
        if let Some(version) = &answer.version {
            write!(f, ", version {}", short(version))?;
        }
        match answer.created {
            Some(true) => f.write_str(", created")?,
            Some(false) => f.write_str(", replaced")?,
            None => {}
        }
        if let Some(ms) = answer.staleness_ms {
            write!(f, ", {ms}ms old")?;
        }
        if let Some(position) = answer.position {
            write!(f, ", shard {} index {}", position.shard, position.index)?;
        }
        if let Some(token) = &answer.token {
            write!(f, ", token {}", short(token))?;
        }
        Ok(())
    }
}

fn tell(f: &mut fmt::Formatter<'_>, condition: Option<&Condition>) -> fmt::Result {
    match condition {
        None => Ok(()),
        Some(Condition::Exists) => f.write_str(" if it exists"),
        Some(Condition::Version(version)) => write!(f, " if version {}", short(version)),
    }
}
