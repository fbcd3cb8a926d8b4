//! A history taken apart by key: linearizability is local, so every key is checked alone (Herlihy and
//! Wing 1990), as long as what one operation does to several keys is not promised to be one event.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use super::{
    model::{Bury, Deed, Needs, Put, Sight, Upsert},
    operation::{Action, Condition, Head, History, Level, Operation, Outcome, Position},
    report::Space,
};

/// A key with everything that happened to it.
#[derive(Debug, Clone)]
pub(super) struct Key {
    pub(super) space: Space,
    pub(super) name: String,
    /// By start.
    pub(super) facts: Vec<Fact>,
    /// Writes that were refused: the value, and the operation.
    pub(super) refused: Vec<(u32, usize)>,
    /// Different values and versions in it.
    pub(super) values: u32,
    pub(super) versions: u32,
}

/// What one operation says of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fact {
    /// Its place in the history.
    pub(super) index: usize,
    pub(super) start: u64,
    /// `u64::MAX`: at any time, or never.
    pub(super) end: u64,
    /// How far before its start what it saw may have been current.
    pub(super) reach: Reach,
    pub(super) deed: Deed,
    /// Whether it happened for certain.
    pub(super) is_known: bool,
    /// The number of the token that it answered with.
    pub(super) token: Option<u32>,
    /// The number of the token that came with it.
    pub(super) sent_token: Option<u32>,
    pub(super) position: Option<Position>,
    /// The place in a log that its token stands for, where another answer tells.
    pub(super) sent_position: Option<Position>,
}

/// How far before its start what an operation saw may have been current.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Not at all.
    Current,
    /// By so many microseconds.
    Within(u64),
    /// Any time.
    Ever,
}

impl Fact {
    /// The value that it saw, or needs.
    pub(super) const fn seen_value(&self) -> Option<u32> {
        match self.deed {
            Deed::See(Sight::Present { value, .. }) => value,
            _ => None,
        }
    }

    /// The version that it saw, or needs.
    pub(super) const fn seen_version(&self) -> Option<u32> {
        match self.deed {
            Deed::See(Sight::Present { version, .. }) => version,
            Deed::Put(Put { needs: Needs::Version(version), .. })
            | Deed::End(Needs::Version(version)) => Some(version),
            _ => None,
        }
    }

    /// The value that it writes.
    pub(super) const fn written_value(&self) -> Option<u32> {
        match self.deed {
            Deed::Put(put) => Some(put.value),
            Deed::Upsert(upsert) => Some(upsert.value),
            _ => None,
        }
    }

    pub(super) const fn sees_only(&self) -> bool {
        matches!(self.deed, Deed::See(_))
    }
}

/// Takes `history` apart.
pub(super) fn keys(history: &History) -> Vec<Key> {
    let tokens = Tokens::of(history);
    let mut by_key: BTreeMap<(Space, &str), Vec<usize>> = BTreeMap::new();
    let mut by_user: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, operation) in history.operations.iter().enumerate() {
        match (place_of(&operation.action), &operation.action) {
            (Some(place), _) => by_key.entry(place).or_default().push(index),
            (None, Action::EraseUser { user }) => by_user.entry(user).or_default().push(index),
            (None, _) => {}
        }
    }
    by_key
        .into_iter()
        .map(|((space, name), mut indexes)| {
            let users: BTreeSet<&str> = indexes
                .iter()
                .filter_map(|index| user_of(history.operations.get(*index)?))
                .collect();
            let erasures = users.into_iter().filter_map(|user| by_user.get(user)).flatten();
            indexes.extend(erasures);
            Builder::new(&history.head, &tokens).build(history, space, name, &indexes)
        })
        .collect()
}

/// The key that an action is about; erasures are about many.
fn place_of(action: &Action) -> Option<(Space, &str)> {
    match action {
        Action::Create { key, .. }
        | Action::Put { key, .. }
        | Action::Delete { key, .. }
        | Action::Touch { key }
        | Action::Read { key, .. } => Some((Space::Session, key)),
        Action::ListingUpsert { key, .. }
        | Action::ListingDelete { key, .. }
        | Action::ListingRead { key, .. } => Some((Space::Listing, key)),
        Action::EraseUser { .. } => None,
    }
}

fn user_of(operation: &Operation) -> Option<&str> {
    match &operation.action {
        Action::Create { write, .. } | Action::Put { write, .. } => write.user.as_deref(),
        _ => None,
    }
}

/// Texts as numbers, in the order in which they come.
#[derive(Debug, Default)]
struct Names<'a>(BTreeMap<Cow<'a, str>, u32>);

impl<'a> Names<'a> {
    fn number(&mut self, name: impl Into<Cow<'a, str>>) -> u32 {
        let next = self.count();
        *self.0.entry(name.into()).or_insert(next)
    }

    fn count(&self) -> u32 {
        u32::try_from(self.0.len()).unwrap_or(u32::MAX)
    }
}

/// All tokens that answers carried, and the places that they stand for.
#[derive(Debug, Default)]
struct Tokens<'a> {
    names: Names<'a>,
    positions: BTreeMap<u32, Position>,
}

impl<'a> Tokens<'a> {
    fn of(history: &'a History) -> Self {
        let mut tokens = Self::default();
        for operation in &history.operations {
            let Some(token) = &operation.answer.token else { continue };
            let number = tokens.names.number(token.as_str());
            if let Some(position) = operation.answer.position {
                tokens.positions.insert(number, position);
            }
        }
        tokens
    }

    fn number(&self, token: Option<&String>) -> Option<u32> {
        self.names.0.get(token?.as_str()).copied()
    }
}

/// Makes the facts of one key.
struct Builder<'a> {
    head: &'a Head,
    tokens: &'a Tokens<'a>,
    values: Names<'a>,
    versions: Names<'a>,
    users: Names<'a>,
    refused: Vec<(u32, usize)>,
}

impl<'a> Builder<'a> {
    fn new(head: &'a Head, tokens: &'a Tokens<'a>) -> Self {
        Self {
            head,
            tokens,
            values: Names::default(),
            versions: Names::default(),
            users: Names::default(),
            refused: Vec::new(),
        }
    }

    fn build(mut self, history: &'a History, space: Space, name: &str, indexes: &[usize]) -> Key {
        let mut facts = Vec::with_capacity(indexes.len());
        for index in indexes {
            if let Some(operation) = history.operations.get(*index) {
                facts.extend(self.fact(*index, operation));
            }
        }
        facts.sort_by_key(|fact| (fact.start, fact.index));
        Key {
            space,
            name: name.to_owned(),
            facts,
            refused: self.refused,
            values: self.values.count(),
            versions: self.versions.count(),
        }
    }

    /// What an operation says; `None` if it says nothing.
    fn fact(&mut self, index: usize, operation: &'a Operation) -> Option<Fact> {
        let deed = self.deed(index, operation)?;
        let is_known = operation.outcome != Outcome::Unknown;
        let answer = &operation.answer;
        let sent_token = self.tokens.number(operation.sent_token.as_ref());
        let sent_position = sent_token.and_then(|token| self.tokens.positions.get(&token));
        Some(Fact {
            index,
            start: operation.start_us,
            end: operation.end_us.filter(|_end| is_known).unwrap_or(u64::MAX),
            reach: reach(operation),
            deed,
            is_known,
            token: self.tokens.number(answer.token.as_ref()),
            sent_token,
            position: answer.position,
            sent_position: sent_position.copied(),
        })
    }

    fn deed(&mut self, index: usize, operation: &'a Operation) -> Option<Deed> {
        if operation.outcome == Outcome::Refused {
            if let Some(value) = written_text(&operation.action) {
                let value = self.values.number(value);
                self.refused.push((value, index));
            }
            return None;
        }
        match &operation.action {
            Action::Create { write, .. } => match operation.outcome {
                Outcome::Conflict => Some(PRESENT),
                _ => Some(self.put(write, Needs::Absent, operation)),
            },
            Action::Put { write, condition, .. } => match operation.outcome {
                Outcome::Conflict => self.unmet(condition.as_ref()),
                Outcome::NotFound => Some(Deed::See(Sight::Absent)),
                _ => {
                    let needs = self.needs(condition.as_ref());
                    Some(self.put(write, needs, operation))
                }
            },
            Action::Delete { condition, .. } => match operation.outcome {
                Outcome::Conflict => self.unmet(condition.as_ref()),
                Outcome::NotFound => Some(Deed::See(Sight::Absent)),
                _ => Some(Deed::End(self.needs(condition.as_ref()))),
            },
            Action::Touch { .. } => match operation.outcome {
                Outcome::NotFound => Some(Deed::See(Sight::Absent)),
                _ => Some(Deed::Renew),
            },
            Action::Read { .. } | Action::ListingRead { .. } => self.sight(operation),
            Action::EraseUser { user } => Some(Deed::Erase(self.users.number(user.as_str()))),
            Action::ListingUpsert { version, value, .. } => Some(Deed::Upsert(Upsert {
                value: self.values.number(value.as_str()),
                text: self.versions.number(version.to_string()),
                version: *version,
                is_ignored: operation.outcome == Outcome::Conflict,
            })),
            Action::ListingDelete { version, .. } => Some(Deed::Bury(Bury {
                version: *version,
                is_ignored: operation.outcome == Outcome::Conflict,
            })),
        }
    }

    fn put(
        &mut self,
        write: &'a super::operation::Write,
        needs: Needs,
        operation: &'a Operation,
    ) -> Deed {
        let needs = match (needs, operation.answer.created) {
            (Needs::Nothing, Some(true)) => Needs::Absent,
            (Needs::Nothing, Some(false)) => Needs::Present,
            (needs, _) => needs,
        };
        let version = operation.answer.version.as_deref();
        Deed::Put(Put {
            value: self.values.number(write.value.as_str()),
            version: version.map(|version| self.versions.number(version)),
            needs,
            life_us: write.ttl_ms.or(self.head.ttl_ms).map(|ms| ms.saturating_mul(1_000)),
            sliding: write.sliding,
            user: write.user.as_deref().map(|user| self.users.number(user)),
        })
    }

    fn needs(&mut self, condition: Option<&'a Condition>) -> Needs {
        match condition {
            None => Needs::Nothing,
            Some(Condition::Exists) => Needs::Present,
            Some(Condition::Version(version)) => {
                Needs::Version(self.versions.number(version.as_str()))
            }
        }
    }

    /// What a condition that did not hold tells.
    fn unmet(&mut self, condition: Option<&'a Condition>) -> Option<Deed> {
        match condition {
            // Without a condition there is nothing that can have failed to hold.
            None => None,
            Some(Condition::Exists) => Some(Deed::See(Sight::Absent)),
            Some(Condition::Version(version)) => {
                Some(Deed::See(Sight::NotVersion(self.versions.number(version.as_str()))))
            }
        }
    }

    fn sight(&mut self, operation: &'a Operation) -> Option<Deed> {
        match operation.outcome {
            Outcome::Ok => {
                let value = operation.answer.value.as_deref();
                let version = operation.answer.version.as_deref();
                Some(Deed::See(Sight::Present {
                    value: value.map(|value| self.values.number(value)),
                    version: version.map(|version| self.versions.number(version)),
                }))
            }
            Outcome::NotFound => Some(Deed::See(Sight::Absent)),
            Outcome::Conflict | Outcome::Refused | Outcome::Unknown => None,
        }
    }
}

const PRESENT: Deed = Deed::See(Sight::Present { value: None, version: None });

pub(super) fn written_text(action: &Action) -> Option<&str> {
    match action {
        Action::Create { write, .. } | Action::Put { write, .. } => Some(&write.value),
        Action::ListingUpsert { value, .. } => Some(value),
        _ => None,
    }
}

/// How old what an operation saw may be: by its level, and by what its answer says of itself.
fn reach(operation: &Operation) -> Reach {
    let (Action::Read { level, .. } | Action::ListingRead { level, .. }) = &operation.action else {
        return Reach::Current;
    };
    let claimed = operation.answer.staleness_ms;
    let within = |ms: u64| Reach::Within(ms.saturating_mul(1_000));
    match *level {
        Level::Strong => Reach::Current,
        Level::Bounded { max_staleness_ms } => {
            within(claimed.unwrap_or(u64::MAX).min(max_staleness_ms))
        }
        Level::Eventual => claimed.map_or(Reach::Ever, within),
    }
}
