//! Types that a key may have: how each is read, printed and described.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use serde_json::{Value as Json, json};

use super::{
    Problem, ProblemKind,
    tree::{Raw, RawValue},
};
use crate::{
    ByteSize, ClusterName, ConfigDuration, LanguageTag, Network, NodeId, PopId, Territory,
};

/// What reading a value needs besides the value.
pub(super) struct Context<'c> {
    /// The key, for messages.
    pub(super) key: &'c str,
    /// The directory that relative paths start from.
    pub(super) base: &'c Path,
    /// What is wrong.
    pub(super) problems: &'c mut Vec<Problem>,
}

impl Context<'_> {
    fn wrong<T>(&mut self, raw: &Raw, message: String) -> Option<T> {
        self.problems.push(Problem::new(&raw.at, self.key, ProblemKind::Wrong, message));
        None
    }

    /// `expected` completes "expected …".
    fn expected<T>(&mut self, raw: &Raw, expected: &str) -> Option<T> {
        self.wrong(raw, format!("expected {expected}, found {}", raw.describe()))
    }
}

/// A type that a key may have.
pub(super) trait Value: Clone + PartialEq {
    /// Whether it is written as text. An environment variable for it is then taken as it stands.
    const TEXT: bool;

    /// Reads it; what is wrong goes to the context.
    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self>;

    /// What it looks like in TOML.
    fn show(&self) -> toml::Value;

    /// JSON Schema of what it looks like.
    fn schema() -> Json;
}

impl Value for bool {
    const TEXT: Self = false;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        match raw.value {
            RawValue::Bool(truth) => Some(truth),
            _ => context.expected(raw, "true or false"),
        }
    }

    fn show(&self) -> toml::Value {
        toml::Value::Boolean(*self)
    }

    fn schema() -> Json {
        json!({"type": "boolean"})
    }
}

/// Reads a whole number that fits.
fn read_number<T: TryFrom<i64>>(raw: &Raw, context: &mut Context<'_>) -> Option<T> {
    match raw.value {
        RawValue::Integer(number) => match T::try_from(number) {
            Ok(number) => Some(number),
            Err(_outside) if number < 0 => context.expected(raw, "a number that is not negative"),
            Err(_outside) => context.expected(raw, "a smaller number"),
        },
        _ => context.expected(raw, "a whole number"),
    }
}

fn show_number(number: u64) -> toml::Value {
    toml::Value::Integer(i64::try_from(number).unwrap_or(i64::MAX))
}

impl Value for u32 {
    const TEXT: bool = false;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_number(raw, context)
    }

    fn show(&self) -> toml::Value {
        show_number((*self).into())
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": 0, "maximum": Self::MAX})
    }
}

impl Value for u64 {
    const TEXT: bool = false;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_number(raw, context)
    }

    fn show(&self) -> toml::Value {
        show_number(*self)
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": 0, "maximum": i64::MAX})
    }
}

impl Value for NodeId {
    const TEXT: bool = false;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        match read_number(raw, context)? {
            0 => context.expected(raw, "a node number from 1"),
            number => Some(Self(number)),
        }
    }

    fn show(&self) -> toml::Value {
        show_number(self.0.into())
    }

    fn schema() -> Json {
        json!({"type": "integer", "minimum": 1, "maximum": u32::MAX})
    }
}

impl Value for String {
    const TEXT: bool = true;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_text(raw, context, "a text").map(str::to_owned)
    }

    fn show(&self) -> toml::Value {
        toml::Value::String(self.clone())
    }

    fn schema() -> Json {
        json!({"type": "string"})
    }
}

/// The text of `raw`; `expected` says what text.
fn read_text<'r>(raw: &'r Raw, context: &mut Context<'_>, expected: &str) -> Option<&'r str> {
    match &raw.value {
        RawValue::Text(text) => Some(text),
        _ => context.expected(raw, expected),
    }
}

impl Value for PathBuf {
    const TEXT: bool = true;

    /// Relative paths start from the directory of the file.
    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        match read_text(raw, context, "a path")? {
            "" => context.wrong(raw, "the path is empty".to_owned()),
            path => Some(context.base.join(path)),
        }
    }

    fn show(&self) -> toml::Value {
        toml::Value::String(self.display().to_string())
    }

    fn schema() -> Json {
        json!({"type": "string", "minLength": 1})
    }
}

impl Value for SocketAddr {
    const TEXT: bool = true;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        const EXPECTED: &str = "an address such as \"127.0.0.1:8080\" or \"[::1]:8080\"";
        match read_text(raw, context, EXPECTED)?.parse() {
            Ok(address) => Some(address),
            Err(_unclear) => context.expected(raw, EXPECTED),
        }
    }

    fn show(&self) -> toml::Value {
        toml::Value::String(self.to_string())
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^(\\[[0-9A-Fa-f:.%]+\\]|[0-9.]+):[0-9]{1,5}$"})
    }
}

/// Reads what has a unit; a bare number is told apart from nonsense.
fn read_unit<T: FromStr<Err = crate::ParseUnitError>>(
    raw: &Raw,
    context: &mut Context<'_>,
    expected: &str,
) -> Option<T> {
    match &raw.value {
        RawValue::Text(text) => match text.parse() {
            Ok(value) => Some(value),
            Err(error) => context.wrong(raw, error.to_string()),
        },
        RawValue::Integer(number) => {
            context.wrong(raw, format!("the number {number} has no unit; write {expected}"))
        }
        _ => context.expected(raw, expected),
    }
}

impl Value for ByteSize {
    const TEXT: bool = true;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_unit(raw, context, "a size such as \"64MiB\"")
    }

    fn show(&self) -> toml::Value {
        toml::Value::String(self.to_string())
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]+(B|KiB|MiB|GiB|TiB)$"})
    }
}

impl Value for Duration {
    const TEXT: bool = true;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_unit::<ConfigDuration>(raw, context, "a duration such as \"250ms\"").map(Self::from)
    }

    fn show(&self) -> toml::Value {
        toml::Value::String(ConfigDuration(*self).to_string())
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^[0-9]+(ns|us|ms|s|m|h|d)$"})
    }
}

macro_rules! id_value {
    ($type:ty, $expected:literal, $pattern:literal) => {
        impl Value for $type {
            const TEXT: bool = true;

            fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
                match read_text(raw, context, $expected)?.parse() {
                    Ok(id) => Some(id),
                    Err(error) => context.wrong(raw, error.to_string()),
                }
            }

            fn show(&self) -> toml::Value {
                toml::Value::String(self.to_string())
            }

            fn schema() -> Json {
                json!({"type": "string", "pattern": $pattern})
            }
        }
    };
}

id_value!(PopId, "the name of a PoP such as \"mil\"", "^[a-z0-9]+(-[a-z0-9]+)*$");
id_value!(ClusterName, "a cluster name such as \"demo\"", "^[a-z0-9]+(-[a-z0-9]+)*$");
id_value!(
    LanguageTag,
    "the tag of a language such as \"it\"",
    "^[A-Za-z]{1,8}(-[A-Za-z0-9]{1,8})*$"
);
id_value!(Network, "a network such as \"10.0.0.0/8\"", "^[0-9A-Fa-f:.]+(/[0-9]{1,3})?$");
id_value!(Territory, "a territory such as \"IT:lombardia\"", "^[A-Z]{2}:[a-z0-9]+(-[a-z0-9]+)*$");

/// A type with a few values that have names.
pub(super) trait Choice: Copy + PartialEq + 'static {
    /// Each value with its name.
    const CHOICES: &'static [(&'static str, Self)];
}

impl<T: Choice> Value for T {
    const TEXT: bool = true;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        let names: Vec<_> = Self::CHOICES.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let expected = format!("one of {}", names.join(", "));
        let text = read_text(raw, context, &expected)?;
        match Self::CHOICES.iter().find(|(name, _)| *name == text) {
            Some((_, value)) => Some(*value),
            None => context.expected(raw, &expected),
        }
    }

    fn show(&self) -> toml::Value {
        let name = Self::CHOICES.iter().find(|(_, value)| value == self).map(|(name, _)| *name);
        toml::Value::String(name.unwrap_or_default().to_owned())
    }

    fn schema() -> Json {
        json!({"enum": Self::CHOICES.iter().map(|(name, _)| *name).collect::<Vec<_>>()})
    }
}

/// Reads every element, so that each wrong one is reported.
fn read_list<T: Value>(raw: &Raw, context: &mut Context<'_>) -> Option<Vec<T>> {
    let RawValue::List(items) = &raw.value else {
        return context.expected(raw, "a list");
    };
    let read: Vec<_> = items.iter().map(|item| T::read(item, context)).collect();
    read.into_iter().collect()
}

impl<T: Value> Value for Vec<T> {
    const TEXT: bool = false;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_list(raw, context)
    }

    fn show(&self) -> toml::Value {
        toml::Value::Array(self.iter().map(T::show).collect())
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: Value + Ord> Value for BTreeSet<T> {
    const TEXT: bool = false;

    fn read(raw: &Raw, context: &mut Context<'_>) -> Option<Self> {
        read_list(raw, context).map(|items: Vec<T>| items.into_iter().collect())
    }

    fn show(&self) -> toml::Value {
        toml::Value::Array(self.iter().map(T::show).collect())
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema(), "uniqueItems": true})
    }
}
