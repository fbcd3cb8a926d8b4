//! Results on stdout: tables for people, JSON for programs.

use std::io::{self, Write as _};

use clap::{Args, ValueEnum};
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use serde::Serialize;

use super::error::{CliError, CliResult};

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum Format {
    /// Aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
}

/// The flags of every reading command.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct OutputArgs {
    /// The form of the result.
    #[arg(long, short = 'o', value_enum, default_value_t, global = true)]
    pub output: Format,
    /// Leave out the table's head.
    #[arg(long, global = true)]
    pub no_header: bool,
}

/// Writes to stdout; a reader that went away (`| head`) is no error.
pub(super) fn print(text: &str) -> CliResult {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::failed("cannot write the result").caused_by(&error))
        }
        _ => Ok(()),
    }
}

/// [`print()`] with a line end.
pub(super) fn println(text: &str) -> CliResult {
    print(&format!("{text}\n"))
}

/// Prints `value` as one JSON document.
pub(super) fn print_json<T: Serialize>(value: &T) -> CliResult {
    let text = serde_json::to_string_pretty(value)
        .map_err(|error| CliError::failed("cannot write the result").caused_by(&error))?;
    println(&text)
}

/// A table without lines, columns two spaces apart.
#[derive(Debug)]
pub(super) struct Columns {
    table: Table,
}

impl Columns {
    /// `heads`, each with whether its column is a number (and so aligned right).
    pub(super) fn new(heads: &[(&str, bool)], no_header: bool) -> Self {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !no_header {
            table.set_header(heads.iter().map(|(head, _number)| *head));
        }
        Self { table: with_alignment(table, heads) }
    }

    /// Adds a row.
    pub(super) fn row<I: IntoIterator<Item = String>>(&mut self, cells: I) {
        self.table.add_row(cells);
    }

    /// The text of it, without trailing blanks.
    pub(super) fn render(&self) -> String {
        let mut text = String::new();
        for line in self.table.lines() {
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

fn with_alignment(mut table: Table, heads: &[(&str, bool)]) -> Table {
    for (index, (_head, number)) in heads.iter().enumerate() {
        // A column exists once a row has it; an empty row would show, so set constraints lazily.
        if let Some(column) = table.column_mut(index) {
            column.set_padding((0, 2));
            if *number {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    table
}

/// `-` for what is not known.
pub(super) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// 12345 as `12,345`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes as `9.1 MiB`.
pub(super) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut whole = count;
    let mut tenths = 0;
    let mut unit = 0;
    while whole >= 1024 && unit + 1 < UNITS.len() {
        tenths = (whole % 1024) * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    let name = UNITS.get(unit).copied().unwrap_or("B");
    if unit == 0 { format!("{whole} {name}") } else { format!("{whole}.{tenths} {name}") }
}

/// Seconds as `3m12s`.
pub(super) fn uptime(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h{:02}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d{:02}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(162_655), "162,655");
        assert_eq!(grouped(1_000), "1,000");
        assert_eq!(bytes(512), "512 B");
        assert_eq!(bytes(9_542_041), "9.0 MiB");
        assert_eq!(uptime(192), "3m12s");
    }
}
