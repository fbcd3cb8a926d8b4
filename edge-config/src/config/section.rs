//! Reads the keys of a section, and keeps account of what was read, from where, and what is wrong.
//!
//! Each section reads itself once, top to bottom, with a [`Section`]; what it says there about a key
//! (default, range, meaning) is also what `config print`, `config schema` and the reload are made of. A
//! wrong value is noted and replaced by its default, so that one pass finds everything.

use std::{
    fmt::Write,
    path::{Path, PathBuf},
};

use serde_json::Value as Json;

use super::{
    Problem, ProblemKind, Source,
    suggest::closest,
    tree::{Raw, RawTable, RawValue},
    value::{Context, Fault, Value},
};

/// One key: its value, where that comes from, and what may stand there.
#[derive(Debug, Clone)]
pub struct Setting {
    pub(super) section: String,
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) source: Source,
    pub(super) value: Option<toml::Value>,
    pub(super) default: Option<toml::Value>,
    pub(super) required: bool,
    pub(super) reloads: bool,
    pub(super) text: bool,
    pub(super) schema: Json,
}

impl Setting {
    /// The full key, such as `raft.heartbeat`.
    #[must_use]
    pub fn key(&self) -> String {
        join(&self.section, self.name)
    }

    /// What it governs, in one sentence.
    #[must_use]
    pub fn about(&self) -> &'static str {
        self.about
    }

    /// Where the value comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// The value as TOML; none if it is not set and has no default.
    #[must_use]
    pub fn value(&self) -> Option<&toml::Value> {
        self.value.as_ref()
    }

    /// The default as TOML; none if there is none.
    #[must_use]
    pub fn default_value(&self) -> Option<&toml::Value> {
        self.default.as_ref()
    }

    /// Whether a change of it takes effect without a restart.
    #[must_use]
    pub fn reloads(&self) -> bool {
        self.reloads
    }
}

/// `section.name`, where the section of the file as a whole is empty.
pub(super) fn join(section: &str, name: &str) -> String {
    if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
}

/// A key or section that nobody read.
struct Unknown {
    section: String,
    name: String,
    at: Source,
    is_table: bool,
}

/// The account of one reading.
pub(super) struct Ledger {
    /// The directory that relative paths start from.
    base: PathBuf,
    /// The sections and where they begin, in the order in which they were opened.
    pub(super) sections: Vec<(String, Source)>,
    /// The keys, in the order in which they were read.
    pub(super) settings: Vec<Setting>,
    /// The keys of the elements of lists of tables, such as `territories[0].replicas`.
    pub(super) element_settings: Vec<Setting>,
    /// What is wrong.
    pub(super) problems: Vec<Problem>,
    unknown: Vec<Unknown>,
}

impl Ledger {
    pub(super) fn new(base: &Path) -> Self {
        Self {
            base: base.to_owned(),
            sections: Vec::new(),
            settings: Vec::new(),
            element_settings: Vec::new(),
            problems: Vec::new(),
            unknown: Vec::new(),
        }
    }

    /// Where the value of `key` comes from.
    pub(super) fn source(&self, key: &str) -> Source {
        let mut settings = self.settings.iter().chain(&self.element_settings);
        let found = settings.find(|setting| setting.key() == key);
        found.map_or(Source::Default, |setting| setting.source.clone())
    }

    /// Where the section of `key` begins.
    pub(super) fn section_source(&self, key: &str) -> Source {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let found = self.sections.iter().find(|(path, _)| path == section);
        found.map_or(Source::Default, |(_, at)| at.clone())
    }

    /// Turns what nobody read into problems, now that all names are known.
    pub(super) fn report_unknown(&mut self) {
        let keys: Vec<String> = self.settings.iter().map(Setting::key).collect();
        for Unknown { section, name, at, is_table } in std::mem::take(&mut self.unknown) {
            let siblings = self.siblings(&section);
            let kind = if is_table { "section" } else { "key" };
            let key = join(&section, &name);
            let problem =
                Problem::new(&at, &*key, ProblemKind::Unknown, format!("there is no such {kind}"));
            let elsewhere = || keys.iter().find(|key| key.rsplit('.').next() == Some(&*name));
            let help = if let Some(sibling) = closest(&name, siblings.iter().map(|s| &**s)) {
                format!("did you mean `{}`?", join(&section, sibling))
            } else if let Some(other) = elsewhere() {
                format!("did you mean `{other}`?")
            } else {
                format!("known here: {}", siblings.join(", "))
            };
            self.problems.push(problem.help(help));
        }
    }

    /// The names that may stand in `section`: its keys, and the sections in it.
    fn siblings(&self, section: &str) -> Vec<String> {
        let settings = self.settings.iter().chain(&self.element_settings);
        let keys = settings.filter(|s| s.section == section).map(|s| s.name.to_owned());
        let inside = |path: &String| match section {
            "" => (!path.is_empty() && !path.contains('.')).then(|| path.clone()),
            _ => path.strip_prefix(section)?.strip_prefix('.').map(str::to_owned),
        };
        keys.chain(self.sections.iter().map(|(path, _)| path).filter_map(inside)).collect()
    }
}

/// A section while it is being read.
pub(super) struct Section<'s> {
    path: String,
    /// The section as a value; none for the file as a whole and for a section that is not there.
    raw: Option<&'s Raw>,
    table: Option<&'s RawTable>,
    seen: Vec<&'static str>,
    ledger: &'s mut Ledger,
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

    fn take(&mut self, name: &'static str) -> Option<&'s Raw> {
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
        let schema = T::schema();
        Key { section: self, name, about, schema, checks: Vec::new(), reloads: false }
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
        if let (Some(raw), Some(fault)) = (raw, super::value::at_most(items.len(), most)) {
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

/// What is checked about a value once it is read.
type Check<T> = Box<dyn Fn(&T) -> Vec<Fault>>;

/// A key while it is being read.
#[must_use]
pub(super) struct Key<'k, 's, T> {
    section: &'k mut Section<'s>,
    name: &'static str,
    about: &'static str,
    schema: Json,
    checks: Vec<Check<T>>,
    reloads: bool,
}

impl<T: Value> Key<'_, '_, T> {
    /// A change of it takes effect without a restart.
    pub(super) fn reloads(mut self) -> Self {
        self.reloads = true;
        self
    }

    /// A check of the value.
    pub(super) fn check(mut self, check: impl Fn(&T) -> Vec<Fault> + 'static) -> Self {
        self.checks.push(Box::new(check));
        self
    }

    /// The least and the highest value, both included.
    pub(super) fn between(mut self, least: T, highest: T) -> Self
    where
        T: PartialOrd + 'static,
    {
        super::schema::set_range(&mut self.schema, &least.show(), &highest.show());
        self.check(move |value| {
            let bound = if *value < least {
                ("low", "least", &least)
            } else if *value > highest {
                ("high", "most", &highest)
            } else {
                return Vec::new();
            };
            let (too, at, limit) = bound;
            let message = format!("{} is too {too}: at {at} {}", value.show(), limit.show());
            vec![Fault::whole(ProblemKind::Range, message)]
        })
    }

    /// Reads it; without it, `default` holds.
    pub(super) fn or(self, default: T) -> T {
        let shown = Some(default.show());
        self.finish(shown, false).unwrap_or(default)
    }

    /// Reads it; it may be absent.
    pub(super) fn optional(self) -> Option<T> {
        self.finish(None, false)
    }

    /// Reads it; that it is missing is a problem.
    pub(super) fn required(self) -> Option<T> {
        self.finish(None, true)
    }

    fn finish(self, default: Option<toml::Value>, required: bool) -> Option<T> {
        let Self { section, name, about, schema, checks, reloads } = self;
        let key = join(&section.path, name);
        let raw = section.take(name);
        let ledger = &mut *section.ledger;
        let mut value = None;
        if let Some(raw) = raw {
            let mut context =
                Context { key: &key, base: &ledger.base, problems: &mut ledger.problems };
            value = T::read(raw, &mut context);
            let faults = value.iter().flat_map(|value| checks.iter().flat_map(|c| c(value)));
            let problems: Vec<_> = faults.map(|fault| problem_of(fault, raw, &key)).collect();
            if !problems.is_empty() {
                value = None;
                ledger.problems.extend(problems);
            }
        } else if required {
            let at = section.raw.map_or(Source::Default, |raw| raw.key_at.clone());
            let message = format!("is missing: {about}");
            ledger.problems.push(Problem::new(&at, &*key, ProblemKind::Missing, message));
        }
        ledger.settings.push(Setting {
            section: section.path.clone(),
            name,
            about,
            source: raw.map_or(Source::Default, |raw| raw.at.clone()),
            value: value.as_ref().map(T::show).or_else(|| default.clone()),
            default,
            required,
            reloads,
            text: T::TEXT,
            schema,
        });
        value
    }
}

/// Places a fault: at the element it is about, or at the value.
fn problem_of(fault: Fault, raw: &Raw, key: &str) -> Problem {
    let is_it = |item: &&Raw| match (&item.value, &fault.element) {
        (RawValue::Text(text), Some(element)) => text == element,
        _ => false,
    };
    let element = match &raw.value {
        RawValue::List(items) => items.iter().find(is_it),
        _ => None,
    };
    Problem::new(&element.unwrap_or(raw).at, key, fault.kind, fault.message)
}

/// Writes one key and its value as a line of TOML.
pub(super) fn write_setting(out: &mut String, name: &str, value: &toml::Value) {
    // Writing to a string cannot fail.
    let _infallible = write!(out, "{name} = {value}");
}
