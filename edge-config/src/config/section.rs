//! Reads the keys of a section, and keeps account of what was read, from where, and what is wrong.
//!
//! Each section reads itself once, top to bottom, with a [`Section`]; what it says there about a key
//! (default, range, meaning) is also what `config print`, `config schema` and the reload are made of. A
//! wrong value is noted and replaced by its default, so that one pass finds everything.

use std::path::Path;

use serde_json::Value as Json;

use super::{
    Problem, ProblemKind, Setting, Source,
    checks::at_most,
    key::Key,
    ledger::{Ledger, Unknown},
    setting::join,
    tree::{Raw, RawTable, RawValue},
    value::Value,
};

/// A section while it is being read.
pub(super) struct Section<'s> {
    /// Its full name; empty for the file as a whole.
    pub(super) path: String,
    /// The section as a value; none for the file as a whole and for a section that is not there.
    pub(super) raw: Option<&'s Raw>,
    table: Option<&'s RawTable>,
    seen: Vec<&'static str>,
    pub(super) ledger: &'s mut Ledger,
}

impl<'s> Section<'s> {
    /// Reads the file as a whole.
    pub(super) fn read_root<T>(
        table: &RawTable,
        ledger: &mut Ledger,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let section =
            Section { path: String::new(), raw: None, table: Some(table), seen: vec![], ledger };
        section.run(read)
    }

    fn run<T>(mut self, read: impl FnOnce(&mut Self) -> T) -> T {
        let at = self.raw.map_or(Source::Default, |raw| raw.key_at.clone());
        self.ledger.sections.push((self.path.clone(), at));
        let result = read(&mut self);
        for (name, raw) in self.table.into_iter().flatten() {
            if !self.seen.contains(&&**name) {
                self.ledger.unknown.push(Unknown {
                    section: self.path.clone(),
                    name: name.clone(),
                    at: raw.key_at.clone(),
                    is_table: matches!(raw.value, RawValue::Table(_)),
                });
            }
        }
        result
    }

    /// What stands behind `name`, which then counts as read.
    pub(super) fn take(&mut self, name: &'static str) -> Option<&'s Raw> {
        self.seen.push(name);
        self.table?.get(name)
    }

    /// Reads the section `name` in this one.
    pub(super) fn section<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let raw = self.take(name);
        let path = join(&self.path, name);
        self.below(path, raw, read)
    }

    fn below<T>(
        &mut self,
        path: String,
        raw: Option<&Raw>,
        read: impl FnOnce(&mut Section<'_>) -> T,
    ) -> T {
        let table = match raw.map(|raw| (raw, &raw.value)) {
            Some((_, RawValue::Table(table))) => Some(table),
            Some((raw, _)) => {
                let message = format!("expected a table, found {}", raw.describe());
                let problem = Problem::new(&raw.at, &*path, ProblemKind::Wrong, message);
                self.ledger.problems.push(problem);
                None
            }
            None => None,
        };
        Section { path, raw, table, seen: vec![], ledger: self.ledger }.run(read)
    }

    /// A name that is reserved: whoever sets it is told that it has no effect yet.
    pub(super) fn reserved(&mut self, name: &'static str) {
        if let Some(raw) = self.take(name) {
            let kind = if self.path.is_empty() { "section" } else { "key" };
            let message = format!("{kind} `{name}` has no effect in this version");
            let key = join(&self.path, name);
            let problem = Problem::new(&raw.key_at, key, ProblemKind::NoEffect, message);
            self.ledger.problems.push(problem.help("remove it"));
        }
    }

    /// Begins to read a key; `about` says in one sentence what it governs.
    pub(super) fn key<T: Value>(
        &mut self,
        name: &'static str,
        about: &'static str,
    ) -> Key<'_, 's, T> {
        Key::new(self, name, about)
    }

    /// Checks the rules between keys.
    pub(super) fn validate(&mut self, draft: &super::validate::Draft<'_>) {
        let found = super::validate::validate(draft, self.ledger);
        self.ledger.problems.extend(found);
    }

    /// Reads a list of tables.
    pub(super) fn tables<T>(
        &mut self,
        name: &'static str,
        about: &'static str,
        most: usize,
        reloads: bool,
        mut read: impl FnMut(&mut Section<'_>) -> Option<T>,
    ) -> Vec<T> {
        let schema = element_schema(&mut read);
        let raw = self.take(name);
        let key = join(&self.path, name);
        let items = match raw.map(|raw| (raw, &raw.value)) {
            Some((_, RawValue::List(items))) => items.as_slice(),
            Some((raw, _)) => {
                let message = format!("expected a list of tables, found {}", raw.describe());
                let problem = Problem::new(&raw.at, &*key, ProblemKind::Wrong, message);
                self.ledger.problems.push(problem);
                &[]
            }
            None => &[],
        };
        if let (Some(raw), Some(fault)) = (raw, at_most(items.len(), most)) {
            self.ledger.problems.push(Problem::new(&raw.at, &*key, fault.kind, fault.message));
        }
        let mut shown = Vec::new();
        let mut values = Vec::new();
        for (nth, item) in items.iter().take(most).enumerate() {
            let sections = self.ledger.sections.len();
            let outer = std::mem::take(&mut self.ledger.settings);
            let value = self.below(format!("{key}[{nth}]"), Some(item), &mut read);
            let inner = std::mem::replace(&mut self.ledger.settings, outer);
            self.ledger.sections.truncate(sections);
            shown.push(toml::Value::Table(table_of(&inner)));
            self.ledger.element_settings.extend(inner);
            values.extend(value);
        }
        self.ledger.settings.push(Setting {
            section: self.path.clone(),
            name,
            about,
            source: raw.map_or(Source::Default, |raw| raw.at.clone()),
            value: Some(toml::Value::Array(shown)),
            default: Some(toml::Value::Array(Vec::new())),
            required: false,
            reloads,
            text: false,
            schema,
        });
        values
    }
}

/// The settings of one section as a table.
fn table_of(settings: &[Setting]) -> toml::Table {
    let entry = |setting: &Setting| Some((setting.name.to_owned(), setting.value.clone()?));
    settings.iter().filter_map(entry).collect()
}

/// The schema of a list of what `read` reads, found by letting it read nothing.
fn element_schema<T>(read: &mut impl FnMut(&mut Section<'_>) -> Option<T>) -> Json {
    let mut ledger = Ledger::new(Path::new(""));
    Section::read_root(&RawTable::new(), &mut ledger, |section| drop(read(section)));
    let items = super::schema::object(&ledger.settings);
    serde_json::json!({"type": "array", "items": items})
}
