//! Reads one key: its type, its range, its default.

use serde_json::Value as Json;

use super::{
    Problem, ProblemKind, Setting, Source,
    checks::Fault,
    section::Section,
    setting::join,
    tree::{Raw, RawValue},
    value::{Context, Value},
};

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

impl<'k, 's, T: Value> Key<'k, 's, T> {
    pub(super) fn new(
        section: &'k mut Section<'s>,
        name: &'static str,
        about: &'static str,
    ) -> Self {
        Self { section, name, about, schema: T::schema(), checks: Vec::new(), reloads: false }
    }

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
