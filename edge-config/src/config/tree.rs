//! What was written, before anyone knows what it means: values with their places.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};
use toml::{Spanned, de::DeInteger};

use super::{Problem, ProblemKind, Source};

/// Keys and what stands behind them.
pub(super) type RawTable = BTreeMap<String, Raw>;

/// One value with its places.
#[derive(Debug, Clone)]
pub(super) struct Raw {
    /// Where its key stands (for an element of a list: where it begins).
    pub(super) key_at: Source,
    /// Where it begins.
    pub(super) at: Source,
    /// The value.
    pub(super) value: RawValue,
}

/// A value as TOML or JSON have it.
#[derive(Debug, Clone)]
pub(super) enum RawValue {
    /// A string.
    Text(String),
    /// A whole number; larger ones than this are none of ours.
    Integer(i64),
    /// True or false.
    Bool(bool),
    /// A list.
    List(Vec<Raw>),
    /// A table.
    Table(RawTable),
    /// What no key of ours is made of: fractions, dates, null. Its text.
    Other(String),
}

impl Raw {
    /// What this is, for a message.
    pub(super) fn describe(&self) -> String {
        match &self.value {
            RawValue::Text(text) => format!("the text \"{}\"", shorten(text)),
            RawValue::Integer(number) => format!("the number {number}"),
            RawValue::Bool(truth) => truth.to_string(),
            RawValue::List(_) => "a list".to_owned(),
            RawValue::Table(_) => "a table".to_owned(),
            RawValue::Other(text) => shorten(text),
        }
    }
}

/// Keeps what a message quotes short, and on one line.
pub(super) fn shorten(text: &str) -> String {
    const LONGEST: usize = 60;
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.chars().count() <= LONGEST {
        return text.chars().map(clean).collect();
    }
    text.chars().take(LONGEST).map(clean).chain(['…']).collect()
}

/// Reads a TOML document, with all its syntax errors if it has any.
pub(super) fn read_document(text: &str) -> Result<RawTable, Vec<Problem>> {
    let lines = Lines::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        let place = |at: usize| lines.place(at);
        return Ok(table_of(document.get_ref(), &place));
    }
    let syntax = |error: &toml::de::Error| {
        let at = error.span().map_or(Source::Default, |span| lines.place(span.start));
        Problem::new(&at, "", ProblemKind::Syntax, error.message())
    };
    Err(errors.iter().map(syntax).collect())
}

/// Reads one value that stands outside of the file: as TOML, or else as JSON.
pub(super) fn read_value(text: &str, at: &Source) -> Option<Raw> {
    if let Ok(value) = DeValue::parse(text) {
        return Some(raw_of(&value, at.clone(), &|_| at.clone()));
    }
    serde_json::from_str(text).ok().map(|json| raw_of_json(json, at))
}

/// Puts `raw` at `path`, over whatever stands there; makes the tables in between.
///
/// Where something else than a table stands in between, nothing is done: that mistake is reported when
/// the tree is read.
pub(super) fn overlay(table: &mut RawTable, path: &[&str], raw: Raw) {
    match path {
        [] => {}
        [name] => {
            table.insert((*name).to_owned(), raw);
        }
        [name, rest @ ..] => {
            let at = raw.at.clone();
            let below = table.entry((*name).to_owned()).or_insert_with(|| Raw {
                key_at: at.clone(),
                at,
                value: RawValue::Table(RawTable::new()),
            });
            if let RawValue::Table(below) = &mut below.value {
                overlay(below, rest, raw);
            }
        }
    }
}

fn table_of(table: &DeTable<'_>, place: &dyn Fn(usize) -> Source) -> RawTable {
    let entry = |(key, value): (&Spanned<_>, &Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        (name.to_string(), raw_of(value, place(key.span().start), place))
    };
    table.iter().map(entry).collect()
}

fn raw_of(value: &Spanned<DeValue<'_>>, key_at: Source, place: &dyn Fn(usize) -> Source) -> Raw {
    let at = place(value.span().start);
    let value = match value.get_ref() {
        DeValue::String(text) => RawValue::Text(text.to_string()),
        DeValue::Integer(number) => integer_of(number),
        DeValue::Boolean(truth) => RawValue::Bool(*truth),
        DeValue::Float(number) => RawValue::Other(format!("the fraction {number}")),
        DeValue::Datetime(time) => RawValue::Other(format!("the time {time}")),
        DeValue::Array(items) => {
            let item = |item: &Spanned<DeValue<'_>>| raw_of(item, place(item.span().start), place);
            RawValue::List(items.iter().map(item).collect())
        }
        DeValue::Table(table) => RawValue::Table(table_of(table, place)),
    };
    Raw { key_at, at, value }
}

fn integer_of(number: &DeInteger<'_>) -> RawValue {
    match i64::from_str_radix(number.as_str(), number.radix()) {
        Ok(number) => RawValue::Integer(number),
        Err(_too_large) => RawValue::Other(format!("the number {number}")),
    }
}

fn raw_of_json(json: serde_json::Value, at: &Source) -> Raw {
    use serde_json::Value;
    let value = match json {
        Value::String(text) => RawValue::Text(text),
        Value::Bool(truth) => RawValue::Bool(truth),
        Value::Null => RawValue::Other("null".to_owned()),
        Value::Number(number) => match number.as_i64() {
            Some(number) => RawValue::Integer(number),
            None => RawValue::Other(format!("the number {number}")),
        },
        Value::Array(items) => {
            RawValue::List(items.into_iter().map(|item| raw_of_json(item, at)).collect())
        }
        Value::Object(fields) => {
            let field = |(name, field)| (name, raw_of_json(field, at));
            RawValue::Table(fields.into_iter().map(field).collect())
        }
    };
    Raw { key_at: at.clone(), at: at.clone(), value }
}

/// Byte offsets to lines and columns.
struct Lines<'t> {
    text: &'t str,
    /// Where each line begins.
    starts: Vec<usize>,
}

impl<'t> Lines<'t> {
    fn new(text: &'t str) -> Self {
        let after_breaks = text.match_indices('\n').map(|(at, _)| at + 1);
        Self { text, starts: std::iter::once(0).chain(after_breaks).collect() }
    }

    fn place(&self, at: usize) -> Source {
        let line = self.starts.partition_point(|start| *start <= at);
        let start = line.checked_sub(1).and_then(|nth| self.starts.get(nth)).copied();
        let before = self.text.get(start.unwrap_or_default()..at).unwrap_or_default();
        Source::File { line, column: before.chars().count() + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_count_lines_and_characters() {
        let tree = read_document("# à\n[a]\n  \"è\" = 1\nb = [\n  \"x\",\n  2]\n").unwrap();
        let RawValue::Table(a) = &tree["a"].value else { panic!("a is a table") };
        assert_eq!(a["è"].key_at, Source::File { line: 3, column: 3 });
        assert_eq!(a["è"].at, Source::File { line: 3, column: 9 });
        let RawValue::List(items) = &a["b"].value else { panic!("b is a list") };
        assert_eq!(items[1].at, Source::File { line: 6, column: 3 });
    }

    #[test]
    fn all_syntax_errors_come_at_once() {
        let errors = read_document("a = \nb = 1\nc = ]\n").unwrap_err();
        let lines = errors.iter().map(|error| match error.source {
            Source::File { line, .. } => line,
            _ => 0,
        });
        assert_eq!(lines.collect::<std::collections::BTreeSet<_>>(), [1, 3].into());
    }

    #[test]
    fn values_outside_of_the_file_are_toml_or_json() {
        let at = Source::Env("X".into());
        for text in [r#"["a", "b"]"#, r#"[{"a": 1}]"#, r#"[{a = 1}]"#] {
            let raw = read_value(text, &at).unwrap();
            assert!(matches!(raw.value, RawValue::List(_)), "{text}");
            assert_eq!(raw.at, at);
        }
        assert!(read_value("[", &at).is_none());
        assert!(read_value("a b", &at).is_none());
    }
}
